"""The embedded test instrument: a synthetic world and small models trained on it. Not evidence about real LLMs."""

from pathlib import Path

TINY_LLAMA = Path(__file__).parent / "tiny-llama"
TINY_T5 = Path(__file__).parent / "tiny-t5"
