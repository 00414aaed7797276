from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from helpers.torch_networks import Stack

from waifu2x.errors import GraphError
from waifu2x.network.readers.waifu2x_json import parse_waifu2x_json
from waifu2x.network.reference import evaluate


def layers(module: Stack) -> list[dict[str, Any]]:
    """The file of a network as export_model.lua writes it, with fifteen significant digits."""
    made = []
    for layer in module.net:
        if isinstance(layer, torch.nn.LeakyReLU):
            continue
        transposed = isinstance(layer, torch.nn.ConvTranspose2d)
        kind = "nn.SpatialFullConvolution" if transposed else "nn.SpatialConvolutionMM"
        made.append(
            {
                "dH": layer.stride[0],
                "dW": layer.stride[1],
                "nInputPlane": layer.in_channels,
                "kW": layer.kernel_size[1],
                "kH": layer.kernel_size[0],
                "weight": layer.weight.tolist(),
                "bias": layer.bias.tolist(),
                "nOutputPlane": layer.out_channels,
                "padW": layer.padding[1],
                "class_name": kind,
                "padH": layer.padding[0],
            }
        )
    made[0]["model_config"] = {"arch_name": "vgg_7", "scale_factor": 1, "channels": 3, "offset": 7}
    return made


def stack(**options: Any) -> Stack:
    torch.manual_seed(1)
    return Stack(3, 4, 5, 6, 7, 8, **options).eval()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_network_equals_torch(transposed: bool, channels: int) -> None:
    module = stack(transposed=transposed, channels=channels)
    graph = parse_waifu2x_json(json.dumps(layers(module)).encode())
    assert graph.scale == 1 + transposed
    picture = np.random.default_rng(0).random((1, channels, 24, 24))
    expected = module.double()(torch.from_numpy(picture)).detach().numpy()
    np.testing.assert_allclose(evaluate(graph, picture), expected, atol=1e-6)


def changed(index: int, **values: Any) -> bytes:
    made = layers(stack())
    made[index].update(values)
    return json.dumps(made).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "malformed"),
        (b"\xff", "malformed"),
        (b"[" * 100_000, "malformed"),
        (b"[" * 600_000, "more than 524288 of ["),
        (b"{" * 2000, "more than 1024 of {"),
        (b"{}", "no list of layers"),
        (b"[]", "no list of layers"),
        (b"[1, 2]", "layer 0 has no class_name"),
        (json.dumps(layers(stack())).encode()[:-50], "malformed"),
        (changed(1, class_name="nn.SpatialDilatedConvolution"), "layer 1 is a 'nn.SpatialDilated"),
        (changed(1, class_name="nn.SpatialFullConvolution"), "layer 1 is a"),
        (changed(1, kW=5), "layer 1: kW must be 3"),
        (changed(1, padH=1), "layer 1: padH must be 0"),
        (changed(1, nInputPlane="3"), "no numbers of planes"),
        (changed(1, nInputPlane=1 << 80), "weight has the shape"),
        (changed(1, nOutputPlane=5), "weight has the shape"),
        (changed(1, bias=[1, 2]), "bias has the shape (2,)"),
        (changed(1, bias=[1, [2]]), "bias is no array of numbers"),
        (changed(1, bias=None), "bias has the shape ()"),
        (changed(1, weight={"a": 1}), "weight is no array of numbers"),
        (changed(1, bias=[float("nan")] * 4), "not finite"),
        (changed(1, bias=[1e300] * 4), "not finite"),
        (changed(1, bias=[10**400] * 4), "bias is no array of numbers"),
        (b" " * ((12 << 20) + 1), "at most 12582912 are read"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_malformed_file_is_refused_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(GraphError) as caught:
        parse_waifu2x_json(data)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
