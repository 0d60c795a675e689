"""One batch of token ids through a model: continuations, representations, likelihoods.

What sequences share at the beginning is computed once (`prefill`). The decoder of an encoder-decoder is padded on the
right, where causal attention does not look; its encoder reads both ways and has nothing to share.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, get_args

import torch
from torch import Tensor, nn
from transformers import StoppingCriteria

from harness.api import OutOfTime, Position, Site
from harness.model.architectures import site_modules, without_adapter
from harness.model.decoding import Stop
from harness.model.editing import EditedRows, recorded
from harness.model.exact_logits import exact_logits
from harness.model.prefill import Ids, is_cached_plainly, left_padded, positioned, prefill


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """No gradients, no dropout; the training mode comes back afterwards."""
    # Not torch.inference_mode: a table that a module computes here and keeps would be of no use in later training.
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


@contextmanager
def deadline(model: nn.Module, time_left: Callable[[], float] | None) -> Iterator[None]:
    """While open, passes through the model raise OutOfTime before a layer once `time_left()` is 0."""

    def check(module: nn.Module, args: tuple[Any, ...]) -> None:
        states = args[0] if args else None
        if isinstance(states, Tensor) and states.is_cuda and states.ndim > 1 and states.shape[1] > 1:
            torch.cuda.synchronize(states.device)  # else all layers of a long pass are launched before one is computed
        if time_left is not None and time_left() <= 0:
            raise OutOfTime

    stacks = () if time_left is None else [part for part in model.modules() if isinstance(part, nn.ModuleList)]
    with ExitStack() as hooks:
        for layer in (layer for stack in stacks for layer in stack):
            hooks.callback(layer.register_forward_pre_hook(check).remove)
        yield


def continuations(model: Any, prompts: Ids, stop: Stop, pad: int, rows: EditedRows) -> list[list[int]]:
    """What `decoding.decode` gives, by transformers' own `generate`: for encoder-decoders and unusual caches."""
    inputs = left_padded(model, prompts, pad)
    start = 1 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
    rows.follow(0)
    sequences = model.generate(
        **inputs,
        max_new_tokens=stop.max_new_tokens,
        do_sample=False,
        num_beams=1,
        prefill_chunk_size=None,  # the edits are told of one pass over the prompts
        pad_token_id=pad,
        eos_token_id=stop.ends,
        stopping_criteria=[
            _AfterEachToken(rows, start),
            *([] if stop.line is None else [stop.line.criterion(start)]),
        ],
    )
    found = [_until(row[start:], stop.ends) for row in sequences.tolist()]
    return found if stop.line is None else [stop.line.cut(ids) for ids in found]


class _AfterEachToken(StoppingCriteria):
    """Tells the edits how many tokens are new: the next pass has one of them, or all."""

    def __init__(self, rows: EditedRows, start: int) -> None:
        self._rows, self._start = rows, start

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        self._rows.follow(input_ids.shape[1] - self._start)
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def representations(
    model: Any, prompts: Ids, answers: Ids, sizes: Sequence[int], position: Position, site: Site, pad: int
) -> tuple[Tensor, int]:
    """Outputs at `site` of every decoder layer at one position, [B, L, d], and how many tokens were computed.

    `sizes` of the sequences in turn begin alike. The vocabulary projection is not computed. Raises ValueError for a
    position or a site that there is not.
    """
    if position not in get_args(Position):
        raise ValueError(f"there is no position {position!r}; known: {', '.join(get_args(Position))}")
    inner, lengths = without_adapter(model), torch.tensor([len(answer) for answer in answers])
    sequences, modules = _joined(prompts, answers), site_modules(inner, site)
    if inner.config.is_encoder_decoder:
        inputs = left_padded(model, prompts, pad)
        states = inner.get_encoder()(**inputs).last_hidden_state
        with recorded(modules, lengths if position == "last" else 0 * lengths) as seen:
            inner.get_decoder()(
                input_ids=_decoder_inputs(model, answers, pad),
                encoder_hidden_states=states,
                encoder_attention_mask=inputs["attention_mask"],
                use_cache=False,
            )
        return torch.stack(seen, 1), sum(map(len, sequences))
    found: list[Tensor] = []

    def run(**inputs: Any) -> None:
        with recorded(modules, 0 * lengths - 1 if position == "last" else -1 - lengths) as seen:
            inner.base_model(**inputs)
        found.extend(seen)

    if not is_cached_plainly(model):
        run(**positioned(left_padded(model, sequences, pad)), use_cache=False)
        return torch.stack(found, 1), sum(map(len, sequences))
    computed = prefill(model, run, sequences, _before(prompts), sizes, pad).computed
    return torch.stack(found, 1), computed


def log_likelihoods(
    model: Any, prompts: Ids, answers: Ids, sizes: Sequence[int], pad: int, rows: EditedRows
) -> tuple[Tensor, int]:
    """Sum of log p over the tokens of each answer, which must not be empty, [B] float32, and the tokens computed.

    `sizes` of the sequences in turn begin alike; the edits of `rows` are open on the model.
    """
    longest, sequences = max(map(len, answers)), _joined(prompts, answers)
    computed = sum(map(len, sequences))
    if model.config.is_encoder_decoder:
        started = _decoder_inputs(model, [answer[:-1] for answer in answers], pad)
        rows.follow(longest - 1)
        with exact_logits(model):
            output = model(**left_padded(model, prompts, pad), decoder_input_ids=started, use_cache=False)
        logits = output.logits
        targets = [answer + [-1] * (longest - len(answer)) for answer in answers]
    else:

        def run(**inputs: Any) -> Any:
            with exact_logits(model):
                return model(**inputs, logits_to_keep=longest + 1)

        if is_cached_plainly(model):
            state = prefill(model, run, sequences, _before(prompts), sizes, pad, rows)
            output, computed = state.output, state.computed
        else:
            rows.follow([len(answer) for answer in answers])
            output = run(**positioned(left_padded(model, sequences, pad)), use_cache=False)
        logits = output.logits[:, :-1]
        targets = [[-1] * (longest - len(answer)) + answer for answer in answers]
    chosen = torch.tensor(targets, device=logits.device)
    found = logits.float().log_softmax(-1).gather(-1, chosen.clamp(min=0)[..., None])[..., 0]
    return found.where(chosen >= 0, 0.0).sum(-1), computed


def _joined(prompts: Ids, answers: Ids) -> Ids:
    return [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]


def _before(prompts: Ids) -> list[int]:
    """All of each prompt but the last token, whose output is asked for."""
    return [len(prompt) - 1 for prompt in prompts]


def _decoder_inputs(model: Any, answers: Ids, pad: int) -> Tensor:
    """The start token and the answer, [B, T] int64."""
    start = model.generation_config.decoder_start_token_id
    longest = max(map(len, answers))
    rows = [[start, *answer] + [pad] * (longest - len(answer)) for answer in answers]
    return torch.tensor(rows, device=model.device)


def _until(ids: list[int], ends: list[int]) -> list[int]:
    first = next((i for i, token in enumerate(ids) if token in ends), len(ids))
    return ids[: first + 1]
