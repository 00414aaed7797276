"""Packets of TGA and PCX: runs of a value and literal values, expanded by NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

# Values that are expanded at once, so that wide copies stay small.
_STRIP = 1 << 18


def expand(
    data: bytes, count: int, unit: int, steps: Sequence[int], counts: Sequence[int], runs: Bytes
) -> Bytes | None:
    """Return ``count`` values (count, unit); None if the data ends before.

    A packet is a byte and its values of ``unit`` bytes. By the value of the byte:
    steps: bytes from a packet to the next; 1 if the byte is itself the value.
    counts: values that the packet stands for. runs: 1 for a run of one value, else 0.
    Packets cross rows. Nothing of the size of the picture is allocated before the data is there.
    """
    starts: list[int] = []
    parts: list[Bytes] = []
    at = found = waiting = 0
    end = len(data)
    source = np.frombuffer(data, np.uint8)
    while found < count and at < end:
        head = data[at]
        following = at + steps[head]
        if following > end:
            return None
        starts.append(at)
        at = following
        found += counts[head]
        waiting += counts[head]
        if waiting >= _STRIP:
            parts.append(_expanded(source, starts, unit, steps, counts, runs))
            starts.clear()
            waiting = 0
    if found < count:
        return None
    if starts:
        parts.append(_expanded(source, starts, unit, steps, counts, runs))
    return np.concatenate(parts)[:count]


def _expanded(
    source: Bytes,
    starts: list[int],
    unit: int,
    steps: Sequence[int],
    counts: Sequence[int],
    runs: Bytes,
) -> Bytes:
    places = np.array(starts, np.int64)
    heads = source[places]
    lengths = np.array(counts, np.int64)[heads]
    first = np.cumsum(lengths) - lengths
    offset = np.arange(int(lengths.sum())) - np.repeat(first, lengths)
    offset *= unit * np.repeat(1 - runs[heads].astype(np.int64), lengths)
    offset += np.repeat(places + (np.array(steps, np.int64)[heads] > 1), lengths)
    found: Bytes = source[offset[:, None] + np.arange(unit)]
    return found
