"""Joins plan, gather, run and blend for one picture.

A picture goes through one or more passes of a network, each over tiles; between passes it stays in
float32 and is rounded once, at the end. Color under transparent pixels is filled from the opaque
edge first, and alpha goes through the enlarging network by itself.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from .. import engines
from .._machine import total_memory
from ..errors import ArgumentError, CancelledError, DeviceLostError, LimitError
from ..kernels import tiles
from ..network import registry
from ..network.graph import Graph
from ..picture import SAMPLE_DTYPES, Picture, Samples, as_float, sample_max
from . import (
    resize,
    squeeze_excitation,
    tiled,
    tiling,
)
from .layout import SYMMETRIES, Loaded, plannable, ramp

_log = logging.getLogger(__name__)

#: Called with the share of the work done, 0 to 1, after every tile, from the calling thread.
ProgressCallback: TypeAlias = Callable[[float], object]

#: Called with the result's color, (H, W, C), and how many of its rows from the top are final, now
#: and then from the calling thread.
RowsCallback: TypeAlias = Callable[[Samples, int], object]

#: Means given to a network, one for each of its inputs besides the picture.
_Means: TypeAlias = tuple[engines.Batch, ...]

NOISE_LEVELS: Final = (0, 1, 2, 3)

#: A result may have this many times the pixels that an input may have: one doubling of the largest.
RESULT_FACTOR: Final = 4

#: Memory for one network run unless told otherwise; a larger tile is no faster. A network that
#: averages over its input (cunet) gets more for a whole picture, which then takes a single run.
_MEMORY_CAP: Final = 512 << 20
_MEMORY_CAP_WITH_MEANS: Final = 2304 << 20
#: What a runtime takes beyond the values alive in the graph; onnxruntime measured 1.8.
_RUNTIME_OVERHEAD: Final = 2.0
#: How far a block of outputs reaches for every pixel that its kernel reaches.
_BLOCK_REACH: Final = 4
#: Rows of every layer that an engine that streams keeps, for each pixel of margin, and the width
#: of what one of its threads works on; measured (docs/engine.md).
_RING_ROWS_PER_MARGIN: Final = 6
_RING_WIDTH: Final = 384
#: Lanczos reaches three pixels of the coarser grid.
_LANCZOS_RADIUS: Final = 3


@dataclass(frozen=True, slots=True)
class Settings:
    """How to run; only ``tta`` changes the result by more than rounding.

    tile: side of a tile in input pixels; 0 chooses one from ``memory``.
    memory: bytes that one network run may take, about; None means 512 MiB, for a cunet run over a
        whole small picture 2.25 GiB, or a quarter of the machine's memory if that is less. That of
        a GPU is reckoned with by itself.
    tta: average the results of the eight turned and mirrored pictures, at eight times the cost.
    max_pixels: limit for inputs; a result, and any stage on the way, may have four times as many.
    """

    tile: int = 0
    memory: int | None = None
    tta: bool = False
    max_pixels: int = 178_956_970

    def __post_init__(self) -> None:
        if self.tile < 0:
            raise ArgumentError(f"tile is {self.tile}; it must be 0 for automatic, or a side in px")
        if self.memory is not None and self.memory < 1:
            raise ArgumentError(f"memory is {self.memory}; it must be a positive number of bytes")
        if self.max_pixels < 1:
            raise ArgumentError(f"max_pixels is {self.max_pixels}; it must be at least 1")


@dataclass(frozen=True, slots=True)
class _Way:
    """How one pass goes over a picture of one size.

    layout: the tiles; None where the engine takes the picture as a whole.
    survey, gates: where and by what the means are taken that every tile is given; None where there
        are none to give.
    cost: multiply-accumulates, margins and means included.
    """

    loaded: Loaded
    layout: tiling.Plan | None
    survey: squeeze_excitation.Survey | None
    gates: squeeze_excitation.Gates | None
    cost: float


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes that a picture takes while it is worked on, about, besides the picture itself.

    result: what is there afterwards. work: what is given back, or kept for the next picture.
    """

    result: int
    work: int


