"""YAML files that people write, read as JSON is: plain values, of a size that cannot stall or fill the machine."""

from __future__ import annotations

from typing import Any, Protocol

import yaml

from harness.api import HarnessError

_MOST_CHARACTERS = 200_000
_MOST_VALUES = 20_000  # with every alias written out
_DEEPEST = 50
_LARGEST = 10**18

_Sizes = dict[int, int]


class _Loader(yaml.SafeLoader):
    """Stops at the first bracket or indent too deep: PyYAML's time grows with the square of the depth."""

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:
        _require_shallow(self.flow_level)
        super().fetch_flow_collection_start(TokenClass)

    def add_indent(self, column: int) -> bool:
        _require_shallow(len(self.indents))
        return bool(super().add_indent(column))


def _require_shallow(levels: int) -> None:
    if levels > _DEEPEST:
        raise ValueError(f"it has more than {_DEEPEST} levels")


class Readable(Protocol):
    """A path, or a file in a package."""

    def read_bytes(self) -> bytes: ...


def read_yaml(path: Readable, what: str) -> dict[str, Any]:
    """The mapping in a YAML file, `what` in messages: text, numbers, booleans, null, lists and mappings of text keys.

    Raises HarnessError naming the file and the fault: no YAML, no mapping, a key twice, a date, text that is no valid
    Unicode, a tag, a number out of range, or more than 200,000 characters, 20,000 values or 50 levels, aliases written
    out.
    """
    try:
        text = path.read_bytes().decode()
        if len(text) > _MOST_CHARACTERS:
            raise ValueError(f"it has more than {_MOST_CHARACTERS} characters")
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if not isinstance(node, yaml.MappingNode):
                raise HarnessError(f"{path} is no {what}: it holds no keys with values.")
            # Before anything is built: merged keys grow as they are built.
            _measure(node, {}, ())
            loaded: dict[str, Any] = loader.construct_document(node)
        finally:
            loader.dispose()
        _require_plain(loaded)
    except (OSError, ValueError, TypeError, OverflowError, yaml.YAMLError) as error:
        raise HarnessError(f"Cannot read the {what} {path}: {error}") from error
    return loaded


def _measure(node: yaml.Node, sizes: _Sizes, above: tuple[int, ...]) -> int:
    """How many values a node has with every alias written out. Raises ValueError for too many, or a circle."""
    if id(node) in above:
        raise ValueError(f"the alias {_where(node)} refers to itself")
    _require_shallow(len(above))
    if id(node) not in sizes:
        path = (*above, id(node))
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            _require_distinct(node)
            inner = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            inner = node.value
        sizes[id(node)] = 1 + sum(_measure(part, sizes, path) for part in inner)
        if sizes[id(node)] > _MOST_VALUES:
            raise ValueError(f"it has more than {_MOST_VALUES} values, aliases written out")
    return sizes[id(node)]


def _require_distinct(node: yaml.MappingNode) -> None:
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
    twice = next((key for key in keys if keys.count(key) > 1), None) if len(set(keys)) < len(keys) else None
    if twice is not None:
        raise ValueError(f"the key {twice!r} occurs twice {_where(node)}")


def _require_plain(value: Any) -> None:
    """Raise ValueError for what JSON cannot hold. Its depth and size are bounded by now."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(f"the key {key!r} is no text; put it in quotes")
            _require_plain(key)
            _require_plain(inner)
    elif isinstance(value, list):
        for inner in value:
            _require_plain(inner)
    elif isinstance(value, str):
        value.encode()
    elif isinstance(value, int | float):
        if not abs(value) < _LARGEST:
            raise ValueError("it has a number that is not finite, or of more than 18 digits")
    elif value is not None:
        raise ValueError(f"{str(value)[:40]!r} is a {type(value).__name__}; put it in quotes")


def _where(node: yaml.Node) -> str:
    return f"in line {node.start_mark.line + 1}"
