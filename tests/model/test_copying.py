"""Pristine models from memory: what reading from disk gives, untouched by what was done to earlier ones."""

import pytest
import torch
from torch import nn

from harness.methods.fine_tuning.weights import LoraSettings
from harness.model import lm as lm_module
from harness.model.copying import copied
from harness.model.lm import HuggingFaceModel

PROMPTS = ["Which tag does this movie relate to? Your answer:", "x Your answer:", "Your answer:"]
OUTPUTS = ["comedy", "a thriller", "just had the best coffee"]


@pytest.fixture
def no_disk(any_lm: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on reading weights fails, and memory is never short."""

    def fail(*arguments: object) -> None:
        raise AssertionError("weights were read from disk")

    monkeypatch.setattr(lm_module, "load_model", fail)
    monkeypatch.setattr(lm_module, "has_room_for", lambda model: True)


def with_adapter(lm: HuggingFaceModel) -> None:
    import peft

    lm.model = peft.get_peft_model(lm.model, LoraSettings().peft(lm.model))
    for name, parameter in lm.model.named_parameters():
        if "lora_B" in name:
            nn.init.ones_(parameter)


def with_hooks(lm: HuggingFaceModel) -> None:
    for module in lm.model.modules():
        module.register_forward_hook(lambda module, arguments, output: None)
        module.register_forward_pre_hook(lambda module, arguments: None)
    lm.model.get_input_embeddings().weight.register_hook(lambda gradient: gradient * 0)


def with_other_settings(lm: HuggingFaceModel) -> None:
    lm.model.train().requires_grad_(False)
    lm.model.gradient_checkpointing_enable()
    lm.model.config.use_cache = False
    lm.model.generation_config.eos_token_id = 7
    lm.model.forward = lambda **arguments: None
    lm.tokenizer.padding_side = "right"
    lm.tokenizer.chat_template = "{{ messages[0].content }}"
    lm.tokenizer.add_special_tokens({"additional_special_tokens": ["comedy"]})


def with_trained_weights(lm: HuggingFaceModel) -> None:
    optimizer = torch.optim.SGD(lm.model.parameters(), lr=1.0)
    lm.model(**lm.tokenizer("x", return_tensors="pt"), **labels(lm)).loss.backward()
    optimizer.step()


def labels(lm: HuggingFaceModel) -> dict[str, torch.Tensor]:
    return {"labels": lm.tokenizer("x", return_tensors="pt").input_ids}


@pytest.mark.usefixtures("no_disk")
def test_a_kept_model_gives_the_answers_of_one_that_was_read(any_lm: HuggingFaceModel) -> None:
    expected = any_lm.generate(PROMPTS, 6), any_lm.log_likelihood(PROMPTS, OUTPUTS)
    any_lm.keep()
    fresh = any_lm.pristine()
    assert fresh.generate(PROMPTS, 6) == expected[0]
    assert torch.equal(fresh.log_likelihood(PROMPTS, OUTPUTS), expected[1])
    assert (any_lm.pristine().tokens_in, fresh.name, fresh.limits.rows) == (0, any_lm.name, any_lm.limits.rows)


@pytest.mark.usefixtures("no_disk")
def test_nothing_that_was_done_to_one_copy_is_on_the_next(any_lm: HuggingFaceModel) -> None:
    any_lm.keep()
    untouched = any_lm.pristine()
    for change in (with_trained_weights, with_adapter, with_hooks, with_other_settings):
        change(any_lm.pristine())
    fresh = any_lm.pristine()
    weights = untouched.model.state_dict()
    assert fresh.model.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in fresh.model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in fresh.model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in fresh.model.modules())
    assert not any(module.training for module in fresh.model.modules())
    assert fresh.model.generation_config.to_dict() == untouched.model.generation_config.to_dict()
    assert fresh.tokenizer.padding_side == "left"
    assert fresh.generate(PROMPTS, 6) == untouched.generate(PROMPTS, 6)


def test_a_copy_shares_no_memory_and_keeps_its_ties(llama: HuggingFaceModel) -> None:
    tied = llama.model
    tied.lm_head.weight = tied.model.embed_tokens.weight
    made = copied(tied, torch.device("cpu"))
    assert made.lm_head.weight is made.model.embed_tokens.weight
    pointers = [{tensor.data_ptr() for tensor in [*model.parameters(), *model.buffers()]} for model in (tied, made)]
    assert not pointers[0] & pointers[1]


def test_a_copy_is_made_on_another_device(llama: HuggingFaceModel) -> None:
    made = copied(llama.model, torch.device("meta"))
    assert {tensor.device.type for tensor in [*made.parameters(), *made.buffers()]} == {"meta"}
    assert llama.model.device.type == "cpu"


@pytest.mark.parametrize("why", ["it was quantized", "memory is short", "it was never kept"])
def test_weights_are_read_again_where_a_copy_is_unsound_or_does_not_fit(
    llama: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    read: list[bool] = []
    llama.reload = lambda: read.append(True) or llama
    monkeypatch.setattr(lm_module, "has_room_for", lambda model: why != "memory is short")
    if why == "it was quantized":
        llama.model.hf_quantizer = object()
    if why != "it was never kept":
        llama.keep()
    assert llama.pristine() is llama
    assert read == [True]
    assert (llama.model.device.type == "meta") == (why == "it was quantized")  # nothing stays beside what is read anew


def test_what_a_copy_learns_of_the_memory_later_copies_know(
    llama: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = llama.pristine()
    source.keep()
    first = source.pristine()
    forward = first.model.forward

    def small(input_ids: torch.Tensor, **rest: object) -> object:
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError
        return forward(input_ids=input_ids, **rest)

    monkeypatch.setattr(first.model, "forward", small)
    first.generate(["a", "b", "c", "d"], 2)
    assert first.limits.rows == 2
    assert (source.pristine().limits.rows, source.pristine().limits.tokens) == (2, first.limits.tokens)


def test_a_model_of_another_device_stays_there_where_the_cpus_memory_is_short(
    llama: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lm_module, "has_room_for", lambda model: False)
    llama.place = torch.device("meta")
    llama.reload = lambda: llama
    llama.keep()
    assert llama.pristine() is llama


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_to_keep_a_model_again_changes_nothing_whatever_the_memory(
    llama: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch, quantized: bool, dtype: torch.dtype
) -> None:
    room = [True, False]
    monkeypatch.setattr(lm_module, "has_room_for", lambda model: room.pop(0))
    llama.model.to(dtype)
    if quantized:
        llama.model.hf_quantizer, llama.model.is_quantized = object(), True
    llama.keep()
    at_rest = llama.model
    llama.keep()
    assert llama.model is at_rest
    assert (at_rest.device.type, at_rest.dtype) == ("meta" if quantized else "cpu", dtype)
    assert getattr(at_rest, "is_quantized", False) == quantized
