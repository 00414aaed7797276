"""Reads a network from a file of any supported format, which the first bytes decide.

| format | files |
|---|---|
| ncnn | a .param with its .bin next to it |
| PyTorch | .pth, .pt: a state dict |
| safetensors | .safetensors: a state dict |
| ONNX | .onnx, with external data in its folder or below |
| waifu2x JSON | .json of nagadomi's first waifu2x |
| Chainer | .npz of waifu2x-chainer |
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from ..._text import reason, shortened, shown
from ...errors import GraphError, WeightsError
from .. import architectures
from ..adapt import adapted
from ..graph import Graph
from . import tensors as t
from ._zip import MAGIC, Archive
from .chainer import parse_chainer
from .levels import at_level
from .ncnn import parse_ncnn
from .onnx import parse_metadata as onnx_metadata
from .onnx import parse_onnx
from .pytorch import is_pytorch, parse_pytorch
from .safetensors import parse_metadata as safetensors_metadata
from .safetensors import parse_safetensors
from .waifu2x_json import parse_waifu2x_json

_NCNN: Final = b"7767517"
#: Largest ncnn .param; RRDB with 23 blocks has 150 KB. Its layers take 100 times their text.
_MAX_PARAM: Final = 1 << 20
#: The entry in the metadata of safetensors for the enlargement in front of a 1x network.
ENLARGED: Final = "enlarged"
_FACTORS: Final = ("1", "2", "3", "4")
_LONGEST_MESSAGE: Final = 360
_SPACES: Final = str.maketrans("\r\n\t", "   ")
_FORMATS: Final = "ncnn .param, .pth, .pt, .safetensors, .onnx, waifu2x .json and Chainer .npz"


def read_file(path: str | os.PathLike[str]) -> Graph:
    """Read the network in a file; networks of one channel are run on the luma of RGB.

    Of the waifu2x JSON and Chainer files, 1x networks with "scale" in their name get the nearest
    enlargement in front of them for which they were trained.

    Raises `WeightsError` if the file cannot be read, and `GraphError` for what is in it.
    """
    path = Path(path)
    data = _read(path)
    try:
        return _adapted(data, path)
    except GraphError as error:
        raise GraphError(about(path, error)) from error


def about(path: Path, error: Exception) -> str:
    """Return the message of an error in a file, on one line of limited length."""
    return shortened(shown(f"{path.name}: {error}"), _LONGEST_MESSAGE)


def read_tensors(path: str | os.PathLike[str]) -> t.Tensors | None:
    """Read a state dict of any architecture; None if the file is of another format.

    Raises the errors of `read_file`.
    """
    path = Path(path)
    return _tensors(_read(path), path)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read the metadata of a safetensors or ONNX file; other formats have none.

    Raises the errors of `read_file`.
    """
    path = Path(path)
    if path.suffix.lower() not in (".safetensors", ".onnx"):
        return {}
    data = _read(path)
    return safetensors_metadata(data) if _is_safetensors(data, path) else onnx_metadata(data)


def read_safetensors(data: bytes) -> Graph:
    """Read the network in a safetensors file, as `read_file` does; of several, the first.

    The enlargement in front of a 1x network is in the metadata, see `ENLARGED`.

    Raises `GraphError`.
    """
    return adapted(architectures.build(at_level(parse_safetensors(data), None)), _factor(data))


def _factor(data: bytes) -> int:
    """Return the factor of the enlargement in front of a network, from the metadata."""
    text = safetensors_metadata(data).get(ENLARGED, "1")
    if text not in _FACTORS:
        raise GraphError(f"safetensors: {ENLARGED} is {t.quoted(text)}; it must be 1 to 4")
    return int(text)


def _adapted(data: bytes, path: Path) -> Graph:
    graph, older = _parsed(data, path)
    enlarges = older and graph.scale == 1 and "scale" in path.stem.lower()
    return adapted(graph, 2 if enlarges else 1)


def _parsed(data: bytes, path: Path) -> tuple[Graph, bool]:
    """Return the network, and whether it is one of the older formats without a scale."""
    if data.startswith(_NCNN):
        if len(data) > _MAX_PARAM:
            raise GraphError(f"the ncnn .param file has {len(data)} bytes, more than {_MAX_PARAM}")
        return parse_ncnn(param_text(data), _read(path.with_suffix(".bin"))), False
    if data.startswith(MAGIC) and _is_chainer(data):
        return parse_chainer(data), True
    if is_pytorch(data):
        return architectures.build(parse_pytorch(data)), False
    if _is_safetensors(data, path):
        return read_safetensors(data), False
    if data.lstrip()[:1] == b"[":
        return parse_waifu2x_json(data), True
    if path.suffix.lower() == ".onnx" or data.startswith(b"\x08"):
        return parse_onnx(data, path.parent), False
    raise GraphError(f"no weights file; supported are {_FORMATS}")


def _tensors(data: bytes, path: Path) -> t.Tensors | None:
    if is_pytorch(data):
        return parse_pytorch(data)
    return parse_safetensors(data) if _is_safetensors(data, path) else None


def _is_safetensors(data: bytes, path: Path) -> bool:
    return path.suffix.lower() == ".safetensors" or data[8:9] == b"{"


def _is_chainer(data: bytes) -> bool:
    return any(name.endswith(".npy") for name in Archive(data, deflated=True).names)


def param_text(data: bytes) -> str:
    """Return the text of an ncnn .param file. Raises `GraphError` for control characters."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise GraphError("the ncnn .param file is malformed: it is not UTF-8") from None
    if not text.translate(_SPACES).isprintable():
        raise GraphError("the ncnn .param file is malformed: it has control characters")
    return text


def _read(path: Path) -> bytes:
    try:
        if path.is_file():
            t.check_file_size(path.stat().st_size)
        else:
            path.stat()  # raises for a missing file
            raise WeightsError(f"cannot read weights {shown(path)}: not a file")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise WeightsError(f"cannot read weights {shown(path)}: {reason(error)}") from error
