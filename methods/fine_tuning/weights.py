"""The personalizer of methods that train: an adapter or a full set of weights, put into a model while it answers."""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load_file, save_file
from torch import nn

from harness.api import HarnessError, LanguageModel, Task
from harness.methods.base_prompt import BasePrompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_JSON, _TENSORS = "weights.json", "weights.safetensors"


class LoraSettings(BaseModel):
    """Without `target_modules` peft's own choice for the architecture is adapted (often query and value projections).

    Where peft has none, that is every linear layer but the vocabulary projection.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    r: int = Field(default=8, ge=1)
    alpha: int = Field(default=16, ge=1)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    target_modules: tuple[str, ...] | None = None

    def peft(self, model: "PreTrainedModel") -> LoraConfig:
        """The same as peft wants it for this transformers model."""
        own = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(model.config.model_type)
        default = linear_layers(model) if own is None else own if isinstance(own, str) else list(own)
        return LoraConfig(
            r=self.r,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            # Said in any case: peft's own choice is lost where transformers 5 has fused the experts of a mixture.
            target_modules=default if self.target_modules is None else list(self.target_modules),
            task_type="SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
        )


def linear_layers(model: "PreTrainedModel") -> list[str]:
    """Names of all linear layers but the vocabulary projection.

    peft's "all-linear" would adapt the fused experts of mixtures as well, which it cannot do with dropout.
    """
    head = model.get_output_embeddings()
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head]


def without_lora(model: "PreTrainedModel") -> None:
    """Take out, in place, the adapters that a trainer put into the model: peft's layers give way to those they wrap."""
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config


@dataclass
class Trained(BasePrompt):
    """The base prompt, answered by a model with other weights: an adapter's (`lora`) or, without one, all of them."""

    task: Task
    tensors: dict[str, torch.Tensor]
    lora: LoraSettings | None

    def patched_model(self, lm: LanguageModel) -> AbstractContextManager[object]:
        if self.lora is None:
            return _replaced(lm.model, self.tensors)
        return _adapted(lm.model, self.tensors, self.lora)

    def save_adapter(self, lm: LanguageModel, directory: Path) -> bool:
        if self.lora is None:
            raise HarnessError("What was fitted are all weights, no adapter. Fit with --set aloe.training=lora.")
        with _adapted(lm.model, self.tensors, self.lora) as adapted:
            # No embeddings beside it: to tell whether they are needed, peft would ask the hub.
            adapted.save_pretrained(str(directory), save_embedding_layers=False)
        return True

    def save(self, directory: Path) -> None:
        lora = None if self.lora is None else self.lora.model_dump(mode="json")
        (directory / _JSON).write_text(json.dumps({"lora": lora}, indent=1), encoding="utf-8")
        save_file(self.tensors, directory / _TENSORS)

    @staticmethod
    def saved_in(directory: Path) -> bool:
        """Whether `save` wrote there."""
        return (directory / _JSON).exists()

    @staticmethod
    def load(directory: Path, task: Task) -> "Trained":
        """Read what `save` wrote."""
        lora = json.loads((directory / _JSON).read_text(encoding="utf-8"))["lora"]
        settings = None if lora is None else LoraSettings.model_validate(lora)
        return Trained(task, load_file(directory / _TENSORS), settings)


def trained(model: nn.Module, lora: LoraSettings | None) -> dict[str, torch.Tensor]:
    """The adapter's weights, or all parameters."""
    return dict(model.named_parameters()) if lora is None else get_peft_model_state_dict(model)


def trained_tensors(model: nn.Module, lora: LoraSettings | None) -> dict[str, torch.Tensor]:
    """Copies, on the CPU, of the adapter's weights or of all parameters."""
    return on_cpu(trained(model, lora))


def on_cpu(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Contiguous copies on the CPU, which training on does not change."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


@contextmanager
def _replaced(model: nn.Module, tensors: dict[str, torch.Tensor]) -> Iterator[None]:
    """Exchange the parameters' storage, not their values, so that putting it back restores every bit."""
    parameters = dict(model.named_parameters())
    own = {name: parameters[name].data for name in tensors}
    try:
        for name, tensor in tensors.items():
            parameters[name].data = tensor.to(own[name])
        _tell_rounding(parameters, own)
        yield
    finally:
        for name, data in own.items():
            parameters[name].data = data


def _tell_rounding(parameters: Mapping[str, nn.Parameter], before: Mapping[str, torch.Tensor]) -> None:
    """Warn where most of what training changed is lost, as answers are given in half precision."""
    halves = [name for name, data in before.items() if data.dtype.itemsize == 2]
    same = sum(int((parameters[name] == before[name]).sum()) for name in halves)
    count = sum(before[name].numel() for name in halves)
    if same > count / 2:
        warnings.warn(
            f"{same / count:.0%} of the trained weights are what they were once they are rounded to "
            f"{before[halves[0]].dtype}: the answers show little of the training. Use --dtype float32, or train an "
            "adapter.",
            stacklevel=3,
        )


@contextmanager
def _adapted(model: "PreTrainedModel", tensors: dict[str, torch.Tensor], lora: LoraSettings) -> Iterator[PeftModel]:
    """Insert the adapter's layers and take them out again; peft works on the model in place."""
    learning = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    adapted = PeftModel(model, lora.peft(model))
    try:
        set_peft_model_state_dict(adapted, tensors)
        adapted.eval()
        yield adapted
    finally:
        adapted.unload()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(learning[name])
