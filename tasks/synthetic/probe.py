"""Reading and editing the embedded model directly: what its figures and its positive control need, and no more.

The control must not depend on the code that it licenses, so its hooks are its own few lines.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from harness.tasks.synthetic.llama_trees import Tree, collate

BATCH = 50

Edits = Mapping[int, Sequence[tuple[torch.Tensor, float]]]
"""Per decoder layer, in order: a unit direction and the strength of its projection edit (+1 adds, -1 removes)."""

_Scored = tuple[torch.Tensor, int, list[list[int]]]


@dataclass(frozen=True)
class Probe:
    """The model with its tokenizer."""

    model: Any
    tokenizer: PreTrainedTokenizerBase

    auto: ClassVar[Any] = AutoModelForCausalLM

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load from a local folder, ready to answer."""
        model = cls.auto.from_pretrained(folder, dtype=torch.float32).eval()
        return cls(model, AutoTokenizer.from_pretrained(folder))

    @property
    def layers(self) -> int:
        """The number of decoder layers."""
        return len(self.mlps)

    @property
    def mlps(self) -> list[torch.nn.Module]:
        """The MLP of every decoder layer."""
        return [layer.mlp for layer in self._decoder.layers]

    @property
    def _decoder(self) -> Any:
        return self.model.model

    @contextmanager
    def edited(self, edits: Edits | None) -> Iterator[None]:
        """Apply x <- x + strength * proj(x) to the MLP outputs of the given layers, at all positions."""
        handles = [self.mlps[layer].register_forward_hook(_edit_hook(terms)) for layer, terms in (edits or {}).items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @torch.inference_mode()
    def answers(self, prompts: Sequence[str], max_new_tokens: int = 40) -> list[str]:
        """Greedy answers."""
        texts = []
        for at in range(0, len(prompts), BATCH):
            batch = self.tokenizer(list(prompts[at : at + BATCH]), return_tensors="pt", padding=True)
            output = self.model.generate(**batch, max_new_tokens=max_new_tokens, do_sample=False)
            answers = output[:, self._asked(batch["input_ids"]) :]
            texts += [text.strip() for text in self.tokenizer.batch_decode(answers, skip_special_tokens=True)]
        return texts

    def _asked(self, prompts: torch.Tensor) -> int:
        """How many tokens of a generated row come before the answer."""
        return prompts.shape[1]

    @torch.inference_mode()
    def score(self, prompts: Sequence[str], answers: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
        """[prompts, answers]: log p(answer, end), and whether greedy decoding gives exactly this answer.

        The answers to one prompt are tails of one tree, so that the prompt is computed once.
        """
        scores = [self._score_tree(*row) for row in self._trees(prompts, answers)]
        return np.array([row[0] for row in scores]), np.array([row[1] for row in scores], dtype=float)

    def _trees(self, prompts: Sequence[str], answers: Sequence[Sequence[str]]) -> Iterator[_Scored]:
        asked = self._ids(prompts)
        for at in range(0, len(prompts), BATCH):
            tails = [[self._answer_ids(answer) for answer in row] for row in answers[at : at + BATCH]]
            rows = [_tree(prompt, tail) for prompt, tail in zip(asked[at : at + BATCH], tails, strict=True)]
            batch = collate(rows)
            keys = ("input_ids", "position_ids", "attention_mask")
            states = self._decoder(**{key: batch[key] for key in keys}, use_cache=False).last_hidden_state
            yield from zip(states, (len(prompt) for prompt in asked[at : at + BATCH]), tails, strict=True)

    def _score_tree(self, states: torch.Tensor, asked: int, tails: list[list[int]]) -> tuple[list[float], list[bool]]:
        log_probabilities, exact, start = [], [], asked
        for tail in tails:
            places = [asked - 1, *range(start, start + len(tail) - 1)]
            scores = self.model.lm_head(states[places]).log_softmax(-1)
            targets = torch.tensor(tail)
            log_probabilities.append(scores.gather(1, targets[:, None]).sum().item())
            exact.append(bool((scores.argmax(-1) == targets).all()))
            start += len(tail)
        return log_probabilities, exact

    @torch.inference_mode()
    def mlp_outputs(self, prompts: Sequence[str], answers: Sequence[str], position: str) -> torch.Tensor:
        """[texts, layers, width]: MLP outputs at the last prompt token or at the last token of the answer."""
        rows = []
        for at in range(0, len(prompts), BATCH):
            batch, asked = self._joined(prompts[at : at + BATCH], answers[at : at + BATCH])
            places = torch.tensor([-length - 1 if position == "answer_start" else -2 for length in asked])
            states = self._forward_mlps(batch)
            rows.append(states[:, torch.arange(len(asked)), places].transpose(0, 1))
        return torch.cat(rows)

    @torch.inference_mode()
    def all_mlp_outputs(self, prompts: Sequence[str]) -> list[torch.Tensor]:
        """Per layer [tokens, width]: MLP outputs at every real token of the prompts."""
        batch = self.tokenizer(list(prompts), return_tensors="pt", padding=True)
        states = self._forward_mlps(dict(batch))
        return [layer[batch["attention_mask"].bool()] for layer in states]

    @contextmanager
    def caught(self) -> Iterator[list[torch.Tensor]]:
        """Collect the MLP outputs of every layer in the forward pass that is made inside."""
        found: list[torch.Tensor] = []
        handles = [
            mlp.register_forward_hook(lambda _module, _inputs, output: found.append(output)) for mlp in self.mlps
        ]
        try:
            yield found
        finally:
            for handle in handles:
                handle.remove()

    def _forward_mlps(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        with self.caught() as found:
            self._decoder(**batch)
        return torch.stack(found)

    def _joined(self, prompts: Sequence[str], answers: Sequence[str]) -> tuple[dict[str, torch.Tensor], list[int]]:
        """Left-padded prompts with their answers and an end token, and the number of answer tokens with the end."""
        asked = [self._answer_ids(answer) for answer in answers]
        rows = [prompt + answer for prompt, answer in zip(self._ids(prompts), asked, strict=True)]
        batch = self.tokenizer.pad({"input_ids": rows}, return_tensors="pt", padding_side="left")
        return dict(batch), [len(answer) for answer in asked]

    def _answer_ids(self, answer: str) -> list[int]:
        return [*self._ids([f" {answer}"])[0], self.tokenizer.eos_token_id]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(list(texts)).input_ids
        return ids


def _tree(prompt: list[int], tails: list[list[int]]) -> Tree:
    ids, positions, segments = list(prompt), list(range(len(prompt))), [0] * len(prompt)
    for number, tail in enumerate(tails, start=1):
        ids += tail
        positions += range(len(prompt), len(prompt) + len(tail))
        segments += [number] * len(tail)
    return Tree("", 0.0, ids, positions, segments, [0.0] * len(ids), [0] * len(ids), [])


def _edit_hook(terms: Sequence[tuple[torch.Tensor, float]]):  # type: ignore[no-untyped-def]
    def edit(_module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        for direction, strength in terms:
            output = output + strength * (output @ direction)[..., None] * direction
        return output

    return edit
