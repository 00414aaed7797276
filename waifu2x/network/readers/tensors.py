"""Common parts of the readers of tensor files: limits, names in messages, prefixes of names.

A reader maps the bytes of a file to named arrays. The arrays are views of the file as far as the
data type allows, so reading takes no memory for tensors that no network needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from ..._text import shortened, shown
from ...errors import GraphError

Array: TypeAlias = npt.NDArray[Any]

#: Arrays by name; bfloat16 as float32, numbers as arrays without dimensions.
Tensors: TypeAlias = Mapping[str, Array]

#: Largest weights file in bytes; RRDB with 23 blocks has 67 MB, 134 MB with its moving average.
MAX_FILE_BYTES: Final = 1 << 29
#: Most tensors of a file; RRDB with 23 blocks has 702.
MAX_TENSORS: Final = 1 << 16
#: Most dimensions of a tensor.
MAX_RANK: Final = 8

_LONGEST_NAME: Final = 80


def quoted(name: str) -> str:
    """Return a name of a file in quotes, printable and short enough for a message."""
    return f"'{shortened(shown(name), _LONGEST_NAME)}'"


def widened(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """Return bfloat16 values, given as their bits, as float32."""
    return np.left_shift(bits, 16, dtype=np.uint32).view(np.float32)


def check_file_size(size: int) -> None:
    """Raise `GraphError` for a file of ``size`` bytes that is too large to be read."""
    if size > MAX_FILE_BYTES:
        raise GraphError(f"the weights file has {size} bytes; at most {MAX_FILE_BYTES} are read")


def check_count(count: int) -> None:
    """Raise `GraphError` for more tensors than a file may have."""
    if count > MAX_TENSORS:
        raise GraphError(f"the weights file has {count} tensors; at most {MAX_TENSORS} are read")


def without_prefix(tensors: Tensors, prefix: str = "module.") -> Tensors:
    """Return the tensors under names without ``prefix`` if all of them have the prefix.

    torch.nn.DataParallel puts "module." in front of every name.
    """
    if not tensors or not all(name.startswith(prefix) for name in tensors):
        return tensors
    return {name.removeprefix(prefix): array for name, array in tensors.items()}
