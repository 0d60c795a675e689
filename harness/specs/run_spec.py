"""What was asked: the specification of a run and of each of its cells, with a stable hash."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticSerializationError, to_json

from harness.api import HarnessError, Regime, printable

SCHEMA_VERSION = 1
MOST_SEED = 2**32  # NumPy takes no more
FIT_ALONE: dict[str, Any] = {  # fields of a cell that matter to its fit only
    "budget": 0.0,
    "seed": 0,
    "supervision": 0,
    "fit_users": None,
    "fit_data_fingerprint": "",
    "marks": (),
}
BASELINE = "instruct"  # the method without any personalization, against which the others are judged
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MethodSpec(_Frozen):
    """A method and the settings that name its variant: `chameleon:edit=personalized`."""

    name: str
    settings: dict[str, Any] = Field(default_factory=dict)

    @property
    def variant(self) -> str:
        """The settings as text, sorted; empty for the method as the preset has it."""
        return ",".join(f"{key}={_typed(value)}" for key, value in sorted(self.settings.items()))

    @property
    def label(self) -> str:
        """How tables and messages name it: `chameleon:edit=personalized`."""
        return join_label(self.name, self.variant)


class RunSpec(_Frozen):
    """One comparison. `budget` is in seconds and caps the fit of every cell; None for `users`, `limit` means all."""

    methods: tuple[MethodSpec, ...]
    tasks: tuple[str, ...]
    budget: float = Field(gt=0, allow_inf_nan=False)
    preset: str = "tiny"
    model: str
    data: str = "synthetic"
    split: str = "dev"
    users: int | None = Field(default=200, gt=0)
    limit: int | None = Field(default=None, gt=0)
    regime: Regime = "seen"
    eval_history: Literal["own", "none"] = "own"
    group_size: int | None = Field(default=None, gt=0)
    history: int = Field(default=10, ge=0)
    selection: Literal["pca", "random", "recency", "bm25", "dense"] = "pca"
    fit_users: int = Field(default=100, gt=0)
    supervision: int = Field(default=1, gt=0)
    keep_leaks: bool = False
    seeds: tuple[Annotated[int, Field(ge=0, lt=MOST_SEED)], ...] = (0,)
    marks: tuple[float, ...] = ()  # shares of the budget at which checkpoints of a fit are evaluated as well
    likelihood: bool = True  # measure the gold answers' likelihood as well
    overrides: dict[str, dict[str, Any]] = Field(default_factory=dict)
    embedder: str = "model"
    device: str = "auto"
    dtype: str = "auto"
    quantization: Literal["nf4"] | None = None
    batch_size: int = Field(default=32, gt=0)

    @field_validator("model", "embedder", "data", mode="before")
    @classmethod
    def _home(cls, value: Any) -> Any:
        # Kept as text: the data of a plug-in may be an address, with // in it.
        return os.path.expanduser(value) if isinstance(value, str | os.PathLike) else value

    @field_validator("marks")
    @classmethod
    def _rising_shares(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if list(values) != sorted(set(values)) or not all(0 < value < 1 for value in values):
            raise ValueError("marks are rising shares of the budget between 0 and 1, as in 0.25,0.5,0.75")
        return values

    @field_validator("methods")
    @classmethod
    def _methods_as_json(cls, values: tuple[MethodSpec, ...]) -> tuple[MethodSpec, ...]:
        return tuple(value.model_copy(update={"settings": as_json(value.settings)}) for value in values)

    @field_validator("methods", "tasks", "seeds")
    @classmethod
    def _some_and_distinct(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if not values:
            raise ValueError("name at least one")
        names = [value.label if isinstance(value, MethodSpec) else str(value) for value in values]
        if repeated := [name for name, count in Counter(names).items() if count > 1]:
            raise ValueError(f"named twice: {', '.join(map(printable, repeated))}")
        return values

    @field_validator("overrides")
    @classmethod
    def _overrides_as_json(cls, values: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return dict(as_json(values))

    @model_validator(mode="after")
    def _can_be_written(self) -> RunSpec:
        as_json(self)
        return self

    @property
    def size(self) -> int:
        """How many cells it has."""
        return len(self.tasks) * len(self.methods) * len(self.seeds)


class CellSpec(_Frozen):
    """Everything a cell's numbers depend on. Equal hashes mean that one record serves both.

    What cannot matter is None: `fit_users` under `seen`, `batch_size` where answers do not depend on it.
    """

    task: str
    task_version: str
    data_fingerprint: str
    split: str
    method: str
    variant: str
    config: dict[str, Any]
    method_source: str
    model: str
    model_fingerprint: str
    dtype: str
    quantization: Literal["nf4"] | None
    seed: int
    budget: float
    users: int | None
    limit: int | None
    regime: Regime
    eval_history: Literal["own", "none"]
    history: int
    selection: str
    fit_users: int | None
    supervision: int
    keep_leaks: bool
    embedder: str
    marks: tuple[float, ...] = ()
    likelihood: bool = False  # earlier records have none
    batch_size: int | None = None
    task_source: str = ""
    engine_source: str = ""
    embedder_fingerprint: str = ""
    fit_data_fingerprint: str = ""  # of the split fitted on, where it is another than the evaluated one
    config_files: dict[str, str] = Field(default_factory=dict)  # hashes of the files that `config` names
    libraries: dict[str, str] = Field(default_factory=dict)  # versions of those that compute

    @field_validator("config")
    @classmethod
    def _config_as_json(cls, value: dict[str, Any]) -> dict[str, Any]:
        return dict(as_json(value))

    @property
    def digest(self) -> str:
        """sha256 over the canonical JSON, 64 hex digits. What has its default is left out, so older records keep it."""
        fields = self.model_dump(mode="json", exclude_defaults=True)
        text = json.dumps(fields, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def of_answers(self) -> CellSpec:
        """The cell without what matters to its fit alone: what answers depend on beside what the fit has saved."""
        return self.model_copy(update=FIT_ALONE)

    @property
    def label(self) -> str:
        """How tables and messages name the cell's method."""
        return join_label(self.method, self.variant)

    @property
    def in_words(self) -> str:
        """How sentences name the cell: `chameleon:edit=personalized on lamp2, seed 0`."""
        return f"{self.label} on {self.task}, seed {self.seed}"


