"""Begins a training with a trained network; Gated and Adaptive may grow, to the same result.

A larger network that begins with a smaller one's weights skips the beginning of its training.
Source of the idea: T. Chen et al., Net2Net (https://arxiv.org/abs/1511.05641).
"""

from __future__ import annotations

import numpy as np

from ..errors import GraphError
from ..network import architectures
from ..network.architectures import adaptive, gated
from ..network.architectures.adaptive import ESTIMATOR
from ..network.architectures.gated import JOINED
from ..network.graph import Graph, Weights
from .shape import doubled


def grown(small: Graph, large: Graph) -> Graph:
    """Return ``large`` with the weights of ``small``, so that both compute the same.

    small: a trained network. large: one at random values, of the same shape; of Gated, also with
        more channels and blocks; of Adaptive, also with gates for a Compact network.

    New channels keep their random inputs and are read with weights of zero; new blocks keep their
    random convolutions, and their gate is zero. Training then begins to use both.

    Raises `GraphError` if ``small`` does not fit into ``large``.
    """
    old, made = architectures.state_dict(small), dict(architectures.state_dict(large))
    if _shapes(old) == _shapes(made):
        return architectures.build(old)
    if adaptive.detect(made):
        body = {name: array for name, array in made.items() if name.startswith("body.")}
        if _shapes(old) != _shapes(body):
            raise GraphError("start is of another shape than [network], and no Compact of its body")
        return architectures.build({**made, **doubled(old)})
    if not (gated.detect(old) and gated.detect(made)):
        raise GraphError("start is of another shape than [network]; only Gated networks grow")
    blocks, before = _blocks(made), _blocks(old)
    if blocks > before and "blocks.0.gate.weight" not in made:
        raise GraphError("start is of another shape than [network]; blocks are added only to gates")
    places = _places(before, blocks)
    if set(old) - {_renamed(name, _inverse(places)) or name for name in made}:
        raise GraphError("start is of another architecture than [network]")
    for name in made:
        source = _renamed(name, _inverse(places))
        if source is None:
            if ".gate." in name:
                made[name] = np.zeros_like(made[name])
        elif source not in old:
            raise GraphError(f"start has no {source}, which the shape [network] has")
        else:
            parts = JOINED if name == "join.weight" else 1
            made[name] = _embedded(name, old[source], made[name], parts)
    return architectures.build(made)


def with_estimator(graph: Graph, small: Graph) -> Graph:
    """Return an Adaptive network that begins with the estimator of another.

    small: an Adaptive network; or a Compact one, whose last layer is left out, because that of an
        estimator gives the evidence.

    Raises `GraphError` if they do not fit.
    """
    made, old = (dict(architectures.state_dict(each)) for each in (graph, small))
    inside = [name for name in made if name.startswith(f"{ESTIMATOR}.")]
    if not adaptive.detect(old):
        old = {name.replace("body", ESTIMATOR, 1): array for name, array in old.items()}
        last = inside[-1].rpartition(".")[0]
        inside = [name for name in inside if not name.startswith(f"{last}.")]
    taken = {name: old[name] for name in inside if name in old}
    if _shapes(taken) != {name: made[name].shape for name in inside}:
        raise GraphError("estimator has no layers of network.estimator")
    return architectures.build({**made, **taken})


def _shapes(tensors: dict[str, Weights]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in tensors.items()}


def _blocks(tensors: dict[str, Weights]) -> int:
    numbers = [int(name.split(".")[1]) for name in tensors if name.startswith("blocks.")]
    return max(numbers) + 1


def _places(before: int, after: int) -> dict[int, int]:
    """Return where each old block goes; the joined ones, first, middle and last, stay joined."""
    if before > after:
        raise GraphError(f"start has {before} blocks, more than network.blocks, {after}")
    # The results are those of the head and of all blocks; `join` reads the middle one of them.
    old_middle, new_middle = (before + 1) // 2, (after + 1) // 2
    old_side, new_side = before - old_middle, after - new_middle
    # The first result is joined as well; of one or two blocks, it is that of the middle.
    moved = old_middle == 1 < new_middle
    if old_middle > new_middle or old_side > new_side or moved:
        raise GraphError(f"{before} blocks of start cannot be spread over {after}")
    places = {block: block for block in range(old_middle - 1)}
    places[old_middle - 1] = new_middle - 1
    places |= {old_middle + step: new_middle + step for step in range(old_side - 1)}
    if old_side:
        places[before - 1] = after - 1
    return places


def _inverse(places: dict[int, int]) -> dict[int, int]:
    return {new: old for old, new in places.items()}


def _renamed(name: str, blocks: dict[int, int]) -> str | None:
    """Return the old name of a tensor, or None if its block is new."""
    if not name.startswith("blocks."):
        return name
    _, number, rest = name.split(".", 2)
    block = blocks.get(int(number))
    return None if block is None else f"blocks.{block}.{rest}"


def _embedded(name: str, small: Weights, large: Weights, parts: int) -> Weights:
    """Return ``large`` with ``small`` in its first channels; other inputs of those become zero.

    parts: number of equal groups of input channels.
    """
    if any(a > b for a, b in zip(small.shape, large.shape, strict=True)):
        raise GraphError(f"{name} of start is {small.shape}, larger than {large.shape}")
    made = large.copy()
    if small.ndim == 1:
        made[: len(small)] = small
        return made
    made[: len(small)] = 0
    for group in range(parts):
        old, new = (array.shape[1] // parts for array in (small, large))
        made[: len(small), group * new : group * new + old] = small[
            :, group * old : (group + 1) * old
        ]
    return made
