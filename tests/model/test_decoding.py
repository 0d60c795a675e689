"""Decoding in this process: what prompts share is computed once, finished rows leave, and no answer changes by it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import harness.model.decoding
from harness.api import EditPositions, Edits, Position
from harness.model.lm import HuggingFaceModel, load
from tests.tiny_models import CAUSAL, byte_level_tokenizer, write_model

HISTORY = "A lonely detective follows a trail of letters across the city. just had the best coffee in town, again! "
PROMPTS = [
    f"{HISTORY}The user prefers comedy. Your answer:",
    "x Your answer:",
    f"{HISTORY}Your answer should be plain, and as long as the question asks. Your answer:",
    f"Which tag does this movie relate to? {HISTORY}The user prefers fantasy. Your answer:",
    f"Which tag does this movie relate to? {HISTORY}Your answer should be plain. Your answer:",
    f"{HISTORY}Your answer:",
    "Your answer:",
]
ROWS = (0, -1, 0, 1, 1, -1, 2)


def make_edits(rows: tuple[int, ...] = ROWS, positions: EditPositions = "all") -> Edits:
    random = torch.Generator().manual_seed(1)
    personal, neutral, offset = (torch.randn((3, 2, 32), generator=random) for _ in range(3))
    return Edits((0, 2), rows, personal, neutral, offset, positions=positions)


@pytest.fixture(params=CAUSAL)
def lm(request: pytest.FixtureRequest, tiny_lm: Callable[[str], HuggingFaceModel]) -> HuggingFaceModel:
    return tiny_lm(request.param)


def by_transformers(lm: HuggingFaceModel, prompt: str, new_tokens: int) -> str:
    ids = torch.tensor([lm.prompt_ids(prompt)])
    found = lm.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new_tokens)
    text = lm.tokenizer.decode(found[0, ids.shape[1] :], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text.removeprefix(" ")


def solo(lm: HuggingFaceModel, new_tokens: int, edits: Edits) -> list[str]:
    return [
        lm.generate([prompt], new_tokens, replace(edits, rows=(row,)))[0]
        for prompt, row in zip(PROMPTS, edits.rows, strict=True)
    ]


def test_shared_prefixes_change_no_answer_of_transformers(lm: HuggingFaceModel) -> None:
    assert lm.generate(PROMPTS, 12) == [by_transformers(lm, prompt, 12) for prompt in PROMPTS]
    assert lm.tokens_in == sum(map(lm.count_tokens, PROMPTS))
    assert lm.tokens_computed < 0.85 * (lm.tokens_in + lm.tokens_out)


@pytest.mark.parametrize("at_once", [2**20, 1])
@pytest.mark.parametrize("positions", ["all", "answer", "generated"])
def test_a_batch_of_mixed_edits_gives_each_row_what_it_gets_alone(
    lm: HuggingFaceModel, positions: EditPositions, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness.model.decoding, "prefill_tokens", lambda device: at_once)
    edits = make_edits(positions=positions)
    together = lm.generate(PROMPTS, 12, edits)
    assert together == solo(lm, 12, edits)
    assert together != lm.generate(PROMPTS, 12)


def test_rows_that_finish_at_different_times_leave_the_others_alone(lm: HuggingFaceModel) -> None:
    whole = lm.generate(PROMPTS, 12, make_edits())
    ends = [(lm.answer_ids(text) or [1])[:2][-1] for text in whole[:3]]
    lm.model.generation_config.eos_token_id = ends
    shapes: list[torch.Size] = []
    lm.model.register_forward_pre_hook(lambda m, a, k: shapes.append(k["input_ids"].shape), with_kwargs=True)
    together = lm.generate(PROMPTS, 12, make_edits())
    fed = [rows for rows, tokens in shapes if tokens == 1]
    assert fed == sorted(fed, reverse=True)
    assert len(set(fed)) > 1
    assert together == solo(lm, 12, make_edits())


def test_prompts_that_are_read_a_few_at_a_time_are_decoded_together(
    lm: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness.model.decoding, "prefill_tokens", lambda device: 2**20)
    at_once = lm.generate_represented(PROMPTS, 12, "last")
    monkeypatch.setattr(harness.model.decoding, "prefill_tokens", lambda device: 1)
    shapes: list[torch.Size] = []
    lm.model.register_forward_pre_hook(lambda m, a, k: shapes.append(k["input_ids"].shape), with_kwargs=True)
    apart = lm.generate_represented(PROMPTS, 12, "last")
    assert apart.texts == at_once.texts
    assert sum(tokens > 1 for _, tokens in shapes) > 1
    assert max(rows for rows, tokens in shapes if tokens == 1) == len(PROMPTS)
    for one, other in zip(apart.states, at_once.states, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


def test_only_rows_of_equal_edits_share(lm: HuggingFaceModel) -> None:
    lm.generate([PROMPTS[0], PROMPTS[2]], 2, make_edits((0, 1)))
    apart = lm.tokens_computed
    lm.generate([PROMPTS[0], PROMPTS[2]], 2, make_edits((0, 0)))
    assert lm.tokens_computed - apart < 0.75 * apart


@pytest.mark.parametrize("positions", ["all", "answer", "generated"])
def test_labels_of_one_prompt_read_it_once(lm: HuggingFaceModel, positions: EditPositions) -> None:
    labels = ["comedy", "a thriller", "", "dystopia, fantasy", "classic"]
    prompts = [PROMPTS[3]] * 5 + [PROMPTS[0]] * 5
    edits = make_edits((0,) * 5 + (-1,) * 5, positions)
    together = lm.log_likelihood(prompts, labels * 2, edits)
    computed = lm.tokens_computed
    alone = [
        lm.log_likelihood([prompt], [label], replace(edits, rows=(row,)))
        for prompt, label, row in zip(prompts, labels * 2, edits.rows, strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-4)
    assert computed < 0.4 * (lm.tokens_computed - computed)


@pytest.fixture
def counting_lm(lm: HuggingFaceModel, tmp_path: Path) -> HuggingFaceModel:
    """A chat model that says nothing but digits and line breaks, which are read as the tokens that they were."""
    chat = "<|im_start|>user\n{{ messages[0].content }}<|im_end|>\n<|im_start|>assistant\n"
    lm.model.save_pretrained(tmp_path)
    byte_level_tokenizer(chat_template=chat).save_pretrained(tmp_path)
    found = load(str(tmp_path))
    others = torch.ones(found.model.config.vocab_size, dtype=torch.bool)
    others[[*found.answer_ids("0123456789\n"), 1]] = False
    found.model.get_output_embeddings().register_forward_hook(lambda m, a, out: out.masked_fill(others, -1e9))
    return found


@pytest.mark.parametrize("position", ["last", "answer_start"])
@pytest.mark.parametrize("one_line", [True, False])
def test_states_recorded_while_generating_are_those_of_a_pass_over_both_texts(
    counting_lm: HuggingFaceModel, position: Position, one_line: bool
) -> None:
    found = counting_lm.generate_represented(PROMPTS, 8, position, one_line=one_line)
    assert list(found.texts) == counting_lm.generate(PROMPTS, 8, one_line=one_line)
    expected = counting_lm.represent(PROMPTS, found.texts, position)
    known = [row for row, state in enumerate(found.states) if state is not None]
    assert len(known) >= len(PROMPTS) - 1  # a row may end in more blanks than are kept
    for row in known:
        scale = float(expected[row].abs().max())
        torch.testing.assert_close(found.states[row], expected[row], rtol=0, atol=1e-5 * scale)


def test_an_output_that_is_read_as_other_tokens_is_not_recorded(
    counting_lm: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = counting_lm.generate(PROMPTS, 8)[0]
    read = counting_lm.answer_ids(first)
    monkeypatch.setattr(counting_lm, "answer_ids", lambda text: read if text == first else [0])
    found = counting_lm.generate_represented(PROMPTS, 8, "last")
    assert [state is not None for state in found.states] == [text == first for text in found.texts]


def test_windows_that_are_too_short_for_holes_share_nothing(tmp_path: Path) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    tokenizer = byte_level_tokenizer()
    torch.manual_seed(0)
    shape = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    config = MistralConfig(
        vocab_size=len(tokenizer),
        **shape,
        sliding_window=24,
        initializer_range=0.3,
        max_position_embeddings=256,
        bos_token_id=2,
        eos_token_id=1,
        pad_token_id=0,
    )
    MistralForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    lm = load(str(tmp_path))
    assert lm.generate(PROMPTS, 12) == [by_transformers(lm, prompt, 12) for prompt in PROMPTS]
    assert lm.tokens_computed >= lm.tokens_in
    lm.model.config.sliding_window = 250
    lm.tokens_in = lm.tokens_out = lm.tokens_computed = 0
    assert lm.generate(PROMPTS, 12) == [by_transformers(lm, prompt, 12) for prompt in PROMPTS]
    assert lm.tokens_computed < 0.85 * (lm.tokens_in + lm.tokens_out)


@pytest.mark.parametrize("kind", ["gpt_neo", "phi3"])
def test_models_whose_windows_or_positions_depend_on_the_batch_answer_as_alone(kind: str, tmp_path: Path) -> None:
    lm = load(str(write_model(kind, tmp_path)))
    assert lm.generate(PROMPTS, 12) == [by_transformers(lm, prompt, 12) for prompt in PROMPTS]
    assert lm.generate(PROMPTS, 12, make_edits()) == solo(lm, 12, make_edits())
    alone = torch.cat([lm.log_likelihood([prompt], ["comedy"]) for prompt in PROMPTS])
    torch.testing.assert_close(lm.log_likelihood(PROMPTS, ["comedy"] * len(PROMPTS)), alone, atol=1e-4, rtol=0)


def test_settings_that_change_greedy_answers_are_left_to_transformers(llama: HuggingFaceModel) -> None:
    plain = llama.generate(PROMPTS, 12)
    llama.model.generation_config.repetition_penalty = 3.0
    found = llama.generate(PROMPTS, 12)
    assert found == [by_transformers(llama, prompt, 12) for prompt in PROMPTS]
    assert found != plain


def test_logits_are_computed_at_the_last_position_only(llama: HuggingFaceModel) -> None:
    shapes: list[int] = []
    llama.model.lm_head.register_forward_hook(lambda m, a, out: shapes.append(out.shape[1]))
    llama.generate(PROMPTS, 4)
    assert set(shapes) == {1}


def test_batches_hold_no_more_padded_tokens_than_allowed(llama: HuggingFaceModel) -> None:
    expected = llama.generate(PROMPTS, 4)
    seen: list[tuple[int, int]] = []
    llama.model.register_forward_pre_hook(lambda m, a, k: seen.append(k["attention_mask"].shape), with_kwargs=True)
    llama.limits.tokens = 200
    assert llama.generate(PROMPTS, 4) == expected
    assert max(rows * places for rows, places in seen) <= 200 + 4 * 16
    llama.limits.tokens = 1
    assert llama.generate(PROMPTS, 4) == expected
    assert seen[-1][0] == 1
