"""What tells cells apart: all that decides their answers, and nothing else. No model is loaded for it."""

import json
import shutil

import pytest

from harness.api import HarnessError, TaskData
from harness.running.planning import plan_run
from harness.specs.resolve import resolve
from harness.tasks.lamp import Lamp2
from harness.tasks.synthetic import TINY_LLAMA
from tests.tasks.made import ITEMS, question, write


@pytest.fixture
def model(tmp_path):
    return shutil.copytree(TINY_LLAMA.folder, tmp_path / "model")


@pytest.fixture
def data(tmp_path):
    for split, user in (("dev", "q1"), ("train", "t1")):
        golds = {"task": "LaMP_2", "golds": [{"id": user, "output": "sci-fi"}]}
        profile = [{**ITEMS["lamp2"], "id": user}]
        write(tmp_path / "data" / "LaMP_2", split, questions=[question(id=user, profile=profile)], outputs=golds)
    return tmp_path / "data"


@pytest.fixture
def digests(model, data):
    """The digest of a run's cell by method; everything is said by `given`."""

    def made(methods="instruct", **given):
        spec = resolve(
            methods, "lamp2", **{"budget": 60, "model": str(model), "data": str(data), "device": "cpu", **given}
        )
        return {cell.spec.label: cell.spec.digest for cell in plan_run(spec).cells}

    return made


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer.model", "merges.txt", "tokenizer_config.json"])
def test_a_changed_file_of_the_model_is_another_cell(digests, model, name):
    before = digests()
    (model / name).write_text('{"model_max_length": 99}')
    assert digests() != before


def test_a_readme_beside_the_model_is_not(digests, model):
    before = digests()
    (model / "README.md").write_text("new")
    assert digests() == before


def test_a_changed_embedder_is_another_cell_under_the_same_name(digests, tmp_path):
    embedder = shutil.copytree(TINY_LLAMA.folder, tmp_path / "embedder")
    before = digests(embedder=str(embedder))
    (embedder / "model.safetensors").write_bytes(b"other weights")
    assert digests(embedder=str(embedder)) != before


def test_the_size_of_the_fit_pool_counts_only_where_others_are_fitted_on(digests):
    assert digests(fit_users=5) == digests(fit_users=6)
    assert digests(fit_users=5, regime="unseen") != digests(fit_users=6, regime="unseen")


def test_the_people_fitted_on_count_only_where_others_are_fitted_on(digests, data):
    seen, unseen = digests(), digests(regime="unseen")
    path = data / "LaMP_2" / "train_outputs.json"
    path.write_text(path.read_text().replace("sci-fi", "comedy"))
    assert digests() == seen
    assert digests(regime="unseen") != unseen


@pytest.mark.parametrize("split", ["dev", "train"])
def test_data_of_one_split_are_refused_under_unseen_before_a_model_is_loaded(digests, data, split):
    for path in (data / "LaMP_2").glob(f"{split}_*"):
        path.unlink()
    with pytest.raises(HarnessError, match=r"lamp2: --regime unseen fits on users who are not evaluated, but both"):
        digests(regime="unseen")


class Empty(Lamp2):
    """A task that finds no question."""

    def load(self, source, split):
        return TaskData(split, {}, [], {})


def test_data_without_a_question_are_refused_before_a_model_is_loaded(digests, monkeypatch):
    monkeypatch.setattr("harness.running.planning.make_task", lambda name: Empty())
    with pytest.raises(HarnessError, match=r"lamp2: no usable question in .*, split dev"):
        digests()


@pytest.mark.filterwarnings("ignore:bfloat16 is many times slower")
def test_the_batch_size_counts_only_where_answers_depend_on_it(digests):
    assert digests(batch_size=4) == digests(batch_size=8)
    assert digests(batch_size=4, dtype="bfloat16") != digests(batch_size=8, dtype="bfloat16")


def test_what_a_fit_changes_of_its_method_reaches_no_other_cell(model, data):
    spec = resolve("chameleon", "lamp2", budget=60, model=str(model), data=str(data), device="cpu", seeds=(0, 1))
    first, second = (cell.method for cell in plan_run(spec).cells)
    before = second.config.model_copy(deep=True)
    first.found = "what the first cell has learned"
    first.config.__dict__["edit"] = "personalized"
    first.config.ccs.__dict__["restarts"] = 99
    assert not hasattr(second, "found")
    assert second.config == before != first.config


def test_an_automatic_dtype_is_the_one_it_comes_to(digests):
    assert digests(dtype="auto") == digests(dtype="float32") != digests(dtype="bfloat16")


def test_general_data_counts_by_its_content_and_for_aloe_only(digests, tmp_path):
    path = tmp_path / "general.jsonl"
    path.write_text(json.dumps({"prompt": "p", "completion": "c"}))
    overrides = {"aloe": {"general_data": str(path), "general_fraction": 0.5}}
    before = digests("instruct,aloe,dpo", overrides=overrides)
    path.write_text(json.dumps({"prompt": "p", "completion": "d"}))
    after = digests("instruct,aloe,dpo", overrides=overrides)
    assert {label for label in before if before[label] != after[label]} == {"aloe"}


def test_a_library_of_one_method_concerns_no_other(digests, monkeypatch):
    from harness.results import fingerprints

    before = digests("instruct,dpo,chameleon")
    real = fingerprints._distribution
    monkeypatch.setattr(fingerprints, "_distribution", lambda name: ("trl", "99") if name == "trl" else real(name))
    after = digests("instruct,dpo,chameleon")
    assert {label for label in before if before[label] != after[label]} == {"dpo"}
