"""`leaderboards/paper.json` holds what the paper prints, under this harness's names."""

import json
from pathlib import Path

import pytest

from harness import leaderboards
from harness.registry import METHODS, TASKS
from harness.specs.resolve import expand_methods

MISTRAL, FLAN_T5 = "mistral-7b-instruct-v0.3", "flan-t5-xxl"
METRICS = {
    **{"Acc.": ("lamp2", "accuracy"), "F-1": ("lamp2", "f1"), "MAE": ("lamp3", "mae"), "RMSE": ("lamp3", "rmse")},
    **{"R-1": ("lamp7", "rouge1"), "R-L": ("lamp7", "rougeL")},
}
# The bodies of the tables, line by line as printed.
TABLE_1 = """
Acc. 0.198 0.262 0.307 0.396 0.238 0.214 0.333 0.420
F-1 0.236 0.309 0.220 0.349 0.171 0.146 0.255 0.311
MAE 0.497 0.484 0.423 0.407 0.456 0.798 0.427 0.400
RMSE 0.944 0.976 0.888 0.815 0.818 1.439 0.786 0.714
R-1 0.354 0.183 0.362 0.381 0.333 0.225 0.376 0.429
R-L 0.295 0.144 0.313 0.334 0.292 0.196 0.331 0.385
"""
TABLE_2 = """
Acc. 0.227 0.363 0.109 0.390
F-1 0.177 0.338 0.040 0.304
MAE 0.522 0.442 0.544 0.413
RMSE 0.906 0.903 1.030 0.839
R-1 0.185 0.377 0.251 0.420
R-L 0.155 0.331 0.206 0.373
"""
TABLE_3 = """
Acc. 0.356 0.346 0.396
F-1 0.276 0.268 0.349
MAE 0.484 0.494 0.407
RMSE 0.900 1.005 0.815
"""
PRINTED = {
    "table1": (TABLE_1, [(m, x) for m in (MISTRAL, FLAN_T5) for x in ("instruct", "llm_rec", "aloe", "chameleon")]),
    "table2": (TABLE_2, [(m, x) for m in (MISTRAL, FLAN_T5) for x in ("aloe", "chameleon")]),
    "table3": (TABLE_3, [(MISTRAL, f"chameleon:edit={edit}") for edit in ("personalized", "neutral", "both")]),
}
PAPER = json.loads((Path(leaderboards.__file__).parent / "paper.json").read_text(encoding="utf-8"))


def entries(experiment):
    return {
        (e["task"], e["metric"], e["model"], f"{e['method']}:{e['variant']}".rstrip(":")): e["value"]
        for e in PAPER["entries"]
        if e["experiment"] == experiment
    }


@pytest.mark.parametrize("experiment", PRINTED)
def test_every_number_is_the_printed_one_and_none_is_missing_or_added(experiment):
    text, columns = PRINTED[experiment]
    printed = {}
    for line in text.split("\n")[1:-1]:
        name, *values = line.split()
        printed |= {(*METRICS[name], *column): float(value) for column, value in zip(columns, values, strict=True)}
    assert entries(experiment) == printed


def test_tasks_metrics_and_methods_are_named_as_the_harness_names_them():
    for entry in PAPER["entries"]:
        assert entry["metric"] in {metric.name for metric in TASKS.get(entry["task"]).metrics}
        (spec,) = expand_methods(f"{entry['method']}:{entry['variant']}".rstrip(":"))
        assert (spec.name in METHODS, spec.variant) == (True, entry["variant"])
        assert entry["regime"] == ("unseen" if entry["experiment"] == "table2" else "seen")


def test_figures_have_words_and_no_numbers():
    assert set(PAPER["trends"]) == {"figure3", "figure4", "figure5"}
    assert {entry["experiment"] for entry in PAPER["entries"]} == {"table1", "table2", "table3"}
    assert PAPER["status"] == "reported"
