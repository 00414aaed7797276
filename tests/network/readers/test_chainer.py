from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import pytest
import torch
from helpers.torch_networks import Stack, crop, lrelu
from torch import Tensor, nn

from waifu2x.errors import GraphError
from waifu2x.network.readers.chainer import parse_chainer
from waifu2x.network.reference import evaluate


class ResidualBlock(nn.Module):
    def __init__(self, c: int, gate: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(c, c, 3), nn.Conv2d(c, c, 3)
        if gate:
            self.fc1, self.fc2 = nn.Linear(c, c // 4), nn.Linear(c // 4, c)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        h = lrelu(self.conv2(lrelu(self.conv1(x))))
        if self.gate:
            gate = torch.sigmoid(self.fc2(torch.relu(self.fc1(h.mean((2, 3))))))
            h = h * gate[:, :, None, None]
        return h + crop(x, 2)


class ResNet10(nn.Module):
    def __init__(self, channels: int, up: bool, c: int = 8) -> None:
        super().__init__()
        self.conv_pre = nn.Conv2d(channels, c, 3)
        for k in range(1, 6):
            setattr(self, f"res{k}", ResidualBlock(c, up))
        self.conv_bridge = nn.Conv2d(c, c, 3)
        self.conv_post = (
            nn.ConvTranspose2d(c, channels, 4, 2, 3, bias=False)
            if up
            else nn.Conv2d(c, channels, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        first = value = lrelu(self.conv_pre(x))
        for k in range(1, 6):
            value = getattr(self, f"res{k}")(value)
        return self.conv_post(lrelu(self.conv_bridge(value)) + crop(first, 11))


def saved(module: nn.Module) -> dict[str, np.ndarray]:
    """The arrays that chainer.serializers.save_npz writes."""
    arrays = {}
    for name, tensor in module.state_dict().items():
        layer, kind = name.rsplit(".", 1)
        if isinstance(module, Stack):  # conv1, conv2, ... in place of net.0, net.2, ...
            layer = f"conv{int(layer.removeprefix('net.')) // 2 + 1}"
        arrays[f"{layer.replace('.', '/')}/{ {'weight': 'W', 'bias': 'b'}[kind] }"] = tensor.numpy()
    return arrays


def npz(arrays: dict[str, np.ndarray], *, compressed: bool = True) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


MODULES: dict[str, Any] = {
    "vgg7": lambda channels: Stack(3, 4, 5, 6, 7, 8, channels=channels),
    "upconv7": lambda channels: Stack(3, 4, 5, 6, 7, 8, transposed=True, channels=channels),
    "resnet10": lambda channels: ResNet10(channels, up=False),
    "upresnet10": lambda channels: ResNet10(channels, up=True),
}


def made(family: str, channels: int = 3) -> nn.Module:
    torch.manual_seed(2)
    module = MODULES[family](channels)
    if family == "upconv7":
        del module.net[-1].bias  # Deconvolution2D(nobias=True)
        module.net[-1].register_parameter("bias", None)
    return module.eval()


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("family", "scale", "lost"),
    [("vgg7", 1, 7), ("upconv7", 2, 7), ("resnet10", 1, 13), ("upresnet10", 2, 13)],
)
def test_a_network_equals_torch(
    family: str, scale: int, lost: int, channels: int, compressed: bool
) -> None:
    module = made(family, channels)
    graph = parse_chainer(npz(saved(module), compressed=compressed))
    assert (graph.scale, graph.lost) == (scale, lost)
    picture = np.random.default_rng(0).random((1, channels, 34, 34))
    expected = module.double()(torch.from_numpy(picture)).detach().numpy()
    np.testing.assert_allclose(evaluate(graph, picture), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8"])
def test_types_and_orders_of_arrays(dtype: str) -> None:
    arrays = {
        name: np.asfortranarray(array.astype(dtype)) for name, array in saved(made("vgg7")).items()
    }
    graph = parse_chainer(npz(arrays))
    np.testing.assert_array_equal(graph.nodes[0].op.weight, arrays["conv1/W"].astype(np.float32))


# --- what is refused ----------------------------------------------------------------------------


def message(data: bytes) -> str:
    with pytest.raises(GraphError) as caught:
        parse_chainer(data)
    assert str(caught.value).isprintable()
    return str(caught.value)


def members(**changed: bytes) -> bytes:
    """An archive with members replaced; "__" stands for "/"."""
    file = io.BytesIO()
    contents: dict[str, bytes] = {}
    with zipfile.ZipFile(io.BytesIO(npz(saved(made("vgg7"))))) as source:
        contents = {name: source.read(name) for name in source.namelist()}
    contents.update({f"{name.replace('__', '/')}.npy": data for name, data in changed.items()})
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return file.getvalue()


def npy(header: str, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + body


def header(descr: str = "'<f4'", shape: str = "(4,)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"no array", "no .npy file"),
        (npy(header()), "needs 16 bytes and has 0"),
        (npy(header(shape="(999999999, 999999999)")), "needs 3999999992000000004 bytes"),
        (npy(header(descr="'|O'"), bytes(16)), "no supported header"),
        (npy(header(descr="__import__('os').system('touch canary')")), "no supported header"),
        (npy(header(shape="(-4,)"), bytes(16)), "no supported header"),
        (npy("{" * 900), "no supported header"),
        (npy(header(), bytes(16), b"\x09\x00"), "no .npy file"),
        (npy(header(shape="(4,)"), bytes(16)), "instead of 3"),
    ],
)
def test_a_damaged_array(data: bytes, expected: str) -> None:
    assert expected in message(members(conv1__b=data))


def test_pickled_objects_are_refused() -> None:
    file = io.BytesIO()
    np.save(file, np.array([print, {}], object), allow_pickle=True)
    assert "no supported header" in message(members(conv1__b=file.getvalue()))


def test_other_members_are_named() -> None:
    assert "'extra.npy'" in message(members(extra=b""))
    assert "'extra.weight'" in message(members(extra__W=npy(header(), bytes(16))))


def test_a_zip_bomb() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("conv1/W.npy", bytes(1 << 24))
    assert "declares 16777216 bytes" in message(file.getvalue())


def test_a_member_that_is_larger_than_declared() -> None:
    data = bytearray(members(conv1__b=npy(header(shape="(3000,)"), bytes(12000))))
    at = data.find((12000 + 10 + len(header(shape="(3000,)")) + 1).to_bytes(4, "little"))
    while at >= 0:
        data[at : at + 4] = (100).to_bytes(4, "little")
        at = data.find((12000 + 10 + len(header(shape="(3000,)")) + 1).to_bytes(4, "little"))
    assert "declared size" in message(bytes(data))


def test_a_truncated_file() -> None:
    data = npz(saved(made("vgg7")))
    for end in range(0, len(data), 97):
        message(data[:end])
