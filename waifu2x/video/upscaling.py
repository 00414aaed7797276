"""Upscales the frames of a stream: reading, the network, and writing overlap in bounded memory.

    frames -> [decide, to RGB] -> [network] -> [to planes, paste] -> the caller

Each bracket is a thread. Every thread holds one frame, and one waits between two threads.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

from .._record import record
from ..errors import check_cancelled
from ..picture import Picture
from ..pipeline.pipeline import Footprint, Pipeline
from ..pipeline.request import Request
from .color import from_rgb, to_rgb
from .layout import VideoLayout
from .planes import Plane, VideoFrame
from .reuse import (
    CHECK_DELAY,
    MOST_DIFFERENT,
    Decision,
    Rect,
    Reuse,
    is_steady,
    largest_difference,
)

_T = TypeVar("_T")

#: Frames that wait between two threads.
_WAITING: Final = 1
#: Finished frames that wait for the caller.
_FINISHED: Final = 2
#: Seconds between two checks for cancellation.
_POLL_SECONDS: Final = 0.2

#: Seconds for which a source may read after the stream was closed.
_SOURCE_SECONDS: Final = 5.0

_FLOAT: Final = np.dtype(np.float32)

#: Held while a network runs; receives the expected memory footprint.
Slot: TypeAlias = Callable[[Footprint], AbstractContextManager[object]]


@dataclass(slots=True)
class Saved:
    """What was not computed again.

    frames: finished frames. repeated: frames whose whole result was reused.
    tiles, reused: all tiles of these frames, and those that were reused, repeated frames included.
    checked, worst: reused tiles that were computed for a comparison, and the largest mean
        difference in a block of 8x8 samples, in levels of 255.
    """

    frames: int = 0
    repeated: int = 0
    tiles: int = 0
    reused: int = 0
    checked: int = 0
    worst: float = 0.0

    @property
    def share(self) -> float:
        """The share of tiles that were reused, 0 to 1."""
        return self.reused / self.tiles if self.tiles else 0.0


class _ClosedError(Exception):
    """The other end of a channel is closed."""


class _Channel(Generic[_T]):
    """A bounded queue between two threads that ends with an error or without."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._items: deque[_T] = deque()
        self._changed = threading.Condition()
        self._ended = self._abandoned = False
        self._error: BaseException | None = None

    def put(self, item: _T) -> None:
        """Append an item; waits for room. Raises `_ClosedError` if nobody will take it."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self._most or self._abandoned)
            if self._abandoned:
                raise _ClosedError
            self._items.append(item)
            self._changed.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """End the queue; the error is raised after the last item."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def abandon(self) -> None:
        """Take no more items."""
        with self._changed:
            self._abandoned = True
            self._items.clear()
            self._changed.notify_all()

    def get(self, cancel: threading.Event | None = None) -> _T:
        """Take an item; raises `_ClosedError` after the last, or the error of the other thread."""
        with self._changed:
            while not (self._items or self._ended or self._abandoned):
                check_cancelled(cancel)
                self._changed.wait(_POLL_SECONDS)
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            if self._error is not None:
                raise self._error
            raise _ClosedError


@record(eq=False)
class _Part:
    """A part of a frame.

    inner: the part in source pixels. outer: with its margin.
    picture: of ``outer``: the source, then the result.
    """

    inner: Rect
    outer: Rect
    picture: Picture


@record(eq=False)
class _Work:
    """A frame on its way through the threads."""

    number: int
    frame: VideoFrame
    decision: Decision
    parts: tuple[_Part, ...] = ()
    check: _Part | None = None


