"""Training within the clock: it begins at once, and its own steps tell where its schedule has to end.

trl is imported at module level on purpose: modules of methods are loaded before the clock of a fit starts.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import datasets
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from transformers import set_seed
from transformers.trainer_callback import PrinterCallback

from harness.api import Clock, FitContext, HarnessError, Personalizer, Task
from harness.methods.base_prompt import Unedited
from harness.methods.fine_tuning.micro_batches import MicroBatched
from harness.methods.fine_tuning.out_of_memory import RECOMPUTED, nothing_left, unless_out_of_memory
from harness.methods.fine_tuning.placement import computes_halves
from harness.methods.fine_tuning.schedule import Offers, Plan
from harness.methods.fine_tuning.token_count import counted
from harness.methods.fine_tuning.training_data import Row, record
from harness.methods.fine_tuning.training_forecast import Forecast
from harness.methods.fine_tuning.training_pace import TrainingPace
from harness.methods.fine_tuning.weights import LoraSettings, Trained, trained, trained_tensors

COPIES = 3  # how often the trained weights are copied after training, disk included
_COPIES_IN_A_STEP = 6  # clipping and AdamW read and write weights, gradients and two moments
_PASSES = 3  # forward, that a micro-batch costs: what goes back is as much for the weights as for the activations
_PASSES_OF_AN_ADAPTER = 2  # its own weights are few


class TrainingConfig(BaseModel):
    """What trainers share. At most `training_share` of the budget is kept for training while its data is generated.

    An optimizer step sees `batch_size` * `accumulation` examples; `batch_size` are the most in a micro-batch.
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

    def forecast(
        self,
        context: FitContext,
        rows: Sequence[Row],
        lora: LoraSettings | None,
        reference: bool = False,
        share: float = 1.0,
    ) -> Forecast:
        """How long training on `rows`, which may grow, will take.

        With a `reference`, it reads them once more. They are a `share` of all that is trained on.
        """
        weights = 0.0 if lora else _copying(context.lm.model, None, context.clock)  # an adapter's are few
        overhead = _COPIES_IN_A_STEP * weights / (self.batch_size * self.accumulation)
        passes = (_PASSES if lora is None else _PASSES_OF_AN_ADAPTER) + reference
        most = self.training_share * context.clock.budget
        first = (COPIES + _COPIES_IN_A_STEP) * weights
        return Forecast(context, rows, passes, self.num_epochs / share, most, overhead, first)

    def arguments(self, context: FitContext) -> dict[str, Any]:
        """Keyword arguments for the trainer's own: seeded, quiet, in the order of the data, nothing written.

        `max_length` is trl's.
        """
        device = context.lm.model.device
        return {
            "output_dir": str(context.scratch),
            "learning_rate": self.learning_rate,
            "num_train_epochs": self.num_epochs,
            # A whole optimizer step, which the trainer cuts into micro-batches itself.
            "per_device_train_batch_size": self.batch_size * self.accumulation,
            "max_length": min(self.max_length, context.lm.max_length),
            "max_grad_norm": self.max_grad_norm,
            "warmup_steps": self.warmup_ratio,
            "weight_decay": self.weight_decay,
            "lr_scheduler_type": self.scheduler,
            "train_sampling_strategy": "sequential",
            "seed": context.seed,
            "use_cpu": device.type == "cpu",
            "bf16": computes_halves(device),
            "activation_checkpointing": self.gradient_checkpointing,
            "activation_checkpointing_kwargs": RECOMPUTED,
            "save_strategy": "no",
            "logging_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
        }


