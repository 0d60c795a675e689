"""One row of a fit's adapters as the PEFT adapter that it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model
from transformers import PreTrainedModel

from harness.api import Adapters


def save_row(model: PreTrainedModel, adapters: Adapters, row: int, directory: Path) -> None:
    """Write row `row` of the banks as PEFT's save_pretrained does; `model` answers as before."""
    rank = next(a.shape[1] for a, _ in adapters.layers.values())
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,  # a scale of 1: the banks hold it
        target_modules=list(adapters.layers),
        task_type="SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    try:
        for name, (a, b) in adapters.layers.items():
            lora: Any = adapted.get_base_model().get_submodule(name)
            lora.lora_A["default"].weight.data = a[row].float().contiguous()
            lora.lora_B["default"].weight.data = b[row].float().contiguous()
        # No embeddings beside it: to tell whether they are needed, peft would ask the hub.
        adapted.save_pretrained(str(directory), save_embedding_layers=False)
    finally:
        adapted.unload()
