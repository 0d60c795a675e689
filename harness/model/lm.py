"""LanguageModel on transformers: greedy generation, representations and likelihoods, with per-prompt edits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.api import Adapters, Continuations, Edits, Position, Scored, Site
from harness.model.adapting import adapted
from harness.model.architectures import mlp_modules, site_modules, without_adapter
from harness.model.batching import BatchLimits, cut, default_tokens, prefill_tokens
from harness.model.copying import copied, has_room_for
from harness.model.decoding import Stop, decode, decodes, may_score
from harness.model.editing import EditedRows, edited
from harness.model.encoding import Encoder
from harness.model.first_line import FirstLine
from harness.model.forward import continuations, deadline, inference, log_likelihoods, representations
from harness.model.loading import (
    Quantization,
    check_tokens,
    choose_device,
    choose_dtype,
    load_model,
    load_tokenizer,
    max_length,
)
from harness.model.prefill import depends_on_neighbours
from harness.model.prefixes import groups
from harness.model.recorded_states import Recording
from harness.model.scoring import Candidates


def load(
    name_or_path: str,
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int = 32,
    quantization: Quantization | None = None,
    batch_tokens: int | None = None,
) -> HuggingFaceModel:
    """Load a model folder or hub name from safetensors. Raises HarnessError where that fails, saying why.

    `dtype` "auto" is float32 on a CPU and bfloat16 elsewhere; `batch_size` is the most prompts to run at once,
    `batch_tokens` the most tokens, padding and new ones included (None: as many as suit the device).
    """
    place = choose_device(device)
    tokenizer = load_tokenizer(name_or_path)
    model = load_model(name_or_path, place, choose_dtype(dtype, place), quantization)
    again = partial(load, name_or_path, device, dtype, batch_size, quantization, batch_tokens)
    tokens = default_tokens(place) if batch_tokens is None else batch_tokens
    limits = BatchLimits(batch_size, tokens, f"{name_or_path} on {place}")
    lm = HuggingFaceModel(name_or_path, model, tokenizer, again, limits)
    check_tokens(name_or_path, model, tokenizer, lm.prompt_ids(""))
    return lm


class HuggingFaceModel:
    """A causal or encoder-decoder model with its tokenizer; see `harness.api.LanguageModel`.

    A method may change `model` or put another in its place, e.g. a peft model: it is looked up on each call. `limits`
    of a batch are shared with `pristine` copies, so that all know where memory is short. `tokens_computed` counts the
    tokens that went through it: less than `tokens_in` and `tokens_out` where prompts begin alike.
    """

    def __init__(
        self,
        name: str,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        reload: Callable[[], HuggingFaceModel],
        limits: BatchLimits,
    ) -> None:
        self.name = name
        self.model = model
        self.tokenizer = tokenizer
        self.reload = reload
        self.limits = limits
        if depends_on_neighbours(model):
            limits.rows = 1
        self.place = model.device
        self.num_layers = len(mlp_modules(model))
        self.hidden_size: int = model.config.get_text_config().hidden_size
        self.is_encoder_decoder: bool = model.config.is_encoder_decoder
        self.max_length = max_length(name, model, tokenizer)
        self.tokens_in = 0
        self.tokens_out = 0
        self._kept: bool | None = None  # whether `pristine` copies the model; None before `keep`
        self.tokens_computed = 0
        self._encoder = Encoder(tokenizer, self.is_encoder_decoder, self._ends)
        self._first_line = FirstLine(tokenizer, self._encoder.decode)

    def keep(self) -> None:
        """Make `pristine` copy this object's model from here on, which nobody may change or use any more.

        The model moves into the CPU's memory, where it costs a CPU run one model more than is at work, and another
        device nothing. One that the CPU's memory has no room for is let go and read from disk each time, as is a
        quantized one: its layers are packed for their device. Called again, it changes nothing.
        """
        if self._kept is not None:
            return
        room = self.place.type == "cpu" or has_room_for(self.model)
        self._kept = room and getattr(self.model, "hf_quantizer", None) is None
        if self._kept:
            self.model.cpu()
            return
        quantized = getattr(self.model, "is_quantized", False)
        with torch.device("meta"):
            self.model = cast(Any, type(self.model)(self.model.config)).to(self.model.dtype)
        cast(Any, self.model).is_quantized = quantized

    def pristine(self) -> HuggingFaceModel:
        """The same model and tokenizer on `place`: nothing that training left on this object is on it.

        Its weights are read from disk again unless `keep` was called and, where the place is the CPU, its memory has
        room for twice the copy. Both are in memory as long as both are referenced. Where only one fits: keep
        `again = lm.reload`, let go of `lm`, then call `again()`.
        """
        if not self._kept or (self.place.type == "cpu" and not has_room_for(self.model)):
            made = self.reload()
            made.limits = self.limits
            return made
        model, tokenizer = copied(self.model, self.place), load_tokenizer(self.name)
        return HuggingFaceModel(self.name, model, tokenizer, self.reload, self.limits)

    def count_tokens(self, prompt: str) -> int:
        """Tokens of the prompt as `generate` would send it, template included."""
        return len(self.prompt_ids(prompt))

    def prompt_ids(self, prompt: str) -> list[int]:
        """The prompt as `generate` sends it: template, begin of sequence and, for T5, the end included."""
        return self._encoder.prompt_ids(prompt)

    def answer_ids(self, output: str) -> list[int]:
        """The tokens with which the model would write `output` after a prompt, without `answer_end`."""
        return self._encoder.answer_ids(output)

    @property
    def answer_end(self) -> int:
        """The token that ends an answer: the chat template's end of turn, or the end of sequence."""
        return self._encoder.answer_end

    def room(self, max_new_tokens: int) -> int:
        """How many prompt tokens fit beside `max_new_tokens`; an encoder-decoder keeps the two apart."""
        return self.max_length if self.is_encoder_decoder else max(self.max_length - max_new_tokens, 0)

    def generate(
        self,
        prompts: Sequence[str],
        max_new_tokens: int,
        edits: Edits | Adapters | None = None,
        on_batch: Callable[[int], None] | None = None,
        one_line: bool = False,
        time_left: Callable[[], float] | None = None,
    ) -> list[str]:
        """Greedy continuations, in the order of `prompts`, without the space between prompt and answer.

        `one_line` stops each at the end of the first line that says anything. `on_batch` is told the number of prompts
        done so far. `tokens_in` and `tokens_out` count real tokens, an end of sequence included. Raises ValueError for
        a prompt of more than `room(max_new_tokens)` tokens, for edits made for another number of prompts, and OutOfTime
        once `time_left()`, asked before every layer of every pass, is 0.
        """
        stop = Stop(max_new_tokens, self._ends, self._first_line if one_line else None)
        return self._generate(prompts, stop, edits, on_batch, time_left=time_left)

    def generate_represented(
        self,
        prompts: Sequence[str],
        max_new_tokens: int,
        position: Position,
        one_line: bool = False,
        time_left: Callable[[], float] | None = None,
        site: Site = "mlp",
    ) -> Continuations:
        """What `generate` gives, with what `represent` would give for it, as far as generating computes that.

        It does not for encoder-decoders, and at "last" for an output that is read as other tokens than were generated.
        """
        stop = Stop(max_new_tokens, self._ends, self._first_line if one_line else None)
        states: list[Tensor | None] = [None] * len(prompts)
        outputs = self._generate(prompts, stop, record=(position, site, states), time_left=time_left)
        return Continuations(tuple(outputs), tuple(states))

    def generate_scored(
        self,
        prompts: Sequence[str],
        candidates: Sequence[Sequence[str]],
        max_new_tokens: int,
        edits: Edits | Adapters | None = None,
        on_batch: Callable[[int], None] | None = None,
        one_line: bool = False,
    ) -> Scored:
        """What `generate` gives, and what `log_likelihood` gives for each prompt's `candidates`.

        A prompt is read once for both, except by encoder-decoders and models with sliding windows. `tokens_in` counts
        the candidates once, and their prompts only where those are read again. Raises ValueError as the two do.
        """
        stop = Stop(max_new_tokens, self._ends, self._first_line if one_line else None)
        if not may_score(self.model):
            outputs = self._generate(prompts, stop, edits, on_batch)
            begun, tokens = time.monotonic(), self.tokens_in
            totals = self._apart(prompts, candidates, edits)
            return Scored(tuple(outputs), totals, time.monotonic() - begun, self.tokens_in - tokens)
        asked = Candidates([[[*self.answer_ids(text), self.answer_end] for text in of_one] for of_one in candidates])
        outputs = self._generate(prompts, stop, edits, on_batch, candidates=asked)
        tokens = sum(len(answer) for of_one in asked.answers for answer in of_one)
        self.tokens_in += tokens
        return Scored(tuple(outputs), tuple(asked.totals), asked.seconds, tokens)

    def _apart(
        self, prompts: Sequence[str], candidates: Sequence[Sequence[str]], edits: Edits | Adapters | None
    ) -> tuple[Tensor, ...]:
        """Log p of each prompt's candidates by passes of their own."""
        counts = [len(of_one) for of_one in candidates]
        owners = [owner for owner, count in enumerate(counts) for _ in range(count)]
        found = self.log_likelihood(
            [prompts[owner] for owner in owners],
            [text for of_one in candidates for text in of_one],
            edits and replace(edits, rows=tuple(edits.rows[owner] for owner in owners)),
        )
        return tuple(found.split(counts))

    def represent(
        self,
        prompts: Sequence[str],
        outputs: Sequence[str],
        position: Position,
        site: Site = "mlp",
        time_left: Callable[[], float] | None = None,
    ) -> Tensor:
        """Outputs at `site` of every decoder layer at one position of prompt + output, [N, num_layers, d].

        "last": the last content token of the output (no end of sequence), of the prompt if the output is empty.
        "answer_start": the last prompt token. An encoder-decoder's start token stands for its prompt. float32, on
        the CPU. Raises ValueError where prompt and output do not fit the context, and OutOfTime as `generate` does.
        """
        sources, answers = self._pairs(prompts, outputs)
        found = torch.empty(len(sources), self.num_layers, self.hidden_size)

        lengths = [len(source) + len(answer) for source, answer in zip(sources, answers, strict=True)]

        def run(batch: list[int], sizes: list[int]) -> None:
            left = iter(batch)
            for part in cut(sizes, [lengths[i] for i in batch], prefill_tokens(self.model.device)):
                some = list(islice(left, sum(part)))
                chosen = [sources[i] for i in some], [answers[i] for i in some]
                states, computed = representations(self.model, *chosen, part, position, site, self._pad)
                found[some] = states.float().cpu()
                self.tokens_computed += computed

        self._batched(sources, lengths, None, run, time_left=time_left)
        return found

    def log_likelihood(
        self,
        prompts: Sequence[str],
        outputs: Sequence[str],
        edits: Edits | Adapters | None = None,
        time_left: Callable[[], float] | None = None,
    ) -> Tensor:
        """Sum of log p(output token | prompt, earlier tokens), `answer_end` included, in nats, [N] float32 on CPU.

        Several outputs to one prompt read it once. Raises ValueError like `represent`, and for edits made for another
        number of prompts, and OutOfTime as `generate` does.
        """
        sources, answers = self._pairs(prompts, outputs, edits, end=[self.answer_end])
        found = torch.empty(len(sources))

        def run(batch: list[int], sizes: list[int]) -> None:
            chosen = [sources[i] for i in batch], [answers[i] for i in batch]
            with self._edited(edits, batch) as rows:
                likelihoods, computed = log_likelihoods(self.model, *chosen, sizes, self._pad, rows)
            found[batch] = likelihoods.cpu()
            self.tokens_computed += computed

        lengths = [len(source) + len(answer) for source, answer in zip(sources, answers, strict=True)]
        self._batched(sources, lengths, edits, run, time_left=time_left)
        return found

    def _generate(
        self,
        prompts: Sequence[str],
        stop: Stop,
        edits: Edits | Adapters | None = None,
        on_batch: Callable[[int], None] | None = None,
        record: tuple[Position, Site, list[Tensor | None]] | None = None,
        candidates: Candidates | None = None,
        time_left: Callable[[], float] | None = None,
    ) -> list[str]:
        """`record`: a position, a site, and where to put the states there that were computed, [L, d] by prompt."""
        sources = [self.prompt_ids(prompt) for prompt in prompts]
        self._check(sources, self.room(stop.max_new_tokens), edits)
        lengths = [len(ids) + stop.max_new_tokens for ids in sources]
        if candidates is not None:
            whole = [
                ids + max(of_one, key=len, default=[]) for ids, of_one in zip(sources, candidates.answers, strict=True)
            ]
            self._check(whole, self.max_length, edits)
            lengths = [max(length, len(ids)) for length, ids in zip(lengths, whole, strict=True)]
        outputs = [""] * len(sources)
        own = decodes(self.model)

        def run(batch: list[int], sizes: list[int]) -> None:
            content = partial(self._content, stop.line)
            recording = None if record is None else Recording(record[0], record[1], content, len(batch))
            asked = [sources[i] for i in batch]
            scored = None if candidates is None else candidates.of(batch)
            with self._edited(edits, batch) as rows:
                if own:
                    found, computed = decode(self.model, asked, sizes, stop, self._pad, rows, recording, scored)
                else:
                    found = continuations(self.model, asked, stop, self._pad, rows)
                    computed = sum(map(len, asked)) + sum(map(len, found))
            self.tokens_computed += computed
            if candidates is not None and scored is not None:
                candidates.put(batch, scored)
            for place, (index, ids) in enumerate(zip(batch, found, strict=True)):
                outputs[index] = self._text(stop.line, ids)
                self.tokens_in += len(sources[index])
                self.tokens_out += len(ids)
                if record is not None and recording is not None:
                    record[2][index] = recording.states[place]

        self._batched(sources, lengths, edits, run, on_batch, time_left)
        return outputs

    def _edited(self, edits: Edits | Adapters | None, batch: list[int]) -> AbstractContextManager[EditedRows]:
        if isinstance(edits, Adapters):
            return adapted(without_adapter(self.model), edits, batch)
        return edited(site_modules(self.model, "mlp" if edits is None else edits.site), edits, batch)

    def _text(self, line: FirstLine | None, ids: list[int]) -> str:
        return self._encoder.decode(ids) if line is None else line.text(ids)

    def _content(self, line: FirstLine | None, ids: list[int]) -> int | None:
        """How many new tokens make up the text; None where the text would be read as other tokens."""
        read = self.answer_ids(self._text(line, ids))
        return len(read) if ids[: len(read)] == read else None

    @property
    def _pad(self) -> int:
        return self.tokenizer.pad_token_id

    @property
    def _ends(self) -> list[int]:
        """Every token that ends an answer: chat models often have an end of turn beside the end of sequence."""
        stated = self.model.generation_config.eos_token_id
        return sorted({self.tokenizer.eos_token_id, *(stated if isinstance(stated, list) else [stated])} - {None})

    def _pairs(
        self,
        prompts: Sequence[str],
        outputs: Sequence[str],
        edits: Edits | Adapters | None = None,
        end: Sequence[int] = (),
    ) -> tuple[list[list[int]], list[list[int]]]:
        sources = [self.prompt_ids(prompt) for prompt in prompts]
        answers = [[*self.answer_ids(output), *end] for output in outputs]
        pairs = list(zip(sources, answers, strict=True))
        self._check(sources if self.is_encoder_decoder else [s + a for s, a in pairs], self.max_length, edits)
        self.tokens_in += sum(len(s) + len(a) for s, a in pairs)
        return sources, answers

    def _check(self, sequences: list[list[int]], room: int, edits: Edits | Adapters | None) -> None:
        longest = max(map(len, sequences), default=0)
        if longest > room:
            raise ValueError(f"a prompt has {longest} tokens, but {self.name} has room for {room}")
        if edits is not None and len(edits.rows) != len(sequences):
            raise ValueError(f"edits are for {len(edits.rows)} prompts, but there are {len(sequences)}")

    def _batched(
        self,
        prompts: list[list[int]],
        lengths: list[int],
        edits: Edits | Adapters | None,
        run: Callable[[list[int], list[int]], None],
        on_batch: Callable[[int], None] | None = None,
        time_left: Callable[[], float] | None = None,
    ) -> None:
        """Run over all indices, longest first; prompts that begin alike, edited alike, are in one batch if they fit.

        `run` is given indices, and the sizes of the neighbours among them that begin alike. `lengths` are in tokens.
        """
        kinds: Sequence[int] = [0] * len(prompts)
        # What prompts share ends before their last tokens, which edits of the answer begin with.
        if isinstance(edits, Adapters) or (edits is not None and edits.positions == "all"):
            kinds = edits.rows
        alike = [[index] for index in range(len(prompts))] if self.is_encoder_decoder else groups(prompts, kinds)
        with inference(self.model), deadline(self.model, time_left):
            self.limits.run_all(alike, lengths, run, on_batch)
