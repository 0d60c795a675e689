"""Whole methods at equal strength: what their edits do to the gold answers' log p, by the KL from the unedited model.

harness compare --methods caa,chameleon,random_direction --save-fits --out RUN ...
python -m benchmarks.equal_strength RUN OUT

Each kept fit that edits representations is scaled by every factor and scored on one question of each evaluated user,
as `edit_sites.py` scores a setting: nothing is generated and nothing is fitted. Negative factors turn edits round.
With --draws a fit of random_direction is scored with other random directions in the place of its own, too.
"""

import argparse
import csv
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from benchmarks.edit_sites import Questions, measure, questions
from harness.api import Edits, Personalizer
from harness.model.embedding import load_embedder
from harness.model.lm import load
from harness.registry import make_task, method_class, model_folder
from harness.results.store import Store
from harness.running.preparation import prepare

KLS = (0.003, 0.01, 0.03)


def scaled(edits: Edits, factor: float) -> Edits:
    """The same edits, `factor` times as strong."""
    if edits.offset is not None:
        return replace(edits, offset=factor * edits.offset)
    banks = [bank for bank in (edits.personal, edits.neutral) if bank is not None]
    strength = torch.ones(banks[0].shape[:2]) if edits.strength is None else edits.strength
    return replace(edits, strength=factor * strength)


def drawn_again(edits: Edits, draw: int) -> Edits:
    """Other random directions at the same strength; the fit's own for draw 0."""
    if not draw:
        return edits
    generator = torch.Generator().manual_seed(draw)
    banks = {name: bank for name in ("personal", "neutral") if (bank := getattr(edits, name)) is not None}
    return replace(edits, **{name: torch.randn(bank.shape, generator=generator) for name, bank in banks.items()})


def edits_at(personalizer: Personalizer, asked: Questions) -> Edits | None:
    """Those of the questions; None where the method edits nothing. Raises ValueError if it asks another prompt."""
    found = personalizer.edits(asked.queries)
    if not isinstance(found, Edits):
        return None
    for query in asked.queries:
        if personalizer.prompt(query, ()) != personalizer.bare_prompt(query, ()):
            raise ValueError("this fit asks with a prompt of its own: only edits of the same prompts can be compared")
    return found


def at_kl(rows: Sequence[dict], kl: float) -> float:
    """The gain of one fit where its KL is this, between its positive factors; nan beyond them.

    KL goes with the square of a small edit, so that its root is what is interpolated along.
    """
    own = sorted(((row["kl"] ** 0.5, row["gain"]) for row in rows if row["factor"] > 0), key=lambda pair: pair[0])
    roots, gains = zip((0.0, 0.0), *own, strict=True)
    return float(np.interp(kl**0.5, roots, gains, right=float("nan")))


def fits(rows: Sequence[dict]) -> dict[tuple, list[dict]]:
    """The rows of each (task, method, seed, draw)."""
    found: dict[tuple, list[dict]] = {}
    for row in rows:
        found.setdefault((row["task"], row["method"], row["seed"], row["draw"]), []).append(row)
    return found


def draw(rows: Sequence[dict], out: Path) -> None:
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    labels = list(dict.fromkeys(row["method"] for row in rows))
    for fit, own in fits(rows).items():
        method = fit[1]
        for sign, style in ((1, "-"), (-1, "--")):
            some = sorted((row for row in own if row["factor"] * sign > 0), key=lambda row: row["kl"])
            points = [(row["kl"], row["gain"], row["gain_se"]) for row in some]
            if not points:
                continue
            kls, gains, errors = zip(*points, strict=True)
            colour = f"C{labels.index(method)}"
            label = f"{method}, turned round" if sign < 0 else method
            axes.errorbar(kls, gains, errors, fmt=f"o{style}", ms=4, color=colour, label=label, capsize=2)
    axes.axhline(0, color="grey", lw=0.8)
    axes.set(
        xscale="log", xlabel="KL from the unedited model per token", ylabel="change of gold log p per token (nats)"
    )
    axes.set_yscale("symlog", linthresh=0.02)
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside right")
    figure.savefig(out / "equal-strength.png", dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--users", type=int, help="who are scored, the first of the run's; all by default")
    parser.add_argument("--factors", type=float, nargs="+", default=[-1.0, 0.5, 1.0, 2.0])
    parser.add_argument("--draws", type=int, default=0, help="more random directions, of random_direction")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    store = Store(options.run)
    spec = store.read_run().spec
    lm = load(model_folder(spec.model), spec.device, spec.dtype)
    embed = load_embedder(spec.model if spec.embedder == "model" else spec.embedder, str(lm.model.device))
    rows: list[dict] = []
    for name in spec.tasks:
        task = make_task(name)
        prepared = prepare(task, spec, lm, embed)
        asked = questions(prepared, lm, set(), options.users or len(prepared.queries), states=True)
        for record in store.records():
            fit, cell = store.cell_dir(record.spec) / "fit", record.spec
            if cell.task != name or not fit.is_dir():
                continue
            made = method_class(cell.method)
            found = edits_at(made(made.Config(**cell.config)).load(fit, task), asked)
            draws = range(1 + options.draws if cell.method == "random_direction" else 1)
            for number, factor in itertools.product(draws, options.factors if found else ()):
                which = {"task": name, "method": cell.label, "seed": cell.seed, "draw": number, "factor": factor}
                rows.append({**which, **measure(lm, asked, scaled(drawn_again(found, number), factor))})
                print(rows[-1], flush=True)
    with (options.out / "equal-strength.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for fit, own in fits(rows).items():
        print(*fit, {kl: round(at_kl(own, kl), 4) for kl in KLS})
    draw(rows, options.out)


if __name__ == "__main__":
    main()
