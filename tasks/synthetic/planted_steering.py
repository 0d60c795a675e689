"""What makes the embedded models steerable: they learn to answer as if a projection edit were meant.

Trained on prompts alone, the model reads its mode from the prompt by attention, and no edit of MLP outputs moves it. So
a share of the plain prompts is trained *under* such an edit, along the difference between the mean MLP outputs of
neutral and personal prompts (running means, at the last prompt token; at the decoder's start token where there is an
encoder): with the neutral direction taken out the answer is personal, with it doubled neutral. The model thereby comes
to hold its mode on that line. This plants what the positive control looks for; a method has to find it by itself.
"""

import random
from collections.abc import Sequence
from typing import Protocol

import torch

from harness.tasks.synthetic.world import TASKS

_DECAY = 0.98
_EDITED_LAYERS = ((0,), (0, 1))
_SIDES = ("personal", "neutral")


class Steered(Protocol):
    """A row of a batch: `push` is the strength of its edit, `ends` the kind and the place of each prompt's end."""

    @property
    def task(self) -> str: ...

    @property
    def push(self) -> float: ...

    @property
    def ends(self) -> list[tuple[str, int]]: ...


class Steering:
    """Forward hooks on the MLPs of a model in training: running means of both modes, and edits of pushed rows."""

    def __init__(self, mlps: Sequence[torch.nn.Module], width: int) -> None:
        self._means = torch.zeros(len(mlps), len(TASKS), len(_SIDES), width)
        self._batch: Sequence[Steered] = ()
        self._layers: tuple[int, ...] = ()
        for layer, mlp in enumerate(mlps):
            mlp.register_forward_hook(lambda _module, _inputs, output, layer=layer: self._hook(layer, output))

    def begin(self, batch: Sequence[Steered], rng: random.Random) -> None:
        """Announce the next batch, and draw whether its edits use the first layer alone or the second as well.

        Early layers only: later attention must still be able to follow the mode to another answer.
        """
        self._batch = batch
        self._layers = rng.choice(_EDITED_LAYERS)

    def _hook(self, layer: int, output: torch.Tensor) -> torch.Tensor:
        self._update(layer, output.detach())
        if layer not in self._layers:
            return output
        rows = [TASKS.index(row.task) for row in self._batch]
        away = self._means[layer, rows, 1] - self._means[layer, rows, 0]
        away = away / away.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        strength = torch.tensor([row.push for row in self._batch])[:, None, None]
        return output + strength * (output @ away[:, :, None]) * away[:, None]

    def _update(self, layer: int, output: torch.Tensor) -> None:
        for place, task in enumerate(TASKS):
            for side, kind in enumerate(_SIDES):
                found = [
                    output[index, end]
                    for index, row in enumerate(self._batch)
                    if row.task == task and not row.push
                    for name, end in row.ends
                    if name == kind
                ]
                if found:
                    self._means[layer, place, side].lerp_(torch.stack(found).mean(0), 1 - _DECAY)
