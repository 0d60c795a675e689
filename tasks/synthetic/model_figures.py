"""The figures of the embedded model on held-out users of its world: how often a prompt gives the answer it asks for."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.tasks.synthetic.probe import Probe
from harness.tasks.synthetic.t5_probe import load_probe
from harness.tasks.synthetic.world import (
    PROMPTS,
    TASKS,
    SyntheticQuery,
    SyntheticUser,
    summaries,
    synthetic_user,
    visible_insight,
)

_RESAMPLES = 2000

Interval = tuple[float, float, float]
"""An estimate with the ends of its 95% bootstrap interval over users."""


@dataclass(frozen=True)
class Case:
    """One user with one query whose personal and neutral answers differ."""

    user: SyntheticUser
    query: SyntheticQuery


def cases(task: str, split: str, users: int, history: int, start: int = 0) -> list[Case]:
    """The first `users` users from index `start` on who have such a query; one query each."""
    found: list[Case] = []
    index = start
    while len(found) < users:
        user = synthetic_user(task, split, index, history_size=history, queries=6)
        found += [Case(user, query) for query in user.queries if query.personal != query.neutral][:1]
        index += 1
    return found


def interval(values: np.ndarray, seed: int = 0) -> Interval:
    """The mean and its percentile bootstrap interval; rows are users."""
    draws = np.random.default_rng(seed).integers(len(values), size=(_RESAMPLES, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), (2.5, 97.5))
    return float(values.mean()), float(low), float(high)


def plain_prompts(task: str, rows: list[Case]) -> list[str]:
    """The plain prompt of every case."""
    return [PROMPTS[task].base(case.query.text, case.user.history) for case in rows]


def figures(model_dir: Path, users: int = 300, history: int = 8) -> dict[str, dict[str, Interval]]:
    """Per task: the share of users whose greedy answer is exactly the personal (or neutral) one, by kind of prompt."""
    probe = load_probe(model_dir)
    return {task: _task_figures(probe, task, cases(task, "dev", users, history)) for task in TASKS}


def _task_figures(probe: Probe, task: str, rows: list[Case]) -> dict[str, Interval]:
    prompts = PROMPTS[task]
    asked = [(case.query.text, case.user.history) for case in rows]
    said = probe.answers([prompts.insight("personal", case.user.history) for case in rows])
    noted = [summaries(task, insight)["engagement"] for insight in said]
    sent = {
        "neutral": [prompts.neutral(*ask, case.user.neutral_insight) for ask, case in zip(asked, rows, strict=True)],
        "personal": [prompts.personal(*ask, case.user.insight) for ask, case in zip(asked, rows, strict=True)],
        "personal_own_insight": [prompts.personal(*ask, insight) for ask, insight in zip(asked, said, strict=True)],
        "plain": plain_prompts(task, rows),
        "plain_without_history": [prompts.base(case.query.text, ()) for case in rows],
        "plain_with_note": [prompts.base(*ask, note) for ask, note in zip(asked, noted, strict=True)],
    }
    result: dict[str, Interval] = {}
    personal, neutral = [case.query.personal for case in rows], [case.query.neutral for case in rows]
    shares = {}
    for kind, texts in sent.items():
        answers = probe.answers(texts)
        shares[kind] = np.array([answer == gold for answer, gold in zip(answers, personal, strict=True)], dtype=float)
        other = np.array([answer == gold for answer, gold in zip(answers, neutral, strict=True)], dtype=float)
        result[f"{kind} -> personal"], result[f"{kind} -> neutral"] = interval(shares[kind]), interval(other)
    result["gap closed by plain"] = _gap_closed(shares["plain"], shares["neutral"], shares["personal"])
    result["insight exact"] = interval(
        np.array([text == visible_insight(task, case.user) for text, case in zip(said, rows, strict=True)], dtype=float)
    )
    return result


def _gap_closed(plain: np.ndarray, neutral: np.ndarray, personal: np.ndarray) -> Interval:
    """Where the plain prompt stands between the neutral (0) and the personal one (1), bootstrapped over users."""
    draws = np.random.default_rng(0).integers(len(plain), size=(_RESAMPLES, len(plain)))
    low = neutral[draws].mean(axis=1)
    gaps = (plain[draws].mean(axis=1) - low) / np.maximum(personal[draws].mean(axis=1) - low, 1e-9)
    estimate = (plain.mean() - neutral.mean()) / max(personal.mean() - neutral.mean(), 1e-9)
    return float(estimate), float(np.percentile(gaps, 2.5)), float(np.percentile(gaps, 97.5))