def fit_weights(
    context: FitContext,
    forecast: Forecast,
    lora: LoraSettings | None,
    build: Callable[[datasets.Dataset], MicroBatched],
) -> Personalizer:
    """Train on the forecast's rows what `build` makes of their records; without rows, or time, all get the base prompt.

    Raises HarnessError if trl dropped records, which would make methods learn from different data.
    """
    rows = forecast.rows
    if not rows:
        return Unedited(context.task)
    with context.clock.phase("construction"), _quiet():
        trainer = build(datasets.Dataset.from_list([record(context.lm, row) for row in rows]))
    if (kept := len(trainer.lengths)) != len(rows):
        raise HarnessError(f"trl kept {kept} of {len(rows)} training examples. Please report this.")
    trainer.remove_callback(PrinterCallback)
    forecast.measure()
    with context.clock.phase("forecast"):
        pace = _pace(trainer, context.clock, forecast, lora)

    def personalizer() -> Personalizer:
        return Trained(context.task, trained_tensors(trainer.model, lora), lora)

    with counted(context.lm, trainer.model):
        done = _train(trainer, context, pace, rows, personalizer)
    if not done:
        return Unedited(context.task)
    assert trainer.optimizer is not None
    trainer.optimizer.state.clear()  # moments, twice the weights, of which a copy is made now
    trainer.model.zero_grad(set_to_none=True)
    with context.clock.phase("save"):
        return personalizer()


def load_weights(directory: Path, task: Task) -> Personalizer:
    """What `fit_weights` returned, from the folder it was saved in."""
    return Trained.load(directory, task) if Trained.saved_in(directory) else Unedited(task)


def _train(
    trainer: MicroBatched,
    context: FitContext,
    pace: TrainingPace,
    rows: Sequence[Row],
    personalizer: Callable[[], Personalizer],
) -> bool:
    """Train and account; False if not even one micro-batch fits."""
    clock, natural = context.clock, math.ceil(trainer.steps_in_an_epoch * trainer.args.num_train_epochs)
    with clock.phase("training"):
        plan = Plan(trainer, pace, natural)
        offers = Offers(lambda: context.checkpoint(len(trainer.used), personalizer))
        if pace.fits(trainer.size(trainer.pieces(0)[0])):
            context.report.counts["training_loss"] = _run(trainer, context, plan, offers)
    steps = trainer.state.global_step
    if steps < natural or trainer.cut or plan.shortened:
        clock.exhausted = True
        clock.reason = clock.reason or _reason(steps, natural, trainer.cut)
    _account(context, trainer, rows)
    return steps > 0


def _reason(steps: int, natural: int, cut: int) -> str:
    if steps < natural:
        return f"the clock had room for {steps} of {natural} optimizer steps"
    if cut:
        return "the clock had no room for all examples of the last optimizer step"
    return "the end of training was expected sooner, so that the learning rate fell earlier"


def _pace(trainer: MicroBatched, clock: Clock, forecast: Forecast, lora: LoraSettings | None) -> TrainingPace:
    """What training will take: the forecast, and copying the trained weights once."""
    copied = _copying(trainer.model, lora, clock)
    pace = TrainingPace(clock, COPIES * copied, _COPIES_IN_A_STEP * copied, trainer.args.device)
    size = trainer.size(trainer.pieces(0)[0])
    pace.expect(size, forecast.of(size))
    return pace


def _copying(model: nn.Module, lora: LoraSettings | None, clock: Clock) -> float:
    """Seconds that copying the trained weights to the CPU takes."""
    begun = clock.elapsed()
    for tensor in trained(model, lora).values():
        tensor.detach().to("cpu", copy=True)
    return clock.elapsed() - begun


def _run(trainer: MicroBatched, context: FitContext, plan: Plan, offers: Offers) -> float:
    """Train to the end of the plan; the mean loss of its steps."""
    trainer.args.max_steps = plan.natural
    for callback in (plan, offers):
        trainer.add_callback(callback)
    set_seed(context.seed)
    if (result := unless_out_of_memory(trainer.train)) is None:
        raise nothing_left(trainer.args.device, "when the optimizer takes room for two moments of every parameter")
    return result.training_loss


def _account(context: FitContext, trainer: MicroBatched, rows: Sequence[Row]) -> None:
    report = context.report
    report.samples_used = len(trainer.used)
    report.users_fitted = len({rows[place].user for place in trainer.used} - {""})
    report.counts["optimizer_steps"] = trainer.state.global_step
    for name, count in (("shortened_accumulations", trainer.cut), ("out_of_memory", trainer.out_of_memory)):
        if count:
            report.counts[name] = count


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
