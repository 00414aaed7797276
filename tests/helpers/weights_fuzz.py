"""The fuzz target of weights files: a reader returns a network or raises an error of this package.

``python weights_fuzz.py COUNT [SEED]`` checks COUNT mutations of small valid files and prints how
many of them were read. `tests/fuzz/fuzz_weights.py` runs the same target with atheris.
"""

from __future__ import annotations

import io
import json
import random
import struct
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from waifu2x.errors import GraphError
from waifu2x.network import architectures
from waifu2x.network.graph import Graph
from waifu2x.network.readers.chainer import parse_chainer
from waifu2x.network.readers.file import param_text
from waifu2x.network.readers.ncnn import parse_ncnn
from waifu2x.network.readers.onnx import parse_onnx
from waifu2x.network.readers.pytorch import parse_pytorch
from waifu2x.network.readers.safetensors import parse_safetensors
from waifu2x.network.readers.waifu2x_json import parse_waifu2x_json

#: Between the two files of ncnn in one input.
_SPLIT = b"\n\n--\n\n"

#: Arrays of a network are at most this much larger than the file.
_MOST_BYTES = 64


def _ncnn(data: bytes) -> Graph:
    param, _, weights = data.partition(_SPLIT)
    return parse_ncnn(param_text(param), weights)


READERS: dict[str, Callable[[bytes], Graph]] = {
    "safetensors": lambda data: architectures.build(parse_safetensors(data)),
    "pytorch": lambda data: architectures.build(parse_pytorch(data)),
    "onnx": parse_onnx,
    "json": parse_waifu2x_json,
    "chainer": parse_chainer,
    "ncnn": _ncnn,
}


def check(data: bytes) -> list[str]:
    """Read ``data`` with every reader; returns the names of those that read it.

    Raises AssertionError for a warning, a message of more than one line, or arrays that are out of
    proportion to the file. Exceptions other than `GraphError` propagate.
    """
    made = []
    for name, read in READERS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                graph = read(data)
                assert sum(value.channels for value in graph.values.values()) >= 1
                assert graph.parameters * 4 <= _MOST_BYTES * len(data) + (1 << 20)
                made.append(name)
            except GraphError as error:
                message = str(error)
                if not message.isprintable():
                    raise AssertionError(f"{name}: {message!r}") from error
    return made


# --- small valid files ----------------------------------------------------------------------------


class Seed(NamedTuple):
    """Bytes to mutate, and the function that makes a file of them."""

    payload: bytes
    wrap: Callable[[bytes], bytes]


def _same(payload: bytes) -> bytes:
    return payload


