"""Representation editing (Section 3.2) as forward hooks on MLP modules, with other directions for every batch row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from harness.api import Edits


def unit(directions: Tensor) -> Tensor:
    """Directions [..., d] at norm 1 in float32; a zero direction stays zero."""
    exact = directions.double()
    norm = exact.norm(dim=-1, keepdim=True)
    return (exact / norm.where(norm > 0, 1.0)).float()


def project(x: Tensor, units: Tensor) -> Tensor:
    """<x, theta> theta for x [..., d] and unit or zero directions that broadcast against it."""
    return (x * units).sum(-1, keepdim=True) * units


@contextmanager
def edited(mlps: Sequence[nn.Module], edits: Edits | None, prompts: Sequence[int] | None = None) -> Iterator[None]:
    """Edit the outputs of `mlps` (one per decoder layer) while the context is open; None edits nothing.

    `prompts` are the positions in `edits.rows` that make up the batch, in batch order; all by default. A batch that
    was expanded by beams or return sequences, [B * n, T, d], keeps the rows of its prompts. Half-precision outputs are
    edited in float32 and cast back; a row that is not edited stays bit-identical. The hooks go with the context,
    whatever happens inside. Raises ValueError where banks, rows and layers do not fit each other or the model.
    """
    with ExitStack() as hooks:
        if edits is not None:
            _check(edits, len(mlps))
            rows = torch.tensor([edits.rows[i] for i in (range(len(edits.rows)) if prompts is None else prompts)])
            for position, layer in enumerate(edits.layers):
                device = next(mlps[layer].parameters()).device
                hook = _layer_edit(edits, position, rows, device)
                hooks.callback(mlps[layer].register_forward_hook(hook).remove)
        yield


@contextmanager
def recorded(mlps: Sequence[nn.Module], positions: Tensor) -> Iterator[list[Tensor]]:
    """Collect, in the order of `mlps`, their outputs at one token position per batch row, [B, d] each.

    `positions` [B] may count from the end. The hooks go with the context.
    """
    seen: list[Tensor] = []

    def keep(module: nn.Module, args: object, output: Tensor) -> None:
        seen.append(output[torch.arange(len(positions), device=output.device), positions.to(output.device)].detach())

    with ExitStack() as hooks:
        for mlp in mlps:
            hooks.callback(mlp.register_forward_hook(keep).remove)
        yield seen


def _check(edits: Edits, num_layers: int) -> None:
    if not all(0 <= layer < num_layers for layer in edits.layers):
        raise ValueError(f"edits name layers {edits.layers}, the model has {num_layers}")
    banks = {name: getattr(edits, name) for name in ("personal", "neutral", "offset", "strength")}
    for name, bank in banks.items():
        if bank is None:
            continue
        if bank.ndim != (2 if name == "strength" else 3) or bank.shape[1] != len(edits.layers):
            raise ValueError(f"{name} has shape {tuple(bank.shape)} for {len(edits.layers)} layers")
        if not all(-1 <= row < len(bank) for row in edits.rows):
            raise ValueError(f"rows reach outside of {name}, which holds {len(bank)} users")


@dataclass(frozen=True)
class _LayerEdit:
    """The hook of one layer. Every tensor has a row per prompt; directions have norm 1 or 0."""

    personal: Tensor | None  # [B, 1, d]
    neutral: Tensor | None  # [B, 1, d]
    offset: Tensor | None  # [B, 1, d]
    strength: Tensor  # [B, 1, 1]
    chosen: Tensor  # [B, 1, 1], whether the prompt is edited

    def __call__(self, module: nn.Module, args: object, output: Tensor) -> Tensor:
        """The equations of Section 3.2 on `output` [B, T, d], or [B * n, T, d] with n copies of each prompt."""
        copies, rest = divmod(len(output), len(self.chosen))
        if rest:
            raise ValueError(f"a batch of {len(output)} rows cannot be edited for {len(self.chosen)} prompts")
        edit = self if copies == 1 else self._repeated(copies)
        x = output  # the float32 directions lift half precision to float32, until the end
        if edit.personal is not None:
            x = x + edit.strength * project(x, edit.personal)
        if edit.neutral is not None:
            x = x - edit.strength * project(x, edit.neutral)
        if edit.offset is not None:
            x = x + edit.offset
        return torch.where(edit.chosen, x.to(output.dtype), output)

    def _repeated(self, copies: int) -> _LayerEdit:
        """The copies of a prompt (beams, return sequences) are neighbours in the batch."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{n: t.repeat_interleave(copies, dim=0) for n, t in tensors.items() if t is not None})


def _layer_edit(edits: Edits, position: int, rows: Tensor, device: torch.device) -> _LayerEdit:
    """Looks the directions up once per batch, so that a decoding step only multiplies."""

    def look_up(bank: Tensor | None) -> Tensor | None:
        return None if bank is None else bank.detach()[rows.clamp(min=0).to(bank.device), position, None].to(device)

    personal, neutral, offset, strength = map(look_up, (edits.personal, edits.neutral, edits.offset, edits.strength))
    return _LayerEdit(
        personal=None if personal is None else unit(personal),
        neutral=None if neutral is None else unit(neutral),
        offset=None if offset is None else offset.float(),
        strength=torch.ones(len(rows), 1, 1, device=device) if strength is None else strength.float()[..., None],
        chosen=(rows >= 0)[:, None, None].to(device),
    )
