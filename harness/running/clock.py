"""The budget of one fit: a cap on wall-clock time, split into phases."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from harness.api import Reserve, T

SAFETY = 1.2  # a predicted step is the slowest of the recent ones, times this
TOLERANCE = (0.02, 1.0)  # over the budget by more than the larger of 2% and 1 s is an overrun


def tolerance(budget: float) -> float:
    """Seconds by which a fit may be late without having overrun."""
    return max(TOLERANCE[0] * budget, TOLERANCE[1])


class BudgetClock:
    """Implements `harness.api.Clock`. Starts when constructed.

    `now` returns seconds of a monotonic clock; `synchronize` waits for the device, at the edges of phases.
    """

    def __init__(
        self,
        budget: float,
        now: Callable[[], float] = time.monotonic,
        synchronize: Callable[[], None] = lambda: None,
    ) -> None:
        self.budget = budget
        self.exhausted = False
        self.reason = ""
        self.now = now
        self._synchronize = synchronize
        self._booked: dict[str, float] = {}
        self._open: list[str] = []
        self._lost = 0.0  # seconds paused so far
        self._stopped: float | None = None
        self._start = self._edge = now()

    def elapsed(self) -> float:
        """Seconds since the start, without the paused ones, or until `stop`."""
        return self._time() - self._start

    def remaining(self) -> float:
        """Seconds left, 0 at least."""
        return max(0.0, self.budget - self.elapsed())

    def stop(self) -> None:
        """End the fit: later calls of `elapsed` return the same number."""
        self._synchronize()
        self._stopped = self._time()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside takes no time."""
        self._synchronize()
        self._stopped = halted = self._time()
        try:
            yield
        finally:
            self._synchronize()
            self._lost = self.now() - halted
            self._stopped = None

    def _time(self) -> float:
        return self.now() - self._lost if self._stopped is None else self._stopped

    @property
    def overran(self) -> bool:
        """Whether the fit took longer than the budget by more than the tolerance."""
        return self.elapsed() - self.budget > tolerance(self.budget)

    @property
    def current(self) -> str:
        """The innermost open phase, empty between phases."""
        return self._open[-1] if self._open else ""

    @property
    def phases(self) -> dict[str, float]:
        """Seconds by phase; "untracked" is the rest, so that the values add up to `elapsed()`."""
        return {**self._booked, "untracked": self.elapsed() - sum(self._booked.values())}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Book the time inside to `name`, less what inner phases take."""
        self._book()
        self._open.append(name)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    def _book(self) -> None:
        self._synchronize()
        now = self._time()
        if self._open:
            self._booked[self._open[-1]] = self._booked.get(self._open[-1], 0.0) + now - self._edge
        self._edge = now

    def steps(self, items: Sequence[T], reserve: Reserve = 0.0) -> Iterator[T]:
        """Yield items while the slowest recent step, with a margin, and `reserve` still fit; else set `exhausted`.

        The first step has no prediction: it runs if more than `reserve` is left.
        """
        recent: deque[float] = deque(maxlen=5)
        for done, item in enumerate(items):
            predicted = SAFETY * max(recent) if recent else 0.0
            kept = reserve() if callable(reserve) else reserve
            if (left := self.remaining()) <= predicted + kept:
                self.exhausted = True
                self.reason = self.reason or _reason(done, len(items), self.current, predicted, kept, left)
                return
            begun = self.elapsed()
            yield item
            recent.append(self.elapsed() - begun)


def _reason(done: int, steps: int, phase: str, predicted: float, kept: float, left: float) -> str:
    where = f"{phase}: " if phase else ""
    parts = [f"{where}{done} of {steps} steps done with {left:.2g} s left"]
    parts += [f"the next needs about {predicted:.2g} s"] * (predicted > 0)
    parts += [f"what follows needs about {kept:.2g} s"] * (kept > 0)
    return ", ".join(parts)
