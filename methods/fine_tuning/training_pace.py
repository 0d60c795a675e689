"""The clock of a training run: what its micro-batches and optimizer steps take, and what still fits."""

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from harness.api import Clock

SAFETY = 1.2  # a micro-batch is predicted to be as slow, by the token, as the slowest of the recent ones, times this
_RECENT = 5


class TrainingPace:
    """Predicts from its own measurements; they are of the training itself, none is thrown away.

    `reserve` are the seconds that follow training; an optimizer step takes `step` until one was made.
    """

    def __init__(self, clock: Clock, reserve: float, step: float, device: torch.device) -> None:
        self.clock = clock
        self.reserve = reserve
        self.device = device
        self._steps = deque([step], maxlen=_RECENT)
        self._made = False  # an optimizer step, before which the guess counts
        self._begun = 0.0
        self._recent: deque[float] = deque(maxlen=_RECENT)  # seconds per token
        self._tokens: list[int] = []
        self._seconds: list[float] = []

    def expect(self, tokens: int, seconds: float) -> None:
        """Before anything is measured: a micro-batch of that many tokens will take that long."""
        self._recent = deque([seconds / tokens / SAFETY], maxlen=1)

    @contextmanager
    def micro_batch(self, tokens: int) -> Iterator[None]:
        """Time what happens inside, a micro-batch of that many tokens, padding included."""
        begun = self._now()
        yield
        seconds = self._now() - begun
        if not self._seconds:
            self._recent = deque(maxlen=_RECENT)
        self._recent.append(seconds / tokens)
        self._tokens.append(tokens)
        self._seconds.append(seconds)

    def step_begins(self) -> None:
        """The gradient is there."""
        self._begun = self._now()

    def step_ends(self) -> None:
        """The weights have moved."""
        if not self._made:
            self._steps.clear()
        self._made = True
        self._steps.append(self._now() - self._begun)

    def room(self) -> float:
        """Seconds left for micro-batches, an optimizer step after them and the reserve taken off."""
        return self.clock.remaining() - self.reserve - self.step()

    def fits(self, tokens: int) -> bool:
        """Whether a micro-batch of that many tokens will end in time, as far as the slowest recent one tells."""
        return self.room() > SAFETY * max(self._recent, default=0.0) * tokens

    def step(self) -> float:
        """Seconds of an optimizer step without its micro-batches."""
        return max(self._steps)

    def steps_to_come(self, tokens: float, smallest: int) -> int:
        """How many optimizer steps of that many tokens will begin after the one at hand, the last perhaps cut short.

        One begins while `smallest` fits, the tokens of a first micro-batch. Each takes as long as the mean of all that
        was measured, the first micro-batch left out if there are others.
        """
        pace = sum(self._seconds[1:] or self._seconds) / sum(self._tokens[1:] or self._tokens)
        needed = SAFETY * max(self._recent) * smallest
        later = self.room() - self.step() - needed
        return max(0, math.ceil(later / max(tokens * pace + self.step(), 1e-9)))

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.clock.elapsed()
