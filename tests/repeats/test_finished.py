"""The note of a finished command: one change of anything, and it counts no more."""

from pathlib import Path

import pytest

import harness
from harness.repeats import finished, surroundings
from harness.repeats.finished import NOTE, Call
from harness.repeats.run_inputs import RunInputs, run_inputs
from harness.specs.resolve import resolve

ASKED = {"methods": "instruct", "seeds": None, "settings": ["aloe.r=8"]}


@pytest.fixture(autouse=True)
def around(monkeypatch):
    """Surroundings that a test may change; those of this process are looked at in the tests below."""
    found = {"source": "1", "plug-ins": "1", "packages": "1", "environment": "1", "folder": "1", "machine": "1"}
    monkeypatch.setattr(finished, "surroundings", lambda *_: dict(found))
    return found


@pytest.fixture(autouse=True)
def hub(monkeypatch):
    commits = {"org/model": "abc"}
    monkeypatch.setattr(finished, "model_identity", lambda name: (f"{name}@{commits[name]}", {}))
    return commits


@pytest.fixture
def data(tmp_path):
    for name in ("data", "model"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("as it was")
    return tmp_path


@pytest.fixture
def inputs(data):
    return RunInputs(frozenset({data / "data", data / "model"}), frozenset({"org/model"}))


@pytest.fixture
def out(tmp_path, inputs):
    folder = tmp_path / "out"
    (folder / "plots").mkdir(parents=True)
    (folder / "plots" / "lamp2.png").write_bytes(b"drawn")
    call = Call("compare", ASKED)
    call.reads(inputs)
    call.leave(folder, {"why": "kept"})
    return folder


def test_where_nothing_changed_the_note_is_found_with_what_was_kept(out):
    note = Call("compare", ASKED).finished(out)
    assert note is not None
    assert note.kept == {"why": "kept"}


@pytest.mark.parametrize(
    "other", [{"methods": "dpo"}, {"seeds": "0"}, {"settings": ["aloe.r=4"]}, {"settings": None}, {"new": False}]
)
def test_another_option_is_another_call(out, other):
    assert Call("compare", {**ASKED, **other}).finished(out) is None


def test_another_command_is_another_call(out):
    assert Call("sweep", ASKED).finished(out) is None


@pytest.mark.parametrize("name", ["source", "plug-ins", "packages", "environment", "folder", "machine"])
def test_other_surroundings_count(out, around, name):
    around[name] = "2"
    assert Call("compare", ASKED).finished(out) is None


@pytest.mark.parametrize(
    "place", ["data/file", "model/file", "data/new", "model/new", "out/plots/lamp2.png", "out/new"]
)
def test_another_file_of_data_model_or_results_counts(out, data, place):
    (data / place).write_text("otherwise")
    assert Call("compare", ASKED).finished(out) is None


def test_a_removed_plot_counts(out):
    (out / "plots" / "lamp2.png").unlink()
    assert Call("compare", ASKED).finished(out) is None


def test_another_commit_on_the_hub_counts(out, hub):
    hub["org/model"] = "def"
    assert Call("compare", ASKED).finished(out) is None


def test_locks_and_wandbs_files_are_no_results(out):
    (out / "wandb").mkdir()
    (out / "wandb" / "log").touch()
    (out / "run.lock").touch()
    assert Call("compare", ASKED).finished(out) is not None


@pytest.mark.parametrize("damage", ["", "{", '{"schema_version": 2}', "\x00"])
def test_a_damaged_note_is_none(out, damage):
    (out / NOTE).write_text(damage)
    assert Call("compare", ASKED).finished(out) is None


def leave(out, inputs, between=lambda: None):
    (out / NOTE).unlink()
    call = Call("compare", ASKED)
    call.reads(inputs)
    between()
    call.leave(out)
    return (out / NOTE).exists()


def test_what_changes_while_the_command_works_leaves_no_note(out, inputs, data, around):
    assert leave(out, inputs)
    assert not leave(out, inputs, lambda: (data / "data" / "file").write_text("otherwise"))
    (out / NOTE).touch()
    assert not leave(out, inputs, lambda: around.update(source="2"))


def test_inputs_that_nobody_can_tell_leave_no_note(out, inputs, hub):
    assert not leave(out, None)
    (out / NOTE).touch()
    hub["org/model"] = "unknown"
    assert not leave(out, inputs)


# --------------------------------------------------------------------------------------------------------- run inputs


def test_inputs_are_data_models_and_files_that_settings_name(tmp_path):
    (tmp_path / "general.jsonl").touch()
    spec = resolve(
        "aloe",
        "lamp3",
        overrides={"aloe": {"general_data": str(tmp_path / "general.jsonl")}},
        budget=60.0,
        data=str(tmp_path / "lamp"),
        model=str(tmp_path),
        embedder="org/model",
    )
    assert run_inputs([spec]) == RunInputs(
        frozenset({tmp_path / "general.jsonl", tmp_path / "lamp", tmp_path}), frozenset({"org/model"})
    )


@pytest.mark.parametrize("kind", ["METHODS", "TASKS", "MODELS", "PRESETS"])
def test_plugins_of_other_packages_may_read_anything(monkeypatch, kind):
    spec = resolve("instruct,constant", "lamp3", budget=60.0)
    assert run_inputs([spec]) is not None
    monkeypatch.setattr(f"harness.repeats.run_inputs.{kind}.target", lambda name: "other_package.module:Thing")
    assert run_inputs([spec]) is None


@pytest.mark.parametrize(("device", "known"), [("auto", False), ("cuda", False), ("cpu", True)])
def test_a_device_that_may_change_unseen_is_not_known(monkeypatch, device, known):
    monkeypatch.setattr("harness.repeats.run_inputs.accelerators", lambda: None)
    assert (run_inputs([resolve("instruct", "lamp3", budget=60.0, device=device)]) is not None) == known


# ------------------------------------------------------------------------------------------------------- surroundings


def differing(before, path=(), environment=None):
    now = surroundings.surroundings(list(path), environment or {})
    return {name for name in now if now[name] != before[name]}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small harness with a plug-in package beside it, as in a checkout."""
    for name in ("harness", "methods", "methods/presets"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    (tmp_path / "methods" / "presets" / "tiny.yaml").write_text("history: 8")
    monkeypatch.setattr(harness, "__path__", [str(tmp_path / "harness"), str(tmp_path)])
    return tmp_path


@pytest.mark.parametrize(
    "place", ["harness/registry.py", "methods/dpo.py", "methods/presets/tiny.yaml", "harness/__init__.py"]
)
def test_source_and_presets_count_by_their_content(package, place):
    before = surroundings.surroundings([], {})
    assert not differing(before)
    (package / place).write_text("otherwise")
    assert differing(before) == {"source"}


def test_a_link_that_leads_nowhere_is_no_fault(package):
    before = surroundings.surroundings([], {})
    (package / "methods" / ".#dpo.py").symlink_to("user@host.123")
    assert differing(before) == {"source"}


def test_tests_and_what_else_lies_beside_the_harness_do_not_count(package):
    before = surroundings.surroundings([], {})
    (package / "tests").mkdir()
    (package / "tests" / "__init__.py").touch()
    assert not differing(before)


def test_a_file_that_was_written_again_as_it_was_does_not_count(package):
    before = surroundings.surroundings([], {})
    (package / "methods" / "presets" / "tiny.yaml").write_text("history: 8")
    assert not differing(before)


@pytest.mark.parametrize(
    "place",
    ["torch-2.2.dist-info/METADATA", "yaml.py", "x.pth", "torch-2.1.dist-info/entry_points.txt", "new/__init__.py"],
)
def test_installed_packages_and_what_can_be_imported_count(tmp_path, place):
    site = tmp_path / "site-packages"
    (site / "torch-2.1.dist-info").mkdir(parents=True)
    (site / "torch-2.1.dist-info" / "METADATA").write_text("Version: 2.1")
    before = surroundings.surroundings([str(site)], {})
    assert not differing(before, [str(site)])
    (site / place).parent.mkdir(exist_ok=True)
    (site / place).write_text("otherwise")
    assert differing(before, [str(site)]) == {"packages"}


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HF_HOME", "HARNESS_CACHE", "HOME", "ANY"])
def test_the_environment_counts(name):
    before = surroundings.surroundings([], {"ANY": "1"})
    assert differing(before, environment={"ANY": "1", name: "2"}) == {"environment"}


@pytest.mark.parametrize("name", ["TERM", "COLUMNS", "SSH_CONNECTION", "WANDB_MODE"])
def test_the_terminal_and_wandb_do_not(name):
    before = surroundings.surroundings([], {"ANY": "1"})
    assert not differing(before, environment={"ANY": "1", name: "2"})


def test_the_folder_and_the_machine_count(tmp_path, monkeypatch):
    before = surroundings.surroundings([], {})
    monkeypatch.chdir(tmp_path)
    assert differing(before) == {"folder"}
    monkeypatch.setattr(surroundings, "accelerators", lambda: ["/dev/nvidia7"])
    assert differing(before) == {"folder", "machine"}


def test_a_plugin_of_another_package_counts_even_where_it_is_not_used(tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text("broken")
    monkeypatch.setattr(surroundings, "_foreign_plugins", lambda: [Path(tmp_path / "theirs.py")])
    before = surroundings.surroundings([], {})
    (tmp_path / "theirs.py").write_text("mended")
    assert differing(before) == {"plug-ins"}
