"""Made-up runs as `harness compare` leaves them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from tests import fabricate


def write_run(
    root: Path,
    qualities: dict[str, float],
    tasks: tuple[str, ...] = ("lamp2", "lamp3"),
    answer: str | None = None,
    **spec: object,
) -> Path:
    """A finished run; `answer` is what every method says to the first query."""
    run_spec = fabricate.run_spec(",".join(qualities), tasks, **spec)
    store = fabricate.store(root, run_spec)
    for task in tasks:
        for (number, (label, quality)), seed in product(enumerate(qualities.items()), run_spec.seeds):
            frame = fabricate.samples(task, quality, seed=number + 100 * seed)
            record = fabricate.record(task, label, frame, seed, fit_seconds=number * 7.0)
            if answer is not None:
                frame.loc[0, ["output", "gold"]] = answer
            record.fit_bytes = 100 * number
            store.write(record, frame)
    comparison = fabricate.compare(store)
    if answer is not None:  # the answer is for show: the scores stay those of the answers before it
        for rows in (comparison.rows, comparison.pooled):
            for row in rows:
                frame = fabricate.samples(row.task, qualities[row.label], seed=list(qualities).index(row.label))
                metrics = fabricate.METRICS[row.task]
                row.metrics = fabricate.score(frame, metrics).values(metrics)
    (root / "comparison.json").write_text(comparison.model_dump_json())
    return root


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Computes each run once: bootstrap and permutations take seconds."""
    made: dict[str, Path] = {}

    def make(**settings: object) -> Path:
        key = repr(sorted(settings.items()))
        if key not in made:
            made[key] = write_run(tmp_path_factory.mktemp("run"), **settings)
        return made[key]

    return make


@pytest.fixture
def run(tmp_path: Path, runs: Callable[..., Path]) -> Callable[..., Path]:
    """Puts a run of instruct, chameleon and a control into the test's folder, or one of other methods."""

    def write(name: str = "run", qualities: dict[str, float] | None = None, **settings: object) -> Path:
        methods = qualities or {"instruct": 0.3, "chameleon": 0.95, "constant": 0.1}
        return Path(shutil.copytree(runs(qualities=methods, **settings), tmp_path / name))

    return write
