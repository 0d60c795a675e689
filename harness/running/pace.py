"""How long the next step will take, told by those before it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

SAFETY = 1.2  # the margin of a prediction
_RECENT = 5  # steps by whose slowest a prediction goes
_OF_A_SIZE = 4  # timings kept of each doubling of work: a batch of one is predicted from the small ones


class Pace:
    """A fixed part and seconds per unit of work, fitted to timed steps by least squares of relative errors."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, float]] = deque(maxlen=_RECENT)
        self._by_size: dict[int, deque[tuple[float, float]]] = {}
        self._fixed = self._per_unit = 0.0

    def add(self, work: float, seconds: float) -> None:
        """A step of so much work took so many seconds."""
        timing = (max(work, 1.0), max(seconds, 1e-9))
        self._recent.append(timing)
        self._by_size.setdefault(int(timing[0]).bit_length(), deque(maxlen=_OF_A_SIZE)).append(timing)
        self._fixed, self._per_unit = self._line()

    def with_margin(self, work: float) -> float:
        """Seconds of a step as slow as the slowest recent one for its work, times the margin."""
        return SAFETY * max(self._as_recently(work), default=0.0)

    def at_best(self, work: float) -> float:
        """Seconds of a step as fast as the fastest recent one for its work; 0 before any was timed."""
        return min(self._as_recently(work), default=0.0)

    def _as_recently(self, work: float) -> Iterator[float]:
        return (span * self._plain(work) / self._plain(done) for done, span in self._recent)

    def _plain(self, work: float) -> float:
        """Seconds of a step on the fitted line; 0 before any was timed."""
        return self._fixed + self._per_unit * max(work, 1.0)

    def _line(self) -> tuple[float, float]:
        """(fixed part, per unit of work), neither negative. Timings of one size alone are taken to be all work."""
        timings = [timing for own in self._by_size.values() for timing in own]
        x, y = [1 / span for _, span in timings], [work / span for work, span in timings]
        xx, xy, yy = (sum(a * b for a, b in zip(*sides, strict=True)) for sides in ((x, x), (x, y), (y, y)))
        determinant = xx * yy - xy * xy
        if determinant <= 1e-6 * xx * yy:
            return 0.0, sum(y) / yy
        fixed, per_unit = (sum(x) * yy - sum(y) * xy) / determinant, (sum(y) * xx - sum(x) * xy) / determinant
        if fixed < 0:
            return 0.0, sum(y) / yy
        return (sum(x) / xx, 0.0) if per_unit < 0 else (fixed, per_unit)
