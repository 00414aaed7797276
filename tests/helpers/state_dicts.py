"""Small networks of every known architecture, with random weights under their PyTorch names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import torch
from torch import nn

from helpers import torch_networks as networks
from waifu2x.network.architectures import build
from waifu2x.network.graph import Graph


def _resnet10(*, gates: bool, transposed: bool) -> nn.Module:
    """Return layers in the names of waifu2x-chainer; they are not run."""
    made = nn.Module()
    made.conv_pre = nn.Conv2d(3, 4, 3)
    for number in range(1, 3):
        block = nn.Module()
        block.conv1, block.conv2 = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
        if gates:
            block.fc1, block.fc2 = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)
        setattr(made, f"res{number}", block)
    made.conv_bridge = nn.Conv2d(4, 4, 3)
    made.conv_post = nn.ConvTranspose2d(4, 3, 4, 2, 3) if transposed else nn.Conv2d(4, 3, 3)
    return made


STATES: Final[Mapping[str, Callable[[], nn.Module]]] = {
    "esrgan": lambda: networks.RRDBNet(4, 2, 2, 2),
    "esrgan-1x": lambda: networks.RRDBNet(4, 1, 2, 2, shuffle=4),
    "compact": lambda: networks.Compact(4, 3, 4),
    "compact-1x": lambda: networks.Compact(4, 2, 1),
    "adaptive": lambda: networks.Adaptive(4, 2),
    "adaptive-wide": lambda: networks.Adaptive(20, 2, channels=3),
    "span": lambda: networks.Span(4, 2),
    "span-plain": lambda: networks.Span(4, 4, normalize=False),
    "gated": lambda: networks.Gated(4, 2),
    "gated-prelu": lambda: networks.Gated(4, 3, 2, gate=False, join=False, slopes=True),
    "unet": lambda: networks.UNet(4, 6, 2, 2),
    "cunet-1x": lambda: networks.CUNet(1),
    "cunet-2x": lambda: networks.CUNet(2),
    "cugan-3x": lambda: networks.CUNet(3),
    "cugan-3x-pro": lambda: networks.CUNet(3, pro=True),
    "cugan-4x": lambda: networks.Cugan4x(),
    "cugan-fast": lambda: networks.Cugan4x(fast=True),
    "vgg_7": lambda: networks.Stack(4, 4, 5),
    "vgg_7-luma": lambda: networks.Stack(4, 4, 5, channels=1),
    "upconv_7": lambda: networks.Stack(4, 4, 5, transposed=True),
    "resnet10": lambda: _resnet10(gates=False, transposed=False),
    "upresnet10": lambda: _resnet10(gates=True, transposed=True),
}

#: Tensors that are no parameters.
_MARKS: Final = {"span-plain": "no_norm", "cugan-3x-pro": "pro"}


def random_state(name: str) -> dict[str, np.ndarray]:
    """Return a state dict of the architecture ``name``, a key of `STATES`."""
    torch.manual_seed(0)
    module = STATES[name]()
    if isinstance(module, networks.Span):
        module.fold()
    state = {key: tensor.numpy().copy() for key, tensor in module.state_dict().items()}
    if name in _MARKS:
        state[_MARKS[name]] = np.zeros(1, np.float32)
    return state


def random_graph(name: str) -> Graph:
    """Return the network of `random_state`."""
    return build(random_state(name))