class UpscaledFrames(Iterator[VideoFrame]):
    """The upscaled frames of a stream, in order; iterate once. A context manager that closes.

    layout: of the result. saved: what has been reused so far.
    """

    def __init__(
        self,
        frames: Iterable[VideoFrame],
        layout: VideoLayout,
        pipeline: Pipeline,
        request: Request,
        *,
        result: VideoLayout | None = None,
        exact: bool = False,
        progress: Callable[[int], object] | None = None,
        cancel: threading.Event | None = None,
        slot: Slot | None = None,
    ) -> None:
        """Start the threads.

        frames: of ``layout``. They are iterated in another thread, up to eight ahead of the
            results; a generator is closed there. Nothing changes their planes.
        request: from `Pipeline.request`, for a picture of the size of ``layout``.
        result: another layout for the results, apart from its size; None is ``layout``.
        exact: reuse a result only for equal samples; otherwise also within the noise of a codec,
            with models for which `is_steady` holds.
        progress: receives the number of frames that were returned, in the caller's thread.
        cancel: an event that stops the work before the next tile.
        slot: held while a network runs.
        """
        self.layout = (result or layout).sized(request.width, request.height)
        self.saved = Saved()
        self._progress, self._cancel = progress, cancel
        self._closed = False
        # The threads hold the stages only, so that a stream without a reader ends.
        self._stages = _Stages(
            layout,
            self.layout,
            pipeline,
            request,
            exact=exact,
            cancel=cancel,
            slot=slot,
        )
        self._stages.start(frames)

    def __iter__(self) -> UpscaledFrames:
        return self

    def __next__(self) -> VideoFrame:
        if self._closed:
            raise StopIteration
        try:
            frame, decision, difference = self._stages.finished.get(self._cancel)
        except _ClosedError:
            self.close()
            raise StopIteration from None
        except BaseException:
            self.close()
            raise
        saved = self.saved
        saved.frames += 1
        saved.repeated += not decision.computed
        saved.tiles += decision.tiles
        saved.reused += decision.tiles - decision.computed
        if difference is not None:
            saved.checked += 1
            saved.worst = max(saved.worst, difference)
        if self._progress is not None:
            self._progress(saved.frames)
        return frame

    def __enter__(self) -> UpscaledFrames:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            self._stages.stop()

    def close(self) -> None:
        """Stop the threads and wait for them; the source may finish a frame first.

        A source that returns nothing for five seconds is left to its thread, which ends with it.
        """
        if not self._closed:
            self._closed = True
            self._stages.stop()
            self._stages.join()


