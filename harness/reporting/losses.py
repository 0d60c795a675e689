"""What a run lost before any method could win: history, questions, examples, users. Said before the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from harness.analysis.comparison import Comparison, Row
from harness.formatting import counted, listed, plain
from harness.registry import is_control
from harness.specs.run_spec import BASELINE

T = TypeVar("T")
_SHOWN = 40  # characters of an answer


def losses(comparison: Comparison) -> list[str]:
    """A paragraph per task that lost anything; none otherwise."""
    found = []
    for task in comparison.spec.tasks:
        rows = [row for row in comparison.pooled if row.task == task and row.metrics]
        sentences = [*_data(rows), *_prompts(rows), *_numbers(rows), *_fits(rows)]
        if sentences:
            found.append(plain(f"{task}: {' '.join(sentences)}"))
    return found


def state(row: Row) -> str:
    """The status as tables show it: a fit that came to nothing, or to no numbers, is not plainly complete."""
    found = [(row.serves_nobody, "served no user"), (row.not_finite > 0, "numbers not finite")]
    return ", ".join([row.status.replace("_", " "), *(words for told, words in found if told)])


def _data(rows: Sequence[Row]) -> Iterator[str]:
    for (skipped, found), _ in _alike(rows, lambda row: (row.items_skipped, row.items_found)):
        if skipped:
            yield (
                f"{skipped} of {found} history items in the data could not be used and were skipped "
                "(`harness data check` names each)."
            )


def _prompts(rows: Sequence[Row]) -> Iterator[str]:
    for (count, queries), whom in _alike(rows, lambda row: (row.unanswerable, row.queries)):
        if count:
            yield (
                f"{count} of {queries} questions never reached the model{whom}: they are too long for its context even "
                "without any history, and count as answered with nothing."
            )
    for (cut, emptied, queries), whom in _alike(
        rows, lambda row: (row.prompts_shortened, row.prompts_emptied, row.queries)
    ):
        if cut:
            whole = f"; {emptied} questions were asked without any of it" if emptied else ""
            yield f"The context had no room for the whole history in {cut} of {queries} prompts{whom}{whole}."


def _numbers(rows: Sequence[Row]) -> Iterator[str]:
    for (count, queries), whom in _alike(rows, lambda row: (row.not_finite, row.queries)):
        if count:
            yield (
                f"The model's numbers are not finite (NaN or infinite) for {count} of {queries} questions{whom}, as "
                "after training that diverged: what it answers there is no answer, whatever it scores."
            )


def _fits(rows: Sequence[Row]) -> Iterator[str]:
    for cause, labels in _by_value([row for row in rows if row.serves_nobody], _cause):
        known = all(row.same_as_instruct for row in rows if row.label in labels)
        same = f" and answered exactly as {BASELINE}" if known else ""
        yield f"{listed(labels)} {cause}served no user{same}."
    for row in rows:
        fits = f" on average over {len(row.seeds)} fits" if len(row.seeds) > 1 else ""
        if row.serves_some:
            served = f"{row.users_served} of {row.users} users{fits}"
            yield f"{row.label} served {served}; the others got the plain prompt and model."
        if row.knows_some:
            own = f"{row.users_known} of {row.users_served} users{fits}"
            yield f"{row.label} had something of their own for {own}; the others got what all share."
    told = [row for row in rows if row.sole_answer is not None and not is_control(row.label)]
    for answer, labels in _by_value(told, lambda row: row.sole_answer):
        yield f"{listed(labels)} answered every question with {quoted(answer)}, whoever asked."


def quoted(answer: str | None) -> str:
    """An answer as it can stand in a sentence."""
    if not answer:
        return "nothing"
    return f'"{answer}"' if len(answer) <= _SHOWN else f'"{answer[:_SHOWN]}..."'


def _cause(row: Row) -> str:
    if row.samples_used:
        return ""
    if row.status == "budget_exhausted":
        return "had too little time to learn anything, "
    if row.examples_too_long:
        return f"learned from nothing ({counted(row.examples_too_long, 'example')} too long for the context), "
    if row.identical_outputs:
        return f"learned from nothing ({counted(row.identical_outputs, 'pair')} of equal answers), "
    return "found nothing to learn from, "


def _alike(rows: Sequence[Row], of: Callable[[Row], T]) -> Iterator[tuple[T, str]]:
    """Each value once, and whose it is unless it is everybody's."""
    for value, labels in _by_value(rows, of):
        yield value, "" if len(labels) == len(rows) else f" under {listed(labels)}"


def _by_value(rows: Sequence[Row], of: Callable[[Row], T]) -> list[tuple[T, list[str]]]:
    found: dict[T, list[str]] = {}
    for row in rows:
        found.setdefault(of(row), []).append(row.label)
    return list(found.items())
