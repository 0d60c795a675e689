"""DPO (Rafailov et al. 2024) with LoRA, as in the time-constrained comparison of Section 4.5 and Appendix A.5."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from datasets import Dataset
from pydantic import Field

from harness.api import Example, FitContext, LanguageModel, Method, Personalizer, Task
from harness.methods.answer_pairs import Choice, answer_pairs
from harness.methods.chameleon.insights import Insights, add_insights
from harness.methods.chameleon.preference_pairs import generate_pairs
from harness.methods.fine_tuning.causal_trainer import CausalDpo
from harness.methods.fine_tuning.memory import too_little
from harness.methods.fine_tuning.micro_batches import MicroBatched
from harness.methods.fine_tuning.seq2seq_trainer import Seq2SeqDpo
from harness.methods.fine_tuning.trainer import TrainingConfig, fit_weights, load_weights
from harness.methods.fine_tuning.training_data import Row, training_prompt
from harness.methods.fine_tuning.weights import LoraSettings


class DpoConfig(TrainingConfig):
    """Defaults are Appendix A.5's; beta is trl's.

    `supervised` prefers the user's own answer to the model's neutral one; `self_generated` takes Chameleon's pairs.
    `lora.dropout` has no effect: DPO trains without any dropout, as trl does.
    """

    pairs: Literal["supervised", "self_generated"] = "supervised"
    beta: float = Field(default=0.1, gt=0)
    lora: LoraSettings = LoraSettings(r=256, alpha=128, dropout=0.05)
    learning_rate: float = Field(default=5e-5, gt=0)
    batch_size: int = Field(default=16, ge=1)
    max_length: int = Field(default=8192, ge=1)
    max_grad_norm: float = Field(default=0.3, gt=0)
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    insight_tokens: int = Field(default=64, ge=1)


class Dpo(Method):
    """Trains one LoRA for everybody to prefer users' own answers to neutral ones (DPO).

    Pairs whose two sides are the same teach nothing and are left out (counted).
    """

    Config = DpoConfig

    def check_model(self, lm: LanguageModel, memory: int) -> list[str]:
        return too_little("dpo", lm, self.config.lora, memory)

    def fit(self, context: FitContext) -> Personalizer:
        insights: dict[str, Insights] = {}
        rows: list[Row] = []
        forecast = self.config.forecast(context, rows, self.config.lora, reference=True)
        for batch in context.examples(self.config.generation_batch_size, forecast.reserve):
            with context.clock.cut_off(), context.clock.phase("pairs"):
                choices = self._choices(context, batch, insights)
                rows += [row for choice in choices if (row := self._row(context, *choice)) is not None]
        return fit_weights(context, forecast, self.config.lora, lambda data: self._trainer(context, data))

    def load(self, directory: Path, task: Task) -> Personalizer:
        return load_weights(directory, task)

    def _choices(self, context: FitContext, batch: Sequence[Example], insights: dict[str, Insights]) -> list[Choice]:
        if self.config.pairs == "supervised":
            return answer_pairs(context, batch)
        add_insights(context, batch, insights, self.config.insight_tokens)
        return [Choice(pair.example, pair.personal, pair.neutral) for pair in generate_pairs(context, batch, insights)]

    def _row(self, context: FitContext, example: Example, chosen: str, rejected: str) -> Row | None:
        prompt = training_prompt(context, self.config.max_length, example, [chosen, rejected])
        return None if prompt is None else Row(prompt, {"chosen": chosen, "rejected": rejected}, example.user)

    def _trainer(self, context: FitContext, data: Dataset) -> MicroBatched:
        kind = Seq2SeqDpo if context.lm.is_encoder_decoder else CausalDpo
        return kind(context, self.config, data, self.config.lora, self.config.beta)
