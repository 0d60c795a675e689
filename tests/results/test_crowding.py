"""A warning where torch's threads would wait for cores that others use, and none where they would not."""

import pytest

from harness.results.crowding import crowding


@pytest.mark.parametrize(("load", "cores", "threads"), [(1.0, 2, 2), (2.5, 2, 2), (40.0, 64, 64), (7.9, 8, 8)])
def test_threads_beside_another_job_are_warned_of_with_what_to_do(load: float, cores: int, threads: int) -> None:
    found = crowding(load, cores, threads)
    assert f"{load:.1f} on {cores} cores" in found
    assert "OMP_NUM_THREADS=1" in found


@pytest.mark.parametrize(("load", "cores", "threads"), [(0.3, 2, 2), (9.0, 2, 1), (1.5, 8, 8), (1.0, 64, 32)])
def test_an_idle_machine_and_a_single_thread_are_not_warned_of(load: float, cores: int, threads: int) -> None:
    assert crowding(load, cores, threads) == ""
