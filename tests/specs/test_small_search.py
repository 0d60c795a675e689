"""The search behind the preset `small`: equal effort for every method, on users that no comparison evaluates."""

import json
from collections import Counter
from pathlib import Path

from benchmarks.hold_out import hold_out
from harness.registry import METHODS
from harness.sweeps.sweep_spec import expand, read_sweep
from harness.tasks.lamp import Lamp7

SEARCH = Path(__file__).parents[2] / "benchmarks" / "small-search.yaml"
STEM = "Paraphrase the following tweet without any explanation before or after it: "


def test_every_method_is_searched_as_hard() -> None:
    methods = [method for point in expand(read_sweep(SEARCH)) for method in point.spec.methods]
    tried = Counter(method.name for method in methods if method.settings)
    own = [name for name in METHODS.names() if METHODS.target(name).startswith("harness.") and name != "instruct"]
    assert tried == dict.fromkeys(own, 4)
    assert len({method.label for method in methods if method.settings}) == 4 * len(own)


def tweets_of(users: int, folder: Path) -> Path:
    """A LaMP directory with two questions of each user."""
    place = folder / "LaMP_7"
    place.mkdir(parents=True)
    profile = [{"id": "0", "text": "a tweet of mine"}]
    questions = [
        {"id": f"{user}-{n}", "user_id": user, "input": f"{STEM}tweet {n}", "profile": profile}
        for user in range(users)
        for n in range(2)
    ]
    golds = [{"id": question["id"], "output": "a tweet"} for question in questions]
    (place / "dev_questions.json").write_text(json.dumps(questions))
    (place / "dev_outputs.json").write_text(json.dumps({"task": "LaMP_7", "golds": golds}))
    return folder


def test_users_put_aside_for_tuning_are_no_longer_evaluated(tmp_path: Path) -> None:
    data = tweets_of(8, tmp_path / "data")
    assert hold_out(data, tmp_path / "divided") == {"lamp7": (6, 2)}
    tune, dev = (Lamp7().load(str(tmp_path / "divided"), split) for split in ("tune", "dev"))
    assert {query.user for query in tune.queries} == {"6", "7"}
    assert {query.user for query in dev.queries} == {str(user) for user in range(6)}
    assert len(tune.golds) == 4
    assert len(dev.golds) == 12
    assert hold_out(data, tmp_path / "unseen", train=True) == {"lamp7": (6, 2)}
    assert Lamp7().splits(str(tmp_path / "unseen")) == ("train", "dev")
    assert Lamp7().load(str(tmp_path / "unseen"), "dev").golds == dev.golds


def test_of_few_users_one_is_put_aside_and_of_one_nobody(tmp_path: Path) -> None:
    assert hold_out(tweets_of(2, tmp_path / "two"), tmp_path / "divided") == {"lamp7": (1, 1)}
    assert hold_out(tweets_of(1, tmp_path / "one"), tmp_path / "left") == {"lamp7": (1, 0)}
    assert Lamp7().splits(str(tmp_path / "left")) == ("dev",)


def test_all_but_the_first_users_can_be_put_aside(tmp_path: Path) -> None:
    assert hold_out(tweets_of(5, tmp_path / "data"), tmp_path / "divided", after=2) == {"lamp7": (2, 3)}
    assert {query.user for query in Lamp7().load(str(tmp_path / "divided"), "tune").queries} == {"2", "3", "4"}
