"""What the MLPs or blocks put out while a model decodes, kept as far back as the last content token may lie."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from harness.api import Position, Site
from harness.model.architectures import hidden, site_modules

_STEPS = 4  # an answer ends with few tokens that are no content: white space, a line break, the end of sequence


class Recording:
    """Outputs of every layer at one position of each row of a batch, `states` [B, L, d], where they were seen.

    `content` gives the number of content tokens at the start of a row's new tokens, None where they are not the tokens
    that the text would be read as.
    """

    def __init__(self, position: Position, site: Site, content: Callable[[list[int]], int | None], count: int) -> None:
        self._position = position
        self._site = site
        self._content = content
        self._outputs: list[Tensor] = []
        self._passes: deque[tuple[int, list[int], Tensor]] = deque(maxlen=_STEPS)
        self._parts: list[tuple[list[int], Tensor]] = []
        self._fed = 0
        self.states: list[Tensor | None] = [None] * count

    @contextmanager
    def on(self, model: nn.Module) -> Iterator[None]:
        """See every pass through the model while the context is open."""
        modules = site_modules(model, self._site)

        def keep(module: nn.Module, args: object, output: Any) -> None:
            # A copy: a view would keep the outputs at all positions.
            self._outputs.append(hidden(output)[:, -1].detach().float().clone())
            del self._outputs[: -len(modules)]

        with ExitStack() as hooks:
            for module in modules:
                hooks.callback(module.register_forward_hook(keep).remove)
            yield

    def saw(self, rows: Sequence[int]) -> None:
        """A pass over these rows is over, one of those that `passed` sums up."""
        self._parts.append((list(rows), torch.stack(self._outputs, 1).cpu()))  # one wait for the device, not L

    def passed(self) -> None:
        """All rows that go on are through: first with their prompts, then with one more new token each time."""
        rows = [row for part, _ in self._parts for row in part]
        states = torch.cat([part for _, part in self._parts])
        self._parts.clear()
        if self._position == "last":
            self._passes.append((self._fed, rows, states))
        elif self._fed == 0:
            self.states = [*states]
        self._fed += 1

    def finish(self, tokens: dict[int, list[int]]) -> None:
        """These rows have no new tokens but these."""
        for row, ids in tokens.items() if self._position == "last" else ():
            wanted = self._content(ids)
            for fed, rows, states in self._passes:
                if fed == wanted and row in rows:
                    self.states[row] = states[rows.index(row)].clone()

    def lacks(self, row: int, ids: list[int]) -> bool:
        """Whether the last of a row's new tokens, which was not fed, is the one to record."""
        return self._position == "last" and self._content(ids) == len(ids)
