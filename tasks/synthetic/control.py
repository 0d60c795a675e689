"""The positive control: can a projection edit, in Chameleon's own class, make plain answers personal at all?

The edit is x <- x + proj(x) and/or x <- x - proj(x) at the MLP outputs of some decoder layers, with directions built
from gold pairs. Everything about it is chosen on `tune` users and measured once on `dev` users, beside random
directions whose edit moves the activations as far. Only where this works does a null for a method mean something.
"""

from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path

import numpy as np
import torch

from harness.tasks.synthetic.model_figures import Case, Interval, cases, interval, plain_prompts
from harness.tasks.synthetic.probe import Edits, Probe
from harness.tasks.synthetic.t5_probe import load_probe
from harness.tasks.synthetic.world import PROMPTS

_PAIR_USERS, _CHOICE_USERS, _SCREEN_USERS = 300, 100, 24
_SHORTLIST, _RECIPES = 4, 2
_SUBSPACE = 8
KINDS = ("mean_difference", "residual", "lda", "svd")
POSITIONS = ("answer_start", "last")
SIGNS = ("add", "remove", "both")

Directions = dict[tuple[str, str], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Choice:
    """One edit: where, how and with which directions."""

    kind: str
    position: str
    sign: str
    layers: tuple[int, ...]

    def edits(self, directions: Directions) -> Edits:
        """The terms per layer."""
        toward, away = directions[self.kind, self.position]
        add = {layer: [(toward[layer], 1.0)] for layer in self.layers if self.sign != "remove"}
        remove = {layer: [(away[layer], -1.0)] for layer in self.layers if self.sign != "add"}
        return {layer: add.get(layer, []) + remove.get(layer, []) for layer in self.layers}


@dataclass(frozen=True)
class Control:
    """The chosen edit and its paired effects on dev users; `beaten` counts the random edits it beats in both scores."""

    choice: Choice
    plain_exact: Interval
    edited_exact: Interval
    gain_exact: Interval
    gain_log_odds: Interval
    over_random_exact: Interval
    over_random_log_odds: Interval
    over_subspace_exact: Interval
    over_subspace_log_odds: Interval
    beaten: int
    drawn: int

    @property
    def significant(self) -> bool:
        """Every interval lies above zero."""
        gains = (
            self.gain_exact,
            self.gain_log_odds,
            self.over_random_exact,
            self.over_random_log_odds,
            self.over_subspace_exact,
            self.over_subspace_log_odds,
        )
        return all(low > 0 for _, low, _ in gains)


def positive_control(model_dir: Path, task: str, users: int = 300, history: int = 8, draws: int = 5) -> Control:
    """Choose on tune users, measure on dev users."""
    probe = load_probe(model_dir)
    directions = gold_directions(probe, task, cases(task, "tune", _PAIR_USERS, history))
    tune = cases(task, "tune", _CHOICE_USERS, history, start=10 * _PAIR_USERS)
    choice = choose(probe, task, tune, directions)
    return measure(probe, task, cases(task, "dev", users, history), choice.edits(directions), choice, draws)


def gold_directions(probe: Probe, task: str, rows: list[Case]) -> Directions:
    """Per kind and position: [layers, width] unit directions toward personal and toward neutral."""
    prompts = PROMPTS[task]
    personal = [prompts.personal(case.query.text, case.user.history, case.user.insight) for case in rows]
    neutral = [prompts.neutral(case.query.text, case.user.history, case.user.neutral_insight) for case in rows]
    directions: Directions = {}
    for position in POSITIONS:
        states_p = probe.mlp_outputs(personal, [case.query.personal for case in rows], position)
        states_n = probe.mlp_outputs(neutral, [case.query.neutral for case in rows], position)
        for kind in KINDS:
            pairs = [_directions(kind, states_p[:, layer], states_n[:, layer]) for layer in range(probe.layers)]
            toward, away = (torch.stack(side) for side in zip(*pairs, strict=True))
            directions[kind, position] = _unit(toward), _unit(away)
    return directions


def _directions(kind: str, personal: torch.Tensor, neutral: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean_p, mean_n = personal.mean(0), neutral.mean(0)
    if kind == "residual":
        return mean_p - _project(mean_p, mean_n), mean_n - _project(mean_n, mean_p)
    if kind == "svd":
        top = torch.linalg.svd(personal - neutral, full_matrices=False).Vh[0]
        return top, top
    difference = mean_p - mean_n
    if kind == "lda":
        spread = (torch.cov(personal.T) + torch.cov(neutral.T)) / 2
        shrunk = spread + 0.1 * spread.diagonal().mean() * torch.eye(len(spread))
        difference = torch.linalg.solve(shrunk, difference)
    return difference, -difference


def _project(vector: torch.Tensor, onto: torch.Tensor) -> torch.Tensor:
    return (vector @ onto) / (onto @ onto) * onto


def _unit(rows: torch.Tensor) -> torch.Tensor:
    return rows / rows.norm(dim=-1, keepdim=True)


def choose(probe: Probe, task: str, rows: list[Case], directions: Directions) -> Choice:
    """The edit with the most personal answers: single layers are screened, then pairs of layers for the best."""
    singles = [
        Choice(*parts, layers=(layer,)) for parts in product(KINDS, POSITIONS, SIGNS) for layer in range(probe.layers)
    ]
    screened = {
        choice: float(scores(probe, task, rows[:_SCREEN_USERS], choice.edits(directions))[1].mean())
        for choice in singles
    }
    best = sorted(singles, key=screened.__getitem__, reverse=True)
    recipes = dict.fromkeys((choice.kind, choice.position, choice.sign) for choice in best)
    pairs = [
        Choice(*recipe, layers=layers)
        for recipe in list(recipes)[:_RECIPES]
        for layers in combinations(range(probe.layers), 2)
    ]

    def quality(choice: Choice) -> tuple[float, float]:
        exact, log_odds = scores(probe, task, rows, choice.edits(directions))
        return float(exact.mean()), float(log_odds.mean())

    return max([*best[:_SHORTLIST], *pairs], key=quality)


def scores(probe: Probe, task: str, rows: list[Case], edits: Edits | None) -> tuple[np.ndarray, np.ndarray]:
    """Per user, for the plain prompt: greedy answer is the personal one; log p(personal) - log p(neutral)."""
    prompts = plain_prompts(task, rows)
    with probe.edited(edits):
        log_p, exact = probe.score(prompts, [(case.query.personal, case.query.neutral) for case in rows])
    return exact[:, 0], log_p[:, 0] - log_p[:, 1]


def measure(probe: Probe, task: str, rows: list[Case], edits: Edits, choice: Choice, draws: int) -> Control:
    """The effects of the edit, paired with no edit and with the mean of the random edits."""
    plain = scores(probe, task, rows, None)
    edited = scores(probe, task, rows, edits)
    sample = probe.all_mlp_outputs(plain_prompts(task, rows[:30]))
    random = {
        inside: [scores(probe, task, rows, random_edits(edits, sample, seed, inside)) for seed in range(draws)]
        for inside in (False, True)
    }
    over = {
        (inside, which): interval(edited[which] - np.mean([draw[which] for draw in drawn], axis=0))
        for inside, drawn in random.items()
        for which in (0, 1)
    }
    rivals = random[False] + random[True]
    beaten = sum(all(edited[which].mean() > draw[which].mean() for which in (0, 1)) for draw in rivals)
    return Control(
        choice=choice,
        plain_exact=interval(plain[0]),
        edited_exact=interval(edited[0]),
        gain_exact=interval(edited[0] - plain[0]),
        gain_log_odds=interval(edited[1] - plain[1]),
        over_random_exact=over[False, 0],
        over_random_log_odds=over[False, 1],
        over_subspace_exact=over[True, 0],
        over_subspace_log_odds=over[True, 1],
        beaten=beaten,
        drawn=len(rivals),
    )


def random_edits(edits: Edits, sample: list[torch.Tensor], seed: int, inside: bool) -> Edits:
    """Random directions, their strength set so that the mean ||dx|| of each layer's term is the edit's own.

    `inside` draws in the top principal subspace of the activations, where a random edit does most.
    """
    generator = torch.Generator().manual_seed(seed)
    result = {}
    for layer, terms in edits.items():
        states, drawn = sample[layer], []
        for direction, strength in terms:
            if inside:
                basis = torch.linalg.svd(states, full_matrices=False).Vh[:_SUBSPACE]
                other = _unit(torch.randn(_SUBSPACE, generator=generator) @ basis)
            else:
                other = _unit(torch.randn(states.shape[1], generator=generator))
            moved = (states @ direction).abs().mean() / (states @ other).abs().mean()
            drawn.append((other, strength * float(moved)))
        result[layer] = drawn
    return result