@dataclass(slots=True)
class _Work:
    """Progress and cancellation of one picture; ``total`` and ``done`` in multiply-accumulates."""

    total: float
    progress: ProgressCallback | None
    cancel: threading.Event | None
    ready: RowsCallback | None = None
    done: float = 0.0

    @property
    def cancelled(self) -> bool:
        return self.cancel is not None and self.cancel.is_set()

    def check(self) -> None:
        if self.cancelled:
            raise CancelledError("cancelled; nothing was written")

    def reach(self, done: float) -> None:
        self.done = done
        if self.progress is not None:
            self.progress(min(1.0, self.done / self.total))

    def advance(self, cost: float) -> None:
        self.reach(self.done + cost)
        self.check()


class PictureUpscaler:
    """One model on one engine; networks are loaded when first needed and kept.

    Safe to use from several threads at once.
    """

    def __init__(
        self,
        model: str = "cunet",
        *,
        engine: str = "auto",
        threads: int | None = None,
        device: str | None = None,
        precision: str = "auto",
    ) -> None:
        """Choose a model and an engine.

        model: a name of `waifu2x.models`.
        engine, threads, device, precision: see `waifu2x.engines.create`.

        Raises `ArgumentError` for unknown names, `MissingExtraError` if torch is not installed.
        """
        self.model = registry.model(model)
        self.engine = engines.create(engine, threads=threads, device=device, precision=precision)
        self._threads = threads
        self._loaded: dict[tuple[int, int | None], Loaded] = {}
        self._gates: dict[tuple[int, int | None], squeeze_excitation.Gates] = {}
        self._lock = threading.Lock()

    def request(
        self,
        picture: Picture,
        *,
        scale: float | None = None,
        width: int | None = None,
        height: int | None = None,
        noise: int | None = None,
        settings: Settings | None = None,
    ) -> tiling.Request:
        """What `run` would do, checked, without doing it; arguments and errors as for `run`."""
        if noise is not None and noise not in NOISE_LEVELS:
            raise ArgumentError(f"noise is {noise!r}; allowed are None, 0, 1, 2 and 3")
        request = tiling.plan_request(
            width=picture.width,
            height=picture.height,
            scale=scale,
            target_width=width,
            target_height=height,
            noise=noise,
            denoises_at_1x=bool(self.model.noise_levels(1)),
        )
        _check_size(picture, request, settings or Settings())
        return request

    def footprint(
        self,
        picture: Picture,
        request: tiling.Request,
        *,
        settings: Settings | None = None,
        dtype: npt.DTypeLike | None = None,
    ) -> Footprint:
        """Memory that `run` takes for ``request``; loads the networks for it."""
        settings = settings or Settings()
        made = picture.color.dtype if dtype is None else np.dtype(dtype)
        channels = picture.color.shape[2] + (picture.alpha is not None)
        result = request.width * request.height * channels * made.itemsize
        if not request.passes and not request.resize:
            return Footprint(result if made != picture.color.dtype else 0, 0)
        work = 0
        width, height = picture.width, picture.height
        before = 0
        for index, (scale, noise) in enumerate(request.passes):
            way = self._way(scale, noise, settings, width=width, height=height)
            width, height = width * scale, height * scale
            last = index == len(request.passes) - 1 and not request.resize
            after = 0 if last else 4 * picture.color.shape[2] * width * height
            work = max(work, before + after + self._way_bytes(way, settings))
            before = after
        # The shrink goes by way of one picture of the final width, in float32 as well.
        work = max(work, before + (4 * channels * request.width * height if request.resize else 0))
        if settings.tta:
            work += 8 * picture.color.nbytes
        return Footprint(result, work)

    def run(
        self,
        picture: Picture,
        *,
        scale: float | None = None,
        width: int | None = None,
        height: int | None = None,
        noise: int | None = None,
        settings: Settings | None = None,
        dtype: npt.DTypeLike | None = None,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
        ready: RowsCallback | None = None,
    ) -> Picture:
        """Upscale and denoise one picture.

        scale: enlargement, any number above 0; 2 if no size is given.
        width, height: size of the result instead; the aspect is kept if only one is given.
        noise: level of noise to remove, 0 to 3, or None.
        settings: how to run; the defaults if left out.
        dtype: uint8, uint16 or float32, what the result is rounded to; that of ``picture`` if left
            out.
        progress: called after every tile.
        cancel: an event that stops the work before the next tile.
        ready: told of rows while those below are still being made, so that they can be written
            meanwhile; only where rows become final one after another, which takes an engine that
            streams and a picture without alpha and without a last shrink.

        Returns a new `Picture` with the channels, metadata and source of ``picture``.
        Raises `ArgumentError`, `LimitError` if the result or a stage on the way is too large,
        `WeightsError`, `EngineError`, and `CancelledError` if ``cancel`` was set.
        """
        settings = settings or Settings()
        request = self.request(
            picture, scale=scale, width=width, height=height, noise=noise, settings=settings
        )
        made = picture.color.dtype if dtype is None else np.dtype(dtype)
        if made not in SAMPLE_DTYPES:
            raise ArgumentError(f"dtype is {made}; it must be uint8, uint16 or float32")
        if not request.passes and not request.resize and made == picture.color.dtype:
            return picture
        alpha_request: tiling.Request | None = None
        if picture.alpha is not None and not _flat(picture.alpha):
            alpha_request = tiling.plan_request(
                width=picture.width,
                height=picture.height,
                target_width=request.width,
                target_height=request.height,
            )
        total = self._cost(picture, request, settings)
        if alpha_request is not None:
            total += self._cost(picture, alpha_request, settings)
        work = _Work(max(total, 1.0), progress, cancel)
        if picture.alpha is None and not request.resize:
            work.ready = ready

        try:
            color = picture.color
            if alpha_request is not None:
                assert picture.alpha is not None
                color = tiles.bleed(color, picture.alpha, self._bleed_depth(picture, request))
            color = _as_dtype(self._enlarge(color, made, request, settings, work), made)
            alpha: Samples | None = None
            if alpha_request is not None:
                assert picture.alpha is not None
                alpha = self._enlarge_alpha(picture.alpha, made, alpha_request, settings, work)
            elif picture.alpha is not None:
                flat = _as_dtype(picture.alpha[:1, :1], made)
                alpha = np.full((request.height, request.width), flat[0, 0], made)
        except MemoryError as error:
            raise LimitError(
                f"not enough memory for a result of {request.width}x{request.height} px; "
                "choose a smaller scale"
            ) from error
        return replace(picture, color=color, alpha=alpha)

    # --- networks -----------------------------------------------------------------------------

    def _load(self, scale: int, noise: int | None) -> Loaded:
        with self._lock:
            loaded = self._loaded.get((scale, noise))
            if loaded is None:
                entry = self.model.network(scale, noise)
                if entry is None:
                    raise ArgumentError(
                        f"model {self.model.name} has no network for {scale}x, noise {noise}"
                    )
                graph = registry.load(entry)
                loaded = Loaded(self.engine.compile(graph), plannable(graph))
                self._loaded[scale, noise] = loaded
                _log.debug(
                    "loaded %s %dx noise %s on %s", self.model.name, scale, noise, self.engine.name
                )
            return loaded

    def _load_gates(self, scale: int, noise: int | None) -> squeeze_excitation.Gates:
        """The same network in stages, for pictures that do not go through it in a single run."""
        loaded = self._load(scale, noise)
        with self._lock:
            if (scale, noise) not in self._gates:
                self._gates[scale, noise] = squeeze_excitation.Gates(loaded.graph, self.engine)
            return self._gates[scale, noise]

    def _way(
        self, scale: int, noise: int | None, settings: Settings, *, width: int, height: int
    ) -> _Way:
        """How one pass goes over a picture of ``width`` x ``height`` pixels."""
        loaded = self._load(scale, noise)
        if isinstance(loaded.compiled, engines.OnDevice):
            whole = loaded.window(width=width, height=height)
            turns = len(SYMMETRIES) if settings.tta else 1
            cost = whole[0] * whole[1] * loaded.graph.macs_per_pixel * turns
            return _Way(loaded, None, None, None, cost)
        survey: squeeze_excitation.Survey | None = None
        staged: squeeze_excitation.Gates | None = None
        cost = 0.0
        if loaded.graph.means and not _runs_once(loaded, settings, width=width, height=height):
            staged = self._load_gates(scale, noise)
            loaded = Loaded(staged.network, loaded.network)
            window = loaded.window(width=width, height=height)
            survey = staged.survey(height=window[0], width=window[1])
            cost = staged.cost(survey) * (len(SYMMETRIES) if settings.tta else 1)
        if isinstance(loaded.compiled, engines.Streaming) and not (
            settings.tta or loaded.network.feather
        ):
            layout = None
            window_height, window_width = loaded.window(width=width, height=height)
        else:
            layout = _layout(loaded, settings, width=width, height=height)
            window_width = sum(x.window_size for x in layout.columns)
            window_height = sum(y.window_size for y in layout.rows)
        cost += window_width * window_height * loaded.graph.macs_per_pixel
        return _Way(loaded, layout, survey, staged, cost)

    # --- one plane or three through all passes ------------------------------------------------

    def _enlarge(
        self,
        color: Samples,
        dtype: np.dtype[Any],
        request: tiling.Request,
        settings: Settings,
        work: _Work,
    ) -> Samples:
        """Run all passes over (H, W, C) samples and reach the size asked for, in ``dtype``."""
        engine = self.engine
        if isinstance(engine, engines.DeviceEngine) and request.passes:
            try:
                source = self._enlarge_on_device(engine, color, dtype, request, settings, work)
            except DeviceLostError:
                self._leave(engine)
                raise
            return self._shrunk(source, dtype, request, work)
        source = color
        for index, (scale, noise) in enumerate(request.passes):
            last = index == len(request.passes) - 1 and not request.resize
            height, width, _ = source.shape
            way = self._way(scale, noise, settings, width=width, height=height)
            made = dtype if last else np.dtype(np.float32)
            if way.layout is None:
                source = self._stream(source, way, made, work, work.ready if last else None)
            else:
                source = self._tiles(source, way, way.layout, made, settings, work)
        return self._shrunk(source, dtype, request, work)

    def _shrunk(
        self, source: Samples, dtype: np.dtype[Any], request: tiling.Request, work: _Work
    ) -> Samples:
        """The last shrink, if there is one."""
        if not request.resize:
            return source
        work.check()
        shrunk = resize.shrink(as_float(source), width=request.width, height=request.height)
        return tiles.quantize(shrunk, dtype)

    def _enlarge_on_device(
        self,
        engine: engines.DeviceEngine,
        color: Samples,
        dtype: np.dtype[Any],
        request: tiling.Request,
        settings: Settings,
        work: _Work,
    ) -> Samples:
        """Run all passes in the memory of a device: one copy there, one back."""
        with engine.session() as session:
            held = session.upload(color)
            for index, (scale, noise) in enumerate(request.passes):
                last = index == len(request.passes) - 1 and not request.resize
                height, width, _ = held.shape
                way = self._way(scale, noise, settings, width=width, height=height)
                network = tiled.Network(
                    way.loaded, functools.partial(self._load_gates, scale, noise)
                )
                memory = None if session.accelerated else _run_memory(settings, way.loaded.graph)
                before = work.done

                def reach(share: float, before: float = before, cost: float = way.cost) -> None:
                    work.reach(max(work.done, before + share * cost))
                    work.check()

                held = tiled.run_pass(
                    session, held, network, dtype if last else np.float32,
                    tiled.How(settings.tile, memory, settings.tta), reach,
                )  # fmt: skip
                work.reach(before + way.cost)
            return session.download(held)

    def _leave(self, lost: engines.DeviceEngine) -> None:
        """Go on without an engine none of whose devices is left."""
        with self._lock:
            if lost.alive or self.engine is not lost:
                return
            _log.warning("no device is left: going on with engine native, on the CPU")
            self.engine = engines.create("native", threads=self._threads)
            self._loaded.clear()
            self._gates.clear()

    def _enlarge_alpha(
        self,
        alpha: Samples,
        dtype: np.dtype[Any],
        request: tiling.Request,
        settings: Settings,
        work: _Work,
    ) -> Samples:
        """Enlarge alpha as a gray picture; what is solid or empty all around stays exactly so."""
        if not request.passes and not request.resize:
            return _as_dtype(alpha, dtype)
        solid = _surrounded(alpha == sample_max(alpha.dtype))
        empty = _surrounded(alpha == 0)
        result = self._enlarge(alpha[:, :, None], dtype, request, settings, work)[:, :, 0]
        rows = np.arange(request.height) * alpha.shape[0] // request.height
        columns = np.arange(request.width) * alpha.shape[1] // request.width
        result[solid[rows][:, columns]] = sample_max(dtype)
        result[empty[rows][:, columns]] = 0
        return result

    def _tiles(
        self,
        source: Samples,
        way: _Way,
        layout: tiling.Plan,
        dtype: np.dtype[Any],
        settings: Settings,
        work: _Work,
    ) -> Samples:
        """One network over (H, W, C) samples, tile by tile, into a new array of ``dtype``."""
        loaded = way.loaded
        compiled, network = loaded.compiled, loaded.network
        height, width, channels = source.shape
        _log.debug(
            "%dx pass over %dx%d px in %d tiles of up to %dx%d px",
            network.scale, width, height, len(layout),
            layout.columns[0].size, layout.rows[0].size,
        )  # fmt: skip
        shape = (layout.height, layout.width, channels)
        # Feathered tiles are summed, so they start from zero and are rounded when all are in.
        feathered = network.feather > 0 and len(layout) > 1
        canvas = np.zeros(shape if feathered else (0, 0, 0), np.float32)
        target: Samples = np.empty((0, 0, 0) if feathered else shape, dtype)
        turned = _turned(source) if settings.tta else []
        means = [self._means(each, way, work) for each in turned or [source]]
        streaming = isinstance(compiled, engines.Streaming) and loaded.exact
        for tile in layout:
            work.check()
            window_height, window_width = tile.window
            if turned and streaming:
                result = _tta_part(loaded, turned, means, tile, width=width, height=height)
            else:
                batch = tiles.gather(
                    source,
                    [tile.x.window_start],
                    [tile.y.window_start],
                    height=window_height,
                    width=window_width,
                )
                if turned:
                    result = _run_tta(compiled, batch, means)[0]
                else:
                    result = compiled.run(batch, means[0])[0]
            place = {
                "src_x": tile.x.crop,
                "src_y": tile.y.crop,
                "dst_x": tile.x.out_start,
                "dst_y": tile.y.out_start,
            }
            if feathered:
                tiles.blend_feathered(
                    result, canvas, weights_x=ramp(tile.x), weights_y=ramp(tile.y), **place
                )
            else:
                tiles.blend(result, target, width=tile.x.out_size, height=tile.y.out_size, **place)
            work.reach(work.done + window_width * window_height * loaded.graph.macs_per_pixel)
        return tiles.quantize(canvas, dtype) if feathered else target

    def _stream(
        self,
        source: Samples,
        way: _Way,
        dtype: np.dtype[Any],
        work: _Work,
        ready: RowsCallback | None,
    ) -> Samples:
        """One network over (H, W, C) samples as a whole, into a new array of ``dtype``."""
        loaded = way.loaded
        compiled, network = loaded.compiled, loaded.network
        assert isinstance(compiled, engines.Streaming)
        means = self._means(source, way, work)
        height, width, channels = source.shape
        _log.debug("%dx pass over %dx%d px as a whole", network.scale, width, height)
        target: Samples = np.empty((height * network.scale, width * network.scale, channels), dtype)
        window = loaded.window(width=width, height=height)
        cost = window[0] * window[1] * loaded.graph.macs_per_pixel
        before = work.done

        def watch(share: float, rows: int) -> bool:
            work.reach(before + share * cost)
            if ready is not None and rows > 0:
                ready(target, rows)
            return work.cancelled

        work.check()
        bad = compiled.run_picture(
            tiles.readable(source),
            target,
            window=window,
            start=-network.margin,
            crop=(network.margin - network.lost) * network.scale,
            means=means,
            watch=watch,
        )
        tiles.require_finite(bad, target.size, "in the result")
        work.reach(before + cost)
        return target

    def _means(self, source: Samples, way: _Way, work: _Work) -> _Means:
        """The means of a picture that all its tiles are given, if there are any to give."""
        height, width, _ = source.shape
        if way.survey is None or way.gates is None:
            if way.loaded.graph.means:
                _log.debug("gates of %dx%d px: exact, in the run itself", width, height)
            return ()
        survey = way.survey
        if (height < width) != (survey.height < survey.width):  # one turned on its side
            survey = way.gates.survey(width=survey.height, height=survey.width)
        if survey.exact:
            _log.debug("gates of %dx%d px: exact, from the whole picture", width, height)
        else:
            _log.debug(
                "gates of %dx%d px: from a sample, %d windows of %dx%d px (%.0f%% of the picture)",
                width, height, len(survey.sample),
                survey.sample[0].width, survey.sample[0].height, 100 * survey.share,
            )  # fmt: skip
        start = -way.loaded.network.margin
        return way.gates.means(source, survey, start=start, advance=work.advance)

    # --- sizes and costs ----------------------------------------------------------------------

    def _cost(self, picture: Picture, request: tiling.Request, settings: Settings) -> float:
        """Multiply-accumulates of all passes."""
        cost, width, height = 0.0, picture.width, picture.height
        for scale, noise in request.passes:
            cost += self._way(scale, noise, settings, width=width, height=height).cost
            width, height = width * scale, height * scale
        return cost

    def _way_bytes(self, way: _Way, settings: Settings) -> int:
        """What the engine takes for one pass of the machine's memory."""
        graph = way.loaded.graph
        if isinstance(self.engine, engines.DeviceEngine):
            pixels = way.cost / graph.macs_per_pixel * _RUNTIME_OVERHEAD
            needed = min(pixels * graph.bytes_per_pixel, _run_memory(settings, graph))
            return 0 if self.engine.accelerated else int(needed)
        if way.layout is not None:
            height, width = way.layout.largest_window
            pixels = height * width * _RUNTIME_OVERHEAD
        elif graph.means:
            pixels = way.cost / graph.macs_per_pixel
        else:
            rows = _RING_ROWS_PER_MARGIN * graph.margin
            pixels = self.engine.threads * (_RING_WIDTH + 2 * graph.margin) * rows
        if way.survey is not None:
            pixels = max(pixels, squeeze_excitation.BATCH_PIXELS)
        return int(pixels * graph.bytes_per_pixel)

    def _bleed_depth(self, picture: Picture, request: tiling.Request) -> int:
        """How far from the opaque edge a network or the final shrink can see, in input pixels.

        Engines that compute in blocks see further in the last bit: a layer whose kernel reaches one
        pixel reaches four through a Winograd tile.
        """
        margins = [self._load(scale, noise).network.margin for scale, noise in request.passes]
        ratio = max(picture.width / request.width, picture.height / request.height, 1.0)
        return max(int(_LANCZOS_RADIUS * ratio) + 1, _BLOCK_REACH * max(margins, default=0)) + 2


