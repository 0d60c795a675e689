"""The comparison as people read it: sentences and tables, on the screen and in Markdown, and the files of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from harness.analysis.build_comparison import compare, read_cells
from harness.analysis.comparison import Comparison
from harness.analysis.preference_likelihood import GOLD, OWN
from harness.formatting import markdown, plain, seconds
from harness.registry import make_task
from harness.reporting.anytime_plots import sections, write_anytime
from harness.reporting.comparison_plots import figures, write_plots
from harness.reporting.comparison_tables import Table, tables
from harness.reporting.conclusions import answer_in_words
from harness.reporting.instruments import with_instruments
from harness.results.store import Store
from harness.results.writing import replacing, write_text
from harness.specs.run_spec import BASELINE

if TYPE_CHECKING:
    from rich.console import Console

_LEGEND = (
    "Bold: best. ≈: not told apart from the best. [ ]: 95% interval, bootstrap over users. p: paired permutation test "
    "over users, after Holm over all tests of the run against {baseline}; comparison.json has all other pairs too. "
    "With several seeds of both p is no smaller than that of a test over users and fits; with one it cannot tell how "
    "another fit would come out. ±: the standard error over fits. d: the difference in standard deviations over users. "
    "MDD: the smallest difference that this sample would find with 80% power. Regret rate: users with a worse score "
    "than under {baseline}, and by how much on average. Worst decile: mean score of the worst tenth of the users. "
    "Gain: how much better than {baseline} a user fares. Pareto: no method that fits as fast scores as well by the "
    "first metric, whatever the intervals. One more user: nothing where the fit serves users whom it has never seen, "
    "otherwise what it cost per user fitted. History items are counted before any selection; below their scores stands "
    "the difference from {baseline}. Overrun fits do not rank."
)
_LIKELIHOOD = (
    "Preference likelihood: the mean log p of the users' gold answers per token, the end of the answer included, under "
    "the prompt, edits and weights that answered; of a closed set also how right the label with the highest log p is. "
    "It is no official metric, it ranks nothing, and its tests share a Holm correction of their own. Neutral nats: of "
    "texts that concern no preference, in prompts without history, under the same edits and weights: what falls there "
    "is damage to the model. Its tests are a family apart. Side effects, beside the scores: the change of that, and "
    "the share of questions about these texts that are answered otherwise."
)
_WORDS = (
    "Own words: of free text, F1 of answer and gold answer over the words that the question does not have, which are "
    "the user's choice. Copied: the share of the answer's words that the question has. By itself that is neither good "
    "nor bad, but where a question is to be reworded ROUGE rewards it. Their tests are a family apart, too."
)
_GAP = 2  # columns of the screen between two columns of a table


def build(store: Store) -> Comparison:
    """Compare what is in a run's folder. Raises HarnessError if it is none, or if a task of it is not installed."""
    spec = store.read_run().spec
    metrics = {task: make_task(task).metrics for task in spec.tasks}
    cells, notes = read_cells(store, metrics)
    return compare(spec, cells, metrics, notes)


def print_report(comparison: Comparison, console: Console) -> None:
    """Print the answer in words, then tables and notes."""
    from rich.text import Text

    for sentence in answer_in_words(comparison):
        console.print(Text(sentence), end="\n\n")
    for task in comparison.spec.tasks:
        for table in tables(comparison, task):
            print_table(table, console)
    console.print(Text(legend(comparison), style="dim"))
    for note in comparison.notes:
        console.print(Text(f"Note: {plain(note)}", style="dim"))


def legend(comparison: Comparison) -> str:
    """How to read the tables, diagnoses included; says so if the model is a test instrument."""
    explained = [plain(row.diagnosis.explanation) for row in comparison.rows if row.diagnosis]
    measured = {name for names in comparison.likelihood_higher_is_better.values() for name in names}
    beside = [text for name, text in ((GOLD, _LIKELIHOOD), (OWN, _WORDS)) if name in measured]
    text = " ".join(dict.fromkeys([_LEGEND.format(baseline=BASELINE), *beside, *filter(None, explained)]))
    tested = with_instruments([comparison.spec.model])
    return f"{text} Made {tested}." if tested else text


