"""Writes safetensors files; see `waifu2x.network.readers.safetensors` for the format."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_DTYPES: Final = {"float64": "F64", "float32": "F32", "float16": "F16"}
#: The tensors begin at a multiple of this many bytes.
_ALIGNMENT: Final = 8


def to_safetensors(
    tensors: Mapping[str, npt.NDArray[Any]], *, metadata: Mapping[str, str] | None = None
) -> bytes:
    """Return a safetensors file of ``tensors``, in their order; equal tensors give equal bytes.

    tensors: arrays of floats by name.
    metadata: string pairs stored in the header.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    parts: list[bytes] = []
    at = 0
    for name, array in tensors.items():
        kind = _DTYPES[array.dtype.name]
        data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
        header[name] = {
            "dtype": kind,
            "shape": list(array.shape),
            "data_offsets": [at, at + len(data)],
        }
        at += len(data)
        parts.append(data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % _ALIGNMENT)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])
