"""ALOE's and DPO's training of encoder-decoders, which trl does not know, on transformers' Seq2SeqTrainer."""

from copy import copy
from typing import Any, ClassVar

import torch
from datasets import Dataset
from peft import get_peft_model
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments, set_seed

from harness.api import FitContext
from harness.methods.fine_tuning.placement import on_one_device
from harness.methods.fine_tuning.trainer import TrainingConfig
from harness.methods.fine_tuning.weights import LoraSettings

_IGNORED = -100  # the label of padding


class Collator:
    """A batch of records, each prompt once per answer: all rows' first answers, then all rows' second ones.

    input_ids and attention_mask [A * B, S], labels and decoder_input_ids [A * B, T], padded on the right.
    """

    def __init__(self, context: FitContext, answers: tuple[str, ...]) -> None:
        tokenizer = copy(context.lm.tokenizer)
        # Labels are padded on the tokenizer's side. On the left, the decoder would read padding before the answer.
        tokenizer.padding_side = "right"
        self.columns = [f"{name}_ids" for name in answers]
        self.pad = DataCollatorForSeq2Seq(tokenizer, context.lm.model, label_pad_token_id=_IGNORED)

    def __call__(self, rows: list[dict[str, list[int]]]) -> dict[str, Tensor]:
        return self.pad(
            [{"input_ids": row["prompt_ids"], "labels": row[column]} for column in self.columns for row in rows]
        )


class Seq2SeqTraining(Seq2SeqTrainer):
    """What the two share: construction from a fit's context, and the likelihood of the answers."""

    answers: ClassVar[tuple[str, ...]]

    def __init__(self, context: FitContext, config: TrainingConfig, data: Dataset, lora: LoraSettings | None) -> None:
        model = context.lm.model
        set_seed(context.seed)  # an adapter starts at random
        arguments = config.arguments(context)
        del arguments["max_length"]  # the records were made to fit
        super().__init__(
            model=model if lora is None else get_peft_model(model, lora.peft(model)),
            args=on_one_device(Seq2SeqTrainingArguments(**arguments, remove_unused_columns=False), model.device),
            data_collator=Collator(context, self.answers),
            train_dataset=data,
            processing_class=context.lm.tokenizer,
        )

    def log_likelihoods(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Sum of log p over the tokens of each answer, end of sequence included, in nats, [A * B] float32."""
        labels = batch["labels"]
        logits = model(**{name: value for name, value in batch.items() if name != "labels"}, use_cache=False).logits
        found = logits.float().log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
        return found.where(labels != _IGNORED, 0.0).sum(-1)


class Seq2SeqSft(Seq2SeqTraining):
    """Mean negative log-likelihood of the answers' tokens, over all micro-batches of a step, as trl's SFT has it."""

    answers = ("completion",)
    # T5 takes the number of tokens as an argument and ignores it, so that its own loss would not be scaled at all.
    loss_is_scaled_for_ga = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.model_accepts_loss_kwargs = True  # has the answers' tokens counted

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The batch's part of the loss, a scalar; `num_items_in_batch` is the number of tokens in the whole step."""
        tokens = (inputs["labels"] != _IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        loss = -self.log_likelihoods(model, inputs).sum() / tokens
        return (loss, {}) if return_outputs else loss


class Seq2SeqDpo(Seq2SeqTraining):
    """Equation 7 of Rafailov et al. (2023); the model without its adapter is the reference."""

    answers = ("chosen", "rejected")
    loss_is_scaled_for_ga = False

    def __init__(self, context: FitContext, config: TrainingConfig, data: Dataset, lora: LoraSettings, beta: float):
        super().__init__(context, config, data, lora)
        self.beta = beta

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """-log sigmoid(beta * (log-ratio of the chosen - log-ratio of the rejected)), mean over the batch, a scalar."""
        # No dropout, as in trl, so that policy and reference start equal. T5's attention has some outside of modules.
        model.eval()
        with torch.no_grad(), self.accelerator.unwrap_model(model).disable_adapter():
            reference = self.log_likelihoods(model, inputs)
        chosen, rejected = (self.log_likelihoods(model, inputs) - reference).chunk(2)
        loss = -logsigmoid(self.beta * (chosen - rejected)).mean()
        return (loss, {}) if return_outputs else loss
