"""How much memory training takes at least, known before any work."""

from torch import nn

from harness.api import HarnessError, LanguageModel
from harness.methods.fine_tuning.weights import LoraSettings

_TRAINED = 4 * 4  # bytes of a trained parameter: itself, its gradient and AdamW's two moments, in float32


def refuse_quantized(name: str, lm: LanguageModel) -> None:
    """Raise HarnessError if the weights, all of which the method `name` would train, are quantized."""
    if getattr(lm.model, "is_quantized", False):
        raise HarnessError(
            f"{name}: quantized weights cannot be trained themselves. Train an adapter on them with "
            f"--set {name}.training=lora, or leave out --quantization."
        )


def training_bytes(lm: LanguageModel, lora: LoraSettings | None) -> int:
    """Weights, gradients and optimizer states of a fit; activations come on top."""
    if lora is None:
        return _TRAINED * lm.model.num_parameters()
    adapted: str | set[str] | list[str] = lora.peft(lm.model).target_modules or set()
    ends = tuple(f".{name}" for name in ([adapted] if isinstance(adapted, str) else adapted))
    sides = [_sides(module) for name, module in lm.model.named_modules() if f".{name}".endswith(ends)]
    return lm.model.get_memory_footprint() + _TRAINED * lora.r * sum(sides)


def too_little(name: str, lm: LanguageModel, lora: LoraSettings | None, memory: int) -> list[str]:
    """The warning that a fit of the method `name` needs more than the `memory` there is, in bytes, if it does."""
    needed = training_bytes(lm, lora)
    if needed <= memory:
        return []
    advice = "Lower lora.r or quantize the model." if lora else f"Train an adapter: --set {name}.training=lora."
    return [
        f"{name} needs at least {needed / 2**30:.3g} GiB for weights, gradients and optimizer states, but the device "
        f"has {memory / 2**30:.3g} GiB: it will probably run out of memory. {advice}"
    ]


def _sides(module: nn.Module) -> int:
    """Inputs and outputs of a linear layer, whose weight may be packed; of another, the sides of its matrix."""
    if isinstance(module, nn.Linear):
        return module.in_features + module.out_features
    weight = getattr(module, "weight", None)
    return sum(weight.shape) if weight is not None and weight.ndim == 2 else 0
