"""Where does an edit work? Sites, layers, positions, strengths and directions, by the gold answers' log p and by KL.

python benchmarks/edit_sites.py OUT --model smollm2-135m --data DIR --task lamp7

Give it tuning users only: it takes the first of the split, some for pairs, some to score. Pairs are made once, as
Chameleon makes them. Every setting is scored on one question of each other user by log p of the gold answer per token,
and by the KL of the edited model's next-token distributions from the unedited one's along that answer. Nothing is
generated for it. Negative strengths remove. For edits of `all` positions the model's decoder has to be like Llama's.
"""

import argparse
import csv
import itertools
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import get_args

import matplotlib.pyplot as plt
import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from harness.api import EditPositions, Edits, Query
from harness.methods.chameleon.ccs import CcsConfig, fit_ccs
from harness.methods.chameleon.directions import Grouped, top_direction
from harness.methods.chameleon.insights import Insights, add_insights
from harness.methods.chameleon.preference_pairs import Pairs, generate_pairs, represent_pairs
from harness.model.architectures import site_modules
from harness.model.editing import edited
from harness.model.embedding import load_embedder
from harness.model.forward import inference
from harness.model.lm import HuggingFaceModel, load
from harness.registry import make_task, model_folder
from harness.running.clock import BudgetClock
from harness.running.context import Context, fit_prompt
from harness.running.preparation import Prepared, prepare
from harness.specs.run_spec import RunSpec, parse_methods

SITES = ("mlp", "block")
INSIGHT_TOKENS, BATCH = 64, 8
OFFSET = "mean_difference"  # the one direction that is added, not projected on


@dataclass(frozen=True)
class Questions:
    """B questions, their prompts and gold answers as tokens, and what the unedited model makes of them.

    `mask` [B, P] and `cache` are of the prompts but for their last tokens, padded on the left; `plain` has log p [T, V]
    along each answer, `states` what each layer is given, [B, P + T, d], where edits are to change that of the prompts.
    """

    queries: list[Query]
    prompts: list[list[int]]
    answers: list[list[int]]
    mask: torch.Tensor
    cache: DynamicCache
    plain: list[torch.Tensor]
    states: list[torch.Tensor]


@dataclass(frozen=True)
class Setting:
    """One point of the grid; `direction` is added `strength` times, or its projection is, or that one's tanh."""

    site: str
    layer: int
    positions: str
    direction: str
    strength: float
    bounded: bool


def collect(prepared: Prepared, lm: HuggingFaceModel, embed, users: int) -> dict[str, Pairs]:
    """Pairs of the first `users` in seeded order, represented at each site."""
    chosen = prepared.pool.users(0)[:users]
    insights: dict[str, Insights] = {}
    found: dict[str, list[Pairs]] = {site: [] for site in SITES}
    with tempfile.TemporaryDirectory() as scratch:
        clock = BudgetClock(float("inf"))
        search = None  # nothing here searches histories
        context = Context(
            lm, prepared.task, chosen, "seen", clock, 0, Path(scratch), embed, search, prepared.pool.select
        )
        for batch in context.examples(BATCH):
            add_insights(context, batch, insights, INSIGHT_TOKENS)
            pairs = generate_pairs(context, batch, insights)
            for site in SITES if pairs else ():
                found[site].append(represent_pairs(context, pairs, "full", "last", site))
            print(f"{sum(len(one.users) for one in found['mlp'])} pairs", flush=True)
    return {
        site: Pairs(
            tuple(user for one in parts for user in one.users),
            torch.cat([one.personal for one in parts]),
            torch.cat([one.neutral for one in parts]),
        )
        for site, parts in found.items()
    }


def directions(pairs: Pairs) -> dict[str, torch.Tensor]:
    """Of every layer, [L, d] each."""
    personal, neutral = (side.transpose(0, 1) for side in (pairs.personal, pairs.neutral))
    grouped = Grouped.of(pairs.personal, pairs.neutral, [range(len(pairs.users))])
    random = torch.randn(personal.shape[0], personal.shape[2], generator=torch.Generator().manual_seed(0))
    return {
        "svd_personal": top_direction(personal),
        "svd_neutral": top_direction(neutral),
        "svd_difference": top_direction(personal - neutral),
        "ccs": fit_ccs(grouped.pairs, grouped.mask, CcsConfig(), 0).directions()[1, 0],
        "random": random,
        OFFSET: (personal - neutral).mean(dim=1),
    }


