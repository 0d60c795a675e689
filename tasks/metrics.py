"""LaMP's metrics (Salemi et al. 2024, Section 2.3) as functions of mean per-sample statistics.

They equal scikit-learn and rouge_score, hence LaMP's evaluation script, on parsed predictions, but for two things. The
script takes whatever `float` takes as a rating ("4.0", "100", "nan"); here a rating is a whole number from 1 to 5 and
all else counts as the farther end of the scale, as the script does for words. And its ROUGE is the median of 1,000
unseeded bootstrap means, which differs from run to run; here it is the mean that this median estimates.
"""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.api import Metric
from harness.tasks.lamp_schema import RATINGS

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _only(means: "NDArray[np.float64]") -> "NDArray[np.float64]":
    return np.asarray(means)[..., 0]


def _root(means: "NDArray[np.float64]") -> "NDArray[np.float64]":
    return np.sqrt(_only(means))


def _error(prediction: str, gold: str) -> float:
    right = int(gold)
    if prediction not in RATINGS:
        # LaMP resolves the tie of gold 3 to 5; the error is the same.
        return float(max(right - 1, 5 - right))
    return float(abs(int(prediction) - right))


ACCURACY = Metric("accuracy", True, lambda prediction, gold: (float(prediction == gold),), _only)
MAE = Metric("mae", False, lambda prediction, gold: (_error(prediction, gold),), _only)
RMSE = Metric("rmse", False, lambda prediction, gold: (_error(prediction, gold) ** 2,), _root)


def macro_f1(labels: Sequence[str]) -> Metric:
    """Unweighted mean over `labels` of F1; 0 for a label that is neither predicted nor gold, as scikit-learn counts it.

    Statistics: per label 1 for a hit, then per label 1 if predicted, then per label 1 if gold. A prediction outside
    `labels` is a miss for the gold's label and a false alarm for none (LaMP maps it to -1).
    """
    place = {label: index for index, label in enumerate(labels)}
    size = len(labels)

    def statistics(prediction: str, gold: str) -> Sequence[float]:
        counts = [0.0] * (3 * size)
        counts[2 * size + place[gold]] = 1.0
        if prediction in place:
            counts[size + place[prediction]] = 1.0
        if prediction == gold:
            counts[place[gold]] = 1.0
        return counts

    def value(means: "NDArray[np.float64]") -> "NDArray[np.float64]":
        hits, predicted, gold = np.split(np.asarray(means), 3, axis=-1)
        total = predicted + gold
        return np.mean(2 * hits / np.where(total > 0, total, 1.0), axis=-1)

    return Metric("f1", True, statistics, value)


def rouge(name: str) -> Metric:
    """Mean F of "rouge1" or "rougeL", 0 to 1, without stemming.

    Words are runs of a-z and 0-9: a gold without any, such as one of another script, scores 0 whatever the prediction.
    """

    def statistics(prediction: str, gold: str) -> Sequence[float]:
        return (_scorer(name).score(gold, prediction)[name].fmeasure,)

    return Metric(name, True, statistics, _only, can_score=lambda gold: statistics(gold, gold)[0] > 0)


@cache
def _scorer(name: str) -> Any:
    # Importing it takes seconds, so only those who score tweets pay.
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([name], use_stemmer=False)
