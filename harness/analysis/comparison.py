"""What a comparison says, as types: `comparison.json` is `Comparison`; `comparing` makes it from cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from harness.results import Status
from harness.spec import SCHEMA_VERSION, RunSpec, join_label

if TYPE_CHECKING:
    import pandas as pd

ALPHA = 0.05
BASELINE = "instruct"  # the method without any personalization; the rows are judged against it


class VsInstruct(BaseModel):
    """A row's metric minus instruct's, on the queries that both answered; Holm over all such tests of the run."""

    difference: float
    p: float
    p_holm: float


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
    parse_failures: float | None = None
    regret_rate: float | None = None  # share of users worse than with instruct, by the task's first metric
    per_user_mean: float | None = None  # of the first metric, as is the next
    worst_decile: float | None = None
    queries: int = 0
    users: int = 0
    users_fitted: int = 0
    users_served: int = 0
    samples_used: int = 0
    fit_seconds: float = 0.0
    budget_seconds: float = 0.0
    eval_seconds: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    peak_memory_bytes: int = 0
    leaks_removed: int = 0
    prompts_shortened: int = 0
    unanswerable: int = 0
    records_skipped: int = 0
    attempts: int = 1

    @property
    def label(self) -> str:
        """How tables name the method: `chameleon:edit=personalized`."""
        return join_label(self.method, self.variant)


class PairTest(BaseModel):
    """Methods `a` and `b` (labels) on one metric, seeds pooled: `difference` is a minus b.

    Holm runs over all tests against instruct, and apart from those over all tests among the other methods.
    `minimum_detectable` is the difference found with 80% power at the level that the first step of Holm demands; None
    where the answers leave no spread to judge by.
    """

    task: str
    metric: str
    a: str
    b: str
    difference: float
    p: float
    p_holm: float
    queries: int
    users: int
    minimum_detectable: float | None
    identical: bool  # no query was answered differently, as far as the metric sees
    tests: int  # size of the Holm family


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
    notes: list[str]  # what a reader must know

    def to_pandas(self) -> pd.DataFrame:
        """`rows` flat, one per cell: `accuracy`, `accuracy_low`, `accuracy_high`, `accuracy_vs_instruct`, ..."""
        import pandas as pd

        return pd.DataFrame([_flat(row) for row in self.rows])


def _flat(row: Row) -> dict[str, Any]:
    flat: dict[str, Any] = row.model_dump(exclude={"metrics", "interval", "vs_instruct", "seeds"})
    for name, value in row.metrics.items():
        flat[name] = value
        if name in row.interval:
            flat[f"{name}_low"], flat[f"{name}_high"] = row.interval[name]
        if name in row.vs_instruct:
            test = row.vs_instruct[name]
            flat |= {f"{name}_vs_instruct": test.difference, f"{name}_p": test.p, f"{name}_p_holm": test.p_holm}
    return flat
