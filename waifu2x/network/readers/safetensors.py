"""Reads safetensors files: a JSON header with names, types and offsets, then the raw tensors.

Format: https://huggingface.co/docs/safetensors/index#format. As there, tensors must fill the file
without holes or overlaps. The header is limited to 2 MiB instead of 100 MB.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import numpy as np

from ..._text import reason
from ...errors import GraphError
from . import tensors as t

#: Parsed JSON takes up to 25 times its length in memory.
_MAX_HEADER: Final = 1 << 21

_BFLOAT16: Final = "BF16"
_DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    _BFLOAT16: np.dtype("<u2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def parse_safetensors(data: bytes) -> t.Tensors:
    """Read the tensors of a file; the arrays are read-only views of ``data``.

    Raises `GraphError` for a malformed header, and tensors that overlap, leave a hole, lie outside
    the file, or have an unknown type.
    """
    t.check_file_size(len(data))
    header, start = _header(data)
    header.pop("__metadata__", None)
    t.check_count(len(header))
    entries = sorted(
        ((*_entry(name, value), name) for name, value in header.items()),
        key=lambda entry: entry[:2],
    )
    body = memoryview(data)[start:]
    made: dict[str, t.Array] = {}
    at = 0
    for begin, end, kind, shape, name in entries:
        if begin != at:
            raise GraphError(
                f"safetensors: tensor {t.quoted(name)} begins at byte {begin} instead of {at}; "
                "tensors must not overlap or leave holes"
            )
        if end > len(body):
            raise GraphError(
                f"safetensors: tensor {t.quoted(name)} ends at byte {end}; the file has {len(body)}"
            )
        at = end
        array = np.frombuffer(body[begin:end], _DTYPES[kind]).reshape(shape)
        made[name] = t.widened(array) if kind == _BFLOAT16 else array
    if at != len(body):
        raise GraphError(f"safetensors: {len(body) - at} bytes of the file belong to no tensor")
    return {name: made[name] for name in header}


def parse_metadata(data: bytes) -> dict[str, str]:
    """Read the metadata of a file. Raises `GraphError` for a malformed header."""
    found = _header(data)[0].get("__metadata__", {})
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise GraphError("safetensors: the metadata must be pairs of strings")
    return found


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """Return the parsed header and the offset of the tensors."""
    if len(data) < 8:
        raise GraphError(f"safetensors: {len(data)} bytes are no safetensors file")
    (length,) = struct.unpack_from("<Q", data)
    if length > min(_MAX_HEADER, len(data) - 8):
        raise GraphError(
            f"safetensors: the header has {length} bytes; "
            f"allowed are {min(_MAX_HEADER, len(data) - 8)}"
        )
    text = data[8 : 8 + length]
    if not text.startswith(b"{"):
        raise GraphError("safetensors: the header must begin with {")
    try:
        header = json.loads(
            text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise GraphError(f"safetensors: malformed header: {reason(error)}") from error
    return header, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise GraphError(f"safetensors: the header has {t.quoted(name)} twice")
        made[name] = value
    return made


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _entry(name: str, value: object) -> tuple[int, int, str, tuple[int, ...]]:
    """Return begin, end, type and shape of a tensor."""
    where = f"safetensors: tensor {t.quoted(name)}"
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise GraphError(f"{where} must have dtype, shape and data_offsets")
    kind, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(kind, str) or kind not in _DTYPES:
        raise GraphError(
            f"{where} has the unknown type {t.quoted(str(kind))}; known are {', '.join(_DTYPES)}"
        )
    if not _whole_numbers(shape) or len(shape) > t.MAX_RANK:
        raise GraphError(f"{where} has no valid shape")
    if not _whole_numbers(offsets) or len(offsets) != 2:
        raise GraphError(f"{where} has no valid offsets")
    begin, end = offsets
    size = math.prod(shape) * _DTYPES[kind].itemsize
    if end - begin != size:
        raise GraphError(f"{where} needs {size} bytes, and its offsets span {end - begin}")
    return begin, end, kind, tuple(shape)


def _whole_numbers(value: object) -> bool:
    return isinstance(value, list) and all(
        type(number) is int and 0 <= number < 1 << 48 for number in value
    )
