"""Faults to plant in the running code, one at a time: silent ones, that a person would not see in a table of scores."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Fault:
    """`cells` of the baseline that it concerns: a run, a task, and labels of methods."""

    name: str
    cells: tuple[str, str, tuple[str, ...]]
    plant: Plant


class Faults(list[Fault]):
    """Those of one file."""

    def add(self, name: str, run: str, task: str, *labels: str) -> Callable[[Plant], Plant]:
        """Add the decorated function as a fault."""

        def add(plant: Plant) -> Plant:
            self.append(Fault(name, (run, task, labels), plant))
            return plant

        return add
