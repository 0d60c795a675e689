"""How long the paper's grid takes on several GPUs, from the tokens of real prompts.

python benchmarks/grid_hours.py --tokenizer MODEL/tokenizer.json --data lamp2=DIR --data lamp3=DIR --data lamp7=DIR

Prompts are the methods' own, of up to 100 users with a full history, counted with the tokenizer; what is generated
counts with the most that the preset allows, so that nothing depends on how much a model says. What a GPU does in a
second is assumed: a column per assumption. docs/scaling.md has the formula and what it leaves out.
"""

from __future__ import annotations

import argparse
import heapq
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from tokenizers import Tokenizer

from harness.api import HistoryItem, Task, TaskData
from harness.registry import make_task
from harness.reproduction.experiment_spec import ALL, experiments
from harness.sweeps.planned_cells import planned_cells
from harness.sweeps.sweep_spec import Point

# A training pass costs three forward passes: one on, two back.
TRAINED = ("aloe", "shuffled_aloe", "dpo", "shuffled_dpo", "oppu", "shuffled_oppu")
HISTORY = 10  # items in the prompts counted
USERS = 100
SAID = 128  # tokens of an insight or a summary, at most
TEMPLATE = 31  # tokens around a prompt
EPOCHS = 2  # of OPPU over a user's history
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
    """What a cell takes, in and out, for each question of the evaluation and each example of the fit."""

    query_in: float
    query_out: float
    fit_in: float
    fit_out: float


def prompt_tokens(task: Task, split: TaskData, tokenizer: Tokenizer) -> dict[str, Tokens]:
    """Tokens by method: prompts as their code makes them, of the first question of each user with a full history."""
    first = {query.user: query for query in reversed(split.queries) if len(split.histories[query.user]) >= HISTORY}
    rows = [_prompts(task, query.text, split.histories[user], tokenizer) for user, query in first.items()][:USERS]
    if not rows:
        raise SystemExit(f"{task.name}: no user with {HISTORY} history items")
    base, insights, summary, neutral, bare = (mean(column) for column in zip(*rows, strict=True))
    items = mean(len(split.histories[user]) for user in list(first)[:USERS])
    out = task.max_new_tokens
    pairs = 2 * (base + SAID) + 2 * (base + SAID + out)  # both agents are asked, and what they said is embedded
    asked, noted = Tokens(base, out, 0, 0), Tokens(base + SAID, out, summary, SAID)
    trained = Tokens(base, out, base + out, 0)
    preferring = Tokens(base, out, neutral + 4 * (base + out), out)  # policy and reference, chosen and rejected
    of_users = Tokens(base, out, (base + out) * (1 + EPOCHS * items), out * items)  # inputs are written where none are
    steered = Tokens(base, out, insights + pairs, 2 * SAID + 2 * out)
    return {
        **dict.fromkeys(("instruct", "rag", "shuffled_prompt", "shuffled_rag"), asked),
        "no_history": Tokens(bare, out, 0, 0),
        **dict.fromkeys(("llm_rec", "pag", "shuffled_llm_rec", "shuffled_pag"), noted),
        **dict.fromkeys(("aloe", "shuffled_aloe"), trained),
        **dict.fromkeys(("dpo", "shuffled_dpo"), preferring),
        **dict.fromkeys(("oppu", "shuffled_oppu"), of_users),
        **dict.fromkeys(("chameleon", "shuffled_history", "random_direction", "mean_difference"), steered),
        **dict.fromkeys(("caa", "random_offset"), Tokens(base, out, neutral + 2 * (base + out), out)),
        **dict.fromkeys(("style_vector", "shuffled_style_vector"), Tokens(base, out, 3 * bare + 2 * out, out)),
        **dict.fromkeys(("constant", "user_majority"), Tokens(0, 0, 0, 0)),
    }


def _prompts(task: Task, question: str, items: Sequence[HistoryItem], tokenizer: Tokenizer) -> tuple[float, ...]:
    prompts, shown = task.prompts, items[:HISTORY]
    texts = (
        prompts.base(question, shown),
        prompts.insight("personal", shown) + prompts.insight("neutral", shown),
        prompts.summary("engagement", shown),
        prompts.neutral(question, shown, prompts.generic_insight),
        prompts.base(question, ()),
    )
    return tuple(TEMPLATE + len(tokenizer.encode(text).ids) for text in texts)


def seconds(cell: Mapping[str, Any], tokens: Mapping[tuple[str, str], Tokens], speed: Speed) -> float:
    """Loading, fit and evaluation of one cell, every evaluated user with one question."""
    method = cell["method"].partition(":")[0]
    found = tokens[cell["task"], method]
    longer = cell["history"] / HISTORY  # prompts are history for the most part
    evaluation = cell["users"] * (longer * found.query_in / speed.read + found.query_out / speed.write)
    examples = (cell["fit_users"] or cell["users"]) * cell["supervision"]
    passes = 3 if method in TRAINED else 1
    fit = examples * (passes * longer * found.fit_in / speed.read + found.fit_out / speed.write)
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


def _read(tokenizer: Tokenizer, named: Sequence[str]) -> Iterator[tuple[tuple[str, str], Tokens]]:
    for name, _, place in (text.partition("=") for text in named):
        folder, _, split = place.partition(":")
        task = make_task(name)
        for method, found in prompt_tokens(task, task.load(folder, split or "dev"), tokenizer).items():
            yield (name, method), found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--data", action="append", required=True, metavar="TASK=DIR[:SPLIT]")
    parser.add_argument("--preset", default="paper-mistral")
    parser.add_argument("--gpus", type=int, default=8)
    given = parser.parse_args()
    tokenizer = Tokenizer.from_file(given.tokenizer)
    tokens = dict(_read(tokenizer, given.data))
    print("| task | method | in per question | out | in per example | out |\n| --- | --- | --- | --- | --- | --- |")
    alike: dict[tuple[str, Tokens], list[str]] = {}
    for (task, method), found in tokens.items():
        alike.setdefault((task, found), []).append(method)
    for (task, found), methods in alike.items():
        numbers = (found.query_in, found.query_out, found.fit_in, found.fit_out)
        print(f"| {task} | {', '.join(methods)} | {' | '.join(f'{number:,.0f}' for number in numbers)} |")
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
