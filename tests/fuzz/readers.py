"""Everything that reads what others wrote, as functions of a folder and a file's bytes, with valid inputs to mutate."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from harness.gate import baseline
from harness.leaderboards.recording import read_records
from harness.reproduction.experiment_spec import OWN, experiments
from harness.results.records import RunRecord
from harness.results.store import Store
from harness.specs.resolve import resolve
from harness.specs.run_spec import parse_budget, parse_overrides, parse_seeds
from harness.sweeps.sweep_spec import expand, read_sweep, run_spec
from harness.sweeps.sweeping import read_arguments
from harness.tasks.lamp_directory import read
from harness.tasks.lamp_schema import SCHEMAS
from tests import fabricate
from tests.tasks.made import TASKS, outputs, question, write

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Reader:
    """`read` writes the bytes where they belong in an empty or used folder, and reads them. `valid` must be read."""

    valid: tuple[bytes, ...]
    read: Callable[[Path, bytes], object]


def _lamp(kind: str, task: str) -> Callable[[Path, bytes], object]:
    def run(folder: Path, content: bytes) -> object:
        users = {"users": {"q1": "u", "q2": "u"}} if kind == "users" else {}
        place = folder / f"{task}-{kind}" / SCHEMAS[task].folder
        write(place, task=task, **{"questions": _questions(task), **users, kind: content})
        data = read(SCHEMAS[task], place.parent, "dev")
        assert data.queries
        assert {query.id for query in data.queries} == set(data.golds)
        assert {query.user for query in data.queries} == set(data.histories)
        return list(map(str, data.faults))

    return run


def _questions(task: str) -> list[dict[str, object]]:
    [item] = question(task)["profile"]
    dated = [{**item, "id": number, "date": f"201{number}-01-02"} for number in range(4)]
    return [question(task), question(task, id="q2", user_id=7, profile=dated)]


def _lamp_readers() -> dict[str, Reader]:
    readers = {}
    for task in TASKS:
        files = {"questions": _questions(task), "outputs": outputs(task), "users": {"q1": "u", "q2": 5}}
        for kind, content in files.items():
            readers[f"{task} {kind}"] = Reader((json.dumps(content).encode(),), _lamp(kind, task))
    return readers


def _sweep(folder: Path, content: bytes) -> object:
    path = folder / "sweep.yaml"
    path.write_bytes(content)
    return [point.slug for point in expand(read_sweep(path))]


def _experiment(folder: Path, content: bytes) -> object:
    """In place of an experiment of the harness's own."""
    (folder / f"{OWN}.yaml").write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.registry.files", lambda package: folder)
        [found] = experiments(OWN)
    return found.points("tiny")


def _record(folder: Path, content: bytes) -> object:
    name = "tiny-llama-seen-10s-c5f4aa00.json"
    (folder / "records").mkdir(exist_ok=True)
    (folder / "records" / name).write_bytes(content)
    return read_records(folder / "records")


def _cell(folder: Path, content: bytes) -> object:
    place = folder / "run" / "cells" / "lamp2" / "instruct" / "seed-0-12345678"
    place.mkdir(parents=True, exist_ok=True)
    (place / "cell.json").write_bytes(content)
    return Store(folder / "run").records()


def _run(folder: Path, content: bytes) -> object:
    (folder / "asked").mkdir(exist_ok=True)
    (folder / "asked" / "run.json").write_bytes(content)
    return Store(folder / "asked").read_run().model_dump_json()


def _baseline(folder: Path, content: bytes) -> object:
    path = folder / "baseline.json"
    path.write_bytes(content)
    found = baseline.read(path)
    baseline.require_cells(found, path)
    return found


def _settings(folder: Path, content: bytes) -> object:
    """Arguments as a shell hands them over: bytes that are no UTF-8 become lone surrogates."""
    name, _, text = content.decode("utf-8", "surrogateescape").partition(" ")
    if name == "budget":
        return parse_budget(text)
    if name == "seeds":
        return parse_seeds(text)
    if name == "methods":
        return resolve(methods=text, tasks="lamp3", budget=1.0).model_dump_json()
    if name == "set":
        return resolve("chameleon", "lamp3", overrides=parse_overrides(text.split(" ")), budget=1.0).model_dump_json()
    return run_spec(read_arguments(text.split(" "))).model_dump_json()


