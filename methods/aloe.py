"""ALOE (Wu et al. 2024), the paper's fine-tuning baseline: SFT on the users' examples, loss on answers."""

import json
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

from datasets import Dataset
from pydantic import Field, field_validator, model_validator

from harness.api import Example, FitContext, HarnessError, LanguageModel, Method, Personalizer, Task, home
from harness.methods.fine_tuning.causal_trainer import Sft
from harness.methods.fine_tuning.memory import refuse_quantized, too_little
from harness.methods.fine_tuning.micro_batches import MicroBatched
from harness.methods.fine_tuning.seq2seq_trainer import Seq2SeqSft
from harness.methods.fine_tuning.trainer import TrainingConfig, fit_weights, load_weights
from harness.methods.fine_tuning.training_data import Row, room, training_prompt
from harness.methods.fine_tuning.weights import LoraSettings


class AloeConfig(TrainingConfig):
    """Defaults are Appendix A.5's. `general_fraction` of all records come from `general_data`, a local JSONL file.

    Its lines are {"prompt": ..., "completion": ...}; the paper mixes in as much of CodeAct (Wang et al. 2024).
    """

    training: Literal["full", "lora"] = "full"
    lora: LoraSettings = LoraSettings()
    learning_rate: float = Field(default=1e-5, gt=0)
    batch_size: int = Field(default=1, ge=1)
    accumulation: int = Field(default=48, ge=1)
    max_length: int = Field(default=8192, ge=1)
    general_data: Path | None = None
    general_fraction: float = Field(default=0.0, ge=0, lt=1)

    @field_validator("general_data")
    @classmethod
    def _home(cls, path: Path | None) -> Path | None:
        return path and home(path)

    @model_validator(mode="after")
    def _general_data_is_named(self) -> "AloeConfig":
        if self.general_fraction and self.general_data is None:
            raise ValueError("general_fraction needs general_data, the path of a JSONL file")
        return self

    @property
    def adapter(self) -> LoraSettings | None:
        """`lora` if it is trained; None where all weights are."""
        return self.lora if self.training == "lora" else None


class Aloe(Method):
    """Fine-tunes one model, or one LoRA, on the examples of all users (ALOE-SFT); everybody is served by it."""

    Config = AloeConfig

    def check_model(self, lm: LanguageModel, memory: int) -> list[str]:
        if self.config.adapter is None:
            refuse_quantized("aloe", lm)
        return too_little("aloe", lm, self.config.adapter, memory)

    def fit(self, context: FitContext) -> Personalizer:
        lora = self.config.adapter
        rows: list[Row] = []
        forecast = self.config.forecast(context, rows, lora, share=1 - self.config.general_fraction)
        for batch in context.examples(self.config.generation_batch_size, forecast.reserve):
            rows += self._personal_rows(context, batch)
        if self.config.general_fraction and rows:
            with context.clock.phase("general data"):
                rows += self._general_rows(context, len(rows))
                random.Random(context.seed).shuffle(rows)
        return fit_weights(context, forecast, lora, lambda data: self._trainer(context, data, lora))

    def load(self, directory: Path, task: Task) -> Personalizer:
        return load_weights(directory, task)

    def _personal_rows(self, context: FitContext, batch: Sequence[Example]) -> Iterator[Row]:
        for example in batch:
            prompt = training_prompt(context, self.config.max_length, example, [example.answer])
            if prompt is not None:
                yield Row(prompt, {"completion": example.answer}, example.user)

    def _general_rows(self, context: FitContext, personal: int) -> list[Row]:
        wanted = round(personal * self.config.general_fraction / (1 - self.config.general_fraction))
        lines = _read(self.config.general_data)
        random.Random(context.seed).shuffle(lines)
        fitting = (row for row in lines if self._fits(context, row))
        rows = list(islice(fitting, wanted))
        context.report.counts["general_examples"] = len(rows)
        return rows

    def _fits(self, context: FitContext, row: Row) -> bool:
        return context.lm.count_tokens(row.prompt) <= room(context.lm, self.config.max_length, row.answers.values())

    def _trainer(self, context: FitContext, data: Dataset, lora: LoraSettings | None) -> MicroBatched:
        model = context.lm.model
        if lora is None:
            model.float()  # steps of 1e-5 round to nothing in half precision
        kind = Seq2SeqSft if context.lm.is_encoder_decoder else Sft
        return kind(context, self.config, data, lora)


def _read(path: Path) -> list[Row]:
    try:
        # str.splitlines would also split at U+2028, which JSON allows in text.
        with path.open(encoding="utf-8") as file:
            lines = [json.loads(line) for line in file if line.strip()]
        return [Row(str(line["prompt"]), {"completion": str(line["completion"])}, "") for line in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HarnessError(
            f"aloe: general_data {path} cannot be read ({error}). Give a JSONL file whose lines have prompt and "
            "completion, or set general_fraction=0."
        ) from error
