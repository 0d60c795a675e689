"""Search the hyperparameters of the preset `tiny`: six settings per method, on users that no comparison evaluates.

python benchmarks/search_tiny.py OUT      # about half an hour on one core; writes docs/tiny-preset.md

The paper's step sizes are made for models a thousand times larger, and 200 samples are a few steps of them: used here,
every trained method would be instruct. All methods get a search of the same size, so that none is tuned harder. The
winner has the best mean rank over the three tasks by each task's first metric, ties going to the earlier setting.
"""

import argparse
from pathlib import Path

import pandas as pd
from rich.console import Console

from harness import compare
from harness.running.progress import Display

TRAINED = [f"learning_rate={rate},num_epochs={epochs}" for rate in (3e-3, 1e-2, 3e-2) for epochs in (1, 3)]
ADDED = [f"layers=[{layer}],strength={strength}" for layer in (1, 2) for strength in (0.5, 1, 2)]
GRID: dict[str, list[str]] = {
    "llm_rec": [
        *(f"strategy={name}" for name in ("engagement", "basic", "recommendation", "both")),
        "strategy=engagement,placement=replace",
        "strategy=both,placement=replace",
    ],
    "aloe": TRAINED,
    "dpo": TRAINED,  # not beta: over so few steps AdamW undoes it, 0.1 and 0.5 gave the same answers
    # Points that the paper leaves open; which directions are edited is the method's own definition.
    "chameleon": [
        f"position={position},num_layers={layers}" for position in ("last", "answer_start") for layers in (1, 2, 3)
    ],
    "rag": [f"by={by},k={k}" for by in ("bm25", "dense", "recency") for k in (4, 8)],
    "pag": [f"by={by},strategy={name}" for by in ("bm25", "null") for name in ("basic", "engagement", "profile")],
    "oppu": TRAINED,
    "caa": ADDED,
    "style_vector": ADDED,
}
PAGE = Path(__file__).parents[1] / "docs" / "tiny-preset.md"


def search(out: Path) -> pd.DataFrame:
    """One row per method and setting: the first metric of each task, and the mean rank among the method's settings."""
    with Display(Console()) as display:
        return pd.concat([_search(method, out / method, display) for method in GRID])


def _search(method: str, out: Path, display: Display) -> pd.DataFrame:
    settings = ",".join(f"{method}:{setting}" for setting in GRID[method])
    comparison = compare(f"instruct,{settings}", budget="20m", split="tune", users=200, out=out, listener=display)
    first = {task: next(iter(metrics.items())) for task, metrics in comparison.higher_is_better.items()}
    scores = pd.DataFrame(
        {"setting": row.label.replace(":", " "), "task": row.task, "score": row.metrics[first[row.task][0]]}
        for row in comparison.rows
    ).pivot(index="setting", columns="task", values="score")
    own = scores.drop(index="instruct")
    ranks = [own[task].rank(ascending=not higher, method="min") for task, (_, higher) in first.items()]
    scores["mean rank"] = sum(ranks) / len(ranks)
    names = {task: f"{task} {metric}" for task, (metric, _) in first.items()}
    return scores.rename(columns=names).reset_index().assign(method=method)


def page(table: pd.DataFrame) -> str:
    """The result as Markdown."""
    lines = ["# How the preset `tiny` got its hyperparameters", "", str(__doc__).split("\n\n", 2)[2].strip(), ""]
    for method, rows in table.groupby("method"):
        ordered = rows.drop(columns="method").sort_values("mean rank", kind="stable")
        lines += [f"## {method}", "", "| " + " | ".join(ordered.columns) + " |", "|" + " --- |" * ordered.shape[1]]
        lines += [
            "| " + " | ".join(value if isinstance(value, str) else f"{value:.3f}" for value in row) + " |"
            for row in ordered.astype(object).fillna("-").itertuples(index=False)
        ]
        lines.append("")
    lines.append("200 users of the split `tune`, 2 queries each, one seed; made with tiny-llama, a test instrument.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the cells; finished ones are not computed again")
    PAGE.write_text(page(search(parser.parse_args().out)), encoding="utf-8")
