"""Candidates scored while their prompts are answered: what answering and scoring give apart, with prompts read once."""

from collections.abc import Callable

import pytest
import torch

from harness.api import Adapters, Edits
from harness.model.lm import HuggingFaceModel

HISTORY = "A lonely detective follows a trail of letters across the city. just had the best coffee in town, again! "
PROMPTS = [f"{HISTORY}The user prefers comedy. Your answer:", "x Your answer:", f"{HISTORY}x Your answer:", "Why?"]
CANDIDATES = [["comedy", "", "a thriller about " + "letters, " * 4], ["fantasy"], [], ["", "classic"]]
ROWS = (1, -1, 0, 1)


def edits(positions: str) -> Edits:
    random = torch.Generator().manual_seed(1)
    personal, neutral, offset = (torch.randn((2, 2, 32), generator=random) for _ in range(3))
    return Edits((0, 2), ROWS, personal, neutral, offset, positions=positions)  # type: ignore[arg-type]


def adapters(lm: HuggingFaceModel) -> Adapters:
    random = torch.Generator().manual_seed(2)
    ends = ("q_proj", "down_proj", ".wo")
    layers = {
        name: layer
        for name, layer in lm.model.named_modules()
        if name.endswith(ends) and isinstance(layer, torch.nn.Linear)
    }
    banks = {
        name: (
            torch.randn((2, 2, layer.in_features), generator=random) * 0.2,
            torch.randn((2, layer.out_features, 2), generator=random) * 0.2,
        )
        for name, layer in layers.items()
    }
    return Adapters(banks, ROWS)


def apart(lm: HuggingFaceModel, changes: Edits | Adapters | None) -> tuple[list[str], list[torch.Tensor]]:
    """Answers, and one pass for each candidate."""
    answers = lm.generate(PROMPTS, 6, changes)
    pairs = [(place, text) for place, texts in enumerate(CANDIDATES) for text in texts]
    totals = torch.stack([lm.log_likelihood(PROMPTS, [text] * len(PROMPTS), changes)[place] for place, text in pairs])
    return answers, list(totals.split([len(texts) for texts in CANDIDATES]))


def check_at_once(lm: HuggingFaceModel, changes: Edits | Adapters | None) -> None:
    answers, totals = apart(lm, changes)
    lm.limits.rows = 3
    found = lm.generate_scored(PROMPTS, CANDIDATES, 6, changes)
    assert list(found.texts) == answers
    for one, other in zip(found.log_likelihoods, totals, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)
    assert found.seconds > 0


@pytest.mark.parametrize("kind", ["plain", "all", "answer", "generated"])
def test_answers_and_likelihoods_are_those_of_separate_calls(any_lm: HuggingFaceModel, kind: str) -> None:
    check_at_once(any_lm, None if kind == "plain" else edits(kind))


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_so_they_are_with_an_adapter_for_each_row(tiny_lm: Callable[[str], HuggingFaceModel], kind: str) -> None:
    lm = tiny_lm(kind)
    check_at_once(lm, adapters(lm))


def test_prompts_are_read_once_and_candidates_are_counted_apart(llama: HuggingFaceModel) -> None:
    llama.generate(PROMPTS, 6)
    tokens_in, computed = llama.tokens_in, llama.tokens_computed
    found = llama.generate_scored(PROMPTS, CANDIDATES, 6)
    written = [len(llama.answer_ids(text)) for texts in CANDIDATES for text in texts]
    assert found.tokens == sum(written) + len(written)  # and the end of each
    assert llama.tokens_in == 2 * tokens_in + found.tokens
    assert llama.tokens_computed == 2 * computed + sum(written)


def test_a_model_with_sliding_windows_reads_them_again(tiny_lm: Callable[[str], HuggingFaceModel]) -> None:
    lm = tiny_lm("mistral")
    lm.model.config.sliding_window = 24
    check_at_once(lm, edits("answer"))
    check_at_once(lm, None)
    before = lm.tokens_computed
    lm.generate_scored(PROMPTS, CANDIDATES, 6)
    assert lm.tokens_computed - before > 2 * sum(map(lm.count_tokens, PROMPTS))


def test_a_candidate_without_room_beside_its_prompt_is_an_error(llama: HuggingFaceModel) -> None:
    with pytest.raises(ValueError, match="has room for"):
        llama.generate_scored(["Why?"], [["coffee " * 300]], 6)


def test_what_runs_out_of_memory_is_scored_in_smaller_batches(
    llama: HuggingFaceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = llama.generate_scored(PROMPTS, CANDIDATES, 6)
    forward: Callable[..., object] = llama.model.forward

    def scarce(*args: object, **inputs: object) -> object:
        ids = inputs["input_ids"]
        assert isinstance(ids, torch.Tensor)
        if len(ids) > 2:
            raise torch.OutOfMemoryError
        return forward(*args, **inputs)

    monkeypatch.setattr(llama.model, "forward", scarce)
    found = llama.generate_scored(PROMPTS, CANDIDATES, 6)
    assert found.texts == expected.texts
    for one, other in zip(found.log_likelihoods, expected.log_likelihoods, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-4)
