"""What a container can hold of a source, found out before the work begins."""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from .._record import record
from .._text import listed, shown
from ..errors import EncodeError
from .containers import CONTAINERS, STREAM_TAGS, Container
from .demux import VideoSource, is_cover
from .encode import ENCODERS, Encoder
from .layout import VideoLayout

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream

#: Packets that are read to find the first one of each stream.
_FIRST_PACKETS: Final = 400

#: Tags of a container that describe the old file.
_STALE: Final = ("encoder", "software", "major_brand", "minor_version", "compatible_brands")


def encoder_for(container: Container, codec: str | None, layout: VideoLayout) -> Encoder:
    """The encoder by name, or the default of ``container`` for frames of ``layout``.

    Raises `EncodeError` if it is not in ``container``, or does not hold the frames.
    """
    if codec is None:
        codec = container.deep if layout.depth > 8 else container.codecs[0]
        able = [name for name in container.codecs if ENCODERS[name].alpha]
        codec = able[0] if layout.alpha and able else codec
    elif codec not in container.codecs:
        others = [each.extensions[0] for each in CONTAINERS if codec in each.codecs]
        raise EncodeError(
            f"{container.label} does not hold {ENCODERS[codec].label}; write {listed(others)}, or "
            f"choose `codec={container.codecs[0]!r}`"
        )
    encoder = ENCODERS[codec]
    if layout.alpha and not encoder.alpha:
        raise _unheld(container, encoder, layout, "has alpha")
    if encoder.grid_for(layout) is None:
        grid = ":".join(layout.subsampling)
        raise _unheld(container, encoder, layout, f"is {grid}")
    return encoder


def _unheld(container: Container, encoder: Encoder, layout: VideoLayout, what: str) -> EncodeError:
    """An error that names the codecs, or else the containers, that hold frames of ``layout``."""
    able = [
        each.name
        for each in ENCODERS.values()
        if each.grid_for(layout) is not None and (each.alpha or not layout.alpha)
    ]
    held = [f"`codec={name!r}`" for name in able if name in container.codecs]
    others = [each.extensions[0] for each in CONTAINERS if {*each.codecs} & {*able}]
    advice = f"choose {listed(held)}" if held else f"write {listed(others)}"
    return EncodeError(f"the video {what}, which {encoder.label} does not hold; {advice}")


@record
class Fit:
    """What a container holds of a source.

    left: indices of the streams that it cannot hold. problems: their descriptions, and those of
    other things that it cannot hold.
    """

    left: frozenset[int]
    problems: tuple[str, ...]


def fit(source: VideoSource, container: Container) -> Fit:
    """Try every stream that is to be copied in a file in memory, with its first packet."""
    left = set()
    problems = []
    with source.open() as opened:
        chapters = opened.chapters()
        copied = [
            each
            for each in opened.streams
            if each.index != source.main_index and not is_repeated(each, chapters)
        ]
        packets = _first_packets(source.av, opened, copied)
        kinds = {"video"}
        for stream in copied:
            alone = stream.type not in kinds or not container.one_of_each
            if alone and _holds(source.av, container, stream, packets.get(stream.index)):
                kinds.add(stream.type)
            else:
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


def tags_of(container: InputContainer) -> dict[str, str]:
    """The tags of a file, apart from those that describe the old file."""
    return {key: value for key, value in container.metadata.items() if key.lower() not in _STALE}


def lost_tags(source: VideoSource, container: Container, left: frozenset[int]) -> str:
    """Describe the tags that ``container`` does not hold; empty for none.

    left: streams that are left out as a whole.
    """
    with source.open() as opened:
        names = [] if container.for_tags else container.unheld(tags_of(opened))
        streams = [each for each in opened.streams if each.index not in left]
        for tag in sorted(STREAM_TAGS - container.stream_tags):
            owners = [str(each.index) for each in streams if each.metadata.get(tag, "und") != "und"]
            if owners:
                names.append(f"{tag} of stream {listed(owners, 'and')}")
    return f"{container.label} does not hold these tags: {', '.join(names)}" if names else ""


def describe(stream: Stream) -> str:
    """A stream in messages, as in "stream 3 (subtitle ass, deu)"."""
    codec = stream.codec_context.name if stream.codec_context is not None else stream.name
    kind = "cover" if is_cover(stream) else stream.type
    words = [f"{kind} {codec}" if codec else kind]
    language = stream.metadata.get("language", "und")
    if language != "und":
        words.append(language)
    return f"stream {stream.index} ({', '.join(shown(word) for word in words)})"


def _first_packets(av: Any, opened: InputContainer, streams: list[Stream]) -> dict[int, Any]:
    """The first packets of ``streams`` by their index, as far as they come early."""
    found: dict[int, Any] = {}
    if not streams:
        return found
    with suppress(av.error.FFmpegError):
        for packet in islice(opened.demux(streams), _FIRST_PACKETS):
            if packet.size:
                found.setdefault(packet.stream_index, packet)
            if len(found) == len(streams):
                break
    return found


def _holds(av: Any, container: Container, stream: Stream, first: Any) -> bool:
    """Whether ``container`` holds a stream, whose first packet is ``first``, if it is known."""
    if is_cover(stream):
        return container.covers
    if stream.type == "attachment":
        return container.attachments
    if container.copies is not None and _codec(stream) not in container.copies:
        return False
    output = av.open(
        io.BytesIO(), "w", format=container.muxer, container_options=dict(container.options)
    )
    try:
        try:
            made = output.add_stream_from_template(stream, opaque=True)
            output.start_encoding()
            if first is not None:
                packet = av.Packet(bytes(first))
                packet.stream = made
                packet.time_base = first.time_base
                packet.pts = packet.dts = 0
                packet.duration = first.duration
                packet.is_keyframe = True
                output.mux_one(packet)
        finally:
            output.close()  # some muxers find out at the end
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def _codec(stream: Stream) -> str:
    """The library's name of a codec; `describe` names its decoder."""
    context = stream.codec_context
    return str(stream.name if context is None else context.codec.canonical_name)
