"""Containers that are written, by the extensions of files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import PurePath
from typing import Final

from .._record import record
from .._text import listed, shown
from ..errors import EncodeError

_MILLISECOND: Final = Fraction(1, 1000)


@record
class Container:
    """A container.

    muxer: the library's name. extensions: with their dots, the usual one first.
    codecs: that it holds; the first is the default for 8 bits, deep for more.
    unit: of its timestamps in seconds, or None if it takes that of the source.
    global_header: whether the header of a codec is stored once. b_frames: whether frames may be
    stored in another order. chapters, covers, attachments: what it holds besides streams.
    options: of the muxer.
    """

    muxer: str
    label: str
    extensions: tuple[str, ...]
    codecs: tuple[str, ...]
    deep: str
    unit: Fraction | None = None
    global_header: bool = True
    b_frames: bool = True
    chapters: bool = True
    covers: bool = True
    attachments: bool = False
    options: tuple[tuple[str, str], ...] = ()


CONTAINERS: Final = (
    Container(
        *("matroska", "Matroska", (".mkv",)),
        codecs=("h264", "hevc", "av1", "vp9", "ffv1", "prores"),
        deep="hevc",
        unit=_MILLISECOND,
        attachments=True,
        # Dispositions as given, instead of a default track of each kind.
        options=(("default_mode", "passthrough"),),
    ),
    Container(
        *("mp4", "MP4", (".mp4", ".m4v")), codecs=("h264", "hevc", "av1", "vp9"), deep="hevc"
    ),
    Container(*("mov", "QuickTime", (".mov",)), codecs=("h264", "hevc", "prores"), deep="hevc"),
    Container(
        *("webm", "WebM", (".webm",)),
        codecs=("vp9", "av1"),
        deep="av1",
        unit=_MILLISECOND,
        covers=False,
        options=(("default_mode", "passthrough"),),
    ),
    Container(
        *("mpegts", "MPEG-TS", (".ts", ".m2ts", ".mts")),
        codecs=("h264", "hevc"),
        deep="hevc",
        unit=Fraction(1, 90000),
        global_header=False,
        chapters=False,
        covers=False,
        options=(("mpegts_copyts", "1"),),
    ),
    Container(
        *("avi", "AVI", (".avi",)),
        codecs=("h264", "ffv1"),
        deep="ffv1",
        global_header=False,
        b_frames=False,
        chapters=False,
        covers=False,
    ),
    Container(
        *("flv", "FLV", (".flv",)),
        codecs=("h264",),
        deep="h264",
        unit=_MILLISECOND,
        chapters=False,
        covers=False,
    ),
)

#: Extensions of files that may hold a video, to find them in folders.
VIDEO_SUFFIXES: Final = frozenset(
    {
        *(extension for each in CONTAINERS for extension in each.extensions),
        *(".avi", ".flv", ".mpg", ".mpeg", ".vob", ".m2v", ".ogv", ".ogm", ".wmv", ".asf"),
        *(".3gp", ".3g2", ".mk3d", ".qt", ".f4v", ".mxf", ".nut", ".rm", ".rmvb", ".ivf"),
    }
)

#: The extension of raw frames, which need no library.
Y4M_SUFFIX: Final = ".y4m"

#: The extension for the result of a video whose container is not written.
DEFAULT_SUFFIX: Final = ".mkv"


def container_of(suffix: str) -> Container | None:
    """The container with an extension."""
    return next((each for each in CONTAINERS if suffix.lower() in each.extensions), None)


def result_suffix(suffix: str) -> str:
    """The extension of the result of a video whose name ends with ``suffix``."""
    return suffix.lower() if container_of(suffix) else DEFAULT_SUFFIX


def container_for(target: str) -> Container:
    """The container by the name of a file; raises `EncodeError`."""
    suffix = PurePath(target).suffix
    found = container_of(suffix)
    if found is None:
        known = listed([each.extensions[0] for each in CONTAINERS])
        raise EncodeError(
            f"{shown(target)} has no extension of a video that can be written; name it {known}"
        )
    return found
