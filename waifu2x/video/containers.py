"""Containers that are written, by the extensions of files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import PurePath
from typing import Final

from .._record import record
from .._text import listed, shown
from ..errors import EncodeError

_MILLISECOND: Final = Fraction(1, 1000)

#: The tags of a stream that matter to players.
STREAM_TAGS: Final = frozenset({"language", "title"})


@record
class Container:
    """A container.

    muxer: the library's name. extensions: with their dots, the usual one first.
    codecs: that it holds; the first is the default for 8 bits, deep for more.
    unit: of its timestamps in seconds, or None if it takes that of the source.
    global_header: whether the header of a codec is stored once. b_frames: whether frames may be
    stored in another order. chapters, covers, attachments: what it holds besides streams.
    one_of_each: whether most readers know only one stream of a kind.
    copies: codecs of the other streams, or None for those that its muxer takes. tags: of the file,
    or None for all. stream_tags: whether it holds the language and the title of a stream.
    options: of the muxer; for_tags: one more, with which it holds all tags.
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
    one_of_each: bool = False
    copies: frozenset[str] | None = None
    tags: frozenset[str] | None = None
    stream_tags: frozenset[str] = STREAM_TAGS
    options: tuple[tuple[str, str], ...] = ()
    for_tags: tuple[str, str] | None = None

    def unheld(self, tags: Iterable[str]) -> list[str]:
        """The names among ``tags`` of a file that the container holds only with ``for_tags``."""
        if self.tags is None:
            return []
        # A language may follow, as in "location-eng".
        return [tag for tag in tags if tag.lower().partition("-")[0] not in self.tags]


#: Codecs with a type or a descriptor in MPEG-TS. Its muxer takes others as private data, which no
#: reader finds again.
_TRANSPORTED: Final = frozenset(
    (
        *("mpeg1video", "mpeg2video", "mpeg4", "h264", "hevc", "vvc", "cavs", "dirac", "vc1"),
        *("mp2", "mp3", "aac", "aac_latm", "ac3", "eac3", "dts", "opus", "s302m"),
        *("dvb_subtitle", "dvb_teletext", "klv", "timed_id3", "scte_35"),
        "bin_data",
    )
)

#: The tags that MP4 and QuickTime hold in their own way; others only as pairs of names and values.
_MOV_TAGS: Final = frozenset(
    (
        *("title", "artist", "album", "date", "comment", "genre", "copyright", "location"),
        "creation_time",
    )
)
_MP4_TAGS: Final = _MOV_TAGS | frozenset(
    (
        *("album_artist", "composer", "grouping", "lyrics", "description", "synopsis", "show"),
        *("episode_id", "episode_sort", "season_number", "network", "keywords", "media_type"),
        *("track", "disc"),
    )
)
_ALL_TAGS: Final = ("movflags", "+use_metadata_tags")

_MPEG_TS: Final = Container(
    *("mpegts", "MPEG-TS", (".ts",)),
    codecs=("h264", "hevc"),
    deep="hevc",
    unit=Fraction(1, 90000),
    global_header=False,
    chapters=False,
    covers=False,
    copies=_TRANSPORTED,
    tags=frozenset({"service_name", "service_provider"}),
    stream_tags=frozenset({"language"}),
    options=(("mpegts_copyts", "1"),),
)

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
        *("mp4", "MP4", (".mp4", ".m4v")),
        codecs=("h264", "hevc", "av1", "vp9"),
        deep="hevc",
        tags=_MP4_TAGS,
        for_tags=_ALL_TAGS,
    ),
    Container(
        *("mov", "QuickTime", (".mov",)),
        codecs=("h264", "hevc", "prores"),
        deep="hevc",
        tags=_MOV_TAGS | {"make", "model"},
        for_tags=_ALL_TAGS,
    ),
    Container(
        *("webm", "WebM", (".webm",)),
        codecs=("vp9", "av1"),
        deep="av1",
        unit=_MILLISECOND,
        covers=False,
        options=(("default_mode", "passthrough"),),
    ),
    _MPEG_TS,
    replace(
        _MPEG_TS,
        label="M2TS",
        extensions=(".m2ts", ".mts"),
        copies=_TRANSPORTED | {"truehd", "hdmv_pgs_subtitle", "pcm_bluray"},
        options=(*_MPEG_TS.options, ("mpegts_m2ts_mode", "1")),
    ),
    Container(
        *("avi", "AVI", (".avi",)),
        codecs=("h264", "ffv1"),
        deep="ffv1",
        global_header=False,
        b_frames=False,
        chapters=False,
        covers=False,
        tags=frozenset(
            (
                *("title", "artist", "copyright", "comment", "date", "genre", "album"),
                *("track", "language"),
            )
        ),
        stream_tags=frozenset({"title"}),
    ),
    Container(
        *("flv", "FLV", (".flv",)),
        codecs=("h264",),
        deep="h264",
        unit=_MILLISECOND,
        chapters=False,
        covers=False,
        # Its muxer ends the process for some others, such as PCM.
        one_of_each=True,
        copies=frozenset({"aac", "mp3", "speex", "nellymoser", "adpcm_swf", "h264"}),
        stream_tags=frozenset(),
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
