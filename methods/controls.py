"""Controls: what a result has to beat before it means that personalization, or the direction found, did the work."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from harness.api import FitContext, HistoryItem, HistorySearch, Method, Personalizer, Query, Task, User
from harness.methods.aloe import Aloe
from harness.methods.base_prompt import BasePrompt
from harness.methods.chameleon.directions import Directions, Source, group_slices
from harness.methods.chameleon.method import Chameleon, ChameleonConfig
from harness.methods.chameleon.steering import Banks
from harness.methods.dpo import Dpo
from harness.methods.oppu import Oppu

T = TypeVar("T")
_FILE = "answers.json"
_SHOWN = "shown.json"
_BISECTIONS = 60


class NothingToSet(BaseModel):
    """There is nothing to set."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass
class FixedAnswers(BasePrompt):
    """Answers without a model: the user's own answer, else `default`, else an echo of the query."""

    task: Task
    own: dict[str, str]
    default: str | None

    def answers(self, queries: Sequence[Query]) -> list[str]:
        return [self.own.get(query.user, query.text if self.default is None else self.default) for query in queries]

    def save(self, directory: Path) -> None:
        text = json.dumps({"own": self.own, "default": self.default}, ensure_ascii=False, indent=1)
        (directory / _FILE).write_text(text, encoding="utf-8")


class Constant(Method):
    """The most frequent answer in all histories for everybody; an echo of the query where answers are free text."""

    Config = NothingToSet

    def fit(self, context: FitContext) -> Personalizer:
        answers = _pooled(context, _answers(context))
        context.report.samples_used = len(answers)
        return FixedAnswers(context.task, {}, _majority(context.task, answers))

    def load(self, directory: Path, task: Task) -> Personalizer:
        return FixedAnswers(task, **json.loads((directory / _FILE).read_text(encoding="utf-8")))


class UserMajority(Constant):
    """The most frequent answer in each user's history; for users without one, and for free text, as `Constant`."""

    def fit(self, context: FitContext) -> Personalizer:
        answers = _answers(context)
        own = {user: label for user, given in answers.items() if (label := _majority(context.task, given))}
        context.report.users_fitted = len(own)
        context.report.samples_used = sum(len(answers[user]) for user in own)
        return FixedAnswers(context.task, own, _majority(context.task, _pooled(context, answers)))


class RandomDirectionConfig(ChameleonConfig):
    """`principal` draws inside the span of the pairs' first `components` singular vectors, where directions matter."""

    subspace: Literal["full", "principal"] = "full"
    components: int = Field(default=8, ge=1)


class RandomDirection(Chameleon):
    """Chameleon with random directions in place of those found, in the same layers.

    A projection does not depend on its direction's norm, so the strength is set such that the mean ||dx|| over the
    pairs' representations is, group by group and layer by layer, that of the edit replaced.
    """

    Config = RandomDirectionConfig
    control_of = "chameleon"

    def _banks(self, context: FitContext, source: Source, found: Directions) -> Banks:
        fitted = super()._banks(context, source, found).dense()
        edited = source.part(slice(None), found.layers)
        pairs, mask = edited.pairs.cpu(), edited.mask.cpu()
        generator = torch.Generator().manual_seed(context.seed)
        drawn = replace(
            fitted,
            personal=None if fitted.personal is None else self._draw(pairs, generator),
            neutral=None if fitted.neutral is None else self._draw(pairs, generator),
        )
        own = torch.ones(pairs.shape[1:3]) if fitted.strength is None else fitted.strength
        target = mean_change(pairs, mask, fitted, own)
        return replace(drawn, strength=_solve(lambda strength: mean_change(pairs, mask, drawn, strength), target))

    def _draw(self, pairs: Tensor, generator: torch.Generator) -> Tensor:
        """[G, l, d] from pairs [2, G, l, K, d]."""
        if self.config.subspace == "full":
            return torch.randn(*pairs.shape[1:3], pairs.shape[-1], generator=generator)
        axes = torch.linalg.svd(torch.cat(list(pairs), dim=-2), full_matrices=False).Vh
        span = axes[..., : self.config.components, :]
        weights = torch.randn(*span.shape[:-1], 1, generator=generator)
        return (weights * span).sum(dim=-2)


class ShuffledHistory(Chameleon):
    """Chameleon fitted with each user's histories exchanged for the next user's; the prompt shows the user's own."""

    control_of = "chameleon"

    def fit(self, context: FitContext) -> Personalizer:
        return super().fit(_shuffled(context))


class OthersHistories(BasePrompt):
    """The base prompt with another user's history: what is `shown` to each; nothing where prompts may show none."""

    def __init__(self, task: Task, shown: Mapping[str, Sequence[HistoryItem]]) -> None:
        self.task = task
        self.shown = {user: tuple(items) for user, items in shown.items()}

    def retrieve(
        self, query: Query, history: tuple[HistoryItem, ...], search: HistorySearch
    ) -> tuple[HistoryItem, ...]:
        return self.shown.get(query.user, history) if history else history

    def serves(self, query: Query) -> bool:
        return query.user in self.shown

    def save(self, directory: Path) -> None:
        shown = {user: [asdict(item) for item in items] for user, items in self.shown.items()}
        (directory / _SHOWN).write_text(json.dumps(shown, ensure_ascii=False, indent=1), encoding="utf-8")


