"""The T5 recipe learns, its rows are what the harness sends, and the committed weights reach floors of the figures."""

import random
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from harness.model.lm import load
from harness.tasks.synthetic import TINY_T5, recipe
from harness.tasks.synthetic.examples import sample_lesson
from harness.tasks.synthetic.model_figures import cases, figures, plain_prompts
from harness.tasks.synthetic.recipe import LONGEST_HISTORY
from harness.tasks.synthetic.t5_pairs import Pair
from harness.tasks.synthetic.t5_probe import Seq2SeqProbe
from harness.tasks.synthetic.train_t5 import T5Learner, train

FLOORS = {  # nothing for personal tags: this model hardly gives them, as its card says
    ("lamp2", "neutral -> neutral"): 0.85,
    ("lamp3", "neutral -> neutral"): 0.85,
    ("lamp7", "neutral -> neutral"): 0.85,
    ("lamp3", "personal -> personal"): 0.70,
    ("lamp7", "personal -> personal"): 0.50,
}


@pytest.fixture(scope="module")
def probe() -> Seq2SeqProbe:
    return Seq2SeqProbe.load(TINY_T5.folder)


@pytest.fixture(scope="module")
def learner(probe: Seq2SeqProbe) -> T5Learner:
    """The learner with the committed weights in place of untrained ones."""
    learner = T5Learner(probe.tokenizer)
    learner.model.load_state_dict(probe.model.state_dict())
    return learner


def test_rows_are_what_the_harness_sends(learner: T5Learner) -> None:
    lm, rng = load(str(TINY_T5)), random.Random(1)
    for index in range(20):
        lesson = sample_lesson(rng, index, LONGEST_HISTORY)
        for example, row in zip(lesson.examples, learner.rows(lesson, rng), strict=True):
            if not row.hidden:
                said = lm.log_likelihood([example.prompt], [example.answer])
                torch.testing.assert_close(-learner.loss([row]) * len(row.answer), said[0], rtol=1e-3, atol=1e-3)


def test_hidden_labels_can_be_put_back(learner: T5Learner) -> None:
    rng = random.Random(2)
    hidden = 0
    for index in range(30):
        lesson = sample_lesson(rng, index, LONGEST_HISTORY)
        for example, row in zip(lesson.examples, learner.rows(lesson, rng), strict=True):
            whole = [row.hidden.get(place, token) for place, token in enumerate(row.ids)]
            assert whole == learner.tokenizer(example.prompt).input_ids
            assert all(row.ids[place] == learner.tokenizer.pad_token_id for place in row.hidden)
            hidden += len(row.hidden)
    assert hidden


def test_a_batch_has_the_mean_loss_of_its_rows(learner: T5Learner) -> None:
    rng = random.Random(3)
    rows = [row for index in range(3) for row in learner.rows(sample_lesson(rng, index, 6), rng)]

    def weight(row: Pair) -> float:
        return len(row.answer) + 0.5 * len(row.hidden)

    with torch.inference_mode():
        alone = sum(learner.loss([row]) * weight(row) for row in rows) / sum(map(weight, rows))
        torch.testing.assert_close(learner.loss(rows), torch.as_tensor(alone), rtol=1e-4, atol=1e-4)


def test_queries_move_less_than_the_other_weights(learner: T5Learner) -> None:
    others, queries = learner.parameters()
    assert queries["lr"] < others["lr"] / 5
    assert len(others["params"]) + len(queries["params"]) == len(list(learner.model.parameters()))


def test_scores_agree_with_greedy_decoding_and_with_the_harness(probe: Seq2SeqProbe) -> None:
    rows = cases("lamp7", "dev", 10, 4)
    prompts, asked = plain_prompts("lamp7", rows), [(row.query.personal, row.query.neutral) for row in rows]
    log_p, exact = probe.score(prompts, asked)
    answers = probe.answers(prompts)
    assert exact.tolist() == [[answer == gold for gold in pair] for answer, pair in zip(answers, asked, strict=True)]
    said = load(str(TINY_T5)).log_likelihood(prompts, [personal for personal, _ in asked])
    torch.testing.assert_close(torch.tensor(log_p[:, 0]).float(), said, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("position", ["answer_start", "last"])
def test_states_are_those_of_the_harness(probe: Seq2SeqProbe, position: str) -> None:
    rows = cases("lamp7", "dev", 6, 4)
    prompts, answers = plain_prompts("lamp7", rows), [row.query.personal for row in rows]
    said = load(str(TINY_T5)).represent(prompts, answers, position)  # type: ignore[arg-type]
    torch.testing.assert_close(probe.mlp_outputs(prompts, answers, position), said, rtol=1e-3, atol=1e-3)


@pytest.mark.thorough
def test_a_short_training_run_lowers_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "time", SimpleNamespace(monotonic=count(step=2).__next__))  # two seconds at each look
    report = train(tmp_path, minutes=1, seed=3)
    assert 12 < report["steps"] < 16
    assert report["last_loss"] < 0.95 * report["first_loss"]
    assert load(str(tmp_path)).is_encoder_decoder


def test_committed_weights_reach_the_floors() -> None:
    found = figures(TINY_T5.folder, users=40)
    missed = {key: found[key[0]][key[1]][0] for key, floor in FLOORS.items() if found[key[0]][key[1]][0] < floor}
    assert not missed
    modes = [found[task] for task in ("lamp3", "lamp7")]
    assert all(task["neutral -> personal"][0] < task["personal -> personal"][0] - 0.3 for task in modes)
