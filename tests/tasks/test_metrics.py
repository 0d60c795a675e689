"""Metrics against scikit-learn, rouge_score, LaMP's scoring rules and plain NumPy."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.scoring import BootstrapAggregator
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, mean_squared_error

from harness.api import Metric
from harness.tasks.lamp import Lamp2, Lamp3, Lamp7
from harness.tasks.metrics import ACCURACY, MAE, RMSE, macro_f1, rouge
from harness.tasks.prompts import MOVIE_TAGS

F1 = macro_f1(MOVIE_TAGS)
TAGS = st.sampled_from(MOVIE_TAGS)
TAG_PAIRS = st.lists(st.tuples(TAGS | st.sampled_from(["", "news", "Comedy"]), TAGS), min_size=1, max_size=60)
STARS = st.sampled_from("12345")
STAR_PAIRS = st.lists(st.tuples(STARS | st.sampled_from(["", "five", "6"]), STARS), min_size=1, max_size=40)
WORDS = st.lists(
    st.sampled_from(["so", "tired", "of", "this", "rain", "lol", "im", "running", "runs", ":)", "naïve"]), max_size=12
).map(" ".join)
TEXT_PAIRS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=12)


def table(metric: Metric, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
    return np.array([metric.statistics(prediction, gold) for prediction, gold in pairs], dtype=np.float64)


def score(metric: Metric, pairs: Sequence[tuple[str, str]]) -> float:
    return float(metric.value(table(metric, pairs).mean(axis=0)))


# LaMP's own rules (eval/evaluation.py), on scikit-learn and rouge_score.


def official_index(text: str) -> int:
    return MOVIE_TAGS.index(text.strip()) if text.strip() in MOVIE_TAGS else -1


def official_star(prediction: str, gold: str) -> float:
    try:
        return float(prediction)
    except ValueError:
        return 1.0 if abs(1 - float(gold)) > abs(5 - float(gold)) else 5.0


def official(metric: str, pairs: Sequence[tuple[str, str]]) -> float:
    predictions, golds = zip(*pairs, strict=True)
    if metric in ("accuracy", "f1"):
        found, right = [official_index(text) for text in predictions], [official_index(text) for text in golds]
        if metric == "accuracy":
            return accuracy_score(right, found)
        return f1_score(right, found, labels=list(range(15)), average="macro", zero_division=0)
    if metric in ("mae", "rmse"):
        stars = [official_star(prediction, gold) for prediction, gold in pairs]
        error = mean_absolute_error if metric == "mae" else mean_squared_error
        return float(error([float(gold) for gold in golds], stars)) ** (1 if metric == "mae" else 0.5)
    scorer = RougeScorer([metric], use_stemmer=False)
    return float(np.mean([scorer.score(gold.strip(), text.strip())[metric].fmeasure for text, gold in pairs]))


@given(TAG_PAIRS)
@settings(deadline=None)
def test_lamp2_equals_official_scoring(pairs: list[tuple[str, str]]) -> None:
    for metric in Lamp2.metrics:
        assert score(metric, pairs) == pytest.approx(official(metric.name, pairs), abs=1e-9)


@given(STAR_PAIRS)
@settings(deadline=None)
def test_lamp3_equals_official_scoring(pairs: list[tuple[str, str]]) -> None:
    pairs = [(prediction.replace("6", "six"), gold) for prediction, gold in pairs]
    for metric in Lamp3.metrics:
        assert score(metric, pairs) == pytest.approx(official(metric.name, pairs), abs=1e-9)


@given(TEXT_PAIRS)
@settings(max_examples=50, deadline=None)
def test_lamp7_equals_official_scoring(pairs: list[tuple[str, str]]) -> None:
    for metric in Lamp7.metrics:
        assert score(metric, pairs) == pytest.approx(official(metric.name, pairs), abs=1e-9)


def test_parsed_outputs_score_as_the_official_script_scores_the_raw_ones() -> None:
    """Ordinary raw outputs, i.e. an answer with white space around it, or none."""
    cases = {
        Lamp2(): [(" comedy", "comedy"), ("action ", "classic"), ("news", "comedy"), ("", "violence")],
        Lamp3(): [(" 4", "5"), ("2", "2"), ("I like it", "3"), ("", "1"), ("bad", "5")],
        Lamp7(): [(" so tired", "im so tired lol"), ("", "ok"), ("it rains!", "It rains :(")],
    }
    for task, pairs in cases.items():
        predicted = [(task.parse(raw)[0], gold) for raw, gold in pairs]
        for metric in task.metrics:
            assert score(metric, predicted) == pytest.approx(official(metric.name, pairs), abs=1e-9)


@pytest.mark.parametrize("raw", ["4.0", "100", "nan", "0.5", "1e9"])
def test_ratings_that_only_float_accepts_count_as_the_farther_end(raw: str) -> None:
    prediction, parsed = Lamp3().parse(raw)
    assert not parsed
    assert score(MAE, [(prediction, "4")]) == 3.0


def test_official_rouge_is_a_bootstrap_estimate_of_ours() -> None:
    pairs = [("so tired lol", "im so tired"), ("rain", "so much rain"), ("a b", "c d"), ("this", "this")] * 25
    aggregator = BootstrapAggregator()
    for prediction, gold in pairs:
        aggregator.add_scores(RougeScorer(["rouge1"], use_stemmer=False).score(gold, prediction))
    assert aggregator.aggregate()["rouge1"].mid.fmeasure == pytest.approx(score(rouge("rouge1"), pairs), abs=0.02)


def brute_f1(pairs: Sequence[tuple[str, str]]) -> float:
    total = 0.0
    for label in MOVIE_TAGS:
        hits = sum(prediction == gold == label for prediction, gold in pairs)
        predicted = sum(prediction == label for prediction, _ in pairs)
        right = sum(gold == label for _, gold in pairs)
        precision = hits / predicted if predicted else 0.0
        recall = hits / right if right else 0.0
        total += 2 * precision * recall / (precision + recall) if hits else 0.0
    return total / len(MOVIE_TAGS)


@given(TAG_PAIRS)
@settings(deadline=None)
def test_macro_f1_equals_its_definition(pairs: list[tuple[str, str]]) -> None:
    assert score(F1, pairs) == pytest.approx(brute_f1(pairs), abs=1e-9)


def test_an_unknown_label_is_a_miss_and_no_false_alarm() -> None:
    assert score(F1, [("news", "comedy")]) == 0.0
    assert score(F1, [("comedy", "comedy"), ("news", "classic")]) == pytest.approx(1 / 15)
    assert score(F1, [("comedy", "comedy"), ("comedy", "classic")]) == pytest.approx(2 / 3 / 15)


@pytest.mark.parametrize(("prediction", "gold", "error"), [("", "1", 4), ("", "3", 2), ("", "5", 4), ("2", "5", 3)])
def test_rating_errors(prediction: str, gold: str, error: int) -> None:
    assert score(MAE, [(prediction, gold)]) == error
    assert score(RMSE, [(prediction, gold)]) == error
    assert MAE.statistics(prediction, gold) == (error,)


@pytest.mark.parametrize(
    ("metric", "pairs"),
    [
        (ACCURACY, [("a", "a"), ("b", "a"), ("c", "c")]),
        (F1, [("comedy", "comedy"), ("news", "action"), ("action", "comedy")]),
        (MAE, [("1", "5"), ("", "2"), ("3", "3")]),
        (RMSE, [("1", "5"), ("", "2"), ("3", "3")]),
        (rouge("rougeL"), [("a b c", "a c b"), ("", "a"), ("a", "a")]),
    ],
)
def test_value_takes_any_leading_shape(metric: Metric, pairs: list[tuple[str, str]]) -> None:
    rows = table(metric, pairs)
    draws = np.random.default_rng(0).integers(len(pairs), size=(4, 5, len(pairs)))
    values = metric.value(rows[draws].mean(axis=2))
    assert values.shape == (4, 5)
    assert values[2, 3] == pytest.approx(score(metric, [pairs[index] for index in draws[2, 3]]), abs=1e-12)


def test_names_and_directions() -> None:
    found = {
        task.name: [(metric.name, metric.higher_is_better) for metric in task.metrics] for task in (Lamp2, Lamp3, Lamp7)
    }
    assert found == {
        "lamp2": [("accuracy", True), ("f1", True)],
        "lamp3": [("mae", False), ("rmse", False)],
        "lamp7": [("rouge1", True), ("rougeL", True)],
    }


@pytest.mark.parametrize(("gold", "scored"), [("so tired", True), ("42", True), ("!!", False), ("Добрый день", False)])
def test_rouge_knows_the_golds_that_it_cannot_score(gold, scored):
    for name in ("rouge1", "rougeL"):
        assert rouge(name).can_score(gold) is scored
        assert (rouge(name).statistics(gold, gold)[0] == 1.0) is scored