class _Stages:
    """The threads of a stream and the channels between them."""

    def __init__(
        self,
        layout: VideoLayout,
        result: VideoLayout,
        pipeline: Pipeline,
        request: Request,
        *,
        exact: bool,
        cancel: threading.Event | None,
        slot: Slot | None,
    ) -> None:
        self.layout = result
        self.source_layout, self._pipeline, self._request = layout, pipeline, request
        self._cancel, self._slot = cancel, slot
        # An own event as well, so that closing stops a network that runs.
        self._stop = _Stop(cancel)
        self.grown = math.prod(scale for scale, _ in request.passes)
        self.reuse: Reuse | None = None
        if request.passes or request.resize:
            self.reuse = Reuse(
                layout,
                pipeline.locality(request),
                exact=exact or not is_steady(pipeline.model, request.passes),
                scale=max(request.width / layout.width, request.height / layout.height),
                result_bytes=self.layout.frame_bytes,
            )
        self._checks: dict[int, bool] = {}
        self._checked = threading.Condition()
        self._sources: _Channel[_Work] = _Channel(_WAITING)
        self._results: _Channel[_Work] = _Channel(_WAITING)
        self.finished: _Channel[tuple[VideoFrame, Decision, float | None]] = _Channel(_FINISHED)
        self._threads: list[threading.Thread] = []

    def start(self, frames: Iterable[VideoFrame]) -> None:
        """Start the threads."""
        for name, work in (
            ("waifu2x-frames", lambda: self._decide(frames)),
            ("waifu2x-network", self._compute),
            ("waifu2x-planes", self._finish),
        ):
            thread = threading.Thread(target=work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Stop the threads; does not wait."""
        self._stop.set()
        for channel in (self._sources, self._results, self.finished):
            channel.abandon()
        with self._checked:
            self._checked.notify_all()

    def join(self) -> None:
        """Wait until the threads have ended; the first one may hang in a read of its source."""
        for thread, most in zip(self._threads, (_SOURCE_SECONDS, None, None), strict=True):
            if thread is not threading.current_thread():
                thread.join(most)

    def _decide(self, frames: Iterable[VideoFrame]) -> None:
        """Read frames, decide what to compute, and convert it to RGB."""
        error: BaseException | None = None
        waiting: deque[int] = deque()
        iterator: Iterator[VideoFrame] | None = None
        try:
            iterator = iter(frames)
            for number, frame in enumerate(iterator):
                check_cancelled(self._cancel)
                frame.require(self.source_layout)
                if self.reuse is None:
                    self._sources.put(_Work(number, frame, Decision(computed=1)))
                    continue
                while waiting and waiting[0] <= number - CHECK_DELAY:
                    if not self._outcome(waiting.popleft()):
                        self.reuse.tighten()
                gray = self._is_gray(frame)
                decision = self.reuse.decide(frame, gray=gray)
                parts = tuple(self._part(frame, rect, gray) for rect in decision.rects)
                check = decision.check
                if check is not None:
                    waiting.append(number)
                self._sources.put(
                    _Work(
                        number,
                        frame,
                        decision,
                        parts,
                        None if check is None else self._part(frame, check, gray),
                    )
                )
        except _ClosedError:
            pass
        except BaseException as raised:
            error = raised
        close = getattr(iterator, "close", None)
        if close is not None:
            try:
                close()
            except BaseException as raised:
                error = error or raised
        self._sources.end(error)

    def _compute(self) -> None:
        """Run the networks."""
        self._pass_on(self._sources, self._results, self._computed)

    def _finish(self) -> None:
        """Convert to planes and paste them into the last result."""
        self._pass_on(self._results, self.finished, _Pasting(self).finished)

    def _pass_on(
        self, source: _Channel[_Work], target: _Channel[Any], step: Callable[[_Work], Any]
    ) -> None:
        error: BaseException | None = None
        try:
            while True:
                target.put(step(source.get()))
        except _ClosedError:
            pass
        except BaseException as raised:
            error = raised
        source.abandon()
        target.end(error)

    def _outcome(self, number: int) -> bool:
        """Wait until the check of a frame has ended; returns whether it was close enough."""
        with self._checked:
            self._checked.wait_for(lambda: number in self._checks or self._stop.is_set())
            if number not in self._checks:
                raise _ClosedError
            return self._checks.pop(number)

    def report(self, number: int, close_enough: bool) -> None:
        """Receive the outcome of a check."""
        with self._checked:
            self._checks[number] = close_enough
            self._checked.notify_all()

    def _is_gray(self, frame: VideoFrame) -> bool:
        """Return whether the frame has no color at all, and runs as gray."""
        layout = self.source_layout
        if layout.mono:
            return True
        first, second = frame.planes[1:3]
        if layout.matrix == "rgb":
            luma = frame.planes[0]
            return np.array_equal(luma, first) and np.array_equal(luma, second)
        neutral = 1 << (layout.depth - 1)
        return bool((first == neutral).all() and (second == neutral).all())

    def _part(self, frame: VideoFrame, inner: Rect, gray: bool) -> _Part:
        assert self.reuse is not None
        layout = self.source_layout
        outer = inner.grown(self.reuse.margin, layout.width, layout.height)
        planes = tuple(
            plane[_slices(outer, *_factors(layout, index), plane)]
            for index, plane in enumerate(frame.planes)
        )
        part = layout.sized(outer.right - outer.left, outer.bottom - outer.top)
        if gray and not layout.mono:
            # Alpha is the last plane; chroma is neutral.
            part = replace(part, subsampling="mono")
            planes = (planes[0], *planes[3:])
        return _Part(inner, outer, to_rgb(VideoFrame(planes), part))

    def _computed(self, work: _Work) -> _Work:
        parts = tuple(self._run(part) for part in work.parts)
        check = None if work.check is None else self._run(work.check)
        return replace(work, parts=parts, check=check)

    def _run(self, part: _Part) -> _Part:
        request, outer = self._request, part.outer
        layout = self.source_layout
        if outer.pixels != layout.width * layout.height:
            request = replace(
                request,
                width=(outer.right - outer.left) * self.grown,
                height=(outer.bottom - outer.top) * self.grown,
            )
        computing: AbstractContextManager[object] = nullcontext()
        if self._slot is not None:
            computing = self._slot(self._pipeline.footprint(part.picture, request, dtype=_FLOAT))
        with computing:
            result = self._pipeline.run(
                part.picture,
                request,
                dtype=_FLOAT,
                cancel=cast("threading.Event", self._stop),
                gray=False,
            )
        return replace(part, picture=result)


class _Stop:
    """An event that is set if either of two is."""

    def __init__(self, other: threading.Event | None) -> None:
        self._own, self._other = threading.Event(), other

    def is_set(self) -> bool:
        """Return whether either event is set."""
        return self._own.is_set() or (self._other is not None and self._other.is_set())

    def set(self) -> None:
        """Set the own event."""
        self._own.set()


class _Pasting:
    """The planes of the last result, and those of frames that may repeat."""

    def __init__(self, stream: _Stages) -> None:
        self._stream = stream
        self._last: tuple[Plane, ...] = ()
        self._kept: dict[bytes, tuple[Plane, ...]] = {}

    def finished(self, work: _Work) -> tuple[VideoFrame, Decision, float | None]:
        """Return the result of a frame, its decision, and the difference that a check found."""
        stream, decision = self._stream, work.decision
        if stream.reuse is None:
            return self._converted(work.frame), decision, None
        for key in decision.forget:
            self._kept.pop(key, None)
        if decision.recall is not None:
            return self._frame(self._kept[decision.recall], work), decision, None
        if decision.whole:
            (part,) = work.parts
            self._last = from_rgb(part.picture, stream.layout).planes
        elif work.parts:
            planes = tuple(plane.copy() for plane in self._last)
            for part in work.parts:
                for index, (plane, new) in enumerate(zip(planes, self._planes(part), strict=True)):
                    plane[self._target(part.inner, index, plane)] = new
            self._last = planes
        difference = None
        if work.check is not None:
            reused = [
                plane[self._target(work.check.inner, index, plane)]
                for index, plane in enumerate(self._last)
            ]
            computed = self._planes(work.check)
            difference = largest_difference(reused, computed, stream.layout.depth)
            stream.report(work.number, difference <= MOST_DIFFERENT)
        if decision.keep is not None:
            self._kept[decision.keep] = self._last
        return self._frame(self._last, work), decision, difference

    def _converted(self, frame: VideoFrame) -> VideoFrame:
        """Return a frame that no network changes, in the layout of the result."""
        stream = self._stream
        if stream.layout == replace(stream.source_layout, guessed=stream.layout.guessed):
            return frame
        return from_rgb(to_rgb(frame, stream.source_layout), stream.layout, pts=frame.pts)

    def _frame(self, planes: tuple[Plane, ...], work: _Work) -> VideoFrame:
        return replace(work.frame, planes=planes)

    def _target(self, rect: Rect, index: int, plane: Plane) -> tuple[slice, slice]:
        return _slices(_scaled(rect, self._stream), *_factors(self._stream.layout, index), plane)

    def _planes(self, part: _Part) -> list[Plane]:
        """Return the planes of the inner rectangle of a part."""
        stream = self._stream
        layout = stream.layout
        inner, outer = _scaled(part.inner, stream), _scaled(part.outer, stream)
        # The average of chroma reads pixels around the rectangle.
        halo = inner.grown(2 * max(layout.factors), layout.width, layout.height)
        halo = Rect(
            max(halo.left, outer.left),
            max(halo.top, outer.top),
            min(halo.right, outer.right),
            min(halo.bottom, outer.bottom),
        )
        color = part.picture.color[
            halo.top - outer.top : halo.bottom - outer.top,
            halo.left - outer.left : halo.right - outer.left,
        ]
        alpha = part.picture.alpha
        if alpha is not None:
            alpha = alpha[
                halo.top - outer.top : halo.bottom - outer.top,
                halo.left - outer.left : halo.right - outer.left,
            ]
        small = layout.sized(halo.right - halo.left, halo.bottom - halo.top)
        planes = from_rgb(Picture(color, alpha), small).planes
        moved = Rect(
            inner.left - halo.left,
            inner.top - halo.top,
            inner.right - halo.left,
            inner.bottom - halo.top,
        )
        return [
            plane[_slices(moved, *_factors(layout, index), plane)]
            for index, plane in enumerate(planes)
        ]


def _scaled(rect: Rect, stream: _Stages) -> Rect:
    """Return a rectangle of the source in pixels of the result."""
    source = stream.source_layout
    if rect.pixels == source.width * source.height:
        return Rect(0, 0, stream.layout.width, stream.layout.height)
    grown = stream.grown
    return Rect(rect.left * grown, rect.top * grown, rect.right * grown, rect.bottom * grown)


def _factors(layout: VideoLayout, index: int) -> tuple[int, int]:
    return layout.factors if index in (1, 2) and not layout.mono else (1, 1)


def _slices(rect: Rect, across: int, down: int, plane: npt.NDArray[Any]) -> tuple[slice, slice]:
    """Return the rows and columns of a plane for a rectangle of luma."""
    bottom = min(plane.shape[0], -(-rect.bottom // down))
    right = min(plane.shape[1], -(-rect.right // across))
    return slice(rect.top // down, bottom), slice(rect.left // across, right)
