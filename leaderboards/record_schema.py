"""A record: one run of the harness as the leaderboard keeps it, a small JSON file under version control."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.api import Regime, Status

Kind = Literal["baseline", "method", "control"]


class _Strict(BaseModel):
    """What this package writes: nothing unknown, no infinite number."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Test(_Strict):
    """A method's metric minus another's, on the queries that both answered, seeds pooled.

    `p` is over users; `p_holm`, which decides, is after Holm over the run's tests of the kind and, where several fits
    came out differently, no smaller than the one over users and fits.
    """

    difference: float
    p: float = Field(ge=0, le=1)
    p_holm: float = Field(ge=0, le=1)
    minimum_detectable: float | None = None  # found with 80% power; None where nothing can be said
    effect_size: float | None = None  # the difference in standard deviations over users


class Score(_Strict):
    """A metric with its 95% interval over users (None for a single user), seeds pooled."""

    value: float
    low: float | None = None
    high: float | None = None
    vs_instruct: Test | None = None
    vs_controls: dict[str, Test] = Field(default_factory=dict)  # by control (label): the method's less the control's

    @model_validator(mode="after")
    def _ordered(self) -> Score:
        if (self.low is None) != (self.high is None) or (
            self.low is not None and self.high is not None and self.low > self.high
        ):
            raise ValueError(f"the interval [{self.low}, {self.high}] has no two ordered ends")
        return self


class Sample(_Strict):
    """One answer, cut to a readable length. User-written text: whoever shows it escapes it."""

    query: str
    output: str
    prediction: str
    gold: str
    parsed: bool


class Result(_Strict):
    """A method on a task, its seeds pooled. Seconds, bytes, shares of 1; None if the run does not tell."""

    task: str
    method: str
    variant: str
    kind: Kind
    config: dict[str, Any]
    status: Status
    reason: str
    seeds: list[int]
    scores: dict[str, Score]
    likelihood: dict[str, Score] = Field(default_factory=dict)  # of gold answers; no official metrics
    parse_failures: float | None
    not_finite: int = 0  # questions for which the model's numbers are NaN or infinite
    answers_alike: bool = False  # every question has the same answer, whoever asked
    regret_rate: float | None
    mean_loss: float | None = None  # of the users who regret it
    worst_decile: float | None
    queries: int
    users: int
    users_fitted: int
    users_served: int
    samples_used: int
    fit_seconds: float = Field(ge=0)
    eval_seconds: float = Field(ge=0)
    reach_seconds: float | None = None  # of the fit, until it was a tenth better than instruct for good, beyond chance
    tokens: int = Field(ge=0)  # read and written, fit and evaluation
    peak_memory_bytes: int = Field(ge=0)
    stored_bytes: int | None = Field(ge=0)  # what the fit leaves behind
    bytes_per_user: float | None = None  # of those, by users served
    task_version: str
    data_fingerprint: str
    method_source: str  # sha256 of the method's code
    samples: list[Sample]

    @property
    def label(self) -> str:
        """How tables name it: `chameleon:edit=personalized`."""
        return f"{self.method}:{self.variant}" if self.variant else self.method


class Ranking(_Strict):
    """The best method (label) of a task by a metric, and those that no test tells apart from it."""

    task: str
    metric: str
    best: str
    tied: list[str]


class Setting(_Strict):
    """What all methods of the run shared. `everything` is the specification as the run has it."""

    model: str
    data: str
    split: str
    regime: Regime
    budget_seconds: float = Field(gt=0)
    preset: str
    seeds: list[int]
    group_size: int | None
    everything: dict[str, Any]


class Provenance(_Strict):
    """Where the numbers come from. Dates are ISO 8601, UTC."""

    first_started_at: str
    last_started_at: str
    model_fingerprint: str
    hardware: dict[str, Any]
    versions: dict[str, str]
    git: dict[str, Any]


class Record(_Strict):
    """One run. `id` names the file: equal specification on equal hardware, equal id."""

    schema_version: Literal[1] = 1
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    setting: Setting
    higher_is_better: dict[str, dict[str, bool]]  # task -> metric -> direction; a task's first metric is its main one
    likelihood_higher_is_better: dict[str, dict[str, bool]] = Field(default_factory=dict)  # by task and measure
    results: list[Result] = Field(min_length=1)
    rankings: list[Ranking]
    notes: list[str]
    provenance: Provenance

    @model_validator(mode="after")
    def _consistent(self) -> Record:
        labels = {(result.task, result.label) for result in self.results}
        if len(labels) < len(self.results):
            raise ValueError("a method has two results on one task")
        for result in self.results:
            unknown = set(result.scores) - set(self.higher_is_better.get(result.task, {}))
            unknown |= set(result.likelihood) - set(self.likelihood_higher_is_better.get(result.task, {}))
            if unknown:
                raise ValueError(f"{result.label} on {result.task}: no direction for {', '.join(sorted(unknown))}")
            scores = (*result.scores.values(), *result.likelihood.values())
            absent = {label for score in scores for label in score.vs_controls if (result.task, label) not in labels}
            if absent:
                names = ", ".join(sorted(absent))
                raise ValueError(f"{result.label} on {result.task} is tested against {names}, which has no result")
        for ranking in self.rankings:
            absent = {label for label in (ranking.best, *ranking.tied) if (ranking.task, label) not in labels}
            if absent:
                raise ValueError(
                    f"the ranking of {ranking.task} names {', '.join(sorted(absent))}, which has no result"
                )
            self._require_best(ranking)
        return self

    def _require_best(self, ranking: Ranking) -> None:
        """Of the methods that rank, the ranking's best must be the best by the scores beside it."""
        higher = self.higher_is_better.get(ranking.task, {}).get(ranking.metric)
        scores = {
            result.label: result.scores[ranking.metric].value * (1 if higher else -1)
            for result in self.results
            if result.task == ranking.task and ranking.metric in result.scores and result.status != "overran"
        }
        place = f"the ranking of {ranking.task} by {ranking.metric}"
        if higher is None or ranking.best not in scores:
            raise ValueError(f"{place} names {ranking.best} as the best, which does not rank by it")
        better = [label for label, score in scores.items() if score > scores[ranking.best] + 1e-9]
        if better:
            raise ValueError(f"{place} names {ranking.best} as the best, but {', '.join(better)} scored better")
