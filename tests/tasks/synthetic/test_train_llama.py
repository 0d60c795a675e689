"""The recipe learns, its trees equal separate prompts, and the committed weights reach floors of the figures."""

import random
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from harness.tasks.synthetic import TINY_LLAMA, recipe
from harness.tasks.synthetic.examples import sample_lesson
from harness.tasks.synthetic.llama_trees import build_tree, collate
from harness.tasks.synthetic.model_figures import figures
from harness.tasks.synthetic.recipe import LONGEST_HISTORY
from harness.tasks.synthetic.train_llama import train
from harness.tasks.synthetic.world import PROMPTS, TASKS, synthetic_user

FLOORS = {
    ("lamp2", "neutral -> neutral"): 0.80,
    ("lamp3", "neutral -> neutral"): 0.80,
    ("lamp7", "neutral -> neutral"): 0.70,
    ("lamp2", "personal -> personal"): 0.65,
    ("lamp3", "personal -> personal"): 0.70,
    ("lamp7", "personal -> personal"): 0.60,
}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(TINY_LLAMA.folder)


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_any_text_round_trips(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids, skip_special_tokens=False) == text


def test_prompt_and_answer_tokenize_alike_together_and_apart(tokenizer: PreTrainedTokenizerBase) -> None:
    rng = random.Random(1)
    for index in range(100):
        for example in sample_lesson(rng, index, LONGEST_HISTORY).examples:
            apart = tokenizer(example.prompt).input_ids + tokenizer(f" {example.answer}").input_ids
            assert tokenizer(f"{example.prompt} {example.answer}").input_ids == apart


@pytest.mark.parametrize("task", TASKS)
def test_prompts_are_short(tokenizer: PreTrainedTokenizerBase, task: str) -> None:
    user = synthetic_user(task, "dev", 0, history_size=10)
    assert len(tokenizer(PROMPTS[task].personal(user.queries[0].text, user.history, user.insight)).input_ids) < 180


def test_a_tree_gives_the_logits_of_separate_prompts(tokenizer: PreTrainedTokenizerBase) -> None:
    model = AutoModelForCausalLM.from_pretrained(TINY_LLAMA.folder, dtype=torch.float32).eval()
    rng = random.Random(2)
    lesson = sample_lesson(rng, 5, 4)
    tree = build_tree(tokenizer, lesson, rng)
    batch = collate([tree])
    keys = ("input_ids", "position_ids", "attention_mask")
    with torch.inference_mode():
        joint = model(**{key: batch[key] for key in keys}).logits[0]
        for number, example in enumerate(lesson.examples, start=1):
            alone = model(**tokenizer(f"{example.prompt} {example.answer}", return_tensors="pt")).logits[0]
            ends = [place for place, segment in enumerate(tree.segments) if segment == number]
            torch.testing.assert_close(joint[ends[-2]], alone[-1], rtol=1e-3, atol=1e-3)


@pytest.mark.thorough
def test_a_short_training_run_lowers_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "time", SimpleNamespace(monotonic=count(step=2).__next__))  # two seconds at each look
    report = train(tmp_path, minutes=1, seed=3)
    assert 12 < report["steps"] < 16
    assert report["last_loss"] < 0.95 * report["first_loss"]
    assert AutoModelForCausalLM.from_pretrained(tmp_path).config.vocab_size == len(
        AutoTokenizer.from_pretrained(tmp_path)
    )


def test_committed_weights_reach_the_floors() -> None:
    found = figures(TINY_LLAMA.folder, users=40)
    missed = {key: found[key[0]][key[1]][0] for key, floor in FLOORS.items() if found[key[0]][key[1]][0] < floor}
    assert not missed
    assert all(found[task]["neutral -> personal"][0] < found[task]["personal -> personal"][0] - 0.3 for task in TASKS)
