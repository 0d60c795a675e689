"""The embedded test instruments: a synthetic world and small models trained on it. Not evidence about real LLMs."""

from pathlib import Path

from harness.api import Instrument

TINY_LLAMA = Instrument(Path(__file__).parent / "tiny-llama")
TINY_T5 = Instrument(Path(__file__).parent / "tiny-t5")