def questions(prepared: Prepared, lm: HuggingFaceModel, skipped: set[str], count: int, states: bool) -> Questions:
    """One question of each of `count` users who gave no pairs; with the `states` of their prompts."""
    first: dict[str, Query] = {}
    for query in prepared.queries:
        if query.user not in skipped:
            first.setdefault(query.user, query)
    base, queries, prompts, answers = prepared.task.prompts.base, [], [], []
    for query in first.values():
        answer, history = lm.answer_ids(prepared.data.golds[query.id]), prepared.histories[query.id]
        prompt = fit_prompt(lm, partial(base, query.text), history, len(answer) + 1)
        if prompt.fits and len(prompts) < count:
            queries.append(query)
            prompts.append(lm.prompt_ids(prompt.text))
            answers.append([*answer, lm.answer_end])
    (ids, mask), cache = _left_padded(lm, [prompt[:-1] for prompt in prompts]), DynamicCache()
    asked = Questions(queries, prompts, answers, mask, cache, [], [])
    begun, mask = _answers_begun(lm, asked)
    width = begun.shape[1]
    with inference(lm.model):
        found = lm.model(
            torch.cat([ids, begun], 1),
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            past_key_values=cache,
            output_hidden_states=states,
            logits_to_keep=width,
        )
    cache.crop(-width)
    asked.plain.extend(_of_answers(found.logits, asked))
    asked.states.extend(found.hidden_states[:-1] if states else ())
    return asked


def log_p(lm: HuggingFaceModel, asked: Questions, edits: Edits) -> list[torch.Tensor]:
    """Log p of each token that could stand in each answer's places, [T, V] of every question."""
    (ids, mask), first = _answers_begun(lm, asked), 0
    width, places = ids.shape[1], (mask.cumsum(1) - 1).clamp(min=0)
    given = {"input_ids": ids, "position_ids": places[:, -width:], "past_key_values": asked.cache, "use_cache": True}
    if edits.positions == "all":  # they change the prompts, too, but nothing below their layers
        first = min(edits.layers)
        given = {"inputs_embeds": asked.states[first], "position_ids": places, "use_cache": False}
        edits = replace(edits, layers=tuple(layer - first for layer in edits.layers))
    with inference(lm.model), _beginning_at(lm.model, first), edited(site_modules(lm.model, edits.site), edits) as rows:
        rows.follow(width - 1)
        logits = lm.model(attention_mask=mask, logits_to_keep=width, **given).logits
    if given["use_cache"]:
        asked.cache.crop(-width)
    return _of_answers(logits, asked)


def _of_answers(logits: torch.Tensor, asked: Questions) -> list[torch.Tensor]:
    """Log p [T, V] along each answer, of the last tokens' `logits`."""
    return [row[: len(answer)].float().log_softmax(-1).cpu() for row, answer in zip(logits, asked.answers, strict=True)]


def _answers_begun(lm: HuggingFaceModel, asked: Questions) -> tuple[torch.Tensor, torch.Tensor]:
    """The last tokens of the prompts and the answers but for theirs, [B, T], and the mask of all tokens, [B, P + T]."""
    begun = [prompt[-1:] + answer[:-1] for prompt, answer in zip(asked.prompts, asked.answers, strict=True)]
    width = max(map(len, begun))
    ids = torch.tensor([row + [lm.answer_end] * (width - len(row)) for row in begun], device=lm.model.device)
    return ids, torch.cat([asked.mask, asked.mask.new_ones(ids.shape)], 1)


@contextmanager
def _beginning_at(model: PreTrainedModel, layer: int) -> Iterator[None]:
    """While open, the model has only the layers from this one on, and reads what that is given as embeddings."""
    decoder = model.get_decoder()
    whole = decoder.layers
    decoder.layers = whole[layer:]
    try:
        yield
    finally:
        decoder.layers = whole