def as_json(value: Any) -> Any:
    """The value as it reads back from JSON, which has no inf and nan: they become texts that pydantic reads as numbers.

    Raises ValueError for what no file can hold, such as bytes that are no UTF-8 and that a shell hands over as text.
    """
    try:
        return json.loads(to_json(value, inf_nan_mode="strings"))
    except PydanticSerializationError as error:
        raise ValueError("a setting holds text that is no valid Unicode, or a value that JSON has not") from error


def join_label(method: str, variant: str) -> str:
    """`chameleon:edit=personalized`; the method's name alone for no variant."""
    return f"{method}:{variant}" if variant else method


def parse_budget(text: str) -> float:
    """Seconds from "90", "90s", "20m", "1.5h" or "1h30m". Raises HarnessError for anything else."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        raise HarnessError(f"Cannot read the budget '{text}'. Write seconds, or a number with a unit: 90s, 20m, 1h30m.")
    if len(parts) > 1 and any(not unit for _, unit in parts):
        raise HarnessError(f"Cannot read the budget '{text}': each number needs its unit, as in 1h30m.")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds == float("inf"):
        raise HarnessError("The budget has no end. Write seconds, or a number with a unit: 90s, 20m, 1h30m.")
    if seconds <= 0:
        raise HarnessError(f"The budget '{text}' leaves no time. Give at least one second, e.g. --budget 60s.")
    return seconds


def parse_seeds(value: Any) -> tuple[int, ...]:
    """Seeds from "0,1,2", one number or several. Raises HarnessError for anything else, 1.5 and -1 included."""
    several = isinstance(value, Iterable) and not isinstance(value, str | Mapping)
    given = value if several else str(value).split(",")
    try:
        seeds = tuple(int(str(seed)) for seed in given)
    except ValueError:
        seeds = (-1,)
    if not all(0 <= seed < MOST_SEED for seed in seeds):
        raise HarnessError(
            f"Cannot read the seeds {str(value)[:80]!r}. Write whole numbers from 0 to 2^32 - 1 separated by commas: "
            "0,1,2."
        )
    return seeds


def join_names(key: str, names: object) -> str:
    """One text, as `--methods` and `--tasks` take it, from such a text or a list of names; `key` is what messages say.

    Raises HarnessError for anything else.
    """
    listed = names if isinstance(names, list | tuple) else [names]
    if not all(isinstance(name, str) for name in listed):
        raise HarnessError(f"`{key}` takes names; this is {str(names)[:80]}.")
    return ",".join(map(str, listed))


def parse_value(text: str) -> Any:
    """A setting's value: JSON where it reads as JSON (4, 0.5, true, null, [1,2]), else the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, or thousands of brackets
        return text


def format_value(value: Any) -> str:
    """How a setting's value is shown: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _typed(value: Any) -> str:
    """The inverse of `parse_value` within a list of methods: a text that would be read as something else is quoted."""
    shown = format_value(value)
    misread = shown != shown.strip() or set(shown) & set('[]{},"') or parse_value(shown) != value
    return json.dumps(value) if isinstance(value, str) and misread else shown


def parse_methods(text: str) -> tuple[MethodSpec, ...]:
    """`a,b:key=value,other=[1,2],c` -> specs; a `key=value` after a comma continues the method before it."""
    specs: list[MethodSpec] = []
    for token in map(str.strip, _parts(text)):
        name, colon, setting = token.partition(":")
        if not token:
            raise HarnessError(f"Empty method name in --methods '{text}'.")
        if "=" in name:
            if not specs:
                raise HarnessError(f"The setting '{token}' in --methods '{text}' follows no method.")
            specs[-1].settings.update([parse_setting(token)])
        else:
            specs.append(MethodSpec(name=name, settings=dict([parse_setting(setting)] if colon else [])))
    return tuple(specs)


def _parts(text: str) -> Iterator[str]:
    """What stands between the commas outside of JSON's brackets and texts."""
    start = depth = 0
    for found in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[\]{},]', text):
        depth += (found[0] in "[{") - (found[0] in "]}")
        if found[0] == "," and not depth:
            yield text[start : found.start()]
            start = found.end()
    yield text[start:]


def parse_setting(text: str) -> tuple[str, Any]:
    """`key=value` -> (key, value). Raises HarnessError without a key or an equals sign."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise HarnessError(f"Cannot read the setting '{text}'. Write key=value, as in num_layers=4.")
    return key.strip(), parse_value(value.strip())


def parse_overrides(texts: tuple[str, ...] | list[str]) -> dict[str, dict[str, Any]]:
    """`--set chameleon.num_layers=4` -> {"chameleon": {"num_layers": 4}}."""
    overrides: dict[str, dict[str, Any]] = {}
    for text in texts:
        key, value = parse_setting(text)
        method, dot, field = key.partition(".")
        if not dot or not field:
            raise HarnessError(f"Cannot read --set '{text}'. Write METHOD.KEY=VALUE, as in chameleon.num_layers=4.")
        overrides.setdefault(method, {})[field] = value
    return overrides