_SETTINGS = (
    *(
        b"budget 1h30m",
        b"budget 90",
        b"seeds 0,1,2",
        b"methods all,controls",
        b"methods chameleon:edit=neutral,instruct",
    ),
    *(b"set chameleon.num_layers=2", b"set chameleon.ccs={}", b'set chameleon.pair_text="full" chameleon.num_layers=1'),
    b"run --methods=instruct,chameleon --tasks=lamp3 --budget=60s --history=4 --seeds=[0,1] --chameleon.num_layers=2",
    b"run --methods=instruct --users=5 --regime=unseen --marks=(0.25,0.5) --keep_leaks=True --data=x --model=tiny-t5",
)
_BOMB = b"name: bomb\nparameters:\n  a: {value: &a [x, x, x, x, x, x, x, x, x]}\n" + b"".join(
    b"  %c: {value: &%c [%s]}\n" % (key, key, b", ".join([b"*%c" % (key - 1)] * 9)) for key in b"bcdefghijklm"
)
_CELL = fabricate.record("lamp2", "instruct", None).model_dump_json().encode()
_RUN = RunRecord(spec=fabricate.run_spec(), hardware={"cpu": "x"}).model_dump_json().encode()


def _files(pattern: str) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(ROOT.glob(pattern)) if path.stem != "common")


def _as_json(contents: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """YAML as JSON, which is YAML too, so that its structure can be mutated."""
    return tuple(json.dumps(yaml.safe_load(content)).encode() for content in contents)


def _smaller_baseline() -> bytes:
    [found] = _files("leaderboards/ci.json")
    loaded = json.loads(found)
    run = loaded["runs"][0]
    run["spec"] |= {"tasks": run["spec"]["tasks"][:1], "methods": run["spec"]["methods"][:1], "seeds": [0]}
    cell = next(cell for cell in loaded["cells"] if cell["run"] == run["name"])
    first = {"task": run["spec"]["tasks"][0], "method": run["spec"]["methods"][0]["name"], "seed": 0}
    return json.dumps({**loaded, "runs": [run], "cells": [{**cell, **first, "answers": cell["answers"][:2]}]}).encode()


_SWEEP = {
    "name": "small",
    "parameters": {
        "methods": {"value": "instruct,chameleon"},
        "tasks": {"value": "lamp3"},
        "seeds": {"value": [0, 1]},
        "history": {"values": [0, 4]},
        "chameleon.num_layers": {"values": [1, 2]},
        "point": {"values": [{"users": 5}, {"users": 6}]},
    },
}

_SWEEPS = _files("docs/sweeps/*.yaml")
_EXPERIMENTS = _files("leaderboards/experiments/*.yaml")

READERS: dict[str, Reader] = {
    **_lamp_readers(),
    "sweep": Reader((*_SWEEPS, *_as_json(_SWEEPS), *[json.dumps(_SWEEP).encode()] * 4), _sweep),
    "experiment": Reader((*_EXPERIMENTS, *_as_json(_EXPERIMENTS)), _experiment),
    "record": Reader(_files("leaderboards/records/tiny-llama-seen-10s-*.json"), _record),
    "cell": Reader((_CELL,), _cell),
    "run": Reader((_RUN,), _run),
    "baseline": Reader((_smaller_baseline(),), _baseline),
    "settings": Reader(_SETTINGS, _settings),
}
BOMBS: dict[str, tuple[bytes, ...]] = {
    "sweep": (
        _BOMB,
        b"parameters: {a: &a {value: *a}}",
        b"parameters: &a {x: *a}",
        b"x: &a [*a]",
        b"a: &a {k: v}\n"
        + b"".join(b"%c: &%c {<<: [*%c, *%c]}\n" % (k, k, k - 1, k - 1) for k in b"bcdefghijklmnopqrstuvwxyz"),
        b"name: " + b"1:" * 50_000 + b"1",
        b"name: " + b"[" * 20_000,
        b"- " * 20_000,
        json.dumps({"parameters": {f"chameleon.x{n}": {"values": list(range(100))} for n in range(30)}}).encode(),
        b"name: x\nparameters: {methods: {value: instruct}, history: {values: [" + b"0," * 200_000 + b"]}}",
    ),
    "experiment": (_BOMB, b"[]", b"null", b"", b"x: &a [*a]"),
}
