"""Sentence embeddings for the selection of history items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.api import HarnessError
from harness.model.loading import first_line
from harness.registry import model_folder

_BATCH = 64  # texts encoded at once


def load_embedder(name: str, device: str) -> Callable[[Sequence[str]], NDArray[np.float32]]:
    """A function from N texts to [N, e] float32.

    A sentence-transformers model by hub name or path; any other transformer folder, such as the embedded model, is
    mean-pooled. Raises HarnessError if it cannot be loaded.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    path = model_folder(name)
    try:
        if (Path(path) / "config.json").is_file() and not (Path(path) / "modules.json").is_file():
            transformer = Transformer(path)
            if transformer.tokenizer.pad_token is None:
                transformer.tokenizer.pad_token = transformer.tokenizer.eos_token
            pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="mean")
            model = SentenceTransformer(modules=[transformer, pooling], device=device)
        else:
            model = SentenceTransformer(path, device=device, trust_remote_code=False)
    except Exception as error:  # whatever the files are: see `loading.load_model`
        raise HarnessError(
            f"Cannot load the sentence embedder '{name}': {first_line(error)} Give a folder or a hub name "
            "that is reachable or cached, or set the preset's `embedder` to a registered model such as tiny-llama."
        ) from error

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        return np.asarray(
            model.encode(list(texts), batch_size=_BATCH, show_progress_bar=False, convert_to_numpy=True), np.float32
        )

    return embed
