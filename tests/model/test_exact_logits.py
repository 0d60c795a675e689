"""Log-likelihoods of half-precision models: float32 where the vocabulary is projected onto."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from harness.model.lm import HuggingFaceModel
from tests.model.test_scoring import CANDIDATES, PROMPTS, adapters, edits
from tests.tiny_models import ARCHITECTURES

Tiny = Callable[[str], HuggingFaceModel]


def halved(lm: HuggingFaceModel, dtype: torch.dtype) -> HuggingFaceModel:
    lm.model.to(dtype)  # type: ignore[arg-type]
    return lm


def states(lm: HuggingFaceModel, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """What the vocabulary is projected from at the tokens before each of the answer's, [T, d]."""
    seen: list[torch.Tensor] = []
    head = lm.model.get_output_embeddings()
    with head.register_forward_pre_hook(lambda _, args: seen.append(args[0])):
        if lm.is_encoder_decoder:
            started = [lm.model.config.decoder_start_token_id, *answer[:-1]]
            lm.model(input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([started]))
        else:
            lm.model(torch.tensor([prompt + answer[:-1]]))
    return seen[0][0, -len(answer) :]


def log_p(logits: np.ndarray, answer: list[int]) -> float:
    return float(sum(row[token] - np.logaddexp.reduce(row) for row, token in zip(logits, answer, strict=True)))


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_log_likelihood_is_that_of_the_models_own_states_without_a_rounding_of_logits(tiny_lm: Tiny, kind: str) -> None:
    lm = halved(tiny_lm(kind), torch.bfloat16)
    head = lm.model.get_output_embeddings().weight.double().detach().numpy()
    prompt, errors = lm.prompt_ids(PROMPTS[0]), []
    for text in ("comedy", "a thriller", "letters across the city", "just had coffee"):
        answer = [*lm.answer_ids(text), lm.answer_end]
        with torch.no_grad():
            logits = states(lm, prompt, answer).double().numpy() @ head.T
        expected = log_p(logits, answer)
        assert lm.log_likelihood([PROMPTS[0]], [text]).item() == pytest.approx(expected, abs=1e-4)
        errors.append(abs(log_p(torch.tensor(logits).bfloat16().double().numpy(), answer) - expected))
    assert max(errors) > 30e-4  # had they been rounded


@pytest.mark.parametrize("kind", ["plain", "all", "answer", "generated", "adapters"])
def test_scoring_while_answering_gives_them_too_and_leaves_the_answers_alone(
    llama: HuggingFaceModel, kind: str
) -> None:
    lm = halved(llama, torch.float16)
    changes = {"plain": None, "adapters": adapters(lm)}.get(kind, edits(kind)) if kind != "plain" else None
    found = lm.generate_scored(PROMPTS, CANDIDATES, 6, changes)
    assert list(found.texts) == lm.generate(PROMPTS, 6, changes)
    for place, (prompt, texts) in enumerate(zip(PROMPTS, CANDIDATES, strict=True)):
        apart = [lm.log_likelihood([prompt] * len(PROMPTS), [text] * len(PROMPTS), changes)[place] for text in texts]
        # The states of other batches are other roundings: to half precision.
        torch.testing.assert_close(found.log_likelihoods[place], torch.tensor(apart), rtol=0, atol=0.02)


def test_the_head_is_left_as_it_was_and_generation_never_pays(llama: HuggingFaceModel) -> None:
    lm = halved(llama, torch.bfloat16)
    head = lm.model.get_output_embeddings()
    lm.log_likelihood(PROMPTS, ["comedy"] * len(PROMPTS))
    lm.generate_scored(PROMPTS, CANDIDATES, 6)
    assert not head._forward_hooks
    inputs = torch.tensor([lm.prompt_ids(PROMPTS[0])])
    assert lm.model(inputs).logits.dtype == torch.bfloat16
