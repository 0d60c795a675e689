"""The task that the documents show, as it stands there."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.api import MissingError
from harness.conformance.data_check import check_data
from harness.testing import check_task

PAGE = (Path(__file__).parents[2] / "docs" / "own-task.md").read_text(encoding="utf-8")


def tickets() -> Any:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/own-task.md", "exec"), names)
    return names["Tickets"]()


def test_the_example_keeps_what_tasks_promise(tmp_path: Path) -> None:
    folder = tmp_path / "tickets"
    folder.mkdir()
    rows = [
        {"agent": agent, "text": f"Ticket {n} of {agent}", "queue": queue}
        for agent in ("ann", "bob")
        for n, queue in enumerate(("billing", "returns", "delivery"))
    ]
    (folder / "dev.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    task = tickets()
    data = task.load(str(tmp_path), "dev")
    assert check_task(task, data) == []
    assert [(query.user, data.golds[query.id]) for query in data.queries] == [("ann", "delivery"), ("bob", "delivery")]
    assert [item.label for item in data.histories["ann"]] == ["billing", "returns"]


def test_the_example_lacks_data_in_the_way_that_commands_expect(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no such file\. Give the folder"):
        tickets().load("synthetic", "dev")
    (tmp_path / "tickets").mkdir()
    row = {"agent": "ann", "text": "A ticket", "queue": "billing"}
    (tmp_path / "tickets" / "dev.jsonl").write_text("\n".join([json.dumps(row)] * 2), encoding="utf-8")
    [report] = check_data([tickets()], str(tmp_path))
    assert (report.split, report.queries, report.error) == ("dev", 1, "")
