"""What the recipes of the embedded models share: the clock, the curriculum, the users' lessons and their order."""

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from transformers import PreTrainedTokenizerBase

from harness.tasks.synthetic.examples import PUSHED_SHARE, Example, Lesson, sample_lesson
from harness.tasks.synthetic.planted_steering import Steered, Steering
from harness.tasks.synthetic.tokenizer import train_tokenizer

LAYERS, WIDTH, HEADS = 4, 128, 4
LONGEST_HISTORY = 10
_CORPUS_USERS = 2500
_BUCKET = 48
_WARM_UP = 100
_FIRST_HISTORY = 2
_CURRICULUM = 0.3
_PUSHES_FROM = 0.5
_SAVE_SECONDS = 300

Progress = Callable[[float, float], None]


class Row(Steered, Protocol):
    """A row of a batch; its length is in tokens."""

    def __len__(self) -> int: ...


RowT = TypeVar("RowT", bound=Row)


class Learner(Protocol[RowT]):
    """An architecture in training: its untrained model, and how lessons become rows and rows a loss."""

    batch_size: int
    model: Any

    @property
    def mlps(self) -> Sequence[torch.nn.Module]:
        """The MLP of every decoder layer, whose output is [rows, tokens, width]."""
        ...

    def parameters(self) -> list[dict[str, Any]]:
        """Groups for the optimizer, each with its peak step size as `lr`."""
        ...

    def rows(self, lesson: Lesson, rng: random.Random) -> list[RowT]:
        """The lesson as the model reads it."""
        ...

    def loss(self, batch: list[RowT]) -> torch.Tensor:
        """The weighted mean of the token losses."""
        ...


@dataclass(frozen=True)
class TrainingReport:
    """What a training run did; the losses are weighted means over the first and the last steps, a tenth of all."""

    steps: int
    tokens: int
    minutes: float
    first_loss: float
    last_loss: float

    def asdict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class Recipe(Generic[RowT]):
    """How one architecture is trained: the texts for its tokenizer, and what makes the untrained model."""

    texts: Callable[[Example], Sequence[str]]
    learner: Callable[[PreTrainedTokenizerBase], Learner[RowT]]

    def train(
        self,
        out: Path,
        minutes: float,
        seed: int = 0,
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> dict[str, float]:
        """Train for `minutes` of wall-clock time and save model and tokenizer in `out`.

        `progress` is told the share of the time that has gone and the loss. Time decides how many steps are made and
        how the curriculum advances, so the weights differ from run to run; the users and their order depend on the
        seed alone.
        """
        if threads:
            torch.set_num_threads(threads)
        torch.manual_seed(seed)
        rng = random.Random(seed)
        tokenizer = train_tokenizer(self._corpus(rng))
        learner = self.learner(tokenizer)
        model = learner.model
        steering = Steering(learner.mlps, model.config.hidden_size)
        optimizer = torch.optim.AdamW(learner.parameters(), betas=(0.9, 0.95), weight_decay=0.05)
        peaks = [group["lr"] for group in optimizer.param_groups]
        start = saved = time.monotonic()
        share, tokens = 0.0, 0
        losses: list[float] = []
        batches = _batches(learner, rng, lambda: share)
        while (share := (time.monotonic() - start) / (60 * minutes)) < 1:
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * _schedule(len(losses), share)
            batch = next(batches)
            steering.begin(batch, rng)
            loss = learner.loss(batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            tokens += sum(map(len, batch))
            if progress:
                progress(min(share, 1.0), losses[-1])
            if time.monotonic() - saved > _SAVE_SECONDS:
                saved = time.monotonic()
                _save(model, tokenizer, out)
        _save(model, tokenizer, out)
        edge = math.ceil(len(losses) / 10)
        first, last = sum(losses[:edge]) / edge, sum(losses[-edge:]) / edge
        return TrainingReport(len(losses), tokens, (time.monotonic() - start) / 60, first, last).asdict()

    def _corpus(self, rng: random.Random) -> Iterator[str]:
        for index in range(_CORPUS_USERS):
            for example in sample_lesson(rng, index, LONGEST_HISTORY).examples:
                yield from self.texts(example)


def _longest_history(share: float) -> int:
    """Short histories first: the skill of reading one item carries over to ten, and starts faster."""
    return round(_FIRST_HISTORY + (LONGEST_HISTORY - _FIRST_HISTORY) * min(1.0, share / _CURRICULUM))


def _schedule(step: int, share: float) -> float:
    return min(1.0, (step + 1) / _WARM_UP) * (0.02 + 0.98 * (1 + math.cos(math.pi * share)) / 2)


def _batches(learner: Learner[RowT], rng: random.Random, stage: Callable[[], float]) -> Iterator[list[RowT]]:
    """Endless batches; rows of similar length stand together, so that little is padded.

    `stage` says how far the curriculum is, from 0 to 1: histories grow, and edits come once the tasks are learned.
    """
    index = _CORPUS_USERS
    while True:
        longest, pushed = _longest_history(stage()), PUSHED_SHARE if stage() > _PUSHES_FROM else 0.0
        lessons: list[Lesson] = []
        for _ in range(_BUCKET):
            lessons.append(sample_lesson(rng, index, longest, pushed))
            index += 1
        rows = sorted((row for lesson in lessons for row in learner.rows(lesson, rng)), key=len)
        groups = [rows[at : at + learner.batch_size] for at in range(0, len(rows), learner.batch_size)]
        rng.shuffle(groups)
        yield from groups


def _save(model: Any, tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
