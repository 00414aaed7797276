"""Metadata: XMP, PNG chunks, JPEG XL, and the limits on their size."""

import io
import struct
import sys
import zlib

import numpy as np
import pytest
from helpers.art import anime_face
from helpers.decoding import decode
from PIL import Image, PngImagePlugin

from waifu2x import codec
from waifu2x.codec import jxl_header
from waifu2x.codec.xmp import reset_orientation
from waifu2x.errors import DecodeError, LimitError, MissingExtraError
from waifu2x.picture import Source

ATTRIBUTE = b'<x:xmpmeta xmlns:tiff="t"><r tiff:Orientation="6" dc:title="t"/></x:xmpmeta>'
ELEMENT = b"<x:xmpmeta><tiff:Orientation>6</tiff:Orientation></x:xmpmeta>"


def drawing(width=24, height=16):
    return Image.fromarray(np.asarray(anime_face(width, height))[:, :, :3])


def saved(format, image=None, **options):
    buffer = io.BytesIO()
    (image or drawing()).save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks):
    """A drawn PNG with ``chunks`` after its header."""
    data = saved("PNG")
    return data[:33] + b"".join(chunk(kind, body) for kind, body in chunks) + data[33:]


def itxt(keyword, body, *, packed=False):
    text = zlib.compress(body) if packed else body
    return b"iTXt", keyword + b"\0" + bytes([packed, 0]) + b"\0\0" + text


# --- XMP


@pytest.mark.parametrize("packet", [ATTRIBUTE, ELEMENT])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF"])
def test_xmp_is_kept_and_turns_no_picture(format, packet):
    """As in browsers and libvips; the result has no orientation that others could apply."""
    if format == "PNG":
        data = png(itxt(b"XML:com.adobe.xmp", packet, packed=True))
    elif format == "TIFF":
        data = saved(format, tiffinfo={700: packet})
    else:
        data = saved(format, xmp=packet)
    picture = decode(data)
    np.testing.assert_array_equal(picture.color, decode(saved(format)).color)
    assert picture.metadata.xmp == reset_orientation(packet)
    assert picture.metadata.exif is None
    with Image.open(io.BytesIO(data)) as image:
        again = codec.from_image(image)
    if format != "TIFF":  # Pillow itself turns a TIFF by XMP
        np.testing.assert_array_equal(again.color, picture.color)
        assert again.metadata.exif is None


def test_exif_turns_the_picture_and_resets_both():
    exif = Image.Exif()
    exif[0x0112] = 3
    picture = decode(saved("JPEG", exif=exif, xmp=ATTRIBUTE))
    assert picture.width == 24
    np.testing.assert_array_equal(picture.color, decode(saved("JPEG")).color[::-1, ::-1])
    assert picture.metadata.xmp == reset_orientation(ATTRIBUTE)


def test_resetting_the_orientation_of_a_packet():
    assert b'Orientation="1"' in reset_orientation(ATTRIBUTE)
    assert b">1</tiff:Orientation>" in reset_orientation(ELEMENT)
    assert reset_orientation(b"<a tiff:Orientation='8'/>") == b"<a tiff:Orientation='1'/>"
    hostile = b"<tiff:Orientation " * 200_000
    assert reset_orientation(hostile) == hostile


# --- PNG


def test_png_color_chunks():
    places = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
    metadata = decode(
        png(
            (b"gAMA", struct.pack(">I", 45455)),
            (b"cHRM", struct.pack(">8I", *places)),
            (b"sRGB", b"\1"),
            (b"cICP", bytes([9, 16, 0, 1])),
        )
    ).metadata
    assert metadata.gamma == 0.45455
    assert metadata.chromaticities == tuple(value / 100_000 for value in places)
    assert metadata.rendering_intent == 1
    assert metadata.cicp == (9, 16, 0, 1)


def test_broken_color_chunks_are_left_out():
    metadata = decode(
        png((b"gAMA", b"\0" * 4), (b"cHRM", b"\0" * 32), (b"sRGB", b"\7"), (b"cICP", b"abc"))
    ).metadata
    assert metadata == decode(saved("PNG")).metadata
    data = png((b"gAMA", struct.pack(">I", 45455)))
    at = data.index(b"gAMA") + 8
    assert decode(data[:at] + b"rong" + data[at + 4 :]).metadata.gamma is None


def test_png_texts_in_order():
    texts = png(
        (b"tEXt", b"Software\0caf\xe9"),
        (b"zTXt", b"parameters\0\0" + zlib.compress(b"steps: 20")),
        itxt(b"Title", "絵".encode()),
        itxt(b"Comment", "絵".encode() * 9, packed=True),
    )
    assert decode(texts).metadata.text == (
        ("Software", "café"),
        ("parameters", "steps: 20"),
        ("Title", "絵"),
        ("Comment", "絵" * 9),
    )


def test_oversized_and_broken_texts_are_left_out_and_the_picture_is_read():
    bomb = zlib.compress(bytes(80_000_000), 9)
    plain = decode(saved("PNG"))
    hostile = [
        (b"zTXt", b"bomb\0\0" + bomb),
        (b"iTXt", b"bomb\0\1\0\0\0" + bomb),
        itxt(b"XML:com.adobe.xmp", bytes(80_000_000), packed=True),
        (b"iCCP", b"bomb\0\0" + bomb),
        (b"zTXt", b"kind\0\7rubbish"),
        (b"tEXt", b"no separator"),
        (b"tEXt", b"\0no keyword"),
        (b"iTXt", b"short\0"),
        (b"iTXt", b"flag\0\5\0\0\0x"),
        (b"iCCP", b"broken\0\0xxxx"),
        (b"iCCP", b"kind\0\7xxxx"),
        (b"tEXt", b"large\0" + bytes(1 << 20) + b"x"),
    ]
    for one in hostile:
        picture = decode(png((b"tEXt", b"a\0kept"), one, (b"gAMA", struct.pack(">I", 45455))))
        np.testing.assert_array_equal(picture.color, plain.color)
        assert picture.metadata.text == (("a", "kept"),), one[:1]
        assert picture.metadata.gamma == 0.45455
        assert picture.metadata.icc is None
    many = [(b"tEXt", b"%d\0" % number + b"x" * (1 << 20)) for number in range(20)]
    assert len(decode(png(*many)).metadata.text) == 8


