"""Faults to plant in what all methods share: the budget, histories and prompts, generation, scoring."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import harness.model.decoding
import harness.model.prefill
import harness.running.cell
import harness.running.context
import harness.running.preparation
from harness.api import Example
from harness.methods.fine_tuning.training_pace import TrainingPace
from harness.methods.llm_rec import Notes
from harness.model.decoding import Stop
from harness.model.lm import HuggingFaceModel
from harness.running.clock import BudgetClock
from harness.running.preparation import FitPool
from harness.tasks import metrics
from harness.tasks.lamp import Lamp2, Lamp3, Lamp7
from tests.gate.planting import Faults

FAULTS = Faults()


# ---------------------------------------------------------------------------------------------------------- the budget


@FAULTS.add("the budget ignored while examples are taken", "no time", "lamp7", "llm_rec", "aloe", "dpo", "chameleon")
def _(patch):
    patch.setattr(BudgetClock, "steps", lambda self, items, reserve=0.0: iter(items))
    patch.setattr(BudgetClock, "batches", lambda self, items, most, work, reserve=0.0: iter([list(items)]))
    patch.setattr(BudgetClock, "time_left", lambda self: 1.0)


@FAULTS.add("the budget ignored while training", "short budget", "lamp7", "aloe:num_epochs=5")
def _(patch):
    patch.setattr(TrainingPace, "fits", lambda *arguments: True)


# -------------------------------------------------------------------------------------------- data, history and prompts


@FAULTS.add("truncation from the wrong end", "awkward", "lamp3", "instruct")
def _(patch):
    real = harness.running.context.dropping_order
    patch.setattr(harness.running.context, "dropping_order", lambda history: real(history)[::-1])


@FAULTS.add("the history of another user", "synthetic", "lamp3", "instruct")
def _(patch):
    real = harness.running.cell.evaluate

    def evaluate(lm, task, personalizer, queries, histories, *rest):
        of = {query.user: histories[query.id] for query in queries}
        users = list(of)
        other = dict(zip(users, [*users[1:], users[0]], strict=True))
        exchanged = {query.id: of[other[query.user]] for query in queries}
        return real(lm, task, personalizer, queries, exchanged, *rest)

    patch.setattr(harness.running.cell, "evaluate", evaluate)


@FAULTS.add("leaking history items kept", "awkward", "lamp2", "instruct")
def _(patch):
    patch.setattr(harness.running.preparation, "find_leaks", lambda *arguments: [])


@FAULTS.add("golds of the evaluated queries among the examples", "synthetic", "lamp3", "aloe")
def _(patch):
    def examples(self, user, seed):
        asked = [query for query in self.data.queries if query.user == user]
        return tuple(Example(user, query.text, self.select(user), self.data.golds[query.id]) for query in asked)

    patch.setattr(FitPool, "_examples", examples)


@FAULTS.add("LLM-REC's note left out of the prompt", "synthetic", "lamp3", "llm_rec")
def _(patch):
    patch.setattr(Notes, "prompt", lambda self, query, history: self.task.prompts.base(query.text, history))


# ---------------------------------------------------------------------------------------------------------- generation


@FAULTS.add("prompts padded on the right", "awkward", "lamp3", "instruct")
def _(patch):
    def right_padded(model, sequences, pad):
        longest = max(map(len, sequences))
        ids = [sequence + [pad] * (longest - len(sequence)) for sequence in sequences]
        mask = [[1] * len(sequence) + [0] * (longest - len(sequence)) for sequence in sequences]
        return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}

    patch.setattr(harness.model.prefill, "left_padded", right_padded)


@FAULTS.add("samples instead of taking the likeliest token", "synthetic", "lamp7", "instruct")
def _(patch):
    patch.setattr(harness.model.decoding, "likeliest", lambda logits: logits[:, -1].softmax(-1).multinomial(1)[:, 0])


@FAULTS.add("answers in the order of the batches, not of the queries", "synthetic", "lamp7", "instruct")
def _(patch):
    real = HuggingFaceModel._generate

    def generate(self, prompts, *arguments, **settings):
        outputs = real(self, prompts, *arguments, **settings)
        longest_first = sorted(range(len(prompts)), key=lambda index: -self.count_tokens(prompts[index]))
        return [outputs[index] for index in longest_first]

    patch.setattr(HuggingFaceModel, "_generate", generate)


@FAULTS.add("generates past the end of an answer", "synthetic", "lamp7", "instruct")
def _(patch):
    patch.setattr(Stop, "done", lambda self, ids: len(ids) >= self.max_new_tokens)


# ------------------------------------------------------------------------------------------------------------- scoring


def _with_metric(patch: pytest.MonkeyPatch, task: type, name: str, **changes: Any) -> None:
    changed = tuple(replace(metric, **changes) if metric.name == name else metric for metric in task.metrics)
    patch.setattr(task, "metrics", changed)


@FAULTS.add("label mapping off by one", "synthetic", "lamp2", "instruct")
def _(patch):
    real = Lamp2.parse

    def parse(self, output):
        label, parsed = real(self, output)
        return (self.labels[self.labels.index(label) - 1], True) if parsed else (label, False)

    patch.setattr(Lamp2, "parse", parse)


@FAULTS.add("ROUGE with a stemmer", "awkward", "lamp7", "constant")
def _(patch):
    from rouge_score.rouge_scorer import RougeScorer

    patch.setattr(metrics, "_scorer", lambda name: RougeScorer([name], use_stemmer=True))


@FAULTS.add("ROUGE-1 in place of ROUGE-L", "awkward", "lamp7", "constant")
def _(patch):
    _with_metric(patch, Lamp7, "rougeL", statistics=Lamp7.metrics[0].statistics)


@FAULTS.add("RMSE without the root", "synthetic", "lamp3", "constant")
def _(patch):
    _with_metric(patch, Lamp3, "rmse", value=lambda means: np.asarray(means)[..., 0])


@FAULTS.add("macro-F1 over the labels seen only", "synthetic", "lamp2", "instruct")
def _(patch):
    def value(means):
        hits, predicted, gold = np.split(np.asarray(means), 3, axis=-1)
        total = predicted + gold
        return (2 * hits / np.where(total > 0, total, 1.0)).sum(-1) / (total > 0).sum(-1)

    _with_metric(patch, Lamp2, "f1", value=value)


@FAULTS.add("an unreadable rating counted as 3", "awkward", "lamp3", "instruct")
def _(patch):
    def error(prediction, gold):
        return float(abs(int(prediction if prediction in "12345" and prediction else "3") - int(gold)))

    patch.setattr(metrics, "_error", error)
