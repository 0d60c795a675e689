"""The personalizer of one adapter per user, over one for all: both are low-rank, and so is what they are together."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.api import Adapters, Query, Task
from harness.methods.base_prompt import BasePrompt
from harness.methods.fine_tuning.weights import LoraSettings

_JSON, _TENSORS = "users.json", "adapters.safetensors"
_PREFIX, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"  # how peft names weights

Layers = dict[str, tuple[Tensor, Tensor]]  # A and B by the name of the layer, scaling included


def low_rank(tensors: Mapping[str, Tensor], lora: LoraSettings) -> Layers:
    """A [r, in] and B [out, r] of the layers that a peft adapter, saved as `tensors`, adapts."""
    names = [name.removesuffix(_A) for name in tensors if name.endswith(_A)]
    scale = lora.alpha / lora.r
    return {name.removeprefix(_PREFIX): (tensors[name + _A], scale * tensors[name + _B]) for name in names}


@dataclass
class UserAdapters(BasePrompt):
    """The base prompt, answered with a user's own adapter over the task's; the others get the task's alone, or none."""

    task: Task
    users: tuple[str, ...]
    own: Layers  # [U, r, in] and [U, out, r], in the order of `users`
    common: Layers | None  # the task's, [r, in] and [out, r]

    @staticmethod
    def of(
        task: Task, own: Mapping[str, Mapping[str, Tensor]], common: Mapping[str, Tensor] | None, lora: LoraSettings
    ) -> "UserAdapters":
        """From peft's weights by user, one user's at least."""
        each = [low_rank(tensors, lora) for tensors in own.values()]
        banks = {name: _stacked([layers[name] for layers in each]) for name in each[0]}
        return UserAdapters(task, tuple(own), banks, None if common is None else low_rank(common, lora))

    def edits(self, queries: Sequence[Query]) -> Adapters | None:
        places = {user: place for place, user in enumerate(self.users)}
        nobody = -1 if self.common is None else len(self.users)
        rows = tuple(places.get(query.user, nobody) for query in queries)
        return Adapters({name: self._banks(name) for name in self.own}, rows) if max(rows, default=-1) >= 0 else None

    def serves(self, query: Query) -> bool:
        return self.common is not None or self.knows(query)

    def knows(self, query: Query) -> bool:
        return query.user in self.users

    def save(self, directory: Path) -> None:
        (directory / _JSON).write_text(json.dumps({"users": self.users}, indent=1), encoding="utf-8")
        kinds = {"own": self.own, "common": self.common or {}}
        save_file(
            {
                f"{kind}.{name}.{side}": tensor.contiguous()
                for kind, layers in kinds.items()
                for name, pair in layers.items()
                for side, tensor in zip("AB", pair, strict=True)
            },
            directory / _TENSORS,
        )

    @staticmethod
    def saved_in(directory: Path) -> bool:
        """Whether `save` wrote there."""
        return (directory / _JSON).exists()

    @staticmethod
    def load(directory: Path, task: Task) -> "UserAdapters":
        """Read what `save` wrote."""
        users = json.loads((directory / _JSON).read_text(encoding="utf-8"))["users"]
        tensors = load_file(directory / _TENSORS)
        own, common = (
            {
                name.removeprefix(kind).removesuffix(".A"): (tensor, tensors[name.removesuffix("A") + "B"])
                for name, tensor in tensors.items()
                if name.startswith(kind) and name.endswith(".A")
            }
            for kind in ("own.", "common.")
        )
        return UserAdapters(task, tuple(users), own, common or None)

    def _banks(self, name: str) -> tuple[Tensor, Tensor]:
        """Of each user, and last of those without one, what the two adapters are together, [U + 1, 2 r, in] and so on.

        The sum of two products of low rank is the product of their factors side by side.
        """
        a, b = self.own[name]
        if self.common is None:
            return a, b
        nothing = a.new_zeros(1, *a.shape[1:]), b.new_zeros(1, *b.shape[1:])
        a, b = torch.cat([a, nothing[0]]), torch.cat([b, nothing[1]])
        common_a, common_b = (one.expand(len(a), *one.shape) for one in self.common[name])
        return torch.cat([common_a, a], 1), torch.cat([common_b, b], 2)


def _stacked(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    a, b = zip(*pairs, strict=True)
    return torch.stack(a), torch.stack(b)
