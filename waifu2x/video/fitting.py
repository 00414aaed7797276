"""What a container can hold of a source, found out before the work begins."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .._record import record
from .._text import listed, shown
from ..errors import EncodeError
from .containers import CONTAINERS, Container
from .demux import VideoSource, is_cover
from .encode import ENCODERS, Encoder

if TYPE_CHECKING:
    from av.stream import Stream


def encoder_for(container: Container, codec: str | None, *, depth: int, alpha: bool) -> Encoder:
    """The encoder by name, or the default of ``container``; raises `EncodeError`."""
    if codec is None:
        codec = container.deep if depth > 8 else container.codecs[0]
        able = [name for name in container.codecs if ENCODERS[name].alpha]
        codec = able[0] if alpha and able else codec
    elif codec not in container.codecs:
        others = [each.extensions[0] for each in CONTAINERS if codec in each.codecs]
        raise EncodeError(
            f"{container.label} does not hold {ENCODERS[codec].label}; write {listed(others)}, or "
            f"choose `codec={container.codecs[0]!r}`"
        )
    return ENCODERS[codec]


@record
class Fit:
    """What a container holds of a source.

    left: indices of the streams that it cannot hold. problems: their descriptions, and those of
    other things that it cannot hold.
    """

    left: frozenset[int]
    problems: tuple[str, ...]


def fit(source: VideoSource, container: Container) -> Fit:
    """Try every stream that is to be copied in the header of a file in memory."""
    left = set()
    problems = []
    with source.open() as opened:
        chapters = opened.chapters()
        for stream in opened.streams:
            if stream.index == source.main_index or is_repeated(stream, chapters):
                continue
            if not _holds(source.av, container, stream):
                left.add(stream.index)
                problems.append(describe(stream))
    if chapters and not container.chapters:
        problems.append("chapters")
    return Fit(frozenset(left), tuple(problems))


def check_fit(source: VideoSource, container: Container, encoder: Encoder, name: str) -> None:
    """Raise `EncodeError` if ``container`` cannot hold everything; names one that can."""
    found = fit(source, container)
    if not found.problems:
        return
    able = [
        each
        for each in CONTAINERS
        if each is not container and encoder.name in each.codecs and not fit(source, each).problems
    ]
    advice = f"write {able[0].extensions[0]} ({able[0].label}), or " if able else ""
    raise EncodeError(
        f"{name}: {container.label} cannot hold {listed(found.problems, 'and')}; {advice}leave "
        "it out with `drop_streams=True`"
    )


def is_repeated(stream: Stream, chapters: Iterable[Any]) -> bool:
    """Whether a stream only repeats what is copied as chapters or tags.

    QuickTime stores the titles of chapters as text, and the tag "timecode" of a video as data. Its
    muxer writes both streams again.
    """
    if stream.type != "data":
        return False
    return (bool(chapters) and stream.discard.name == "all") or "timecode" in stream.metadata


def describe(stream: Stream) -> str:
    """A stream in messages, as in "stream 3 (subtitle ass, deu)"."""
    codec = stream.codec_context.name if stream.codec_context is not None else stream.name
    kind = "cover" if is_cover(stream) else stream.type
    words = [f"{kind} {codec}" if codec else kind]
    if stream.metadata.get("language"):
        words.append(stream.metadata["language"])
    return f"stream {stream.index} ({', '.join(shown(word) for word in words)})"


def _holds(av: Any, container: Container, stream: Stream) -> bool:
    if is_cover(stream):
        return container.covers
    if stream.type == "attachment":
        return container.attachments
    output = av.open(io.BytesIO(), "w", format=container.muxer)
    try:
        output.add_stream_from_template(stream, opaque=True)
        output.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return False
    finally:
        output.close()
    return True
