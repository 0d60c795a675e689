"""Faults to plant in what methods learn: edits, directions, training."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

import harness.model.editing
import harness.model.lm
from harness.methods import dpo
from harness.methods.chameleon import directions
from harness.methods.chameleon.ccs import Probe
from harness.methods.chameleon.steering import Steering
from harness.methods.fine_tuning import causal_trainer, schedule, weights
from harness.model.recorded_states import Recording
from tests.gate.planting import Faults

FAULTS = Faults()


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


@FAULTS.add("the edit's sign", "synthetic", "lamp7", "chameleon")
def _(patch):
    _on_layer_edit(patch, lambda edit: replace(edit, given=-edit.given))


@FAULTS.add("edits one layer too high", "synthetic", "lamp7", "chameleon")
def _(patch):
    _on_edits(patch, lambda edits, n: replace(edits, layers=tuple((layer + 1) % n for layer in edits.layers)))


@FAULTS.add("neutral and personalized direction swapped", "synthetic", "lamp7", "chameleon")
def _(patch):
    _on_edits(patch, lambda edits, n: replace(edits, personal=edits.neutral, neutral=edits.personal))


@FAULTS.add("edits the first row of a batch only", "synthetic", "lamp7", "chameleon")
def _(patch):
    def first(edit):
        is_first = (torch.arange(edit.prompts) == 0)[:, None, None]
        return replace(edit, chosen=is_first if edit.chosen is None else edit.chosen & is_first)

    _on_layer_edit(patch, first)


@FAULTS.add("edits the prompt, but no generated token", "variants", "lamp7", "mean_difference")
def _(patch):
    real = harness.model.editing._LayerEdit.__call__

    def only_prompt(self, output):
        return output if output.shape[1] == 1 else real(self, output)

    patch.setattr(harness.model.editing._LayerEdit, "__call__", only_prompt)


@FAULTS.add("a user is edited by another group's direction", "variants", "lamp7", "mean_difference:group_size=2")
def _(patch):
    real = Steering._row
    patch.setattr(Steering, "_row", lambda self, query: (real(self, query) + 1) % len(self.banks.offset))


# ---------------------------------------------------------------------------------------------------------- directions


@FAULTS.add("CCS without bias", "synthetic", "lamp3", "chameleon")
def _(patch):
    real = torch.optim.AdamW
    patch.setattr(torch.optim, "AdamW", lambda parameters, **settings: real(parameters[:1], **settings))


@FAULTS.add("CCS weights not mapped back to raw space", "synthetic", "lamp7", "chameleon")
def _(patch):
    patch.setattr(Probe, "directions", lambda self: self.weight * torch.ones_like(self.scale))


@FAULTS.add("SVD of centred representations", "synthetic", "lamp7", "chameleon")
def _(patch):
    real = directions.top_direction
    patch.setattr(
        harness.methods.chameleon.directions, "top_direction", lambda x: real(x - x.mean(dim=-2, keepdim=True))
    )


@FAULTS.add("representations at the wrong position", "synthetic", "lamp7", "chameleon")
def _(patch):
    real = Recording.__init__

    def at_last(self, position, *rest):
        real(self, "last", *rest)

    patch.setattr(Recording, "__init__", at_last)


# ------------------------------------------------------------------------------------------------------------ training


@FAULTS.add("LoRA silently off", "synthetic", "lamp3", "aloe")
def _(patch):
    patch.setattr(weights, "set_peft_model_state_dict", lambda *arguments: None)


@FAULTS.add("DPO's LoRA silently off", "synthetic", "lamp7", "dpo")
def _(patch):
    patch.setattr(weights, "set_peft_model_state_dict", lambda *arguments: None)


@FAULTS.add("SFT's loss on the prompt too", "synthetic", "lamp3", "aloe")
def _(patch):
    real = causal_trainer.SFTConfig
    patch.setattr(causal_trainer, "SFTConfig", lambda **arguments: real(**{**arguments, "completion_only_loss": False}))


@FAULTS.add("DPO prefers the rejected answer", "synthetic", "lamp3", "dpo")
def _(patch):
    real = dpo.answer_pairs
    patch.setattr(dpo, "answer_pairs", lambda *given: [(example, no, yes) for example, yes, no in real(*given)])


@FAULTS.add("trains at a learning rate of 0", "synthetic", "lamp3", "aloe")
def _(patch):
    patch.setattr(schedule, "_factor", lambda *arguments: 0.0)