class ShuffledPrompt(Method):
    """The model as it is, shown the next user's history in place of the user's own: what is personal in a prompt."""

    Config = NothingToSet

    def fit(self, context: FitContext) -> Personalizer:
        shown = {user.id: donor.history for user, donor in zip(context.users, _next(context.users), strict=True)}
        context.report.users_fitted = len(shown)
        return OthersHistories(context.task, shown)

    def load(self, directory: Path, task: Task) -> Personalizer:
        shown = json.loads((directory / _SHOWN).read_text(encoding="utf-8"))
        return OthersHistories(task, {user: [HistoryItem(**item) for item in items] for user, items in shown.items()})


class ShuffledAloe(Aloe):
    """ALOE-SFT on answers beside the next user's histories: what training gains that is nobody's in particular."""

    control_of = "aloe"

    def fit(self, context: FitContext) -> Personalizer:
        return super().fit(_shuffled(context))


class ShuffledDpo(Dpo):
    """DPO-LoRA that prefers users' answers beside the next user's histories."""

    control_of = "dpo"

    def fit(self, context: FitContext) -> Personalizer:
        return super().fit(_shuffled(context))


class ShuffledOppu(Oppu):
    """OPPU whose users have each the adapter of the next who has one, over the task's.

    A single adapter stays with its user: there is nobody to exchange with.
    """

    control_of = "oppu"

    def _personalizer(self, task: Task, own: Mapping[str, Mapping[str, Tensor]], common: Personalizer) -> Personalizer:
        return super()._personalizer(task, dict(zip(own, _next(list(own.values())), strict=True)), common)


class MeanDifferenceConfig(ChameleonConfig):
    """`strength` multiplies the offset, which is all of the edit: other settings of the edit have no place here."""

    edit: Literal["both"] = "both"
    bounded: Literal[False] = False
    identification: Literal["hybrid"] = "hybrid"


class MeanDifference(Chameleon):
    """Adds mean(P) - mean(N) at the layers that Chameleon would edit, as contrastive activation addition does."""

    Config = MeanDifferenceConfig
    control_of = "chameleon"

    def _banks(self, context: FitContext, source: Source, found: Directions) -> Banks:
        slices = group_slices(source, len(found.layers))
        sums = [source.part(groups, found.layers).pairs.sum(dim=-2).cpu() for groups in slices]
        personal, neutral = (torch.cat(sums, dim=1) / source.counts.cpu()[:, None, None]).unbind()
        offset = self.config.strength * (personal - neutral) * found.edited[..., None]
        return Banks(found.layers, offset=offset)


def _next(items: Sequence[T]) -> list[T]:
    """What comes after each, the first after the last."""
    return [*items[1:], *items[:1]]


def _shuffled(context: FitContext) -> FitContext:
    """A context in which every user has the history of the next one, paraphrases and the examples' histories included.

    Where the run selects by what is asked, it does so here: only whose history it is may differ. A fit on one user is
    not changed: there is nobody to exchange with.
    """
    donors = _next(context.users)
    shuffled = copy(context)
    with context.clock.phase("selection"):
        shuffled.users = [_with(context, user, donor) for user, donor in zip(context.users, donors, strict=True)]
    return shuffled


def _with(context: FitContext, user: User, donor: User) -> User:
    if donor is user:  # whose examples stand beside a history without them
        return user
    examples = tuple(
        # An input that is not there yet will be a paraphrase of the answer.
        replace(one, history=context.history_for(donor, one.answer if one.query is None else one.query))
        for one in user.examples
    )
    return replace(user, history=donor.history, examples=examples)


def mean_change(pairs: Tensor, mask: Tensor, banks: Banks, strength: Tensor) -> Tensor:
    """Mean ||dx|| [G, l] of edits, offsets apart, of representations [2, G, l, K, d].

    `mask` is [G, K], `strength` [G, l].
    """
    scale, x = strength[..., None, None], pairs
    if banks.personal is not None:
        x = x + scale * _part(x, banks.personal, banks.bounded)
    if banks.neutral is not None:
        x = x - scale * _part(x, banks.neutral)
    kept = mask[None, :, None]
    return ((x - pairs).norm(dim=-1) * kept).sum(dim=(0, 3)) / (2 * kept.sum(dim=(0, 3)))


def _part(x: Tensor, direction: Tensor, bounded: bool = False) -> Tensor:
    """The projection on a direction, at its tanh if `bounded`."""
    unit = torch.nn.functional.normalize(direction, dim=-1)[..., None, :]
    size = (x * unit).sum(dim=-1, keepdim=True)
    return (size.tanh() if bounded else size) * unit


def _solve(change: Callable[[Tensor], Tensor], target: Tensor) -> Tensor:
    """The strength at which `change` reaches `target`, element by element."""
    low, high = torch.zeros_like(target), torch.ones_like(target)
    for _ in range(_BISECTIONS):
        high = torch.where(change(high) < target, 2 * high, high)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        short = change(middle) < target
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return (low + high) / 2


def _answers(context: FitContext) -> dict[str, list[str]]:
    """The answers in the whole history of each user to fit on, of users who have any."""
    found = {}
    for user in context.users:
        size = context.search.index(user.id, "recency")
        items = context.search.search(Query("", user.id, ""), "recency", size)
        if given := [pair[1] for item in items if (pair := context.task.supervise(item))]:
            found[user.id] = given
    return found


def _pooled(context: FitContext, histories: dict[str, list[str]]) -> list[str]:
    """All answers of the histories or, where these hold none, of the examples."""
    pooled = [answer for given in histories.values() for answer in given]
    return pooled or [example.answer for user in context.users for example in user.examples]


def _majority(task: Task, answers: Sequence[str]) -> str | None:
    """The most frequent answer, the earliest on ties; None for free text."""
    if not task.labels:
        return None
    return Counter(answers or task.labels).most_common(1)[0][0]
