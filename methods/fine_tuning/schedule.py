"""Trainer callbacks: where a training run ends, its learning rate on the way there, and checkpoints."""

from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, get_scheduler

from harness.methods.fine_tuning.micro_batches import MicroBatched
from harness.methods.fine_tuning.training_pace import TrainingPace


class Plan(TrainerCallback):
    """Ends training in time, and its learning rate with it.

    The learning rate of a step is the schedule's at step k of n. n is the natural number of steps as long as they fit.
    Else it is, before each step anew, those done and those that still fit: the schedule is stretched and squeezed until
    its end is the clock's. `shortened`: it was, at least once.
    """

    def __init__(self, trainer: MicroBatched, pace: TrainingPace, natural: int) -> None:
        self.trainer = trainer
        self.pace = trainer.pace = pace
        self.natural = natural
        self.shortened = False
        self.tokens = sum(trainer.lengths) / trainer.steps_in_an_epoch  # in a step, on average

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        total = self._total(state.global_step)
        self.shortened = self.shortened or total < self.natural
        for group in kwargs["optimizer"].param_groups:
            group["lr"] = args.learning_rate * _factor(args, state.global_step, total)
        self.pace.step_begins()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.pace.step_ends()
        if not self.pace.fits(self._smallest(state.global_step)):
            control.should_training_stop = True

    def _total(self, done: int) -> int:
        """Optimizer steps of the whole run, as far as can be told within step `done`, whose gradient is there."""
        return min(self.natural, done + 1 + self.pace.steps_to_come(self.tokens, self._smallest(done + 1)))

    def _smallest(self, step: int) -> int:
        return min(self.trainer.size(piece) for piece in self.trainer.pieces(step))


class Offers(TrainerCallback):
    """Calls `offer` after each optimizer step but the last, whose weights are the whole fit's."""

    def __init__(self, offer: Callable[[], None]) -> None:
        self.offer = offer

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step < state.max_steps and not control.should_training_stop:
            self.offer()


def warming_up(steps: int) -> int:
    """So many steps of warm-up, but none in place of one: the first has a learning rate of 0, and learns nothing."""
    return steps if steps > 1 else 0


def _factor(args: TrainingArguments, step: int, total: int) -> float:
    """transformers' own schedule at step `step` of `total`."""
    parameter = torch.optim.SGD([torch.zeros(1)])
    warmup = warming_up(args.get_warmup_steps(total))
    return float(get_scheduler(args.lr_scheduler_type, parameter, warmup, total).lr_lambdas[0](step))
