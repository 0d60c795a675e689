"""From a run's folder to PEFT adapters: one per direction or adapter that the fit made, and who is served by which."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from harness.api import Adapters, HarnessError, Method, Personalizer, Query, Task
from harness.export.adapters_as_lora import save_row
from harness.export.edits_as_lora import save_edits
from harness.model.lm import HuggingFaceModel, load
from harness.registry import hub_name, make_task, method_class, model_folder
from harness.results.fingerprints import model_identity
from harness.results.records import CellRecord
from harness.results.store import Store, is_fit
from harness.results.writing import write_text

INDEX = "adapters.json"


def choose_cell(store: Store, method: str, task: str | None, seed: int | None) -> CellRecord:
    """The one finished cell of that method. Raises HarnessError if there is none or a choice is left."""
    store.read_run()
    records = store.records()
    asked = [
        record
        for record in records
        if record.spec.label == method and task in (None, record.spec.task) and seed in (None, record.spec.seed)
    ]
    wanted = [record for record in asked if record.answered]
    if asked and not wanted:
        why = "; ".join(
            f"{record.spec.task} seed {record.spec.seed} {record.status} ({record.reason})" for record in asked
        )
        raise HarnessError(
            f"{store.root} holds no finished cell of '{method}' as asked: {why}. Repeat its command with "
            "--save-fits, which computes these again."
        )
    if not wanted:
        own = [f"{record.spec.task} seed {record.spec.seed}" for record in records if record.spec.label == method]
        known = ", ".join(own or dict.fromkeys(record.spec.label for record in records)) or "none"
        there = f"It was run on: {known}" if own else f"Methods there: {known}"
        raise HarnessError(f"{store.root} holds no finished cell of '{method}' as asked. {there}.")
    if len(wanted) > 1:
        found = ", ".join(f"{record.spec.task} seed {record.spec.seed}" for record in wanted)
        raise HarnessError(f"'{method}' has several cells: {found}. Choose with --task and --seed.")
    return wanted[0]


def export(store: Store, record: CellRecord, users: Sequence[str] | None, out: Path) -> dict[str, str]:
    """Write an adapter folder for each different adapter of `users` (None: all evaluated ones), and `adapters.json`.

    The base model that each names is the one on the hub where a registered model has a name there, else what was
    loaded. Returns user id -> folder name. Raises HarnessError if the model was quantized, the fit was not kept, a user
    is unknown, or the method leaves nothing that is an adapter; `out` is then as it was.
    """
    if record.spec.quantization is not None:
        raise HarnessError(
            f"The model of this run was quantized ({record.spec.quantization}): on its whole weights the adapters "
            "would give other answers than it recorded. Repeat the comparison without quantization."
        )
    fit = store.cell_dir(record.spec) / "fit"
    if not fit.is_dir():
        raise HarnessError(
            f"{store.root} did not keep what was fitted. Repeat the comparison with --save-fits --fresh."
        )
    if not is_fit(fit, record):
        raise HarnessError(
            f"{fit} is damaged: it is not what was fitted. Repeat the comparison with --save-fits, which computes its "
            "cell again."
        )
    if out.exists() and any(out.iterdir()):
        raise HarnessError(f"{out} is not empty. Choose another --out.")
    known = list(dict.fromkeys(store.samples(record.spec)["user_id"].astype(str)))
    for user in users or ():
        if user not in known:
            raise HarnessError(
                f"No user '{user}' was evaluated in this cell; the first of its {len(known)}: {known[:3]}."
            )
    task: Task = make_task(record.spec.task)
    made: type[Method] = method_class(record.spec.method)
    personalizer = made(made.Config(**record.spec.config)).load(fit, task)
    folder = model_folder(record.spec.model)
    if model_identity(folder)[0] != record.spec.model_fingerprint:
        raise HarnessError(f"{folder} is not the model that was fitted: its files have changed since.")
    lm = load(folder, "cpu", "float32")
    if public := hub_name(record.spec.model):
        lm.model.name_or_path = lm.model.config.name_or_path = public  # which is what peft writes
    place = next(path for path in (out.absolute(), *out.absolute().parents) if path.is_dir())
    with tempfile.TemporaryDirectory(dir=place, prefix=".adapters-") as scratch:
        folders = _write(lm, personalizer, users or known, Path(scratch))
        if not folders:
            raise HarnessError(
                f"{record.spec.label} gives these users neither an adapter nor an edit: what it does is in the "
                "prompt, or it fitted nothing. There is nothing to export."
            )
        index = json.dumps(_index(record, task, personalizer, folders), indent=1, ensure_ascii=False)
        out.mkdir(parents=True, exist_ok=True)
        for name in sorted(set(folders.values())):
            (Path(scratch) / name).rename(out / name)
    write_text(out / INDEX, index)
    return folders


def _write(lm: HuggingFaceModel, personalizer: Personalizer, users: Sequence[str], scratch: Path) -> dict[str, str]:
    """Folders are numbered: a user id is no file name."""
    queries = [Query(id=user, user=user, text="") for user in users]
    if personalizer.answers(queries) is not None:
        return {}
    whole = scratch / "adapter-0"
    whole.mkdir()
    if personalizer.save_adapter(lm, whole):
        return {query.user: whole.name for query in queries if personalizer.serves(query)}
    shutil.rmtree(whole)
    edits = personalizer.edits(queries)
    if edits is None:
        return {}
    for row in sorted(set(edits.rows) - {-1}):
        folder = scratch / f"adapter-{row}"
        if isinstance(edits, Adapters):
            save_row(lm.model, edits, row, folder)
        else:
            save_edits(lm.model, edits, row, folder)
    return {user: f"adapter-{row}" for user, row in zip(users, edits.rows, strict=True) if row >= 0}


def _index(record: CellRecord, task: Task, personalizer: Personalizer, folders: dict[str, str]) -> dict[str, object]:
    queries = [Query(id="", user=user, text="?") for user in folders]
    same = all(personalizer.prompt(query, ()) == task.prompts.base(query.text, ()) for query in queries)
    return {
        "model": record.spec.model,
        "model_fingerprint": record.spec.model_fingerprint,
        "task": record.spec.task,
        "method": record.spec.label,
        "prompt": "base" if same else "the method's own; see its cell's samples",
        "users": folders,
    }
