"""ALOE and DPO with settings for toys, and a clock that counts what they train."""

import pytest

from harness.methods.aloe import Aloe, AloeConfig
from harness.methods.dpo import Dpo, DpoConfig
from harness.methods.fine_tuning.micro_batches import MicroBatched
from harness.methods.fine_tuning.weights import LoraSettings

LORA = LoraSettings(r=2, alpha=4)
FAST = {"learning_rate": 1e-2, "batch_size": 2, "accumulation": 1}


def aloe(**config: object) -> Aloe:
    """Full fine-tuning unless told otherwise."""
    return Aloe(AloeConfig(**{**FAST, **config}))


def dpo(**config: object) -> Dpo:
    """A small adapter."""
    return Dpo(DpoConfig(**{**FAST, "lora": LORA, **config}))


class Ticks:
    """A clock that stands still but for `seconds` per example of whatever trains."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.5) -> None:
        self.time = 0.0
        monkeypatch.setattr(MicroBatched, "learn", self._slow(MicroBatched.learn, seconds))

    def __call__(self) -> float:
        return self.time

    def _slow(self, real, seconds):
        def learn(trainer, model, rows, *rest):
            self.time += seconds * len(rows)
            return real(trainer, model, rows, *rest)

        return learn
