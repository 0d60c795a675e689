"""How long the paper's grid takes on several GPUs, from the tokens that a small model's comparison took.

python benchmarks/grid_hours.py RUN [RUN ...] --gpus 8

A RUN is the folder of a comparison with the grid's methods and tasks, of a few users and any model: how many tokens a
method reads and writes for a user is a matter of prompts and settings more than of the model. What a GPU does in a
second is assumed: one row per assumption. docs/scaling.md has the formula and what it leaves out.
"""

from __future__ import annotations

import argparse
import heapq
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.reproduction.experiment_spec import ALL, experiments
from harness.results.store import Store
from harness.sweeps.planned_cells import planned_cells
from harness.sweeps.sweep_spec import Point

TRAINED = ("aloe", "dpo")  # a training pass costs three forward passes: one on, two back
LOADING = 40.0  # seconds per cell: 15 GB from a local disk, twice, for the fit and for the evaluation


@dataclass(frozen=True)
class Speed:
    """What one GPU is assumed to do with a model of 7B parameters in bfloat16: tokens per second."""

    name: str
    read: float
    write: float


SPEEDS = (Speed("slow", 4000, 200), Speed("A100", 10_000, 500), Speed("H100", 20_000, 800))


@dataclass(frozen=True)
class Tokens:
    """What a cell takes: in and out, for each query of the evaluation and each user of the fit."""

    query_in: float
    query_out: float
    user_in: float
    user_out: float
    history: int
    supervision: int


def measured(folders: Sequence[Path]) -> dict[tuple[str, str], Tokens]:
    """Tokens by task and method, from the records of comparisons."""
    return {
        (record.spec.task, record.spec.method): Tokens(
            (record.tokens_in - record.fit_tokens_in) / record.queries,
            (record.tokens_out - record.fit_tokens_out) / record.queries,
            record.fit_tokens_in / record.users,
            record.fit_tokens_out / record.users,
            record.spec.history,
            record.spec.supervision,
        )
        for folder in folders
        for record in Store(folder).records()
        if record.status == "complete"
    }


def seconds(cell: Mapping[str, Any], tokens: Mapping[tuple[str, str], Tokens], speed: Speed) -> float:
    """Loading, fit and evaluation of one cell, every evaluated user with one question."""
    method = cell["method"].partition(":")[0]
    found = tokens[cell["task"], method]
    longer = cell["history"] / found.history  # prompts are history for the most part
    read = cell["users"] * longer * found.query_in / speed.read
    evaluation = read + cell["users"] * found.query_out / speed.write
    users = cell["fit_users"] or cell["users"]
    examples = users * cell["supervision"] / found.supervision
    passes = 3 if method in TRAINED else 1
    fit = examples * (passes * longer * found.user_in / speed.read + found.user_out / speed.write)
    return LOADING + min(fit, cell["budget"]) + evaluation


def makespan(durations: Sequence[float], gpus: int) -> float:
    """Seconds until the last cell is done, each taken in turn by the GPU that is free first."""
    free = [0.0] * gpus
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


def new_cells(chosen: Sequence[tuple[str, Sequence[Point]]]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Experiments in their order, each with the cells that none before it has."""
    known: set[str] = set()
    for name, points in chosen:
        own = dict.fromkeys(key for point in points for key, _ in planned_cells(point.spec))
        yield name, [json.loads(key) for key in own if key not in known]
        known |= set(own)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--preset", default="paper-mistral")
    parser.add_argument("--gpus", type=int, default=8)
    given = parser.parse_args()
    tokens = measured(given.runs)
    print("| task | method | in per question | out | in per fitted user | out |\n| --- | --- | --- | --- | --- | --- |")
    for (task, method), found in sorted(tokens.items()):
        numbers = (found.query_in, found.query_out, found.user_in, found.user_out)
        print(f"| {task} | {method} | {' | '.join(f'{number:,.0f}' for number in numbers)} |")
    grid = list(new_cells([(spec.name, spec.points(given.preset, data=".")) for spec in experiments(ALL)]))
    print("\n| experiment | cells | " + " | ".join(f"{speed.name}, {given.gpus} GPUs" for speed in SPEEDS) + " |")
    print("| --- | --- |" + " --- |" * len(SPEEDS))
    for name, cells in grid:
        hours = [makespan([seconds(cell, tokens, speed) for cell in cells], given.gpus) / 3600 for speed in SPEEDS]
        print(f"| {name} | {len(cells)} | {' | '.join(f'{hour:.1f} h' for hour in hours)} |")
    for gpus in (given.gpus, 1):
        hours = [
            sum(makespan([seconds(cell, tokens, speed) for cell in cells], gpus) for _, cells in grid) / 3600
            for speed in SPEEDS
        ]
        print(f"| all, {gpus} GPU | {sum(len(c) for _, c in grid)} | {' | '.join(f'{h:.1f} h' for h in hours)} |")


if __name__ == "__main__":
    main()
