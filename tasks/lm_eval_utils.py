"""What the YAML files beside this module need to run with plain `lm_eval --include_path tasks --tasks lamp2`.

Data: `--metadata '{"source": "DIR", "split": "dev"}'`; without it the synthetic world, which has LaMP-2, 3 and 7. What
a reader of the numbers must know of the data, such as how much could not be used, is logged as a warning. Chat models
are asked as the harness asks them with `--apply_chat_template`. The numbers differ from the harness's: the history in
the prompt is the latest 10 items (by date, where they carry one, else by their place in the file) instead of the most
representative ones, items that repeat a query or its gold stay in, no method is fitted, a long prompt loses its head
instead of whole items, and an answer that begins with a line break is empty. Parsing and metrics are the same.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from harness.api import HistoryItem
from harness.tasks.lamp import TASKS

HISTORY = 10
_LOG = logging.getLogger(__name__)
_TASKS = {task.name: task() for task in TASKS}
_METRICS = {metric.name: metric for task in _TASKS.values() for metric in task.metrics}


def documents(lamp: str, source: str = "synthetic", split: str = "dev", **_: Any) -> dict[str, Any]:
    """The queries of a task as the "test" split: task, id, user, prompt, gold. lm-eval passes more metadata along."""
    import datasets

    task = _TASKS[lamp]
    data = task.load(source, split)
    for note in data.notes:
        _LOG.warning("%s: %s", lamp, note)
    rows = [
        {
            "task": lamp,
            "id": query.id,
            "user": query.user,
            "prompt": task.prompts.base(query.text, _latest(data.histories[query.user])),
            "gold": data.golds[query.id],
        }
        for query in data.queries
    ]
    return {"test": datasets.Dataset.from_list(rows)}


def _latest(history: Sequence[HistoryItem]) -> list[HistoryItem]:
    """The latest items in the file's order."""
    order = sorted(range(len(history)), key=lambda index: history[index].date)
    return [history[index] for index in sorted(order[-HISTORY:])]


def score(doc: dict[str, str], results: list[str]) -> dict[str, Any]:
    """Per-sample statistics by metric."""
    task = _TASKS[doc["task"]]
    prediction, _ = task.parse(results[0])
    statistics = {metric.name: metric.statistics(prediction, doc["gold"]) for metric in task.metrics}
    # Plain means stay numbers, so that lm-eval reports their standard error.
    return {name: values if name in ("f1", "rmse") else values[0] for name, values in statistics.items()}


def aggregate_f1(statistics: Sequence[Sequence[float]]) -> float:
    """Macro-F1 from the samples' counts."""
    return _aggregate("f1", statistics)


def aggregate_rmse(statistics: Sequence[Sequence[float]]) -> float:
    """Root of the mean of the samples' squared errors."""
    return _aggregate("rmse", statistics)


def _aggregate(name: str, statistics: Sequence[Sequence[float]]) -> float:
    return float(_METRICS[name].value(np.mean(statistics, axis=0)))