def to_markdown(comparison: Comparison, more: Mapping[str, Sequence[str]] | None = None) -> str:
    """`comparison.md`: the answer first. Text from outside is escaped. `more` has further paragraphs by task."""
    spec = comparison.spec
    setting = (
        f"Model {spec.model}, data {spec.data} ({spec.split}), budget {seconds(spec.budget)} per fit, "
        f"regime {spec.regime}, preset {spec.preset}, seeds {', '.join(map(str, spec.seeds))}."
    )
    parts = ["# Comparison", "\n".join(f"- {markdown(sentence)}" for sentence in answer_in_words(comparison))]
    parts.append(markdown(setting))
    for task in spec.tasks:
        parts.append(f"## {markdown(task)}")
        parts += [markdown_table(table) for table in tables(comparison, task)]
        parts.append(markdown(legend(comparison)))
        parts += [f"![{caption}](plots/{quote(name)}.png)" for name, (caption, _) in figures(comparison, task).items()]
        parts += (more or {}).get(task, ())
    if comparison.notes:
        parts += ["## Notes", "\n".join(f"- {markdown(note)}" for note in comparison.notes)]
    return "\n\n".join(parts) + "\n"


def write(comparison: Comparison, out: Path) -> list[Path]:
    """Write comparison.{json,csv,md}, users.csv and plots/*.png under `out`, each atomically, and return their paths.

    comparison.json comes last: where it stands, the rest does too.
    """
    out.mkdir(parents=True, exist_ok=True)
    whole, rows, text = (out / f"comparison.{suffix}" for suffix in ("json", "csv", "md"))
    users = out / "users.csv"
    for path, frame in ((rows, comparison.to_pandas()), (users, comparison.users_to_pandas())):
        with replacing(path) as temporary:
            frame.map(lambda cell: plain(cell) if isinstance(cell, str) else cell).to_csv(temporary, index=False)
    plots = [*write_plots(comparison, out / "plots"), *write_anytime(comparison, out)]
    write_text(text, to_markdown(comparison, {task: sections(out, task) for task in comparison.spec.tasks}))
    write_text(whole, comparison.model_dump_json(indent=2))
    return [whole, rows, text, users, *plots]


def markdown_table(table: Table) -> str:
    """The table in Markdown, its title above it, foreign text escaped."""
    lines = [" | ".join(map(markdown, table.columns)), " | ".join("---" for _ in table.columns)]
    for index, row in enumerate(table.rows):
        cells = [markdown(cell) for cell in row]
        bold = [f"**{cell}**" if (index, column) in table.bold else cell for column, cell in enumerate(cells)]
        lines.append(" | ".join(bold))
    return "\n".join([f"**{markdown(table.title)}**", "", *(f"| {line} |" for line in lines)])


def print_table(table: Table, console: Console) -> None:
    """Print a table, in several parts if the screen is too narrow; each part repeats the first column."""
    from rich.box import HORIZONTALS
    from rich.cells import cell_len
    from rich.table import Table as RichTable
    from rich.text import Text

    columns = [column.replace(" ", "\n") for column in table.columns]
    # A name breaks between its settings, which keeps its column narrow.
    rows = [[re.sub("([:,])", "\\1\n", row[0]), *row[1:]] for row in table.rows]
    grid = zip(columns, *rows, strict=True)
    widths = [max(cell_len(line) for cell in column for line in cell.split("\n")) for column in grid]
    title = table.title
    for part in _parts(widths, console.width):
        shown = RichTable(
            title=Text(title), title_justify="left", box=HORIZONTALS, padding=(0, 1, 0, 0), pad_edge=False
        )
        for index in part:
            shown.add_column(Text(columns[index]), justify="right" if index else "left", no_wrap=True, overflow="fold")
        for line, row in enumerate(rows):
            shown.add_row(*(Text(row[index], "bold" if (line, index) in table.bold else "") for index in part))
        console.print(shown)
        title = f"{table.title} (continued)"


def _parts(widths: list[int], available: int) -> list[list[int]]:
    """Columns by part, the first of all in every part."""
    parts = [[0]]
    for index in range(1, len(widths)):
        used = sum(widths[column] + _GAP for column in parts[-1])
        if len(parts[-1]) > 1 and used + widths[index] + _GAP > available:
            parts.append([0])
        parts[-1].append(index)
    return parts
