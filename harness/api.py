"""The contracts: what a task, a method and the engine promise each other. Definitions, and the little that all share;
everybody imports this.

Importing this module is cheap: torch and numpy are needed for type checking only.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from pydantic import BaseModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

InsightKind = Literal["personal", "neutral"]
SummaryStrategy = Literal["basic", "recommendation", "engagement", "profile"]
Regime = Literal["seen", "unseen"]
Position = Literal["last", "answer_start"]
Site = Literal["mlp", "block"]  # the MLP's output, or the decoder block's: after the residual connection
EditPositions = Literal["all", "generated"]
Retrieval = Literal["bm25", "dense", "recency"]

Reserve = float | Callable[[int], float]  # seconds kept for later stages: always, or after so many items more

T = TypeVar("T")


class HarnessError(Exception):
    """A fault the user can mend: the message says what was wrong, where, and what to do. The CLI exits with 2."""


class MissingError(HarnessError, FileNotFoundError):
    """The source has no such task or split, or no answers to it, as opposed to a broken one."""


class OutOfTime(Exception):
    """A model call passed its deadline and was given up: nothing of it is kept. Whoever sets a deadline catches it."""


def home(path: str | os.PathLike[str]) -> Path:
    """The path with a leading `~` as the home directory; a shell leaves it alone in --out=~/x, and YAML everywhere.

    The `~` of a user who is not known stays, where `Path.expanduser` raises RuntimeError.
    """
    return Path(os.path.expanduser(path))


def printable(text: str, keep: str = "") -> str:
    """The text with a space for every character, but those in `keep`, that could steer a terminal.

    Ids, names and answers are whatever users, files and models wrote.
    """
    return "".join(char if char.isprintable() or char in keep else " " for char in text)


# --------------------------------------------------------------------------------------------------------------- data


@dataclass(frozen=True)
class HistoryItem:
    """One thing a user did: `text` is the description, review or tweet, `label` the user's tag or score ("" if none).

    `rank` orders items by how representative they are (0 = most); a prompt that is too long loses the highest rank.
    `date`: ISO 8601, UTC, as precise as the data ("2016", "2016-08-15", "2016-08-15T10:30:00"), so that texts sort as
    times do; "" if unknown.
    """

    id: str
    text: str
    label: str = ""
    rank: int = 0
    date: str = field(default="", repr=False)  # fingerprints of data without dates are made from the repr


@dataclass(frozen=True)
class Query:
    """One question q_u of a user, without its gold answer."""

    id: str
    user: str
    text: str


@dataclass(frozen=True)
class Example:
    """One supervised triple. `history` was selected after the example itself was taken out of it, for its query where
    the run's selection looks at what is asked.

    `query` is None where the data has an answer but no input (a tweet in a LaMP-7 history); `FitContext.examples`
    fills it in with the base model's neutral paraphrase.
    """

    user: str
    query: str | None
    history: tuple[HistoryItem, ...]
    answer: str


@dataclass(frozen=True)
class User:
    """A user to fit on: the selected history H_u^k in its original order, and the examples to learn from.

    Nothing is asked here: where the run's selection depends on the query, `history` holds the most representative ones.
    """

    id: str
    history: tuple[HistoryItem, ...]
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Fault:
    """What is wrong with a record, and where it stands. The record was skipped unless it was `kept`."""

    file: str
    record: str
    field: str
    problem: str
    kept: bool = False

    def __str__(self) -> str:
        return printable(f"{self.file}: record {self.record}: field {self.field}: {self.problem}")


@dataclass
class TaskData:
    """What a task read from one source. Only the engine holds it: `golds` must not reach a method."""

    split: str
    histories: dict[str, tuple[HistoryItem, ...]]  # user id -> whole history, in file order
    queries: list[Query]
    golds: dict[str, str]  # query id -> gold answer
    faults: list[Fault] = field(default_factory=list)
    # What a reader of the results must know, e.g. that another split was used.
    notes: list[str] = field(default_factory=list)
    fingerprint: str = ""  # sha256 over the source
    separation: Literal["user", "time"] = "user"  # between splits; by time, the same users are in all of them
    names_users: bool = True  # whether user ids are people's, not those of questions that two splits may number alike
    items_found: int = 0  # history items in the source, usable or not
    items_skipped: int = 0  # those that could not be used

    @property
    def records_skipped(self) -> int:
        """Questions, golds and history items that could not be used."""
        return sum(not fault.kept for fault in self.faults)


# --------------------------------------------------------------------------------------------------------------- task


@dataclass(frozen=True)
class Metric:
    """A metric as a function of the mean of per-sample statistics, so that any resampling recomputes it whole.

    `statistics(prediction, gold)` gives S numbers per sample; `value` maps means [..., S] to [...]. Accuracy is the
    identity of one statistic, RMSE the square root of one, macro-F1 a function of 3 x labels mean counts.
    `can_score(gold)` is False for a gold with which every answer scores the same.
    """

    name: str
    higher_is_better: bool
    statistics: Callable[[str, str], Sequence[float]]
    value: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    can_score: Callable[[str], bool] = lambda gold: True


class Prompts(Protocol):
    """All the words a task sends to a model. Every prompt ends in "Your answer:"."""

    @property
    def generic_insight(self) -> str:
        """Fills the neutral prompt where no insight was generated: paraphrases, rejected answers."""
        ...

    def base(self, query: str, history: Sequence[HistoryItem], note: str = "") -> str: ...

    def personal(self, query: str, history: Sequence[HistoryItem], insight: str) -> str: ...

    def neutral(self, query: str, history: Sequence[HistoryItem], insight: str) -> str: ...

    def insight(self, kind: InsightKind, history: Sequence[HistoryItem]) -> str: ...

    def summary(self, strategy: SummaryStrategy, history: Sequence[HistoryItem]) -> str: ...


class Task(ABC):
    """One task. Stateless: the engine holds data and golds, so that a method may hold the task."""

    name: ClassVar[str]  # "lamp2"
    title: ClassVar[str]  # "LaMP-2: personalized movie tagging"
    version: ClassVar[str]  # raised whenever a score may change
    prompts: Prompts
    metrics: tuple[Metric, ...]
    labels: tuple[str, ...] = ()  # the closed set of answers; empty for free text
    max_new_tokens: int

    @abstractmethod
    def load(self, source: str, split: str) -> TaskData:
        """Read `split` from a directory, or make it for "synthetic".

        Raises MissingError where `source` lacks the task, the split or its golds, HarnessError if nothing is usable.
        """

    def splits(self, source: str) -> tuple[str, ...] | None:
        """The splits of `source`, usable or not; None where only `load` can tell. Raises as `load` without the task."""
        return None

    @abstractmethod
    def supervise(self, item: HistoryItem) -> tuple[str | None, str] | None:
        """(query text or None, answer) that a history item supervises; None if it answers no question of the task."""

    @abstractmethod
    def parse(self, output: str) -> tuple[str, bool]:
        """(prediction, parsed): the first line, stripped; `parsed` is False where it is no valid answer."""


# ---------------------------------------------------------------------------------------------------- language model


@dataclass(frozen=True)
class Edits:
    """Per-row edits of representations x at decoder layers `layers`, in this order (Section 3.2):

        x <- x + strength * proj_personal(x);  x <- x - strength * proj_neutral(x);  x <- x + offset

    Banks are [U, L, d] with L = len(layers); `rows` maps each prompt to its bank row, -1 leaves the prompt unedited.
    A projection does not depend on the norm of its direction; a zero direction edits nothing. `strength` is [U, L].
    `bounded`: the first step adds strength * tanh(<x, p>) p, p the personal direction at norm 1, and so `strength` at
    most, however large x is. x is the output at `site`. `positions` "generated": only of tokens after the prompt, so
    that the first token of an answer, which the prompt's last one predicts, stays as it is (encoder-decoder: of all
    after the start token).
    """

    layers: tuple[int, ...]
    rows: tuple[int, ...]
    personal: torch.Tensor | None = None
    neutral: torch.Tensor | None = None
    offset: torch.Tensor | None = None
    strength: torch.Tensor | None = None
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
        anything, the only one that tasks read. Raises OutOfTime once `time_left()`, asked after every token, is 0:
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
        self, prompts: Sequence[str], outputs: Sequence[str], position: Position, site: Site = "mlp"
    ) -> torch.Tensor:
        """Outputs at `site` of every decoder layer, at one position of prompt + output, [N, num_layers, d], float32.

        "last": the last content token of the output (no EOS). "answer_start": the last prompt token (encoder-decoder:
        the decoder's start token). On the CPU. One forward pass, no vocabulary projection.
        """
        ...

    def log_likelihood(
        self, prompts: Sequence[str], outputs: Sequence[str], edits: Edits | Adapters | None = None
    ) -> torch.Tensor:
        """Sum of log p(output token | prompt, earlier tokens), `answer_end` included, in nats, [N]."""
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


# -------------------------------------------------------------------------------------------------------------- clock


class Clock(Protocol):
    """The budget of one fit. A method stops before a predicted overrun; `exhausted`: the clock cut work short."""

    budget: float  # seconds
    exhausted: bool
    reason: str  # why, as far as the clock cut work short

    def elapsed(self) -> float:
        """Seconds since the fit began."""
        ...

    def remaining(self) -> float:
        """Seconds left, 0 at least."""
        ...

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Book the time spent inside to `name`; phases may nest, inner time is booked to the inner phase only."""
        ...

    def steps(self, items: Sequence[T], reserve: Reserve = 0.0) -> Iterator[T]:
        """Yield items while the predicted next step, plus `reserve` for later stages, still fits."""
        ...

    def batches(
        self, items: Sequence[T], most: int, work: Callable[[T], float], reserve: Reserve = 0.0
    ) -> Iterator[list[T]]:
        """Yield items in order, one first, then up to twice as many each time, `most` at most, as the clock has room.

        `work(item)`, such as the tokens of its prompt, is what a prediction goes by. The last step may be cut: what is
        done with a batch belongs inside `cut_off`, its model calls get `time_left`.
        """
        ...

    def time_left(self) -> float:
        """Seconds left before what `steps` and `batches` keep for later stages, 0 at least: the deadline of a step."""
        ...

    def cut_off(self) -> AbstractContextManager[None]:
        """Ends where OutOfTime is raised inside: the step is given up, `exhausted` and `reason` are set."""
        ...


# ------------------------------------------------------------------------------------------------------------- method


@dataclass(frozen=True)
class Diagnosis:
    """Evidence on what a fit rests on: a row of the table `title`, whose columns `values` names.

    Values are finite numbers or short texts. `explanation` says how to read them. `caution` is what a reader must know
    beside the scores, a clause that follows the names of method and task; empty if nothing.
    """

    title: str
    values: dict[str, float | str]
    explanation: str = ""
    caution: str = ""


@dataclass
class FitReport:
    """What a fit has to account for. `counts` holds method-specific counters, e.g. identical outputs dropped.

    `diagnose` is called once, when the clock has stopped and the personalizer is saved: evidence is no part of a
    method, so it must neither cost its budget nor be able to change an answer. It leaves the model alone.
    """

    users_fitted: int = 0
    samples_used: int = 0
    counts: dict[str, float] = field(default_factory=dict)
    diagnose: Callable[[], Diagnosis] | None = None


class HistorySearch(Protocol):
    """The users' whole histories, less what gives an evaluated query away, to be searched for what is asked.

    "bm25" ranks by the words in common, "dense" by the cosine of sentence embeddings, "recency" by date. A fit searches
    the histories of its users; whoever answers, those of the evaluated users, none where prompts may show no history.
    """

    def index(self, user: str, by: Retrieval) -> int:
        """Prepare searches of one user's history, which later searches use; returns how many items it has."""
        ...

    def search(self, query: Query, by: Retrieval, k: int) -> tuple[HistoryItem, ...]:
        """The k items of the query's user most relevant to it, in their original order, each with its rank.

        What is not indexed yet is indexed first.
        """
        ...


class FitContext(Protocol):
    """All that a method may use while it fits."""

    lm: LanguageModel  # pristine; the method may change it, nobody else will use it
    task: Task
    users: Sequence[User]  # users to fit on, in seeded order; `examples` are theirs
    regime: Regime
    clock: Clock
    seed: int
    report: FitReport
    scratch: Path  # an empty folder that is deleted after the fit
    search: HistorySearch  # of `users`; indexing is work, and belongs inside `clock.phase`

    @property
    def shows_history(self) -> bool:
        """Whether the prompts of evaluated queries may show any history: else searches find none while answering."""
        ...

    def examples(self, batch_size: int, reserve: Reserve = 0.0) -> Iterator[list[Example]]:
        """Batches of complete examples (query filled in), in seeded order, as long as the clock has room.

        The first is of one example; they grow up to `batch_size` as in `Clock.batches`.
        """
        ...

    def complete(self, examples: Sequence[Example]) -> list[Example]:
        """Examples of the users' histories with their queries filled in; left out (counted) where none could be made.

        Belongs in a step of the clock: raises OutOfTime once `clock.time_left()` is 0.
        """
        ...

    def example_of(self, user: str, item: HistoryItem) -> Example | None:
        """What one item of the user's history supervises; as `User.examples`, of which there may be fewer than items.

        Its history is what the run selects without the item, and without whatever else gives its answer away. None
        where the item answers no question of the task. Selecting is work, and belongs inside `clock.phase`.
        """
        ...

    def shorten(
        self,
        build: Callable[[Sequence[HistoryItem]], str],
        history: Sequence[HistoryItem],
        max_new_tokens: int,
        limit: int | None = None,
    ) -> str | None:
        """`build(history)`, without as many of the least representative items as the context requires (counted).

        None where it is too long even without history: leave the example out and count it. `limit` is the most tokens
        the prompt may have, where that is less than the context has room for.
        """
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Sentence embeddings [N, e]."""
        ...

    def checkpoint(self, samples: int, make: Callable[[], Personalizer]) -> None:
        """Called wherever the fit could answer, after `samples` examples: at a mark of the run, keep what `make` gives.

        Costs nothing away from a mark; at one the clock stands still. `make` must leave the fit as it is.
        """
        ...


class Personalizer(ABC):
    """What `fit` returns: how each query is answered. The defaults answer with the unedited base model."""

    @abstractmethod
    def prompt(self, query: Query, history: Sequence[HistoryItem]) -> str:
        """The prompt for one query; `history` may be shorter than what `retrieve` gave if the context is small."""

    def retrieve(
        self, query: Query, history: tuple[HistoryItem, ...], search: HistorySearch
    ) -> tuple[HistoryItem, ...]:
        """The history that the prompt shows: by default `history`, what the run's selection chose for the query."""
        return history

    def bare_prompt(self, query: Query, history: Sequence[HistoryItem]) -> str:
        """`prompt` without what the method puts into it, such as a note; asked where the whole does not fit.

        What the method adds goes before any history does. By default there is no such part.
        """
        return self.prompt(query, history)

    def edits(self, queries: Sequence[Query]) -> Edits | Adapters | None:
        """Edits, or adapters, whose `rows` follow `queries`; None for neither."""
        return None

    def answers(self, queries: Sequence[Query]) -> list[str] | None:
        """Answers that need no language model (controls); None to generate."""
        return None

    def serves(self, query: Query) -> bool:
        """Whether the query's user gets anything beyond the base prompt."""
        return True

    def patched_model(self, lm: LanguageModel) -> AbstractContextManager[object]:
        """Changes `lm.model` for the duration, e.g. inserts an adapter, and leaves it as it was."""
        return nullcontext()

    def save_adapter(self, lm: LanguageModel, directory: Path) -> bool:
        """Write what `patched_model` puts into `lm.model` as PEFT's save_pretrained does; False if it puts nothing in.

        Raises HarnessError where what it puts in is no adapter. `lm` stays as it is.
        """
        return False

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write JSON and safetensors into an existing folder: all of the fit that answers depend on.

        Fits that write the same bytes are answered once.
        """


class Method(ABC):
    """One personalization method, in the habit of scikit-learn: the constructor only stores its configuration."""

    Config: ClassVar[type[BaseModel]]

    def __init__(self, config: Any) -> None:
        self.config = config

    def check_supervision(self, supervision: int) -> None:
        """Raise HarnessError where, with so many examples per user, no fit could serve anybody.

        Called before anything is loaded. Most methods have nothing to object to.
        """
        return

    def check_model(self, lm: LanguageModel, memory: int) -> list[str]:
        """Warnings, before any cell, about fitting to `lm` as it was loaded on a device with `memory` bytes.

        Raises HarnessError where the method cannot work with this model.
        """
        return []

    @abstractmethod
    def fit(self, context: FitContext) -> Personalizer:
        """Learn from `context.users` within `context.clock`."""

    @abstractmethod
    def load(self, directory: Path, task: Task) -> Personalizer:
        """Read what `Personalizer.save` wrote."""
