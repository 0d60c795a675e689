"""Imports point one way: plug-ins know the contracts, the engine knows plug-ins only through the registry."""

import ast
import os
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGINS = ("methods", "tasks", "leaderboards")


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where a name comes from"
            yield node.module or ""


@pytest.mark.parametrize("package", PLUGINS)
def test_plugins_import_the_contracts_and_themselves_only(package):
    own = f"harness.{package}"
    for path in (ROOT / package).rglob("*.py"):
        for name in imported_modules(path):
            if name.partition(".")[0] == "harness":
                assert name in ("harness.api", own) or name.startswith(f"{own}."), f"{path} imports {name}"


def test_the_engine_imports_no_plugin():
    for path in (ROOT / "harness").rglob("*.py"):
        found = [name.split(".")[:2] for name in imported_modules(path)]
        assert not [name for name in found if name[0] == "harness" and name[-1] in PLUGINS], path


def test_the_rooms_of_the_engine_import_each_other_one_way() -> None:
    """A folder of `harness/`, or a module beside them, is a room; what only types name does not count."""
    rooms: dict[str, set[str]] = {}
    for path in (ROOT / "harness").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        typing = {id(inner) for node in tree.body if is_for_types(node) for inner in ast.walk(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and id(node) not in typing and str(node.module).startswith("harness."):
                room = path.relative_to(ROOT / "harness").parts[0].removesuffix(".py")
                rooms.setdefault(room, set()).add(str(node.module).split(".")[1])
    rooms = {room: others - {room} for room, others in rooms.items()}
    assert len(tuple(TopologicalSorter(rooms).static_order())) > 10  # raises CycleError, which names the circle


def is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def test_no_package_of_ours_is_imported_by_a_name_that_a_users_project_may_have():
    for package in ("harness", *PLUGINS):
        for path in (ROOT / package).rglob("*.py"):
            assert not {name.partition(".")[0] for name in imported_modules(path)} & set(PLUGINS), path


def test_two_modules_share_a_name_only_where_each_package_has_its_own_of_the_same_thing():
    same_thing = {"__init__", "lamp"}  # the adapters, and the module that `evaluate` wants named as its folder
    names = [path.stem for package in ("harness", *PLUGINS) for path in (ROOT / package).rglob("*.py")]
    assert {name for name in names if names.count(name) > 1} <= same_thing


def test_the_contracts_import_nothing_heavy():
    heavy = "{'torch', 'numpy', 'transformers', 'pandas'}"
    code = f"import sys, harness.api, harness.commands.app; print(sorted({heavy} & set(sys.modules)))"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240
    ).stdout
    assert printed.strip() == "[]"


@pytest.mark.parametrize(("asked", "off"), [(None, True), ("0", False)])
def test_trainers_report_no_fit_to_the_hub_unless_asked_to(asked, off):
    environment = {key: value for key, value in os.environ.items() if "TELEMETRY" not in key and key != "DO_NOT_TRACK"}
    if asked is not None:
        environment["HF_HUB_DISABLE_TELEMETRY"] = asked
    code = "import harness; from huggingface_hub import constants; print(constants.HF_HUB_DISABLE_TELEMETRY)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=240
    )
    assert done.stdout.strip() == str(off)
