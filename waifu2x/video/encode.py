"""Encoders: their names, settings and pixel formats, and the encoding of a run of frames.

Timestamps stay outside: an encoder counts frames, and `mux` gives its packets the timestamps of the
source. The number of threads is fixed, because x264 and x265 change their output with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Final, cast

import numpy as np

from .._record import record
from ..errors import ArgumentError, EncodeError
from .demux import MATRICES, UNTAGGED, Hdr, Tags, VideoFacts
from .layout import CHROMA_SITES, Subsampling, VideoLayout
from .library import library, why
from .pixels import frame_of, planar_name
from .planes import Plane, VideoFrame
from .scheduling import kept_scheduling

#: Threads of an encoder; part of its settings, see above.
_THREADS: Final = 6

_X26_PRESETS: Final = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower"),
    *("veryslow", "placebo"),
)


@record
class Encoder:
    """An encoder of the library.

    name: of the codec, as in ``codec=``. library: the library's name of the encoder. label: for
        messages.
    crf: the default quality, lower is better, or None for encoders without one; worst: the largest.
        whole_crf: whether it has no fractions. by_quality: crf for qualities 100 and 1.
    presets: allowed presets; preset: the default.
    depths, grids: bits per sample and subsamplings, the plainest first. alpha, rgb: whether alpha
        and planes of RGB are kept. even: whether a frame must be whole samples of chroma.
    """

    name: str
    library: str
    label: str
    depths: tuple[int, ...]
    grids: tuple[Subsampling, ...]
    crf: int | None = None
    worst: int = 51
    whole_crf: bool = False
    by_quality: tuple[int, int] = (8, 48)
    presets: tuple[str, ...] = ()
    preset: str | None = None
    alpha: bool = False
    rgb: bool = False
    even: bool = False

    def check(self, crf: float | None, preset: str | None) -> None:
        """Raise `ArgumentError` for a crf or a preset that the encoder does not have."""
        if crf is not None:
            if self.crf is None:
                raise ArgumentError(
                    f"crf is {crf:g}, and {self.label} has none; leave it out, or choose another "
                    "`codec=`"
                )
            if not 0 <= crf <= self.worst or (self.whole_crf and crf != int(crf)):
                kind = "whole number" if self.whole_crf else "number"
                raise ArgumentError(
                    f"crf is {crf:g}; it must be a {kind} from 0 to {self.worst} for {self.label}"
                )
        if preset is not None and preset not in self.presets:
            allowed = f"allowed are {', '.join(self.presets)}" if self.presets else "it has none"
            raise ArgumentError(f"preset {preset!r} is unknown to {self.label}; {allowed}")

    def grid_for(self, layout: VideoLayout) -> Subsampling | None:
        """The subsampling that holds that of ``layout`` without a loss, or None."""
        if layout.alpha and self.name == "prores":
            return "444"
        return next((each for each in _HOLDS[layout.subsampling] if each in self.grids), None)

    def crf_of(self, quality: int) -> float:
        """The crf for a quality from 1 to 100."""
        best, worst = self.by_quality
        return best + round((100 - quality) * (worst - best) / 99)


ENCODERS: Final[dict[str, Encoder]] = {
    each.name: each
    for each in (
        Encoder(
            *("h264", "libx264", "x264"),
            depths=(8, 10),
            grids=("420", "422", "444", "mono"),
            crf=16,
            presets=_X26_PRESETS,
            preset="medium",
            even=True,
        ),
        Encoder(
            *("hevc", "libx265", "x265"),
            depths=(8, 10, 12),
            grids=("420", "422", "444", "mono"),
            crf=18,
            presets=_X26_PRESETS,
            preset="medium",
            even=True,
        ),
        Encoder(
            *("av1", "libsvtav1", "SVT-AV1"),
            depths=(8, 10),
            grids=("420",),
            crf=22,
            worst=63,
            by_quality=(8, 60),
            presets=tuple(map(str, range(14))),
            preset="6",
        ),
        Encoder(
            *("vp9", "libvpx-vp9", "VP9"),
            depths=(8,),
            grids=("420", "422", "440", "444"),
            crf=22,
            worst=63,
            by_quality=(8, 60),
            whole_crf=True,
            presets=tuple(map(str, range(9))),
            preset="3",
        ),
        Encoder(
            *("ffv1", "ffv1", "FFV1"),
            depths=(8, 9, 10, 12, 14, 16),
            grids=("420", "422", "444", "440", "411", "410", "mono"),
            alpha=True,
            rgb=True,
        ),
        Encoder(
            *("prores", "prores_ks", "ProRes"),
            depths=(10,),
            grids=("422", "444"),
            alpha=True,
        ),
    )
}

#: Subsamplings that hold one without a loss, the closest first.
_HOLDS: Final[dict[str, tuple[Subsampling, ...]]] = {
    "mono": ("mono", "420", "422", "444"),
    "410": ("410", "420", "422", "444"),
    "411": ("411", "422", "444"),
    "420": ("420", "422", "444"),
    "440": ("440", "444"),
    "422": ("422", "444"),
    "444": ("444",),
}

#: Numbers of matrices; of the two of BT.601, that of NTSC.
_MATRIX_NUMBERS: Final = {matrix: number for number, matrix in MATRICES.items()}

#: Formats of 8 bits that FFV1 stores as packed samples; the library packs the planes.
_PACKED: Final = {"gbrp": "bgr0", "gbrap": "bgra"}

#: Heights of PAL, whose BT.601 has another number than that of NTSC.
_PAL: Final = (288, 576)

#: x265 4.2 writes beyond the buffers of its tree of blocks if a frame has fewer than four blocks of
#: 16 pixels across (valgrind: at 40x36, not from 64x64 on). Narrower frames go without the tree.
_CUTREE_SIDE: Final = 64


@record
class EncoderSettings:
    """Everything that decides the bytes of an encoder, apart from the frames.

    layout: of the frames. format: the library's name of their pixel format. options: for the
    encoder. rate: frames per second. tags, aspect: as in `VideoFacts`.
    """

    encoder: Encoder
    layout: VideoLayout
    format: str
    options: tuple[tuple[str, str], ...]
    rate: Fraction
    tags: Tags
    aspect: Fraction | None
    global_header: bool
    crf: float | None
    preset: str | None

    def describe(self) -> str:
        """The encoder in the line of a result, as in "x264 crf 16 medium"."""
        words = [self.encoder.label]
        if self.crf is not None:
            words.append(f"crf {self.crf:g}")
        if self.preset is not None:
            words.append(f"preset {self.preset}")
        return " ".join(words)

    def identity(self) -> dict[str, Any]:
        """The settings as values of JSON."""
        layout = self.layout
        return {
            "encoder": self.encoder.library,
            "format": self.format,
            "size": [layout.width, layout.height],
            "color": [layout.matrix, layout.full_range, layout.chroma],
            "options": [list(pair) for pair in self.options],
            "rate": str(self.rate),
            "tags": [
                *(self.tags.matrix, self.tags.primaries, self.tags.transfer),
                self.tags.full_range,
            ],
            "aspect": str(self.aspect),
            "global_header": self.global_header,
        }

    def describe_stream(self, context: Any) -> None:
        """Set the fields of a codec that describe its frames."""
        context.width, context.height = self.layout.width, self.layout.height
        context.pix_fmt = self.format
        context.framerate = self.rate
        context.color_range = self.tags.full_range
        context.colorspace = self.tags.matrix
        context.color_primaries = self.tags.primaries
        context.color_trc = self.tags.transfer
        if self.aspect is not None:
            context.sample_aspect_ratio = self.aspect

    def configure(self, context: Any) -> None:
        """Set the fields of an encoder that is not open yet."""
        av = library()
        self.describe_stream(context)
        context.time_base = 1 / self.rate
        context.thread_count = _THREADS
        context.bit_rate = 0
        if self.encoder.name == "ffv1":
            context.gop_size = 1
        if self.encoder.name == "prores":
            context.codec_tag = "ap4h" if self.layout.subsampling == "444" else "apch"
        context.options = dict(self.options)
        if self.global_header:
            context.flags |= av.codec.context.Flags.global_header


def encoder_settings(
    facts: VideoFacts,
    width: int,
    height: int,
    *,
    encoder: Encoder,
    crf: float | None,
    preset: str | None,
    quality: int | None,
    global_header: bool,
    b_frames: bool,
) -> tuple[EncoderSettings, tuple[str, ...]]:
    """Choose the settings for a result of ``width`` x ``height`` pixels, and remarks on them.

    encoder: from `encoder_for`. Raises `ArgumentError` for a crf or preset that it does not have.
    """
    encoder.check(crf, preset)
    if quality is not None and crf is None:
        if encoder.crf is None:
            raise ArgumentError(
                f"quality is {quality}, and {encoder.label} has none; leave it out, or choose "
                "another `codec=`"
            )
        crf = encoder.crf_of(quality)
    crf = encoder.crf if crf is None else crf
    preset = encoder.preset if preset is None else preset
    layout, notes = _held(facts.original.sized(width, height), encoder)
    tags = facts.tags
    if facts.original.matrix == "rgb" != layout.matrix:
        tags = replace(tags, full_range=1)
    if layout.matrix == "rgb":
        tags = replace(tags, matrix=0)
    elif tags.matrix == UNTAGGED or tags.matrix == 0:
        # The size of the result would mean another matrix than the size of the source.
        number = _MATRIX_NUMBERS[layout.matrix]
        pal = layout.matrix == "bt601" and facts.original.height in _PAL
        tags = replace(tags, matrix=5 if pal else number)
    if layout.full_range:
        tags = replace(tags, full_range=2)
    settings = EncoderSettings(
        encoder=encoder,
        layout=layout,
        format=_PACKED.get(planar_name(layout), planar_name(layout)),
        options=tuple(
            _options(encoder, layout, facts, crf=crf, preset=preset, b_frames=b_frames).items()
        ),
        rate=facts.rate.limit_denominator(65535),
        tags=tags,
        aspect=facts.aspect,
        global_header=global_header,
        crf=crf,
        preset=preset,
    )
    return settings, notes


def _held(layout: VideoLayout, encoder: Encoder) -> tuple[VideoLayout, tuple[str, ...]]:
    """The layout of the result as near to ``layout`` as ``encoder`` can hold."""
    notes = []
    if layout.matrix == "rgb" and not encoder.rgb:
        layout = replace(layout, matrix="bt709", full_range=False)
        notes.append("RGB written as BT.709")
    grid = encoder.grid_for(layout)
    assert grid is not None, "encoder_for has found an encoder that holds it"
    depth = next((each for each in encoder.depths if each >= layout.depth), encoder.depths[-1])
    if depth < layout.depth:
        notes.append(f"{layout.depth} bits written as {depth}")
    layout = replace(layout, subsampling=grid, depth=depth, guessed=())
    across, down = layout.factors if encoder.even else (1, 1)
    padded = layout.sized(
        layout.width + -layout.width % across, layout.height + -layout.height % down
    )
    if padded != layout:
        notes.append(
            f"{layout.width}x{layout.height} px padded to {padded.width}x{padded.height} px: "
            f"{encoder.label} needs even sides"
        )
    return padded, tuple(notes)


def _options(
    encoder: Encoder,
    layout: VideoLayout,
    facts: VideoFacts,
    *,
    crf: float | None,
    preset: str | None,
    b_frames: bool,
) -> dict[str, str]:
    options: dict[str, str] = {}
    if crf is not None and encoder.name != "av1":
        options["crf"] = f"{crf:g}"
    site = None
    if layout.subsampling == "420" and "chroma" not in facts.original.guessed:
        site = layout.chroma
    params: dict[str, str] = {}
    display = facts.hdr.primaries is not None and facts.hdr.luminance is not None
    light = "" if facts.hdr.light is None else f"{facts.hdr.light[0]},{facts.hdr.light[1]}"
    if encoder.name in ("h264", "hevc"):
        options["preset"] = str(preset)
        deep = encoder.name == "hevc"
        if not b_frames:
            params["bframes"] = "0"
        if site is not None:
            params["chromaloc"] = str(CHROMA_SITES.index(site))
        if deep:
            params |= {"log-level": "none", "frame-threads": "2"}
            if layout.width < _CUTREE_SIDE:
                params["cutree"] = "0"
        if display:
            name = "master-display" if deep else "mastering-display"
            params[name] = _x265_display(facts.hdr)
        if light:
            params["max-cll" if deep else "cll"] = light
        if params:
            options["x265-params" if deep else "x264-params"] = _joined(params)
    elif encoder.name == "av1":
        options["preset"] = str(preset)
        # As a parameter, because the library's option takes 0 for the default, and no fractions.
        params["crf"] = f"{crf:g}"
        if display:
            params["mastering-display"] = _svt_display(facts.hdr)
        if light:
            params["content-light"] = light
        options["svtav1-params"] = _joined(params)
    elif encoder.name == "vp9":
        options |= {
            "deadline": "good",
            "cpu-used": str(preset),
            "row-mt": "1",
            "tile-columns": "2",
        }
    elif encoder.name == "ffv1":
        across, down = layout.factors
        whole = layout.width % across == layout.height % down == 0
        options |= {"level": "3", "slices": "4" if whole else "1", "slicecrc": "1"}
    else:
        options |= {"profile": "4" if layout.subsampling == "444" else "3", "vendor": "apl0"}
    return options


def _joined(params: Mapping[str, str]) -> str:
    return ":".join("=".join(pair) for pair in params.items())


def _x265_display(hdr: Hdr) -> str:
    """Mastering display in units of 1/50000 and 1/10000 cd/m2."""
    assert hdr.primaries is not None
    assert hdr.luminance is not None
    red, green, blue, white = (
        f"({round(hdr.primaries[at] * 50000)},{round(hdr.primaries[at + 1] * 50000)})"
        for at in (0, 2, 4, 6)
    )
    least, most = (round(each * 10000) for each in hdr.luminance)
    return f"G{green}B{blue}R{red}WP{white}L({most},{least})"


def _svt_display(hdr: Hdr) -> str:
    """Mastering display as decimal numbers."""
    assert hdr.primaries is not None
    assert hdr.luminance is not None
    red, green, blue, white = (
        f"({float(hdr.primaries[at]):.5f},{float(hdr.primaries[at + 1]):.5f})"
        for at in (0, 2, 4, 6)
    )
    least, most = (float(each) for each in hdr.luminance)
    return f"G{green}B{blue}R{red}WP{white}L({most:.4f},{least:.4f})"


@record
class EncodedPacket:
    """A packet of an encoder; frame is the number of its frame in order of display."""

    data: bytes
    frame: int
    key: bool


@dataclass(slots=True)
class FrameEncoder:
    """Encodes frames that follow each other; raises `EncodeError`."""

    settings: EncoderSettings
    _context: Any = field(init=False, default=None)
    _count: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        av = library()
        label = self.settings.encoder.label
        try:
            context = av.CodecContext.create(self.settings.encoder.library, "w")
        except (av.error.FFmpegError, ValueError) as error:
            raise EncodeError(
                f"this build of PyAV has no encoder {label}; choose another `codec=`"
            ) from error
        self.settings.configure(context)
        try:
            with kept_scheduling():
                context.open()
        except (av.error.FFmpegError, ValueError) as error:
            size = f"{self.settings.layout.width}x{self.settings.layout.height}"
            raise EncodeError(f"{label} cannot encode {size} px: {why(error)}") from error
        self._context = context

    @property
    def extradata(self) -> bytes:
        """The header of the codec for the container."""
        return bytes(self._context.extradata or b"")

    def encode(self, frame: VideoFrame) -> Iterator[EncodedPacket]:
        """Encode one frame; yields the packets that are complete."""
        av = library()
        layout = self.settings.layout
        planes = tuple(_padded(*each) for each in zip(frame.planes, layout.shapes, strict=True))
        made = frame_of(av, planes, layout, planar_name(layout))
        made.pts = self._count
        made.time_base = 1 / self.settings.rate
        made.colorspace = self.settings.tags.matrix
        made.color_range = self.settings.tags.full_range
        made.color_primaries = self.settings.tags.primaries
        made.color_trc = self.settings.tags.transfer
        self._count += 1
        yield from self._packets(made)

    def finish(self) -> Iterator[EncodedPacket]:
        """Yield the packets that the encoder still holds."""
        yield from self._packets(None)

    def _packets(self, frame: Any) -> Iterator[EncodedPacket]:
        av = library()
        try:
            for packet in self._context.encode(frame):
                yield EncodedPacket(bytes(packet), int(packet.pts), bool(packet.is_keyframe))
        except (av.error.FFmpegError, ValueError) as error:
            raise EncodeError(f"{self.settings.encoder.label} failed: {why(error)}") from error


def _padded(plane: Plane, shape: tuple[int, int]) -> Plane:
    """Repeat the last row and column of a plane, as far as it is smaller than ``shape``."""
    if plane.shape == shape:
        return plane
    (height, width), (rows, columns) = shape, plane.shape
    return cast("Plane", np.pad(plane, ((0, height - rows), (0, width - columns)), "edge"))


def check_encoders(names: Mapping[str, Encoder] = ENCODERS) -> tuple[str, ...]:
    """The codecs that this build of the library can encode."""
    av = library()
    found = []
    for name, encoder in names.items():
        try:
            av.codec.Codec(encoder.library, "w")
        except ValueError:
            continue
        found.append(name)
    return tuple(found)
