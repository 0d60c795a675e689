"""How long training will take, told before there is a trainer: by a pass forward over the first row."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.api import FitContext
from harness.methods.fine_tuning.training_data import Row, record


@dataclass
class Forecast:
    """Training makes `passes` over each token of `rows`, `epochs` times; `overhead` are a row's seconds besides.

    No margin is added: what the clock cuts of training are its last examples, and its schedule still ends. What is kept
    for training while `rows` grow is never above `most`, in seconds.
    """

    context: FitContext
    rows: Sequence[Row]
    passes: int
    epochs: float
    most: float
    overhead: float
    _pass: float | None = None  # seconds of one, by the token
    _counted: int = 0  # rows whose tokens are in `_tokens`
    _tokens: int = 0

    def reserve(self, more: int) -> float:
        """Seconds for the rows there are and so many more; 0 before the first, which may take what it needs."""
        if not self.rows:
            return 0.0
        self._tokens += sum(map(self._length, self.rows[self._counted :]))
        self._counted = len(self.rows)
        row = self.of(self._tokens / self._counted) + self.overhead
        return min(self.most, self.epochs * row * (self._counted + more))

    def of(self, tokens: float) -> float:
        """Seconds of a micro-batch of so many tokens; more than any once the clock has run out.

        There must be a row, which is read the first time.
        """
        if self._pass is None:
            row, clock = self.rows[0], self.context.clock
            if not clock.remaining():
                return math.inf
            with clock.phase("forecast"):
                begun = clock.elapsed()
                self.context.lm.log_likelihood([row.prompt] * len(row.answers), list(row.answers.values()))
                self._pass = (clock.elapsed() - begun) / self._length(row)
        return self._pass * self.passes * tokens

    def _length(self, row: Row) -> int:
        return sum(map(len, record(self.context.lm, row).values()))
