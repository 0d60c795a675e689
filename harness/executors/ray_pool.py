"""Workers on Ray, one for each GPU or group of processors: they stay from call to call, and are replaced when they die.

Knows nothing of cells.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, cast, get_args

from harness.api import HarnessError

Executor = Literal["local", "ray"]

DEATHS = 2  # how often a call is begun again after its worker died
START_FAILURES = 3  # of workers, one after another, before it is no accident
POLL = 2.0  # seconds between two looks at the nodes that the cluster has
OF_ONE_WORKER = "These are the times of one worker: several on Ray share the cells, and n of them take about an n-th."


@dataclass(frozen=True)
class Lost:
    """A call that gave nothing; `error` is what its worker raised, None if workers died."""

    reason: str
    attempts: int
    error: BaseException | None = None


def require_executor(name: str) -> Executor:
    """The executor of that name. Raises HarnessError for an unknown one, and for ray where Ray is not installed."""
    if name not in get_args(Executor):
        raise HarnessError(f"Unknown executor '{name}'. Give --executor local or ray.")
    if name == "ray":
        _import()
    return cast(Executor, name)


class Spent(Exception):
    """Raised by a worker whose process can do no more, so that it is replaced.

    `result` is what the call came to; an error if it came to nothing, as if the worker had died.
    """

    def __init__(self, result: Any) -> None:
        super().__init__(result)
        self.result = result


class RayPool:
    """Actors of the class `worker`, made with `arguments`; a context that starts or joins Ray and ends what it started.

    Each has a GPU, or `OMP_NUM_THREADS` of a node's processors, all of them where that is not set. `devices` are those
    that calls will ask for: only if all are "cpu", or no node has a GPU, is none given. `tell` hears what befalls
    workers. RAY_ADDRESS names a running cluster; a Ray that this process has already joined is used and left running.
    """

    def __init__(
        self, worker: type, arguments: tuple[Any, ...], devices: Iterable[str], tell: Callable[[str], None]
    ) -> None:
        self._ray = _import()
        self._worker = worker
        self._arguments = arguments
        self._devices = set(devices)
        self._tell = tell
        self._starting: dict[Any, Any] = {}  # from reference to actor
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[Any, str]] = {}  # from reference to actor and key
        self._failed_starts = 0
        self._waits = False

    @property
    def running(self) -> list[str]:
        """Keys of the calls that have begun and not ended."""
        return [key for _, key in self._running.values()]

    def __enter__(self) -> RayPool:
        self._ours = not self._ray.is_initialized()
        if self._ours:
            _init(self._ray)
        try:
            self._kind, self._share = self._find_share()
        except HarnessError:
            self.__exit__(None, None, None)
            raise
        self._actor = self._ray.remote(**{f"num_{self._kind.lower()}s": self._share}, max_restarts=0)(self._worker)
        self._tell(f"Workers on Ray: {self._slots()}, each with {self._share:g} {self._kind}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._ours:
            self._ray.shutdown()

    def stop(self) -> None:
        """End all workers, in the middle of their calls too."""
        actors = [*self._starting.values(), *self._idle, *(actor for actor, _ in self._running.values())]
        self._starting, self._idle, self._running = {}, [], {}
        for actor in actors:
            with suppress(self._ray.exceptions.RayError):  # the cluster may be going down too
                self._ray.kill(actor)

    def map(self, method: str, calls: Mapping[str, tuple[Any, ...]]) -> Generator[tuple[str, Any], None, None]:
        """(key, what the worker's method returned for these arguments, or Lost), as calls end.

        What a worker raises is not repeated; a call whose worker dies is, DEATHS times at most. A worker that raises
        Spent is ended; its call is repeated only if it came to an error. Raises HarnessError if no worker can be
        started.
        """
        waiting = deque(calls)
        deaths: Counter[str] = Counter()
        left = len(calls)
        while left:
            self._hire(left)
            while waiting and self._idle:
                actor, key = self._idle.pop(), waiting.popleft()
                self._running[getattr(actor, method).remote(*calls[key])] = (actor, key)
            for reference in self._ended():
                if reference in self._starting:
                    self._welcome(reference)
                    continue
                actor, key = self._running.pop(reference)
                outcome, death = self._outcome(reference, deaths[key] + 1)
                if death:
                    self._ray.kill(actor)
                    deaths[key] += 1
                else:
                    self._idle.append(actor)
                if death and isinstance(outcome, Lost) and deaths[key] <= DEATHS:
                    self._tell(f"{death}: its cell is begun again")
                    waiting.appendleft(key)
                else:
                    if death and not isinstance(outcome, Lost):
                        self._tell(f"{death}: another takes its place")
                    left -= 1
                    yield key, outcome

    # ------------------------------------------------------------------------------------------------------- workers

    def _hire(self, wanted: int) -> None:
        """Start workers for what is left to do, as many as the cluster has room for now."""
        slots = self._slots()
        there = len(self._starting) + len(self._idle) + len(self._running)
        for _ in range(min(wanted, slots) - there):
            actor = self._actor.remote(*self._arguments)
            self._starting[actor.__ray_ready__.remote()] = actor
        if not slots and not self._waits:
            self._tell(f"No node with a {self._kind} is left: waiting for one")
        self._waits = not slots

    def _ended(self) -> list[Any]:
        references = [*self._starting, *self._running]
        if not references:
            time.sleep(POLL)
            return []
        ready, _ = self._ray.wait(references, timeout=POLL)
        return list(ready)

    def _welcome(self, reference: Any) -> None:
        actor = self._starting.pop(reference)
        try:
            self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._failed_starts += 1
            if self._failed_starts == START_FAILURES:
                raise HarnessError(f"Workers on Ray do not start: {self._unstarted(error)}") from error
        else:
            self._failed_starts = 0
            self._idle.append(actor)

    def _unstarted(self, error: Exception) -> str:
        if isinstance(error, self._ray.exceptions.OutOfMemoryError):
            return "their nodes are out of memory. Free some, or give each cell more of a node with OMP_NUM_THREADS."
        return (
            f"{str(error).strip().splitlines()[-1]} The harness, the same version, with what it needs, has to be "
            "installed on every node."
        )

    def _outcome(self, reference: Any, attempt: int) -> tuple[Any, str]:
        """(what a call came to, how its worker died or why it has to; "" if it lives on)."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference), ""
        except errors.RayTaskError as error:
            if isinstance(error.cause, Spent):
                result = error.cause.result
                return _lost(result, attempt) if isinstance(result, Exception) else result, "A worker can do no more"
            return _lost(error.cause, attempt), ""
        except errors.OutOfMemoryError:
            return Lost(f"its node ran out of memory {attempt} times", attempt), "A worker's node ran out of memory"
        except (errors.RayActorError, errors.WorkerCrashedError, errors.NodeDiedError):
            return Lost(f"its worker died {attempt} times", attempt), "A worker died"

    # --------------------------------------------------------------------------------------------------------- nodes

    def _find_share(self) -> tuple[str, float]:
        gpus = any(self._resources("GPU"))
        if any(device.startswith("cuda") for device in self._devices) and not gpus:
            raise HarnessError("No node of the Ray cluster has a GPU. Give --device cpu, or name another RAY_ADDRESS.")
        if gpus and self._devices != {"cpu"}:
            return "GPU", 1
        found = [count for count in self._resources("CPU") if count]
        if not found:
            raise HarnessError("No node of the Ray cluster has a processor to give: add one with `ray start`.")
        threads = os.environ.get("OMP_NUM_THREADS", "")
        return "CPU", min(int(threads) if threads.isdecimal() and int(threads) else min(found), *found)

    def _slots(self) -> int:
        return sum(int(count // self._share) for count in self._resources(self._kind))

    def _resources(self, kind: str) -> list[float]:
        return [node["Resources"].get(kind, 0) for node in self._ray.nodes() if node["Alive"]]


def _lost(error: BaseException, attempts: int) -> Lost:
    return Lost(f"{type(error).__name__}: {error}", attempts, error)


def _init(ray: Any) -> None:
    """Start or join Ray, and keep what SIGTERM does: Ray would have it end with status 1."""
    handler = signal.getsignal(signal.SIGTERM)
    # Ray's own is 15, at which a fit loses its processor to whatever else runs, while its clock goes on.
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        ray.init(include_dashboard=False, log_to_driver=False)
    except ConnectionError as error:
        raise HarnessError(
            f"No Ray cluster answers at RAY_ADDRESS={os.environ.get('RAY_ADDRESS')}: start one with `ray start "
            "--head`, or unset RAY_ADDRESS to have Ray started here."
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _import() -> Any:
    try:
        import ray
    except ImportError as error:
        raise HarnessError("--executor ray needs Ray: pip install 'personalization-harness[ray]'.") from error
    return ray
