"""Where each architecture keeps its decoder blocks and their MLPs."""

from collections.abc import Iterator
from typing import Any, get_args

from torch import Tensor, nn

from harness.api import HarnessError, Site

# The output of these modules is the MLP output x_l of Section 3.2, [B, T, d], before it joins the residual stream. The
# module that a path numbers is the decoder block, whose output is the residual stream.
MLP_PATHS = (
    "model.layers.{}.mlp",  # Llama, Mistral, Mixtral, Qwen, Gemma, Phi, OLMo
    "model.language_model.layers.{}.mlp",  # Gemma 3 with vision
    "transformer.h.{}.mlp",  # GPT-2, Falcon
    "gpt_neox.layers.{}.mlp",  # GPT-NeoX, Pythia
    "decoder.block.{}.layer.2.DenseReluDense",  # T5, FLAN-T5
)


def without_adapter(model: Any) -> Any:
    """The transformers model inside a peft wrapper, with the adapter's layers in place; any other model as it is."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def mlp_modules(model: nn.Module) -> list[nn.Module]:
    """The MLP of every decoder layer, in order. Raises HarnessError for an architecture that is not known."""
    return site_modules(model, "mlp")


def site_modules(model: nn.Module, site: Site) -> list[nn.Module]:
    """What gives the output at `site` in every decoder layer, in order; `hidden` finds it.

    Raises as `mlp_modules`, and ValueError for another site.
    """
    if site not in get_args(Site):
        raise ValueError(f"there is no site {site!r}; known: {', '.join(get_args(Site))}")
    inner = without_adapter(model)
    # Bloom matches a path, but its MLP adds the residual stream before it returns.
    kind = getattr(inner.config, "model_type", "")
    paths = () if kind == "bloom" else MLP_PATHS
    if site == "block" and kind.startswith("gemma3n"):
        raise HarnessError("A decoder layer of Gemma 3n gives several predictions of its output. Edit site=mlp.")
    for path in paths:
        if mlps := list(_numbered(inner, path)):
            return mlps if site == "mlp" else list(_numbered(inner, path[: path.index("{}") + 2]))
    tried = ", ".join(path.format("<i>") for path in MLP_PATHS)
    raise HarnessError(
        f"{type(inner).__name__} cannot be edited: no module is known to give the MLP output of its decoder layers. "
        f"Looked for {tried}. Use a Llama, Mistral, Qwen, Gemma, GPT-2, GPT-NeoX or T5 model, or add the path "
        "to harness/model/architectures.py."
    )


def hidden(output: Any) -> Tensor:
    """The representations [B, T, d] among what a module gives: a T5 block gives its attention's position biases too."""
    return output[0] if isinstance(output, tuple) else output


def masks_windows_itself(config: Any) -> bool:
    """Whether layers look back over a window that no cache knows of, counted in places, as GPT-Neo's local ones do."""
    return "local" in getattr(config, "attention_layers", ())


def _numbered(model: nn.Module, path: str) -> Iterator[nn.Module]:
    index = 0
    while True:
        try:
            yield model.get_submodule(path.format(index))
        except AttributeError:
            return
        index += 1
