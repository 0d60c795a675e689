"""One small adapter after the other, each from one user's records alone, on a model that stays as it is."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from copy import copy
from functools import partial
from typing import Any, cast

import torch
from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from torch import Tensor
from transformers import DataCollatorForSeq2Seq, get_scheduler, set_seed

from harness.api import FitContext, OutOfTime
from harness.methods.fine_tuning.answer_likelihood import IGNORED, log_likelihoods
from harness.methods.fine_tuning.micro_batches import micro_batches, most_tokens, must_recompute
from harness.methods.fine_tuning.out_of_memory import RECOMPUTED, nothing_left, unless_out_of_memory
from harness.methods.fine_tuning.placement import computes_halves
from harness.methods.fine_tuning.schedule import warming_up
from harness.methods.fine_tuning.seq2seq_trainer import Collator, decoded_log_likelihoods
from harness.methods.fine_tuning.token_count import counted
from harness.methods.fine_tuning.trainer import COPIES, TrainingConfig
from harness.methods.fine_tuning.training_data import Record, Row, record
from harness.methods.fine_tuning.training_pace import TrainingPace
from harness.methods.fine_tuning.weights import LoraSettings, on_cpu

_OWN, _TASK = "own", "task"


class UserTraining:
    """Puts adapters into `context.lm.model`: one to train, and that of the task, `task`, below it if there is one.

    A trainer for each user would be built, and its data sets written, for longer than a user's few steps take.
    """

    def __init__(
        self, context: FitContext, config: TrainingConfig, lora: LoraSettings, task: dict[str, Tensor] | None
    ) -> None:
        self._context = context
        self._config = config
        self._model: Any = context.lm.model
        frozen = lora.model_copy(update={"dropout": 0.0}).peft(self._model)
        self._pad = _collator(context)
        self._adapted = get_peft_model(self._model, lora.peft(self._model), adapter_name=_OWN)
        if task is not None:
            self._adapted.add_adapter(_TASK, frozen)
            set_peft_model_state_dict(self._adapted, task, adapter_name=_TASK)
            cast(Any, self._adapted.base_model).set_adapter([_TASK, _OWN])
        self._own = [weight for name, weight in self._adapted.named_parameters() if f".{_OWN}." in name]
        self._pace = TrainingPace(context.clock, reserve=0.0, step=0.0, device=self._model.device)
        self._rows = config.batch_size
        self._recomputes = False
        self.copying = 0.0  # seconds that an adapter takes after its training, at most

    def base_model(self) -> AbstractContextManager[None]:
        """Takes all adapters out of what `context.lm` computes, for the duration."""
        return self._adapted.disable_adapter()

    def train(self, rows: Sequence[Row], seed: int) -> dict[str, Tensor]:
        """The weights, on the CPU, of an adapter trained on the rows in their order, from scratch.

        Nothing of what was trained before is in them. Raises OutOfTime where a micro-batch will not end within
        `context.clock.time_left()`, HarnessError where one row alone does not fit the memory.
        """
        config, records = self._config, [record(self._context.lm, row) for row in rows]
        width = config.batch_size * config.accumulation
        batches = [records[start : start + width] for start in range(0, len(records), width)]
        total = math.ceil(len(batches) * config.num_epochs)
        self._begin(seed)
        optimizer = torch.optim.AdamW(self._own, config.learning_rate, weight_decay=config.weight_decay)
        warmup = warming_up(math.ceil(config.warmup_ratio * total))
        schedule = get_scheduler(config.scheduler, optimizer, warmup, total)
        with counted(self._context.lm, self._model):
            for step in range(total):
                self._gather(batches[step % len(batches)], begin_small=step == 0)
                self._pace.step_begins()
                torch.nn.utils.clip_grad_norm_(self._own, config.max_grad_norm)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                self._pace.step_ends()
        return self._copied()

    def _begin(self, seed: int) -> None:
        """As if nobody had been trained: new weights, no gradients, the task's adapter as it is."""
        set_seed(seed)
        self._pace.reserve = self._context.clock.remaining() - self._context.clock.time_left()
        for module in self._model.modules():
            if isinstance(module, LoraLayer):
                module.reset_lora_parameters(_OWN, True)
        for weight in self._model.parameters():
            weight.requires_grad_(False)
            weight.grad = None
        for weight in self._own:
            weight.requires_grad_(True)
        self._model.train()

    def _copied(self) -> dict[str, Tensor]:
        begun = self._context.clock.elapsed()
        found = on_cpu(get_peft_model_state_dict(self._adapted, adapter_name=_OWN))
        self.copying = max(self.copying, COPIES * (self._context.clock.elapsed() - begun))
        return found

    def _gather(self, records: Sequence[Record], begin_small: bool) -> None:
        """Leave the gradient of the records' mean loss in the parameters, in micro-batches that fit the memory."""
        while unless_out_of_memory(partial(self._add_up, records, begin_small)) is None:
            self._adapted.zero_grad(set_to_none=True)
            if self._rows > 1:
                self._rows //= 2
            elif not self._recomputes:
                self._recomputes = True
            else:
                raise nothing_left(self._model.device)

    def _add_up(self, records: Sequence[Record], begin_small: bool) -> bool:
        device = self._model.device
        answers = sum(len(one["completion_ids"]) for one in records)
        lengths = [len(one["prompt_ids"]) + len(one["completion_ids"]) for one in records]
        for piece in micro_batches(lengths, self._rows, most_tokens(device), begin_small):
            tokens = len(piece) * lengths[piece[-1]]
            if not self._pace.fits(tokens):
                raise OutOfTime
            self._recompute(self._recomputes or must_recompute(device, tokens))
            with self._pace.micro_batch(tokens):
                (-self._likelihoods([records[place] for place in piece]).sum() / answers).backward()
        return True

    def _likelihoods(self, records: Sequence[Record]) -> Tensor:
        """Sum of log p over the tokens of each answer, in nats, [B] float32."""
        model, device = self._model, self._model.device
        batch = {name: tensor.to(device) for name, tensor in self._pad(list(records)).items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=computes_halves(device)):
            if self._context.lm.is_encoder_decoder:
                return decoded_log_likelihoods(model, batch)
            return log_likelihoods(model, batch["input_ids"], batch["attention_mask"], batch["labels"])

    def _recompute(self, wanted: bool) -> None:
        """Whether activations are computed again instead of being kept."""
        if wanted or self._config.gradient_checkpointing:
            self._model.activation_checkpointing_enable(RECOMPUTED)
        else:
            self._model.activation_checkpointing_disable()


def _collator(context: FitContext) -> Any:
    """Records to padded tensors [B, T], padded on the right, with labels where an answer's tokens are."""
    if context.lm.is_encoder_decoder:
        return Collator(context, ("completion",))
    tokenizer = copy(context.lm.tokenizer)
    tokenizer.padding_side = "right"
    pad = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORED)
    return lambda records: pad([_labelled(one) for one in records])


def _labelled(one: Record) -> Record:
    prompt, completion = one["prompt_ids"], one["completion_ids"]
    return {"input_ids": prompt + completion, "labels": [IGNORED] * len(prompt) + completion}