def _left_padded(lm: HuggingFaceModel, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens and mask, [B, P] each."""
    width = max(map(len, rows))
    ids = [[lm.answer_end] * (width - len(row)) + row for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=lm.model.device), torch.tensor(mask, device=lm.model.device)


def edits_of(setting: Setting, found: dict[str, torch.Tensor], rows: int) -> Edits:
    bank = found[setting.direction][setting.layer][None, None]
    where = {"layers": (setting.layer,), "rows": (0,) * rows, "site": setting.site, "positions": setting.positions}
    if setting.direction == OFFSET:
        return Edits(offset=setting.strength * bank, **where)
    return Edits(personal=bank, strength=torch.tensor([[setting.strength]]), bounded=setting.bounded, **where)


def measure(lm: HuggingFaceModel, asked: Questions, edits: Edits) -> dict[str, float]:
    """Means over the questions: the change of the gold's nats per token, its standard error, the KL per token."""
    gains, kls = [], []
    for answer, plain, logs in zip(asked.answers, asked.plain, log_p(lm, asked, edits), strict=True):
        written = range(len(answer)), answer
        gains.append(float((logs[written] - plain[written]).mean()))
        kls.append(float((logs.exp() * (logs - plain)).sum(-1).mean()))
    error = np.std(gains, ddof=1) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
    return {"gain": float(np.mean(gains)), "gain_se": float(error), "kl": float(np.mean(kls)), "questions": len(gains)}


def grid(options: argparse.Namespace, names: list[str]) -> Iterator[Setting]:
    places = options.sites, options.layers, options.positions
    every = itertools.product(*places, names, options.strengths, options.bounded)
    yield from (one for values in every if not ((one := Setting(*values)).bounded and one.direction == OFFSET))


def _name(row: dict) -> str:
    return f"tanh of {row['direction']}" if row["bounded"] else row["direction"]


def draw(rows: list[dict], out: Path) -> None:
    """A heat map of gains for each site and positions, and gain against KL."""
    for site, positions in dict.fromkeys((row["site"], row["positions"]) for row in rows):
        own = [row for row in rows if (row["site"], row["positions"]) == (site, positions)]
        layers = sorted({row["layer"] for row in own})
        columns = list(dict.fromkeys((_name(row), row["strength"]) for row in own))
        image = np.full((len(layers), len(columns)), np.nan)
        for row in own:
            image[layers.index(row["layer"]), columns.index((_name(row), row["strength"]))] = row["gain"]
        figure, axes = plt.subplots(figsize=(2 + 0.4 * len(columns), 3 + 0.25 * len(layers)), layout="constrained")
        size = max(float(np.nanquantile(np.abs(image), 0.9)), 1e-6)  # a few settings break the model
        shown = axes.imshow(image, cmap="RdBu", vmin=-size, vmax=size, aspect="auto")
        axes.set_xticks(range(len(columns)), [f"{name} {strength:+g}" for name, strength in columns], rotation=90)
        axes.set_yticks(range(len(layers)), layers)
        axes.set(ylabel="layer", title=f"{site}, {positions}")
        figure.colorbar(shown, label="change of gold log p\nper token")
        figure.savefig(out / f"{site}-{positions}.png", dpi=120)
        plt.close(figure)
    figure, axes = plt.subplots(layout="constrained")
    colours = {row["direction"]: f"C{place}" for place, row in enumerate({r["direction"]: r for r in rows}.values())}
    for name in dict.fromkeys(map(_name, rows)):
        own = [row for row in rows if _name(row) == name]
        how = {"color": colours[own[0]["direction"]], "marker": "x" if own[0]["bounded"] else "o", "s": 12}
        axes.scatter([max(row["kl"], 1e-7) for row in own], [row["gain"] for row in own], label=name, **how)
    axes.set(xscale="log", xlabel="KL from the unedited model per token", ylabel="change of gold log p per token")
    axes.set_yscale("symlog", linthresh=0.01)
    figure.legend(loc="outside right")
    figure.savefig(out / "gain-by-kl.png", dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="tiny-llama")
    parser.add_argument("--embedder", default="model")
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--task", default="lamp7")
    parser.add_argument("--history", type=int, default=8)
    parser.add_argument("--fit-users", type=int, default=60)
    parser.add_argument("--users", type=int, default=24, help="who are scored")
    parser.add_argument("--sites", choices=SITES, nargs="+", default=SITES)
    parser.add_argument("--layers", type=int, nargs="+", help="all by default")
    parser.add_argument(
        "--positions",
        choices=get_args(EditPositions),
        nargs="+",
        default=["all", "generated"],
        help="all reads whole prompts",
    )
    parser.add_argument("--strengths", type=float, nargs="+", default=[-1.0, 1.0])
    both = {"action": "store_const", "const": [False, True], "default": [False]}
    parser.add_argument("--bounded", **both, help="each projection at its tanh, too")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    lm, task = load(model_folder(options.model)), make_task(options.task)
    options.layers = options.layers or list(range(lm.num_layers))
    embed = load_embedder(options.model if options.embedder == "model" else options.embedder, str(lm.model.device))
    spec = RunSpec(
        methods=parse_methods("chameleon"),
        tasks=(options.task,),
        budget=1,
        model=options.model,
        data=options.data,
        split=options.split,
        users=options.fit_users + options.users,
        history=options.history,
    )
    prepared = prepare(task, spec, lm, embed)
    pairs = collect(prepared, lm, embed, options.fit_users)
    fitted = {user.id for user in prepared.pool.users(0)[: options.fit_users]}
    asked = questions(prepared, lm, fitted, options.users, "all" in options.positions)
    found = {site: directions(pairs[site]) for site in SITES}
    settings = list(grid(options, list(found["mlp"])))
    begun, rows = time.monotonic(), []
    with (options.out / "edit-sites.csv").open("w", newline="") as file:
        for number, setting in enumerate(settings, start=1):
            rows.append(
                {**vars(setting), **measure(lm, asked, edits_of(setting, found[setting.site], len(asked.answers)))}
            )
            if number == 1:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
            writer.writerow(rows[-1])
            file.flush()
            if number in (10, 100) or number % 500 == 0:
                hours = (time.monotonic() - begun) / number * len(settings) / 3600
                print(f"{number} of {len(settings)} settings; {hours:.2f} hours in all", flush=True)
    draw(rows, options.out)


if __name__ == "__main__":
    main()
