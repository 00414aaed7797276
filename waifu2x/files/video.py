"""A job for one video: segments are upscaled and encoded, then joined with all other streams."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, Final

from .._record import record
from .._text import plural, reason, shown
from .._version import __version__
from ..errors import DecodeError, EncodeError, SkippedError
from ..pipeline.pipeline import Pipeline
from ..pipeline.progress import ProgressCallback
from ..video.containers import DEFAULT_SUFFIX, container_for, result_suffix
from ..video.demux import VideoSource
from ..video.encode import EncodedPacket, FrameEncoder, encoder_settings
from ..video.fitting import Fit, check_fit, encoder_for, fit, lost_tags
from ..video.library import library
from ..video.mux import Muxer
from ..video.planes import VideoFrame
from ..video.segments import Cut, Ending, Segment, SegmentFolder, cut
from ..video.upscaling import UpscaledFrames
from .frames import (
    AGAIN,
    SOURCE,
    blank_frame,
    path_of,
    refuse_cut,
    refuse_depth,
    reuse_notes,
    size_of,
    video_source,
    with_level,
)
from .naming import MAX_NAME_BYTES, name_size, shortened_name
from .task import Amount, ComputeSlot, FrameShare, Options, Result, Share, Task

_log = logging.getLogger(__name__)

#: Begins and ends the name of the folder with finished segments.
_FOLDER: Final = (".", ".waifu2x-parts")

#: Bytes at both ends of a source that identify it.
_ENDS: Final = 1 << 20


class VideoJob:
    """A video whose streams are known to fit the container of the result; a `Job`.

    Raises the errors of `StillJob`, and `EncodeError` for a container that cannot hold a stream.
    """

    needs_source = True
    streamed = False

    def __init__(
        self,
        pipeline: Pipeline,
        stream: BinaryIO,
        name: str,
        options: Options,
        target: Path | None,
        slot: ComputeSlot | None = None,
        *,
        amount: Amount | None = None,
        share: Share | None = None,
        raw: bool = False,
    ) -> None:
        """Open the source.

        raw: whether ``stream`` is a YUV4MPEG2 stream, which need not seek. The other arguments are
            those of `open_job`.
        """
        library()
        self._name = name
        self._options, self._share = options, share or Share()
        refuse_depth(options, name)
        path = path_of(stream)
        self._source = source = _source(stream, path, name, options, pipeline.options.limit, raw)
        facts = source.facts
        width, height = facts.layout.width, facts.layout.height
        options.check_larger(width, height, name)
        if amount is not None:
            amount.add_frames(width, height, max(1, facts.frames), name)
        suffix = result_suffix(Path(name).suffix) if Path(name).suffix else DEFAULT_SUFFIX
        place = f"result{suffix}" if target is None else str(target)
        self._container = container = container_for(place)
        self.extension = Path(place).suffix.lower()
        encoder = encoder_for(container, options.codec, facts.original)
        blank = blank_frame(width, height)
        self._task = task = Task.resolve(pipeline, with_level(options), blank, slot)
        self._settings, self._notes = encoder_settings(
            facts,
            task.request.width,
            task.request.height,
            encoder=encoder,
            crf=options.crf,
            preset=None if options.preset is None else str(options.preset),
            quality=options.quality,
            global_header=container.global_header,
            b_frames=container.b_frames,
        )
        FrameEncoder(self._settings)  # opens: a wrong size or option is found now
        if options.drop_streams:
            self._fit = fit(source, container)
        else:
            check_fit(source, container, encoder, place if target is not None else name)
            self._fit = Fit(frozenset(), ())
        self._lost = lost_tags(source, container, self._fit.left)
        if self._lost:
            _log.warning("%s: %s", name, self._lost)
        refuse_cut(source, options, name)
        self._folder: Path | None = None
        self._keys = self._identity(path)
        # The contents of a pipe have no identity before they are read.
        self._resumes = path is not None

    def _identity(self, path: Path | None) -> dict[str, Any]:
        """What decides the bytes of the segments."""
        options, task = self._options, self._task
        upscaler = task.pipeline.options
        source: dict[str, Any] = {"start": options.start, "end": options.end}
        if path is not None:
            source |= _file_identity(path, self._name)
        return {
            "version": __version__,
            "version of PyAV": str(library().__version__),
            "source": source,
            "deinterlace": options.deinterlace,
            "model": task.pipeline.model.name,
            "weights": _weights(upscaler.model),
            "run": {
                "engine": task.pipeline.engine.name,
                "precision": upscaler.precision,
                "tta": upscaler.tta,
            },
            "request": str(task.request),
            "exact": options.exact,
            "encoder": self._settings.identity(),
        }

    @contextlib.contextmanager
    def keeping(self, place: Path) -> Iterator[None]:
        """Keep finished segments next to ``place``, and remove them once the result is there."""
        self._folder = _folder_of(place)
        segments = SegmentFolder(self._folder, self._keys)
        if not self._resumes:
            segments.remove()
        try:
            yield
        except SkippedError:  # other processes work with the folder
            raise
        except BaseException:
            if not self._resumes:
                segments.remove()
            elif self._share.joining != "never":
                segments.remove_if_empty()
            raise
        segments.remove()

    def write(
        self,
        sink: BinaryIO,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Result:
        """Upscale and encode segment by segment, then join the segments in ``sink``."""
        with ExitStack() as stack:
            path = self._folder
            if path is None:
                import tempfile  # loaded when needed

                path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "segments"
            folder = SegmentFolder(path, self._keys)
            try:
                folder.prepare()
                made = self._segments(folder, progress, cancel)
                muxer = Muxer(
                    self._source, self._container, self._settings, made.segments, self._fit.left
                )
                muxer.write(sink, cancel)
                damage = self._damage(made.damage, muxer.damaged)
            except (EncodeError, OSError) as error:
                raise self._kept(folder, error) from (
                    error if isinstance(error, OSError) else error.__cause__
                )
        notes = [self._settings.describe(), *self._notes, *muxer.notes, *made.notes]
        original = self._source.facts.original
        if "matrix" in original.guessed:
            notes.append(f"colors without a tag taken as {original.matrix_label}")
        if self._source.extra_videos:
            notes.append(f"{plural(self._source.extra_videos, 'other video stream')} copied")
        if self._fit.problems:
            notes.append(f"left out: {', '.join(self._fit.problems)}")
        if self._lost:
            notes.append(self._lost)
        if folder.restarted:
            notes.append("segments of another source were deleted")
        frames = plural(sum(len(each.frames) for each in made.segments), "frame")
        notes += _saved(made.segments)
        result = self._task.result(SOURCE, frames, *notes)
        layout = self._settings.layout
        return replace(
            result,
            size_out=(layout.width, layout.height),
            failures=(damage,) if damage else (),
        )

    def _damage(self, video: str, copied: int) -> str:
        """Describe what is wrong with the source; empty for nothing.

        Raises `DecodeError` for a damaged source that must not give a result.
        """
        damage = video
        if copied:
            others = f"{plural(copied, 'packet')} of its other streams incomplete"
            damage = f"{video}, {others}" if video else f"{self._name} is damaged: {others}"
        if damage and self._options.strict:
            raise DecodeError(f"{damage}{AGAIN}")
        return damage

    def _kept(self, folder: SegmentFolder, error: EncodeError | OSError) -> EncodeError:
        """An error of writing, with what has been kept."""
        text = str(error).partition("; nothing was left")[0]
        if isinstance(error, OSError):
            text = f"the result cannot be written: {reason(error)}"
        finished = folder.finished() if self._folder is not None and self._resumes else 0
        if finished:
            text += (
                f"; {plural(finished, 'finished segment')} kept in {shown(folder.path)}; "
                "make room and run again"
                if isinstance(error.__cause__ or error, OSError)
                else ""
            )
        return EncodeError(text)

    # --- segments -----------------------------------------------------------------------------

    def _segments(
        self,
        folder: SegmentFolder,
        progress: ProgressCallback | None,
        cancel: threading.Event | None,
    ) -> _Made:
        """Compute the segments that are missing, and load all.

        Raises `SkippedError` if other shares are not finished, or another process joins all.
        """
        share = self._share
        joins = share.joining != "never"
        follow = _Follow(self._source.facts.frames, progress)
        ending = folder.ending
        if ending is not None:
            segments = folder.complete(range(ending.count) if joins else share.of(ending.count))
            if segments is not None:
                if not joins:
                    raise self._left_to_another()
                follow.skipped(sum(len(each.frames) for each in segments))
                used = () if share.joining == "at once" else ("segments of an earlier run used",)
                return _Made(segments, (*ending.notes, *used), ending.damage)
        at = -1
        resumed = 0
        checked: dict[int, Segment] = {}
        frames = cut(self._source.frames(cancel), self._source.facts.time_base)
        for at, group in groupby(frames, key=lambda each: each.segment):
            own = share.has(at)
            segment = folder.load(at) if own or (joins and folder.holds(at)) else None
            if segment is not None or not own:
                pts = [each.frame.pts for each in group]
                if segment is None or [each for each, _ in segment.frames] == pts:
                    if segment is not None:
                        checked[at] = segment
                    resumed += segment is not None and own
                    follow.skipped(len(pts), 0 if segment is None else segment.size)
                    continue
                raise DecodeError(
                    f"{self._name}: segment {at} in {shown(folder.path)} has other frames; delete "
                    "the folder and start again"
                )
            checked[at] = self._compute(folder, at, group, follow, cancel)  # noqa: B031  (once only)
        if at < 0:
            raise DecodeError(f"{self._name} has no frames between start and end")
        notes = list(self._source.notes())
        damage = self._source.damage()
        folder.finish(Ending(at + 1, tuple(notes), damage))
        if not joins:
            raise self._left_to_another()
        if resumed:
            notes.append(f"{plural(resumed, 'segment')} of an earlier run used")
        # Other shards may have finished theirs meanwhile.
        loaded = [checked.get(each) or folder.load(each) for each in range(at + 1)]
        missing = sum(1 for each in loaded if each is None)
        if missing:
            raise SkippedError(
                f"{self._name}: {missing} of {plural(at + 1, 'segment')} missing; the shard that "
                "finishes last joins them"
            )
        segments = tuple(each for each in loaded if each is not None)
        return _Made(segments, tuple(notes), damage)

    def _left_to_another(self) -> SkippedError:
        return SkippedError(f"{self._name}: a share of its segments is finished")

    def _compute(
        self,
        folder: SegmentFolder,
        index: int,
        group: Iterator[Cut],
        follow: _Follow,
        cancel: threading.Event | None,
    ) -> Segment:
        """Upscale and encode the frames of a segment."""
        encoder = FrameEncoder(self._settings)
        stamps: list[tuple[int, int]] = []
        facts: dict[str, Any] = {}

        def sources() -> Iterator[VideoFrame]:
            for each in group:
                stamps.append((each.frame.pts, each.frame.duration))
                yield each.frame.frame

        task = self._task
        upscaled = UpscaledFrames(
            sources(),
            self._source.facts.layout,
            task.pipeline,
            task.request,
            result=self._settings.layout,
            exact=self._options.exact,
            cancel=cancel,
            slot=task.slot,
        )

        def packets() -> Iterator[EncodedPacket]:
            for frame in upscaled:
                size = 0
                for packet in encoder.encode(frame):
                    size += len(packet.data)
                    yield packet
                follow.done(size)
            for packet in encoder.finish():
                follow.grow(len(packet.data))
                yield packet
            saved = upscaled.saved
            facts.update(
                frames=stamps,
                extradata=encoder.extradata.hex(),
                saved={
                    "frames": saved.frames,
                    "repeated": saved.repeated,
                    "tiles": saved.tiles,
                    "reused": saved.reused,
                },
            )

        with upscaled:
            return folder.write(index, packets(), facts)


@record
class _Made:
    """All segments of a video, remarks, and what is wrong with the source."""

    segments: tuple[Segment, ...]
    notes: tuple[str, ...]
    damage: str


@dataclass(slots=True)
class _Follow:
    """Counts frames and reports the progress."""

    total: int
    progress: ProgressCallback | None
    frames: int = 0
    computed: int = 0
    size: int = 0
    began: float = field(default_factory=time.perf_counter)

    def skipped(self, frames: int, size: int = 0) -> None:
        """Count frames that were not computed here."""
        self.frames += frames
        self.size += size
        self._report()

    def done(self, size: int) -> None:
        """Count a computed frame."""
        self.frames += 1
        self.computed += 1
        self.size += size
        self._report()

    def grow(self, size: int) -> None:
        """Count bytes."""
        self.size += size

    def _report(self) -> None:
        if self.progress is None:
            return
        self.progress(
            FrameShare(
                frames=self.frames,
                total=self.total,
                computed=self.computed,
                seconds=time.perf_counter() - self.began,
                size=self.size,
            )
        )


def _saved(segments: tuple[Segment, ...]) -> list[str]:
    """What was reused, for the line of the result."""
    keys = ("tiles", "reused", "repeated")
    return reuse_notes(**{key: sum(each.saved.get(key, 0) for each in segments) for key in keys})


def _source(
    stream: BinaryIO, path: Path | None, name: str, options: Options, limit: int, raw: bool
) -> VideoSource:
    """Open the source; raises `DecodeError`, `EncodeError` and `LimitError`."""
    if raw:
        from ..video.raw_source import Y4mSource  # loaded when needed

        return Y4mSource(
            stream,
            name,
            start=options.start,
            end=options.end,
            deinterlace=options.deinterlace,
            max_pixels=limit,
            total=size_of(stream),
        )
    return video_source(stream, path, name, options, limit)


def remove_unused(place: Path) -> None:
    """Delete the folder of segments next to ``place`` if it holds none."""
    SegmentFolder(_folder_of(place), {}).remove_if_empty()


def _folder_of(place: Path) -> Path:
    """The folder of the segments of the result ``place``."""
    before, after = _FOLDER
    stem = shortened_name(place.name, MAX_NAME_BYTES - name_size(before + after))
    return place.with_name(f"{before}{stem}{after}")


def _file_identity(path: Path, name: str) -> dict[str, Any]:
    """Size and digest of both ends of a file, which other machines find equal."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            state = hashlib.sha256()
            for start in (0, max(0, size - _ENDS)):
                file.seek(start)
                state.update(file.read(_ENDS))
    except OSError as error:
        raise DecodeError(f"{name} cannot be read: {reason(error)}") from error
    return {"size": size, "digest": state.hexdigest()}


def _weights(model: str | os.PathLike[str]) -> str:
    """A digest of a model file of the user; empty for a model by name."""
    path = Path(model)
    if not path.is_file():
        return ""
    state = hashlib.sha256()
    for each in (path, path.with_suffix(".bin")):
        if each.is_file():
            state.update(each.read_bytes())
    return state.hexdigest()
