"""Chameleon (the paper): insights, self-generated pairs, directions, and edits of representations while answering."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch.nn.functional import cosine_similarity

from harness.api import (
    Diagnosis,
    EditPositions,
    Edits,
    Example,
    FitContext,
    HarnessError,
    Method,
    Personalizer,
    Position,
    Site,
    Task,
)
from harness.methods.chameleon.ccs import CcsConfig
from harness.methods.chameleon.diagnosis import diagnose
from harness.methods.chameleon.directions import (
    Directions,
    Identification,
    LayerChoice,
    Source,
    find_directions,
)
from harness.methods.chameleon.directions_time import seconds_by_pairs
from harness.methods.chameleon.insights import Insights, add_insights
from harness.methods.chameleon.preference_pairs import PairText, dissimilar, generate_pairs, represent_pairs
from harness.methods.chameleon.steering import Steering
from harness.methods.chameleon.stored_pairs import StoredGroups, StoredPairs
from harness.methods.chosen_layers import ChosenLayers

_DIAGNOSED = 2**28  # numbers of the edited layers' representations: with more, there is no diagnosis


class ChameleonConfig(BaseModel):
    """The paper's settings where it gives them; where it does not, the choices are named so that each can be varied.

    `group_size`: users whose pairs form one direction; None for all, 1 for individual users. `min_pairs`: a group with
    fewer has no direction, and its users get the base prompt. `layers`: these instead of the `num_layers` with the
    lowest loss, or with the largest held-out margin (`layer_choice`). `batch_size` is the most examples at once.

    `position` is where pairs are represented, `edit_positions` where answers are edited, both at `site`; `strength` is
    the paper's 1. `bounded`: what is added along the personalized direction is the tanh of the projection's size.
    `max_similarity`: pairs whose outputs' sentence embeddings have a larger cosine are dropped.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    identification: Identification = "hybrid"
    edit: Literal["both", "personalized", "neutral"] = "both"
    position: Position = "last"
    site: Site = "mlp"
    edit_positions: EditPositions = "all"
    strength: float = 1.0
    bounded: bool = False
    max_similarity: float | None = Field(default=None, ge=-1, le=1)
    pair_text: PairText = "full"
    eval_prompt: Literal["base", "insight"] = "base"
    num_layers: int = Field(default=2, ge=1)
    layers: ChosenLayers = None
    layer_choice: LayerChoice = "ccs_loss"
    group_size: int | None = Field(default=None, ge=1)
    min_pairs: int = Field(default=4, ge=1)
    insight_tokens: int = Field(default=64, ge=1)
    batch_size: int = Field(default=16, ge=1)
    ccs: CcsConfig = CcsConfig()

    @model_validator(mode="after")
    def _pairs_can_differ(self) -> "ChameleonConfig":
        if self.pair_text == "history" and self.position == "answer_start":
            raise ValueError("with pair_text=history the two prompts are the same, so position must be 'last'")
        return self


@dataclass(frozen=True)
class Collected:
    """The pairs that the clock allowed, on disk, and the insights behind them."""

    pairs: StoredPairs
    insights: dict[str, Insights]


