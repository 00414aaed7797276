"""Runs a graph on the CPU with the engine of ``csrc/engine``."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .._machine import processors
from ..errors import ArgumentError, CancelledError, DeviceMemoryError, EngineError, GraphError
from ..kernels import _native, tiles
from ..network import graph as g
from ..network.rewrite import Ref, Step, fold_scales, fuse, sub_pixel
from ..picture import Samples
from .base import Concurrency, OnRows, check_runs
from .device import Batch, Session, TileBatch, TileCopy, Transform
from .host import HostCompiled, HostEngine, write_tile
from .tta import averaged, restored

#: Channels of a block.
_BLOCK: Final = 16
#: Halo of upconv_7 and cunet, measured.
_HALO: Final = 6
#: Reach in pixels beyond which a network is cut into stages, and that of a stage.
_DEEP: Final = 24
_SHORTEST: Final = 6
_LONGEST: Final = 16
#: Memory, relative to that of the other stages, for which a last stage of that length is cut.
_MOST_MORE: Final = 1.25
#: Pixels by which a region grows for a pixel of reach: a layer adds whole Winograd tiles.
_GROWTH: Final = 4


class _Lowering:
    """Translates the steps of a graph into calls of a program."""

    def __init__(self, graph: g.Graph, isa: str | None) -> None:
        self.graph = graph
        self.program = _native.Program(graph.channels[0], isa=isa)
        #: The numbers of values and pooled vectors in the program.
        self._numbers = {graph.inputs[0].name: 0}
        #: Bytes per input pixel of the values between stages.
        self.stored_per_pixel = 0.0
        #: The values that are joined, for concatenations that convolutions read in place.
        self._joined: dict[str, list[Ref]] = {}
        #: The factors of `_shuffled_sums`.
        self._enlarged: dict[str, tuple[int, int]] = {}

    def lower(self) -> _native.Program:
        if self.graph.out.pooled:
            raise EngineError(
                "the native engine does not run a network that ends in a mean; "
                "choose `engine='onnx'`"
            )
        for given in self.graph.inputs[1:]:
            self._numbers[given.name] = self.program.pooled_input(given.channels)
        steps, output = fuse(self.graph, crops=True, gates=True)
        steps, self._enlarged = _shuffled_sums(self.graph, steps, output)
        cuts = _cuts(self.graph, steps)
        self.stored_per_pixel = _stored_by_cuts(self.graph, steps, cuts)
        for index, step in enumerate(steps):
            if index in cuts:
                self.program.cut()
            if isinstance(step.node.op, g.Concat) and self._fills_blocks(step):
                self._joined[step.name] = list(step.inputs)
                continue
            pooled = self.graph.values[step.name].pooled
            self._numbers[step.name] = self._pool(step) if pooled else self._lower(step)
        self.program.finish(self._place(output), halo=_halo(self.graph, steps, cuts))
        return self.program

    def _fills_blocks(self, step: Step) -> bool:
        """Whether all joined values but the last consist of whole blocks of channels."""
        channels = [self.graph.values[ref.name].channels for ref in step.inputs]
        return not any(count % _BLOCK for count in channels[:-1])

    def _place(self, ref: Ref) -> tuple[int, int]:
        if ref.name not in self._numbers:
            # An operation other than a convolution reads a concatenation, which is made for it.
            self._numbers[ref.name] = self.program.concat(self._places(Ref(ref.name)))
        return self._numbers[ref.name], ref.crop

    def _places(self, ref: Ref) -> list[tuple[int, int]]:
        """Return the values that a value is joined from, or the value."""
        if ref.name not in self._joined:
            return [self._place(ref)]
        parts = self._joined[ref.name]
        return [place for part in parts
                for place in self._places(Ref(part.name, part.crop + ref.crop))]  # fmt: skip

    def _lower(self, step: Step) -> int:
        op, program = step.node.op, self.program
        if isinstance(op, g.Conv | g.ConvTranspose):
            return self._convolve(step, op)
        places = [self._place(ref) for ref in step.inputs]
        source = places[0]
        match op:
            case g.Activate(activation=activation) if activation.smooth:
                return program.smooth(source, activation.kind)
            case g.Activate():
                return program.activate(
                    source, g.negative_slopes(op.activation, self._channels(step))
                )
            case g.Add() if step.name in self._enlarged:
                factor, enlarged = self._enlarged[step.name]
                return program.shuffle(source, factor, addend=places[1], enlarged=enlarged)
            case g.Add():
                return program.add(source, places[1])
            case g.Multiply() if self.graph.values[step.inputs[1].name].pooled:
                return program.multiply(source, places[1][0])
            case g.Multiply():
                return program.product(source, places[1])
            case g.Affine():
                channels = self._channels(step)
                scale, offset = (np.broadcast_to(x, channels) for x in (op.scale, op.offset))
                return program.affine(source, _floats(scale), _floats(offset))
            case g.Concat():
                return program.concat(places)
            case g.PixelShuffle():
                return program.shuffle(source, op.factor)
            case g.PixelUnshuffle():
                return program.unshuffle(source, op.factor)
            case g.Upsample():
                return program.upsample(source, op.factor)
            case g.Resize():
                ratio = Fraction(op.numerator, op.denominator)
                return program.resize(source, ratio.numerator, ratio.denominator, op.support)
        raise _unsupported(step)

    def _convolve(self, step: Step, op: g.Conv | g.ConvTranspose) -> int:
        smooth = step.activation if step.activation and step.activation.smooth else None
        function = smooth.kind if smooth else "identity"
        slopes = g.negative_slopes(None if smooth else step.activation, op.bias.size)
        weight, bias = op.weight, op.bias
        layout = {"stride": op.stride, "padding": op.padding}
        if isinstance(op, g.ConvTranspose):
            plain, factor = sub_pixel(op), op.stride
            weight, bias, slopes = plain.weight, plain.bias, np.repeat(slopes, factor * factor)
            layout = {"padding": plain.padding, "shuffle": factor}
            layout |= {"crop": plain.crop, "trim": plain.trim}
        shuffled_smooth = smooth is not None and "shuffle" in layout
        value = self.program.conv(
            self._places(step.inputs[0]),
            _floats(weight),
            _floats(bias),
            slopes,
            function="identity" if shuffled_smooth else function,
            gate=-1 if step.gate is None else self._numbers[step.gate.name],
            factor=None if step.factor is None else self._place(step.factor),
            addend=None if step.addend is None else self._place(step.addend),
            **layout,
        )
        return self.program.smooth((value, 0), function) if shuffled_smooth else value

    def _pool(self, step: Step) -> int:
        """Lower an operation whose result is pooled; all but the mean are 1x1 convolutions."""
        source = self._place(step.inputs[0])
        channels = self._channels(step)
        weight = np.eye(channels, dtype=np.float32).reshape(channels, channels, 1, 1)
        bias = np.zeros(channels, np.float32)
        activation = None
        match step.node.op:
            case g.GlobalMean():
                return self.program.mean(source)
            case g.Conv() as op:
                weight, bias, activation = op.weight, op.bias, op.activation
            case g.Activate() as op:
                activation = op.activation
            case g.Affine() as op:
                weight *= np.reshape(np.broadcast_to(op.scale, channels), (-1, 1, 1, 1))
                bias += op.offset
            case _:
                raise _unsupported(step, " on pooled values")
        if activation is not None and activation.kind in ("silu", "tanh"):
            raise _unsupported(step, " on pooled values")
        sigmoid = activation is not None and activation.smooth
        slopes = g.negative_slopes(None if sigmoid else activation, channels)
        return self.program.pooled_conv(source[0], _floats(weight), _floats(bias), slopes, sigmoid)

    def _channels(self, step: Step) -> int:
        return self.graph.values[step.name].channels


def _shuffled_sums(
    graph: g.Graph, steps: Sequence[Step], output: Ref
) -> tuple[list[Step], dict[str, tuple[int, int]]]:
    """Fuse sums of a pixel shuffle and a nearest enlargement that nothing else reads.

    Returns the steps, and for each such sum, which then reads the sources of both, the factors of
    the shuffle and of the enlargement.
    """
    made = {step.name: step for step in steps}
    uses = Counter(name for step in steps for name in step.reads)
    uses[output.name] += 1
    replaced: dict[str, Step] = {}
    dropped: set[str] = set()
    factors: dict[str, tuple[int, int]] = {}
    for step in steps:
        if not isinstance(step.node.op, g.Add) or any(ref.crop for ref in step.inputs):
            continue
        terms = [made.get(ref.name) for ref in step.inputs]
        shuffle = next((t for t in terms if t and isinstance(t.node.op, g.PixelShuffle)), None)
        enlarge = next((t for t in terms if t and isinstance(t.node.op, g.Upsample)), None)
        if shuffle is None or enlarge is None or uses[shuffle.name] + uses[enlarge.name] > 2:
            continue
        assert isinstance(shuffle.node.op, g.PixelShuffle)
        assert isinstance(enlarge.node.op, g.Upsample)
        factor, enlarged = shuffle.node.op.factor, enlarge.node.op.factor
        if factor % enlarged or graph.values[step.name].channels > _BLOCK:
            continue
        factors[step.name] = factor, enlarged
        dropped |= {shuffle.name, enlarge.name}
        replaced[step.name] = replace(step, inputs=(*shuffle.inputs, *enlarge.inputs))
    return [replaced.get(s.name, s) for s in steps if s.name not in dropped], factors


def _cuts(graph: g.Graph, steps: Sequence[Step]) -> dict[int, float]:
    """Return the steps at which a deep network is cut into stages, and their reach.

    A region computes the context of its whole stage, so the reach of a stage is kept short; the
    values that the next stages read are stored whole, except for the picture, which they read
    anew. Each cut is made at the smallest of these.
    """
    if graph.reach <= _DEEP:
        return {}
    stored = [_stored(graph, live - {graph.inputs[0].name}) for live in _live(graph, steps)]
    reached: list[float] = []
    deepest = 0.0
    for step in steps:
        reached.append(deepest)
        deepest = max(deepest, float(graph.values[step.name].reach))
    cuts: dict[int, float] = {}
    before = 0.0
    while deepest - before > 2 * _SHORTEST:
        rest = deepest - before
        most = rest - _SHORTEST if rest <= _LONGEST else _LONGEST
        choices = [i for i, at in enumerate(reached) if _SHORTEST <= at - before <= most]
        if not choices:
            break
        best = min(choices, key=lambda i: stored[i])
        more = {**cuts, best: reached[best]}
        allowed = _MOST_MORE * _stored_by_cuts(graph, steps, cuts)
        if rest <= _LONGEST and _stored_by_cuts(graph, steps, more) > allowed:
            break  # the last stage is short enough
        cuts, before = more, reached[best]
    return cuts


def _live(graph: g.Graph, steps: Sequence[Step]) -> list[set[str]]:
    """Return the values that are there before each step and are read by it or later."""
    last_use = {name: index for index, step in enumerate(steps) for name in step.reads}
    live = {value.name for value in graph.inputs if value.name in last_use}
    before: list[set[str]] = []
    for index, step in enumerate(steps):
        before.append(set(live))
        live.add(step.name)
        live = {name for name in live if last_use.get(name, -1) > index}
    return before


def _stored(graph: g.Graph, names: Iterable[str]) -> float:
    """Return the bytes per input pixel of values in blocks of channels."""
    values = [graph.values[name] for name in names]
    return sum(
        4.0 * _BLOCK * -(-value.channels // _BLOCK) * float(value.scale) ** 2
        for value in values
        if not value.pooled
    )


def _stored_by_cuts(graph: g.Graph, steps: Sequence[Step], cuts: dict[int, float]) -> float:
    """Return the most bytes per input pixel that a stage reads or leaves to later stages."""
    live = [names - {graph.inputs[0].name} for names in _live(graph, steps)]
    ends: list[set[str]] = [set(), *(live[index] for index in cuts), set()]
    return max(_stored(graph, before | after) for before, after in itertools.pairwise(ends))


def _halo(graph: g.Graph, steps: Sequence[Step], cuts: dict[int, float]) -> int:
    """Return the rows that a region computes in addition, on average over the layers."""
    if not graph.pads:
        return _HALO
    ends = [0.0, *cuts.values(), float(graph.out.reach)]
    reach = max(after - before for before, after in itertools.pairwise(ends))
    return math.ceil(_GROWTH * reach)


def _unsupported(step: Step, where: str = "") -> EngineError:
    kind = type(step.node.op).__name__
    return EngineError(
        f"the native engine does not run {step.name!r} ({kind}){where}; choose `engine='onnx'`"
    )


class NativeCompiled(HostCompiled):
    """A graph with its weights packed; see `waifu2x.engines.base.Compiled`."""

    def __init__(self, graph: g.Graph, pool: _native.Pool, isa: str | None = None) -> None:
        self.graph = graph
        self._pool = pool
        lowering = _Lowering(fold_scales(graph), isa)
        try:
            self._program = lowering.lower()
        except ValueError as error:
            raise EngineError(
                f"the native engine cannot run this network: {error}; choose `engine='onnx'`"
            ) from error

        #: See `waifu2x.engines.base.Streaming.stored_per_pixel`.
        self.stored_per_pixel = lowering.stored_per_pixel

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
            # An exception of the caller's function is not a failure of the engine.
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
                on_rows=None if on_rows is None else guarded,
            )
        if raised:
            raise raised[0]
        if bad is None:
            raise CancelledError("cancelled; nothing was written")
        return bad

    def run_tiles(self, session: Session, tiles: TileBatch) -> None:
        """Run the network over tiles; see `waifu2x.engines.base.Compiled.run_tiles`.

        With several transforms, a tile is computed as a part of the whole transformed pictures: the
        grid of Winograd tiles, and with it every byte, is independent of the tiling.
        """
        parts = len(tiles.transforms) > 1 and not self.graph.means
        if not parts or any(copy.ramps is not None for copy in tiles.copies):
            super().run_tiles(session, tiles)
            return
        for copy in tiles.copies:
            part = partial(self._restored_part, session, tiles.source, copy, tiles.inset)
            result = np.ascontiguousarray(averaged(tiles.transforms, part)[0])
            write_tile(result, replace(copy, src_x=0, src_y=0), tiles.target)

    def run_part(
        self,
        source: Samples,
        *,
        window: tuple[int, int],
        start: int,
        rows: tuple[int, int],
        columns: tuple[int, int],
        means: Sequence[Batch] = (),
    ) -> Batch:
        """Compute a rectangle of what `run_picture` computes: (1, C, H, W) float32, not clamped.

        rows, columns: half-open ranges in the network's output. The other parameters are those of
        `run_picture`. Every byte equals that of the whole output.
        """
        with self._failing(*window):
            return self._program.run_part(
                self._pool,
                source,
                window_start=(start, start),
                window_size=window,
                rows=rows,
                columns=columns,
                means=[_floats(mean) for mean in means],
            )

    def _restored_part(
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
        part = self.run_part(
            picture,
            window=(window[0], window[1]),
            start=-margin,
            rows=(rows[0] + crop, rows[1] + crop),
            columns=(columns[0] + crop, columns[1] + crop),
            means=transform.means,
        )
        result: Batch = restored(np, part, *symmetry, (2, 3))
        return result

    @contextmanager
    def _failing(self, height: int, width: int) -> Iterator[None]:
        """Check the size of an input, and raise failures of the program as `EngineError`."""
        try:
            for side in (height, width):
                self.graph.output_size(side)
        except GraphError as error:
            raise EngineError(str(error)) from error
        try:
            yield
        except (ValueError, RuntimeError, MemoryError) as error:
            size = f"{width}x{height} px"
            if isinstance(error, MemoryError):
                raise DeviceMemoryError(
                    f"the native engine has not enough memory for an input of {size}; "
                    "a smaller `tile=` needs less"
                ) from error
            if isinstance(error, RuntimeError):  # threads that cannot start
                raise EngineError(f"the native engine failed: {error}") from error
            raise EngineError(f"the native engine failed on an input of {size}: {error}") from error


def _floats(array: npt.ArrayLike) -> Batch:
    return np.ascontiguousarray(array, np.float32)


class NativeEngine(HostEngine):
    """The engine of this package; see `waifu2x.engines.base.Engine`.

    All networks and concurrent runs of one engine share its thread pool, which sleeps when idle. A
    run takes the threads that the end of another run leaves idle.
    """

    name = "native"
    streams = True

    def __init__(self, *, threads: int | None = None, isa: str | None = None) -> None:
        """Make an engine.

        Raises `ArgumentError` for an instruction set that the CPU lacks, and for an unknown one in
        the environment variable WAIFU2X_CPU.


        threads: at least 1; None uses one per CPU available to this process.
        isa: the highest instruction set to use, for tests; None uses the best.
        """
        usable = tiles.isas()
        if isa is not None and isa not in usable:
            raise ArgumentError(f"isa is {isa!r}; usable here are {', '.join(usable)}")
        self._isa = isa
        self.threads = threads or processors()
        # A small picture occupies one thread, and decoding and encoding leave it idle. Of two large
        # pictures, the second uses the threads that the end of the first leaves idle.
        self.concurrency = Concurrency(small=2 * self.threads, large=2)
        self._pool = _native.Pool(self.threads)

    def compile(self, graph: g.Graph) -> NativeCompiled:
        """Transform and pack the weights. Raises `EngineError` for an unsupported operation."""
        check_runs(graph, "native")
        return NativeCompiled(graph, self._pool, self._isa)
