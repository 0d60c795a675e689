"""What tells whether a finished cell would come out the same today: files of models and data, versions of libraries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from harness.api import TaskData, home
from harness.results.disk import is_litter

# What a loader reads of a folder: configuration, tokenizer, chat templates, weights; modules of an embedder lie deeper.
_MODEL_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.tiktoken", "*.vocab", "*.bpe")
_DEEPER = ("additional_chat_templates/*.jinja", *(f"[0-9]*_*/{pattern}" for pattern in (*_MODEL_FILES, "*.bin")))
_UNREAD = ("readme", "license", "notice", "consolidated")  # the last are a second copy of weights, in another layout

# Libraries that carry texts and tables but compute no score: another version of these leaves every cell as it is.
_CARRIERS = frozenset(
    {
        "datasets",
        "filelock",
        "pandas",
        "psutil",
        "pyarrow",
        "pydantic",
        "requests",
        "rich",
        "safetensors",
        "typer",
        "yaml",
    }
)
# What does a library's work without being imported by name.
_BENEATH = {"transformers": ("tokenizers",), "trl": ("accelerate",), "sklearn": ("scipy",)}


def digest(parts: Mapping[str, str]) -> str:
    """sha256 over named hashes, 64 hex digits, whatever their order."""
    joined = hashlib.sha256()
    for name, found in sorted(parts.items()):
        joined.update(name.encode() + b"\0" + bytes.fromhex(found))
    return joined.hexdigest()


def model_identity(name_or_path: str | Path) -> tuple[str, dict[str, str]]:
    """(fingerprint, hashes by file) of what a local model or embedder is loaded from; for a hub name, its commit.

    The commit is that of the local cache or, online, the newest; "unknown" where neither can be asked.
    """
    folder = home(name_or_path)
    if not folder.is_dir():
        return f"{name_or_path}@{_hub_commit(str(name_or_path))}", {}
    found = {path for pattern in (*_MODEL_FILES, *_DEEPER) for path in folder.glob(pattern)}
    read = sorted(path for path in found if not path.name.lower().startswith(_UNREAD))
    parts = {path.relative_to(folder).as_posix(): file_hash(path) for path in read}
    return digest(parts), parts


def file_hash(path: Path) -> str:
    """sha256 of a file, 64 hex digits; read once in a process as long as the file stays as it is."""
    state = path.stat()
    return _file_hash(path.resolve(), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _file_hash(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@cache
def _hub_commit(name: str) -> str:
    from huggingface_hub import hf_hub_download

    for repository in (name, f"sentence-transformers/{name}") if "/" not in name else (name,):
        try:
            return Path(hf_hub_download(repository, "config.json")).parent.name
        except (OSError, ValueError):  # offline, no such name: whoever loads it will say so
            continue
    return "unknown"


def data_fingerprint(data: TaskData) -> str:
    """The task's own fingerprint of its source; where it gives none, sha256 over the records."""
    content = (data.histories, data.queries, data.golds)
    return data.fingerprint or hashlib.sha256(repr(content).encode()).hexdigest()


def config_files(config: BaseModel) -> dict[str, str]:
    """Hashes of the files that a method's configuration names as `Path`, by field; a folder counts with all in it."""
    return {name: path_hash(home(path)) for name, path in config_paths(config)}


def config_paths(config: BaseModel) -> Iterator[tuple[str, Path]]:
    """(field, path) of the files and folders that a method's configuration names as `Path`."""
    return _paths("", config)


def _paths(name: str, value: Any) -> Iterator[tuple[str, Path]]:
    if isinstance(value, Path):
        yield name, value
    elif isinstance(value, BaseModel | dict):
        for key, inner in value if isinstance(value, BaseModel) else value.items():
            yield from _paths(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _paths(f"{name}.{number}", inner)


def path_hash(path: Path) -> str:
    """sha256 of a file, or over all files of a folder by name, 64 hex digits; "absent" where there is none."""
    if path.is_file():
        return file_hash(path)
    found = path.rglob("*") if path.is_dir() else ()
    files = sorted(file for file in found if file.is_file() and not is_litter(file))
    return digest({file.relative_to(path).as_posix(): file_hash(file) for file in files}) if files else "absent"


def library_versions(imported: Iterable[str], quantization: str | None = None) -> dict[str, str]:
    """Versions of the libraries that compute, by distribution; `imported` are the first names of imports."""
    names = {*imported, *(["bitsandbytes"] if quantization else [])} - _CARRIERS
    names |= {beneath for name in names for beneath in _BENEATH.get(name, ())}
    found = (_distribution(name) for name in sorted(names))
    return dict(sorted(pair for pair in found if pair is not None))


@cache
def _distribution(name: str) -> tuple[str, str] | None:
    """(distribution, version) behind an import; None for what no distribution installed."""
    for distribution in _candidates(name):
        try:
            return distribution.replace("_", "-"), version(distribution)
        except PackageNotFoundError:
            continue
    return None


def _candidates(name: str) -> Iterator[str]:
    yield name
    yield from packages_distributions().get(name, ())  # slow, so only where the names differ
