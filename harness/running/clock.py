"""The budget of one fit: a cap on wall-clock time, split into phases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from harness.api import OutOfTime, Reserve
from harness.formatting import rounded
from harness.running.pace import Pace

T = TypeVar("T")
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
        self._kept = 0.0  # seconds that the step under way leaves to later stages
        self._lost = 0.0  # seconds paused so far
        self._stopped: float | None = None
        self._start = self._edge = now()

    def elapsed(self) -> float:
        """Seconds since the start, without the paused ones, or until `stop`."""
        return self._time() - self._start

    def remaining(self) -> float:
        """Seconds left, 0 at least."""
        return max(0.0, self.budget - self.elapsed())

    def time_left(self) -> float:
        """Seconds left before what the step under way leaves to later stages, 0 at least."""
        return max(0.0, self.remaining() - self._kept)

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
        for [item] in self._grown(items, 1, lambda _: 1.0, reserve, "steps"):
            yield item

    def batches(
        self, items: Sequence[T], most: int, work: Callable[[T], float], reserve: Reserve = 0.0
    ) -> Iterator[list[T]]:
        """Yield items in order, in the largest batches that are predicted to leave `reserve`; else set `exhausted`.

        The first is of one item, the next of two at most, and so on up to `most`. `Pace` predicts, from `work(item)`.
        Where no batch fits, one item is tried if it would at the fastest recent pace: `cut_off` ends what is late.
        """
        return self._grown(items, most, work, reserve, "items", daring=True)

    def _grown(
        self,
        items: Sequence[T],
        most: int,
        work: Callable[[T], float],
        reserve: Reserve,
        unit: str,
        daring: bool = False,
    ) -> Iterator[list[T]]:
        pace, done, size = Pace(), 0, 1
        while done < len(items):
            amounts = list(map(work, items[done : done + size]))
            count = self._affordable(pace, amounts, reserve, daring)
            if not count:
                progress = f"{done} of {len(items)} {unit} done with {rounded(self.remaining())} s left"
                self._exhaust(progress + _next(pace.with_margin(amounts[0])) + _later(_kept(reserve, 1)))
                return
            self._kept = _kept(reserve, 0)
            begun = self.elapsed()
            try:
                yield list(items[done : done + count])
            finally:
                self._kept = 0.0
            pace.add(sum(amounts[:count]), self.elapsed() - begun)
            done += count
            size = min(most, 2 * count)

    def _affordable(self, pace: Pace, amounts: Sequence[float], reserve: Reserve, daring: bool) -> int:
        """How many of the next items to take on: 0 for none."""
        for count in range(len(amounts), 0, -1):
            needed = pace.with_margin(sum(amounts[:count])) + _kept(reserve, count)  # finding out may take time itself
            if self.remaining() > needed:
                return count
        return int(daring and self.remaining() > pace.at_best(amounts[0]) + _kept(reserve, 1))

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """Ends where OutOfTime is raised inside; sets `exhausted`, and a `reason` where there is none."""
        try:
            yield
        except OutOfTime as late:
            self._exhaust(f"a step was given up with {rounded(self.remaining())} s left" + _later(self._kept))
            late.__traceback__ = None  # it holds the tensors of what was given up

    def _exhaust(self, reason: str) -> None:
        self.exhausted = True
        self.reason = self.reason or f"{self.current}: {reason}".removeprefix(": ")


def _kept(reserve: Reserve, more: int) -> float:
    return reserve(more) if callable(reserve) else reserve


def _next(predicted: float) -> str:
    return f", the next needs about {rounded(predicted)} s" if predicted > 0 else ""


def _later(kept: float) -> str:
    return f", what follows needs about {rounded(kept)} s" if kept > 0 else ""
