"""Trainer callbacks that keep a training run within the clock."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from harness.api import Clock

MARGIN = 1.1  # a schedule that the deadline cuts is worse than one that is a little short


class Stopwatch(TrainerCallback):
    """Times micro-batches of `sizes` tokens until all are timed, the plan is clear, or the next may not end in time.

    `total` is how many micro-batches the training itself has.
    """

    def __init__(self, clock: Clock, reserve: float, sizes: Sequence[int], total: int) -> None:
        self.clock = clock
        self.reserve = reserve
        self.sizes = sizes
        self.total = total
        self.marks: list[float] = []

    def mean(self) -> float:
        """Mean seconds of a micro-batch, the first left out if there are others; infinite if none was finished.

        Scaled up where the large ones among `sizes` could not be timed.
        """
        spans = self._spans()
        if not spans:
            return math.inf
        timed = self.sizes[: len(spans)]
        scale = max(1.0, (sum(self.sizes) / len(self.sizes)) / (sum(timed) / len(timed)))
        return scale * sum(spans[1:] or spans) / len(spans[1:] or spans)

    def _spans(self) -> list[float]:
        return [after - before for before, after in pairwise(self.marks)]

    def _enough(self) -> bool:
        spans, left = self._spans(), self.clock.remaining() - self.reserve
        if len(spans) == len(self.sizes):
            return True
        pace = max(span / size for span, size in zip(spans, self.sizes, strict=False))
        return left <= pace * self.sizes[len(spans)] or left >= MARGIN * self.total * pace * max(self.sizes)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._mark(args)

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._mark(args)
        control.should_training_stop = self._enough()

    on_step_end = on_substep_end

    def _mark(self, args: TrainingArguments) -> None:
        if args.device.type == "cuda":
            torch.cuda.synchronize(args.device)
        self.marks.append(self.clock.elapsed())


class Deadline(TrainerCallback):
    """The guard behind the plan: no step begins that would not end in time, as far as the slowest one so far tells."""

    def __init__(self, clock: Clock, reserve: float) -> None:
        self.clock = clock
        self.reserve = reserve
        self.slowest = 0.0
        self.begun = 0.0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.begun = self.clock.elapsed()

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # The gradient gathered so far is lost, but waiting for the step to end would overrun.
        control.should_training_stop = self.clock.remaining() <= self.reserve

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.slowest = max(self.slowest, self.clock.elapsed() - self.begun)
        late = self.clock.remaining() <= self.slowest + self.reserve
        control.should_training_stop = control.should_training_stop or late


class Offers(TrainerCallback):
    """Calls `offer` with the optimizer steps done, after each but the last, whose weights are the whole fit's."""

    def __init__(self, offer: Callable[[int], None]) -> None:
        self.offer = offer

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step < state.max_steps and not control.should_training_stop:
            self.offer(state.global_step)
