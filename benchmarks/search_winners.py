"""The winners of the search behind the preset `small`, and the table of docs/small-preset.md.

python benchmarks/search_winners.py OUT      # the folder of `harness sweep benchmarks/small-search.yaml --out OUT`

Of a method's settings the one with the highest ROUGE-1 wins. Where a paired permutation test does not tell others from
it (p of 0.05 or more, uncorrected), the one of all these wins under which users' own texts are likeliest.
"""

import argparse
from pathlib import Path

from harness.analysis.comparison import ALPHA, Comparison, Row
from harness.analysis.preference_likelihood import GOLD
from harness.specs.run_spec import BASELINE

METRIC = "rouge1"


def winner(comparison: Comparison) -> Row:
    """The setting to take; of equal ones the earlier."""
    rows = [row for row in comparison.pooled if row.label != BASELINE and row.status != "failed"]
    best = max(rows, key=lambda row: row.metrics[METRIC])
    apart = {
        label
        for test in comparison.comparisons
        if test.metric == METRIC and best.label in (test.a, test.b) and test.p < ALPHA
        for label in (test.a, test.b)
    }
    equals = [row for row in rows if row is best or row.label not in apart]
    return max(equals, key=lambda row: row.likelihood[GOLD].value)


def table(comparisons: list[Comparison]) -> str:
    """A row per setting: ROUGE-1 with its interval, the difference of log p from instruct, what the clock allowed."""
    lines = ["| method | setting | ROUGE-1 | log p against instruct | users reached | seconds |", "| --- " * 6 + "|"]
    for comparison in comparisons:
        taken = winner(comparison)
        for row in comparison.pooled:
            if row.label == BASELINE:
                continue
            low, high = row.interval[METRIC]
            against = row.likelihood[GOLD].vs_instruct
            told = f"{against.difference:+.3f}{' *' * (against.p < ALPHA)}" if against else "–"
            name = f"**`{row.variant}`**" if row is taken else f"`{row.variant}`"
            score = f"{row.metrics[METRIC]:.3f} [{low:.3f}, {high:.3f}]"
            lines.append(f"| {row.method} | {name} | {score} | {told} | {row.users_fitted} | {row.fit_seconds:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    files = sorted(parser.parse_args().out.glob("points/*/comparison.json"), key=lambda path: path.stat().st_mtime)
    print(table([Comparison.model_validate_json(path.read_text(encoding="utf-8")) for path in files]))
