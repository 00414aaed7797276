"""Reads the Chainer weights of waifu2x-chainer: vgg7, upconv7, resnet10 and upresnet10.

Sources: chainer.serializers.save_npz, which is numpy.savez_compressed with "/" in names, and
https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from ...errors import GraphError
from .. import architectures
from ..graph import Graph
from . import tensors as t
from ._zip import Archive

#: Most bytes of all arrays; upresnet10 has 1.7 MB.
_MAX_BYTES: Final = 1 << 26
_MAGIC: Final = b"\x93NUMPY"
_HEADER: Final = re.compile(
    rb"\{'descr': '(<f[248])', 'fortran_order': (False|True), "
    rb"'shape': \(((?:[0-9]{1,9}, ?)*[0-9]{0,9})\), \} *\n"
)
_CONVOLUTION: Final = re.compile(r"conv([0-9]{1,2})\.(weight|bias)")
_KINDS: Final = {"W": "weight", "b": "bias"}


def parse_chainer(data: bytes) -> Graph:
    """Read a network; it has one channel (luma) or three (RGB).

    vgg7 and resnet10 have the scale 1: for denoising, or to sharpen a picture that was enlarged
    before.

    Raises `GraphError` for a damaged file, and for arrays of other networks.
    """
    t.check_file_size(len(data))
    archive = Archive(data, deflated=True)
    if sum(archive.size(name) for name in archive.names) > _MAX_BYTES:
        raise GraphError(f"Chainer file: more than {_MAX_BYTES} bytes of arrays")
    tensors: dict[str, t.Array] = {}
    for member in archive.names:
        layer, _, kind = member.removesuffix(".npy").rpartition("/")
        if kind not in _KINDS or not member.endswith(".npy"):
            raise GraphError(f"Chainer file: not understood: {t.quoted(member)}")
        name = f"{layer.replace('/', '.')}.{_KINDS[kind]}"
        array = _array(member, bytes(archive.read(member)))
        # A fully connected layer on means is a 1x1 convolution.
        tensors[name] = array[:, :, None, None] if array.ndim == 2 else array
    return architectures.build(_as_sequence(tensors))


def _array(member: str, data: bytes) -> t.Array:
    """Read a .npy file; Python objects, which are pickled, are refused by their type."""
    where = f"Chainer file: {t.quoted(member)}"
    version = data[6:7]
    if not data.startswith(_MAGIC) or version not in (b"\x01", b"\x02", b"\x03"):
        raise GraphError(f"{where} is no .npy file")
    start = 10 if version == b"\x01" else 12
    length = int.from_bytes(data[8:start], "little")
    header = _HEADER.fullmatch(data[start : start + length])
    if length > 1024 or header is None:
        raise GraphError(f"{where} has no supported header; arrays of floats are read")
    dtype = np.dtype(header[1].decode())
    shape = tuple(int(side) for side in header[3].decode().split(",") if side.strip())
    size = dtype.itemsize
    for side in shape:
        size *= side
    body = data[start + length :]
    if len(shape) > t.MAX_RANK or size != len(body):
        raise GraphError(f"{where} needs {size} bytes and has {len(body)}")
    return np.frombuffer(body, dtype).reshape(shape, order="F" if header[2] == b"True" else "C")


def _as_sequence(tensors: t.Tensors) -> t.Tensors:
    """Rename layers "conv1", "conv2", ... to those of nunif; other networks keep their names."""
    if "conv1.weight" not in tensors:
        return tensors
    renamed = {}
    for name, array in tensors.items():
        if found := _CONVOLUTION.fullmatch(name):
            name = f"net.{2 * int(found[1]) - 2}.{found[2]}"
        renamed[name] = array
    if len(renamed) != len(tensors):
        raise GraphError("Chainer file: a layer twice")
    return renamed
