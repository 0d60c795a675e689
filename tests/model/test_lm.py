"""The language model: batched is solo, representations and likelihoods are those of a single plain forward pass."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.api import HarnessError, LanguageModel
from harness.model.architectures import mlp_modules
from harness.model.lm import HuggingFaceModel, load
from tests.tiny_models import byte_level_tokenizer

PROMPTS = [
    "Which tag does this movie relate to? Your answer:",
    "x Your answer:",
    "A lonely detective follows a trail of letters. Your answer:",
    "Your answer:",
]
OUTPUTS = ["comedy", "", "a thriller, or a classic", "just had the best coffee"]


def solo_states(lm: HuggingFaceModel, prompt: str, output: str) -> tuple[Tensor, int]:
    """MLP outputs of one unpadded sequence [T, L, d], and how many of its tokens come before the output."""
    seen: list[Tensor] = []
    hooks = [mlp.register_forward_hook(lambda m, a, out: seen.append(out[0])) for mlp in mlp_modules(lm.model)]
    source = lm.tokenizer(prompt).input_ids
    with torch.no_grad():
        if lm.is_encoder_decoder:
            answer = lm.tokenizer(output, add_special_tokens=False).input_ids
            lm.model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([[0, *answer]]))
            source = [0]
        else:
            whole = lm.tokenizer(f"{prompt} {output}" if output else prompt).input_ids
            lm.model(input_ids=torch.tensor([whole]))
    for hook in hooks:
        hook.remove()
    return torch.stack(seen, 1), len(source)


def solo_log_likelihood(lm: HuggingFaceModel, prompt: str, output: str) -> float:
    """Token by token, from whole-sequence logits of one unpadded sequence."""
    source = lm.tokenizer(prompt).input_ids
    end = [lm.tokenizer.eos_token_id]
    with torch.no_grad():
        if lm.is_encoder_decoder:
            answer = lm.tokenizer(output, add_special_tokens=False).input_ids + end
            decoder = torch.tensor([[0, *answer[:-1]]])
            logits = lm.model(input_ids=torch.tensor([source]), decoder_input_ids=decoder).logits[0]
        else:
            whole = lm.tokenizer(f"{prompt} {output}" if output else prompt).input_ids + end
            answer = whole[len(source) :]
            logits = lm.model(input_ids=torch.tensor([whole])).logits[0, len(source) - 1 : -1]
    return sum(float(row.log_softmax(-1)[token]) for row, token in zip(logits, answer, strict=True))


def test_the_protocol_is_kept(llama: HuggingFaceModel) -> None:
    lm: LanguageModel = llama
    assert (lm.num_layers, lm.hidden_size, lm.max_length, lm.is_encoder_decoder) == (3, 32, 256, False)
    assert (lm.tokens_in, lm.tokens_out) == (0, 0)


def test_generation_is_greedy_and_does_not_depend_on_the_batch(any_lm: HuggingFaceModel) -> None:
    found = any_lm.generate(PROMPTS, 8)
    any_lm.limits.rows = 1
    assert any_lm.generate(PROMPTS, 8) == found
    assert len(set(found)) > 1


def test_a_causal_continuation_is_the_argmax_of_plain_forward_passes(llama: HuggingFaceModel) -> None:
    ids = llama.tokenizer(PROMPTS[0]).input_ids
    start = len(ids)
    for _ in range(8):
        with torch.no_grad():
            ids.append(int(llama.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    text = llama.tokenizer.decode(ids[start:], skip_special_tokens=True).removeprefix(" ")
    assert llama.generate([PROMPTS[0], PROMPTS[2]], 8)[0] == text


def test_generation_stops_at_any_end_of_sequence_and_counts_real_tokens(llama: HuggingFaceModel) -> None:
    whole = llama.generate(["x Your answer:"], 8)[0]
    ids = llama.tokenizer.encode("x Your answer:")
    first = int(llama.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
    llama.model.generation_config.eos_token_id = [first]
    fresh = llama.pristine()
    fresh.model.generation_config.eos_token_id = [first, 1]
    shortened = fresh.generate(["x Your answer:", PROMPTS[0]], 8)
    assert shortened[0] in ("", llama.tokenizer.decode([first]).removeprefix(" "))
    assert shortened[0] != whole
    assert fresh.tokens_in == sum(fresh.count_tokens(prompt) for prompt in ("x Your answer:", PROMPTS[0]))
    assert fresh.tokens_out == 1 + 8


def test_no_prompts_give_no_answers(llama: HuggingFaceModel) -> None:
    assert llama.generate([], 8) == []
    assert llama.represent([], [], "last").shape == (0, 3, 32)
    assert llama.log_likelihood([], []).shape == (0,)


def test_a_prompt_without_room_is_refused(any_lm: HuggingFaceModel) -> None:
    room = any_lm.room(8)
    assert room == (256 if any_lm.is_encoder_decoder else 248)
    prompt = "x "
    while any_lm.count_tokens(prompt) <= room:
        prompt += "letters "
    with pytest.raises(ValueError, match=f"has room for {room}"):
        any_lm.generate(["Your answer:", prompt], 8)
    with pytest.raises(ValueError, match="has room for 256"):
        any_lm.represent([prompt * 2], ["comedy"], "last")
    assert any_lm.room(1000) == (256 if any_lm.is_encoder_decoder else 0)


def test_every_batch_reports_how_many_prompts_are_done(llama: HuggingFaceModel) -> None:
    llama.limits.rows = 3
    done: list[int] = []
    llama.generate(PROMPTS, 2, on_batch=done.append)
    assert done == [3, 4]


def test_representations_are_those_of_a_single_plain_forward_pass(any_lm: HuggingFaceModel) -> None:
    last = any_lm.represent(PROMPTS, OUTPUTS, "last")
    start = any_lm.represent(PROMPTS, OUTPUTS, "answer_start")
    assert last.dtype == torch.float32
    for index, (prompt, output) in enumerate(zip(PROMPTS, OUTPUTS, strict=True)):
        states, before = solo_states(any_lm, prompt, output)
        torch.testing.assert_close(last[index], states[-1], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(start[index], states[before - 1], rtol=1e-4, atol=1e-4)
    assert torch.equal(last[1], start[1])  # an empty output


def test_representing_computes_no_vocabulary_projection(
    any_lm: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise AssertionError("the vocabulary was projected on")

    monkeypatch.setattr(any_lm.model.get_output_embeddings(), "forward", fail)
    any_lm.represent(PROMPTS, OUTPUTS, "last")
    with pytest.raises(AssertionError):
        any_lm.log_likelihood(PROMPTS, OUTPUTS)


def test_represented_states_can_be_trained_on(llama: HuggingFaceModel) -> None:
    probe = torch.zeros(32, requires_grad=True)
    (llama.represent(PROMPTS, OUTPUTS, "last") @ probe).sum().backward()
    assert probe.grad is not None


def test_log_likelihoods_are_those_of_a_single_plain_forward_pass(any_lm: HuggingFaceModel) -> None:
    found = any_lm.log_likelihood(PROMPTS, OUTPUTS)
    expected = [solo_log_likelihood(any_lm, prompt, output) for prompt, output in zip(PROMPTS, OUTPUTS, strict=True)]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-3)
    assert any_lm.tokens_out == 0
    assert any_lm.tokens_in > 0


def test_another_number_of_outputs_is_refused(llama: HuggingFaceModel) -> None:
    with pytest.raises(ValueError, match="zip"):
        llama.log_likelihood(PROMPTS, OUTPUTS[:1])


def test_special_tokens_in_data_do_not_end_or_steer_a_prompt(
    model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    chat = "<|im_start|>user\n{{ messages[0].content }}<|im_end|>\n<|im_start|>assistant\n"
    load(str(model_folder("llama"))).model.save_pretrained(tmp_path)
    byte_level_tokenizer(chat_template=chat).save_pretrained(tmp_path)
    seen: list[Tensor] = []
    lm = load(str(tmp_path))
    lm.model.register_forward_pre_hook(lambda m, a, k: seen.append(k["input_ids"]), with_kwargs=True)
    lm.generate(["a tweet </s><|im_end|> Your answer:"], 2)
    special = [i for i in seen[0][0].tolist() if i in lm.tokenizer.all_special_ids]
    assert lm.tokenizer.convert_ids_to_tokens(special) == ["<|im_start|>", "<|im_end|>", "<|im_start|>"]
    assert lm.count_tokens("a tweet </s><|im_end|> Your answer:") == seen[0].shape[1]


class SmallMemory:
    """A forward pass that runs out of memory above a number of rows. Only the first pass of a batch is noted."""

    def __init__(self, lm: HuggingFaceModel, rows: int) -> None:
        self.original, self.rows, self.tried = lm.model.forward, rows, list[int]()

    def __call__(self, input_ids: Tensor, **arguments: object) -> object:
        if input_ids.shape[1] > 1:
            self.tried.append(len(input_ids))
        if len(input_ids) > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.original(input_ids=input_ids, **arguments)


def test_out_of_memory_halves_the_batch_for_good(llama: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [f"{start} {prompt}" for start in ("a tag", "in town", "movie") for prompt in PROMPTS]
    expected = llama.pristine().generate(prompts, 4)
    memory = SmallMemory(llama, rows=5)
    monkeypatch.setattr(llama.model, "forward", memory)
    done: list[int] = []
    assert llama.generate(prompts, 4, on_batch=done.append) == expected
    assert memory.tried == [12, 6, 3, 3, 3, 3]
    assert done == [3, 6, 9, 12]
    assert llama.tokens_in == sum(map(llama.count_tokens, prompts))
    llama.generate(prompts[:4], 4)
    assert memory.tried[6:] == [3, 1]
    assert llama.pristine().limits.rows == 3


def test_out_of_memory_with_one_prompt_is_an_error(llama: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama.model, "forward", SmallMemory(llama, rows=0))
    with pytest.raises(HarnessError, match="on cpu runs out of memory with a single prompt"):
        llama.generate(PROMPTS, 4)


def test_a_model_left_in_training_mode_answers_without_dropout_and_stays_in_it(any_lm: HuggingFaceModel) -> None:
    expected = any_lm.log_likelihood(PROMPTS, OUTPUTS)
    any_lm.model.train()
    torch.testing.assert_close(any_lm.log_likelihood(PROMPTS, OUTPUTS), expected)
    assert any_lm.model.training


def test_training_leaves_no_trace_on_a_pristine_model(llama: HuggingFaceModel) -> None:
    expected = llama.generate(PROMPTS, 6)
    weights = {name: value.clone() for name, value in llama.model.state_dict().items()}
    llama.model.train().requires_grad_(False)
    llama.model.gradient_checkpointing_enable()
    llama.model.config.use_cache = False
    llama.model.forward = lambda **arguments: None
    llama.tokenizer.padding_side = "right"
    llama.tokenizer.chat_template = "{{ messages[0].content }}"
    with torch.no_grad():
        llama.model.lm_head.weight.zero_()
    fresh = llama.pristine()
    assert (fresh.tokens_in, fresh.tokens_out, fresh.name) == (0, 0, llama.name)
    assert all(torch.equal(value, weights[name]) for name, value in fresh.model.state_dict().items())
    assert all(parameter.requires_grad for parameter in fresh.model.parameters())
    assert not fresh.model.training
    assert not fresh.model.is_gradient_checkpointing
    assert fresh.model.config.use_cache
    assert fresh.tokenizer.padding_side == "left"
    assert fresh.generate(PROMPTS, 6) == expected
