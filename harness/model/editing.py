"""Representation editing (Section 3.2) as forward hooks on MLPs or blocks, with other directions for each batch row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, get_args

import torch
from torch import Tensor, nn

from harness.api import EditPositions, Edits
from harness.model.architectures import hidden

BANKS = ("personal", "neutral", "offset", "strength")


def unit(directions: Tensor) -> Tensor:
    """Directions [..., d] at norm 1 in float32; a zero direction stays zero."""
    exact = directions.double()
    norm = exact.norm(dim=-1, keepdim=True)
    return (exact / norm.where(norm > 0, 1.0)).float()


def of_rows(edits: Edits, rows: Sequence[int]) -> Edits:
    """The same edits with banks [B, L, d] of these rows alone, and without `places`; -1 has the first row's."""
    index = torch.tensor(rows).clamp(min=0)

    def look_up(bank: Tensor | None) -> Tensor | None:
        if bank is None:
            return None
        own = bank.detach()[index.to(bank.device)]
        if edits.places is None:
            return own
        whole = own.new_zeros(len(own), len(edits.layers), *own.shape[2:])
        places = edits.places[index.to(edits.places.device)].to(own.device)
        whole[torch.arange(len(own), device=own.device)[:, None], places] = own
        return whole

    banks: dict[str, Any] = {name: look_up(getattr(edits, name)) for name in BANKS}
    return replace(edits, rows=tuple(range(len(rows))), places=None, **banks)


class RowHook(Protocol):
    """A forward hook that does something else to each row of a batch."""

    follows: int | Sequence[int] | None

    def keep(self, places: Sequence[int]) -> None: ...


class EditedRows:
    """The hooks of an open `edited` or `adapted`, whose batch may change while it is decoded."""

    def __init__(self, hooks: Sequence[RowHook]) -> None:
        self._hooks = hooks

    def keep(self, places: Sequence[int]) -> None:
        """The batch holds from now on the prompts at these places of `prompts`, in this order."""
        for hook in self._hooks:
            hook.keep(places)

    def follow(self, tokens: int | Sequence[int] | None) -> None:
        """Of the next passes the last so many tokens, of each row, come after its prompt's last one.

        With None, and before this is said, they end before that token. Edits of all positions do not ask.
        """
        for hook in self._hooks:
            hook.follows = tokens


@contextmanager
def edited(
    modules: Sequence[nn.Module], edits: Edits | None, prompts: Sequence[int] | None = None
) -> Iterator[EditedRows]:
    """Edit the outputs of `modules` (one per decoder layer) while the context is open; None edits nothing.

    `prompts` are the positions in `edits.rows` that make up the batch, in batch order; all by default. A batch that
    was expanded by beams or return sequences, [B * n, T, d], keeps the rows of its prompts. Half-precision outputs are
    edited in float32 and cast back; a row that is not edited stays bit-identical. The hooks go with the context,
    whatever happens inside. Raises ValueError where banks, rows and layers do not fit each other or the model, and for
    positions that there are not; once the model runs, also for directions of another width than what it puts out.
    """
    made: list[_Hook] = []
    with ExitStack() as hooks:
        if edits is not None:
            _check(edits, len(modules))
            rows = [edits.rows[i] for i in (range(len(edits.rows)) if prompts is None else prompts)]
            own, chosen = of_rows(edits, rows), torch.tensor(rows) >= 0
            for position, layer in enumerate(edits.layers):
                device = next(modules[layer].parameters()).device
                made.append(_Hook(_layer_edit(own, position, chosen, device), edits.positions))
                hooks.callback(modules[layer].register_forward_hook(made[-1]).remove)
        yield EditedRows(made)


@contextmanager
def recorded(modules: Sequence[nn.Module], positions: Tensor) -> Iterator[list[Tensor]]:
    """Collect, in the order of `modules`, their outputs at one token position per batch row, [B, d] each.

    `positions` [B] may count from the end. The hooks go with the context.
    """
    seen: list[Tensor] = []

    def keep(module: nn.Module, args: object, output: Any) -> None:
        states = hidden(output)
        seen.append(states[torch.arange(len(positions), device=states.device), positions.to(states.device)].detach())

    with ExitStack() as hooks:
        for module in modules:
            hooks.callback(module.register_forward_hook(keep).remove)
        yield seen


def _check(edits: Edits, num_layers: int) -> None:
    if edits.positions not in get_args(EditPositions):
        raise ValueError(f"there are no positions {edits.positions!r}; known: {', '.join(get_args(EditPositions))}")
    if not all(0 <= layer < num_layers for layer in edits.layers):
        raise ValueError(f"edits name layers {edits.layers}, the model has {num_layers}")
    given = {name: getattr(edits, name) for name in (*BANKS, "places")}
    banks = {name: bank for name, bank in given.items() if bank is not None}
    layers = len(edits.layers) if edits.places is None else edits.places.shape[-1]
    for name, bank in banks.items():
        if bank.ndim != (2 if name in ("strength", "places") else 3) or bank.shape[1] != layers:
            raise ValueError(f"{name} has shape {tuple(bank.shape)} for {layers} layers")
        if not all(-1 <= row < len(bank) for row in edits.rows):
            raise ValueError(f"rows reach outside of {name}, which holds {len(bank)} users")
    if edits.places is not None and not bool(((edits.places >= 0) & (edits.places < len(edits.layers))).all()):
        raise ValueError(f"places reach outside of the {len(edits.layers)} layers that the edits name")
    widths = {name: bank.shape[2] for name, bank in banks.items() if bank.ndim == 3}
    if len(set(widths.values())) > 1:
        raise ValueError(f"the banks have directions of different widths: {widths}")


