"""What `harness.testing` offers to whoever writes a plug-in."""

from harness import testing
from harness.tasks.lamp import Lamp3


def test_methods_and_tasks_are_checked_from_one_public_module():
    assert set(testing.__all__) == {"check_method", "check_task"}
    assert testing.check_task(Lamp3(), Lamp3().load("synthetic", "dev")) == []
