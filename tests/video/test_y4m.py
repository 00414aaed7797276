"""YUV4MPEG2 streams: headers, frames, damage, and a comparison with ffmpeg."""

from __future__ import annotations

import io
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from waifu2x.errors import DecodeError, EncodeError, LimitError
from waifu2x.video.layout import VideoLayout
from waifu2x.video.planes import VideoFrame
from waifu2x.video.y4m import Y4mReader, Y4mWriter, header_for, parse_header

SPACES = [
    ("420jpeg", "420", 8, "center", False),
    ("420", "420", 8, "center", False),
    ("420mpeg2", "420", 8, "left", False),
    ("420paldv", "420", 8, "topleft", False),
    ("411", "411", 8, "left", False),
    ("422", "422", 8, "left", False),
    ("444", "444", 8, "left", False),
    ("444alpha", "444", 8, "left", True),
    ("mono", "mono", 8, "left", False),
    ("420p10", "420", 10, "left", False),
    ("422p16", "422", 16, "left", False),
    ("444p9", "444", 9, "left", False),
    ("mono12", "mono", 12, "left", False),
]


class Trickle(io.RawIOBase):
    """A pipe: it does not seek, and every read is short."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, 7))


def reader(data: bytes, **options: Any) -> Y4mReader:
    return Y4mReader(io.BytesIO(data), "in.y4m", **options)


def stream(header: bytes, frames: int, size: int) -> bytes:
    rng = np.random.default_rng(5)
    return header + b"".join(b"FRAME\n" + rng.bytes(size) for _ in range(frames))


@pytest.mark.parametrize(("space", "subsampling", "depth", "chroma", "alpha"), SPACES)
def test_color_spaces(space: str, subsampling: str, depth: int, chroma: str, alpha: bool) -> None:
    header = parse_header(f"YUV4MPEG2 W7 H5 F30000:1001 Ip A1:1 C{space}".encode(), "in.y4m")
    layout = header.layout
    found = (layout.subsampling, layout.depth, layout.chroma, layout.alpha)
    assert found == (subsampling, depth, chroma, alpha)
    assert (layout.width, layout.height) == (7, 5)
    assert header.rate == Fraction(30000, 1001)
    data = stream(header.line(), 3, layout.frame_bytes)
    made = io.BytesIO()
    given = Y4mReader(Trickle(data), "in.y4m")  # type: ignore[arg-type]
    writer = Y4mWriter(made, given.header.line())
    for number, frame in enumerate(given):
        frame.require(layout)
        assert frame.pts == number
        writer.write(frame)
    assert made.getvalue() == data


def test_a_missing_color_space_is_420jpeg() -> None:
    layout = parse_header(b"YUV4MPEG2 W8 H8", "in.y4m").layout
    assert (layout.subsampling, layout.chroma) == ("420", "center")
    assert layout.guessed == ("matrix", "full_range")


@pytest.mark.parametrize(
    ("tag", "full", "guessed"),
    [
        (b"XCOLORRANGE=FULL", True, False),
        (b"XCOLORRANGE=LIMITED", False, False),
        (b"X", False, True),
    ],
)
def test_the_range(tag: bytes, full: bool, guessed: bool) -> None:
    layout = parse_header(b"YUV4MPEG2 W8 H8 C420mpeg2 " + tag, "in.y4m").layout
    assert layout.full_range is full
    assert ("full_range" in layout.guessed) is guessed


@pytest.mark.parametrize(
    ("field", "interlaced"),
    [("Ip", False), ("It", True), ("Ib", True), ("Im", True), ("I?", False)],
)
def test_fields(field: str, interlaced: bool) -> None:
    header = parse_header(f"YUV4MPEG2 W8 H8 {field}".encode(), "in.y4m")
    assert header.interlaced is interlaced


def test_another_size_keeps_all_other_parameters_in_their_order() -> None:
    line = b"YUV4MPEG2 W8 H6 F25:1 Ip A12:11 C420p10 XYSCSS=420P10 XCOLORRANGE=FULL Xnote"
    header = parse_header(line, "in.y4m")
    assert header.line() == line + b"\n"
    assert header.line(header.layout.sized(16, 12)) == line.replace(b"W8 H6", b"W16 H12") + b"\n"


@pytest.mark.parametrize("rate", ["", "F0:0", "F25:0", "F25", "Fx:1"])
def test_a_rate_that_is_unknown(rate: str) -> None:
    assert parse_header(f"YUV4MPEG2 W8 H8 {rate}".strip().encode(), "in.y4m").rate is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"YUV4MPEG W8 H8", "does not begin with YUV4MPEG2"),
        (b"YUV4MPEG2 H8", "must have a width, such as W640, not none"),
        (b"YUV4MPEG2 W8 H0", "must have a height, such as H640, not 'H0'"),
        (b"YUV4MPEG2 W-8 H8", "not 'W-8'"),
        (b"YUV4MPEG2 W8 H99999999999", "not 'H99999999999'"),
        (b"YUV4MPEG2 W8 H8 C420p17", "has the color space '420p17'"),
        (b"YUV4MPEG2 W8 H8 Cbgr", "has the color space 'bgr'"),
    ],
)
def test_headers_that_are_refused(line: bytes, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        parse_header(line, "in.y4m")


def test_sizes_are_checked_before_memory_is_allocated() -> None:
    data = b"YUV4MPEG2 W99999999 H99999999 C444p16\nFRAME\n"
    with pytest.raises(LimitError, match="99999999x99999999 px, and the limit is 1000 px"):
        reader(data, max_pixels=1000)


def test_streams_that_are_damaged() -> None:
    whole = stream(b"YUV4MPEG2 W8 H8\n", 2, 96)
    for end, message in [
        (0, "is empty"),
        (5, "within its y4m header"),
        (18, "within frame 1"),
        (60, "within frame 1"),
        (len(whole) - 1, "within frame 2"),
    ]:
        with pytest.raises(DecodeError, match=message):
            list(reader(whole[:end]))
    with pytest.raises(DecodeError, match="frame 2 has no header"):
        list(reader(whole[: 16 + 102] + b"Frame\n" + bytes(96)))
    with pytest.raises(DecodeError, match="more than 1024 bytes"):
        list(reader(whole[:16] + b"F" * 2000))
    with pytest.raises(DecodeError, match="more than 4096 bytes"):
        reader(b"YUV4MPEG2 " + b"X" * 5000)


def test_no_frames_and_parameters_of_frames() -> None:
    assert list(reader(b"YUV4MPEG2 W8 H8\n")) == []
    data = b"YUV4MPEG2 W2 H2 Cmono\nFRAME Ipp Xa=b\n" + bytes(4)
    given, made = reader(data), io.BytesIO()
    writer = Y4mWriter(made, given.header.line())
    for frame in given:
        writer.write(frame)
    assert made.getvalue() == data


def test_deep_samples_are_little_endian() -> None:
    (frame,) = reader(b"YUV4MPEG2 W1 H1 Cmono10\nFRAME\n\x01\x02")
    assert frame.planes[0].item() == 0x201


@pytest.mark.parametrize(
    "layout",
    [
        VideoLayout(8, 8, subsampling="440"),
        VideoLayout(8, 8, subsampling="444", matrix="rgb"),
        VideoLayout(8, 8, subsampling="420", alpha=True),
        VideoLayout(8, 8, 10, "444", alpha=True),
    ],
)
def test_layouts_that_y4m_cannot_hold(layout: VideoLayout) -> None:
    with pytest.raises(EncodeError, match="y4m cannot hold"):
        header_for(layout, rate=Fraction(25))


@pytest.mark.parametrize(("space", "subsampling", "depth", "chroma", "alpha"), SPACES)
def test_headers_for_layouts(
    space: str, subsampling: Any, depth: int, chroma: Any, alpha: bool
) -> None:
    layout = VideoLayout(
        6, 4, depth, subsampling, alpha=alpha, chroma=chroma, matrix="bt601", full_range=True
    )
    header = header_for(layout, rate=Fraction(24), aspect=(4, 3))
    again = parse_header(header.line()[:-1], "in.y4m")
    assert again.layout.shapes == layout.shapes
    assert again.layout.full_range
    assert again.rate == 24
    assert (again.layout.depth, again.layout.alpha) == (depth, alpha)
    if subsampling == "420" and depth == 8:
        assert again.layout.chroma == chroma
    assert "A4:3" in again.tokens


def test_a_pipe_that_is_closed() -> None:
    class Closed(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(EncodeError, match="its reader has closed the pipe"):
        Y4mWriter(Closed(), b"YUV4MPEG2 W1 H1\n")  # type: ignore[arg-type]


FORMATS = {
    "yuv420p": "420jpeg",
    "yuv422p": "422",
    "yuv444p": "444",
    "yuv411p": "411",
    "gray": "mono",
    "yuv420p10le": "420p10",
    "yuv422p12le": "422p12",
    "yuv444p16le": "444p16",
    "gray10le": "mono10",
}


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
@pytest.mark.parametrize("format", FORMATS)
def test_streams_of_ffmpeg(format: str, tmp_path: Path) -> None:
    source = tmp_path / "in.y4m"
    command = [
        *("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=35x23:r=25:d=0.12"),
        *("-pix_fmt", format, "-strict", "-1", "-f", "yuv4mpegpipe", str(source)),
    ]
    subprocess.run(command, check=True)
    data = source.read_bytes()
    given, made = reader(data), io.BytesIO()
    assert f"C{FORMATS[format]}" in given.header.tokens
    writer = Y4mWriter(made, given.header.line())
    frames = list(given)
    for frame in frames:
        writer.write(frame)
    assert len(frames) == 3
    assert made.getvalue() == data
    raw = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(source), "-f", "rawvideo", "-"],
        capture_output=True,
        check=True,
    ).stdout
    assert b"".join(plane.tobytes() for frame in frames for plane in frame.planes) == raw


def test_frames_are_read_one_by_one() -> None:
    class Counting(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.taken += len(data)
            return data

    data = stream(b"YUV4MPEG2 W8 H8\n", 4, 96)
    source = Counting(data)
    given = iter(Y4mReader(source, "in.y4m"))
    next(given)
    assert source.taken == 16 + 102
    assert isinstance(next(given), VideoFrame)
    assert source.taken == 16 + 2 * 102
