"""Experiments as pages, each with its table or figure, a sentence per claim and its costs; and all of them joined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from harness.api import HarnessError
from harness.formatting import listed, markdown, seconds
from harness.registry import model_remark, preset
from harness.reporting.comparison_report import markdown_table
from harness.reporting.instruments import instruments
from harness.reproduction.answer import answer, short_verdicts
from harness.reproduction.experiment_spec import ALL, Common, experiments
from harness.reproduction.glance import glance, how_to_read
from harness.reproduction.paper_layouts import claims_table, costs_table, legend, main_table
from harness.reproduction.reported import Reported
from harness.reproduction.result import Reproduction
from harness.reproduction.verdicts import meaning, qualified, sentence
from harness.specs.resolve import build_method
from harness.specs.run_spec import BASELINE, RunSpec, format_value

RULE = (
    "Supported: every comparison behind the claim is significant its way. Not supported: one is significant the other "
    "way, or shows no difference where, if the paper's were true, fewer than 5% of such samples would show so little. "
    "Undecided: anything else. Tests are paired and clustered by user; Holm runs over "
    "all tests of an experiment, and over all its reported differences, so that a claim that is true as reported is "
    "refuted in about 5% of runs, however many comparisons it has, and in up to 13% where few users score otherwise."
)
_OPENING = (
    "Which method of personalization helps {model}, at what cost, and what does it break? {baseline} is the model as "
    "it is, with which all others are compared; gold log p is the log-probability of the users' own answers, in "
    "nats per token."
)
_CAUTION = (
    "All of it is about this model, these people and these settings. Scores with their intervals, and costs, stand "
    "with each table below; compare only within one, as machines, threads and examples per user differ between them."
)
_COLUMNS = (
    "What each method does stands in the README, under methods and controls; what the columns from gold log p to "
    "copied are, in docs/preference-likelihood.md."
)


def page(result: Reproduction, common: Common, printed: Reported, picture: str, level: int = 1) -> str:
    """One experiment. `picture` is where the page finds its plot; `level` the depth of its heading."""
    parts = [f"{'#' * level} {markdown(result.heading)}", markdown(setting(result))]
    if level == 1:
        parts += map(markdown, instrument(result.models))
    parts += [markdown_table(main_table(result, common.names)), markdown(legend(result))]
    parts.append(f"![{markdown(result.heading)}]({picture})")
    if result.name in printed.trends:
        parts.append(markdown(f"The paper prints no numbers for it. In its words: {printed.trends[result.name]}"))
    parts.append(_bullets([sentence(claim) for claim in result.claims]))
    parts += [_bullets(result.notes)] if result.notes else []
    tests = list({test.model_dump_json(): test for claim in result.claims for test in claim.tests}.values())
    details = [markdown_table(claims_table(tests)), markdown_table(costs_table(result))]
    parts.append("\n\n".join(["<details><summary>All comparisons, and costs</summary>", *details, "</details>"]))
    return "\n\n".join(parts) + "\n"


def joined(results: Sequence[Reproduction], common: Common, printed: Reported, pictures: str, preface: str = "") -> str:
    """All experiments, the answer first. `pictures`: the pattern of their plots' places, over `{name}` and `{slug}`.

    `preface`, in Markdown, is what a reader must know of the data before any number, as no record tells it.
    """
    models = list(dict.fromkeys(model for result in results for model in result.models))
    real = [] if instruments(models) else models
    parts = [f"# The paper's experiments{f' on {markdown(listed(real))}' if real else ', reproduced'}"]
    if real:
        remarks = " ".join(filter(None, map(model_remark, real)))
        opening = _OPENING.format(model=listed(real), baseline=BASELINE)
        parts += [markdown(" ".join(filter(None, [opening, remarks]))), *filter(None, [preface.strip()])]
        parts += [*_answers(results, common.names), "## The paper's claims", _bullets(short_verdicts(results))]
        parts += [markdown(_CAUTION)]
    parts.append(markdown(f"The paper: {printed.source}"))
    parts += map(markdown, instrument(models))
    if lacking := _lacking(results):
        parts.append(markdown(f"Not made here: {listed(lacking)}."))
    parts += [_overview(results), markdown(RULE), _made(results)]
    parts += [
        page(result, common, printed, pictures.format(name=result.name, slug=result.slug), level=2).rstrip()
        for result in results
    ]
    parts += ["## Known deviations from the paper", _bullets(common.deviations)]
    return "\n\n".join(parts) + "\n"


def _answers(results: Sequence[Reproduction], names: Mapping[str, str]) -> list[str]:
    """What a reader chooses by, for each choice of tasks: in words, and each method of the first table at a glance."""
    by_tasks: dict[tuple[str, ...], list[Reproduction]] = {}
    for result in results:
        by_tasks.setdefault(result.tasks if result.scope else (), []).append(result)
    parts: list[str] = []
    for own in sorted(by_tasks.values(), key=_evaluated, reverse=True):
        if lines := answer(own, names):
            columns = [] if parts else [markdown(f"{how_to_read(results)} {_COLUMNS}")]
            first = next(result for result in own if result.tests)
            parts += [f"## {markdown(first.scope or 'All tasks')}"] if len(by_tasks) > 1 else []
            model = next(iter(first.models))
            tasks = dict.fromkeys(row.task for row in first.rows if row.model == model)
            parts += [_bullets(lines), *columns, *(markdown_table(glance(first, task, names)) for task in tasks)]
    return parts


def _evaluated(results: Sequence[Reproduction]) -> tuple[int, int]:
    """How many users the first table has, all tables having been made with the same tasks, and the largest."""
    users = [max((row.users for row in result.rows), default=0) for result in results]
    first = next((number for number, result in enumerate(results) if result.tests), 0)
    return users[first], max(users)


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {markdown(line)}" for line in lines)


def instrument(models: Iterable[str]) -> list[str]:
    """What a reader must know of test instruments among the models before any number."""
    tested = instruments(models)
    if not tested:
        return []
    return [
        f"Measured numbers are those of {listed(tested)}, a small test instrument on a synthetic world. They show "
        "whether the experiments run and what the methods do as built; they are no evidence about real language "
        "models, for or against the paper. Reported numbers are of other models and other data: read the order of the "
        "methods, never the gap between measured and reported."
    ]


def setting(result: Reproduction) -> str:
    """Where it stands in the paper, with what it was made here, and how that is scaled."""
    asked = result.settings
    seeds = f"seed{'s' * (len(asked['seeds']) > 1)} {', '.join(map(str, asked['seeds']))}"
    users = f"{asked['users']} users" if asked["users"] else "all users"
    text = (
        f"{result.source}. Preset {result.preset}, {listed(list(result.models))}, data {asked['data']} "
        f"({asked['split']}), regime {asked['regime']}, {users} at most, {seeds}, on {result.machine}. "
    )
    without = "".join(f" {task} is left out: {why}." for task, why in result.left_out.items())
    budget = f" As asked, {seconds(asked['budget'])} per fit instead." if "budget" in result.departures else ""
    alone = f" Made on {result.scope} alone." if result.scope else ""
    return f"{text}{result.note}{budget}{alone}{_earlier(result)}{without}".rstrip()


def _earlier(result: Reproduction) -> str:
    """In what the preset sets methods otherwise today."""
    try:
        spec = RunSpec.model_validate(result.settings)
        now = {method.label: build_method(method, spec).config.model_dump(mode="json") for method in spec.methods}
    except (HarnessError, ValidationError):
        return " It cannot be made with these settings today."
    changed = [
        f"{label}.{name} {format_value(value)}, now {format_value(today[name])}"
        for label, today in now.items()
        for name, value in result.configs.get(label, {}).items()
        if name in today and today[name] != value
    ]
    return f" Made with earlier settings of the preset: {'; '.join(changed)}." if changed else ""


def _overview(results: Sequence[Reproduction]) -> str:
    lines = ["| experiment | model | claim | tested as | verdict |", "| --- | --- | --- | --- | --- |"]
    for result in results:
        for claim in result.claims:
            cells = (result.heading, claim.model, claim.quote, meaning(claim), qualified(claim.verdict, claim))
            lines.append(f"| {' | '.join(map(markdown, cells))} |")
    return "\n".join(lines)


def _made(results: Sequence[Reproduction]) -> str:
    cells = {digest: spent for result in results for digest, spent in result.cells.items()}
    machines = {result.machine for result in results}
    commits = {commit for result in results if (commit := _commit(result.provenance.get("git", {})))}
    where = f"on {listed(sorted(machines))}" + (f", commit {listed(sorted(commits))}" if commits else "")
    took = f"Fitting and answering took {seconds(sum(cells.values()))} over {len(cells)} cells."
    commands = [f"`{command.replace('`', '')}`" for command in _commands(results)]  # nothing ends the code early
    return f"Made by {listed(commands)} {markdown(where)}. {took}"


def _lacking(results: Sequence[Reproduction]) -> list[str]:
    """Titles of the experiments without a result."""
    return [spec.title for spec in experiments(ALL) if spec.name not in {result.name for result in results}]


def _commands(results: Sequence[Reproduction]) -> list[str]:
    """The calls that make these results; `all` where one made every experiment."""
    found: dict[tuple[tuple[str, ...], str], list[Reproduction]] = {}
    for result in results:
        found.setdefault((tuple(result.models), _options(result)), []).append(result)
    commands = []
    for (models, options), own in found.items():
        names = [result.name for result in own] if _lacking(own) else [ALL]
        usual = str(preset(own[0].preset)["model"])
        columns = "" if models == (usual,) else f" --models {','.join(models)}"
        commands += [f"harness reproduce {name} --preset {own[0].preset}{options}{columns}" for name in names]
    return sorted(commands)


def _options(result: Reproduction) -> str:
    data = "" if result.settings["data"] == "synthetic" else " --data DIR"
    given = dict(result.departures)
    settings = "".join(f" --set {setting}" for setting in given.pop("set", ()))
    return data + "".join(f" --{key} {_option(value)}" for key, value in given.items()) + settings


def _option(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else f"{value:g}"


def _commit(git: Mapping[str, Any]) -> str:
    return f"{str(git['commit'])[:12]}{' with local changes' if git.get('dirty') else ''}" if git.get("commit") else ""
