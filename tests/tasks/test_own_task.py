"""The task that the documents show, as it stands there."""

import json
import re
from pathlib import Path
from typing import Any

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
