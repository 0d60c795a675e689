"""Write the measured half of a model's card: `python -m harness.tasks.synthetic.card tasks/synthetic/tiny-llama`."""

import argparse
from pathlib import Path

from harness.tasks.synthetic.control import Control, positive_control
from harness.tasks.synthetic.model_figures import Interval, figures
from harness.tasks.synthetic.world import TASKS

MARKER = "<!-- measured: everything below is written by tasks.synthetic.card -->"


def measured(model_dir: Path, users: int) -> str:
    """The figures and the positive control as Markdown."""
    parts = [
        f"{MARKER}\n\n## Figures\n\n{users} held-out users, 8 history items, greedy, exact match, 95% intervals.\n"
    ]
    found = figures(model_dir, users)
    parts.append(_table("prompt -> answer", {name: [found[task][name] for task in TASKS] for name in found[TASKS[0]]}))
    controls = [positive_control(model_dir, task, users) for task in TASKS]
    parts.append("## Positive control\n")
    parts.append(
        _table(
            "on plain prompts",
            {
                "personal answers, no edit": [control.plain_exact for control in controls],
                "personal answers, edited": [control.edited_exact for control in controls],
                "gain in personal answers": [control.gain_exact for control in controls],
                "gain in log p(personal) - log p(neutral)": [control.gain_log_odds for control in controls],
                "answers, above random directions": [control.over_random_exact for control in controls],
                "log odds, above random directions": [control.over_random_log_odds for control in controls],
                "answers, above random in top subspace": [control.over_subspace_exact for control in controls],
                "log odds, above random in top subspace": [control.over_subspace_log_odds for control in controls],
            },
        )
    )
    parts += [f"- {task}: {_verdict(control)}" for task, control in zip(TASKS, controls, strict=True)]
    return "\n".join(parts) + "\n"


def _table(corner: str, rows: dict[str, list[Interval]]) -> str:
    lines = [f"| {corner} | {' | '.join(TASKS)} |", "|---|" + "---|" * len(TASKS)]
    for name, values in rows.items():
        cells = [f"{value:.2f} [{low:.2f}, {high:.2f}]" for value, low, high in values]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _verdict(control: Control) -> str:
    choice = control.choice
    return (
        f"{'**significant**' if control.significant else 'not significant'}; beats {control.beaten} of {control.drawn} "
        f"random edits in both scores. Chosen on tune users: {choice.kind} direction at {choice.position}, "
        f"{choice.sign}, decoder layers {', '.join(map(str, choice.layers))}."
    )


def main() -> None:
    """Replace what stands below the marker."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--users", type=int, default=300)
    options = parser.parse_args()
    card = options.model_dir / "README.md"
    written = card.read_text(encoding="utf-8").split(MARKER)[0] if card.exists() else ""
    card.write_text(written + measured(options.model_dir, options.users), encoding="utf-8")


if __name__ == "__main__":
    main()
