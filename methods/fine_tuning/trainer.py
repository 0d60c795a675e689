"""Training within the clock: measure a step, choose how many fit, train those to the end of the schedule.

trl is imported at module level on purpose: modules of methods are loaded before the clock of a fit starts.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import datasets
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from transformers import Trainer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback

from harness.api import Clock, FitContext, HarnessError, Personalizer, Task
from harness.methods.fine_tuning.deadline import MARGIN, Deadline, Offers, Stopwatch
from harness.methods.fine_tuning.out_of_memory import lighten, unless_out_of_memory
from harness.methods.fine_tuning.token_count import counted
from harness.methods.fine_tuning.training_data import Row, record
from harness.methods.fine_tuning.weights import LoraSettings, Trained, put_back, trained_tensors
from harness.methods.instruct import BasePrompt

_MEASURED = 3  # micro-batches in a calibration; fewer where an epoch has fewer
_COPIES = 3  # how often the trained weights are copied after training, disk included


class TrainingConfig(BaseModel):
    """What trainers share. `training_share` of the budget is kept for training while the training data is generated.

    `gradient_checkpointing` computes activations twice instead of keeping them. What runs out of memory turns to it by
    itself, after smaller micro-batches.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(gt=0)
    num_epochs: float = Field(default=1.0, gt=0)
    batch_size: int = Field(ge=1)
    accumulation: int = Field(default=1, ge=1)
    max_length: int = Field(ge=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    warmup_ratio: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    generation_batch_size: int = Field(default=16, ge=1)
    training_share: float = Field(default=0.5, gt=0, lt=1)
    gradient_checkpointing: bool = False

    def arguments(self, context: FitContext) -> dict[str, Any]:
        """Keyword arguments for the trainer's own: reproducible, quiet, in the order of the data, nothing written.

        `max_length` is trl's.
        """
        device = context.lm.model.device
        return {
            "output_dir": str(context.scratch),
            "learning_rate": self.learning_rate,
            "num_train_epochs": self.num_epochs,
            "per_device_train_batch_size": self.batch_size,
            "gradient_accumulation_steps": self.accumulation,
            "max_length": min(self.max_length, context.lm.max_length),
            "max_grad_norm": self.max_grad_norm,
            "warmup_steps": self.warmup_ratio,
            "weight_decay": self.weight_decay,
            "lr_scheduler_type": self.scheduler,
            "train_sampling_strategy": "sequential",
            "seed": context.seed,
            "use_cpu": device.type == "cpu",
            "bf16": device.type == "cuda" and torch.cuda.is_bf16_supported(),
            "activation_checkpointing": self.gradient_checkpointing,
            # The other kind needs inputs with gradients, which those of an adapted model do not have.
            "activation_checkpointing_kwargs": {"use_reentrant": False},
            "save_strategy": "no",
            "logging_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
        }


@dataclass(frozen=True)
class Schedule:
    """Optimizer steps: `natural` to the end of the last epoch, and those of them that fit."""

    natural: int
    steps: int


def fit_weights(
    context: FitContext, rows: Sequence[Row], lora: LoraSettings | None, build: Callable[[datasets.Dataset], Trainer]
) -> Personalizer:
    """Train on the rows what `build` makes of their records; without rows, or time, all get the base prompt.

    Raises HarnessError if trl dropped records, which would make methods learn from different data.
    """
    if not rows:
        return BasePrompt(context.task)
    with context.clock.phase("construction"), _quiet():
        trainer = build(datasets.Dataset.from_list([record(context.lm, row) for row in rows]))
    if (kept := len(_data(trainer))) != len(rows):
        raise HarnessError(f"trl kept {kept} of {len(rows)} training examples. Please report this.")
    trainer.remove_callback(PrinterCallback)
    with counted(context.lm, _model(trainer)):
        trained = _train(trainer, context, rows, lora)
    if not trained:
        return BasePrompt(context.task)
    with context.clock.phase("save"):
        return Trained(context.task, trained_tensors(_model(trainer), lora), lora)


def load_weights(directory: Path, task: Task) -> Personalizer:
    """What `fit_weights` returned, from the folder it was saved in."""
    return Trained.load(directory, task) if Trained.saved_in(directory) else BasePrompt(task)


def _train(trainer: Trainer, context: FitContext, rows: Sequence[Row], lora: LoraSettings | None) -> bool:
    """Calibrate, train and account; False if not even one optimizer step fits."""
    clock = context.clock
    with clock.phase("calibration"):
        begun = clock.elapsed()
        untrained = trained_tensors(_model(trainer), lora)
        reserve = _COPIES * (clock.elapsed() - begun)
    while (done := unless_out_of_memory(lambda: _steps(trainer, context, rows, lora, reserve))) is None:
        lighten(trainer)
        put_back(_model(trainer), untrained, lora)
        context.report.counts["out_of_memory"] = context.report.counts.get("out_of_memory", 0) + 1
    _account(context, trainer.args, rows, done)
    return done > 0


def _steps(
    trainer: Trainer, context: FitContext, rows: Sequence[Row], lora: LoraSettings | None, reserve: float
) -> int:
    """Optimizer steps done of those that fit."""
    clock = context.clock
    with clock.phase("calibration"):
        natural = _natural_steps(trainer)
        seconds = calibrate(trainer, clock, reserve, natural)
        affordable = int((clock.remaining() - reserve) / (max(seconds, 1e-9) * MARGIN))
        schedule = Schedule(natural, max(0, min(natural, affordable)))
    done = 0
    if schedule.steps:
        with clock.phase("training"):
            offers = Offers(lambda steps: _offer(trainer, context, rows, lora, steps))
            done = _run(trainer, context, schedule.steps, reserve, offers)
    if done < schedule.natural:
        clock.exhausted = True
        clock.reason = clock.reason or f"the clock had room for {done} of {schedule.natural} optimizer steps"
    return done


def calibrate(trainer: Trainer, clock: Clock, reserve: float, natural: int) -> float:
    """Seconds of one optimizer step on the trainer's own data, of which `natural` are planned.

    Infinite if the clock allows no measurement. Measures micro-batches, the longest among them, at a learning rate of
    0, which leaves every weight as it is, bit by bit; a single one if it is clear then that the plan fits.
    """
    args, dataset = trainer.args, _data(trainer)
    rate, size = args.learning_rate, args.per_device_train_batch_size
    lengths = [_tokens(row) for row in dataset]
    longest = sorted(range(len(dataset)), key=lambda index: -lengths[index])[:size]
    first, more = list(range(min(size, len(dataset)))), min(_MEASURED, math.ceil(len(dataset) / size)) - 1
    batches = [first, longest, *(list(range(len(dataset)))[n * size : (n + 1) * size] for n in range(more))]
    sizes = [len(batch) * max(lengths[index] for index in batch) for batch in batches]
    stopwatch = Stopwatch(clock, reserve, sizes, natural * args.gradient_accumulation_steps)
    if clock.remaining() <= reserve:
        return math.inf
    trainer.train_dataset = dataset.select([index for batch in batches for index in batch])
    args.learning_rate, args.max_steps = 0.0, len(batches)
    trainer.add_callback(stopwatch)
    try:
        trainer.train()
    finally:
        trainer.remove_callback(stopwatch)
        trainer.train_dataset, args.learning_rate = dataset, rate
        trainer.optimizer = None  # holds the rate of 0, and moments
    return stopwatch.mean() * args.gradient_accumulation_steps


def _natural_steps(trainer: Trainer) -> int:
    """Optimizer steps to the end of the last epoch."""
    batches = math.ceil(len(_data(trainer)) / trainer.args.per_device_train_batch_size)
    return math.ceil(math.ceil(batches / trainer.args.gradient_accumulation_steps) * trainer.args.num_train_epochs)


def _run(trainer: Trainer, context: FitContext, steps: int, reserve: float, offers: Offers) -> int:
    trainer.args.max_steps = steps
    callbacks = (Deadline(context.clock, reserve), offers)
    for callback in callbacks:
        trainer.add_callback(callback)
    set_seed(context.seed)  # calibration has drawn dropout masks
    try:
        result = trainer.train()
    finally:
        for callback in callbacks:
            trainer.remove_callback(callback)
    context.report.counts["training_loss"] = result.training_loss
    return trainer.state.global_step


def _offer(trainer: Trainer, context: FitContext, rows: Sequence[Row], lora: LoraSettings | None, steps: int) -> None:
    def make() -> Personalizer:
        return Trained(context.task, trained_tensors(_model(trainer), lora), lora)

    context.checkpoint(_samples(trainer.args, len(rows), steps), make)


def _samples(args: TrainingArguments, rows: int, steps: int) -> int:
    """How many rows so many optimizer steps see, repetitions counted."""
    width = args.per_device_train_batch_size * args.gradient_accumulation_steps
    epochs, rest = divmod(steps, math.ceil(rows / width))
    return epochs * rows + min(rest * width, rows)


def _account(context: FitContext, args: TrainingArguments, rows: Sequence[Row], steps: int) -> None:
    context.report.samples_used = _samples(args, len(rows), steps)
    used = rows[: context.report.samples_used]
    context.report.users_fitted = len({row.user for row in used} - {""})
    context.report.counts["optimizer_steps"] = steps


def _data(trainer: Trainer) -> datasets.Dataset:
    assert isinstance(trainer.train_dataset, datasets.Dataset)
    return trainer.train_dataset


def _model(trainer: Trainer) -> nn.Module:
    assert trainer.model is not None
    return trainer.model


def _tokens(row: dict[str, Any]) -> int:
    return sum(len(value) for name, value in row.items() if name.endswith("_ids"))


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars of `datasets` while a trainer is built."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