def _compact(inputs: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)

    def made(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    return {
        "body.0.weight": made(2, inputs, 3, 3),
        "body.0.bias": made(2),
        "body.1.weight": made(2),
        "body.2.weight": made(4 * inputs, 2, 3, 3),
        "body.2.bias": made(4 * inputs),
    }


def _member(archive: bytes, name: str) -> Seed:
    """Return a member of an archive as the payload; its checksum is always correct."""
    with zipfile.ZipFile(io.BytesIO(archive)) as source:
        contents = {info.filename: source.read(info) for info in source.infolist()}

    def wrap(payload: bytes) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as made:
            for member, data in {**contents, name: payload}.items():
                made.writestr(member, data)
        return file.getvalue()

    return Seed(contents[name], wrap)


def seeds() -> dict[str, Seed]:
    """Return a small valid file for each format and layout."""
    import torch

    from helpers.weight_files import safetensors_bytes, torch_bytes
    from waifu2x.network.writers.onnx import to_onnx

    tensors = _compact()
    state = {name: torch.from_numpy(array) for name, array in tensors.items()}
    graph = architectures.build(tensors)
    kind = {"class_name": "nn.SpatialConvolutionMM", "kW": 3, "kH": 3, "dW": 1, "dH": 1}
    layers = [
        {
            **kind,
            "padW": 0,
            "padH": 0,
            "nInputPlane": 1,
            "nOutputPlane": 1,
            "weight": np.ones((1, 1, 3, 3)).tolist(),
            "bias": [0.5],
        }
    ] * 2
    npz = io.BytesIO()
    arrays = {
        f"conv{i}/{k}": np.ones((1, 1, 3, 3)[:n], "f4")
        for i in (1, 2)
        for k, n in (("W", 4), ("b", 1))
    }
    np.savez(npz, **arrays)
    conv = np.ones(27, "<f4").tobytes()
    param = (
        "7767517\n6 7\nInput data 0 1 data 2=3\nSplit s 1 2 data a b\n"
        "Convolution c 1 1 a c 0=1 1=3 4=1 5=0 6=27 9=2 -23310=1,0.1\n"
        "Convolution d 1 1 c d 0=12 1=1 5=0 6=12\nPixelShuffle p 1 1 d p 0=2\n"
        "Interp i 1 1 b out 0=1 1=2.0 2=2.0\n"
    )
    param = param.replace("6 7", "7 8") + "BinaryOp add 2 1 p out y 0=0\n"
    weights = struct.pack("<I", 0) + conv + struct.pack("<I", 0) + conv[:48]
    zipped = torch_bytes({"params": state})
    files = {
        "safetensors": Seed(safetensors_bytes(tensors), _same),
        "safetensors-header": Seed(
            safetensors_bytes(tensors)[8:],
            lambda payload: struct.pack("<Q", (payload.find(b"}}") + 9) // 8 * 8) + payload,
        ),
        "zip": Seed(zipped, _same),
        "zip-pickle": _member(zipped, "archive/data.pkl"),
        "zip-pickle-4": _member(torch_bytes(state, protocol=4), "archive/data.pkl"),
        "legacy": Seed(torch_bytes({"params": state}, legacy=True), _same),
        "onnx": Seed(to_onnx(graph).SerializeToString(), _same),
        "json": Seed(json.dumps(layers).encode(), _same),
        "npz": Seed(npz.getvalue(), _same),
        "npy": _member(npz.getvalue(), "conv1/W.npy"),
        "ncnn": Seed(param.encode() + _SPLIT + weights, _same),
        "ncnn-layers": Seed(_ncnn_layers(), _same),
        "onnx-exported": Seed(_exported(), _same),
    }
    for name, module in _modules().items():
        arrays = {key: value.numpy() for key, value in module.state_dict().items()}
        files[name] = Seed(safetensors_bytes(arrays), _same)
        files[f"onnx-{name}"] = Seed(
            to_onnx(architectures.build(arrays)).SerializeToString(), _same
        )
    older = {key: value.numpy() for key, value in _modules()["esrgan"].first_names().items()}
    files["esrgan-older"] = Seed(safetensors_bytes(older), _same)
    return files


def _modules() -> dict[str, Any]:
    """Return a small torch module of each architecture."""
    from helpers import torch_networks

    return {
        "esrgan": torch_networks.RRDBNet(2, 1, 2, 1),
        "esrgan-unshuffled": torch_networks.RRDBNet(2, 1, 2, 2, 2),
        "span": torch_networks.Span(2, 2),
        "gated": torch_networks.Gated(2, 1, 1),
        "adaptive": torch_networks.Adaptive(2, 1, 1),
        "unet": torch_networks.UNet(2, 2, 1, 1),
        "cunet": torch_networks.CUNet(2),
        "cugan-4x": torch_networks.Cugan4x(),
    }


def _exported() -> bytes:
    """Return a model that torch exports, with foldable constants and every kind of join."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made = F.pad(self.first(x), (-2, -2, -2, -2))
            made = made / 3 + torch.tensor([1.0, 2, 3, 4]).view(1, 4, 1, 1)
            made = made * torch.sigmoid(made.mean((2, 3), keepdim=True))
            made = torch.cat([made, 1 - F.silu(made), torch.tanh(made[:, :, 0:])], 1)
            made = F.interpolate(F.pixel_shuffle(made, 2), scale_factor=2, mode="nearest")
            return self.last(F.pad(made, (1, 1, 1, 1)))[:, :, 2:-2, 2:-2].clamp(0, 1)

    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Network().eval(), (torch.zeros(1, 3, 20, 20),), file, dynamo=False, opset_version=17,
            input_names=["x"], dynamic_axes={"x": {0: "n", 2: "h", 3: "w"}},
        )  # fmt: skip
    return file.getvalue()


def _ncnn_layers() -> bytes:
    """Return an ncnn network with layers of most kinds."""
    lines = (
        "Input data 0 1 data 2=2",
        "PReLU p 1 1 data bent 0=2",
        "Swish w 1 1 bent swish",
        "TanH t 1 1 swish tanh",
        "Split s 1 3 tanh left right more",
        "Pooling mean 1 1 left mean 0=1 4=1",
        "InnerProduct squeeze 1 1 mean squeezed 0=1 1=1 2=2 9=1",
        "InnerProduct excite 1 1 squeezed gate 0=2 1=0 2=2 9=4",
        "Scale scale 2 1 right gate gated 0=-233",
        "MemoryData m 0 1 m 0=1 1=1 2=2",
        "BinaryOp less 2 1 gated m moved 0=1",
        "BinaryOp twice 1 1 moved doubled 0=2 1=1 2=2.0",
        "Eltwise sum 2 1 doubled more summed 0=1 -23301=2,0.25,1.0",
        "Deconvolution up 1 1 summed large 0=2 1=2 3=2 4=0 5=1 6=16",
        "Split s2 1 4 large a b c d",
        "Concat cat 4 1 a b c d wide",
        "Crop crop 1 1 wide cut -23309=2,2,2 -23310=2,-2,-2 -23311=2,-2,-1",
        "Pooling again 1 1 cut again 0=1 4=1",
        "BinaryOp times 2 1 cut again scaled 0=2",
        "Crop crop2 1 1 scaled inner -23309=2,2,2 -23310=2,-2,-2 -23311=2,-2,-1",
        "PixelShuffle shuffle 1 1 inner out 0=2",
    )
    blobs = sum(int(line.split()[3]) for line in lines)
    param = "\n".join(["7767517", f"{len(lines)} {blobs}", *lines, ""])

    def numbers(count: int, *, flag: bool = True) -> bytes:
        return b"\0\0\0\0" * flag + np.linspace(-1, 1, count, dtype="<f4").tobytes()

    weights = [
        numbers(2, flag=False),  # PReLU
        *(numbers(2), numbers(1, flag=False), numbers(2)),  # InnerProduct
        numbers(2, flag=False),  # MemoryData
        *(numbers(16), numbers(2, flag=False)),  # Deconvolution
    ]
    return param.encode() + _SPLIT + b"".join(weights)


_NUMBERS = (0, 1, 2, 3, 4, 7, 8, 0x7F, 0x80, 0xFF)
_WORDS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x10000, 0xFFFF)


def mutated(payload: bytes, rng: random.Random) -> bytes:
    """Return a payload with one to four changes of bytes, words and slices."""
    data = bytearray(payload)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        at = rng.randrange(len(data)) if data else 0
        length = rng.choice((1, 1, 2, 4, 8, rng.randrange(1, 64)))
        match rng.randrange(8):
            case 0 if data:
                data[at] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[at] = rng.choice(_NUMBERS)
            case 2:
                data[at : at + 4] = struct.pack("<I", rng.choice(_WORDS))
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + length] * rng.choice((1, 2, 50))
            case 5:
                other = rng.randrange(len(data)) if data else 0
                data[at : at + length] = data[other : other + length]
            case 6:
                data[at:at] = rng.randbytes(length)
            case 7 if rng.randrange(4) == 0:
                del data[at:]
    return bytes(data)


def main(count: int, seed: int) -> None:
    """Check ``count`` mutations; an exception ends the process, with the input in a file."""
    rng = random.Random(seed)
    files = seeds()
    for name, file in files.items():
        assert check(file.wrap(file.payload)), f"{name} is not a valid seed"
    read = dict.fromkeys(files, 0)
    for index in range(count):
        name = rng.choice(list(files))
        data = files[name].wrap(mutated(files[name].payload, rng))
        try:
            read[name] += bool(check(data))
        except BaseException:
            Path("fuzz-crash.bin").write_bytes(data)
            print(f"input {index}, a mutation of {name}, is in fuzz-crash.bin")
            raise
    print(f"{count} inputs, none escaped; read: {read}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
