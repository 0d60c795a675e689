"""Readers under mutated inputs read or raise HarnessError, and nothing else. `tests.fuzz.long` does it for longer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api import HarnessError
from tests.fuzz.mutating import mutated
from tests.fuzz.readers import BOMBS, READERS

EXAMPLES = 40  # per reader; some seconds in all


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("name", READERS)
def test_valid_inputs_are_read(name: str, folder: Path) -> None:
    for content in READERS[name].valid:
        READERS[name].read(folder, content)


@pytest.mark.parametrize(("name", "content"), [(name, bomb) for name, bombs in BOMBS.items() for bomb in bombs])
def test_bombs_are_refused(name: str, content: bytes, folder: Path) -> None:
    with pytest.raises(HarnessError):
        READERS[name].read(folder, content)


@pytest.mark.parametrize("name", READERS)
@given(random=st.randoms(use_true_random=False))
@settings(max_examples=EXAMPLES, deadline=None)
def test_mutated_inputs_are_read_or_refused(name: str, folder: Path, random: Random) -> None:
    reader = READERS[name]
    with suppress(HarnessError):
        reader.read(folder, mutated(random.choice(reader.valid), random))
