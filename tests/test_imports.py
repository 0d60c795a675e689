"""Imports point one way: plug-ins know the contracts, the engine knows plug-ins only through the registry."""

import ast
import subprocess
import sys
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
    for path in (ROOT / package).rglob("*.py"):
        for name in imported_modules(path):
            top = name.partition(".")[0]
            assert top not in PLUGINS or top == package, f"{path} imports {name}"
            assert top != "harness" or name == "harness.api", f"{path} imports {name}"


def test_the_engine_imports_no_plugin():
    for path in (ROOT / "harness").rglob("*.py"):
        assert not {name.partition(".")[0] for name in imported_modules(path)} & set(PLUGINS), path


def test_the_contracts_import_nothing_heavy():
    heavy = "{'torch', 'numpy', 'transformers', 'pandas'}"
    code = f"import sys, harness.api, harness.commands.app; print(sorted({heavy} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
