"""Which prompts begin alike: what they share is computed once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise

_SHORTEST = 16  # tokens; a pass of its own for fewer costs more than it saves
_SHARE = 0.25  # of the sequence; templates alone, which most prompts share, are not worth it either
_SAVING = 0.9  # of the padded tokens of one pass, at most, after sharing


def groups(sequences: Sequence[list[int]], kinds: Sequence[Hashable]) -> list[list[int]]:
    """A partition of the positions in `sequences`: what stands together begins alike and is of one kind.

    Greedy over the sorted sequences: a sequence joins its neighbour's group where that saves more tokens than to share
    with the sequence that follows it.
    """
    order = sorted(range(len(sequences)), key=lambda index: (hash(kinds[index]), sequences[index]))
    alike = [
        _worth(sequences[one], sequences[other]) if kinds[one] == kinds[other] else 0 for one, other in pairwise(order)
    ]
    found: list[list[int]] = []
    prefix = 0  # tokens that the last group shares
    for place, index in enumerate(order):
        before, after = (alike[place - 1] if place else 0), (alike[place] if place < len(alike) else 0)
        if before and len(found[-1]) == 1:
            joined, gain = before, before
        else:
            joined = min(prefix, before)
            gain = len(found[-1]) * joined - (len(found[-1]) - 1) * prefix if before else 0
        if before and gain >= after - joined:
            found[-1].append(index)
            prefix = joined
        else:
            found.append([index])
            prefix = 0
    return found


def split(sequences: Sequence[list[int]], limits: Sequence[int], sizes: Sequence[int]) -> list[int] | None:
    """How many tokens each group of a batch computes once; None where that saves too little.

    `sizes` are those of the groups, in batch order; of sequence i, `limits[i]` tokens at most may be in the prefix. A
    group of one gets the rest of a sequence beside the others' longest suffix, which it is padded to anyhow.
    """
    members: list[range] = []
    for size in sizes:
        start = members[-1].stop if members else 0
        members.append(range(start, start + size))
    common = [_common([sequences[i] for i in rows], min(limits[i] for i in rows)) for rows in members]
    together = [(rows, length) for rows, length in zip(members, common, strict=True) if len(rows) > 1]
    if not together:
        return None
    width = max(len(sequences[i]) - length for rows, length in together for i in rows)
    prefixes = [
        length if len(rows) > 1 else min(limits[rows[0]], max(1, len(sequences[rows[0]]) - width))
        for rows, length in zip(members, common, strict=True)
    ]
    rest = max(len(sequences[i]) - length for rows, length in zip(members, prefixes, strict=True) for i in rows)
    shared = len(members) * max(prefixes) + len(sequences) * rest
    whole = len(sequences) * max(map(len, sequences))
    return prefixes if min(prefixes) > 0 and shared <= _SAVING * whole else None


def _worth(one: list[int], other: list[int]) -> int:
    """Tokens that two sequences share at the beginning; 0 where they are too few to matter."""
    shared = _common([one, other], min(len(one), len(other)))
    return shared if shared >= max(_SHORTEST, _SHARE * min(len(one), len(other))) else 0


def _common(sequences: Sequence[list[int]], limit: int) -> int:
    """The length of the longest common prefix, `limit` at most."""
    # The smallest and the largest differ first; the halves are compared by lists, not token by token.
    low, high = min(sequences), max(sequences)
    least, most = 0, min(limit, len(low), len(high))
    while least < most:
        middle = (least + most + 1) // 2
        if low[least:middle] == high[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least
