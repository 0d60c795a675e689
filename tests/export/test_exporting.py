"""`harness export` after a real comparison: adapters that peft loads and that answer as the run's samples say."""

import json
from dataclasses import replace

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from harness import compare
from harness.api import HarnessError
from harness.commands.app import app
from harness.export import exporting
from harness.export.edits_as_lora import save_edits
from harness.export.exporting import choose_cell, export
from harness.model.lm import load
from harness.registry import TASKS, model_folder
from harness.results.store import Store
from tests import fabricate

GROUPED = "chameleon:group_size=2,min_pairs=2"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    methods = f"instruct,llm_rec,{GROUPED},dpo,aloe,oppu"
    compare(methods, "300s", "lamp7", out=folder, users=4, save_fits=True)
    return Store(folder)


def answered_by(adapter, prompts):
    lm = load(model_folder("tiny-llama"), "cpu", "float32")
    base = AutoModelForCausalLM.from_pretrained(model_folder("tiny-llama"), dtype=torch.float32)
    lm.model = PeftModel.from_pretrained(base, adapter).eval()
    return lm.generate(prompts, TASKS.get("lamp7")().max_new_tokens)


@pytest.mark.parametrize("method", [GROUPED, "dpo", "aloe", "oppu"])
def test_an_exported_user_gets_the_runs_answers_from_peft_alone(run, method, tmp_path):
    record = choose_cell(run, method, None, None)
    folders = export(run, record, None, tmp_path / "adapters")
    samples = run.samples(record.spec)
    served = samples[samples["user_id"].isin(folders)]
    assert len(served) > 0
    for folder, rows in served.groupby(served["user_id"].map(folders)):
        assert answered_by(tmp_path / "adapters" / folder, list(rows["prompt"])) == list(rows["output"])
    index = json.loads((tmp_path / "adapters" / "adapters.json").read_text())
    assert index["users"] == folders
    assert index["prompt"] == "base"


def test_an_index_tells_of_the_methods_own_prompt_where_any_user_was_asked_with_it(run, tmp_path):
    record = choose_cell(run, GROUPED, None, None)
    steering = run.cell_dir(record.spec) / "fit" / "steering.json"
    before = steering.read_text()
    users = list(export(run, record, None, tmp_path / "before"))
    try:
        steering.write_text(json.dumps(json.loads(before) | {"insights": {users[-1]: "likes long words"}}))
        export(run, record.model_copy(update={"fit_hash": ""}), None, tmp_path / "after")
    finally:
        steering.write_text(before)
    told = [json.loads((tmp_path / name / "adapters.json").read_text())["prompt"] for name in ("before", "after")]
    assert told == ["base", "the method's own; see its cell's samples"]


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("method", [GROUPED, "dpo", "oppu"])
def test_an_adapter_names_its_base_model_as_anybody_finds_it_and_asks_the_hub_for_nothing(
    run, method, tmp_path, monkeypatch
):
    monkeypatch.setattr(exporting, "hub_name", {"tiny-llama": "someone/tiny-llama"}.get)
    record = choose_cell(run, method, None, None)
    users = [run.samples(record.spec)["user_id"][0]]
    [folder] = {tmp_path / "public" / name for name in export(run, record, users, tmp_path / "public").values()}
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "someone/tiny-llama"
    assert not [path for path in folder.iterdir() if model_folder("tiny-llama").encode() in path.read_bytes()]
    base = AutoModelForCausalLM.from_pretrained(model_folder("tiny-llama"))
    assert PeftModel.from_pretrained(base, folder).active_adapters == ["default"]


def test_an_adapter_of_a_model_without_a_public_name_can_be_loaded_here_by_itself(run, tmp_path):
    folders = export(run, choose_cell(run, "dpo", None, None), None, tmp_path / "adapters")
    loaded = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapters" / next(iter(folders.values())))
    assert loaded.peft_config["default"].base_model_name_or_path == model_folder("tiny-llama")


def test_a_model_whose_files_have_changed_since_is_refused(run, tmp_path, monkeypatch):
    record = choose_cell(run, GROUPED, "lamp7", 0)
    monkeypatch.setattr(exporting, "model_identity", lambda folder: ("of today", {}))
    with pytest.raises(HarnessError, match="not the model that was fitted"):
        export(run, record, None, tmp_path / "adapters")


def test_a_damaged_fit_is_not_exported(run, tmp_path):
    record = choose_cell(run, "aloe", "lamp7", 0)
    [file] = (run.cell_dir(record.spec) / "fit").rglob("*.safetensors")
    content = file.read_bytes()
    file.write_bytes(content[:-8] + b"damaged!")
    try:
        with pytest.raises(HarnessError, match="is damaged: it is not what was fitted"):
            export(run, record, None, tmp_path / "adapters")
    finally:
        file.write_bytes(content)


