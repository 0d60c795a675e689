"""Bare trl trainers and ours on the same examples: seconds of an optimizer step and peak memory, one thread.

python benchmarks/training_side_by_side.py --model FOLDER --data DIR --steps 2

Each side is a process of its own, so that a peak is that side's. An optimizer step sees two examples: micro-batches
of one in trl, of the right number of tokens in ours. DIR holds LaMP files as they are published.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness.running.clock import BudgetClock

SIDES, KINDS, WIDTH, HISTORY = ("trl", "ours"), ("aloe", "aloe-lora", "dpo"), 2, 8


def _rows(lm: Any, task: Any, data: str, count: int, kind: str) -> list[Any]:
    """The first users' last history item as the question, eight others as the history; LaMP-7's question is its answer.

    DPO's rejected answer is that of the next user.
    """
    from harness.methods.fine_tuning.training_data import Row

    rows: list[Any] = []
    items = [history for history in task.load(data, "dev").histories.values() if len(history) > HISTORY][:count]
    pairs = [task.supervise(history[-1]) for history in items]
    for place, (history, (query, answer)) in enumerate(zip(items, pairs, strict=True)):
        prompt = task.prompts.base(query or answer, history[:HISTORY])
        other = pairs[(place + 1) % count][1]
        answers = {"chosen": answer, "rejected": f"{other} "} if kind == "dpo" else {"completion": answer}
        rows.append(Row(prompt, answers, str(place)))
    return rows


def _method(kind: str) -> Any:
    from harness.methods.aloe import Aloe, AloeConfig
    from harness.methods.dpo import Dpo, DpoConfig

    if kind == "dpo":
        return Dpo(DpoConfig(batch_size=1, accumulation=WIDTH))
    return Aloe(AloeConfig(accumulation=WIDTH, training="lora" if kind == "aloe-lora" else "full"))


def _bare(method: Any, kind: str, context: Any, data: Any) -> Any:
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    from harness.methods.fine_tuning.training_data import joined

    class OnTokenIds(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *rest: Any) -> Any:
            return dataset

    model, settings = context.lm.model, method.config.lora
    arguments = {**method.config.arguments(context), "per_device_train_batch_size": 1}
    arguments["gradient_accumulation_steps"] = WIDTH
    common = {"processing_class": context.lm.tokenizer}
    if kind != "aloe":
        common["peft_config"] = settings.peft(model)
    if kind == "dpo":
        return OnTokenIds(model, args=DPOConfig(**arguments), train_dataset=data, **common)
    data = data.map(joined, remove_columns=data.column_names)
    return SFTTrainer(model, SFTConfig(**arguments, completion_only_loss=True), train_dataset=data, **common)


def one(side: str, kind: str, model: str, task_name: str, data: str, steps: int) -> dict[str, Any]:
    """Train so many steps; the first is left out of the seconds if there are others."""
    from datasets import Dataset
    from transformers import TrainerCallback

    from harness.methods.fine_tuning.schedule import Plan
    from harness.methods.fine_tuning.training_data import record
    from harness.methods.fine_tuning.training_pace import TrainingPace
    from harness.model.lm import load
    from harness.registry import TASKS

    lm, method = load(model), _method(kind)
    rows = _rows(lm, TASKS.get(task_name)(), data, WIDTH * steps, kind)
    records = Dataset.from_list([record(lm, row) for row in rows])
    context = SimpleNamespace(lm=lm, scratch=Path(tempfile.mkdtemp()), seed=0)
    marks: list[float] = []

    class Marks(TrainerCallback):
        def on_step_end(self, *arguments: Any, **more: Any) -> None:
            marks.append(time.monotonic())

    if side == "trl":
        trainer = _bare(method, kind, context, records)
    else:
        lora = {"aloe": (None,), "aloe-lora": (method.config.lora,), "dpo": ()}[kind]
        trainer = method._trainer(context, records, *lora)
        trainer.add_callback(Plan(trainer, TrainingPace(BudgetClock(1e6), 0.0, 0.0, lm.model.device), steps))
    trainer.add_callback(Marks())
    marks.append(time.monotonic())
    trainer.train()
    spans = [after - before for before, after in pairwise(marks)]
    spans = spans[1:] or spans
    return {
        "seconds": sum(spans) / len(spans),
        "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "tokens": sum(len(ids) for row in records for ids in row.values()) / steps,
        "longest": max(len(row["prompt_ids"]) for row in records),
    }


def main() -> None:
    """Every kind on both sides, alternating, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--tasks", default="lamp7,lamp3")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--one", nargs=3, metavar=("SIDE", "KIND", "TASK"), help="only this, as JSON")
    given = parser.parse_args()
    if given.one:
        side, kind, task = given.one
        print("RESULT" + json.dumps(one(side, kind, given.model, task, given.data, given.steps)))
        return
    shared = ["--model", given.model, "--data", given.data, "--steps", str(given.steps)]
    for task in given.tasks.split(","):
        for kind in given.kinds.split(","):
            for side in given.sides.split(","):
                command = [sys.executable, __file__, *shared, "--one", side, kind, task]
                run = subprocess.run(command, capture_output=True, text=True, check=False)
                found = [line for line in run.stdout.splitlines() if line.startswith("RESULT")]
                print(task, kind, side, found[0][6:] if found else run.stderr[-2000:], flush=True)


if __name__ == "__main__":
    main()
