"""What belongs to the whole process, and what a method's code leaves there for whoever comes after it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def restored() -> Iterator[None]:
    """A method's code runs inside, gradients on, and the process is afterwards as it was, whatever is raised.

    That is the working folder, the environment, the warning filters and, of torch, the gradient and inference modes,
    the default dtype and device, the number of threads, and whether kernels must be deterministic. Random generators
    are left alone: a fit is seeded where it begins.
    """
    folder, environment = os.getcwd(), dict(os.environ)
    dtype, device, threads = torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads()
    deterministic = torch.get_deterministic_debug_mode()
    try:
        # The second turns gradients on too, and in the end puts both modes back, whoever has changed them meanwhile.
        with warnings.catch_warnings(), torch.inference_mode(False):
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_default_device(None if device.type == "cpu" else device)  # naming the CPU slows every call down
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(deterministic)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        os.chdir(folder)
