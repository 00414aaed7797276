"""Write files to streams: standard output, memory, members of archives."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from helpers.pictures import write_picture
from PIL import Image

from waifu2x import codec
from waifu2x.errors import ArgumentError, EncodeError
from waifu2x.picture import Metadata, Picture

NAMES = ["png", "jpeg", "webp", "avif", "tiff", "bmp", "jxl"]


def output_of(name):
    if name == "jxl":
        pytest.importorskip("pillow_jxl")
    return codec.resolve_format(None, name)


def picture_of(dtype=np.uint8):
    rng = np.random.default_rng(3)
    blocks = rng.integers(0, 256, (6, 7, 3), np.uint8)
    color = np.kron(blocks, np.ones((8, 8, 1), np.uint8))
    return Picture(codec.convert_samples(color, dtype), metadata=Metadata(dpi=(72.0, 72.0)))


class Pipe(io.RawIOBase):
    """A stream that only supports writing, a few bytes at a time."""

    def __init__(self, most=1 << 30, room=1 << 30):
        self.data = b""
        self._most, self._room = most, room

    def writable(self):
        return True

    def write(self, data):
        if len(self.data) >= self._room:
            raise BrokenPipeError(32, "Broken pipe")
        taken = bytes(data[: self._most])
        self.data += taken
        return len(taken)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("most", [1 << 30, 100])
def test_a_stream_gets_the_bytes_of_the_file(tmp_path, name, most):
    output = output_of(name)
    write_picture(picture_of(), tmp_path / "a", format=name)
    expected = (tmp_path / "a").read_bytes()
    pipe = Pipe(most)
    assert codec.encode_stream(picture_of(), pipe, output) == ()
    assert pipe.data == expected
    memory = io.BytesIO()
    codec.encode_stream(picture_of(), memory, output)
    assert memory.getvalue() == expected
    assert not memory.closed
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        with archive.open("page", "w") as member:
            codec.encode_stream(picture_of(), member, output)
        assert archive.testzip() is None
        assert archive.read("page") == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rows_to_a_stream(name, dtype):
    picture = picture_of(dtype)

    pipe = Pipe()
    like = Picture(picture.color[:1, :1], metadata=picture.metadata)
    with codec.open_row_writer(pipe, output_of(name), like=like, width=56, height=48) as writer:
        assert writer.dtype == (dtype if name in ("png", "tiff") else np.uint8)
        for row in picture.color:
            writer.write_rows(row[None])
    expected = () if writer.dtype == dtype else ("16-bit samples reduced to 8-bit",)
    assert writer.notes == expected
    memory = io.BytesIO()
    codec.encode_stream(picture, memory, output_of(name))
    assert pipe.data == memory.getvalue()


def test_a_whole_picture_is_encoded_without_a_copy(monkeypatch):
    seen = []
    real = Image.fromarray
    monkeypatch.setattr(Image, "fromarray", lambda array: seen.append(array) or real(array))
    picture = picture_of()
    codec.encode_stream(picture, io.BytesIO(), output_of("bmp"))
    assert np.shares_memory(seen[0], picture.color)


@pytest.mark.parametrize("name", NAMES)
def test_an_exception_in_the_block_aborts(name):
    pipe = Pipe()
    picture = picture_of()

    def fail():
        with codec.open_row_writer(
            pipe, output_of(name), like=picture, width=56, height=48
        ) as writer:
            writer.write_rows(picture.color)
            raise OSError("mine")

    with pytest.raises(OSError, match="mine"):
        fail()
    whole = Pipe()
    codec.encode_stream(picture, whole, output_of(name))
    assert len(pipe.data) < len(whole.data)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("room", [0, 150])
def test_what_the_stream_raises_leaves_as_it_is(name, room):
    with pytest.raises(BrokenPipeError):
        codec.encode_stream(picture_of(), Pipe(100, room), output_of(name))


def test_bad_requests_write_nothing():
    for name, options, error in (
        ("png", {"quality": 90}, ArgumentError),
        ("png", {"depth": 12}, ArgumentError),
        ("jpeg", {"depth": 16}, ArgumentError),
    ):
        pipe = Pipe()
        with pytest.raises(error):
            codec.encode_stream(picture_of(), pipe, output_of(name), **options)
        assert pipe.data == b""


def test_an_error_names_the_picture():
    broken = Picture(np.full((2, 2, 3), np.nan, np.float32))
    for name in ("png", "tiff", "jpeg"):
        with pytest.raises(EncodeError, match="NaN or infinity"):
            codec.encode_stream(broken, io.BytesIO(), output_of(name))


@pytest.mark.parametrize("overwrite", [False, True])
def test_times_of_the_source(tmp_path, overwrite):
    times = (1_500_000_000_000_000_000, 1_400_000_000_123_000_000)
    path = tmp_path / "a.png"
    write_picture(picture_of(), path, times=times, overwrite=overwrite)
    found = path.stat()
    # Some file systems store times with less precision.
    assert found.st_mtime_ns == pytest.approx(times[1], abs=2_000_000_000)
    assert [each.name for each in tmp_path.iterdir()] == ["a.png"]
    write_picture(picture_of(), path, overwrite=True)
    assert path.stat().st_mtime_ns > times[1] + 10**17
