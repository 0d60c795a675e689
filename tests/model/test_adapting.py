"""Adapters per row, against peft's own LoRA with one user's adapter at a time, on every architecture."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor

from harness.api import Adapters
from harness.export.adapters_as_lora import save_row
from harness.model.adapting import adapted
from harness.model.lm import HuggingFaceModel, load

RANK, ALPHA, USERS = 2, 6, 2
PROMPTS = ["Which tag? Your answer:", "A lonely detective follows a trail. Your answer:", "x Your answer:"]
OUTPUTS = ["comedy", "", "a thriller"]
TARGETS = {"gpt2": ["c_attn"], "t5": ["q", "v"]}  # of the others q_proj and v_proj


@contextmanager
def peft_model(lm: HuggingFaceModel) -> Iterator[PeftModel]:
    """The model with USERS random LoRA adapters, "0", "1", ..., put in by peft."""
    plain = lm.model
    targets = TARGETS.get(plain.config.model_type, ["q_proj", "v_proj"])
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets, lora_dropout=0.5)
    torch.manual_seed(3)
    model = get_peft_model(plain, config, adapter_name="0")
    for user in range(1, USERS):
        model.add_adapter(str(user), config)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data.normal_(std=0.3)
    try:
        yield model.eval()
    finally:
        model.unload()


def banks(model: PeftModel) -> dict[str, tuple[Tensor, Tensor]]:
    """Those of a peft model's adapters, scaled, by the layer's name."""
    found = {}
    for name, module in model.get_base_model().named_modules():
        if hasattr(module, "lora_A"):
            a, b = (
                torch.stack([getattr(module, side)[str(user)].weight.detach().clone() for user in range(USERS)])
                for side in ("lora_A", "lora_B")
            )
            found[name] = a, b * (ALPHA / RANK)
    return found


def one_by_one(lm: HuggingFaceModel, rows: tuple[int, ...]) -> tuple[Adapters, list[str], Tensor]:
    """Adapters for PROMPTS, and what peft gives to each prompt alone: answers, and likelihoods of OUTPUTS."""
    plain, answers, likelihoods = lm.model, [], []
    with peft_model(lm) as model:
        adapters = Adapters(banks(model), rows)
        lm.model = model
        for prompt, output, row in zip(PROMPTS, OUTPUTS, rows, strict=True):
            if row < 0:
                with model.disable_adapter():
                    answers += lm.generate([prompt], 8)
                    likelihoods.append(lm.log_likelihood([prompt], [output]))
                continue
            model.set_adapter(str(row))
            answers += lm.generate([prompt], 8)
            likelihoods.append(lm.log_likelihood([prompt], [output]))
        lm.model = plain
    return adapters, answers, torch.cat(likelihoods)


def test_a_mixed_batch_gives_each_user_what_peft_gives_them_alone(any_lm: HuggingFaceModel) -> None:
    adapters, answers, likelihoods = one_by_one(any_lm, (1, -1, 0))
    assert any_lm.generate(PROMPTS, 8, adapters) == answers
    assert answers[0] != any_lm.generate(PROMPTS[:1], 8)[0]
    torch.testing.assert_close(any_lm.log_likelihood(PROMPTS, OUTPUTS, adapters), likelihoods, rtol=1e-4, atol=1e-4)


def test_logits_of_a_padded_mixed_batch_are_those_of_each_row_alone(any_lm: HuggingFaceModel) -> None:
    adapters, _, _ = one_by_one(any_lm, (1, -1, 0))

    def logits(places: list[int]) -> Tensor:
        tokens = any_lm.tokenizer([PROMPTS[place] for place in places], return_tensors="pt", padding=True)
        inputs = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
        if any_lm.is_encoder_decoder:
            inputs["decoder_input_ids"] = torch.tensor([[0, 7, 9]] * len(places))
        else:
            inputs["position_ids"] = (tokens.attention_mask.cumsum(-1) - 1).clamp(min=0)
        with torch.no_grad(), adapted(any_lm.model, adapters, places):
            return any_lm.model(**inputs).logits[:, -1]

    together = logits([0, 1, 2])
    torch.testing.assert_close(together, torch.cat([logits([place]) for place in range(3)]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits([2, 0]), together[[2, 0]], rtol=1e-4, atol=1e-4)


def test_rows_without_an_adapter_change_no_bit_and_no_hook_stays(any_lm: HuggingFaceModel) -> None:
    adapters, _, _ = one_by_one(any_lm, (1, -1, 0))
    tokens = any_lm.tokenizer(PROMPTS[1:2] * 3, return_tensors="pt", padding=True)
    more = {"decoder_input_ids": torch.tensor([[0, 7]] * 3)} if any_lm.is_encoder_decoder else {}

    def logits() -> Tensor:
        with torch.no_grad():
            return any_lm.model(**{"input_ids": tokens.input_ids, **more}).logits

    plain = logits()
    with adapted(any_lm.model, adapters):
        found = logits()
    assert torch.equal(found[1], plain[1])
    assert not torch.equal(found[0], plain[0])
    with pytest.raises(KeyError), adapted(any_lm.model, adapters):
        raise KeyError
    assert torch.equal(logits(), plain)


def test_prompts_that_begin_alike_share_nothing_between_users(llama: HuggingFaceModel) -> None:
    head = "A lonely detective follows a trail of letters across the city. " * 2
    prompts = [f"{head}{tail} Your answer:" for tail in ("one", "two", "three", "four", "five")]
    with peft_model(llama) as model:
        adapters = Adapters(banks(model), (0, 1, 0, -1, 1))

    def alone(place: int) -> Adapters:
        return replace(adapters, rows=adapters.rows[place : place + 1])

    before = llama.tokens_computed
    together = llama.generate(prompts, 8, adapters)
    computed = llama.tokens_computed - before
    assert together == [llama.generate([prompt], 8, alone(place))[0] for place, prompt in enumerate(prompts)]
    assert computed < llama.tokens_computed - before - computed  # of one user's prompts the head is read once
    likelihoods = llama.log_likelihood(prompts, ["comedy"] * 5, adapters)
    expected = [llama.log_likelihood([prompt], ["comedy"], alone(place)) for place, prompt in enumerate(prompts)]
    torch.testing.assert_close(likelihoods, torch.cat(expected), rtol=1e-4, atol=1e-4)


def test_rows_follow_their_prompts_through_batches(llama: HuggingFaceModel) -> None:
    prompts = [f"{'very ' * (7 * i % 5)}long Your answer:" for i in range(9)]
    with peft_model(llama) as model:
        adapters = Adapters(banks(model), tuple(i % 3 - 1 for i in range(9)))
    whole = llama.generate(prompts, 6, adapters)
    llama.limits.rows = 2
    assert llama.generate(prompts, 6, adapters) == whole


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_a_row_saved_for_peft_answers_as_the_row(
    kind: str, model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    lm = load(str(model_folder(kind)))
    adapters, answers, _ = one_by_one(lm, (1, 1, 1))
    before = lm.model.state_dict().keys()
    save_row(lm.model, adapters, 1, tmp_path)
    assert lm.model.state_dict().keys() == before
    lm.model = PeftModel.from_pretrained(lm.model, tmp_path).eval()
    assert lm.generate(PROMPTS, 8) == answers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": (0, 1)}, "for 2 prompts"),
        ({"rows": (0, 1, 2)}, "rows reach outside"),
        (
            {"layers": {"model.layers.9.self_attn.q_proj": (torch.ones(1, 1, 32), torch.ones(1, 32, 1))}},
            "does not have",
        ),
        ({"layers": {"model.layers.0.self_attn.q_proj": (torch.ones(1, 2, 32), torch.ones(1, 32, 1))}}, "shapes"),
        (
            {"layers": {"model.layers.0.self_attn.q_proj": (torch.ones(2, 1, 48), torch.ones(2, 48, 1))}},
            "from width 48 to 48, but this layer from 32 to 32",
        ),
    ],
)
def test_banks_that_do_not_fit_are_refused(llama: HuggingFaceModel, change: dict[str, object], message: str) -> None:
    with peft_model(llama) as model:
        adapters = Adapters(banks(model), (0, 1, -1))
    with pytest.raises(ValueError, match=message):
        llama.generate(PROMPTS, 4, replace(adapters, **change))
