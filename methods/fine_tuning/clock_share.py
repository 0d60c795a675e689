"""A stage of a fit with a clock of its own, which ends before the fit's does."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from harness.api import Clock, Reserve

T = TypeVar("T")


class ClockShare:
    """Implements `harness.api.Clock`: `share` of what `whole` has left now is its own; all else is `whole`'s."""

    def __init__(self, whole: Clock, share: float) -> None:
        self._whole = whole
        self._later = (1 - share) * whole.remaining()
        self.budget = whole.budget - self._later

    @property
    def exhausted(self) -> bool:
        return self._whole.exhausted

    @exhausted.setter
    def exhausted(self, value: bool) -> None:
        self._whole.exhausted = value

    @property
    def reason(self) -> str:
        return self._whole.reason

    @reason.setter
    def reason(self, value: str) -> None:
        self._whole.reason = value

    def elapsed(self) -> float:
        return self._whole.elapsed()

    def remaining(self) -> float:
        return max(0.0, self._whole.remaining() - self._later)

    def phase(self, name: str) -> AbstractContextManager[None]:
        return self._whole.phase(name)

    def steps(self, items: Sequence[T], reserve: Reserve = 0.0) -> Iterator[T]:
        return self._whole.steps(items, self._with_later(reserve))

    def batches(
        self, items: Sequence[T], most: int, work: Callable[[T], float], reserve: Reserve = 0.0
    ) -> Iterator[list[T]]:
        return self._whole.batches(items, most, work, self._with_later(reserve))

    def time_left(self) -> float:
        return min(self._whole.time_left(), self.remaining())

    def cut_off(self) -> AbstractContextManager[None]:
        return self._whole.cut_off()

    def _with_later(self, reserve: Reserve) -> Reserve:
        return lambda more: self._later + (reserve(more) if callable(reserve) else reserve)
