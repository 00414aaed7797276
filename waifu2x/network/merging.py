"""Merges networks of one structure, weight by weight, and joins networks by their results.

All methods compute in float64, tensor by tensor, and round the result to float32 once. Weights of
`linear` and `slerp` are divided by their sum, those of `task` and `dare` are taken as given, and
`ties` divides by the weights that take part, all as in mergekit
(https://github.com/arcee-ai/mergekit).

`average` mixes results instead of weights: one graph that contains all networks.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from .._record import record
from .._text import unknown
from ..errors import ArgumentError, GraphError
from .graph import (
    Activate,
    Activation,
    Add,
    Affine,
    Conv,
    ConvTranspose,
    ExternalModel,
    Graph,
    Node,
)

Method: TypeAlias = Literal["linear", "slerp", "task", "ties", "dare"]
Tensor: TypeAlias = npt.NDArray[np.float64]

METHODS: Final[tuple[Method, ...]] = ("linear", "slerp", "task", "ties", "dare")
#: The methods that add differences from a base.
WITH_BASE: Final[tuple[Method, ...]] = ("task", "ties", "dare")
#: The methods that leave out differences.
SPARSE: Final[tuple[Method, ...]] = ("ties", "dare")

#: Cosine beyond which vectors count as parallel, as in mergekit.
_PARALLEL: Final = 0.9995

#: Merges one tensor: receives those of the parents and the number of the tensor.
_Merge: TypeAlias = Callable[[Sequence[Tensor], int], Tensor]


# --- methods ----------------------------------------------------------------------------------


def linear(graphs: Sequence[Graph], weights: Sequence[float]) -> Graph:
    """Return the weighted mean: sum(w_i x_i) / sum(w_i).

    M. Wortsman et al., "Model soups" (2022, https://arxiv.org/abs/2203.05482).

    graphs: any number of one structure; their names are those of the first.
    weights: one for each, finite; their sum is not 0.

    Raises `ArgumentError` for the weights, and `GraphError` that names the first difference in
    structure.
    """
    shares = _shares(weights, len(graphs))
    return _merged(graphs, lambda tensors, index: _sum(shares, tensors))


def slerp(graphs: Sequence[Graph], weights: Sequence[float]) -> Graph:
    """Return two networks interpolated on the arc between their weights, tensor by tensor.

    K. Shoemake, "Animating rotation with quaternion curves" (1985,
    https://doi.org/10.1145/325165.325242), for vectors of any length: with the angle a between two
    tensors and t = w_2 / (w_1 + w_2), the result is (sin((1 - t) a) x_1 + sin(t a) x_2) / sin(a).
    Tensors that are nearly parallel or opposite (cosine beyond 0.9995), or zero, get the weighted
    mean.

    Raises as `linear`, and `ArgumentError` unless there are two networks.
    """
    if len(graphs) != 2:
        raise ArgumentError(f"method slerp merges 2 networks, and {len(graphs)} are given")
    shares = _shares(weights, 2)
    return _merged(graphs, lambda tensors, index: _on_arc(tensors[0], tensors[1], shares))


def task(base: Graph, graphs: Sequence[Graph], weights: Sequence[float]) -> Graph:
    """Return the base with the weighted differences added: base + sum(w_i (x_i - base)).

    G. Ilharco et al., "Editing models with task arithmetic" (2022,
    https://arxiv.org/abs/2212.04089). A negative weight removes what a network has learned.

    Raises as `linear`; any sum of the weights is allowed.
    """
    given = _checked(weights, len(graphs))

    def merge(tensors: Sequence[Tensor], index: int) -> Tensor:
        start = tensors[0]
        return start + _sum(given, [tensor - start for tensor in tensors[1:]])

    return _merged([base, *graphs], merge)


def ties(
    base: Graph, graphs: Sequence[Graph], weights: Sequence[float], *, density: float
) -> Graph:
    """Return the base with the differences added that agree in sign: trim, elect, disjoint mean.

    P. Yadav et al., "TIES-merging" (2023, https://arxiv.org/abs/2306.01708), tensor by tensor:
    of each difference x_i - base, the share ``density`` of largest magnitude is kept. Each weight
    gets the sign of its weighted sum, and the weighted mean of the differences of that sign is
    added to the base; the paper's is that of equal weights, and its scale is 1.

    density: share to keep, above 0 and up to 1; rounded up to a whole number of weights.

    Raises as `task`.
    """
    given = _checked(weights, len(graphs))
    check_density(density)

    def merge(tensors: Sequence[Tensor], index: int) -> Tensor:
        start = tensors[0]
        kept = [_trimmed(tensor - start, density) for tensor in tensors[1:]]
        weighted = [weight * delta for weight, delta in zip(given, kept, strict=True)]
        elected = np.sign(sum(weighted))
        total = np.zeros_like(start)
        divisor = np.zeros_like(start)
        for weight, delta in zip(given, weighted, strict=True):
            agrees = (np.sign(delta) == elected) & (elected != 0)
            total += np.where(agrees, delta, 0.0)
            divisor += np.where(agrees, abs(weight), 0.0)
        return start + total / np.where(divisor == 0, 1.0, divisor)

    return _merged([base, *graphs], merge)


def dare(
    base: Graph, graphs: Sequence[Graph], weights: Sequence[float], *, density: float, seed: int
) -> Graph:
    """Return the base with a random share of the differences added, scaled to their sum.

    L. Yu et al., "Language models are super Mario" (2023, https://arxiv.org/abs/2311.03099): each
    weight of a difference x_i - base is kept with probability ``density`` and divided by it, else
    dropped; then as `task`.

    density: above 0 and up to 1. seed: a whole number of at least 0; equal arguments give equal
        bytes, with any release of NumPy.

    Raises as `task`.
    """
    given = _checked(weights, len(graphs))
    check_density(density)

    def merge(tensors: Sequence[Tensor], index: int) -> Tensor:
        start = tensors[0]
        deltas = [
            np.where(_drawn((seed, parent, index), start.shape, density), tensor - start, 0.0)
            for parent, tensor in enumerate(tensors[1:])
        ]
        return start + _sum(given, deltas) / density

    return _merged([base, *graphs], merge)


def average(graphs: Sequence[Graph], weights: Sequence[float]) -> Graph:
    """Return one graph that runs all networks on its input and adds their weighted results.

    graphs: at least one, without pooled inputs; their results have one shape and position.
    weights: one for each, as given.

    Raises `ArgumentError` for the weights, and `GraphError` for results that do not lie on each
    other.
    """
    given = _checked(weights, len(graphs))
    first = graphs[0].inputs[0]
    nodes: list[Node] = []
    total = ""
    for index, (graph, weight) in enumerate(zip(graphs, given, strict=True)):
        if graph.inputs[1:] or graph.inputs[0].channels != first.channels:
            raise GraphError("networks to be averaged must read one picture of the same channels")
        names = {graph.inputs[0].name: first.name}
        names |= {node.name: f"{index}.{node.name}" for node in graph.nodes}
        nodes += [
            Node(names[node.name], node.op, tuple(names[name] for name in node.inputs))
            for node in graph.nodes
        ]
        scaled = f"{index}.weighted"
        nodes.append(Node(scaled, Affine(scale=weight), (names[graph.output],)))
        if total:
            nodes.append(Node(f"{index}.sum", Add(), (total, scaled)))
        total = f"{index}.sum" if total else scaled
    return Graph(nodes, output=total, inputs=(first,))


# --- a method by its name ---------------------------------------------------------------------


@record
class Recipe:
    """How networks are merged.

    method: "linear", "slerp", "task", "ties" or "dare".
    weights: one for each network, without the base.
    density: share of the differences that "ties" and "dare" keep, above 0 and up to 1.
    seed: of the random numbers of "dare", a whole number of at least 0.

    Raises `ArgumentError` for a value that is not allowed.
    """

    weights: tuple[float, ...]
    method: Method = "linear"
    density: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ArgumentError(unknown("method", self.method, METHODS))
        _checked(self.weights, len(self.weights))
        if self.method not in WITH_BASE:
            _shares(self.weights, len(self.weights))
        if self.method not in SPARSE and self.density is not None:
            raise ArgumentError(
                f"method {self.method} keeps all differences, and `density={self.density:g}` is "
                f"given; leave it out, or choose {' or '.join(SPARSE)}"
            )
        if self.density is not None:
            check_density(self.density)
        if self.seed is not None and self.method != "dare":
            raise ArgumentError(
                f"method {self.method} draws no random numbers, and `seed={self.seed}` is given; "
                "leave it out, or choose dare"
            )
        if self.seed is not None and self.seed < 0:
            raise ArgumentError(f"seed is {self.seed}; it must be a whole number of at least 0")

    def check_networks(self, count: int, *, base: bool) -> None:
        """Raise `ArgumentError` unless this recipe merges ``count`` networks with or without base.

        base: whether a base is given in addition.
        """
        least = 1 if self.method in WITH_BASE else 2
        if count < least or (self.method == "slerp" and count > 2):
            needed = "2" if self.method == "slerp" else f"at least {least}"
            raise ArgumentError(
                f"method {self.method} merges {needed} networks, and {count} are given"
            )
        if len(self.weights) != count:
            raise ArgumentError(
                f"there are {count} networks and {len(self.weights)} `weights`; give one for each"
            )
        if self.method in WITH_BASE and not base:
            raise ArgumentError(f"method {self.method} adds differences from a base; give `base=`")
        if base and self.method not in WITH_BASE:
            raise ArgumentError(
                f"method {self.method} has no base, and `base` is given; leave it out, or choose "
                f"{', '.join(WITH_BASE[:-1])} or {WITH_BASE[-1]}"
            )

    def merge(self, graphs: Sequence[Graph], base: Graph | None = None) -> Graph:
        """Merge ``graphs``; see the functions of this module.

        The density is 1 and the seed 0 if not given. Raises `ArgumentError` and `GraphError`.
        """
        self.check_networks(len(graphs), base=base is not None)
        density = 1.0 if self.density is None else self.density
        if base is None:
            merge = linear if self.method == "linear" else slerp
            return merge(graphs, self.weights)
        match self.method:
            case "task":
                return task(base, graphs, self.weights)
            case "ties":
                return ties(base, graphs, self.weights, density=density)
            case _:
                return dare(base, graphs, self.weights, density=density, seed=self.seed or 0)


def check_density(density: float) -> None:
    """Raise `ArgumentError` unless ``density`` is above 0 and at most 1."""
    if not 0 < density <= 1:
        raise ArgumentError(f"density is {density:g}; it must be above 0 and at most 1")


def _checked(weights: Sequence[float], count: int) -> list[float]:
    if len(weights) != count or not weights:
        raise ArgumentError(
            f"there are {count} networks and {len(weights)} `weights`; give one for each"
        )
    for weight in weights:
        if not math.isfinite(weight):
            raise ArgumentError(f"a weight is {weight:g}; weights must be finite")
    return [float(weight) for weight in weights]


def _shares(weights: Sequence[float], count: int) -> list[float]:
    """Return the weights divided by their sum."""
    given = _checked(weights, count)
    try:
        total = math.fsum(given)
    except OverflowError:
        raise ArgumentError("the sum of the `weights` is too large; divide them all") from None
    if abs(total) < 1e-8:
        raise ArgumentError("the sum of the `weights` is 0; they are divided by it")
    return [weight / total for weight in given]


# --- tensors ----------------------------------------------------------------------------------


def _sum(weights: Sequence[float], tensors: Sequence[Tensor]) -> Tensor:
    total: Tensor = np.zeros_like(tensors[0])
    for weight, tensor in zip(weights, tensors, strict=True):
        total += weight * tensor
    return total


def _on_arc(first: Tensor, second: Tensor, shares: Sequence[float]) -> Tensor:
    lengths = float(np.linalg.norm(first)) * float(np.linalg.norm(second))
    cosine = float(np.vdot(first, second)) / lengths if lengths > 0 else 1.0
    if abs(cosine) > _PARALLEL:
        return _sum(shares, [first, second])
    angle = math.acos(cosine)
    return _sum([math.sin(share * angle) / math.sin(angle) for share in shares], [first, second])


def _trimmed(delta: Tensor, density: float) -> Tensor:
    """Keep the largest magnitudes; of equal ones, the first."""
    flat = delta.ravel()
    order = np.argsort(-np.abs(flat), kind="stable")[: math.ceil(density * flat.size)]
    kept = np.zeros_like(flat)
    kept[order] = flat[order]
    return kept.reshape(delta.shape)


def _drawn(key: tuple[int, ...], shape: tuple[int, ...], density: float) -> npt.NDArray[np.bool_]:
    """Return True with probability ``density``; the bits of PCG64 are the same in all releases."""
    bits = np.random.PCG64(np.random.SeedSequence(key)).random_raw(math.prod(shape))
    drawn: npt.NDArray[np.bool_] = (bits >> np.uint64(11)) < density * 2.0**53
    return drawn.reshape(shape)


# --- structure --------------------------------------------------------------------------------


@record
class _Part:
    """An operation, or the activation of a convolution, regardless of names.

    kind: the operation, its attributes and the shapes of its tensors, as text.
    reads: numbers of the parts that it reads; inputs of the graph are negative.
    tensors: names of the fields of the operation and their arrays.
    """

    node: str
    kind: str
    reads: tuple[int, ...]
    tensors: Mapping[str, npt.NDArray[np.float32]]


def _parts(graph: Graph) -> list[_Part]:
    """Return the operations in an order that depends only on the wiring."""
    inputs = _arranged(graph)
    numbers = {value.name: -1 - index for index, value in enumerate(graph.inputs)}
    parts: list[_Part] = []
    for node in _ordered(graph, inputs):
        reads = tuple(numbers[name] for name in inputs[node.name])
        for op in _split(node):
            tensors = dict(_tensors(op))
            parts.append(_Part(node.name, _kind(op, tensors), reads, tensors))
            reads = (len(parts) - 1,)
        numbers[node.name] = len(parts) - 1
    return parts


def _arranged(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Return what each node reads, the terms of sums in an order that depends on the wiring."""
    digests = {value.name: str(index) for index, value in enumerate(graph.inputs)}
    inputs: dict[str, tuple[str, ...]] = {}
    for node in graph.nodes:
        reads = node.inputs
        if isinstance(node.op, Add):
            reads = tuple(sorted(reads, key=digests.__getitem__))
        inputs[node.name] = reads
        found = [digests[name] for name in reads]
        for op in _split(node):
            text = " ".join([_kind(op, dict(_tensors(op))), *found])
            found = [hashlib.blake2b(text.encode(), digest_size=16).hexdigest()]
        digests[node.name] = found[0]
    return inputs


def _ordered(graph: Graph, inputs: Mapping[str, tuple[str, ...]]) -> Iterator[Node]:
    """Yield the nodes as their results are needed, from the output."""
    made = {node.name: node for node in graph.nodes}
    done: set[str] = set()
    waiting = [graph.output]
    while waiting:
        name = waiting[-1]
        missing = [each for each in inputs.get(name, ()) if each in made and each not in done]
        if missing:
            waiting.append(missing[0])
            continue
        waiting.pop()
        if name in made and name not in done:
            done.add(name)
            yield made[name]


def _split(node: Node) -> list[Any]:
    """Return an operation and its activation as two; they may be one node or two in a file."""
    op = node.op
    if isinstance(op, Conv | ConvTranspose) and op.activation is not None:
        return [replace(op, activation=None), Activate(op.activation)]
    return [op]


def _tensors(op: Any) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    source = op.activation if isinstance(op, Activate) else op
    for each in fields(source):
        value = getattr(source, each.name)
        if isinstance(value, np.ndarray):
            yield each.name, value


def _kind(op: Any, tensors: Mapping[str, npt.NDArray[np.float32]]) -> str:
    source = op.activation if isinstance(op, Activate) else op
    words = [type(op).__name__]
    for each in fields(source):
        value = getattr(source, each.name)
        if each.name in tensors:
            words.append(f"{each.name} {'x'.join(map(str, tensors[each.name].shape))}")
        elif value is not None:
            # Some formats store scalars in float32.
            shown = f"{value:.7g}" if isinstance(value, float) else str(value)
            words.append(f"{each.name} {shown}")
    return " ".join(words)


def _merged(graphs: Sequence[Graph], merge: _Merge) -> Graph:
    """Return the first graph with merged tensors."""
    for graph in graphs:
        for node in graph.nodes:
            if isinstance(node.op, ExternalModel):
                raise GraphError(
                    f"{node.name!r} runs as a whole on engine {node.op.engine}; the weights of "
                    "such a network cannot be merged"
                )
    parts = [_parts(graph) for graph in graphs]
    for other, graph in zip(parts[1:], graphs[1:], strict=True):
        _check_structure(graphs[0], parts[0], graph, other)
    made: dict[str, dict[str, npt.NDArray[np.float32]]] = {}
    index = 0
    for same in zip(*parts, strict=True):
        for name in same[0].tensors:
            tensors = [part.tensors[name].astype(np.float64) for part in same]
            with np.errstate(all="ignore"):
                result = merge(tensors, index).astype(np.float32)
            if not np.isfinite(result).all():
                raise GraphError(f"{same[0].node!r} has weights that are not finite when merged")
            made.setdefault(same[0].node, {})[name] = result
            index += 1
    nodes = [Node(n.name, _with_tensors(n.op, made.get(n.name, {})), n.inputs)
             for n in graphs[0].nodes]  # fmt: skip
    return Graph(nodes, output=graphs[0].output, inputs=graphs[0].inputs)


def _with_tensors(op: Any, tensors: Mapping[str, npt.NDArray[np.float32]]) -> Any:
    """Return ``op`` with other arrays; ``slopes`` are those of its activation."""
    own = {name: array for name, array in tensors.items() if name != "slopes"}
    if "slopes" in tensors:
        activation: Activation = op.activation
        own["activation"] = replace(activation, slopes=tensors["slopes"])  # type: ignore[assignment]
    return replace(op, **own) if own else op


def _check_structure(
    graph: Graph, parts: Sequence[_Part], other: Graph, others: Sequence[_Part]
) -> None:
    """Raise `GraphError` that names the first difference between two graphs."""
    if [(i.channels, i.pooled) for i in graph.inputs] != [
        (i.channels, i.pooled) for i in other.inputs
    ]:
        raise GraphError(
            f"the networks differ: they read {graph.channels[0]} and {other.channels[0]} channels"
        )
    for a, b in zip(parts, others, strict=False):
        if a.kind != b.kind:
            raise GraphError(
                f"the networks differ: {a.node!r} is {a.kind}, and {b.node!r} is {b.kind}"
            )
        if a.reads != b.reads:
            raise GraphError(
                f"the networks differ: {a.node!r} and {b.node!r} ({a.kind}) read other values"
            )
    if len(parts) != len(others):
        surplus = max(parts, others, key=len)[min(len(parts), len(others))]
        raise GraphError(
            f"the networks differ: they have {len(parts)} and {len(others)} operations; "
            f"{surplus.node!r}, {surplus.kind}, is in one only"
        )
