"""ALOE and DPO with settings for toys, and a clock that counts what they train."""

import pytest
from transformers import Trainer

from harness.methods.aloe import Aloe, AloeConfig
from harness.methods.dpo import Dpo, DpoConfig
from harness.methods.fine_tuning.weights import LoraSettings

LORA = LoraSettings(r=2, alpha=4)
FAST = {"learning_rate": 1e-2, "batch_size": 2, "accumulation": 1}
TRAINERS = ("trl.SFTTrainer", "trl.DPOTrainer", "harness.methods.fine_tuning.seq2seq_trainer.Seq2SeqTraining")


def aloe(**config: object) -> Aloe:
    """Full fine-tuning unless told otherwise."""
    return Aloe(AloeConfig(**{**FAST, **config}))


def dpo(**config: object) -> Dpo:
    """A small adapter."""
    return Dpo(DpoConfig(**{**FAST, "lora": LORA, **config}))


class Ticks:
    """A clock that stands still but for `seconds` per micro-batch of whatever trains."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float = 1.0) -> None:
        self.time = 0.0
        for trainer in TRAINERS:
            monkeypatch.setattr(f"{trainer}.training_step", self._slow(Trainer.training_step, seconds))

    def __call__(self) -> float:
        return self.time

    def _slow(self, step, seconds):
        def training_step(trainer, *arguments, **keywords):
            self.time += seconds
            return step(trainer, *arguments, **keywords)

        return training_step
