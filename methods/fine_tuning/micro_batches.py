"""Optimizer steps in micro-batches: made by tokens, begun only if they end in time, made smaller on out-of-memory."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer

from harness.methods.fine_tuning.out_of_memory import RECOMPUTED, nothing_left, unless_out_of_memory
from harness.methods.fine_tuning.training_data import Record
from harness.methods.fine_tuning.training_pace import TrainingPace

# A GPU that runs out of memory says so, and pieces shrink. A process that does so on a CPU is killed, so that there
# they are small from the start: half a thousand tokens keep the processor as busy as many do, and end soon.
_TOKENS_ON_A_CPU = 512
_TOKENS_ELSEWHERE = 4_096  # with a model of 7B some 20 GB of activations
_KEPT_ON_A_CPU = 1_024  # of a longer micro-batch, activations are computed again


def most_tokens(device: torch.device) -> int:
    """Tokens of a micro-batch of several examples, padding included."""
    return _TOKENS_ON_A_CPU if device.type == "cpu" else _TOKENS_ELSEWHERE


def must_recompute(device: torch.device, tokens: int) -> bool:
    """Whether a micro-batch is so long that its activations are not kept: where running out of memory is the end."""
    return device.type == "cpu" and tokens > _KEPT_ON_A_CPU


def micro_batches(lengths: Sequence[int], rows: int, tokens: int, begin_small: bool) -> list[list[int]]:
    """Places of `lengths`, the shortest first, in pieces of at most `rows` of them and `tokens` with padding.

    A longer one is a piece of its own; with `begin_small`, so is the shortest of all.
    """
    pieces: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: lengths[place]):
        alone = begin_small and len(pieces) == 1
        if not pieces or alone or len(pieces[-1]) == rows or (len(pieces[-1]) + 1) * lengths[place] > tokens:
            pieces.append([])
            begin_small = begin_small and len(pieces) == 1
        pieces[-1].append(place)
    return pieces


class MicroBatched(Trainer):
    """A trainer that gets all examples of an optimizer step at once and takes them in micro-batches.

    The step's gradient is that of all its examples, however they are cut. Where the clock allows no further
    micro-batch, it is that of the examples so far.
    """

    model: Any  # transformers allows for none of these three
    train_dataset: Any
    data_collator: Any
    pad: Callable[[list[Record]], dict[str, Tensor]]  # the collator, for a micro-batch
    pace: TrainingPace

    def takes(self, rows: int) -> None:
        """Once constructed: `rows` are the most in a micro-batch."""
        self.rows = rows
        self.tokens = most_tokens(self.args.device)
        self.pad, self.data_collator = self.data_collator, list
        self.lengths = [self.length(row) for row in self.train_dataset]
        self.used: list[int] = []  # places in the data, once for each time
        self.cut = 0  # steps with fewer examples than planned
        self.out_of_memory = 0

    def length(self, row: Record) -> int:
        """Tokens that a row costs in a micro-batch of its own."""
        raise NotImplementedError

    def weight(self, row: Record) -> int:
        """A row's part in the mean that is an optimizer step's loss."""
        raise NotImplementedError

    def piece_loss(self, model: nn.Module, batch: dict[str, Tensor], places: list[int]) -> Tensor:
        """Sum of the loss over `batch`, padded from the rows at `places`, each times its weight; a scalar."""
        raise NotImplementedError

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: what a step gets has no tensors yet."""
        return 0

    @property
    def steps_in_an_epoch(self) -> int:
        """Optimizer steps, the last perhaps with fewer examples."""
        return math.ceil(len(self.lengths) / self.args.per_device_train_batch_size)

    def places(self, step: int) -> range:
        """Where the data has the examples of an optimizer step."""
        width = self.args.per_device_train_batch_size
        start = step % self.steps_in_an_epoch * width
        return range(start, min(start + width, len(self.lengths)))

    def pieces(self, step: int) -> list[list[int]]:
        """The micro-batches of an optimizer step, as places in the data; the first of all is a single example."""
        places = self.places(step)
        lengths = [self.lengths[place] for place in places]
        return [
            [places[index] for index in piece] for piece in micro_batches(lengths, self.rows, self.tokens, step == 0)
        ]

    def size(self, piece: list[int]) -> int:
        """Tokens of a micro-batch, padding included."""
        return len(piece) * max(self.lengths[place] for place in piece)

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """The mean loss of the examples that there was time for, whose gradient is left in the parameters."""
        model.train()
        places = self.places(self.state.global_step)
        rows = dict(zip(places, inputs, strict=True))
        while (loss := unless_out_of_memory(lambda: self._gathered(model, rows))) is None:
            model.zero_grad(set_to_none=True)
            self._lighten()
        return loss

    def learn(self, model: nn.Module, rows: list[Record], places: list[int], whole: int) -> Tensor:
        """A micro-batch's part of a loss whose weights add up to `whole`; its gradient is added to the parameters'."""
        batch = self._prepare_inputs(self.pad(rows))
        with self.compute_loss_context_manager():
            loss = self.piece_loss(model, batch, places) / whole
        self.accelerator.backward(loss)
        return loss.detach()

    def _gathered(self, model: nn.Module, rows: dict[int, Record]) -> Tensor:
        weights = {place: self.weight(row) for place, row in rows.items()}
        whole = sum(weights.values())
        loss, used = torch.zeros((), device=self.args.device), list[int]()
        for piece in self.pieces(self.state.global_step):
            if used and not self.pace.fits(self.size(piece)):
                break
            with self.pace.micro_batch(self.size(piece)), self._frugal(self.size(piece)):
                loss += self.learn(model, [rows[place] for place in piece], piece, whole)
            used += piece
        if len(used) < len(rows):
            share = sum(weights[place] for place in used) / whole
            loss /= share
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.grad /= share
            self.cut += 1
        self.used += used
        return loss

    def _lighten(self) -> None:
        """Take less memory for the same step, which begins anew."""
        most = max(len(piece) for piece in self.pieces(self.state.global_step))
        if most > 1:
            self.rows = most // 2
        elif not self.args.activation_checkpointing:
            self.args.activation_checkpointing = self.args.gradient_checkpointing = True
            self.model.activation_checkpointing_enable(RECOMPUTED)
        else:
            raise nothing_left(self.args.device)
        self.out_of_memory += 1

    @contextmanager
    def _frugal(self, tokens: int) -> Iterator[None]:
        """Compute the activations of a long micro-batch again, where running out of memory ends the process."""
        if self.args.activation_checkpointing or not must_recompute(self.args.device, tokens):
            yield
            return
        self.model.activation_checkpointing_enable(RECOMPUTED)
        try:
            yield
        finally:
            self.model.activation_checkpointing_disable()
