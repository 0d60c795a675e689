"""What a comparison says, as types: `comparison.json` is `Comparison`; `build_comparison` makes it from cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from harness.analysis.refits import Spread
from harness.api import Diagnosis, Status
from harness.specs.run_spec import BASELINE, SCHEMA_VERSION, RunSpec, join_label

if TYPE_CHECKING:
    import pandas as pd

ALPHA = 0.05
_QUARTILES = ("min", "q1", "median", "q3", "max")


class VsInstruct(BaseModel):
    """A row's metric minus instruct's, on the queries that both answered; Holm over all such tests of the run."""

    difference: float
    p: float
    p_holm: float
    effect_size: float | None = None


class LikelihoodScore(BaseModel):
    """A row's mean over the queries that have a likelihood. Holm in `vs_instruct` is over tests of likelihoods only."""

    value: float
    interval: tuple[float, float] | None  # 95%, over users; None for a single user
    queries: int
    vs_instruct: VsInstruct | None


class HistoryBin(BaseModel):
    """The users with `low` to `high` history items (None: no end): the task's first metric over all their answers."""

    low: int
    high: int | None
    users: int
    queries: int
    value: float
    interval: tuple[float, float] | None  # 95%, over the users; None for a single user
    vs_instruct: float | None  # value minus instruct's on the queries of these users that both answered


class UserScore(BaseModel):
    """A user under a method, seeds pooled, by the task's first metric: a line of `users.csv`.

    `instruct` and `gain` are over the queries that both methods answered; a gain above 0 is for the better, whatever
    the metric's direction.
    """

    task: str
    method: str
    variant: str
    user_id: str
    queries: int
    history_items: int | None
    metric: str
    value: float
    instruct: float | None
    gain: float | None


Quartiles = tuple[float, float, float, float, float]  # least, lower quartile, median, upper quartile, greatest


