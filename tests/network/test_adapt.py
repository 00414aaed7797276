from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.torch_networks import Compact, Stack
from PIL import Image

from waifu2x.errors import GraphError
from waifu2x.network.adapt import adapted, enlarged, on_luma, unadapted
from waifu2x.network.architectures import build
from waifu2x.network.compare import same
from waifu2x.network.graph import Conv, Graph
from waifu2x.network.reference import evaluate


def graph_of(module: torch.nn.Module) -> Graph:
    return build({name: tensor.numpy() for name, tensor in module.state_dict().items()})


def stack(layers: int, channels: int = 3) -> Graph:
    torch.manual_seed(0)
    return graph_of(Stack(*[4] * layers, channels=channels))


@pytest.mark.parametrize(("layers", "crop"), [(2, 1), (3, 0)])
def test_the_picture_is_enlarged_in_front_of_the_network(layers: int, crop: int) -> None:
    graph = stack(layers)
    made = enlarged(graph)
    assert made.scale == 2
    assert made.lost * 2 == graph.lost + crop
    picture = np.random.default_rng(1).random((1, 3, 20, 20))
    expected = evaluate(graph, picture.repeat(2, 2).repeat(2, 3))
    expected = expected[:, :, crop : expected.shape[2] - crop, crop : expected.shape[3] - crop]
    np.testing.assert_array_equal(evaluate(made, picture), expected)


def test_a_network_that_enlarges_is_not_enlarged_again() -> None:
    with pytest.raises(GraphError, match="scale 2 needs no enlargement"):
        enlarged(graph_of(Compact(4, 1, 2)))


@pytest.mark.parametrize("scale", [1, 2])
def test_a_network_of_the_luma_keeps_the_color_differences(scale: int) -> None:
    torch.manual_seed(0)
    graph = graph_of(Compact(4, 1, scale, channels=1)) if scale > 1 else stack(3, channels=1)
    made = on_luma(graph)
    assert made.channels == (3, 3)
    assert (made.scale, made.lost) == (graph.scale, graph.lost)
    rgb = np.random.default_rng(2).random((1, 3, 24, 24))
    matrix = np.array(
        [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
    )
    result = np.einsum("ij,njhw->nihw", matrix, evaluate(made, rgb))
    source = np.einsum("ij,njhw->nihw", matrix, rgb)
    margin = graph.lost * scale
    near = source.repeat(scale, 2).repeat(scale, 3)
    near = near[:, :, margin : near.shape[2] - margin, margin : near.shape[3] - margin]
    np.testing.assert_allclose(result[:, :1], evaluate(graph, source[:, :1]), atol=1e-6)
    np.testing.assert_allclose(result[:, 1:], near[:, 1:], atol=1e-6)


def test_the_luma_is_that_of_pillow() -> None:
    """A network whose result is 0 removes Pillow's Y from all channels."""
    rgb = np.random.default_rng(3).integers(0, 256, (9, 9, 3), np.uint8)
    luma = np.asarray(Image.fromarray(rgb).convert("YCbCr"))[..., 0]
    module = Stack(1, channels=1)
    for parameter in module.parameters():
        torch.nn.init.zeros_(parameter)
    picture = rgb.transpose(2, 0, 1)[None] / 255
    made = evaluate(on_luma(graph_of(module)), picture)[0]
    removed = (picture[0, :, 2:-2, 2:-2] - made) * 255
    # Pillow rounds down.
    np.testing.assert_array_equal(np.floor(removed + 1e-4), np.stack([luma[2:-2, 2:-2]] * 3))


def test_only_networks_of_one_channel_are_of_the_luma() -> None:
    with pytest.raises(GraphError, match="not one of the luma alone"):
        on_luma(stack(2))


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_the_network_inside_is_found_again(layers: int, channels: int, factor: int) -> None:
    graph = stack(layers, channels)
    made = adapted(graph, factor)
    assert made.channels == (3, 3)
    assert made.scale == factor
    inside, found = unadapted(made)
    assert found == factor
    assert inside.channels == graph.channels
    assert same(inside, graph)
    assert same(adapted(inside, found), made)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_network_of_the_luma_is_found_at_any_scale(scale: int) -> None:
    torch.manual_seed(0)
    graph = graph_of(Compact(4, 1, scale, channels=1))
    inside, factor = unadapted(on_luma(graph))
    assert factor == 1
    assert same(inside, graph)


def test_other_networks_are_returned_as_they_are() -> None:
    torch.manual_seed(0)
    for graph in (stack(3), graph_of(Compact(4, 1, 2)), stack(3, channels=1)):
        assert unadapted(graph) == (graph, 1)
    # Another weight of the luma makes it a network of its own.
    made = on_luma(stack(3, channels=1))
    luma = made.nodes[0].op
    assert isinstance(luma, Conv)
    other = Conv(luma.weight + np.float32(1e-3), luma.bias)
    nodes = [replace(made.nodes[0], op=other), *made.nodes[1:]]
    changed = Graph(nodes, output=made.output, inputs=made.inputs)
    assert unadapted(changed) == (changed, 1)
