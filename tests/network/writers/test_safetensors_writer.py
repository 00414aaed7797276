"""State dicts are found by the structure of a network, in each format that it passes through."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import networks
from helpers.state_dicts import STATES, random_graph, random_state
from helpers.torch_networks import Span

from waifu2x.errors import GraphError
from waifu2x.network import graph as g
from waifu2x.network.architectures import build, span, state_dict
from waifu2x.network.compare import same
from waifu2x.network.readers.ncnn import parse_ncnn
from waifu2x.network.readers.onnx import parse_onnx
from waifu2x.network.writers.ncnn import to_ncnn
from waifu2x.network.writers.onnx import to_onnx


def renamed(graph: g.Graph) -> g.Graph:
    names = {node.name: f"v{index}" for index, node in enumerate(graph.nodes)}
    nodes = [
        g.Node(names[node.name], node.op, tuple(names.get(name, name) for name in node.inputs))
        for node in graph.nodes
    ]
    return g.Graph(nodes, output=names[graph.output], inputs=graph.inputs)


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("through", ["names", "ncnn", "onnx"])
def test_the_names_of_an_architecture_are_found(name: str, through: str) -> None:
    graph = random_graph(name)
    if through == "names":
        other = renamed(graph)
    elif through == "ncnn":
        other = parse_ncnn(*to_ncnn(graph))
    else:
        other = parse_onnx(to_onnx(graph).SerializeToString())
    found = state_dict(other)
    state = random_state(name)
    assert set(found) <= set(state)
    assert list(found) == list(state_dict(graph))
    for key, array in found.items():
        np.testing.assert_array_equal(array, state_dict(graph)[key])
        if "eval_conv" not in key:  # other programs overwrite the folded weights
            np.testing.assert_array_equal(array, state[key])
    assert same(build(found), graph, exact=False)


def test_an_unknown_architecture_names_the_formats_for_it() -> None:
    advice = r"only ONNX \(.onnx\) and ncnn \(.param\) hold networks of any architecture"
    with pytest.raises(GraphError, match=f"the architecture is unknown; {advice}"):
        state_dict(g.Graph([g.Node("a", g.Upsample(2), ("input",))], output="a"))
    resized = networks.shrunk(random_graph("compact"), 1, 2)
    text = f"the network has the layers of Compact, but other operations; {advice}"
    with pytest.raises(GraphError, match=text):
        state_dict(resized)


def test_span_has_the_layers_that_other_programs_fold() -> None:
    """The layers have the shapes of the training, and fold to the very same weights."""
    tensors = state_dict(random_graph("span"))
    made = span.completed(tensors)
    state = Span(4, 2).state_dict()
    assert {name: array.shape for name, array in made.items()} == {
        name: tuple(tensor.shape) for name, tensor in state.items()
    }
    graph = build(made)
    assert same(graph, build(tensors))
    assert span.completed(state_dict(graph)).keys() == made.keys()
    # The folded weights of a file are not read if the layers are there.
    made["conv_1.eval_conv.weight"] = made["conv_1.eval_conv.weight"] + 1
    assert same(build(made), graph)
