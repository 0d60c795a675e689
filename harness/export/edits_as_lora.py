"""Chameleon's edit as a low-rank adapter: the same model, served by anything that loads PEFT adapters.

The edit of Section 3.2 is linear in the MLP's output, and that output is W h of the MLP's last layer: with unit
directions p and n, (I - nn^T)(I + pp^T) W = W + B A, a rank-2 change of W.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from harness.api import Adapters, Edits, HarnessError
from harness.export.adapters_as_lora import save_row
from harness.model.architectures import mlp_modules
from harness.model.editing import of_rows, unit

_LAST_LAYERS = ("down_proj", "wo", "c_proj", "dense_4h_to_h", "fc2")


def factors(weight: Tensor, personal: Tensor, neutral: Tensor, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    """(A [2, f], B [d, 2]), float32, such that weight + B A is the edited `weight` [d, f].

    `personal` and `neutral` are directions [d] of any norm; zero stands for no edit.
    """
    p, n, w = unit(personal).double(), unit(neutral).double(), weight.double()
    removed = n + strength * (n @ p) * p  # the neutral part is taken from what the personal edit left
    a, b = torch.stack([p @ w, removed @ w]), strength * torch.stack([p, -n], dim=1)
    return a.float(), b.float()


def save_edits(model: PreTrainedModel, edits: Edits, row: int, directory: Path) -> None:
    """Write row `row` of the edits' banks as PEFT's save_pretrained does; `model` answers as before.

    Raises HarnessError for edits that no adapter of a bias-free layer can express.
    """
    if edits.site != "mlp" or edits.positions != "all":
        raise HarnessError(
            f"This edit is made at site={edits.site}, positions={edits.positions}, which is no change of weights: an "
            "adapter changes what an MLP puts out, for every token. Serve it with the harness's hooks "
            "(harness.model.editing), or fit with site=mlp and edit_positions=all."
        )
    if edits.bounded:
        raise HarnessError("A bounded edit is not linear in what an MLP puts out, so it cannot become an adapter.")
    if edits.offset is not None:
        raise HarnessError("An edit that adds an offset is no change of weights, so it cannot become an adapter.")
    names = {module: name for name, module in model.named_modules()}
    found: dict[str, tuple[Tensor, Tensor]] = {}
    own = of_rows(edits, [row])
    for position, number in enumerate(edits.layers):
        layer = _last_layer(model, mlp_modules(model)[number])
        absent = torch.zeros(len(layer.weight))
        personal, neutral = (absent if bank is None else bank[0, position] for bank in (own.personal, own.neutral))
        strength = 1.0 if own.strength is None else float(own.strength[0, position])
        a, b = factors(layer.weight.detach().cpu(), personal, neutral, strength)
        found[names[layer]] = a[None], b[None]
    save_row(model, Adapters(found, rows=(0,)), 0, directory)


def _last_layer(model: PreTrainedModel, mlp: nn.Module) -> nn.Linear:
    for name in _LAST_LAYERS:
        layer = getattr(mlp, name, None)
        if isinstance(layer, nn.Linear) and layer.bias is None:
            return layer
    raise HarnessError(
        f"The MLPs of {type(model).__name__} end in no bias-free linear layer, so that an edit of their output is no "
        "low-rank change of weights. Serve it with the harness's hooks instead (harness.model.editing)."
    )
