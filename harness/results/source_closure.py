"""The source that decides a cell's numbers: what a module imports, directly or not, each module normalized and hashed.

Imports are read, not run: those inside functions count too, those for type checkers do not. Comments, docstrings and
formatting decide nothing, so they are no part of a hash.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, TypeGuard

ROOMS = ("harness.api", "harness.model", "harness.running")  # what computes: other rooms record, show and command
PLUGINS = ("harness.methods", "harness.tasks")
ENGINE = ("harness.running.cell", "harness.running.preparation", "harness.model.lm", "harness.model.embedding")

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_FILE_NAME = re.compile(r"[\w./ -]+\.\w+")


@dataclass(frozen=True)
class Closure:
    """`modules` maps what was reached to the hash of its source; `libraries` are the first names of other imports."""

    modules: dict[str, str]
    libraries: frozenset[str]

    def without(self, other: Closure) -> Closure:
        """Less the modules that `other` has too."""
        return Closure(
            {name: found for name, found in self.modules.items() if name not in other.modules}, self.libraries
        )


@cache
def engine_closure() -> Closure:
    """The part of the engine that fits, answers and scores."""
    return _walk(ENGINE, ROOMS)


@cache
def plugin_closure(module: str) -> Closure:
    """A plug-in's module, what it reaches in its own package and in ours, and what lies beside an installed library.

    A method of another package that builds on one of ours has ours in its closure.
    """
    return _walk([module], (module.partition(".")[0], *PLUGINS, *ROOMS)).without(engine_closure())


def _walk(roots: Sequence[str], rooms: tuple[str, ...]) -> Closure:
    modules: dict[str, str] = {}
    libraries: set[str] = set()
    waiting = [name for root in roots for name in _with_parents(root, rooms)]
    while waiting:
        name = waiting.pop()
        source = None if name in modules else _read(name)
        if source is None:
            continue
        modules |= {name: source.digest, **source.files}
        for imported in source.imports:
            if _followed(imported, rooms):
                waiting += _with_parents(imported, rooms)
            else:
                libraries.add(imported.partition(".")[0])
    return Closure(dict(sorted(modules.items())), frozenset(libraries - set(sys.stdlib_module_names) - {"harness"}))


def _followed(name: str, rooms: tuple[str, ...]) -> bool:
    """Whether an import is read on: into the rooms given, and into source that no package manager keeps."""
    first = name.partition(".")[0]
    if first == "harness":
        return any(room != first and (name == room or name.startswith(f"{room}.")) for room in rooms)
    return first in rooms or _is_local(first)


@cache
def _is_local(first: str) -> bool:
    spec = None if first in sys.stdlib_module_names else find(first)
    return (
        spec is not None
        and bool(spec.origin)
        and not {"site-packages", "dist-packages"} & {*Path(spec.origin or "").parts}
    )


def _with_parents(name: str, rooms: tuple[str, ...]) -> Iterator[str]:
    """A module and the packages it is in, which are run when it is imported."""
    parts = name.split(".")
    names = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
    return (found for found in names if _followed(found, rooms))


# -------------------------------------------------------------------------------------------------------- one module


@dataclass(frozen=True)
class _Source:
    digest: str
    files: dict[str, str]  # data files beside the module that it names
    imports: tuple[str, ...]


@cache
def _read(name: str) -> _Source | None:
    """A module's source; None where there is no such module, as for a name imported from one."""
    spec = find(name)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return None
    content = Path(spec.origin).read_bytes()
    if not spec.origin.endswith(".py"):
        return _Source(_short(content), {}, ())
    folder, package = Path(spec.origin).parent, name
    if spec.submodule_search_locations is None:
        package = name.rpartition(".")[0]
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # nothing that this Python can run
        return _Source(_short(content), {}, ())
    nodes = list(_run(tree))
    files = {f"{package}/{file.name}": _short(file.read_bytes()) for file in _named_files(nodes, folder)}
    imports = tuple(dict.fromkeys(imported for node in nodes for imported in _imports(node, package)))
    return _Source(_short(_normalized(tree, nodes).encode()), files, imports)


@cache
def find(name: str) -> ModuleSpec | None:
    """Where a module would be imported from. Unlike importlib.util.find_spec, this runs no parent of it."""
    parent, _, _ = name.rpartition(".")
    within = find(parent) if parent else None
    if parent and (within is None or within.submodule_search_locations is None):
        return None
    # Where a package that runs really looks: in a checkout, `harness` has added the folder beside it.
    path = getattr(sys.modules.get(parent), "__path__", within.submodule_search_locations if within else None)
    found = (finder.find_spec(name, path) for finder in sys.meta_path if hasattr(finder, "find_spec"))
    return next((spec for spec in found if spec is not None), None)


def _run(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those that only type checkers see."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        yield node
        waiting += ast.iter_child_nodes(node)


def _imports(node: ast.AST, package: str) -> Iterator[str]:
    """Names that may be modules: for `from a import b`, both a and a.b."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
        base = ".".join(part for part in (above if node.level else "", node.module) if part)
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
        yield from (argument.value for argument in node.args[:1] if _is_text(argument))


def _named_files(nodes: Sequence[ast.AST], folder: Path) -> set[Path]:
    """Files beside a module that a text in it names, such as a file of prompts."""
    texts = {node.value for node in nodes if _is_text(node) and len(node.value) < 200}
    files = {folder / text for text in texts if _FILE_NAME.fullmatch(text) and not text.endswith(".py")}
    return {file for file in files if file.is_file()}


def _is_text(node: ast.AST) -> TypeGuard[Any]:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _normalized(tree: ast.AST, nodes: Sequence[ast.AST]) -> str:
    for node in nodes:
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
