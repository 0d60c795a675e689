"""One query as every method saw and answered it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.api import HarnessError, printable
from harness.formatting import DASH, plain, rounded
from harness.results.store import Store

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

_KNOWN = ("user_id", "query_id", "prompt_sha256", "prompt", "output", "prediction", "gold", "parsed", "history_items")


@dataclass(frozen=True)
class Answer:
    """What one cell did with a query; `prompt` is empty where the samples hold none, `scores` are the sample's own."""

    task: str
    method: str  # with its variant
    seed: int
    user: str
    prompt: str
    output: str
    prediction: str
    gold: str
    parsed: bool
    scores: dict[str, float] = field(default_factory=dict)
    likely_label: str = ""  # of a closed set, where it was measured


def inspect_query(store: Store, query: str) -> list[Answer]:
    """Every cell's answer to the query of that id, by task, method and seed; several tasks may use the same id.

    Warns of cells that have no samples, or none that can be read. Raises HarnessError if no cell answered the query,
    naming ids that look alike.
    """
    import difflib

    store.read_run()
    answers: list[Answer] = []
    known: set[str] = set()
    for record in store.records():
        try:
            samples = store.samples(record.spec)
        except HarnessError as error:
            why = error if record.answered else f"It is {record.status} ({record.reason})."
            warnings.warn(plain(f"Left out: {record.spec.in_words}. {why}"), stacklevel=2)
            continue
        ids = [str(found) for found in samples["query_id"]]
        known.update(ids)
        # Arrow, which would compare the column, takes no text that is no valid Unicode, as a shell may hand it over.
        for _, row in samples[[found == query for found in ids]].iterrows():
            answers.append(_answer(record.spec.task, record.spec.label, record.spec.seed, row))
    if not answers:
        near = difflib.get_close_matches(query, sorted(known), n=3, cutoff=0.5) or sorted(known)[:3]
        hint = f" Did you mean {plain(' or '.join(near))}?" if near else " The folder holds no samples."
        raise HarnessError(f"No query '{plain(query)}' in {store.root}.{hint}")
    return sorted(answers, key=lambda answer: (answer.task, answer.method, answer.seed))


def print_inspection(answers: list[Answer], console: Console) -> None:
    """Print, for each task, the gold answer, tables of what each method answered and scored, and every distinct prompt.

    Scores come in several parts where the screen is too narrow for all.
    """
    for task in dict.fromkeys(answer.task for answer in answers):
        _print_task([answer for answer in answers if answer.task == task], console)


def _answer(task: str, method: str, seed: int, row: pd.Series[Any]) -> Answer:
    scores = {str(name): float(x) for name, x in row.items() if name not in _KNOWN and isinstance(x, (int, float))}
    texts = {name: str(row.get(name, "")) for name in ("prompt", "output", "prediction", "gold")}
    label = row.get("likely_label")
    texts["likely_label"] = label if isinstance(label, str) else ""
    return Answer(task, method, seed, str(row["user_id"]), parsed=bool(row["parsed"]), scores=scores, **texts)


def _print_task(answers: list[Answer], console: Console) -> None:
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    first = answers[0]
    console.print(Text(_visible(f"{first.task}, user {plain(first.user)}, gold answer: {first.gold}"), style="bold"))
    prompts = list(dict.fromkeys(answer.prompt for answer in answers if answer.prompt))
    labels = ["likely label"] if any(answer.likely_label for answer in answers) else []
    table = Table()
    for head in ("method", "seed", "prompt", "output", "prediction", "parsed", *labels):
        table.add_column(head, no_wrap=head in ("seed", "prompt", "parsed"), overflow="fold")
    for answer in answers:
        number = str(prompts.index(answer.prompt) + 1) if answer.prompt else DASH
        cells = [answer.method, str(answer.seed), number, answer.output, answer.prediction]
        cells += ["yes" if answer.parsed else "no", *([answer.likely_label or DASH] if labels else [])]
        table.add_row(*(Text(_visible(cell)) for cell in cells))
    console.print(table)
    _print_scores(answers, console)
    for index, prompt in enumerate(prompts, start=1):
        users = [_cell(answer) for answer in answers if answer.prompt == prompt]
        console.print(
            Panel(Text(_visible(prompt)), title=Text(plain(f"Prompt {index}: {', '.join(users)}")), title_align="left")
        )


def _print_scores(answers: list[Answer], console: Console) -> None:
    from harness.reporting.comparison_report import print_table
    from harness.reporting.comparison_tables import Table

    names = list(dict.fromkeys(name for answer in answers for name in answer.scores))
    if names:
        rows = [[plain(_cell(a)), *(rounded(a.scores.get(name), 3) for name in names)] for a in answers]
        print_table(Table("scores", ["method", *map(plain, names)], rows, set()), console)


def _cell(answer: Answer) -> str:
    return f"{answer.method} (seed {answer.seed})"


def _visible(text: str) -> str:
    """What a model wrote, in the lines in which it wrote it."""
    return printable(text, keep="\n")
