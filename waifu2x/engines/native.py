"""Runs a graph on the CPU with the kernels of this package (``csrc/engine``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .._machine import processors
from ..errors import ArgumentError, CancelledError, DeviceMemoryError, EngineError, GraphError
from ..kernels import _native
from ..network import graph as g
from ..picture import Samples
from .base import Concurrency, OnRows
from .device import Batch, Session, TileCopy, Transform
from .host import HostCompiled, HostEngine, write_tile
from .tta import averaged, restored

#: A value of the program and how many samples are cut from each of its sides.
_Place: TypeAlias = tuple[int, int]


class _Lowering:
    """Turns the nodes of a graph into calls of a program, folding what convolutions can carry."""

    def __init__(self, graph: g.Graph, isa: str | None) -> None:
        self.graph = graph
        self.program = _native.Program(graph.channels[0], isa=isa)
        self._places: dict[str, _Place] = {graph.inputs[0].name: (0, 0)}
        self._pooled: dict[str, int] = {}
        self._readers: dict[str, list[g.Node]] = {}
        self._crops: dict[str, tuple[str, int]] = {}
        for node in graph.nodes:
            for name in node.inputs:
                self._readers.setdefault(name, []).append(node)
            if isinstance(node.op, g.Crop):
                self._crops[node.name] = (node.inputs[0], node.op.margin)

    def lower(self) -> _native.Program:
        for given in self.graph.inputs[1:]:
            self._pooled[given.name] = self.program.given(given.channels)
        for node in self.graph.nodes:
            if node.name in self._places:  # folded into one before
                continue
            if self.graph.values[node.name].pooled:
                self._pooled[node.name] = self._pool(node)
            else:
                self._lower(node)
        if self.graph.out.pooled:
            raise EngineError("a network that ends in an average is not for this engine")
        self.program.finish(self._places[self.graph.output])
        return self.program

    def _lower(self, node: g.Node) -> None:
        op, program = node.op, self.program
        source = self._places[node.inputs[0]]
        match op:
            case g.Conv() | g.ConvTranspose():
                self._convolve(node, op)
                return
            case g.Crop():
                self._place(node.name)
                return
            case g.Activate():
                if op.activation.kind == "sigmoid":
                    value = program.sigmoid(source)
                else:
                    value = program.activate(
                        source, g.negative_slopes(op.activation, self._channels(node))
                    )
            case g.Add():
                value = program.add(source, self._places[node.inputs[1]])
            case g.Multiply():
                value = program.multiply(source, self._pooled[node.inputs[1]])
            case g.Affine():
                value = program.affine(source, op.scale, op.offset)
            case g.Concat():
                value = program.concat([self._places[name] for name in node.inputs])
            case g.PixelShuffle():
                value = program.shuffle(source, op.factor)
            case g.Upsample():
                value = program.upsample(source, op.factor)
            case _:
                raise EngineError(f"{node.name!r} ({type(op).__name__}) is not for this engine")
        self._places[node.name] = (value, 0)

    def _convolve(self, node: g.Node, op: g.Conv | g.ConvTranspose) -> None:
        last, activation = node, op.activation
        if activation is None:
            follower = self._only_reader(last)
            if follower is not None and isinstance(follower.op, g.Activate):
                last, activation = follower, follower.op.activation
        sigmoid = activation is not None and activation.kind == "sigmoid"
        addend: _Place | None = None
        follower = self._only_reader(last)
        packed = isinstance(op, g.ConvTranspose) and op.stride > 1 and op.bias.size % 16 != 0
        if follower is not None and isinstance(follower.op, g.Add) and not (sigmoid or packed):
            others = [name for name in follower.inputs if name != last.name]
            addend = self._place(others[0]) if len(others) == 1 else None
            if addend is not None:
                last = follower
        channels = op.bias.size
        value = self.program.conv(
            self._places[node.inputs[0]],
            _floats(op.weight),
            _floats(op.bias),
            np.ones(channels, np.float32) if sigmoid else g.negative_slopes(activation, channels),
            stride=op.stride,
            padding=op.padding,
            transposed=isinstance(op, g.ConvTranspose),
            addend=addend,
        )
        if sigmoid:
            value = self.program.sigmoid((value, 0))
        # Those on the way were for the last one only, and are nothing by themselves.
        folded = node
        while folded is not last:
            self._places[folded.name] = (value, 0)
            reader = self._only_reader(folded)
            assert reader is not None
            folded = reader
        self._places[last.name] = (value, 0)

    def _place(self, name: str) -> _Place | None:
        """Where a value lies, if that is known by now: itself, or as a cut of one that is."""
        if name not in self._places and name in self._crops:
            node, margin = self._crops[name]
            source = self._place(node)
            if source is not None:
                self._places[name] = (source[0], source[1] + margin)
        return self._places.get(name)

    def _only_reader(self, node: g.Node) -> g.Node | None:
        """The node that alone reads this one, if that is all its result is for."""
        readers = self._readers.get(node.name, [])
        return readers[0] if len(readers) == 1 and node.name != self.graph.output else None

    def _pool(self, node: g.Node) -> int:
        op = node.op
        if isinstance(op, g.GlobalMean):
            return self.program.mean(self._places[node.inputs[0]])
        source, channels = self._pooled[node.inputs[0]], self._channels(node)
        identity = np.eye(channels, dtype=np.float32).reshape(channels, channels, 1, 1)
        nothing = np.zeros(channels, np.float32)
        match op:
            case g.Conv():
                return self._pooled_conv(source, op.weight, op.bias, op.activation)
            case g.Activate():
                return self._pooled_conv(source, identity, nothing, op.activation)
            case g.Affine():
                offset = np.full(channels, op.offset, np.float32)
                return self._pooled_conv(source, identity * np.float32(op.scale), offset, None)
        raise EngineError(
            f"{node.name!r} ({type(op).__name__}) on pooled values is not for this engine; "
            "use engine onnx"
        )

    def _pooled_conv(
        self, source: int, weight: Batch, bias: Batch, activation: g.Activation | None
    ) -> int:
        sigmoid = activation is not None and activation.kind == "sigmoid"
        slope = g.negative_slopes(None if sigmoid else activation, bias.size)
        return self.program.pooled_conv(source, _floats(weight), _floats(bias), slope, sigmoid)

    def _channels(self, node: g.Node) -> int:
        return self.graph.values[node.name].channels


class NativeCompiled(HostCompiled):
    """A graph with its weights packed; see `waifu2x.engines.base.Compiled`."""

    def __init__(self, graph: g.Graph, pool: _native.Pool, isa: str | None = None) -> None:
        self.graph = graph
        self._pool = pool
        try:
            self._program = _Lowering(graph, isa).lower()
        except ValueError as error:
            raise EngineError(f"the native engine cannot run this network: {error}") from error

    def run(self, batch: Batch, means: Sequence[Batch] = ()) -> Batch:
        """Run the network; see `waifu2x.engines.base.Compiled.run`."""
        if batch.ndim != 4:
            raise EngineError(f"the batch has shape {batch.shape}; it must be (N, C, H, W)")
        with self._failing(batch.shape[2], batch.shape[3]):
            return self._program.run(self._pool, _floats(batch), [_floats(mean) for mean in means])

    def run_picture(
        self,
        source: Samples,
        target: Samples,
        *,
        window: tuple[int, int],
        start: int,
        crop: int,
        means: Sequence[Batch] = (),
        on_rows: OnRows | None = None,
    ) -> int:
        """Run the network over a picture; see `waifu2x.engines.base.Streaming.run_picture`."""
        raised: list[BaseException] = []

        def guarded(share: float, rows: int) -> bool:
            # What the caller's function raises is not a failure of the engine.
            assert on_rows is not None
            try:
                return on_rows(share, rows)
            except BaseException as error:
                raised.append(error)
                return True

        with self._failing(*window):
            bad = self._program.run_picture(
                self._pool,
                source,
                target,
                window_start=(start, start),
                window_size=window,
                crop=(crop, crop),
                means=[_floats(mean) for mean in means],
                watch=None if on_rows is None else guarded,
            )
        if raised:
            raise raised[0]
        if bad is None:
            raise CancelledError("cancelled; nothing was written")
        return bad

    def run_tiles(
        self,
        session: Session,
        source: Any,
        target: Any,
        copies: Sequence[TileCopy],
        *,
        window: tuple[int, int],
        inset: int,
        transforms: Sequence[Transform],
        stats: object,
        full: bool = False,
    ) -> None:
        """Run the network over tiles; see `waifu2x.engines.base.Compiled.run_tiles`.

        With several transforms, a tile is computed as a part of the whole transformed pictures, so
        that no byte depends on the tiles.
        """
        parts = len(transforms) > 1 and not self.graph.means
        if not parts or any(copy.ramps is not None for copy in copies):
            super().run_tiles(
                session, source, target, copies, window=window, inset=inset,
                transforms=transforms, stats=stats, full=full,
            )  # fmt: skip
            return
        for copy in copies:
            part = partial(self._part, session, source, copy, inset)
            result = averaged(transforms, part)
            write_tile(np.ascontiguousarray(result[0]), replace(copy, src_x=0, src_y=0), target)

    def _part(
        self, session: Session, source: Any, copy: TileCopy, margin: int, transform: Transform
    ) -> Batch:
        """Compute the rectangle of ``copy`` from the whole transformed picture, and restore it."""
        symmetry = transform.turns, transform.mirrored
        height, width = (side * self.graph.scale for side in source.shape[:2])
        rows = (copy.dst_y, copy.dst_y + copy.height)
        columns = (copy.dst_x, copy.dst_x + copy.width)
        for _ in range(transform.turns):
            rows, columns = (width - columns[1], width - columns[0]), rows
            height, width = width, height
        if transform.mirrored:
            columns = width - columns[1], width - columns[0]
        picture = session.transformed(source, *symmetry)
        window = [self.graph.input_size(side + 2 * margin) for side in picture.shape[:2]]
        crop = (margin - self.graph.lost) * self.graph.scale
        with self._failing(*window):
            part = self._program.run_part(
                self._pool,
                picture,
                window_start=(-margin, -margin),
                window_size=(window[0], window[1]),
                rows=(rows[0] + crop, rows[1] + crop),
                columns=(columns[0] + crop, columns[1] + crop),
                means=[_floats(mean) for mean in transform.means],
            )
        result: Batch = restored(np, part, *symmetry, (2, 3))
        return result

    @contextmanager
    def _failing(self, height: int, width: int) -> Iterator[None]:
        """Checks the size of an input and says of what goes wrong that it was the engine."""
        try:
            for side in (height, width):
                self.graph.output_size(side)
        except GraphError as error:
            raise EngineError(str(error)) from error
        try:
            yield
        except (ValueError, RuntimeError, MemoryError) as error:
            short = isinstance(error, MemoryError)
            raise (DeviceMemoryError if short else EngineError)(
                f"the native engine failed on an input of {width}x{height} px: "
                f"{'not enough memory' if short else error}; a smaller tile needs less memory"
            ) from error


def _floats(array: npt.ArrayLike) -> Batch:
    return np.ascontiguousarray(array, np.float32)


class NativeEngine(HostEngine):
    """The engine of this package; see `waifu2x.engines.base.Engine`.

    Its threads sleep while nothing runs. Networks compiled by one engine share them, and so do
    runs from several Python threads at once: the next one takes the threads that the last part of
    another leaves idle.
    """

    name = "native"
    streams = True

    def __init__(self, *, threads: int | None = None, isa: str | None = None) -> None:
        """Make an engine.

        threads: at least 1; None takes one for each processor this process may use.
        isa: instruction set to stay at or below, for tests; None is the best.
        """
        if isa is not None and isa not in _native.isas():
            raise ArgumentError(f"isa is {isa!r}; usable here are {', '.join(_native.isas())}")
        self._isa = isa
        self.threads = threads or processors()
        # Small pictures are not cut among threads, and it takes some to make up for what each costs
        # besides the network; of large ones the second takes what the end of the first leaves idle.
        self.concurrency = Concurrency(small=2 * self.threads, large=2)
        self._pool = _native.Pool(self.threads)

    def compile(self, graph: g.Graph) -> NativeCompiled:
        """Transform and pack the weights. Raises `EngineError` for operations it does not have."""
        return NativeCompiled(graph, self._pool, self._isa)
