"""OPPU (Tan et al. 2024): one small adapter per user, trained on the user's own history, over one for the task."""

import random
from collections.abc import Mapping, Sequence
from copy import copy
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field
from torch import Tensor

from harness.api import (
    Example,
    FitContext,
    HistoryItem,
    LanguageModel,
    Method,
    OutOfTime,
    Personalizer,
    Query,
    Task,
    User,
)
from harness.methods.aloe import Aloe, AloeConfig
from harness.methods.base_prompt import Unedited
from harness.methods.fine_tuning.clock_share import ClockShare
from harness.methods.fine_tuning.memory import too_little
from harness.methods.fine_tuning.trainer import TrainingConfig, load_weights
from harness.methods.fine_tuning.training_data import Row, training_prompt
from harness.methods.fine_tuning.user_adapters import UserAdapters
from harness.methods.fine_tuning.user_training import UserTraining
from harness.methods.fine_tuning.weights import LoraSettings, Trained, without_lora


class OppuConfig(TrainingConfig):
    """Defaults are the authors'. A user's adapter learns from the `items` newest of the history, None for all of it.

    `task_share` of the budget is for the adapter of the task, which is trained on all users' examples as ALOE's is, at
    the same settings; without `task_adapter` there is none, and users share nothing.
    """

    lora: LoraSettings = LoraSettings(r=8, alpha=8)
    learning_rate: float = Field(default=1e-4, gt=0)
    num_epochs: float = Field(default=2.0, gt=0)
    batch_size: int = Field(default=16, ge=1)
    max_length: int = Field(default=2048, ge=1)
    max_grad_norm: float = Field(default=0.3, gt=0)
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0)
    scheduler: Literal["cosine", "linear", "constant"] = "linear"
    items: int | None = Field(default=None, ge=1)
    task_adapter: bool = True
    task_share: float = Field(default=0.5, gt=0, lt=1)


class Oppu(Method):
    """Trains a small LoRA per user over one for the task (OPPU).

    Users are taken in order as the clock allows; the others get the task's alone.
    In the regime `unseen` only the task's is trained: those who ask are not those whose histories are at hand.
    """

    Config = OppuConfig

    def check_model(self, lm: LanguageModel, memory: int) -> list[str]:
        return too_little("oppu", lm, self.config.lora, memory)

    def fit(self, context: FitContext) -> Personalizer:
        common = self._common(context)
        if context.regime == "unseen":
            return common
        return self._apart(context, common)

    def load(self, directory: Path, task: Task) -> Personalizer:
        if UserAdapters.saved_in(directory):
            return UserAdapters.load(directory, task)
        return load_weights(directory, task)

    def _common(self, context: FitContext) -> Personalizer:
        """The task's adapter, which is not left in the model; without time for one, the base prompt."""
        if not self.config.task_adapter:
            return Unedited(context.task)
        part = copy(context)
        if context.regime == "seen":
            part.clock = ClockShare(context.clock, self.config.task_share)
        shared = {name: getattr(self.config, name) for name in TrainingConfig.model_fields}
        fitted = Aloe(AloeConfig(training="lora", lora=self.config.lora, **shared)).fit(part)
        without_lora(context.lm.model)
        return fitted

    def _apart(self, context: FitContext, common: Personalizer) -> Personalizer:
        report, tensors = context.report, common.tensors if isinstance(common, Trained) else None
        of_task, context.clock.reason = context.clock.reason, ""
        own: dict[str, dict[str, Tensor]] = {}
        make = partial(self._personalizer, context.task, own, common)
        with context.clock.phase("user adapters"):
            training = UserTraining(context, self.config, self.config.lora, tensors)
            work, reserve = partial(self._work, context), partial(_saving, training, own)
            for [user] in context.clock.batches(context.users, 1, work, reserve):
                with context.clock.cut_off():
                    if rows := self._rows(context, training, user):
                        own[user.id] = training.train(rows, _seed(context, user))
                        report.samples_used += len(rows)
                context.checkpoint(report.samples_used, make)
        if context.clock.reason:
            got = f"{len(own)} of {len(context.users)} users got an adapter of their own"
            context.clock.reason = f"{got}: {context.clock.reason}"
        else:
            context.clock.reason = of_task
        report.counts["user_adapters"] = len(own)
        report.counts["users_without_adapter"] = len(context.users) - len(own)
        report.users_fitted = max(report.users_fitted, len(own))  # the task's adapter has learned from users, too
        return make()

    def _personalizer(self, task: Task, own: Mapping[str, Mapping[str, Tensor]], common: Personalizer) -> Personalizer:
        if not own:
            return common
        return UserAdapters.of(task, own, common.tensors if isinstance(common, Trained) else None, self.config.lora)

    def _rows(self, context: FitContext, training: UserTraining, user: User) -> list[Row]:
        """The user's records in seeded order; inputs that the history lacks are paraphrases by the base model."""
        examples = self._examples(context, user)
        order = random.Random(f"records {context.seed} {user.id}")
        with training.base_model():
            complete = context.complete(order.sample(examples, len(examples)))
        prompted = [(one, training_prompt(context, self.config.max_length, one, [one.answer])) for one in complete]
        return [Row(prompt, {"completion": one.answer}, user.id) for one, prompt in prompted if prompt is not None]

    def _examples(self, context: FitContext, user: User) -> list[Example]:
        """What the history answers, each beside what the run selects for it, as the task's adapter learns it.

        Selecting may take long for a long history: raises OutOfTime once there is none left.
        """
        examples = []
        for item in self._items(context, user):
            if context.clock.time_left() <= 0:
                raise OutOfTime
            if example := context.example_of(user.id, item):
                examples.append(example)
        return examples

    def _items(self, context: FitContext, user: User) -> Sequence[HistoryItem]:
        most = context.search.index(user.id, "recency") if self.config.items is None else self.config.items
        return context.search.search(Query("history", user.id, ""), "recency", most)

    def _work(self, context: FitContext, user: User) -> float:
        """Tokens of the items to learn, to which those of their prompts are in some proportion."""
        return sum(context.lm.count_tokens(item.text) for item in self._items(context, user))


def _seed(context: FitContext, user: User) -> int:
    """The user's own, so that an adapter does not depend on who else is trained."""
    return random.Random(f"adapter {context.seed} {user.id}").getrandbits(32)


def _saving(training: UserTraining, own: Mapping[str, object], more: int) -> float:
    """Seconds that it takes to put `own` and so many more adapters together, and to write them."""
    return training.copying * (len(own) + more)
