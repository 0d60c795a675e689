"""ALOE's and DPO's training of encoder-decoders, which trl does not know, on transformers' Seq2SeqTrainer."""

from copy import copy
from typing import ClassVar

from datasets import Dataset
from peft import get_peft_model
from torch import Tensor, nn
from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments, set_seed

from harness.api import FitContext
from harness.methods.fine_tuning.answer_likelihood import IGNORED, Preference
from harness.methods.fine_tuning.micro_batches import MicroBatched
from harness.methods.fine_tuning.placement import on_one_device
from harness.methods.fine_tuning.trainer import TrainingConfig
from harness.methods.fine_tuning.training_data import Record
from harness.methods.fine_tuning.weights import LoraSettings


class Collator:
    """A batch of records, each prompt once per answer: all rows' first answers, then all rows' second ones.

    input_ids and attention_mask [A * B, S], labels and decoder_input_ids [A * B, T], padded on the right.
    """

    def __init__(self, context: FitContext, answers: tuple[str, ...]) -> None:
        tokenizer = copy(context.lm.tokenizer)
        # Labels are padded on the tokenizer's side. On the left, the decoder would read padding before the answer.
        tokenizer.padding_side = "right"
        self.columns = [f"{name}_ids" for name in answers]
        self.pad = DataCollatorForSeq2Seq(tokenizer, context.lm.model, label_pad_token_id=IGNORED)

    def __call__(self, rows: list[Record]) -> dict[str, Tensor]:
        return self.pad(
            [{"input_ids": row["prompt_ids"], "labels": row[column]} for column in self.columns for row in rows]
        )


def decoded_log_likelihoods(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Sum of log p over the tokens of each answer, end of sequence included, in nats, [A * B] float32."""
    labels = batch["labels"]
    logits = model(**{name: value for name, value in batch.items() if name != "labels"}, use_cache=False).logits
    found = logits.float().log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return found.where(labels != IGNORED, 0.0).sum(-1)


class Seq2SeqTraining(MicroBatched, Seq2SeqTrainer):
    """What the two share: construction from a fit's context."""

    answer_names: ClassVar[tuple[str, ...]]

    def __init__(self, context: FitContext, config: TrainingConfig, data: Dataset, lora: LoraSettings | None) -> None:
        model = context.lm.model
        set_seed(context.seed)  # an adapter starts at random
        arguments = config.arguments(context)
        del arguments["max_length"]  # the records were made to fit
        super().__init__(
            model=model if lora is None else get_peft_model(model, lora.peft(model)),
            args=on_one_device(Seq2SeqTrainingArguments(**arguments, remove_unused_columns=False), model.device),
            data_collator=Collator(context, self.answer_names),
            train_dataset=data,
            processing_class=context.lm.tokenizer,
        )
        self.takes(config.batch_size)


class Seq2SeqSft(Seq2SeqTraining):
    """Mean negative log-likelihood of the answers' tokens, over all examples of a step, as trl's SFT has it."""

    answer_names = ("completion",)

    def length(self, row: Record) -> int:
        return len(row["prompt_ids"]) + len(row["completion_ids"])

    def weight(self, row: Record) -> int:
        return len(row["completion_ids"])

    def piece_loss(self, model: nn.Module, batch: dict[str, Tensor], places: list[int]) -> Tensor:
        """Negative log-likelihood, summed over the answers' tokens."""
        return -decoded_log_likelihoods(model, batch).sum()


class Seq2SeqDpo(Preference, Seq2SeqTraining):
    """DPO whose chosen and rejected answers are all in one batch."""

    answer_names = ("chosen", "rejected")

    def __init__(self, context: FitContext, config: TrainingConfig, data: Dataset, lora: LoraSettings, beta: float):
        super().__init__(context, config, data, lora)
        self.beta = beta
        _without_dropout(self.model)  # as in trl, so that policy and reference start equal

    def answers(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return decoded_log_likelihoods(model, batch)


def _without_dropout(model: nn.Module) -> None:
    """Switch dropout off for good. Not by `eval`: only models that train compute activations again."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in list(vars(module).items()):
            if "drop" in name and isinstance(value, float):  # T5's attention has some outside of modules
                setattr(module, name, 0.0)