class _Hook:
    """The hook of one layer: the edits of all its prompts, and of those that are in the batch now.

    `follows`: how many tokens at the end of each row come after its prompt's last one, or of all rows alike; None where
    a pass does not get there.
    """

    def __init__(self, whole: _LayerEdit, positions: EditPositions) -> None:
        self.whole = self.edit = whole
        self.positions = positions
        self.follows: int | Sequence[int] | None = None

    def keep(self, places: Sequence[int]) -> None:
        self.edit = self.whole.of(places)

    def __call__(self, module: nn.Module, args: object, output: Any) -> Any:
        found = self.edit(hidden(output)) if self.positions == "all" else self._at_the_end(hidden(output))
        return (found, *output[1:]) if isinstance(output, tuple) else found

    def _at_the_end(self, x: Tensor) -> Tensor:
        """`x` [B, T, d], or [B * n, T, d] with n copies of each prompt, edited where its tokens are to be."""
        if self.follows is None:
            return x
        width, follows = x.shape[1], [self.follows] if isinstance(self.follows, int) else self.follows
        last = [tokens + (self.positions == "answer") for tokens in follows]
        if not any(last):
            return x
        if min(last) >= width:
            return self.edit(x)
        counts = torch.tensor(last, device=x.device).repeat_interleave(len(x) // len(last))
        chosen = torch.arange(width, 0, -1, device=x.device) <= counts[:, None]
        return torch.where(chosen[..., None], self.edit(x), x)


@dataclass(frozen=True)
class _LayerEdit:
    """The edit of one layer, x + x A B + offset, as both equations come to. Every tensor has a row per prompt.

    With unit or zero p and n and strength s, A = [p n], and B has the rows s p - s^2 <n, p> n and -s n. A bounded edit
    has tanh(<x, p>) for the first column of x A.
    """

    taken: Tensor | None  # A [B, d, 1 or 2]
    given: Tensor | None  # B [B, 1 or 2, d]
    offset: Tensor | None  # [B, 1, d]
    chosen: Tensor | None  # [B, 1, 1], whether the prompt is edited; None where all are
    prompts: int
    bounded: bool

    def __call__(self, output: Tensor) -> Tensor:
        """The equations of Section 3.2 on `output` [B, T, d], or [B * n, T, d] with n copies of each prompt."""
        width = next((t.shape[axis] for t, axis in ((self.taken, 1), (self.offset, 2)) if t is not None), None)
        if width not in (None, output.shape[-1]):
            raise ValueError(
                f"the edits' directions have width {width}, but this layer puts out vectors of width "
                f"{output.shape[-1]}: they were found on another model"
            )
        copies, rest = divmod(len(output), self.prompts)
        if rest:
            raise ValueError(f"a batch of {len(output)} rows cannot be edited for {self.prompts} prompts")
        edit = self if copies == 1 else self._repeated(copies)
        x = output.float()  # half precision is edited in float32, until the end
        if edit.taken is not None and edit.given is not None:
            parts = torch.bmm(x, edit.taken)
            if edit.bounded:
                parts[..., 0].tanh_()
            x = torch.baddbmm(x, parts, edit.given)
        if edit.offset is not None:
            x = x + edit.offset
        x = x.to(output.dtype)
        return x if edit.chosen is None else torch.where(edit.chosen, x, output)

    def of(self, places: Sequence[int]) -> _LayerEdit:
        """The edit of the prompts at these places."""
        if list(places) == list(range(self.prompts)):
            return self
        index = torch.tensor(places)
        return self._mapped(lambda tensor: tensor[index.to(tensor.device)], len(places))

    def _repeated(self, copies: int) -> _LayerEdit:
        """The copies of a prompt (beams, return sequences) are neighbours in the batch."""
        return self._mapped(lambda tensor: tensor.repeat_interleave(copies, dim=0), copies * self.prompts)

    def _mapped(self, change: Callable[[Tensor], Tensor], prompts: int) -> _LayerEdit:
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {name: change(tensor) for name, tensor in found.items() if isinstance(tensor, Tensor)}
        return replace(self, **changed, prompts=prompts)


def _layer_edit(edits: Edits, position: int, chosen: Tensor, device: torch.device) -> _LayerEdit:
    """Of edits by `of_rows`, once per batch, so that a decoding step only multiplies; `chosen` [B] are edited."""
    banks = (getattr(edits, name) for name in BANKS)
    personal, neutral, offset, strength = (None if bank is None else bank[:, position, None] for bank in banks)
    size = torch.ones(len(chosen), 1, 1, device=device) if strength is None else strength.float()[..., None].to(device)
    # Where the banks are, as not every device knows double precision. [B, 1, d] each.
    p, n = (None if bank is None else unit(bank).to(device) for bank in (personal, neutral))
    added = None if p is None else size * p
    removed = None if n is None else -size * n
    if added is not None and p is not None and n is not None:
        added = added - size * (added * n).sum(-1, keepdim=True) * n
    taken, given = _joined(p, n), _joined(added, removed)
    return _LayerEdit(
        taken=None if taken is None else taken.transpose(1, 2).contiguous(),
        given=given,
        offset=None if offset is None else offset.float().to(device),
        chosen=None if bool(chosen.all()) else chosen[:, None, None].to(device),
        prompts=len(chosen),
        bounded=edits.bounded and p is not None,
    )


def _joined(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    found = [tensor for tensor in (one, other) if tensor is not None]
    return torch.cat(found, 1) if found else None
