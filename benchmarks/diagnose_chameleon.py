"""What Chameleon's directions rest on: a study with planted and with no signal, and the embedded model on its tasks.

python benchmarks/diagnose_chameleon.py OUT      # about 15 minutes on one core; writes docs/chameleon-diagnostics.md
"""

import argparse
from pathlib import Path

import torch

from harness import compare
from harness.methods.chameleon.ccs import CcsConfig
from harness.methods.chameleon.diagnosis import diagnose
from harness.methods.chameleon.directions import Grouped, find_directions

PAGE = Path(__file__).parents[1] / "docs" / "chameleon-diagnostics.md"
WIDTH, LAYERS = 576, 2
GAP = 2.0  # standard deviations between personal and neutral along the planted coordinate
PAIRS = (100, 1000)
MARK = "<!-- measured -->\n"
Evidence = dict[str, float | str]


def planted(pairs: int, gap: float) -> Grouped:
    """One group of normal noise; in layer 0, P and N are `gap` apart along coordinate 0."""
    generator = torch.Generator().manual_seed(0)
    personal, neutral = torch.randn(2, pairs, LAYERS, WIDTH, generator=generator)
    personal[:, 0, 0] += gap / 2
    neutral[:, 0, 0] -= gap / 2
    return Grouped.of(personal, neutral, [range(pairs)])


def study() -> list[Evidence]:
    """A row for each number of pairs, with and without a signal; `planted_cosine` is |cos| of theta_N and the gap."""
    rows: list[Evidence] = []
    for pairs in PAIRS:
        for gap in (GAP, 0.0):
            grouped, ccs = planted(pairs, gap), CcsConfig()
            found = find_directions(grouped, "hybrid", ccs, seed=0, num_layers=1)
            edited = Grouped(grouped.pairs[:, :, list(found.layers)], grouped.mask)
            diagnosis = diagnose(edited, found, "hybrid", ccs, seed=0, choice="ccs_loss")
            unit = torch.nn.functional.normalize(found.neutral[0, 0], dim=0)
            name = f"{pairs:,} pairs, {'signal in layer 0' if gap else 'noise'}"
            told = "yes" if diagnosis.caution else "no"
            rows.append({"data": name, **diagnosis.values, "planted_cosine": abs(float(unit[0])), "said": told})
            print(rows[-1], flush=True)
    return rows


def embedded(out: Path) -> list[Evidence]:
    """A row for each task of tiny-llama under the preset `tiny`."""
    comparison = compare("instruct,chameleon", budget="20m", out=out)
    return [
        {"data": row.task, **row.diagnosis.values, "said": "yes" if row.diagnosis.caution else "no"}
        for row in comparison.rows
        if row.diagnosis
    ]


def table(rows: list[Evidence]) -> str:
    """The rows in Markdown."""
    lines = [[name.replace("_", " ") for name in rows[0]], ["---"] * len(rows[0])]
    lines += [[_cell(value) for value in row.values()] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value == round(value) else f"{value:.2g}"


def page(before: str, synthetic: list[Evidence], tiny: list[Evidence]) -> str:
    """The page with the tables below its mark replaced."""
    setting = (
        f"Width {WIDTH}, {LAYERS} layers, one to edit; personal and neutral {GAP:g} standard deviations apart along "
        "one coordinate of layer 0, or nowhere.\n`planted cosine` is |cos| of theta_N and that coordinate, `said` "
        "whether the report calls the choice of layers chance."
    )
    parts = [setting, table(synthetic), "tiny-llama under the preset `tiny`, 200 users, seed 0:", table(tiny)]
    return "\n\n".join([before.split(MARK)[0] + MARK.strip(), *parts]) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the cells; finished ones are not computed again")
    args = parser.parse_args()
    torch.set_num_threads(1)
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), study(), embedded(args.out)), encoding="utf-8")
