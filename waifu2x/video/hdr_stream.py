"""The stream of an HDR video with mastering display and light levels in the container.

The library writes both from the parameters of a stream, which only its demuxers can set. So the
stream is described in the header of a Matroska file in memory, and taken from there.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator
from typing import Any, Final

from .demux import Hdr
from .encode import EncoderSettings
from .library import library

#: Names of codecs in Matroska.
_CODECS: Final = {
    "h264": "V_MPEG4/ISO/AVC",
    "hevc": "V_MPEGH/ISO/HEVC",
    "av1": "V_AV1",
    "vp9": "V_VP9",
    "ffv1": "V_FFV1",
    "prores": "V_PRORES",
}

#: Muxers that write the metadata.
CARRIERS: Final = ("matroska", "webm", "mp4", "mov")


def holds_hdr(muxer: str, hdr: Hdr) -> bool:
    """Whether there is metadata that ``muxer`` can write."""
    display = hdr.primaries is not None and hdr.luminance is not None
    return muxer in CARRIERS and (display or hdr.light is not None)


@contextlib.contextmanager
def hdr_template(settings: EncoderSettings, hdr: Hdr, extradata: bytes) -> Iterator[Any]:
    """Yield a stream of the library with the codec, its header and the metadata.

    extradata: the header of the codec.
    """
    file = io.BytesIO(_header(settings, hdr, extradata))
    with library().open(file, format="matroska") as opened:
        yield opened.streams.video[0]


def _header(settings: EncoderSettings, hdr: Hdr, extradata: bytes) -> bytes:
    """The header of a Matroska file with one video track (RFC 9559)."""
    layout, tags = settings.layout, settings.tags
    color = [
        _number(0x55B1, tags.matrix),
        _number(0x55B9, tags.full_range),
        _number(0x55BA, tags.transfer),
        _number(0x55BB, tags.primaries),
    ]
    if hdr.light is not None:
        color += [_number(0x55BC, hdr.light[0]), _number(0x55BD, hdr.light[1])]
    if hdr.primaries is not None and hdr.luminance is not None:
        least, most = hdr.luminance
        values = (*hdr.primaries, most, least)
        color.append(
            _element(
                0x55D0,
                *(_element(0x55D1 + at, struct.pack(">d", each)) for at, each in enumerate(values)),
            )
        )
    video = _element(
        0xE0,
        _number(0xB0, layout.width),
        _number(0xBA, layout.height),
        _element(0x55B0, *color),
    )
    track = _element(
        0xAE,
        _number(0xD7, 1),
        _number(0x73C5, 1),
        _number(0x83, 1),
        _element(0x86, _CODECS[settings.encoder.name].encode()),
        *([_element(0x63A2, extradata)] if extradata else []),
        video,
    )
    info = _element(0x1549A966, _number(0x2AD7B1, 1_000_000))
    cluster = _element(0x1F43B675, _number(0xE7, 0))  # without any, the file counts as truncated
    return _element(0x1A45DFA3, _element(0x4282, b"matroska")) + _element(
        0x18538067, info, _element(0x1654AE6B, track), cluster
    )


def _element(name: int, *contents: bytes) -> bytes:
    """An element of EBML, with its size in eight bytes."""
    data = b"".join(contents)
    length = (name.bit_length() + 7) // 8
    return name.to_bytes(length, "big") + (len(data) | 1 << 56).to_bytes(8, "big") + data


def _number(name: int, value: int) -> bytes:
    return _element(name, value.to_bytes(8, "big"))