class Chameleon(Method):
    """Finds directions in self-generated pairs of answers and edits the MLPs' outputs with them (Chameleon).

    Users are taken a batch at a time, so that a short budget leaves fewer users but always finished directions.
    """

    Config: ClassVar[type[BaseModel]] = ChameleonConfig

    def check_supervision(self, supervision: int) -> None:
        _check_pairs(self.config, supervision)

    def fit(self, context: FitContext) -> Personalizer:
        _check_layers(self.config, context.lm.num_layers)
        groups = _groups(context, self.config.group_size)
        collected = self._collect(context, groups)
        fitted = _fitted_groups(groups, collected.pairs, self.config.min_pairs)
        with context.clock.phase("directions"):
            steered = self._steer(context, collected.pairs, list(fitted.values()))
        self._account(context, groups, collected, fitted)
        if steered:
            source, found = _source(context, collected.pairs, list(fitted.values())), steered[1]
            _report_losses(context.report.counts, found)
            if 2 * len(found.layers) * len(source.counts) * int(source.counts.max()) * source.size <= _DIAGNOSED:
                context.report.diagnose = partial(self._diagnose, context, source, found)
        return self._personalizer(context, groups, collected, list(fitted), steered)

    def load(self, directory: Path, task: Task) -> Personalizer:
        return Steering.load(directory, task)

    def _banks(self, context: FitContext, source: Source, found: Directions) -> Edits:
        """What to do with the directions found; controls put something else in their place."""
        personal = None if self.config.edit == "neutral" else found.personal
        neutral = None if self.config.edit == "personalized" else found.neutral
        strength = None if self.config.strength == 1 else torch.full(found.chosen.shape, self.config.strength)
        bounded = self.config.bounded
        return Edits(found.layers, (), personal, neutral, None, strength, found.places, bounded=bounded)

    def _collect(self, context: FitContext, groups: Sequence[Sequence[str]]) -> Collected:
        insights: dict[str, Insights] = {}
        stored = StoredPairs(Path(tempfile.mkdtemp(dir=context.scratch)))
        collected = Collected(stored, insights)
        for batch in _batches(context, groups, self.config.batch_size, self._reserve(context, groups, stored)):
            with context.clock.cut_off():
                with context.clock.phase("insights"):
                    add_insights(context, batch, insights, self.config.insight_tokens)
                with context.clock.phase("pairs"):
                    recorded = self.config.position if self.config.pair_text == "full" else None
                    pairs = generate_pairs(context, batch, insights, recorded, self.config.site)
                    if self.config.max_similarity is not None:
                        pairs = dissimilar(context, pairs, self.config.max_similarity)
                with context.clock.phase("representations"):
                    if pairs:
                        text, position, site = self.config.pair_text, self.config.position, self.config.site
                        stored.append(represent_pairs(context, pairs, text, position, site))
            context.checkpoint(len(stored.users), lambda: self._answer(context, groups, collected))
        return collected

    def _answer(self, context: FitContext, groups: Sequence[Sequence[str]], collected: Collected) -> Personalizer:
        fitted = _fitted_groups(groups, collected.pairs, self.config.min_pairs)
        steered = self._steer(context, collected.pairs, list(fitted.values()))
        return self._personalizer(context, groups, collected, list(fitted), steered)

    def _reserve(
        self, context: FitContext, groups: Sequence[Sequence[str]], stored: StoredPairs
    ) -> Callable[[int], float]:
        """Seconds to keep for the directions of the pairs stored so far and so many more."""
        lm, group_of, clock = context.lm, _group_of(groups), context.clock
        with clock.phase("calibration"):
            seconds = seconds_by_pairs(
                lm.num_layers, max(1, len(groups)), lm.hidden_size, self.config.ccs, lm.model.device, clock.elapsed
            )

        counts: Counter[int] = Counter()

        def reserve(more: int) -> float:
            counts.update(group_of[user] for user in stored.users[counts.total() :])
            padding = len(counts) * max(counts.values()) / counts.total() if counts else 1.0
            pairs = max(counts.total() + more, self.config.min_pairs)  # fewer have no direction
            return seconds(padding * pairs, min(pairs, len(groups)))

        return reserve

    def _steer(
        self, context: FitContext, pairs: StoredPairs, rows: Sequence[Sequence[int]]
    ) -> tuple[Edits, Directions] | None:
        if not rows:
            return None
        source = _source(context, pairs, rows)
        found = find_directions(
            source,
            self.config.identification,
            self.config.ccs,
            context.seed,
            self.config.num_layers,
            self.config.layers,
            layers_per_group=self.config.group_size == 1,
            layer_choice=self.config.layer_choice,
        )
        banks = self._banks(context, source, found)
        return replace(banks, site=self.config.site, positions=self.config.edit_positions), found

    def _diagnose(self, context: FitContext, source: Source, found: Directions) -> Diagnosis:
        config = self.config
        nothing_to_choose = config.layers is not None or config.num_layers == context.lm.num_layers
        choice = None if nothing_to_choose else config.layer_choice
        edited = source.part(slice(None), found.layers)
        return diagnose(edited, found, config.identification, config.ccs, context.seed, choice)

    def _account(
        self,
        context: FitContext,
        groups: Sequence[Sequence[str]],
        collected: Collected,
        fitted: dict[int, list[int]],
    ) -> None:
        users = collected.pairs.users
        used = [row for rows in fitted.values() for row in rows]
        context.report.users_fitted = len({users[row] for row in used})
        context.report.samples_used = len(used)
        context.report.counts["groups"] = len(groups)
        context.report.counts["groups_without_direction"] = len(groups) - len(fitted)

    def _personalizer(
        self,
        context: FitContext,
        groups: Sequence[Sequence[str]],
        collected: Collected,
        fitted: list[int],
        steered: tuple[Edits, Directions] | None,
    ) -> Steering:
        rows = {user: row for row, group in enumerate(fitted) for user in groups[group]}
        everybody = context.regime == "unseen" or self.config.group_size is None
        asked = self.config.eval_prompt == "insight"
        insights = {user: own.personal for user, own in collected.insights.items() if own.personal} if asked else {}
        return Steering(context.task, steered and steered[0], rows, 0 if everybody and fitted else -1, insights)


