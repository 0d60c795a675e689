"""ALOE's and DPO's training of causal models, on trl's trainers."""

from typing import Any

from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from harness.api import FitContext
from harness.methods.fine_tuning.answer_likelihood import IGNORED, Preference, log_likelihoods
from harness.methods.fine_tuning.micro_batches import MicroBatched
from harness.methods.fine_tuning.placement import in_single_precision, on_one_device
from harness.methods.fine_tuning.shared_prompt import SharedPrompts, can_share, shared_log_likelihoods
from harness.methods.fine_tuning.trainer import TrainingConfig
from harness.methods.fine_tuning.training_data import Record, joined
from harness.methods.fine_tuning.weights import LoraSettings

_SHARED = ("prompt_ids", "chosen_ids", "rejected_ids")


class Sft(MicroBatched, SFTTrainer):
    """Mean negative log-likelihood of the answers' tokens, over all examples of a step, as trl has it.

    Of a mixture of experts the loss is trl's own, which also balances them.
    """

    def __init__(self, context: FitContext, config: TrainingConfig, data: Dataset, lora: LoraSettings | None) -> None:
        model = context.lm.model
        arguments = SFTConfig(**config.arguments(context), completion_only_loss=True, packing=False)
        super().__init__(
            model=model,
            args=on_one_device(arguments, model.device),
            train_dataset=data.map(joined, remove_columns=data.column_names),
            processing_class=context.lm.tokenizer,
            peft_config=None if lora is None else lora.peft(model),
        )
        in_single_precision(self.model)
        self.takes(config.batch_size)

    def length(self, row: Record) -> int:
        return len(row["input_ids"])

    def weight(self, row: Record) -> int:
        return sum(label != IGNORED for label in row["labels"][1:])

    def piece_loss(self, model: nn.Module, batch: dict[str, Tensor], places: list[int]) -> Tensor:
        """Negative log-likelihood, summed over the answers' tokens."""
        if self.aux_loss_enabled:
            return self.compute_loss(model, batch) * (batch["labels"][:, 1:] != IGNORED).sum()
        return -log_likelihoods(model, batch["input_ids"], batch["attention_mask"], batch["labels"]).sum()


class CausalDpo(Preference, DPOTrainer):
    """trl's DPO, for records that hold token ids already; `SFTTrainer` takes such records as it is."""

    def __init__(self, context: FitContext, config: TrainingConfig, data: Dataset, lora: LoraSettings, beta: float):
        model: PreTrainedModel = context.lm.model
        super().__init__(
            model=model,
            args=on_one_device(DPOConfig(**config.arguments(context), beta=beta), model.device),
            train_dataset=data,
            processing_class=context.lm.tokenizer,
            peft_config=lora.peft(model),
        )
        in_single_precision(self.model)
        self.shared = can_share(model) and not self.aux_loss_enabled
        self.takes(config.batch_size)
        if self.shared:
            self.pad = SharedPrompts(context.lm.tokenizer.pad_token_id)

    def _prepare_dataset(self, dataset: Dataset, *rest: Any) -> Dataset:
        return dataset

    def piece_loss(self, model: nn.Module, batch: dict[str, Tensor], places: list[int]) -> Tensor:
        """The paper's loss, summed over the pairs; of a mixture of experts trl's, which also balances them."""
        if self.aux_loss_enabled:
            return self.compute_loss(model, batch) * len(places)
        return super().piece_loss(model, batch, places)

    def length(self, row: Record) -> int:
        return sum(len(ids) for name, ids in row.items() if name in _SHARED) if self.shared else super().length(row)

    def answers(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        if self.shared:
            return shared_log_likelihoods(model, batch)
        labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, IGNORED)
        return log_likelihoods(model, batch["input_ids"], batch["attention_mask"], labels)
