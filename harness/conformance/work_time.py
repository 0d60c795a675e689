"""A time that only work moves: what fits into a budget is then the same on every machine, however busy it is."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from harness.model.architectures import mlp_modules

if TYPE_CHECKING:
    from harness.model.lm import HuggingFaceModel

TOKEN, LOOK = 0.01, 0.001


class WorkTime:
    """Called, it returns the time in seconds: `token` for every token that goes through a watched model, and for every
    step of any optimizer, and a little for every look, so that who waits for time to pass does not wait for ever.
    """

    def __init__(self, token: float = TOKEN) -> None:
        self._token = token
        self._now = 0.0

    def __call__(self) -> float:
        self._now += LOOK
        return self._now

    def watch(self, lm: HuggingFaceModel) -> HuggingFaceModel:
        """Count the tokens of this model from now on, in every pass through its decoder, training included."""

        def count(module: Any, given: tuple[Any, ...]) -> None:
            self._now += self._token * given[0].shape[:-1].numel()

        mlp_modules(lm.model)[0].register_forward_pre_hook(count)
        return lm

    def __enter__(self) -> WorkTime:
        """Count steps of optimizers until the end of the block."""

        def count(optimizer: Optimizer, given: tuple[Any, ...], named: dict[Any, Any]) -> None:
            self._now += self._token

        self._steps = register_optimizer_step_post_hook(count)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._steps.remove()
