"""Low-rank adapters as forward hooks on linear layers, with another adapter for each batch row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.api import Adapters
from harness.model.editing import EditedRows


@contextmanager
def adapted(model: nn.Module, adapters: Adapters, prompts: Sequence[int] | None = None) -> Iterator[EditedRows]:
    """Adapt the linear layers of `model` while the context is open.

    `prompts` are the positions in `adapters.rows` that make up the batch, in batch order; all by default.
    Half-precision outputs are adapted in float32 and cast back; a row without an adapter stays bit-identical. The hooks
    go with the context, whatever happens inside. Raises ValueError where banks, rows and layers do not fit each other
    or the model, the latter in part once the model runs, and where a layer is given no row for each prompt (as experts
    are).
    """
    rows = torch.tensor([adapters.rows[i] for i in (range(len(adapters.rows)) if prompts is None else prompts)])
    made: list[_Hook] = []
    with ExitStack() as hooks:
        for name, banks in adapters.layers.items():
            layer = _layer(model, name)
            _check(name, banks, adapters.rows)
            made.append(_Hook(name, _look_up(banks, rows, next(layer.parameters()).device)))
            hooks.callback(layer.register_forward_hook(made[-1]).remove)
        yield EditedRows(made)


@dataclass(frozen=True)
class _RowAdapters:
    """The adapters of one layer, a row per prompt; `chosen` [B, 1, 1]: whether it has one, None where all have."""

    taken: Tensor  # A^T [B, in, r]
    given: Tensor  # B^T [B, r, out]
    chosen: Tensor | None

    def of(self, places: Sequence[int]) -> _RowAdapters:
        """Those of the prompts at these places."""
        if list(places) == list(range(len(self.taken))):
            return self
        index = torch.tensor(places, device=self.taken.device)
        return _RowAdapters(self.taken[index], self.given[index], None if self.chosen is None else self.chosen[index])


class _Hook:
    """The hook of one layer: the adapters of all its prompts, and of those that are in the batch now."""

    follows: int | Sequence[int] | None = None  # every token is adapted

    def __init__(self, name: str, whole: _RowAdapters) -> None:
        self._name = name
        self._whole = self._rows = whole

    def keep(self, places: Sequence[int]) -> None:
        self._rows = self._whole.of(places)

    def __call__(self, layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x, rows = given[0], self._rows
        if x.ndim != 3 or len(x) != len(rows.taken):
            raise ValueError(
                f"{self._name} is given {tuple(x.shape)} for {len(rows.taken)} prompts: it has no row for each of "
                "them, so that it cannot be adapted by row"
            )
        needed, widths = (rows.taken.shape[1], rows.given.shape[2]), (x.shape[2], output.shape[2])
        if needed != widths:
            raise ValueError(
                f"the adapters of {self._name} lead from width {needed[0]} to {needed[1]}, but this layer from "
                f"{widths[0]} to {widths[1]}: they were fitted to another model"
            )
        found = torch.baddbmm(output.float(), torch.bmm(x.float(), rows.taken), rows.given).to(output.dtype)
        return found if rows.chosen is None else torch.where(rows.chosen, found, output)


def _layer(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        raise ValueError(f"adapters are for a layer {name}, which the model does not have") from None


def _check(name: str, banks: tuple[Tensor, Tensor], rows: Sequence[int]) -> None:
    (users, rank, _), (others, _, other_rank) = (bank.shape if bank.ndim == 3 else (-1, -1, -1) for bank in banks)
    if users < 0 or users != others or rank != other_rank:
        raise ValueError(f"the banks of {name} have shapes {[tuple(bank.shape) for bank in banks]}")
    if not all(-1 <= row < users for row in rows):
        raise ValueError(f"rows reach outside of {name}, which holds {users} adapters")


def _look_up(banks: tuple[Tensor, Tensor], rows: Tensor, device: torch.device) -> _RowAdapters:
    """Looked up once per batch, so that a decoding step only multiplies."""
    taken, given = (bank.detach()[rows.clamp(min=0).to(bank.device)].mT.float().to(device) for bank in banks)
    has = rows >= 0
    return _RowAdapters(taken, given, None if bool(has.all()) else has[:, None, None].to(device))
