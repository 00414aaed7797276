"""Runs one picture through the networks of a model.

A picture goes through one or more passes, each a network over the whole picture; between passes it
stays in float32 and is rounded once, at the end. Color under transparent pixels is filled from the
opaque edge first, and alpha goes through the enlarging networks as a picture of its own.
"""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import numpy.typing as npt

from .. import engines, kernels
from .._record import record
from .._text import listed
from ..engines import Streaming
from ..errors import ArgumentError, DeviceLostError, LimitError
from ..network import registry
from ..network.graph import Graph
from ..network.mixing import mix_of
from ..picture import SAMPLE_DTYPES, Picture, Samples, as_float
from . import alpha, squeeze_excitation, streamed, tiled
from .auto_noise import AnyLevel, Level, is_fraction, is_level, resolve_noise
from .gray import GrayTest, to_gray, to_rgb
from .options import PictureOptions, UpscalerOptions
from .progress import Progress, ProgressCallback
from .request import Costs, Request, denoising_scale, plan_request
from .resize import LANCZOS_RADIUS, shrink
from .squeeze_excitation import LoadedNetwork, SamplingPlan
from .streamed import HandOver, Receiver, RowsCallback
from .tiling import CompiledNetwork

if TYPE_CHECKING:
    from .finish import Finish

_log = logging.getLogger(__name__)

#: A result may have this many times the pixels that an input may have: one doubling of the largest.
RESULT_FACTOR: Final = 4

#: Reach of a block of outputs relative to the reach of its kernel, for engines that compute blocks.
_BLOCK_REACH: Final = 4
#: Reach of a network in the last bit of its result relative to its margin. With less, one and two
#: passes of upconv_7 over random samples differ by 2e-6.
_LAST_BIT_REACH: Final = 1.5
#: Rows of every layer that a streaming engine keeps, per pixel of margin, and the width of the
#: region that a thread works on; measured (docs/engine.md).
_RING_ROWS_PER_MARGIN: Final = 6
_RING_WIDTH: Final = 384
#: Margin of a stage of a network that is computed in stages.
_STAGE_MARGIN: Final = 15


@record
class PassPlan:
    """How one network runs over a picture of one size.

    network: with its global means inside, or given from outside.
    streamed: whether the picture runs as one stream, not in tiles.
    sampling: how a stream's global means are sampled and computed; None if the network has none or
        sees the picture whole.
    cost: multiply-accumulates, margins and means included.
    memory: bytes of the machine's memory that the engine takes.
    """

    network: CompiledNetwork
    streamed: bool
    sampling: SamplingPlan | None
    cost: float
    memory: int


@record
class NoiseChoice:
    """The noise level to remove, or None, and why if it was chosen automatically."""

    level: AnyLevel | None
    reason: str


@record
class Footprint:
    """Estimated bytes that a run takes in addition to the picture.

    result: held afterward. work: freed, or kept for the next picture.
    networks: whether a network runs.
    """

    result: int
    work: int
    networks: bool = True


@record
class Locality:
    """How far the result of a request reaches, so that a part of a picture can run by itself.

    margin: pixels of the source around a part that its result depends on.
    alignment: a part begins at multiples of so many pixels of the source.
    """

    margin: int
    alignment: int


