"""A toy task, toy users and a random tiny model, to exercise a method in seconds without any data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api import Example, HistoryItem, InsightKind, Metric, Query, SummaryStrategy, Task, TaskData, User

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from harness.model.lm import HuggingFaceModel

LABELS = ("comedy", "classic", "fantasy")
_SUBJECTS = ("coffee", "letters", "a city", "a trail", "a detective", "a movie")


class ToyPrompts:
    """Prompts short enough for a context of a few hundred tokens."""

    generic_insight = "be plain"

    def base(self, query: str, history: Sequence[HistoryItem], note: str = "") -> str:
        return self._join(history, f"New: {query}. Which tag?", note)

    def personal(self, query: str, history: Sequence[HistoryItem], insight: str) -> str:
        return self._join(history, f"New: {query}. Which tag?", f"The user prefers {insight}.")

    def neutral(self, query: str, history: Sequence[HistoryItem], insight: str) -> str:
        return self._join(history, f"New: {query}. Which tag?", f"Your answer should {insight}.")

    def insight(self, kind: InsightKind, history: Sequence[HistoryItem]) -> str:
        return self._join(history, f"What is the {kind} view?")

    def summary(self, strategy: SummaryStrategy, history: Sequence[HistoryItem]) -> str:
        return self._join(history, f"Write a {strategy} summary.")

    @staticmethod
    def _join(history: Sequence[HistoryItem], *parts: str) -> str:
        items = [f"{item.text}: {item.label}" for item in history]
        return "\n".join(part for part in (*items, *parts, "Your answer:") if part)


class ToyTask(Task):
    """Tags for short texts. Loading data is an error: only the engine may, since data holds the gold answers."""

    name = "toy"
    title = "Toy tagging"
    version = "1"
    prompts = ToyPrompts()
    labels: tuple[str, ...] = LABELS
    metrics = (Metric("accuracy", True, lambda prediction, gold: (prediction == gold,), lambda mean: mean[..., 0]),)
    max_new_tokens = 6

    def load(self, source: str, split: str) -> TaskData:
        raise AssertionError("a method asked the task for data, gold answers included")

    def supervise(self, item: HistoryItem) -> tuple[str | None, str]:
        return item.text, item.label

    def parse(self, output: str) -> tuple[str, bool]:
        line = output.strip().split("\n")[0].strip()
        return line, line in self.labels


def toy_user(name: str, favourite: int = 0, examples: int = 2, items: int = 4, task: Task | None = None) -> User:
    """A user who gives one label to all items but the last; the first `examples` items supervise."""
    labels = [LABELS[favourite % 3]] * (items - 1) + [LABELS[(favourite + 1) % 3]]
    history = tuple(
        HistoryItem(f"{name}-{place}", f"{_SUBJECTS[(favourite + place) % 6]} of {name}", label, rank=place)
        for place, label in enumerate(labels)
    )
    made = (
        Example(name, pair[0], history[:place] + history[place + 1 :], pair[1])
        for place, item in enumerate(history[:examples])
        if (pair := (task or ToyTask()).supervise(item))
    )
    return User(name, history, tuple(made))


def toy_users(count: int, examples: int = 2, task: Task | None = None) -> list[User]:
    """Users "user 0", "user 1", ... with different favourites."""
    return [toy_user(f"user {number}", number, examples, task=task) for number in range(count)]


def toy_queries(users: Sequence[User]) -> list[Query]:
    """One query per user."""
    return [Query(f"query of {user.id}", user.id, f"{user.history[0].text} again") for user in users]


def toy_model(folder: Path, chat_template: str | None = None) -> HuggingFaceModel:
    """Write a random Llama (3 layers of width 32, context 512) into an empty folder, and load it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from harness.model.lm import load

    tokenizer = _tokenizer()
    tokenizer.chat_template = chat_template
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,  # wide, so that different prompts get different answers
        bos_token_id=2,
        eos_token_id=1,
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load(str(folder), device="cpu", dtype="float32")


def _tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = {"pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>"}
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=list(special.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [ToyPrompts().base("a movie", user.history) for user in toy_users(6)]
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", model_max_length=512, **special)
