"""LaMP's metrics as an `evaluate` module: evaluate.load("tasks/evaluate_modules/lamp", "lamp2").

Predictions are raw outputs, references LaMP's golds; both are read as the task of that name reads them, and a reference
that is none of its answers is a ValueError, as are empty lists and what is not text.
"""

import datasets
import evaluate
import numpy as np

from harness.tasks.lamp import TASKS
from harness.tasks.lamp_schema import SCHEMAS

_TASKS = {task.name: task for task in TASKS}


class Lamp(evaluate.Metric):
    """The metrics of one LaMP task, by name."""

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in _TASKS:
            raise ValueError(f"There is no task {self.config_name!r}; name one of {', '.join(_TASKS)}.")
        return evaluate.MetricInfo(
            description=_TASKS[self.config_name].title,
            citation="Salemi et al. (2024): LaMP: When Large Language Models Meet Personalization. ACL.",
            inputs_description="predictions: raw outputs, a text each; references: gold answers, a text each.",
            features=datasets.Features({name: datasets.Value("string") for name in ("predictions", "references")}),
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        if not predictions:
            raise ValueError("There is nothing to score: predictions and references are empty.")
        task, schema = _TASKS[self.config_name](), SCHEMAS[self.config_name]
        pairs = [
            (task.parse(prediction)[0], schema.answer(reference))
            for prediction, reference in zip(predictions, references, strict=True)
        ]
        means = {metric.name: np.mean([metric.statistics(*pair) for pair in pairs], axis=0) for metric in task.metrics}
        return {metric.name: float(metric.value(means[metric.name])) for metric in task.metrics}
