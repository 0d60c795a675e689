"""What cells share is made once for a run: weights are read, and histories selected, for the first cell only."""

import pytest

from harness.model import lm
from harness.results.store import Store
from harness.running import preparation
from harness.running.experiment import Experiment
from harness.running.progress import Quiet
from harness.specs.resolve import resolve


@pytest.fixture
def calls(monkeypatch):
    """How often weights were read and histories selected, counted as they are."""
    found = {"load_model": 0, "select": 0}

    def count(module, name):
        original = getattr(module, name)

        def counted(*arguments, **named):
            found[name] += 1
            return original(*arguments, **named)

        monkeypatch.setattr(module, name, counted)

    count(lm, "load_model")
    count(preparation, "select")
    return found


def test_another_cell_reads_no_weights_and_selects_no_history(calls, tmp_path):
    selected = []
    for methods in ("constant", "constant,instruct,user_majority"):
        spec = resolve(methods, "lamp3", budget=60.0, users=2, limit=2)
        records = Experiment(spec, Store(tmp_path / methods), Quiet()).run()
        assert {record.status for record in records} == {"complete"}
        selected.append(calls["select"])
    assert calls["load_model"] == 2
    assert selected[1] == 2 * selected[0] > 0