def _runs_once(loaded: Loaded, settings: Settings, *, width: int, height: int) -> bool:
    """Whether a network that averages over its input sees a picture in a single run.

    Which pictures do depends on their size alone, as far as memory goes, so that no result depends
    on the tiles.
    """
    window_height, window_width = loaded.window(width=width, height=height)
    pixels = window_height * window_width
    if pixels > squeeze_excitation.EXACT_PIXELS:
        return False
    if isinstance(loaded.compiled, engines.Streaming) and not settings.tta:
        needed = pixels * loaded.graph.bytes_per_pixel
        return needed <= (_run_memory(settings, loaded.graph))
    return len(_layout(loaded, settings, width=width, height=height)) == 1


def _layout(loaded: Loaded, settings: Settings, *, width: int, height: int) -> tiling.Plan:
    tile = settings.tile or tiling.choose_tile(
        loaded.network,
        loaded.graph.bytes_per_pixel * _RUNTIME_OVERHEAD,
        _run_memory(settings, loaded.graph),
        width=width,
        height=height,
    )
    return tiling.plan_tiles(loaded.network, width=width, height=height, tile=tile)


def _run_memory(settings: Settings, graph: Graph) -> int:
    """Bytes of the machine's memory that one network run may take."""
    if settings.memory is not None:
        return settings.memory
    cap = _MEMORY_CAP_WITH_MEANS if graph.means else _MEMORY_CAP
    return min(cap, total_memory() // 4)


def _check_size(picture: Picture, request: tiling.Request, settings: Settings) -> None:
    """Refuse a result, or a stage on the way, that is past the limit in pixels."""
    grown = 1
    for scale, _ in request.passes:
        grown *= scale
    width = max(request.width, picture.width * grown)
    height = max(request.height, picture.height * grown)
    limit = settings.max_pixels * RESULT_FACTOR
    if width * height > limit:
        on_the_way = "" if (width, height) == (request.width, request.height) else " on the way"
        raise LimitError(
            f"{picture.width}x{picture.height} px would become {width}x{height} px{on_the_way}, "
            f"and the limit for results is {limit} px; choose a smaller scale, or raise the limit "
            f"(WAIFU2X_MAX_PIXELS, max_pixels; a result may have {RESULT_FACTOR} times that)"
        )


def _turn(array: npt.NDArray[Any], turns: int, mirrored: bool, axes: tuple[int, int]) -> Any:
    turned = np.rot90(array, turns, axes)
    return np.ascontiguousarray(np.flip(turned, axes[1]) if mirrored else turned)


def _turn_back(result: engines.Batch, turns: int, mirrored: bool) -> engines.Batch:
    return np.rot90(np.flip(result, 3) if mirrored else result, -turns, (2, 3))


def _mean(results: Iterable[engines.Batch]) -> engines.Batch:
    total: engines.Batch | None = None
    for result in results:
        total = result.copy() if total is None else np.add(total, result, out=total)
    assert total is not None
    total *= np.float32(1 / len(SYMMETRIES))
    return total


def _run_tta(
    compiled: engines.Compiled, batch: engines.Batch, means: Sequence[_Means]
) -> engines.Batch:
    """The mean over the eight turns and mirrorings of the square, each undone."""
    return _mean(
        _turn_back(compiled.run(_turn(batch, *symmetry, (2, 3)), given), *symmetry)
        for symmetry, given in zip(SYMMETRIES, means, strict=True)
    )


def _turned(source: Samples) -> list[Samples]:
    return [_turn(source, *symmetry, (0, 1)) for symmetry in SYMMETRIES]


def _tta_part(
    loaded: Loaded,
    turned: Sequence[Samples],
    means: Sequence[_Means],
    tile: tiling.Tile,
    *,
    width: int,
    height: int,
) -> npt.NDArray[np.float32]:
    """The same for one tile of whole turned pictures, so that no byte depends on the tiles."""
    compiled, network = loaded.compiled, loaded.network
    assert isinstance(compiled, engines.Streaming)
    crop = (network.margin - network.lost) * network.scale

    def part(source: Samples, given: _Means, turns: int, mirrored: bool) -> engines.Batch:
        rows = (tile.y.out_start, tile.y.out_start + tile.y.out_size)
        columns = (tile.x.out_start, tile.x.out_start + tile.x.out_size)
        size = (height * network.scale, width * network.scale)
        for _ in range(turns):
            rows, columns = (size[1] - columns[1], size[1] - columns[0]), rows
            size = size[1], size[0]
        if mirrored:
            columns = size[1] - columns[1], size[1] - columns[0]
        return compiled.run_part(
            tiles.readable(source),
            window=loaded.window(width=source.shape[1], height=source.shape[0]),
            start=-network.margin,
            rows=(rows[0] + crop, rows[1] + crop),
            columns=(columns[0] + crop, columns[1] + crop),
            means=given,
        )

    result: npt.NDArray[np.float32] = _mean(
        _turn_back(part(source, given, *symmetry), *symmetry)
        for source, given, symmetry in zip(turned, means, SYMMETRIES, strict=True)
    )[0]
    # As a whole window's result would lie, so that it is blended like one.
    return np.pad(result, ((0, 0), (tile.y.crop, 0), (tile.x.crop, 0)))


def _as_dtype(samples: Samples, dtype: np.dtype[Any]) -> Samples:
    """Samples in ``dtype``, rounded once; the array itself if it has that already."""
    return samples if samples.dtype == dtype else tiles.quantize(as_float(samples), dtype)


def _flat(samples: Samples) -> bool:
    return bool((samples == samples[0, 0]).all())


def _surrounded(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Where a pixel and its eight neighbors are all set; beyond the picture counts as set."""
    padded = np.pad(mask, 1, constant_values=True)
    rows = padded[:-2] & padded[1:-1] & padded[2:]
    inner: npt.NDArray[np.bool_] = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
    return inner
