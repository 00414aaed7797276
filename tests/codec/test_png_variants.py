"""Every variant of PNG's pixels, and chunks that are damaged, missing or unusual."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from helpers.decoding import decode, written
from PIL import Image

from waifu2x import codec, upscale_file
from waifu2x.codec.animation import open_animation
from waifu2x.codec.png_chunks import chunks_of
from waifu2x.errors import DecodeError

Array = npt.NDArray[Any]
Chunk = tuple[bytes, bytes]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
LAYOUTS = [
    *((0, depth) for depth in (1, 2, 4, 8, 16)),
    *((3, depth) for depth in (1, 2, 4, 8)),
    *itertools.product((2, 4, 6), (8, 16)),
]
PASSES = [
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
]


def chunk(kind: bytes, body: bytes, *, wrong: bool = False) -> bytes:
    checksum = zlib.crc32(kind + body) ^ wrong
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def packed(pixels: Array, depth: int) -> bytes:
    """Rows of samples (H, W, C) with filter type 0."""
    rows = pixels.reshape(len(pixels), -1)
    if depth == 16:
        body = rows.astype(">u2").view(np.uint8)
    else:
        bits = np.unpackbits(rows.astype(np.uint8)[:, :, None], axis=2)[:, :, 8 - depth :]
        body = np.packbits(bits.reshape(len(rows), -1), axis=1)
    return b"".join(b"\0" + row.tobytes() for row in body)


def png(
    pixels: Array,
    color_type: int,
    depth: int,
    *,
    before: tuple[Chunk, ...] = (),
    after: tuple[Chunk, ...] = (),
    interlaced: bool = False,
    end: bool = True,
) -> bytes:
    """A PNG of stored samples (H, W, C)."""
    height, width = pixels.shape[:2]
    header = struct.pack(">II5B", width, height, depth, color_type, 0, 0, interlaced)
    if interlaced:
        parts = [pixels[top::down, left::right] for left, top, right, down in PASSES]
        data = b"".join(packed(part, depth) for part in parts if part.size)
    else:
        data = packed(pixels, depth)
    return b"".join(
        (
            SIGNATURE + chunk(b"IHDR", header),
            *(chunk(*each) for each in before),
            chunk(b"IDAT", zlib.compress(data)),
            *(chunk(*each) for each in after),
            chunk(b"IEND", b"") if end else b"",
        )
    )


def drawn(color_type: int, depth: int, size: tuple[int, int] = (13, 11)) -> Array:
    width, height = size
    rng = np.random.default_rng(depth)
    return rng.integers(0, 1 << depth, (height, width, CHANNELS[color_type]))


def plain(*chunks: Chunk, **options: Any) -> bytes:
    return png(drawn(2, 8), 2, 8, before=chunks, **options)


PALETTE = np.random.default_rng(1).integers(0, 256, (256, 3)).astype(np.uint8)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("size", [(13, 11), (1, 1), (3, 2), (8, 8)])
@pytest.mark.parametrize(("color_type", "depth"), LAYOUTS)
def test_every_layout(
    color_type: int, depth: int, size: tuple[int, int], interlaced: bool, capfd: Any
) -> None:
    stored = drawn(color_type, depth, size)
    before = ((b"PLTE", PALETTE[: 1 << depth].tobytes()),) if color_type == 3 else ()
    picture = decode(png(stored, color_type, depth, before=before, interlaced=interlaced))
    if color_type == 3:
        expected: Array = PALETTE[stored[:, :, 0]]
    elif depth < 8:
        expected = stored * (255 // ((1 << depth) - 1))
    else:
        expected = stored
    assert picture.color.dtype == (np.uint16 if depth == 16 else np.uint8)
    colors = 1 if color_type in (0, 4) else 3
    np.testing.assert_array_equal(picture.color, expected[:, :, :colors])
    if color_type in (4, 6):
        np.testing.assert_array_equal(picture.alpha, expected[:, :, -1])
    else:
        assert picture.alpha is None
    assert picture.source.notes == ()
    assert capfd.readouterr() == ("", "")  # libpng prints warnings by itself


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("rubbish", [False, True])
@pytest.mark.parametrize(("color_type", "depth"), [each for each in LAYOUTS if each[0] in (0, 2)])
def test_one_transparent_value(
    color_type: int, depth: int, rubbish: bool, interlaced: bool
) -> None:
    """Only the bits of a sample count; the high bits of tRNS are to be ignored."""
    stored = drawn(color_type, depth)
    key = stored[4, 5].copy()
    high = 0xFFFF & ~((1 << depth) - 1) if rubbish else 0
    body = struct.pack(f">{len(key)}H", *(int(value) | high for value in key))
    picture = decode(
        png(stored, color_type, depth, before=((b"tRNS", body),), interlaced=interlaced)
    )
    full = 65535 if depth == 16 else 255
    assert picture.alpha is not None
    np.testing.assert_array_equal(
        picture.alpha, np.where((stored == key).all(axis=2), 0, full).astype(picture.alpha.dtype)
    )


@pytest.mark.parametrize("depth", [2, 4])
def test_a_pillow_image_has_the_same_transparent_value(depth: int) -> None:
    stored = drawn(0, depth)
    data = png(stored, 0, depth, before=((b"tRNS", struct.pack(">H", int(stored[0, 0, 0]))),))
    with Image.open(io.BytesIO(data)) as image:
        picture = codec.from_image(image)
    np.testing.assert_array_equal(picture.alpha, decode(data).alpha)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_transparent_palette(depth: int) -> None:
    stored, count = drawn(3, depth), (1 << depth) - 1
    alphas = np.arange(count, dtype=np.uint8) * 3
    table = (b"PLTE", PALETTE[: 1 << depth].tobytes()), (b"tRNS", alphas.tobytes())
    picture = decode(png(stored, 3, depth, before=table))
    expected = np.append(alphas, np.uint8(255))[stored[:, :, 0]]
    np.testing.assert_array_equal(picture.alpha, expected)


# --- chunks

ANCILLARY: dict[bytes, bytes] = {
    b"pHYs": struct.pack(">IIB", 3937, 3937, 1),
    b"tIME": struct.pack(">H5B", 2020, 1, 1, 0, 0, 0),
    b"tRNS": struct.pack(">3H", 1, 2, 3),
    b"gAMA": struct.pack(">I", 45455),
    b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
    b"sRGB": b"\0",
    b"cICP": bytes((1, 13, 0, 1)),
    b"sBIT": b"\5\6\5",
    b"bKGD": bytes(6),
    b"iCCP": b"name\0\0" + zlib.compress(bytes(200)),
    b"eXIf": b"II*\0\x08\0\0\0\0\0\0\0\0\0",
    b"tEXt": b"Title\0text",
    b"zTXt": b"Title\0\0" + zlib.compress(b"text"),
    b"iTXt": b"Title\0\0\0\0\0text",
    b"acTL": struct.pack(">II", 2, 0),
    b"sPLT": b"palette\0\x08",
    b"hIST": bytes(4),
    b"mDCV": bytes(24),
    b"cLLI": bytes(8),
    b"oFFs": struct.pack(">iiB", 4, 5, 0),
    b"prVt": b"private",
}


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("fault", ["checksum", "short", "long", "empty"])
@pytest.mark.parametrize("kind", ANCILLARY)
def test_no_ancillary_chunk_ruins_a_picture(kind: bytes, fault: str, where: str) -> None:
    body = ANCILLARY[kind]
    body = {"short": body[:-1], "long": body + b"\0", "empty": b""}.get(fault, body)
    one = chunk(kind, body, wrong=fault == "checksum")
    whole = plain()
    at = 33 if where == "before" else len(whole) - 12
    picture = decode(whole[:at] + one + whole[at:])
    np.testing.assert_array_equal(picture.color, drawn(2, 8))
    assert picture.alpha is None
    noted = " ".join(picture.source.notes)
    if fault == "checksum" and kind not in (b"tIME", b"bKGD", b"sPLT", b"hIST"):
        assert noted == f"damaged chunks of PNG left out: {kind.decode()}"


def test_resolution() -> None:
    assert decode(plain((b"pHYs", ANCILLARY[b"pHYs"]))).metadata.dpi == pytest.approx(
        (100, 100), 1e-4
    )
    assert decode(plain((b"pHYs", struct.pack(">IIB", 2, 1, 0)))).metadata.dpi is None
    assert decode(plain((b"pHYs", struct.pack(">IIB", 0, 1, 1)))).metadata.dpi is None


def test_critical_chunks_are_required() -> None:
    data = plain()
    for kind, place in ((b"IHDR", 7), (b"IDAT", 4)):
        at = data.index(kind) + place
        broken = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(DecodeError, match=f"the checksum of its {kind.decode()} chunk"):
            decode(broken)
    with pytest.raises(DecodeError, match=r"critical chunk ABCD; copy"):
        decode(plain((b"ABCD", b"")))
    with pytest.raises(DecodeError, match=r"its palette \(PLTE\) is missing"):
        decode(png(drawn(3, 8), 3, 8))
    with pytest.raises(DecodeError, match="2 bits of color type 6"):
        decode(data[:24] + b"\2\6" + data[26:])


def test_an_app_of_apple() -> None:
    data = plain()
    with pytest.raises(DecodeError, match=r"Apple's variant for apps \(CgBI\), which is not supp"):
        decode(data[:8] + chunk(b"CgBI", b"\x50\0\x20\2") + data[8:])


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("cut", [0, 2, 6, 8])
@pytest.mark.parametrize("interlaced", [False, True])
def test_a_file_without_its_end_is_whole(interlaced: bool, cut: int, depth: int) -> None:
    stored = drawn(2, depth)
    data = png(stored, 2, depth, end=False, interlaced=interlaced)
    picture = decode(data[: len(data) - cut])
    np.testing.assert_array_equal(picture.color, stored)
    assert picture.source.notes == ("the file ends without IEND, after all pixels",)
    with pytest.raises(DecodeError, match="is truncated"):
        decode(data[:-40])


def test_what_is_left_out_is_noted() -> None:
    for chunks, note in (
        (((b"oFFs", bytes(9)), (b"sCAL", b"\1")), "chunks of PNG left out: oFFs, sCAL"),
        (((b"sBIT", b"\5\6\5"),), "chunks of PNG left out: sBIT"),
        (((b"iTXt", b"Title\0\0\0en\0Title\0text"),), "languages of PNG's texts left out"),
        (
            ((b"tEXt", b"long\0" + b"x" * ((1 << 20) + 1)),),
            "chunks of PNG beyond the limits of size left out: tEXt",
        ),
        (
            tuple((bytes((97, 98, 67, n)), b"") for n in range(97, 110)),
            "chunks of PNG left out: abCa, abCb, abCc, abCd, abCe, abCf, more",
        ),
    ):
        assert decode(plain(*chunks)).source.notes == (note,)
    for kind in (b"tIME", b"bKGD", b"hIST", b"sPLT", b"iDOT"):
        assert decode(plain((kind, bytes(7)))).source.notes == ()
    assert decode(plain((b"sBIT", b"\x08\x08\x08"))).source.notes == ()


def raw_profile(kind: str, data: bytes) -> Chunk:
    text = f"\n{kind}\n{len(data):8}\n{data.hex()}\n"
    return b"zTXt", f"Raw profile type {kind}".encode() + b"\0\0" + zlib.compress(text.encode())


def test_profiles_in_texts() -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    found = decode(plain(raw_profile("exif", exif.tobytes()))).metadata
    assert found.exif == exif.tobytes()
    assert decode(plain(raw_profile("xmp", b"<x/>"))).metadata.xmp == b"<x/>"
    assert (
        decode(plain(raw_profile("APP1", b"http://ns.adobe.com/xap/1.0/\0<x/>"))).metadata.xmp
        == b"<x/>"
    )
    icc = bytearray(200)
    icc[16:20], icc[36:40] = b"RGB ", b"acsp"
    assert decode(plain(raw_profile("icc", bytes(icc)))).metadata.icc == bytes(icc)
    # A result in PNG keeps others as texts.
    for kind in ("iptc", "8bim"):
        text = decode(plain(raw_profile(kind, b"8BIM"))).metadata.text
        assert text == ((f"Raw profile type {kind}", f"\n{kind}\n       4\n3842494d\n"),)


def test_levels_of_a_mastering_display() -> None:
    levels = ((b"mDCV", bytes(range(24))), (b"cLLI", bytes(range(8))))
    picture = decode(plain((b"cICP", bytes((9, 16, 0, 1))), *levels))
    data, notes = written(picture, "png")
    assert notes == ()
    assert set(levels) <= set(chunks_of(data))
    _, notes = written(picture, "webp")
    assert notes == (
        "levels of a mastering display (mDCV, cLLI), which only PNG holds: left out",
        "the colors are labeled cICP 9/16/0/1, which only PNG and AVIF hold: left out",
    )


def test_chromaticities_alone_are_noted() -> None:
    wide = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
    _, notes = written(decode(plain((b"cHRM", wide))), "webp")
    assert notes == ("chromaticities without a gamma (cHRM), which only PNG holds: left out",)
    _, notes = written(decode(plain((b"cHRM", ANCILLARY[b"cHRM"]))), "webp")
    assert notes == ()


# --- animation chunks

CONTROL = struct.pack(">5I2H2B", 0, 13, 11, 0, 0, 1, 10, 0, 0)


@pytest.mark.parametrize("announced", [0, 1, 3])
@pytest.mark.parametrize("control", [False, True])
def test_an_animation_without_frames_is_a_still(announced: int, control: bool) -> None:
    chunks: tuple[Chunk, ...] = ((b"acTL", struct.pack(">II", announced, 0)),)
    data = plain(*chunks, *(((b"fcTL", CONTROL),) if control else ()))
    assert open_animation(io.BytesIO(data), "in", max_pixels=10**6) is None
    np.testing.assert_array_equal(decode(data).color, drawn(2, 8))
    # Another control chunk without pixels is no frame.
    second = (b"fcTL", struct.pack(">I", 1) + CONTROL[4:])
    data = plain(*chunks, (b"fcTL", CONTROL), after=(second,))
    assert open_animation(io.BytesIO(data), "in", max_pixels=10**6) is None
    np.testing.assert_array_equal(decode(data).color, drawn(2, 8))


def test_a_damaged_announcement_is_a_still() -> None:
    for body, wrong in ((b"\0\0\0\2\0\0\0\0", True), (b"\0\0\0\2\0\0\0", False)):
        data = plain()
        data = data[:33] + chunk(b"acTL", body, wrong=wrong) + data[33:]
        assert open_animation(io.BytesIO(data), "in", max_pixels=10**6) is None
        assert decode(data).source.notes == ("damaged chunks of PNG left out: acTL",)


def test_frames_are_counted() -> None:
    frame = b"\0\0\0\1" + zlib.compress(packed(drawn(2, 8), 8))
    control = (b"fcTL", CONTROL)
    data = plain((b"acTL", struct.pack(">II", 9, 0)), after=(control, (b"fdAT", frame)))
    with pytest.raises(DecodeError, match="is an animation of 1 frame, not one picture"):
        decode(data)


@pytest.mark.parametrize("format", ["avif", "webp", "png", "gif"])
def test_a_single_frame_behind_another_picture(tmp_path: Path, format: str) -> None:
    frame = b"\0\0\0\1" + zlib.compress(packed(np.full((11, 13, 3), 77), 8))
    data = plain((b"acTL", struct.pack(">II", 1, 0)), after=((b"fcTL", CONTROL), (b"fdAT", frame)))
    (tmp_path / "in.png").write_bytes(data)
    result = upscale_file(
        tmp_path / "in.png", tmp_path / f"out.{format}", scale=1, noise=None, model="upconv_7"
    )
    assert "1 frame" in result.notes
    with Image.open(tmp_path / f"out.{format}") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert abs(pixels - 77).max() < 3


def two_frames(*before: Chunk, wrong: Chunk = (b"", b"")) -> bytes:
    """An animation of `plain` and its mirror."""
    frame = b"\0\0\0\2" + zlib.compress(packed(drawn(2, 8)[:, ::-1], 8))
    second = (b"fcTL", struct.pack(">I", 1) + CONTROL[4:])
    head = ((b"acTL", struct.pack(">II", 2, 0)), *before, (b"fcTL", CONTROL))
    data = plain(*head, after=(second, (b"fdAT", frame)))
    return data[:33] + (chunk(*wrong, wrong=True) if wrong[0] else b"") + data[33:]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        *((b"pHYs", bytes(9)), (b"gAMA", bytes(4)), (b"cHRM", bytes(32)), (b"sRGB", b"\0")),
        *((b"iCCP", b"x\0\0x"), (b"tEXt", b"A\0b"), (b"tRNS", bytes(6)), (b"zzZz", b"")),
    ],
)
def test_no_ancillary_chunk_ruins_an_animation(kind: bytes, body: bytes) -> None:
    files = [two_frames(wrong=(kind, body))]
    if kind in (b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"iCCP"):
        files.append(two_frames((kind, body[:-1])))
    for data in files:
        animation = open_animation(io.BytesIO(data), "in", max_pixels=10**6)
        assert animation is not None
        assert animation.source.notes == (f"damaged chunks of PNG left out: {kind.decode()}",)
        first, second = (frame.picture.color for frame in animation.play())
        np.testing.assert_array_equal(first, drawn(2, 8))
        np.testing.assert_array_equal(second, drawn(2, 8)[:, ::-1])


def test_the_orientation_of_an_animation_may_be_in_a_text() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    block = exif.tobytes()
    text = f"Raw profile type exif\0\nexif\n{len(block):8}\n{block.hex()}\n".encode()
    animation = open_animation(io.BytesIO(two_frames((b"tEXt", text))), "in", max_pixels=10**6)
    assert animation is not None
    first = next(iter(animation.play())).picture
    np.testing.assert_array_equal(first.color, drawn(2, 8)[::-1, ::-1])


@pytest.mark.parametrize("cut", [4, 8, 12])
def test_an_animation_without_its_end_is_whole(cut: int) -> None:
    animation = open_animation(io.BytesIO(two_frames()[:-cut]), "in", max_pixels=10**6)
    assert animation is not None
    notes = () if cut == 4 else ("the file ends without IEND, after all pixels",)
    assert animation.source.notes == notes
    frames = [frame.picture.color for frame in animation.play()]
    np.testing.assert_array_equal(frames[1], drawn(2, 8)[:, ::-1])
    assert len(frames) == 2


def test_an_animation_without_its_last_frames_is_truncated() -> None:
    data = two_frames()
    data = data[:33] + chunk(b"acTL", struct.pack(">II", 3, 0)) + data[53:]
    assert open_animation(io.BytesIO(data), "in", max_pixels=10**6) is not None
    for cut in (12, 13, 20):
        with pytest.raises(DecodeError, match="truncated: the file ends in frame 2"):
            open_animation(io.BytesIO(data[:-cut]), "in", max_pixels=10**6)


def test_texts_behind_the_frames_are_kept() -> None:
    frame = b"\0\0\0\2" + zlib.compress(packed(drawn(2, 8), 8))
    second = (b"fcTL", struct.pack(">I", 1) + CONTROL[4:])
    text = (b"tEXt", b"Title\0text"), (b"oFFs", bytes(9))
    data = plain(
        (b"acTL", struct.pack(">II", 2, 0)),
        (b"sCAL", b"x"),
        (b"fcTL", CONTROL),
        after=(second, (b"fdAT", frame), *text),
    )
    animation = open_animation(io.BytesIO(data), "in", max_pixels=10**6)
    assert animation is not None
    assert animation.metadata.text == (("Title", "text"),)
    assert animation.source.notes == ("chunks of PNG left out: sCAL",)