def _source(context: FitContext, pairs: StoredPairs, rows: Sequence[Sequence[int]]) -> StoredGroups:
    return StoredGroups(pairs, rows, context.lm.model.device)


def _check_layers(config: ChameleonConfig, available: int) -> None:
    wanted = config.num_layers if config.layers is None else max(config.layers) + 1
    if wanted > available:
        asked = f"num_layers={wanted}" if config.layers is None else f"layers={list(config.layers)}"
        raise HarnessError(
            f"chameleon: {asked} does not fit the model, whose decoder has {available} layers, counted from 0. "
            "Set num_layers or layers to what it has."
        )


def _check_pairs(config: ChameleonConfig, supervision: int) -> None:
    """A group has a pair per example at most."""
    size, needed = config.group_size, config.min_pairs
    if size is not None and size * supervision < needed:
        raise HarnessError(
            f"chameleon: with group_size={size} and --supervision {supervision} a group has {size * supervision} pairs "
            f"of answers at most, but a direction needs min_pairs={needed}: no user would get one. Use --supervision "
            f"{-(-needed // size)} or more, as some pairs are always dropped, larger groups, or a lower min_pairs."
        )


def _groups(context: FitContext, size: int | None) -> list[list[str]]:
    """A partition of the users in their seeded order; in the regime `unseen` one group serves everybody."""
    users = [user.id for user in context.users if user.examples]
    width = size or max(1, len(users))
    groups = [users[start : start + width] for start in range(0, len(users), width)]
    return groups[:1] if context.regime == "unseen" else groups


def _group_of(groups: Sequence[Sequence[str]]) -> dict[str, int]:
    return {user: number for number, group in enumerate(groups) for user in group}


def _batches(
    context: FitContext, groups: Sequence[Sequence[str]], batch_size: int, reserve: Callable[[int], float]
) -> Iterator[list[Example]]:
    """The examples of the groups' members, no further than the last of them."""
    members = {user for group in groups for user in group}
    left = sum(len(user.examples) for user in context.users if user.id in members)
    for batch in context.examples(batch_size, reserve) if left else ():
        mine = [example for example in batch if example.user in members]
        if mine:
            yield mine
        left -= len(mine)
        if not left:
            return


def _fitted_groups(groups: Sequence[Sequence[str]], pairs: StoredPairs, min_pairs: int) -> dict[int, list[int]]:
    """The pairs' row numbers of each group that has enough of them, by group number."""
    group_of = _group_of(groups)
    rows: dict[int, list[int]] = {}
    for row, user in enumerate(pairs.users):
        rows.setdefault(group_of[user], []).append(row)
    return {number: own for number, own in sorted(rows.items()) if len(own) >= min_pairs}


def _report_losses(counts: dict[str, float], found: Directions) -> None:
    mean = found.loss.mean(dim=0)
    counts["layer_ties"] = found.layer_ties
    counts["ccs_loss_min"], counts["ccs_loss_max"] = float(mean.min()), float(mean.max())
    overlap = cosine_similarity(found.personal, found.neutral, dim=-1).abs()
    counts["direction_cosine"] = float(overlap.mean())  # at 1, strengthening and removing come to removing
    counts["ccs_loss_group_sd"] = float(found.loss.std(dim=0, correction=0).mean())
    for place, layer in enumerate(found.layers, start=1):
        counts[f"layer_{place}"] = layer