class Row(BaseModel):
    """One cell, or a method's seeds pooled (`seed` None). Seconds, bytes, shares of 1; None if unknown."""

    task: str
    method: str
    variant: str
    seed: int | None
    seeds: list[int]  # those with answers
    status: Status
    reason: str = ""
    metrics: dict[str, float] = Field(default_factory=dict)
    interval: dict[str, tuple[float, float]] = Field(default_factory=dict)  # 95%, over users; none for a single user
    vs_instruct: dict[str, VsInstruct] = Field(default_factory=dict)
    likelihood: dict[str, LikelihoodScore] = Field(default_factory=dict)  # no official metrics, and nothing ranks by it
    parse_failures: float | None = None
    per_user_mean: float | None = None  # of the task's first metric, as are all to `by_history`
    per_user_quartiles: Quartiles | None = None
    worst_decile: float | None = None
    regret_rate: float | None = None  # share of users worse than with instruct
    mean_loss: float | None = None  # what these lose by it, on average, above 0; None where there are none
    better_rate: float | None = None  # share of users better than with instruct
    gain_quartiles: Quartiles | None = None  # of the users' gains over instruct, above 0 for the better
    by_history: list[HistoryBin] = Field(default_factory=list)
    queries: int = 0
    users: int = 0
    users_fitted: int = 0
    users_served: int = 0
    users_known: int | None = None  # who get all that anybody gets; None where records do not say
    samples_used: int = 0
    fit_seconds: float = 0.0
    budget_seconds: float = 0.0
    eval_seconds: float = 0.0
    likelihood_seconds: float = 0.0
    tokens_in: int = 0  # fit and answers
    tokens_out: int = 0
    fit_tokens_in: int = 0
    fit_tokens_out: int = 0
    likelihood_tokens: int = 0
    fit_bytes: int = 0  # what the fit stores
    bytes_per_user: float | None = None  # fit_bytes by users served
    serves_newcomers: bool | None = None  # whether users that the fit has never seen get what all others do
    marginal_seconds: float | None = None  # what it takes to fit one more user: see `costs.marginal`
    marginal_tokens: float | None = None
    marginal_bytes: float | None = None
    # Of the fit, until it was a tenth better than instruct for good: see `costs.with_reach`.
    reach_seconds: float | None = None
    # No method that fits as fast scores as well; None of a control, and of what does not rank.
    on_front: bool | None = None
    peak_memory_bytes: int = 0
    leaks_removed: int = 0
    prompts_shortened: int = 0
    prompts_emptied: int = 0  # of those that were asked, prompts whose whole history had to go
    unanswerable: int = 0
    not_finite: int = 0  # queries to which the model's numbers are NaN or infinite, of the seed with the most
    examples_too_long: int = 0  # left out of the fit
    identical_outputs: int = 0  # pairs left out of the fit, as both of their answers are the same
    records_skipped: int = 0
    items_found: int = 0  # history items in the data, usable or not
    items_skipped: int = 0
    same_as_instruct: bool | None = None  # every answer that both gave is the same text
    sole_answer: str | None = None  # what it answered to every question, whoever asked; None where answers differ
    unread_answer: str | None = None  # the commonest of those that are none to the task, though they say something
    attempts: int = 1
    diagnosis: Diagnosis | None = None  # of a single fit

    @property
    def label(self) -> str:
        """How tables name the method: `chameleon:edit=personalized`."""
        return join_label(self.method, self.variant)

    @property
    def ranks(self) -> bool:
        """Whether it can be the best: it has answers, and its fit kept the budget."""
        return bool(self.metrics) and self.status != "overran"

    @property
    def unread(self) -> float:
        """Share of the queries whose answers could not be read: parse failures less what was never asked."""
        return (self.parse_failures or 0) - self.unanswerable / max(1, self.queries)

    @property
    def serves_nobody(self) -> bool:
        """Whether the fit came to nothing: no user is served, and no answer known to differ from instruct's."""
        personal = self.users_served > 0 or self.same_as_instruct is False
        return self.method != BASELINE and bool(self.metrics) and not personal

    @property
    def serves_some(self) -> bool:
        """Whether the fit serves users, and not all of them."""
        return self.method != BASELINE and 0 < self.users_served < self.users

    @property
    def knows_some(self) -> bool:
        """Whether some of the users whom the fit serves get what all share, and nothing of their own."""
        return self.users_known is not None and self.users_known < self.users_served


class Finding(BaseModel):
    """What a paired test of two methods on one metric found, seeds pooled.

    `p` is over users, and `p_holm`, which decides, is after Holm. `fits` counts the seeds of both methods. Where these
    came out differently, `p_fits` is over users and fits, and `p_holm` is no smaller. `standard_error` is the
    bootstrap's over users, `fits_error` that over fits, and `minimum_detectable` the difference found with 80% power at
    the level that the first step of Holm demands; None where the answers leave no spread to judge by.
    """

    p: float
    p_holm: float
    p_fits: float | None = None
    tests: int = 1  # size of the Holm family
    users: int
    standard_error: float | None = None
    fits: int = 1
    fits_error: float | None = None
    minimum_detectable: float | None = None
    identical: bool = False  # no query was answered differently, as far as the metric sees

    @property
    def spread(self) -> Spread | None:
        """How the difference varies; None where nothing is known of it."""
        if self.standard_error is None:
            return None
        return Spread(self.standard_error, self.users, self.fits_error or 0.0, self.fits)


class Difference(Finding):
    """A paired test of two sets of answers, whatever they are called: `difference` is first less second.

    `smallest_p` is the least that `p` could have been: of few users whose scores differ there are few swaps.
    """

    difference: float
    smallest_p: float = 0.0
    queries: int
    effect_size: float | None = None  # difference in standard deviations over users; None without any spread
    same_answers: bool = False  # every prediction is the same text


class PairTest(Difference):
    """Methods `a` and `b` (labels) on one metric.

    Holm runs over all tests against instruct, and apart from those over all tests among the other methods.
    """

    task: str
    metric: str
    a: str
    b: str


