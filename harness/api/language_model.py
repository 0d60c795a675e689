"""A loaded model as methods and the engine use it, and how its answers are edited or adapted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Position = Literal["last", "answer_start"]
Site = Literal["mlp", "block"]  # the MLP's output, or the decoder block's: after the residual connection
# Of a prompt's tokens all are edited, the last one alone, whose state predicts the answer's first token, or none.
EditPositions = Literal["all", "answer", "generated"]


@dataclass(frozen=True)
class Instrument:
    """The folder of a registered model that shows whether methods work as built: no evidence about real models.

    Whoever shows its numbers says so.
    """

    folder: Path

    def __fspath__(self) -> str:
        return str(self.folder)

    def __str__(self) -> str:
        return str(self.folder)


@dataclass(frozen=True)
class Edits:
    """Per-row edits of representations x at decoder layers `layers`, in this order (Section 3.2):

        x <- x + strength * proj_personal(x);  x <- x - strength * proj_neutral(x);  x <- x + offset

    Banks are [U, L, d] with L = len(layers); `rows` maps each prompt to its bank row, -1 leaves the prompt unedited.
    A projection does not depend on the norm of its direction; a zero direction edits nothing. `strength` is [U, L].
    With `places` [U, l] banks are [U, l, d], `strength` [U, l]: those of each user at these positions in `layers`.
    `bounded`: the first step adds strength * tanh(<x, p>) p, p the personal direction at norm 1, and so `strength` at
    most, however large x is. x is the output at `site`. `positions` "answer": only of tokens that predict the answer's,
    the prompt's last one and all after it (encoder-decoder: the start token and all after it, and so "all");
    "generated": only of tokens after the prompt (the start token), so that an answer's first token stays as it is.
    """

    layers: tuple[int, ...]
    rows: tuple[int, ...]
    personal: torch.Tensor | None = None
    neutral: torch.Tensor | None = None
    offset: torch.Tensor | None = None
    strength: torch.Tensor | None = None
    places: torch.Tensor | None = None
    site: Site = "mlp"
    positions: EditPositions = "all"
    bounded: bool = False


@dataclass(frozen=True)
class Adapters:
    """Per-row low-rank adapters (LoRA) of linear layers: what a layer makes of x becomes that + B A x.

    `layers` maps a layer's name in the model, as `named_modules` has it, to the banks A [U, r, in] and B [U, out, r];
    scaling is part of B. `rows` maps each prompt to its bank row, -1 leaves the prompt to the model as it is.
    """

    layers: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Continuations:
    """Outputs, and of each the states [num_layers, d], float32 on the CPU, or None where they are not known."""

    texts: tuple[str, ...]
    states: tuple[torch.Tensor | None, ...]


@dataclass(frozen=True)
class Scored:
    """Outputs, and of each prompt its candidates' log p in nats, [C], with what those cost beside the outputs."""

    texts: tuple[str, ...]
    log_likelihoods: tuple[torch.Tensor, ...]
    seconds: float
    tokens: int  # of `tokens_in`


class LanguageModel(Protocol):
    """A loaded model. Greedy, batched == solo, cache == no cache."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    num_layers: int  # decoder layers
    hidden_size: int
    max_length: int  # context in tokens
    is_encoder_decoder: bool
    tokens_in: int  # of the prompts, whether or not they were shared; counted since the model was handed out
    tokens_out: int
    tokens_computed: int  # that went through the model, whatever it was asked for

    def generate(
        self,
        prompts: Sequence[str],
        max_new_tokens: int,
        edits: Edits | Adapters | None = None,
        on_batch: Callable[[int], None] | None = None,
        one_line: bool = False,
        time_left: Callable[[], float] | None = None,
    ) -> list[str]:
        """Greedy continuations, in the order of `prompts`. Raises ValueError for one over `room(max_new_tokens)`.

        `on_batch` is told how many prompts are done so far. `one_line`: each stops after the first line that says
        anything, the only one that tasks read. Raises OutOfTime once `time_left()`, asked before every layer, is 0:
        a fit passes `clock.time_left`.
        """
        ...

    def generate_represented(
        self,
        prompts: Sequence[str],
        max_new_tokens: int,
        position: Position,
        one_line: bool = False,
        time_left: Callable[[], float] | None = None,
        site: Site = "mlp",
    ) -> Continuations:
        """What `generate` gives, with what `represent` would give for it, as far as generating computes that."""
        ...

    def generate_scored(
        self,
        prompts: Sequence[str],
        candidates: Sequence[Sequence[str]],
        max_new_tokens: int,
        edits: Edits | Adapters | None = None,
        on_batch: Callable[[int], None] | None = None,
        one_line: bool = False,
    ) -> Scored:
        """What `generate` gives, and what `log_likelihood` gives for each prompt's `candidates`, reading it once."""
        ...

    def represent(
        self,
        prompts: Sequence[str],
        outputs: Sequence[str],
        position: Position,
        site: Site = "mlp",
        time_left: Callable[[], float] | None = None,
    ) -> torch.Tensor:
        """Outputs at `site` of every decoder layer, at one position of prompt + output, [N, num_layers, d], float32.

        "last": the last content token of the output (no EOS). "answer_start": the last prompt token (encoder-decoder:
        the decoder's start token). On the CPU. No vocabulary projection. `time_left` as in `generate`.
        """
        ...

    def log_likelihood(
        self,
        prompts: Sequence[str],
        outputs: Sequence[str],
        edits: Edits | Adapters | None = None,
        time_left: Callable[[], float] | None = None,
    ) -> torch.Tensor:
        """Sum of log p(output token | prompt, earlier tokens), `answer_end` included, in nats, [N].

        `time_left` as in `generate`.
        """
        ...

    def count_tokens(self, prompt: str) -> int:
        """Tokens of the prompt as `generate` would send it, template included."""
        ...

    def prompt_ids(self, prompt: str) -> list[int]:
        """The prompt as `generate` sends it, template included."""
        ...

    def answer_ids(self, output: str) -> list[int]:
        """The tokens with which the model would write `output` after a prompt, without `answer_end`."""
        ...

    @property
    def answer_end(self) -> int:
        """The token that ends an answer."""
        ...

    def room(self, max_new_tokens: int) -> int:
        """How many prompt tokens fit beside `max_new_tokens`."""
        ...
