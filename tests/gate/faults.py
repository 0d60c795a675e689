"""Faults to plant in the running code, one at a time: silent ones, that a person would not see in a table of scores."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GenerationMixin

import harness.model.editing
import harness.model.forward
import harness.model.lm
import harness.running.cell
import harness.running.context
import harness.running.preparation
from harness.api import Example
from harness.methods import aloe, dpo
from harness.methods.chameleon import directions
from harness.methods.chameleon.ccs import Probe
from harness.methods.chameleon.steering import Steering
from harness.methods.fine_tuning import trainer, weights
from harness.methods.fine_tuning.deadline import Deadline
from harness.methods.llm_rec import Notes
from harness.model.lm import HuggingFaceModel
from harness.running.clock import BudgetClock
from harness.running.preparation import FitPool
from harness.tasks import metrics
from harness.tasks.lamp import Lamp2, Lamp3, Lamp7

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Fault:
    """`cells` of the baseline that it concerns: a run, a task, and labels of methods."""

    name: str
    cells: tuple[str, str, tuple[str, ...]]
    plant: Plant
    why_unseen: str = ""  # of a fault that the gate does not catch


FAULTS: list[Fault] = []


def fault(name: str, run: str, task: str, *labels: str, why_unseen: str = "") -> Callable[[Plant], Plant]:
    def add(plant: Plant) -> Plant:
        FAULTS.append(Fault(name, (run, task, labels), plant, why_unseen))
        return plant

    return add


# ------------------------------------------------------------------------------------------------------------- editing


def _on_edits(patch: pytest.MonkeyPatch, change: Callable[[Any, int], Any]) -> None:
    real = harness.model.lm.edited
    patch.setattr(
        harness.model.lm,
        "edited",
        lambda mlps, edits, rows=None: real(mlps, None if edits is None else change(edits, len(mlps)), rows),
    )


def _on_layer_edit(patch: pytest.MonkeyPatch, change: Callable[[Any], Any]) -> None:
    real = harness.model.editing._layer_edit
    patch.setattr(harness.model.editing, "_layer_edit", lambda *arguments: change(real(*arguments)))


@fault("the edit's sign", "synthetic", "lamp7", "chameleon")
def _(patch):
    _on_layer_edit(patch, lambda edit: replace(edit, strength=-edit.strength))


@fault("edits one layer too high", "synthetic", "lamp7", "chameleon")
def _(patch):
    _on_edits(patch, lambda edits, n: replace(edits, layers=tuple((layer + 1) % n for layer in edits.layers)))


@fault("neutral and personalized direction swapped", "synthetic", "lamp7", "chameleon")
def _(patch):
    _on_edits(patch, lambda edits, n: replace(edits, personal=edits.neutral, neutral=edits.personal))


@fault("edits the first row of a batch only", "synthetic", "lamp7", "chameleon")
def _(patch):
    def first(edit):
        return replace(edit, chosen=edit.chosen & (torch.arange(len(edit.chosen)) == 0)[:, None, None])

    _on_layer_edit(patch, first)


@fault("edits the prompt, but no generated token", "variants", "lamp7", "mean_difference")
def _(patch):
    real = harness.model.editing._LayerEdit.__call__

    def only_prompt(self, module, args, output):
        return output if output.shape[1] == 1 else real(self, module, args, output)

    patch.setattr(harness.model.editing._LayerEdit, "__call__", only_prompt)


@fault(
    "a user is edited by another group's direction",
    "variants",
    "lamp7",
    "mean_difference:group_size=2",
    why_unseen="the groups of the synthetic world have directions so alike that no answer changes",
)
def _(patch):
    real = Steering._row
    patch.setattr(Steering, "_row", lambda self, query: (real(self, query) + 1) % len(self.banks.offset))


# ---------------------------------------------------------------------------------------------------------- directions


@fault("CCS without bias", "synthetic", "lamp3", "chameleon")
def _(patch):
    real = torch.optim.AdamW
    patch.setattr(torch.optim, "AdamW", lambda parameters, **settings: real(parameters[:1], **settings))


@fault("CCS weights not mapped back to raw space", "synthetic", "lamp7", "chameleon")
def _(patch):
    patch.setattr(Probe, "directions", lambda self: self.weight * torch.ones_like(self.scale))


@fault("SVD of centred representations", "synthetic", "lamp7", "chameleon")
def _(patch):
    real = directions.top_direction
    patch.setattr(
        harness.methods.chameleon.directions, "top_direction", lambda x: real(x - x.mean(dim=-2, keepdim=True))
    )


@fault("representations at the wrong position", "synthetic", "lamp7", "chameleon")
def _(patch):
    real = HuggingFaceModel.represent
    patch.setattr(
        HuggingFaceModel, "represent", lambda self, prompts, outputs, position: real(self, prompts, outputs, "last")
    )


# ------------------------------------------------------------------------------------------------------------ training


@fault("LoRA silently off", "synthetic", "lamp3", "aloe", "dpo")
def _(patch):
    patch.setattr(weights, "set_peft_model_state_dict", lambda *arguments: None)


@fault("SFT's loss on the prompt too", "synthetic", "lamp3", "aloe")
def _(patch):
    real = aloe.SFTConfig
    patch.setattr(aloe, "SFTConfig", lambda **arguments: real(**{**arguments, "completion_only_loss": False}))


@fault("DPO prefers the rejected answer", "synthetic", "lamp3", "dpo")
def _(patch):
    real = dpo._supervised
    patch.setattr(dpo, "_supervised", lambda *given: [(example, no, yes) for example, yes, no in real(*given)])


@fault("trains at calibration's learning rate of 0", "synthetic", "lamp3", "aloe")
def _(patch):
    real = trainer.calibrate

    def calibrate(trainer, *arguments):
        seconds = real(trainer, *arguments)
        trainer.args.learning_rate = 0.0
        return seconds

    patch.setattr(trainer, "calibrate", calibrate)


# ---------------------------------------------------------------------------------------------------------- the budget


@fault("the budget ignored while examples are taken", "no time", "lamp7", "llm_rec", "aloe", "dpo", "chameleon")
def _(patch):
    patch.setattr(BudgetClock, "steps", lambda self, items, reserve=0.0: iter(items))


@fault("the budget ignored while training", "short budget", "lamp7", "aloe:num_epochs=5")
def _(patch):
    patch.setattr(trainer, "calibrate", lambda *arguments: 0.0)
    patch.setattr(Deadline, "on_step_end", lambda *arguments, **more: None)
    patch.setattr(Deadline, "on_substep_end", lambda *arguments, **more: None)


# -------------------------------------------------------------------------------------------- data, history and prompts


@fault("truncation from the wrong end", "awkward", "lamp3", "instruct")
def _(patch):
    def drop_most_representative(history):
        best = min(history, key=lambda item: item.rank)
        return tuple(item for item in history if item is not best)

    patch.setattr(harness.running.context, "drop_least_representative", drop_most_representative)


@fault("the history of another user", "synthetic", "lamp3", "instruct")
def _(patch):
    real = harness.running.cell.evaluate

    def evaluate(lm, task, personalizer, queries, histories, *rest):
        users = list(histories)
        exchanged = dict(zip(users, [histories[user] for user in [*users[1:], users[0]]], strict=True))
        return real(lm, task, personalizer, queries, exchanged, *rest)

    patch.setattr(harness.running.cell, "evaluate", evaluate)


@fault("leaking history items kept", "awkward", "lamp2", "instruct")
def _(patch):
    patch.setattr(harness.running.preparation, "find_leaks", lambda *arguments: [])


@fault("golds of the evaluated queries among the examples", "synthetic", "lamp3", "aloe")
def _(patch):
    def examples(self, user, seed):
        asked = [query for query in self.data.queries if query.user == user]
        return tuple(Example(user, query.text, self.select(user), self.data.golds[query.id]) for query in asked)

    patch.setattr(FitPool, "_examples", examples)


@fault("LLM-REC's note left out of the prompt", "synthetic", "lamp3", "llm_rec")
def _(patch):
    patch.setattr(Notes, "prompt", lambda self, query, history: self.task.prompts.base(query.text, history))


# ---------------------------------------------------------------------------------------------------------- generation


@fault("prompts padded on the right", "synthetic", "lamp7", "instruct")
def _(patch):
    def right_padded(model, sequences, pad):
        longest = max(map(len, sequences))
        ids = [sequence + [pad] * (longest - len(sequence)) for sequence in sequences]
        mask = [[1] * len(sequence) + [0] * (longest - len(sequence)) for sequence in sequences]
        return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}

    patch.setattr(harness.model.forward, "_left_padded", right_padded)


@fault("samples instead of taking the likeliest token", "synthetic", "lamp7", "instruct")
def _(patch):
    real = GenerationMixin.generate
    patch.setattr(GenerationMixin, "generate", lambda self, **settings: real(self, **{**settings, "do_sample": True}))


@fault("answers in the order of the batches, not of the queries", "synthetic", "lamp7", "instruct")
def _(patch):
    real = HuggingFaceModel.generate

    def generate(self, prompts, *arguments):
        outputs = real(self, prompts, *arguments)
        longest_first = sorted(range(len(prompts)), key=lambda index: -self.count_tokens(prompts[index]))
        return [outputs[index] for index in longest_first]

    patch.setattr(HuggingFaceModel, "generate", generate)


@fault("generates past the end of an answer", "synthetic", "lamp7", "instruct")
def _(patch):
    patch.setattr(harness.model.forward, "_until", lambda ids, ends: ids)


# ------------------------------------------------------------------------------------------------------------- scoring


def _with_metric(patch: pytest.MonkeyPatch, task: type, name: str, **changes: Any) -> None:
    changed = tuple(replace(metric, **changes) if metric.name == name else metric for metric in task.metrics)
    patch.setattr(task, "metrics", changed)


@fault("label mapping off by one", "synthetic", "lamp2", "instruct")
def _(patch):
    real = Lamp2.parse

    def parse(self, output):
        label, parsed = real(self, output)
        return (self.labels[self.labels.index(label) - 1], True) if parsed else (label, False)

    patch.setattr(Lamp2, "parse", parse)


@fault("ROUGE with a stemmer", "awkward", "lamp7", "constant")
def _(patch):
    from rouge_score.rouge_scorer import RougeScorer

    patch.setattr(metrics, "_scorer", lambda name: RougeScorer([name], use_stemmer=True))


@fault("ROUGE-1 in place of ROUGE-L", "awkward", "lamp7", "constant")
def _(patch):
    _with_metric(patch, Lamp7, "rougeL", statistics=Lamp7.metrics[0].statistics)


@fault("RMSE without the root", "synthetic", "lamp3", "constant")
def _(patch):
    _with_metric(patch, Lamp3, "rmse", value=lambda means: np.asarray(means)[..., 0])


@fault("macro-F1 over the labels seen only", "synthetic", "lamp2", "instruct")
def _(patch):
    def value(means):
        hits, predicted, gold = np.split(np.asarray(means), 3, axis=-1)
        total = predicted + gold
        return (2 * hits / np.where(total > 0, total, 1.0)).sum(-1) / (total > 0).sum(-1)

    _with_metric(patch, Lamp2, "f1", value=value)


@fault("an unreadable rating counted as 3", "awkward", "lamp3", "instruct", "llm_rec")
def _(patch):
    def error(prediction, gold):
        return float(abs(int(prediction if prediction in "12345" and prediction else "3") - int(gold)))

    patch.setattr(metrics, "_error", error)
