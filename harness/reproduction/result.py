"""What an experiment came to, as types: `<name>.json` is a `Reproduction`; tables, plots and pages derive from it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from harness.analysis.comparison import Finding, HistoryBin, PairTest
from harness.api import Status
from harness.reproduction.experiment_spec import Layout

Verdict = Literal["supported", "not supported", "undecided"]
Bounds = tuple[float, float]


class Measured(BaseModel):
    """One method's score on a metric at one point; `improvement` is on instruct there, positive for better.

    Intervals are 95%, over users. `reported` is the paper's number for the counterpart of the model. Shares of users
    better and worse off than with instruct, and scores by length of history, are by the task's first metric.
    """

    model: str
    point: int  # along the axis
    tick: str  # the axis' value there; empty for a table
    task: str
    metric: str
    higher_is_better: bool
    label: str
    status: Status
    value: float | None = None
    interval: Bounds | None = None
    improvement: float | None = None
    improvement_interval: Bounds | None = None
    best: bool = False
    tied: bool = False  # not told apart from the best
    reported: float | None = None
    seeds: int = 0
    users: int = 0
    queries: int = 0
    users_fitted: int = 0
    samples_used: int = 0
    fit_seconds: float = 0.0
    eval_seconds: float = 0.0
    fit_bytes: int | None = None  # what the fit stores; None in results of earlier versions
    better_rate: float | None = None
    regret_rate: float | None = None
    by_history: list[HistoryBin] = Field(default_factory=list)
    sole_answer: str | None = None  # to every question, whoever asked; None where answers differ
    parse_failures: float | None = None  # share of the queries; None in results of earlier versions


class ClaimTest(Finding):
    """`a` against `b` on one metric: `gain` is a's advantage, positive where it goes the way of the claim.

    `pair`: as in a comparison. `trend`: Page's test over the points, `b` empty; its gain is Page's L less what chance
    expects, its p over users alone. Holm runs over all tests of the experiment. `p_reported` is how probable a gain
    this small would be if the reported one were true, after Holm over all reported ones of the experiment; None where
    that cannot be said.
    """

    kind: Literal["pair", "trend"]
    model: str
    task: str
    metric: str
    a: str
    a_tick: str = ""
    b: str = ""
    b_tick: str = ""
    over: str = ""  # if set, the improvements of a and b on this method are compared
    gain: float
    reported_gain: float | None = None
    p_reported: float | None = None
    verdict: Verdict = "undecided"


class ClaimResult(BaseModel):
    """The verdict on one claim for one model, and the tests behind it.

    `missing` names what lacked answers, `reservations` say what keeps scores behind the tests from telling of methods.
    """

    model: str
    quote: str
    source: str
    verdict: Verdict
    tests: list[ClaimTest]
    missing: list[str] = Field(default_factory=list)
    reservations: list[str] = Field(default_factory=list)


class Reproduction(BaseModel):
    """One table or figure. `cells` maps the digest of each distinct cell to the seconds that computing it took.

    `failed` counts the cells that failed: rows do not tell where other seeds have answers, nor of methods not shown.
    `left_out`: the experiment's tasks that the data cannot serve, with the reason. `departures`: what was asked
    otherwise than the preset has it. `scope`: the tasks, in the paper's names, if the preset has others. `tests`: of a
    table, those against instruct, and of methods against controls, of scores and of likelihoods. `configs`: the
    settings of each method at the first point, files left out.
    """

    name: str
    title: str
    source: str
    preset: str
    note: str
    layout: Layout
    models: dict[str, str]  # model -> its counterpart in the paper, empty if it has none
    settings: dict[str, Any]  # of the first point
    rows: list[Measured]
    claims: list[ClaimResult]
    notes: list[str]
    cells: dict[str, float]
    failed: int = 0
    provenance: dict[str, Any]
    left_out: dict[str, str] = Field(default_factory=dict)
    departures: dict[str, Any] = Field(default_factory=dict)
    scope: str = ""
    tests: list[PairTest] = Field(default_factory=list)
    configs: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @property
    def tasks(self) -> tuple[str, ...]:
        """In the order of the rows."""
        return tuple(dict.fromkeys(row.task for row in self.rows))

    @property
    def slug(self) -> str:
        """What its files are called among documents, where runs on other tasks stand beside each other."""
        return "-".join([self.name, *(sorted(self.settings["tasks"]) if self.scope else ())])

    @property
    def heading(self) -> str:
        """`Table 1: users with history, LaMP7`."""
        return self._scoped(self.title)

    @property
    def number(self) -> str:
        """`Table 1, LaMP7`."""
        return self._scoped(self.title.partition(":")[0])

    def _scoped(self, text: str) -> str:
        return f"{text}, {self.scope}" if self.scope else text

    @property
    def machine(self) -> str:
        """The accelerator, or how much of which processor: what a budget in seconds is worth."""
        found = self.provenance.get("hardware", {})
        if "accelerator" in found:
            return str(found["accelerator"])
        processor, threads = found.get("processor", "an unknown machine"), found.get("torch_threads")
        return f"{threads} thread{'s' * (threads > 1)} of {processor}" if threads else str(processor)
