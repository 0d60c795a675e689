"""How long training will take, told before there is a trainer: by passes forward over some of the rows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.api import FitContext
from harness.methods.fine_tuning.training_data import Row, record

_APART = 4  # a row is read again when there are so many times the rows, which does not depend on the machine
_SPARE = 20  # and when so many times what the last one took is left


@dataclass
class Forecast:
    """Training makes `passes` over each token of `rows`, `epochs` times; `overhead` are a row's seconds besides.

    It is measured when asked for, between the steps that add rows. No margin is added: what the clock cuts of training
    are its last examples, and its schedule still ends. What is kept for training while `rows` grow is never above
    `most` seconds, nor below what a step of one row takes, `first` beside its passes.
    """

    context: FitContext
    rows: Sequence[Row]
    passes: int
    epochs: float
    most: float
    overhead: float
    first: float  # seconds of the first optimizer step and of saving
    _read: int = 0  # tokens, of the rows that a pass was made over
    _reading: float = 0.0  # seconds that it took
    _took: float = 0.0  # the last one
    _read_at: int = 0  # rows there were then
    _counted: int = 0  # rows whose tokens are in `_tokens`
    _tokens: int = 0

    def measure(self) -> None:
        """Count new rows, and read the newest now and then: a machine that others use has slow and fast minutes."""
        self._tokens += sum(map(self._length, self.rows[self._counted :]))
        self._counted = len(self.rows)
        due = self._counted >= max(1, _APART * self._read_at)
        if due and self.context.clock.remaining() > _SPARE * self._took:
            self._make_a_pass(self.rows[-1])
            self._read_at = self._counted

    def reserve(self, more: int) -> float:
        """Seconds for the rows there are and so many more; 0 before the first, which may take what it needs."""
        self.measure()
        if not self._counted:
            return 0.0
        if not self._read:
            return self.most
        row = self.of(self._tokens / self._counted)
        least = row + self.first + self._took  # a pass more, as nothing is given up to the moment
        return max(least, min(self.most, self.epochs * (row + self.overhead) * (self._counted + more)))

    def of(self, tokens: float) -> float:
        """Seconds of a micro-batch of so many tokens; more than any where the clock ran out before a row was read."""
        return self._reading / self._read * self.passes * tokens if self._read else math.inf

    def _make_a_pass(self, row: Row) -> None:
        clock, answers = self.context.clock, list(row.answers.values())
        with clock.phase("forecast"), clock.cut_off():
            begun = clock.elapsed()
            self.context.lm.log_likelihood([row.prompt] * len(answers), answers, time_left=clock.remaining)
            self._took = clock.elapsed() - begun
            self._read += self._length(row)
            self._reading += self._took

    def _length(self, row: Row) -> int:
        return sum(map(len, record(self.context.lm, row).values()))
