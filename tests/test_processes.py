"""No test waits for a process longer than a test may take: what hangs is named by its own line, not by the limit."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMIT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]["timeout"]


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of an attribute in the tests' files, such as `subprocess.run(...)`, and where it stands."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def given(call: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def test_every_process_that_a_test_runs_has_a_timeout() -> None:
    runs = [(place, call) for place, call in calls() if ast.unparse(call.func).startswith("subprocess.")]
    waiting = [(place, call) for place, call in runs if call.func.attr != "Popen"]
    assert len(waiting) >= 9
    assert [place for place, call in waiting if given(call, "timeout") is None] == []


def test_no_wait_is_as_long_as_a_test_may_take() -> None:
    waits = [(place, call) for place, call in calls() if call.func.attr in ("run", "wait", "communicate", "join")]
    limits = {place: given(call, "timeout") or next(iter(call.args), None) for place, call in waits}
    seconds = {place: limit.value for place, limit in limits.items() if isinstance(limit, ast.Constant)}
    numbers = {place: value for place, value in seconds.items() if isinstance(value, int | float)}
    assert len(numbers) >= 15
    assert {place: value for place, value in numbers.items() if value >= LIMIT} == {}
