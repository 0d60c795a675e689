"""One batch of token ids through a model: continuations, representations, likelihoods.

Sequences are padded on the left and masked, so that every row ends at the same place; a row's result does not depend on
what shares its batch. The decoder of an encoder-decoder is padded on the right, where causal attention does not look.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria

from harness.api import OutOfTime, Position
from harness.model.architectures import mlp_modules, without_adapter
from harness.model.editing import recorded
from harness.model.first_line import FirstLine

Ids = Sequence[list[int]]


@contextmanager
def inference(model: torch.nn.Module) -> Iterator[None]:
    """No gradients, no dropout; the training mode comes back afterwards."""
    # Not torch.inference_mode: a table that a module computes here and keeps would be of no use in later training.
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def continuations(
    model: Any,
    prompts: Ids,
    max_new_tokens: int,
    pad: int,
    ends: list[int],
    line: FirstLine | None = None,
    time_left: Callable[[], float] | None = None,
) -> list[list[int]]:
    """Greedy new tokens of each prompt, to the first that is in `ends` or, with `line`, completes the first line.

    Raises OutOfTime once `time_left()`, asked after every token, is 0.
    """
    inputs = _left_padded(model, prompts, pad)
    start = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
    rows = model.generate(
        **inputs,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        pad_token_id=pad,
        eos_token_id=ends,
        stopping_criteria=[
            *([] if line is None else [line.criterion(start)]),
            *([] if time_left is None else [_Deadline(time_left)]),
        ],
    )
    found = [_until(row[start:], ends) for row in rows.tolist()]
    return found if line is None else [line.cut(ids) for ids in found]


class _Deadline(StoppingCriteria):
    def __init__(self, time_left: Callable[[], float]) -> None:
        self._time_left = time_left

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        if self._time_left() <= 0:
            raise OutOfTime
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def representations(model: Any, prompts: Ids, answers: Ids, position: Position, pad: int) -> Tensor:
    """MLP outputs of every decoder layer at one position, [B, L, d]; the vocabulary projection is not computed."""
    inner = without_adapter(model)
    lengths = torch.tensor([len(answer) for answer in answers])
    if inner.config.is_encoder_decoder:
        inputs = _left_padded(model, prompts, pad)
        states = inner.get_encoder()(**inputs).last_hidden_state
        with recorded(mlp_modules(inner), lengths if position == "last" else 0 * lengths) as seen:
            inner.get_decoder()(
                input_ids=_decoder_inputs(model, answers, pad),
                encoder_hidden_states=states,
                encoder_attention_mask=inputs["attention_mask"],
                use_cache=False,
            )
    else:
        with recorded(mlp_modules(inner), 0 * lengths - 1 if position == "last" else -1 - lengths) as seen:
            inner.base_model(**_positioned(_left_padded(model, _joined(prompts, answers), pad)), use_cache=False)
    return torch.stack(seen, 1)


def log_likelihoods(model: Any, prompts: Ids, answers: Ids, pad: int) -> Tensor:
    """Sum of log p over the tokens of each answer, which must not be empty, [B] float32."""
    longest = max(map(len, answers))
    if model.config.is_encoder_decoder:
        started = _decoder_inputs(model, [answer[:-1] for answer in answers], pad)
        logits = model(**_left_padded(model, prompts, pad), decoder_input_ids=started, use_cache=False).logits
        targets = [answer + [-1] * (longest - len(answer)) for answer in answers]
    else:
        inputs = _positioned(_left_padded(model, _joined(prompts, answers), pad))
        logits = model(**inputs, use_cache=False, logits_to_keep=longest + 1).logits[:, :-1]
        targets = [[-1] * (longest - len(answer)) + answer for answer in answers]
    chosen = torch.tensor(targets, device=logits.device)
    found = logits.float().log_softmax(-1).gather(-1, chosen.clamp(min=0)[..., None])[..., 0]
    return found.where(chosen >= 0, 0.0).sum(-1)


def _joined(prompts: Ids, answers: Ids) -> Ids:
    return [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]


def _left_padded(model: Any, sequences: Ids, pad: int) -> dict[str, Tensor]:
    """input_ids and attention_mask, [B, T] int64."""
    longest = max(map(len, sequences))
    ids = [[pad] * (longest - len(sequence)) + sequence for sequence in sequences]
    mask = [[0] * (longest - len(sequence)) + [1] * len(sequence) for sequence in sequences]
    return {
        "input_ids": torch.tensor(ids, device=model.device),
        "attention_mask": torch.tensor(mask, device=model.device),
    }


def _positioned(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """With position_ids that count real tokens, as `generate` has them; a bare forward would count padding too."""
    return {**inputs, "position_ids": (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)}


def _decoder_inputs(model: Any, answers: Ids, pad: int) -> Tensor:
    """The start token and the answer, [B, T] int64."""
    start = model.generation_config.decoder_start_token_id
    longest = max(map(len, answers))
    rows = [[start, *answer] + [pad] * (longest - len(answer)) for answer in answers]
    return torch.tensor(rows, device=model.device)


def _until(ids: list[int], ends: list[int]) -> list[int]:
    first = next((i for i, token in enumerate(ids) if token in ends), len(ids))
    return ids[: first + 1]
