"""Real processes for tests: interruptible however the tests were started, and ended whatever happens."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any


@contextmanager
def started(
    command: Sequence[str | Path], sigint: signal.Handlers = signal.SIG_DFL, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """A process that has `sigint` for SIGINT, and is killed at the end of the block unless it has ended by then.

    A shell ignores SIGINT for what it starts in the background, and every child inherits that.
    """
    disposition = partial(signal.signal, signal.SIGINT, sigint)
    process = subprocess.Popen(command, preexec_fn=disposition, text=True, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait(60)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
