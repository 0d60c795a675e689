"""What benchmarks share."""

import pytest
import torch


@pytest.fixture(scope="module")
def one_thread():
    """Torch computes on one thread while the module runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
