"""What training needs is estimated before any cell: impossible settings are refused, tight ones warned about."""

import warnings

import pytest
import torch

from harness.api import HarnessError
from harness.methods.fine_tuning.memory import training_bytes
from harness.methods.fine_tuning.weights import LoraSettings, Trained
from harness.registry import CONTROLS, METHODS, method_class
from tests.methods.trained import LORA, aloe, dpo

AMPLE = 2**50


def test_full_fine_tuning_of_a_quantized_model_is_refused_with_the_setting_to_change(toy_source, monkeypatch):
    monkeypatch.setattr(toy_source.model, "is_quantized", True, raising=False)
    with pytest.raises(HarnessError, match=r"--set aloe\.training=lora"):
        aloe().check_model(toy_source, AMPLE)
    assert aloe(training="lora", lora=LORA).check_model(toy_source, AMPLE) == dpo().check_model(toy_source, AMPLE) == []


def test_weights_gradients_and_moments_are_counted(toy_source):
    count = sum(parameter.numel() for parameter in toy_source.model.parameters())
    assert training_bytes(toy_source, None) == 16 * count
    adapter = 3 * 2 * ((32 + 32) + (32 + 16))  # r times the sides of q [32, 32] and v [16, 32], in three layers
    assert training_bytes(toy_source, LORA) == toy_source.model.get_memory_footprint() + 16 * adapter


@pytest.mark.parametrize("targets", [None, ("o_proj",), ("q_proj", "down_proj")])
def test_the_adapter_is_as_large_as_pefts(toy_source, targets):
    from peft import get_peft_model

    lora, lm = LoraSettings(r=4, target_modules=targets), toy_source.pristine()
    expected = training_bytes(lm, lora) - lm.model.get_memory_footprint()
    made = get_peft_model(lm.model, lora.peft(lm.model))
    assert expected == 16 * sum(p.numel() for p in made.parameters() if p.requires_grad)


@pytest.mark.parametrize("method", [aloe(), aloe(training="lora", lora=LORA), dpo()])
def test_a_method_that_needs_more_than_there_is_is_warned_about(toy_source, method):
    assert method.check_model(toy_source, AMPLE) == []
    (warning,) = method.check_model(toy_source, 1000)
    assert "GiB for weights, gradients and optimizer states, but the device has" in warning


@pytest.mark.parametrize("name", [*METHODS.names(), *CONTROLS.names()])
def test_any_method_can_be_checked(toy_source, name):
    cls = method_class(name)
    assert cls(cls.Config()).check_model(toy_source, AMPLE) == []


def test_of_a_packed_weight_the_sides_of_its_layer_count(toy_source):
    """Layers quantized to 4 bits keep two weights in a byte, in one column."""
    lm = toy_source.pristine()
    expected = training_bytes(lm, LORA) - lm.model.get_memory_footprint()
    for layer in lm.model.model.layers:
        weight = layer.self_attn.q_proj.weight
        layer.self_attn.q_proj.weight = torch.nn.Parameter(
            torch.zeros(weight.numel() // 2, 1, dtype=torch.uint8), requires_grad=False
        )
    assert training_bytes(lm, LORA) - lm.model.get_memory_footprint() == expected


def test_training_that_half_precision_rounds_away_is_warned_about(toy_source):
    lm = toy_source.pristine()
    lm.model.to(torch.bfloat16)
    before = {name: tensor.detach().float() for name, tensor in lm.model.named_parameters()}
    small, large = ({name: tensor * (1 + by) for name, tensor in before.items()} for by in (1e-4, 0.1))
    task = method_class("aloe")
    lost = pytest.warns(UserWarning, match=r"of the trained weights are what they were .* --dtype float32")
    with lost, Trained(task, small, None).patched_model(lm):
        pass
    with warnings.catch_warnings(action="error"), Trained(task, large, None).patched_model(lm):
        pass
    assert all(torch.equal(tensor.float(), before[name]) for name, tensor in lm.model.named_parameters())
