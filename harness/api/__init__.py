"""The contracts: what a task, a method and the engine promise each other; everybody imports them from here.

Importing this package is cheap: torch and numpy are needed for type checking only.
"""

from __future__ import annotations

from harness.api.errors import HarnessError, MissingError, OutOfTime
from harness.api.fit_context import (
    Clock,
    Diagnosis,
    FitContext,
    FitReport,
    HistorySearch,
    Regime,
    Reserve,
    Retrieval,
    Status,
)
from harness.api.foreign_text import home, printable
from harness.api.language_model import (
    Adapters,
    Continuations,
    EditPositions,
    Edits,
    Instrument,
    LanguageModel,
    Position,
    Scored,
    Site,
)
from harness.api.method_contract import Method, Personalizer
from harness.api.task_contract import InsightKind, Metric, Prompts, SummaryStrategy, Task
from harness.api.user_data import Example, Fault, HistoryItem, Query, TaskData, User

__all__ = [
    "Adapters",
    "Clock",
    "Continuations",
    "Diagnosis",
    "EditPositions",
    "Edits",
    "Example",
    "Fault",
    "FitContext",
    "FitReport",
    "HarnessError",
    "HistoryItem",
    "HistorySearch",
    "InsightKind",
    "Instrument",
    "LanguageModel",
    "Method",
    "Metric",
    "MissingError",
    "OutOfTime",
    "Personalizer",
    "Position",
    "Prompts",
    "Query",
    "Regime",
    "Reserve",
    "Retrieval",
    "Scored",
    "Site",
    "Status",
    "SummaryStrategy",
    "Task",
    "TaskData",
    "User",
    "home",
    "printable",
]