def test_an_edit_that_no_adapter_can_express_leaves_nothing_behind(run, tmp_path, monkeypatch):
    def refuse(model, edits, row, directory):
        save_edits(model, edits, row, directory)
        save_edits(model, replace(edits, bounded=True), row, directory)

    monkeypatch.setattr(exporting, "save_edits", refuse)
    with pytest.raises(HarnessError, match="not linear"):
        export(run, choose_cell(run, GROUPED, None, None), None, tmp_path / "adapters")
    assert list(tmp_path.iterdir()) == []


def test_users_of_a_group_share_an_adapter(run, tmp_path):
    record = choose_cell(run, GROUPED, "lamp7", 0)
    folders = export(run, record, None, tmp_path / "adapters")
    assert len(set(folders.values())) == 2
    one = export(run, record, [next(iter(folders))], tmp_path / "one")
    assert list(one) == [next(iter(folders))]


def test_a_method_of_prompts_alone_leaves_nothing_to_export(run, tmp_path):
    with pytest.raises(HarnessError, match="neither an adapter nor an edit"):
        export(run, choose_cell(run, "llm_rec", None, None), None, tmp_path / "new" / "adapters")
    assert list(tmp_path.iterdir()) == [], "a refusal leaves a folder behind"


def test_the_command_writes_the_adapters_of_those_asked_for_and_says_how_many(run, tmp_path):
    everybody = list(dict.fromkeys(run.samples(choose_cell(run, GROUPED, None, None).spec)["user_id"]))
    for users, asked, said in (
        (everybody, ["--all"], "2 adapters for 4 users"),
        (everybody[:1], ["--user", everybody[0]], "1 adapter for 1 user"),
    ):
        out = tmp_path / f"adapters-{len(users)}"
        done = CliRunner().invoke(app, ["export", str(run.root), "--method", GROUPED, *asked, "--out", str(out)])
        assert done.exit_code == 0, done.exception
        served = json.loads((out / "adapters.json").read_text())["users"]
        assert list(served) == users
        assert {path.name for path in out.iterdir()} == {"adapters.json", *served.values()}
        assert f"{said}: {out}" in done.output


def test_a_folder_that_holds_something_is_left_as_it_is(run, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    done = CliRunner().invoke(app, ["export", str(run.root), "--method", "dpo", "--all", "--out", str(tmp_path)])
    assert isinstance(done.exception, HarnessError)
    assert str(done.exception) == f"{tmp_path} is not empty. Choose another --out."
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.fixture
def seeds(tmp_path):
    """A run of which seed 0 of DPO is finished, seed 1 failed, and Chameleon was interrupted."""
    store = fabricate.store(tmp_path / "run", fabricate.run_spec("dpo,chameleon", seeds=(0, 1)))
    frame = fabricate.samples("lamp2", 0.5)
    store.write(fabricate.record("lamp2", "dpo", frame), frame)
    store.write(fabricate.record("lamp2", "dpo", None, 1, "failed", reason="RuntimeError: no pairs"), None)
    store.write(fabricate.record("lamp2", "chameleon", None, 0, "interrupted", reason="by Ctrl-C"), None)
    return store


def test_a_failed_seed_leaves_the_finished_one_the_only_choice(seeds):
    assert choose_cell(seeds, "dpo", None, None).spec.seed == 0


@pytest.mark.parametrize(
    ("method", "seed", "why"),
    [
        ("dpo", 1, r"lamp2 seed 1 failed \(RuntimeError: no pairs\)"),
        ("chameleon", None, r"lamp2 seed 0 interrupted \(by Ctrl-C\)"),
    ],
)
def test_of_cells_that_did_not_finish_the_reasons_are_said(seeds, method, seed, why):
    with pytest.raises(HarnessError, match=f"no finished cell of '{method}' as asked: {why}. Repeat"):
        choose_cell(seeds, method, None, seed)


def test_of_a_task_that_a_method_was_not_run_on_those_are_named_that_it_was(seeds):
    with pytest.raises(HarnessError, match=r"'dpo' as asked\. It was run on: lamp2 seed 0, lamp2 seed 1\.$"):
        choose_cell(seeds, "dpo", "lamp3", None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "chameleon", "--all"], "Methods there: "),
        (["--method", "dpo"], "--user ID"),
        (["--method", "dpo", "--user", "nobody"], "No user 'nobody'"),
    ],
)
def test_what_cannot_be_exported_is_explained(run, arguments, message, tmp_path):
    done = CliRunner().invoke(app, ["export", str(run.root), *arguments, "--out", str(tmp_path / "adapters")])
    assert isinstance(done.exception, HarnessError)
    assert message in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_fits_of_a_quantized_model_are_refused(run, tmp_path):
    record = choose_cell(run, "dpo", None, None)
    quantized = record.model_copy(update={"spec": record.spec.model_copy(update={"quantization": "nf4"})})
    with pytest.raises(HarnessError, match="quantized"):
        export(run, quantized, None, tmp_path / "adapters")