class Pipeline:
    """One model on one engine; networks are loaded when first needed and kept.

    Safe to use from several threads at once.
    """

    def __init__(self, options: UpscalerOptions) -> None:
        """Choose a model and an engine.

        Raises `ArgumentError` for unknown names, `WeightsError` if the weights are not installed
        or a file cannot be read, `GraphError` for what is in a file, `MissingExtraError` if torch
        is not installed, and `EngineError` if another engine has to run the model.
        """
        self.options = options
        self.model = registry.model(
            os.fspath(options.model), read=engines.read_model, describe=False
        )
        registry.require_installed(self.model)
        self._costs: Costs = {(n.scale, n.noise): n.macs_per_pixel for n in self.model.networks}
        self._networks: dict[tuple[engines.Engine, int, AnyLevel | None], LoadedNetwork] = {}
        self._lock = threading.Lock()
        self.engine = self._first_engine()

    def _first_engine(self) -> engines.Engine:
        """Return the engine of the options, or the fastest one with a network of the model."""
        options, only = self.options, self.model.only_engine
        if options.engine == "auto" and options.device is None and only is None:
            engines.check(threads=options.threads, precision=options.precision)
            if engines.has_accelerators():
                from ..engines.trust import fastest  # loaded for GPUs only

                graph = registry.load(self.model.networks[0])
                return fastest(graph, precision=options.precision, threads=options.threads)
        return engines.create(
            engines.for_model(options.engine, only, device=options.device),
            threads=options.threads,
            device=options.device,
            precision=options.precision,
        )

    def request(
        self,
        picture: Picture,
        *,
        scale: float | None = None,
        width: int | None = None,
        height: int | None = None,
        noise: AnyLevel | None = None,
    ) -> Request:
        """Resolve and check the requested size and noise level.

        scale: enlargement, any number above 0; `Model.default_scale` if no size is given.
        width, height: size of the result instead; the aspect is kept if only one is given.
        noise: level of noise to remove, a number between two levels, or None.

        Raises `ArgumentError`, and `LimitError` if the result or a stage on the way is too large.
        """
        self._check_level(noise)
        if scale is None and width is None and height is None:
            scale = self.model.default_scale
        request = plan_request(
            width=picture.width,
            height=picture.height,
            scale=scale,
            target_width=width,
            target_height=height,
            noise=noise,
            costs={**self._costs, **self._mixed_costs(noise)},
        )
        _check_size(picture, request, self.options.limit)
        return request

    def resolve(self, picture: Picture, options: PictureOptions) -> tuple[Request, NoiseChoice]:
        """Resolve ``options``: the size, the noise level, "auto" included, and how to finish.

        A level that is chosen does not change the scales of the passes. See `request` for errors.
        """

        def request(noise: AnyLevel | None) -> Request:
            return self.request(
                picture,
                scale=options.scale,
                width=options.width,
                height=options.height,
                noise=noise,
            )

        levels: tuple[Level, ...] = ()
        if options.noise == "auto":
            passes = request(None).passes
            first = passes[0][0] if passes else denoising_scale(self._costs)
            levels = () if first is None else self.model.noise_levels(first)
        choice = NoiseChoice(*resolve_noise(options.noise, picture, levels))
        resolved = replace(
            request(choice.level), strength=options.strength, color_fix=options.color_fix
        )
        return resolved, choice

    def locality(self, request: Request) -> Locality | None:
        """Return how far the result of ``request`` reaches; None if it needs the whole picture.

        A part with its margin gives the samples of the whole picture, if the engine computes both
        in the same order. Loads the networks of ``request``.
        """
        if request.resize or request.finished or self.options.tta or not request.passes:
            return None
        margin, alignment, grown = 0, 1, 1
        for scale, noise in request.passes:
            network = self.network(scale, noise)
            if network.graph.means or network.tiling.feather:
                return None
            margin += math.ceil(network.tiling.margin / grown)
            modulus = network.tiling.modulus
            alignment = math.lcm(alignment, modulus // math.gcd(modulus, grown))
            grown *= scale
        return Locality(math.ceil(margin * _LAST_BIT_REACH), alignment)

    def _check_level(self, noise: AnyLevel | None) -> None:
        if noise is None:
            return
        levels = self.model.noise_levels()
        if not levels:
            raise ArgumentError(
                f"model {self.model.name} removes no noise, and `noise={noise!r}` is given; "
                "leave it out, or choose another `model=`"
            )
        if is_fraction(noise) and self._mixed_costs(noise):
            return
        if not is_level(noise) or noise not in levels:
            raise ArgumentError(
                f"model {self.model.name} has no noise level {noise!r}; its levels are "
                f"{listed([str(level) for level in levels], 'and')}; choose one of them, none, or "
                "another `model=`"
            )

    def _mixed_costs(self, noise: AnyLevel | None) -> Costs:
        """Return the cost of a noise level between two, at the scales that have both."""
        if not is_fraction(noise):
            return {}
        mixes = {scale: mix_of(self.model, scale, noise) for scale in self.model.scales}
        return {(scale, noise): mix.macs_per_pixel for scale, mix in mixes.items() if mix}

    def footprint(
        self, picture: Picture, request: Request, *, dtype: npt.DTypeLike | None = None
    ) -> Footprint:
        """Estimate the memory of `run`; loads the networks of ``request``."""
        made = picture.color.dtype if dtype is None else np.dtype(dtype)
        channels = picture.color.shape[2] + (picture.alpha is not None)
        result = request.width * request.height * channels * made.itemsize
        if not request.passes and not request.resize:
            return Footprint(result if made != picture.color.dtype else 0, 0, networks=False)
        work = before = 0
        height = picture.height
        for index, (plan, width, height) in enumerate(self._plan_passes(picture, request), 1):
            last = index == len(request.passes) and not request.resize
            rows = 0 if last and not request.finished else height
            if last and request.finished and plan.streamed:
                from .finish import rows_held  # loaded when needed

                rows = rows_held(picture, height)
            after = 4 * picture.color.shape[2] * width * rows
            work = max(work, before + after + plan.memory)
            before = after
        # The shrink goes by way of one picture of the final width, in float32 as well.
        work = max(work, before + (4 * channels * request.width * height if request.resize else 0))
        if request.resize and request.finished and request.strength < 1:
            # The result, its plain enlargement and their mix.
            work = max(work, before + 3 * 4 * channels * request.width * request.height)
        if self.options.tta:
            work += 8 * picture.color.nbytes
        return Footprint(result, work, networks=bool(request.passes))

    def run(
        self,
        picture: Picture,
        request: Request,
        *,
        dtype: npt.DTypeLike | None = None,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
        rows: RowsCallback | None = None,
        gray: bool | None = None,
    ) -> Picture:
        """Upscale and denoise one picture.

        request: from `request`, for this picture.
        dtype: uint8, uint16 or float32, what the result is rounded to; None keeps that of
            ``picture``.
        progress: called after every tile.
        cancel: an event that stops the work before the next tile.
        rows: receives every row of the result once, from top to bottom, in the calling thread:
            while the rows below are computed if the engine streams and neither alpha nor a last
            shrink follows, else when the result is complete.
        gray: whether RGB is gray, so that the channels of the result are equal (`gray.GrayTest`);
            None compares the channels of ``picture``.

        Returns a new `Picture` with the channels, metadata and source of ``picture``; if ``rows``
        has received the rows of a gray one, its color may be read-only. Raises
        `LimitError` if memory runs out, `WeightsError`, `EngineError`, `CancelledError` if
        ``cancel`` was set, and what ``rows`` raises.
        """
        made = picture.color.dtype if dtype is None else np.dtype(dtype)
        if made not in SAMPLE_DTYPES:
            raise ArgumentError(f"dtype is {made}; it must be uint8, uint16 or float32")
        delivered = False
        as_gray = _runs_as_gray(picture, request, gray)

        def deliver(color: Samples, opacity: Samples | None) -> None:
            nonlocal delivered
            delivered = True
            if rows is not None:
                rows(to_rgb(color) if as_gray else color, opacity)

        early = rows is not None and picture.alpha is None and not request.resize
        given = replace(picture, color=to_gray(picture.color)) if as_gray else picture
        try:
            result = self._run(given, request, made, progress, cancel, deliver if early else None)
        except MemoryError as error:
            raise LimitError(
                f"not enough memory for a result of {request.width}x{request.height} px; "
                "choose a smaller size"
            ) from error
        if as_gray:
            # The row writer of the codec has all rows already: repeat them without memory.
            view = np.broadcast_to(result.color, (*result.color.shape[:2], 3))
            color = cast("Samples", view) if delivered else to_rgb(result.color)
            result = replace(result, color=color)
        if not delivered and rows is not None:
            rows(result.color, result.alpha)
        return result

    def _run(
        self,
        picture: Picture,
        request: Request,
        dtype: np.dtype[Any],
        progress: ProgressCallback | None,
        cancel: threading.Event | None,
        rows: RowsCallback | None,
    ) -> Picture:
        if not request.passes and not request.resize and dtype == picture.color.dtype:
            return picture
        color, opacity = picture.color, picture.alpha
        requests = [request]
        if opacity is not None and not alpha.is_flat(opacity):
            color = kernels.bleed(color, opacity, self._bleed_depth(picture, request))
            alpha_request = plan_request(
                width=picture.width,
                height=picture.height,
                target_width=request.width,
                target_height=request.height,
                # A network of scale 1 restores the picture, which alpha does not need.
                costs={key: cost for key, cost in self._costs.items() if key[0] > 1},
            )
            # Alpha is never mixed, so that sprites keep hard edges.
            alpha_request = replace(alpha_request, color_fix=request.color_fix)
            requests.append(alpha_request)
        cost = sum(plan.cost for each in requests for plan, *_ in self._plan_passes(picture, each))
        tracker = Progress(cost, progress, cancel)
        color = _as_dtype(self._passes(color, dtype, request, tracker, rows), dtype)
        if opacity is not None and len(requests) == 2:
            opacity = self._alpha(opacity, dtype, requests[1], tracker)
        elif opacity is not None:
            size = (request.height, request.width)
            opacity = np.full(size, _as_dtype(opacity[:1, :1], dtype)[0, 0], dtype)
        return replace(picture, color=color, alpha=opacity)

    def _alpha(
        self, samples: Samples, dtype: np.dtype[Any], request: Request, progress: Progress
    ) -> Samples:
        if not request.passes and not request.resize:
            return _as_dtype(samples, dtype)
        return alpha.enlarged(
            samples, dtype, lambda gray: self._passes(gray, dtype, request, progress, None)
        )

    # --- networks -----------------------------------------------------------------------------

    def network(self, scale: int, noise: AnyLevel | None) -> CompiledNetwork:
        """Return a network, compiled; loads it if needed. Raises `ArgumentError` without it."""
        return self._load(self._trusted(scale, noise), scale, noise).whole

    def _trusted(self, scale: int, noise: AnyLevel | None) -> engines.Engine:
        """Return the engine for a network; its devices have computed the network right before.

        If they have not, another engine takes over for all networks from now on.
        """
        with self._lock:
            if self.engine.identities and (self.engine, scale, noise) not in self._networks:
                from ..engines.trust import Tests, trusted  # loaded for GPUs only

                (graph, _), threads = self._graph(scale, noise), self.options.threads
                tests = Tests(graph, threads=threads)
                precision = self.options.precision
                self._replace_engine(
                    trusted(self.engine, tests, precision=precision, threads=threads)
                )
                self._networks[self.engine, scale, noise] = LoadedNetwork(graph, self.engine)
            return self.engine

    def _engine_for(self, request: Request) -> engines.Engine:
        """Return an engine for all networks of a request."""
        while True:
            engine = self.engine
            if all(self._trusted(*each) is engine for each in request.passes):
                return engine

    def _replace_engine(self, engine: engines.Engine) -> None:
        """Use another engine; runs of the last one go on, and load its networks again."""
        if engine is not self.engine:
            self.engine = engine
            self._networks.clear()

    def _graph(self, scale: int, noise: AnyLevel | None) -> tuple[Graph, str]:
        """Return a network, and how it was made in words for the log."""
        entry = self.model.network(scale, noise)
        mix = mix_of(self.model, scale, noise) if is_fraction(noise) else None
        if entry is not None:
            return registry.load(entry), ""
        if mix is not None:
            return mix.load(), f": {mix}"
        raise ArgumentError(
            f"model {self.model.name} has no network for {scale}x and noise {noise}; "
            "choose another `model=` or `noise=`"
        )

    def _load(self, engine: engines.Engine, scale: int, noise: AnyLevel | None) -> LoadedNetwork:
        """Return a network on an engine, from `_trusted`; loads it if needed."""
        with self._lock:
            loaded = self._networks.get((engine, scale, noise))
            if loaded is None:
                graph, how = self._graph(scale, noise)
                loaded = LoadedNetwork(graph, engine)
                self._networks[engine, scale, noise] = loaded
                _log.debug(
                    "loaded %s %dx noise %s on %s%s",
                    self.model.name,
                    scale,
                    noise,
                    engine.name,
                    how,
                )
            return loaded

    def _fall_back_to_cpu(self, lost: engines.Engine) -> None:
        """Continue with the native engine if ``lost`` has no device left."""
        with self._lock:
            if lost.alive or self.engine is not lost:
                return
            _log.warning("no device is left: continuing with engine native, on the CPU")
            self._replace_engine(engines.create("native", threads=self.options.threads))

    # --- passes -------------------------------------------------------------------------------

    def _plan_pass(
        self,
        engine: engines.Engine,
        scale: int,
        noise: AnyLevel | None,
        *,
        width: int,
        height: int,
    ) -> PassPlan:
        """Plan the pass of one network over a picture of ``width`` x ``height`` pixels."""
        loaded = self._load(engine, scale, noise)
        network, options = loaded.whole, self.options
        window = network.window(width=width, height=height)
        pixels = window[0] * window[1]
        small = pixels <= squeeze_excitation.EXACT_PIXELS
        stored = 0
        whole = bool(network.graph.means)
        if engine.streams:
            stored = int(pixels * cast("Streaming", network.compiled).stored_per_pixel)
            whole = whole or stored > 0
        cap = tiled.memory_cap(options.run_memory, whole=whole)
        if not engine.streams or options.tta or stored > cap:
            cost = pixels * network.graph.macs_per_pixel * (8 if options.tta else 1)
            if options.tile:
                side = options.tile + 2 * network.tiling.margin
                pixels = min(pixels, side * side)
            needed = pixels * network.graph.bytes_per_pixel * engines.RUNTIME_OVERHEAD
            memory = 0 if engine.accelerated else int(min(needed, cap))
            return PassPlan(network, False, None, cost, memory)
        sampling: SamplingPlan | None = None
        cost = 0.0
        in_one_run = small and pixels * network.graph.bytes_per_pixel <= cap
        if network.graph.means and not in_one_run:
            network = loaded.given
            sampling = loaded.means.plan_sampling(width=window[1], height=window[0])
            cost = loaded.means.cost(sampling)
        graph = network.graph
        cost += pixels * graph.macs_per_pixel
        if not graph.means:
            margin = _STAGE_MARGIN if stored else graph.margin
            rows = _RING_ROWS_PER_MARGIN * margin
            pixels = engine.threads * (_RING_WIDTH + 2 * margin) * rows
        if sampling is not None:
            pixels = max(pixels, squeeze_excitation.BATCH_PIXELS)
        memory = int(pixels * graph.bytes_per_pixel) + stored
        return PassPlan(network, True, sampling, cost, memory)

    def _plan_passes(
        self, picture: Picture, request: Request
    ) -> Iterator[tuple[PassPlan, int, int]]:
        """Yield the plan of each pass, and the width and height of its result."""
        width, height = picture.width, picture.height
        for scale, noise in request.passes:
            engine = self._trusted(scale, noise)
            plan = self._plan_pass(engine, scale, noise, width=width, height=height)
            width, height = width * scale, height * scale
            yield plan, width, height

    def _passes(
        self,
        color: Samples,
        dtype: np.dtype[Any],
        request: Request,
        progress: Progress,
        rows: RowsCallback | None,
    ) -> Samples:
        """Run all passes over (H, W, C) samples and reach the requested size, in ``dtype``."""
        engine, source = self._engine_for(request), color
        finish: Finish | None = None
        receiver: Receiver | None = None if rows is None else HandOver(rows)
        made = np.dtype(np.float32) if request.resize else dtype
        if request.finished:
            from .finish import Finish  # loaded when needed

            receiver = finish = Finish(color, request, dtype, progress, rows)
            made = np.dtype(np.float32)
        if request.passes:
            try:
                with engine.session() as session:
                    source = self._on_device(
                        engine, session, color, made, request, progress, receiver
                    )
            except DeviceLostError:
                self._fall_back_to_cpu(engine)
                raise
        if finish is not None:
            return finish.complete(source)
        if not request.resize:
            return source
        progress.check()
        shrunk = shrink(as_float(source), width=request.width, height=request.height)
        return kernels.quantize(shrunk, dtype)

    def _on_device(
        self,
        engine: engines.Engine,
        session: engines.Session,
        color: Samples,
        dtype: np.dtype[Any],
        request: Request,
        progress: Progress,
        receiver: Receiver | None,
    ) -> Samples:
        """Run all passes in the memory of a device: one copy to it, one copy back.

        dtype: of the result of the last network. receiver: follows the rows of that result.
        """
        picture = session.upload(color)
        for index, (scale, noise) in enumerate(request.passes):
            last = index == len(request.passes) - 1
            made = dtype if last else np.dtype(np.float32)
            height, width, _ = picture.shape
            plan = self._plan_pass(engine, scale, noise, width=width, height=height)
            loaded = self._load(engine, scale, noise)
            progress.check()
            if plan.streamed:
                picture = self._stream(
                    session, picture, loaded, plan, made, progress, receiver if last else None
                )
                continue
            set_share = progress.span(plan.cost)

            def advance(share: float, set_share: Any = set_share) -> None:
                set_share(share)
                progress.check()

            picture = tiled.run(session, picture, loaded, made, self.options, advance)
        return session.download(picture)

    def _stream(
        self,
        session: engines.Session,
        picture: engines.DevicePicture,
        loaded: LoadedNetwork,
        plan: PassPlan,
        dtype: np.dtype[Any],
        progress: Progress,
        receiver: Receiver | None,
    ) -> Samples:
        means: tuple[engines.Batch, ...] = ()
        cost = plan.cost
        if plan.sampling is not None:
            spent = loaded.means.cost(plan.sampling)
            set_share, done = progress.span(spent), 0.0

            def advance(macs: float) -> None:
                nonlocal done
                done += macs
                set_share(done / spent)
                progress.check()

            means = loaded.means.measure(
                session, picture, plan.sampling, margin=plan.network.tiling.margin, advance=advance
            )
            cost -= spent
        elif plan.network.graph.means:
            _log.debug("global means: exact, inside the run")
        return streamed.run(
            picture,
            plan.network,
            dtype,
            means=means,
            cost=cost,
            progress=progress,
            receiver=receiver,
        )

    def _bleed_depth(self, picture: Picture, request: Request) -> int:
        """Return how far a network or the last shrink sees from the opaque edge, in input pixels.

        Engines that compute in blocks see further in the last bit: a layer whose kernel reaches one
        pixel reaches four through a Winograd tile.
        """
        margins = [self.network(*each).tiling.margin for each in request.passes]
        ratio = max(picture.width / request.width, picture.height / request.height, 1.0)
        return max(int(LANCZOS_RADIUS * ratio) + 1, _BLOCK_REACH * max(margins, default=0)) + 2


def _check_size(picture: Picture, request: Request, max_pixels: int) -> None:
    """Raise `LimitError` for a result, or a stage on the way, beyond the limit in pixels."""
    grown = math.prod(scale for scale, _ in request.passes)
    width = max(request.width, picture.width * grown)
    height = max(request.height, picture.height * grown)
    limit = max_pixels * RESULT_FACTOR
    if width * height > limit:
        on_the_way = "" if (width, height) == (request.width, request.height) else " on the way"
        raise LimitError(
            f"{picture.width}x{picture.height} px would become {width}x{height} px{on_the_way}, "
            f"and the limit for results is {limit} px; choose a smaller size, or raise "
            f"`max_pixels=`, of which a result may have {RESULT_FACTOR} times as many"
        )


def _runs_as_gray(picture: Picture, request: Request, gray: bool | None) -> bool:
    """Return whether a network gets one channel of an RGB picture."""
    if picture.gray or not request.passes:
        return False
    if gray is not None:
        return gray
    test = GrayTest(picture.source)
    test.add(picture)
    return test.result()


def _as_dtype(samples: Samples, dtype: np.dtype[Any]) -> Samples:
    """Convert to ``dtype``, rounding once; returns the array itself if nothing changes."""
    return samples if samples.dtype == dtype else kernels.quantize(as_float(samples), dtype)
