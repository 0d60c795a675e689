"""The recipe of the embedded model: a small Llama, trained from scratch on the synthetic world for some minutes."""

import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from tasks.synthetic.examples import PUSHED_SHARE, Lesson, sample_lesson
from tasks.synthetic.steering import Steering
from tasks.synthetic.tokenizer import MAX_LENGTH, train_tokenizer
from tasks.synthetic.trees import Tree, build_tree, collate

LAYERS, WIDTH, HEADS = 4, 128, 4
LONGEST_HISTORY = 10
_CORPUS_USERS = 2500
_BATCH = 12
_BUCKET = 4
_PEAK_RATE = 3e-3
_WARM_UP = 100
_FIRST_HISTORY = 2
_CURRICULUM = 0.3
_PUSHES_FROM = 0.5
_SAVE_SECONDS = 300

Progress = Callable[[float, float], None]


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


def train(
    out: Path,
    minutes: float,
    seed: int = 0,
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Train for `minutes` of wall-clock time and save model and tokenizer in `out`.

    `progress` is told the share of the time that has gone and the loss. Time decides how many steps are made and how
    the curriculum advances, so the weights differ from run to run; the users and their order depend on the seed alone.
    """
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    rng = random.Random(seed)
    tokenizer = train_tokenizer(_corpus(rng))
    model = _new_model(tokenizer)
    steering = Steering(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_PEAK_RATE, betas=(0.9, 0.95), weight_decay=0.05)
    start = saved = time.monotonic()
    share, tokens = 0.0, 0
    losses: list[float] = []
    trees = _batches(tokenizer, rng, lambda: share)
    while (share := (time.monotonic() - start) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = _PEAK_RATE * _schedule(len(losses), share)
        batch = next(trees)
        steering.begin(batch, rng)
        loss = _loss(model, collate(batch))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        tokens += sum(len(tree.ids) for tree in batch)
        if progress:
            progress(min(share, 1.0), losses[-1])
        if time.monotonic() - saved > _SAVE_SECONDS:
            saved = time.monotonic()
            _save(model, tokenizer, out)
    _save(model, tokenizer, out)
    edge = math.ceil(len(losses) / 10)
    first, last = sum(losses[:edge]) / edge, sum(losses[-edge:]) / edge
    return TrainingReport(len(losses), tokens, (time.monotonic() - start) / 60, first, last).asdict()


def _corpus(rng: random.Random) -> Iterator[str]:
    for index in range(_CORPUS_USERS):
        for example in sample_lesson(rng, index, LONGEST_HISTORY).examples:
            yield f"{example.prompt} {example.answer}"


def _new_model(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    ends = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        **ends,
    )
    return LlamaForCausalLM(config)


def _longest_history(share: float) -> int:
    """Short histories first: the skill of reading one item carries over to ten, and starts faster."""
    return round(_FIRST_HISTORY + (LONGEST_HISTORY - _FIRST_HISTORY) * min(1.0, share / _CURRICULUM))


def _schedule(step: int, share: float) -> float:
    return min(1.0, (step + 1) / _WARM_UP) * (0.02 + 0.98 * (1 + math.cos(math.pi * share)) / 2)


def _batches(
    tokenizer: PreTrainedTokenizerBase, rng: random.Random, stage: Callable[[], float]
) -> Iterator[list[Tree]]:
    """Endless batches; trees of similar length stand together, so that little is padded.

    `stage` says how far the curriculum is, from 0 to 1: histories grow, and edits come once the tasks are learned.
    """
    index = _CORPUS_USERS
    while True:
        longest, pushed = _longest_history(stage()), PUSHED_SHARE if stage() > _PUSHES_FROM else 0.0
        lessons: list[Lesson] = []
        for _ in range(_BATCH * _BUCKET):
            lessons.append(sample_lesson(rng, index, longest, pushed))
            index += 1
        trees = sorted((build_tree(tokenizer, lesson, rng) for lesson in lessons), key=lambda tree: len(tree.ids))
        groups = [trees[at : at + _BATCH] for at in range(0, len(trees), _BATCH)]
        rng.shuffle(groups)
        yield from groups


def _loss(model: LlamaForCausalLM, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The weighted loss, with vocabulary logits only where a weight asks for them."""
    hidden = model.model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        attention_mask=batch["attention_mask"],
        use_cache=False,
    ).last_hidden_state
    chosen = batch["weights"] > 0
    losses = functional.cross_entropy(model.lm_head(hidden[chosen]), batch["targets"][chosen], reduction="none")
    weights = batch["weights"][chosen]
    return (losses * weights).sum() / weights.sum()


def _save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, out: Path) -> None:
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
