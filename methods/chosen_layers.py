"""The decoder layers that a configuration names, for methods that edit some of them."""

from typing import Annotated

from pydantic import AfterValidator


def _distinct(layers: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if layers is not None and (not layers or len(set(layers)) < len(layers) or min(layers) < 0):
        raise ValueError("name at least one decoder layer, each once, counted from 0")
    return layers


ChosenLayers = Annotated[tuple[int, ...] | None, AfterValidator(_distinct)]