class Ranking(BaseModel):
    """The best method of a task by one metric, and those that no test tells apart from it. Overrun fits do not rank."""

    task: str
    metric: str
    best: str
    tied: list[str]


class Comparison(BaseModel):
    """`comparison.json`. `rows` has one entry per cell, `pooled` one per task and method."""

    schema_version: int = SCHEMA_VERSION
    spec: RunSpec
    higher_is_better: dict[str, dict[str, bool]]  # task -> metric -> direction; a task's first metric is its main one
    rows: list[Row]
    pooled: list[Row]
    comparisons: list[PairTest]
    rankings: list[Ranking]
    likelihood_higher_is_better: dict[str, dict[str, bool]] = Field(default_factory=dict)  # by task and measure
    likelihood_tests: list[PairTest] = Field(default_factory=list)  # families of their own: see docs/statistics.md
    notes: list[str]  # what a reader must know
    users: list[UserScore] = Field(default_factory=list, exclude=True, repr=False)  # `users.csv`, too long for JSON

    def to_pandas(self) -> pd.DataFrame:
        """`rows` flat, one per cell: `accuracy`, `accuracy_low`, `accuracy_high`, `accuracy_vs_instruct`, ...

        `accuracy_standing` is that of the method with its seeds pooled: best, tied with the best, behind or unranked.
        """
        import pandas as pd

        rankings = {(ranking.task, ranking.metric): ranking for ranking in self.rankings}
        pooled = {(row.task, row.label): row for row in self.pooled}
        return pd.DataFrame([_flat(row, pooled[row.task, row.label], rankings) for row in self.rows])

    def users_to_pandas(self) -> pd.DataFrame:
        """`users` as a table, one line per task, method and user. Empty for a comparison read from its JSON."""
        import pandas as pd

        return pd.DataFrame([user.model_dump() for user in self.users], columns=list(UserScore.model_fields))


def _flat(row: Row, pooled: Row, rankings: Mapping[tuple[str, str], Ranking]) -> dict[str, Any]:
    nested = {"metrics", "interval", "vs_instruct", "likelihood", "seeds", "by_history"}
    nested |= {"per_user_quartiles", "gain_quartiles"}
    flat: dict[str, Any] = row.model_dump(exclude={*nested, "diagnosis"})
    if row.diagnosis:
        found = {**row.diagnosis.values, "caution": row.diagnosis.caution}
        flat |= {f"diagnosis_{name}": value for name, value in found.items()}
    for field in ("per_user", "gain"):
        quartiles = getattr(row, f"{field}_quartiles") or (None,) * len(_QUARTILES)
        flat |= {f"{field}_{name}": value for name, value in zip(_QUARTILES, quartiles, strict=True)}
    for name, value in row.metrics.items():
        flat[name] = value
        flat[f"{name}_standing"] = standing(pooled, rankings.get((row.task, name)))
        flat |= _flat_score(name, row.interval.get(name), row.vs_instruct.get(name))
    for name, score in row.likelihood.items():
        flat |= {name: score.value, f"{name}_queries": score.queries}
        flat |= _flat_score(name, score.interval, score.vs_instruct)
    return flat


def _flat_score(name: str, interval: tuple[float, float] | None, test: VsInstruct | None) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    if interval is not None:
        flat[f"{name}_low"], flat[f"{name}_high"] = interval
    if test is not None:
        flat |= {f"{name}_vs_instruct": test.difference, f"{name}_p": test.p, f"{name}_p_holm": test.p_holm}
        flat[f"{name}_effect_size"] = test.effect_size
    return flat


def standing(row: Row, ranking: Ranking | None) -> str:
    """`best`, `tied` with the best, `behind` it, or `unranked`."""
    if ranking is None or not row.ranks:
        return "unranked"
    return "best" if row.label == ranking.best else "tied" if row.label in ranking.tied else "behind"
