"""Log-likelihoods of answers, with logits only where an answer's token is predicted."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, logsigmoid

from harness.methods.fine_tuning.micro_batches import MicroBatched
from harness.methods.fine_tuning.training_data import Record

IGNORED = -100  # the label of what is no answer


def log_likelihoods(model: nn.Module, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:
    """Sum of log p over the tokens of each row's answer, in nats, [B] float32; all three are [B, T].

    A prompt has hundreds of tokens and an answer few, so most logits [B, T, V] would be made for nothing.
    """
    targets = labels[:, 1:]
    kept = (targets != IGNORED).any(0).nonzero()[:, 0]
    logits = model(
        input_ids=input_ids, attention_mask=attention_mask, use_cache=False, logits_to_keep=kept
    ).logits.float()
    targets = targets[:, kept]
    losses = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
    return -losses.view_as(targets).sum(1)


class Preference(MicroBatched):
    """Equation 7 of Rafailov et al. (2023); the model without its adapter is the reference, asked once a pair."""

    beta: float

    def takes(self, rows: int) -> None:
        super().takes(rows)
        self._reference: dict[int, Tensor] = {}

    def answers(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Log-likelihoods of all chosen answers, then of all rejected ones, [2 * B]."""
        raise NotImplementedError

    def weight(self, row: Record) -> int:
        return 1

    def length(self, row: Record) -> int:
        return 2 * (len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])))

    def piece_loss(self, model: nn.Module, batch: dict[str, Tensor], places: list[int]) -> Tensor:
        """-log sigmoid(beta * (log-ratio of the chosen - log-ratio of the rejected)), summed over the pairs."""
        reference = self._of_the_reference(model, batch, places)
        chosen, rejected = (self.answers(model, batch).view(2, -1) - reference).unbind()
        return -logsigmoid(self.beta * (chosen - rejected)).sum()

    def _of_the_reference(self, model: nn.Module, batch: dict[str, Tensor], places: list[int]) -> Tensor:
        if not self._reference.keys() >= set(places):
            with torch.no_grad(), self.accelerator.unwrap_model(model).disable_adapter():
                found = self.answers(model, batch).view(2, -1)
            self._reference |= dict(zip(places, found.unbind(1), strict=True))
        return torch.stack([self._reference[place] for place in places], 1)
