"""Where no cluster is at hand, the harness starts Ray itself."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os
from harness.executors.ray_pool import RayPool

class Worker:
    def niceness(self):
        return os.nice(0)

with RayPool(Worker, (), {"cpu"}, lambda text: None) as pool:
    print(dict(pool.map("niceness", {"a": ()}))["a"])
"""


def test_workers_have_the_priority_of_the_command_so_that_their_clocks_run_under_the_same_load():
    pytest.importorskip("ray")
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False)
    assert ended.stdout.split() == [str(os.nice(0))], ended.stderr
