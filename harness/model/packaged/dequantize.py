"""From a GGUF file to the folder that `save_pretrained` writes: float32 safetensors and the tokenizer."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from harness.api import HarnessError

_NOT_ARCHITECTURE = ("quantization_config", "_name_or_path", "dtype", "torch_dtype")


def require_gguf() -> None:
    """Raise HarnessError where the package that reads GGUF files is missing."""
    if importlib.util.find_spec("gguf") is None:
        raise HarnessError(
            "The weights are a GGUF file, and the package that reads it is not installed: "
            "pip install 'personalization-harness[real]'"
        )


def dequantize(gguf: Path, out: Path) -> Path:
    """Write the model and tokenizer of `gguf` into `out`, weights as float32, and return `out`.

    transformers dequantizes while loading but refuses to save what it marks as quantized, so the weights go into a
    model built from the same configuration without that mark.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = {"gguf_file": gguf.name, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **place)
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **place)
    settings = {key: value for key, value in loaded.config.to_dict().items() if key not in _NOT_ARCHITECTURE}
    model = type(loaded)(type(loaded.config)(**settings))
    model.load_state_dict(loaded.state_dict())
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out
