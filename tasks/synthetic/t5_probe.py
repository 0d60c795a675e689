"""Reading and editing an embedded encoder-decoder: what differs from a decoder alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM

from harness.tasks.synthetic.probe import BATCH, Probe


class Seq2SeqProbe(Probe):
    """The decoder's start token stands for the prompt, and an answer is not joined to the prompt by a space."""

    auto: ClassVar[Any] = AutoModelForSeq2SeqLM

    @property
    def mlps(self) -> list[torch.nn.Module]:
        """The MLP of every decoder layer."""
        return [block.layer[2].DenseReluDense for block in self._decoder.block]

    @torch.inference_mode()
    def score(self, prompts: Sequence[str], answers: Sequence[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
        """[prompts, answers]: log p(answer, end), and whether greedy decoding gives exactly this answer."""
        log_probabilities, exact = [], []
        for at in range(0, len(prompts), BATCH):
            rows = answers[at : at + BATCH]
            asked = [self._answer_ids(answer) for row in rows for answer in row]
            states = self._decode(prompts[at : at + BATCH], [answer[:-1] for answer in asked])
            scores = self.model.lm_head(states * self.model.model_dim**-0.5).log_softmax(-1)
            for row, answer in zip(scores, asked, strict=True):
                targets = torch.tensor(answer)
                log_probabilities.append(row[range(len(answer)), targets].sum().item())
                exact.append(bool((row[: len(answer)].argmax(-1) == targets).all()))
        shape = len(prompts), -1
        return np.array(log_probabilities).reshape(shape), np.array(exact, dtype=float).reshape(shape)

    @torch.inference_mode()
    def mlp_outputs(self, prompts: Sequence[str], answers: Sequence[str], position: str) -> torch.Tensor:
        """[texts, layers, width]: MLP outputs at the start token or at the last token of the answer."""
        rows = []
        for at in range(0, len(prompts), BATCH):
            asked = [self._answer_ids(answer)[:-1] for answer in answers[at : at + BATCH]]
            with self.caught() as states:
                self._decode(prompts[at : at + BATCH], asked)
            places = [0 if position == "answer_start" else len(answer) for answer in asked]
            rows.append(torch.stack([layer[range(len(asked)), places] for layer in states], dim=1))
        return torch.cat(rows)

    @torch.inference_mode()
    def all_mlp_outputs(self, prompts: Sequence[str]) -> list[torch.Tensor]:
        """Per layer [tokens, width]: MLP outputs at the start token and at every token of the greedy answer."""
        asked = [self._answer_ids(answer)[:-1] for answer in self.answers(prompts)]
        with self.caught() as states:
            self._decode(prompts, asked)
        lengths = torch.tensor([1 + len(answer) for answer in asked])
        return [layer[torch.arange(layer.shape[1]) < lengths[:, None]] for layer in states]

    @property
    def _decoder(self) -> Any:
        return self.model.decoder

    def _decode(self, prompts: Sequence[str], answers: Sequence[list[int]]) -> torch.Tensor:
        """[answers, tokens, width] decoder states of the start token and the answer; prompts have equally many."""
        batch = self.tokenizer(list(prompts), return_tensors="pt", padding=True)
        states = self.model.encoder(**batch).last_hidden_state
        copies, longest = len(answers) // len(prompts), max(map(len, answers))
        start, pad = self.model.config.decoder_start_token_id, self.tokenizer.pad_token_id
        output = self._decoder(
            input_ids=torch.tensor([[start, *answer, *[pad] * (longest - len(answer))] for answer in answers]),
            encoder_hidden_states=states.repeat_interleave(copies, dim=0),
            encoder_attention_mask=batch["attention_mask"].repeat_interleave(copies, dim=0),
            use_cache=False,
        )
        hidden: torch.Tensor = output.last_hidden_state
        return hidden

    def _asked(self, prompts: torch.Tensor) -> int:
        return 1

    def _answer_ids(self, answer: str) -> list[int]:
        return [*self._ids([answer])[0], self.tokenizer.eos_token_id]


def load_probe(folder: Path) -> Probe:
    """The probe that fits the model in a local folder."""
    return (Seq2SeqProbe if AutoConfig.from_pretrained(folder).is_encoder_decoder else Probe).load(folder)
