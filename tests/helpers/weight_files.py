"""Writes weights files in exactly the layout of other programs, for the tests of the readers."""

from __future__ import annotations

import io
import itertools
import json
import struct
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

_SAFETENSORS_TYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}


def safetensors_bytes(
    tensors: Mapping[str, np.ndarray], *, metadata: Mapping[str, str] | None = None
) -> bytes:
    """Return a safetensors file, with the header padded to eight bytes as the Rust writer does."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    body = b""
    for name, array in tensors.items():
        data = np.ascontiguousarray(array).tobytes()
        header[name] = {
            "dtype": _SAFETENSORS_TYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    return safetensors_file(header, body)


def safetensors_file(header: object, body: bytes) -> bytes:
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def torch_bytes(value: object, *, legacy: bool = False, protocol: int = 2) -> bytes:
    """Return what torch.save writes, in the layout with or without a ZIP archive."""
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    return file.getvalue()


def compact_file(path: Path, *, seed: int, features: int = 8, layers: int = 2) -> None:
    """Write a 2x Compact network with random weights, as Real-ESRGAN's programs save it."""
    rng = np.random.default_rng(seed)
    sides = [3, *[features] * layers, 12]
    tensors: OrderedDict[str, torch.Tensor] = OrderedDict()
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sides)):
        weight = rng.standard_normal((outputs, inputs, 3, 3)) / (9 * inputs) ** 0.5
        tensors[f"body.{2 * index}.weight"] = torch.from_numpy(weight.astype(np.float32))
        tensors[f"body.{2 * index}.bias"] = torch.zeros(outputs)
        if index < layers:
            slopes = rng.uniform(0, 0.3, outputs).astype(np.float32)
            tensors[f"body.{2 * index + 1}.weight"] = torch.from_numpy(slopes)
    path.write_bytes(torch_bytes({"params": tensors}))
