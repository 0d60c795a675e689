"""Fit contexts on tiny random models."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from transformers import Trainer

from harness.conformance.method_checks import SPEC
from harness.conformance.toys import ToyTask, toy_model, toy_users
from harness.model.lm import HuggingFaceModel, load
from harness.running.clock import BudgetClock
from harness.running.context import Context
from harness.running.preparation import Selector
from harness.running.retrieval import HistorySearch

ContextMaker = Callable[..., Context]


@pytest.fixture(scope="session")
def toy_source(tmp_path_factory: pytest.TempPathFactory) -> HuggingFaceModel:
    """Nobody may change this one; take `pristine()`, which copies it in memory, as the engine's cells get theirs."""
    source = toy_model(tmp_path_factory.mktemp("toy"))
    source.keep()
    return source


@pytest.fixture(scope="session")
def t5(model_folder: Callable[[str], Path]) -> HuggingFaceModel:
    """An encoder-decoder; only for those who leave it as it is. Others take `pristine()`."""
    source = load(str(model_folder("t5")))
    source.keep()
    return source


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> list[Trainer]:
    """The trainers that fits build."""
    built: list[Trainer] = []
    original = Trainer.train
    monkeypatch.setattr(Trainer, "train", lambda self, *rest: built.append(self) or original(self, *rest))
    return built


@pytest.fixture
def make_context(toy_source: HuggingFaceModel, tmp_path: Path) -> ContextMaker:
    """Builds a fit context; by default a pristine toy model, six users with two examples each, and an ample budget."""

    def make(**changes: object) -> Context:
        task = changes.setdefault("task", ToyTask())
        users = changes.setdefault("users", toy_users(6, task=task))
        embedder = changes.setdefault("embedder", lambda texts: np.ones((len(texts), 2), dtype=np.float32))
        whole = {user.id: user.history for user in users}
        values = {
            "lm": changes.get("lm") or toy_source.pristine(),
            "regime": "seen",
            "clock": BudgetClock(600.0),
            "seed": 0,
            "scratch": tmp_path,
            "search": HistorySearch(embedder, whole),
            "select": Selector(SPEC, embedder, whole),
        }
        return Context(**{**values, **changes})

    return make
