"""Contrastive activation addition (Panickssery et al. 2024): the mean difference of answers' representations, added."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field

from harness.api import (
    EditPositions,
    Edits,
    Example,
    FitContext,
    HarnessError,
    Method,
    Personalizer,
    Site,
    Task,
)
from harness.methods.answer_pairs import Choice, answer_pairs, count_left_out, pair_prompt
from harness.methods.chameleon.steering import Steering
from harness.methods.chosen_layers import ChosenLayers


class CaaConfig(BaseModel):
    """`layers`: decoder layers counted from 0, None for the middle one. `strength` multiplies what is added at `site`.

    `edit_positions` are the tokens at which it is. `batch_size` is in examples and is the grain at which the clock can
    stop the fit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    layers: ChosenLayers = None
    strength: float = 1.0
    site: Site = "mlp"
    edit_positions: EditPositions = "all"
    batch_size: int = Field(default=16, ge=1)


@dataclass(frozen=True)
class Differences:
    """Of each pair the user, and own minus neutral answer at the chosen layers, [N, l, d]."""

    users: tuple[str, ...]
    values: torch.Tensor


class Caa(Method):
    """Adds one vector for everybody: users' own answers minus the model's neutral ones (CAA).

    Both answers of a pair follow one prompt. The publication reads and edits the residual stream (`site` "block"), and
    adds the vector from the prompt's last token on (`edit_positions` "answer"; with "generated", an error that the
    authors corrected, the first token of an answer stays as it is); so do the presets of the paper's models. The
    defaults are Chameleon's, with which the preset `small` was searched.
    """

    Config = CaaConfig
    personal: ClassVar[bool] = False  # a vector per user, from what users write without their history before it

    def fit(self, context: FitContext) -> Personalizer:
        layers, parts = self._layers(context), list[Differences]()
        nobody = self.personal and context.regime == "unseen"
        for batch in () if nobody else context.examples(self.config.batch_size):
            with context.clock.cut_off():
                with context.clock.phase("pairs"):
                    pairs = answer_pairs(context, batch, shows_history=not self.personal)
                with context.clock.phase("representations"):
                    parts += self._differences(context, pairs, layers)
            context.checkpoint(sum(len(part.users) for part in parts), partial(self._steering, context, layers, parts))
        used = [user for part in parts for user in part.users]
        context.report.users_fitted = len(set(used))
        context.report.samples_used = len(used)
        return self._steering(context, layers, parts)

    def load(self, directory: Path, task: Task) -> Personalizer:
        return Steering.load(directory, task)

    def _layers(self, context: FitContext) -> tuple[int, ...]:
        layers, available = self.config.layers, context.lm.num_layers
        if layers is None:
            return (available // 2,)
        if max(layers) >= available:
            raise HarnessError(
                f"layers={list(layers)} does not fit the model, whose decoder has {available} layers, counted from 0. "
                "Set layers to what it has, or leave it out for the middle one."
            )
        return layers

    def _differences(self, context: FitContext, pairs: Sequence[Choice], layers: tuple[int, ...]) -> list[Differences]:
        """Of the pairs that fit the context with their prompt, and whose neutral answer says anything.

        The others are counted: of an empty answer there is no representation but that of the prompt.
        """
        said = [pair for pair in pairs if pair.rejected]
        count_left_out(context, "empty_outputs", pairs, said)
        prompted = [(pair, prompt) for pair in said if (prompt := self._prompt(context, *pair)) is not None]
        if not prompted:
            return []
        prompts = [prompt for _, prompt in prompted] * 2
        outputs = [pair.chosen for pair, _ in prompted] + [pair.rejected for pair, _ in prompted]
        states = context.lm.represent(prompts, outputs, "last", self.config.site, context.clock.time_left)
        own, neutral = states[:, list(layers)].tensor_split(2)
        return [Differences(tuple(pair.example.user for pair, _ in prompted), own - neutral)]

    def _prompt(self, context: FitContext, example: Example, *answers: str) -> str | None:
        return pair_prompt(context, example, () if self.personal else example.history, answers)

    def _steering(self, context: FitContext, layers: tuple[int, ...], parts: Sequence[Differences]) -> Steering:
        if not parts:
            return Steering(context.task, None, {})
        values = torch.cat([part.values for part in parts])
        own: dict[str, list[int]] = {}
        for row, user in enumerate(user for part in parts for user in part.users):
            own.setdefault(user, []).append(row)
        groups = list(own.values()) if self.personal else [list(range(len(values)))]
        offset = self.config.strength * torch.stack([values[rows].mean(dim=0) for rows in groups])  # [G, l, d]
        banks = Edits(layers, (), offset=offset, site=self.config.site, positions=self.config.edit_positions)
        rows = {user: number if self.personal else 0 for number, user in enumerate(own)}
        return Steering(context.task, banks, rows, default_row=-1 if self.personal else 0)
