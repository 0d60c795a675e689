"""Ray's files stand in a folder of the tests: what runs on this machine meanwhile joins none of their clusters."""

import tempfile

import pytest


@pytest.fixture(autouse=True, scope="session")
def own_ray():
    # A short path, which the names of sockets below it allow.
    with (
        tempfile.TemporaryDirectory(prefix="r-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setenv("RAY_TMPDIR", folder)
        yield