def test_exif_in_a_text():
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Maker"
    digits = exif.tobytes().hex()
    body = f"\nexif\n{len(digits) // 2:8}\n{digits}\n".encode()
    picture = decode(png((b"tEXt", b"Raw profile type exif\0" + body)))
    assert picture.width == 16
    parsed = Image.Exif()
    parsed.load(picture.metadata.exif)
    assert parsed[0x010F] == "Maker"
    assert picture.metadata.text == ()


def test_a_pillow_image_gives_the_same_fields():
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "steps: 20")
    data = saved("PNG", pnginfo=info)
    data = data[:33] + chunk(b"gAMA", struct.pack(">I", 45455)) + data[33:]
    with Image.open(io.BytesIO(data)) as image:
        metadata = codec.from_image(image).metadata
    assert metadata == decode(data).metadata
    assert metadata.text == (("parameters", "steps: 20"),)


# --- JPEG XL


def test_jpeg_xl():
    pytest.importorskip("pillow_jxl")
    exif = Image.Exif()
    exif[0x0112] = 6  # ignored: the orientation in the codestream applies
    exif[0x010F] = "Maker"
    data = saved("JXL", lossless=True, exif=exif.tobytes(), xmp=ATTRIBUTE)
    picture = decode(data)
    np.testing.assert_array_equal(picture.color, np.asarray(drawing()))
    assert picture.metadata.xmp == reset_orientation(ATTRIBUTE)
    assert picture.metadata.icc is None
    parsed = Image.Exif()
    parsed.load(picture.metadata.exif)
    assert parsed[0x010F] == "Maker"
    assert parsed[0x0112] == 1
    assert picture.source == Source("JXL", False)
    for image in (drawing(), drawing().convert("RGBA"), drawing().convert("L")):
        for lossless in (True, False):
            source = decode(saved("JXL", image, lossless=lossless, quality=80)).source
            assert source == Source("JXL", not lossless)
    with pytest.raises(LimitError, match="24x16"):
        decode(data, max_pixels=383)
    for cut in (3, 20, len(data) // 2):
        with pytest.raises(DecodeError):
            decode(data[:cut])
    packed = saved("JXL", xmp=ATTRIBUTE * 20, compress_metadata=True)
    assert decode(packed).metadata.xmp == reset_orientation(ATTRIBUTE * 20)


def test_a_huge_jpeg_xl_is_refused_by_its_header():
    # Not small, 30 bits of height, square: a header of a few bytes declares 10 gigapixels.
    bits = 0 | 3 << 1 | (99_999 << 3) | 1 << 33
    data = b"\xff\x0a" + bits.to_bytes(64, "little")
    assert jxl_header.read_header(io.BytesIO(data)).width == 100_000
    with pytest.raises(LimitError, match="100000x100000"):
        decode(data)


def test_jpeg_xl_without_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    small = b"\xff\x0a" + (1 | 1 << 6 | 1 << 9).to_bytes(64, "little")
    with pytest.raises(MissingExtraError, match=r"run `pip install pillow-jxl-plugin`$"):
        decode(small)


# --- sizes and work in other headers


def test_a_jpeg_of_thousands_of_scans_is_refused():
    data = saved("JPEG", progressive=True)
    assert decode(data).width == 24
    scan = data.rindex(b"\xff\xda")
    bomb = data[:scan] + (data[scan:-2] * 1000) + data[-2:]
    with pytest.raises(DecodeError, match="more than 100 scans"):
        decode(bomb)
    # Data after the picture is ignored: phones append a video.
    assert decode(data + b"\xff\xda\0\2" * 1000).width == 24


def test_an_icon_with_a_huge_picture_inside():
    inner = b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", 12000, 12000, 8, 6, 0, 0, 0)
    )
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22)
    with pytest.raises(LimitError, match="12000x12000"):
        decode(b"\0\0\1\0\1\0" + entry + inner, max_pixels=1_000_000)
    bitmap = struct.pack("<IiiHHI", 40, 9000, 18000, 1, 32, 0) + bytes(20)
    with pytest.raises(LimitError, match="9000x9000"):
        decode(b"\0\0\1\0\1\0" + entry + bitmap, max_pixels=1_000_000)


def test_jpeg2000_of_too_many_tiles():
    data = bytearray(saved("JPEG2000", no_jp2=True))
    at = data.index(b"\xff\x4f\xff\x51") + 8
    struct.pack_into(">II", data, at, 200, 300)
    struct.pack_into(">II", data, at + 16, 1, 1)
    with pytest.raises(DecodeError, match="60000 tiles"):
        decode(bytes(data))


def test_a_tiff_keeps_its_iptc(tmp_path):
    tags = Image.Exif()
    tags[0x83BB] = b"\x1c\x02\x05\x00\x05title"
    tags[0x013B] = "Artist"
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "TIFF", exif=tags)
    parsed = Image.Exif()
    parsed.load(decode(buffer.getvalue()).metadata.exif)
    assert parsed[0x83BB] == tags[0x83BB]
    assert parsed[0x013B] == "Artist"
