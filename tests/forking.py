"""Processes that start with the libraries imported: torch and its like take longer than what most tests look at.

Each is forked from one server that has imported libraries, and nothing of the harness, of which it imports its own.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory

_LIBRARIES = (
    *("torch", "torch.distributed.tensor", "transformers", "transformers.models.llama.modeling_llama"),
    *("trl.trainer.sft_trainer", "trl.trainer.dpo_trainer", "peft", "sentence_transformers", "datasets", "evaluate"),
    *("lm_eval.evaluator", "wandb", "matplotlib.pyplot", "sklearn.metrics", "scipy.stats", "pandas", "statsmodels.api"),
)
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(list(_LIBRARIES))


class Forked:
    """A process of its own session, and what it has said so far."""

    def __init__(self, process: ForkServerProcess, folder: Path) -> None:
        self._process, self._folder = process, folder

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    @property
    def stdout(self) -> str:
        return (self._folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self._folder / "stderr").read_text()

    def send_signal(self, number: int) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    def wait(self, seconds: float) -> int:
        """Its exit status, -N if signal N ended it. Raises TimeoutError."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            raise TimeoutError(f"still running after {seconds:g} s")
        return self._process.exitcode


@contextmanager
def forked(
    target: Callable[..., object],
    *arguments: str,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    sigint: signal.Handlers = signal.SIG_DFL,
) -> Iterator[Forked]:
    """A process that calls `target` with these as `sys.argv[1:]`, and is killed at the end of the block.

    `target` is a function of a module that imports what it runs within it. `environment` is added to this one's.
    """
    with TemporaryDirectory(prefix="forked-") as folder:
        given = (target, arguments, cwd, {**os.environ, **(environment or {})}, sigint, Path(folder))
        process = _FORKS.Process(target=_call, args=given)
        process.start()
        try:
            yield Forked(process, Path(folder))
        finally:
            process.kill()
            process.join(60)


def command_line() -> None:
    """The command line as its program starts it."""
    from harness.commands.app import main

    main()


def _call(
    target: Callable[..., object],
    arguments: tuple[str, ...],
    cwd: Path,
    environment: dict[str, str],
    sigint: signal.Handlers,
    folder: Path,
) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler if sigint == signal.SIG_DFL else sigint)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.path[:0] = [folder for folder in environment.get("PYTHONPATH", "").split(os.pathsep) if folder]
    sys.argv = ["harness", *arguments]
    target()
