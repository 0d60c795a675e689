"""How long training will take, told before there is a trainer: by passes forward over some of the rows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.api import FitContext
from harness.methods.fine_tuning.training_data import Row, record

_APART = 20  # a row is read anew after so many times what the last one took: 5% of the time at most


@dataclass
class Forecast:
    """Training makes `passes` over each token of `rows`, `epochs` times; `overhead` are a row's seconds besides.

    `measure` is to be called whenever rows have been added. No margin is added: what the clock cuts of training are its
    last examples, and its schedule still ends. What is kept for training while `rows` grow is never above `most`
    seconds.
    """

    context: FitContext
    rows: Sequence[Row]
    passes: int
    epochs: float
    most: float
    overhead: float
    _read: int = 0  # tokens, of the rows that a pass was made over
    _reading: float = 0.0  # seconds that it took
    _took: float = 0.0  # the last one
    _ended: float = 0.0  # when, by the clock
    _counted: int = 0  # rows whose tokens are in `_tokens`
    _tokens: int = 0

    def measure(self) -> None:
        """Count new rows and, first and now and then, read the newest: busy machines have slow and fast minutes."""
        self._tokens += sum(map(self._length, self.rows[self._counted :]))
        self._counted = len(self.rows)
        clock, apart = self.context.clock, _APART * self._took
        if self.rows and clock.remaining() > apart and clock.elapsed() >= self._ended + apart:
            self._make_a_pass(self.rows[-1])

    def reserve(self, more: int) -> float:
        """Seconds for the rows counted and so many more; 0 before the first, which may take what it needs."""
        if not self._counted:
            return 0.0
        row = self.of(self._tokens / self._counted) + self.overhead
        return min(self.most, self.epochs * row * (self._counted + more))

    def of(self, tokens: float) -> float:
        """Seconds of a micro-batch of so many tokens; more than any where the clock ran out before a row was read."""
        return self._reading / self._read * self.passes * tokens if self._read else math.inf

    def _make_a_pass(self, row: Row) -> None:
        clock = self.context.clock
        with clock.phase("forecast"):
            begun = clock.elapsed()
            self.context.lm.log_likelihood([row.prompt] * len(row.answers), list(row.answers.values()))
            self._ended = clock.elapsed()
        self._took = self._ended - begun
        self._read += self._length(row)
        self._reading += self._took

    def _length(self, row: Row) -> int:
        return sum(map(len, record(self.context.lm, row).values()))
