"""For the tests of whoever writes a plug-in: `check_method` and `check_task`.

from harness.testing import check_method, check_task
def test_conformance():
    check_method(MyMethod, {"rank": 4})
    assert check_task(MyTask(), MyTask().load("synthetic", "dev")) == []
"""

from harness.conformance.method_checks import check_method
from harness.conformance.task_checks import check_task

__all__ = ["check_method", "check_task"]
