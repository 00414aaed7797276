"""JPEG: every process and depth, its labels, what follows it, and a missing end."""

from __future__ import annotations

import base64
import io
import struct
from typing import Any

import imagecodecs
import numpy as np
import pytest
from helpers.art import anime_face
from helpers.decoding import decode, written
from PIL import Image

from waifu2x import codec
from waifu2x.codec import color, header
from waifu2x.codec.jpeg_header import read_header
from waifu2x.codec.xmp import without_promises
from waifu2x.errors import DecodeError, LimitError
from waifu2x.picture import Picture

WIDTH, HEIGHT = 40, 24
DRAWN = np.asarray(anime_face(WIDTH, HEIGHT))[:, :, :3].copy()
ENDLESS = ("the file ends without its end marker, and all pixels are there",)


def saved(pixels: Any = DRAWN, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **{"quality": 95, "subsampling": 0, **options})
    return buffer.getvalue()


def opened(data: bytes) -> Any:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body


def with_segments(*segments: tuple[int, bytes], data: bytes = b"") -> bytes:
    """A JPEG with these segments after its first two bytes."""
    data = data or saved()
    return data[:2] + b"".join(segment(*each) for each in segments) + data[2:]


# --- processes and depths


@pytest.mark.parametrize("channels", [1, 3])
def test_12_bits(channels: int) -> None:
    ramp = np.add.outer(np.arange(20), np.arange(30)) * 80
    pixels = np.dstack([ramp, ramp // 2, 4000 - ramp][:channels]).astype(np.uint16)
    data = imagecodecs.jpeg8_encode(np.squeeze(pixels), 100, bitspersample=12, subsampling="444")
    picture = decode(data)
    assert picture.color.dtype == np.uint16
    expected = pixels << 4 | pixels >> 8
    assert np.abs(picture.color.astype(int) - expected).max() < 200
    assert picture.source.format == "JPEG"
    assert picture.source.lossy
    assert not picture.source.reduced


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", range(2, 17))
def test_lossless(bits: int, channels: int) -> None:
    most = (1 << bits) - 1
    ramp = np.add.outer(np.arange(20), np.arange(30)) * most // 48
    dtype = np.uint8 if bits <= 8 else np.uint16
    pixels = np.dstack([ramp, ramp // 2, most - ramp][:channels]).astype(dtype)
    data = imagecodecs.jpeg8_encode(np.squeeze(pixels), lossless=True, bitspersample=bits)
    picture = decode(data)
    full = 255 if bits <= 8 else 65535
    assert picture.color.dtype == dtype
    error = np.abs(picture.color.astype(float) - pixels.astype(float) * full / most)
    assert error.max() <= (0.5 if bits <= 8 else 1)
    assert picture.source.lossy is False
    assert picture.source.jpeg_quality is None


ARITHMETIC = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAYEBQYFBAYGBQYHBwYIChAKCgkJChQODwwQFxQYGBcUFhYaHSUfGhsjHBYWIC"
    "wgIyYnKSopGR8tMC0oMCUoKSj/yQALCAAJAAwBAREA/8wABgAQEAX/2gAIAQEAAD8A/wBorV9SHilDk8cdMtZv9tLs6JKt"
    "g/RKoa9zoP/Z"
)
PROGRESSIVE_ARITHMETIC = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAYEBQYFBAYGBQYHBwYIChAKCgkJChQODwwQFxQYGBcUFhYaHSUfGhsjHBYWIC"
    "wgIyYnKSopGR8tMC0oMCUoKSj/2wBDAQcHBwoIChMKChMoGhYaKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgo"
    "KCgoKCgoKCgoKCgoKCgoKCj/ygARCAAJAAwDASIAAhEBAxEB/8wABgAQARD/2gAMAwEAAhADEAAAAej9F6EH4P/MAAQQBf"
    "/aAAgBAQABBQJK+ESM/8wABBEF/9oACAEDAQE/ARX1lbRLQP/MAAQRBf/aAAgBAgEBPwEVU5UGiP/MAAQQBf/aAAgBAQAG"
    "PwLA/8wABBAF/9oACAEBAAE/IUxD62D/2gAMAwEAAgADAAAAEMD/zAAEEQX/2gAIAQMBAT8QTHD/zAAEEQX/2gAIAQIBAT"
    "8QeYD/zAAEEAX/2gAIAQEAAT8QJKMg5f/Z"
)


def test_arithmetic_coding() -> None:
    ramp = np.clip(np.add.outer(np.arange(9) * 20, np.arange(12) * 8), 0, 255)
    gray = decode(base64.b64decode(ARITHMETIC))
    assert np.abs(gray.color[:, :, 0].astype(int) - ramp).max() < 12
    rgb = decode(base64.b64decode(PROGRESSIVE_ARITHMETIC))
    truth = np.dstack([ramp, 255 - ramp, ramp // 2])
    assert np.abs(rgb.color.astype(int) - truth).mean() < 6


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        *((kind, "hierarchical") for kind in (0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF)),
        (0xCB, "lossless and arithmetic"),
        (0xF7, "JPEG-LS"),
    ],
)
def test_a_process_that_is_not_read_is_named(marker: int, words: str) -> None:
    data = saved().replace(b"\xff\xc0", bytes([0xFF, marker]), 1)
    with pytest.raises(DecodeError, match=rf"is a {words} JPEG, which is not supported; save it"):
        decode(data)


@pytest.mark.parametrize(
    "marker",
    [b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0", b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\1"],
)
def test_lossless_samples_of_ycbcr_are_named(marker: bytes) -> None:
    pixels = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    data = imagecodecs.jpeg8_encode(pixels, lossless=True)
    data = data.replace(b"Adobe", b"adobe")  # the encoder's own marker is that of RGB
    assert decode(data).color.tolist() == pixels.tolist()
    with pytest.raises(DecodeError, match="is a lossless YCbCr JPEG, which is not supported"):
        decode(data[:2] + marker + data[2:])
    gray = imagecodecs.jpeg8_encode(pixels[:, :, 0].copy(), lossless=True)
    assert decode(gray[:2] + marker + gray[2:]).color.shape == (16, 16, 1)


def test_layouts_that_are_not_read_are_named() -> None:
    ramp = (np.add.outer(np.arange(20), np.arange(30)) * 4).astype(np.uint8)
    two = imagecodecs.jpeg8_encode(np.dstack([ramp, ramp]), 95)
    with pytest.raises(DecodeError, match="is a 2-component JPEG, which is not supported"):
        decode(two)
    four = imagecodecs.jpeg8_encode(
        np.dstack([ramp] * 4).astype(np.uint16) << 4, 95, bitspersample=12
    )
    with pytest.raises(DecodeError, match="is a 12-bit CMYK JPEG, which is not supported"):
        decode(four)


def inks() -> Any:
    levels = np.zeros((16, 24, 4), np.uint8)
    levels[:, :8, 0] = 255  # cyan
    levels[:, 8:16, 1] = 128  # half magenta
    levels[:, 16:, 3] = 100
    return levels


def assert_inks(picture: Picture) -> None:
    for x, expected in ((3, (0, 255, 255)), (12, (255, 127, 255)), (20, (155, 155, 155))):
        assert np.abs(picture.color[8, x].astype(int) - expected).max() < 6
    assert picture.source.converted == "CMYK"


@pytest.mark.parametrize("transform", [0, 2])
def test_four_components_are_inverted_inks(transform: int) -> None:
    if transform == 0:
        buffer = io.BytesIO()
        Image.fromarray(inks(), "CMYK").save(buffer, "JPEG", quality=100, subsampling=0)
        data = buffer.getvalue()
    else:  # YCCK: of the inks, and the inverted black
        y = np.asarray(Image.fromarray(inks()[:, :, :3].copy()).convert("YCbCr"))
        planes = np.dstack([y, 255 - inks()[:, :, 3]])
        data = imagecodecs.jpeg8_encode(planes, 100, subsampling="444")
        data = with_segments((0xEE, b"Adobe\0d\0\0\0\0\2"), data=data)
    assert data.count(b"Adobe\0d\0\0\0\0" + bytes([transform])) == 1
    picture = decode(data)
    assert_inks(picture)
    assert picture.source.notes == ()
    if transform == 0:
        plain = decode(data.replace(b"Adobe", b"Adoba"))
        np.testing.assert_array_equal(plain.color, picture.color)
        assert plain.source.notes == (
            "CMYK without an Adobe marker, read as inverted, as by browsers",
        )


def test_rgb_without_a_transform() -> None:
    data = imagecodecs.jpeg8_encode(DRAWN, 100, colorspace="RGB", outcolorspace="RGB")
    assert b"Adobe\0d\0\0\0\0\0" in data
    assert np.abs(decode(data).color.astype(int) - DRAWN).max() < 8
    # Without any marker, the names of the components count.
    named = data.replace(b"Adobe", b"Adoba")
    frame = named.index(b"\xff\xc0")
    assert named[frame + 10 : frame + 19 : 3] == b"RGB"
    np.testing.assert_array_equal(decode(named).color, decode(data).color)


def test_the_height_may_follow_the_pixels() -> None:
    data = saved()
    frame = data.index(b"\xff\xc0")
    moved = data[: frame + 5] + b"\0\0" + data[frame + 7 :]
    moved = moved[:-2] + segment(0xDC, struct.pack(">H", HEIGHT)) + b"\xff\xd9"
    np.testing.assert_array_equal(decode(moved).color, decode(data).color)
    with pytest.raises(LimitError, match="40x24"):
        codec.decode(io.BytesIO(moved), max_pixels=100)


def test_stray_data_and_fill_bytes_between_markers() -> None:
    data = saved(exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0")
    table = data.index(b"\xff\xdb")
    np.testing.assert_array_equal(
        decode(data[:table] + b"\xff\xff\xff" + data[table:]).color, decode(data).color
    )


# --- labels


def test_comments_and_iptc_are_kept_or_noted() -> None:
    iptc = b"\x1c\x02\x19\x00\x04miku\x1c\x02\x05\x00\x03a\xe9b"
    resources = (
        b"8BIM\x03\xed\0\0" + struct.pack(">I", 16) + bytes(16)
        + b"8BIM\x04\x04\x04name\0" + struct.pack(">I", len(iptc)) + iptc
    )  # fmt: skip
    half = len(resources) // 2
    data = with_segments(
        (0xED, b"Photoshop 3.0\0" + resources[:half]),
        (0xED, b"Photoshop 3.0\0" + resources[half:]),
        (0xFE, b"a comment\0"),
        (0xFE, "二".encode()),
        (0xFE, b"caf\xe9"),
    )
    picture = decode(data)
    assert picture.source.notes == ()
    assert picture.metadata.iptc == iptc
    texts = ("a comment", "二", "café")
    assert picture.metadata.text == tuple(("Comment", text) for text in texts)
    again, notes = written(picture, "jpeg")
    assert notes == ()
    assert decode(again).metadata == picture.metadata
    with Image.open(io.BytesIO(again)) as image:
        assert image.info["photoshop"][0x0404] == iptc
        assert [body for name, body in image.applist if name == "COM"] == [
            text.encode() for text in texts
        ]
    tiff, notes = written(picture, "tiff")
    assert notes == ("TIFF holds no comments: left out",)
    with Image.open(io.BytesIO(tiff)) as image:
        assert bytes(image.tag_v2[33723]) == iptc
    png, notes = written(picture, "png")
    assert notes == ("PNG holds no IPTC: left out",)
    assert decode(png).metadata.text == picture.metadata.text
    for name in ("webp", "avif", "bmp"):
        _, notes = written(picture, name)
        label = codec.resolve_format(None, name).label
        assert notes == (
            f"{label} holds no IPTC: left out",
            f"{label} holds no comments: left out",
        )


def test_a_clipping_path_is_noted() -> None:
    path = b"8BIM\x07\xd0\x02ab\0" + struct.pack(">I", 26) + bytes(26)
    picture = decode(with_segments((0xED, b"Photoshop 3.0\0" + path)))
    assert picture.source.notes == ("clipping paths: left out",)


def test_a_profile_in_parts_anywhere_before_the_pixels() -> None:
    icc = color.matrix_profile(color.DISPLAY_P3)
    parts = [(0xE2, b"ICC_PROFILE\0\2\2" + icc[300:]), (0xE2, b"ICC_PROFILE\0\1\2" + icc[:300])]
    assert decode(with_segments(*parts)).metadata.icc == icc
    data = saved()
    scan = data.index(b"\xff\xda")
    late = data[:scan] + b"".join(segment(*part) for part in parts) + data[scan:]
    assert decode(late).metadata.icc == icc
    incomplete = decode(with_segments(parts[0]))
    assert incomplete.metadata.icc is None
    assert incomplete.source.notes == ("a color profile of which parts are missing: left out",)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "AVIF"])
def test_a_profile_of_other_samples_is_noted(format: str) -> None:
    buffer = io.BytesIO()
    gray = Image.fromarray(DRAWN[:, :, 0].copy())
    gray.save(buffer, format, icc_profile=color.matrix_profile(color.DISPLAY_P3))
    picture = decode(buffer.getvalue())
    assert picture.metadata.icc is None
    note = "the color profile is for RGB and does not fit: left out"
    assert picture.source.notes == (note,)


# --- gain maps and other parts of the file

XAP = b"http://ns.adobe.com/xap/1.0/\0"
GAIN_MAP = ("the gain map (HDR): left out",)
RDF = b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
KEPT = b'<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="drawn">'


def packet(attributes: bytes, children: bytes = b"") -> bytes:
    """An XMP packet with a property that has to stay."""
    return (
        b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF ' + RDF + b">"
        + KEPT[:-1] + attributes + b">" + children + b"</rdf:Description></rdf:RDF></x:xmpmeta>"
        b'<?xpacket end="w"?>'
    )  # fmt: skip


DIRECTORY = (
    b'<%s:Directory><rdf:Seq><rdf:li rdf:parseType="Resource"><%s:Item I:Semantic="Primary"/>'
    b'</rdf:li><rdf:li rdf:parseType="Resource"><%s:Item I:Semantic="%s" I:Length="9">'
    b"</%s:Item></rdf:li></rdf:Seq></%s:Directory>"
)
HDRGM = b' xmlns:%s="http://ns.adobe.com/hdr-gain-map/1.0/"'
CONTAINER = (
    b' xmlns:%s="http://ns.google.com/photos/1.0/container/"'
    b' xmlns:I="http://ns.google.com/photos/1.0/container/item/"'
)


def directory(prefix: bytes, semantic: bytes) -> bytes:
    return DIRECTORY % (prefix, prefix, prefix, semantic, prefix, prefix)


PROMISES = {
    "attribute": packet(HDRGM % b"hdrgm" + b' hdrgm:Version="1.0"'),
    "another prefix": packet(HDRGM % b"g" + b" g:Version = '1.0'"),
    "element": packet(HDRGM % b"h", b"<h:Version>1.0</h:Version>"),
    "empty element": packet(b"", b"<h:Version" + HDRGM % b"h" + b"/>"),
    "container": packet(CONTAINER % b"C", directory(b"C", b"GainMap")),
    "both": packet(
        HDRGM % b"hdrgm" + CONTAINER % b"Container" + b' hdrgm:Version="1.0"',
        directory(b"Container", b"GainMap"),
    ),
    "apple": packet(b' xmlns:H="http://ns.apple.com/HDRGainMap/1.0/" H:HDRGainMapVersion="65536"'),
}


@pytest.mark.parametrize("case", PROMISES)
def test_xmp_no_longer_promises_a_gain_map(case: str) -> None:
    picture = decode(with_segments((0xE1, XAP + PROMISES[case])))
    assert picture.source.notes == GAIN_MAP
    kept = picture.metadata.xmp
    assert kept is not None
    for word in (b"gain-map", b"GainMap", b"Container", b"container", b"Version"):
        assert word not in kept
    empty = packet(b"")
    assert kept == empty
    for name in ("jpeg", "png", "webp", "avif", "tiff"):
        data, notes = written(picture, name)
        assert notes == ()
        assert decode(data).metadata.xmp == empty


def test_xmp_without_promises_stays_byte_for_byte() -> None:
    for xmp in (
        packet(b' xmlns:a="http://ns.google.com/photos/1.0/camera/" a:BurstID="7"'),
        packet(b' xmlns:n="http://ns.adobe.com/xmp/note/" n:Other="7"'),
        b"no XML <at all",
        packet(b"", b"<a:b xmlns:a='http://ns.adobe.com/hdr-gain-map/2.0/'/>"),
    ):
        picture = decode(with_segments((0xE1, XAP + xmp)))
        assert picture.source.notes == ()
        assert picture.metadata.xmp == xmp
    # Promises and damage: nothing is cut out of what cannot be parsed.
    broken = PROMISES["attribute"].replace(b"</rdf:RDF>", b"")
    assert decode(with_segments((0xE1, XAP + broken))).metadata.xmp == broken
    bomb = b'<!DOCTYPE a [<!ENTITY b "ccc">]>' + PROMISES["attribute"]
    assert decode(with_segments((0xE1, XAP + bomb))).metadata.xmp == bomb


def multi_picture(order: str, types: list[int], data: bytes, others: list[bytes]) -> bytes:
    """``data`` and further pictures behind it, with a directory of multi-picture format."""
    pack = lambda codes, *values: struct.pack(order + codes, *values)  # noqa: E731
    entries = b"".join(pack("IIIHH", kind, 9, 9, 0, 0) for kind in types)
    start = b"II*\0" if order == "<" else b"MM\0*"
    fields = pack("HHI", 0xB000, 7, 4) + b"0100" + pack("HHII", 0xB001, 4, 1, len(types))
    fields += pack("HHII", 0xB002, 7, len(entries), 8 + 2 + 36 + 4)
    body = b"MPF\0" + start + pack("IH", 8, 3) + fields + pack("I", 0) + entries
    return with_segments((0xE2, body), data=data) + b"".join(others)


@pytest.mark.parametrize("order", ["<", ">"])
def test_pictures_behind_the_first_are_noted(order: str) -> None:
    data, small = saved(), saved(DRAWN[::2, ::2].copy())
    preview = multi_picture(order, [0x030000, 0x010001], data, [small])
    picture = decode(preview)
    np.testing.assert_array_equal(picture.color, decode(data).color)
    assert picture.source.notes == ("other pictures in the file: left out (1)",)
    mapped = with_segments((0xE1, XAP + PROMISES["attribute"]), data=small)
    gain_map = multi_picture(order, [0x030000, 0], data, [mapped])
    assert decode(gain_map).source.notes == GAIN_MAP
    iso = with_segments((0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0"), data=small)
    assert decode(multi_picture(order, [0x030000, 0], data, [iso])).source.notes == GAIN_MAP
    both = multi_picture(order, [0x030000, 0, 0x010001], data, [iso, small])
    assert decode(both).source.notes == (*GAIN_MAP, "other pictures in the file: left out (1)")
    # Without a directory.
    assert decode(data + mapped).source.notes == GAIN_MAP
    assert decode(data + bytes(30) + small).source.notes == (
        "other pictures in the file: left out (1)",
    )
    assert decode(data + bytes(30)).source.notes == ()


def test_the_iso_label_alone_is_a_gain_map() -> None:
    data = with_segments((0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0"))
    assert decode(data).source.notes == GAIN_MAP


def test_videos_depth_maps_and_extended_xmp_are_noted() -> None:
    data = saved()
    video = ("the video (motion photo): left out",)
    assert decode(data + b"\0\0\0\x18ftypmp42").source.notes == video
    camera = b' xmlns:G="http://ns.google.com/photos/1.0/camera/" G:MotionPhoto="1" G:BurstID="7"'
    motion = packet(camera + CONTAINER % b"C", directory(b"C", b"MotionPhoto"))
    picture = decode(with_segments((0xE1, XAP + motion), data=data))
    assert picture.source.notes == video
    assert picture.metadata.xmp == packet(camera.replace(b' G:MotionPhoto="1"', b""))
    depth = packet(b' xmlns:D="http://ns.google.com/photos/1.0/depthmap/" D:Format="RangeLinear"')
    picture = decode(with_segments((0xE1, XAP + depth), data=data))
    assert picture.source.notes == ("the depth map: left out",)
    assert picture.metadata.xmp == packet(b"")
    guid = b"0123456789ABCDEF0123456789ABCDEF"
    note = b' xmlns:n="http://ns.adobe.com/xmp/note/"'
    main = packet(note + b' n:HasExtendedXMP="' + guid + b'"')
    more = b"http://ns.adobe.com/xmp/extension/\0" + guid + bytes(8) + b"<more/>"
    picture = decode(with_segments((0xE1, XAP + main), (0xE1, more), data=data))
    assert picture.source.notes == ("the extended XMP: left out",)
    assert picture.metadata.xmp == packet(note)


# --- a missing end marker


VARIANTS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "halved chroma": {"subsampling": 2},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 3},
    "progressive with restarts": {"progressive": True, "restart_marker_rows": 1},
}


def endless(variant: str, pixels: Any = DRAWN) -> tuple[bytes, Any]:
    """A JPEG without its end marker, and its pixels."""
    data = saved(pixels, **VARIANTS[variant])
    assert data[-2:] == b"\xff\xd9"
    return data[:-2], opened(data)


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_missing_end_marker_is_noted(variant: str, gray: bool) -> None:
    data, pixels = endless(variant, DRAWN[:, :, 0].copy() if gray else DRAWN)
    assert decode(data + b"\xff\xd9").source.notes == ()
    for tail in (b"", b"\xff", b"\0" * 100):
        picture = decode(data + tail)
        assert picture.source.notes == ENDLESS
        np.testing.assert_array_equal(np.squeeze(picture.color), pixels)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_truncated_jpeg_stays_refused(variant: str) -> None:
    """What is accepted lacks padding, or blocks outside the picture: all pixels are right."""
    data, pixels = endless(variant)
    first = data.index(b"\xff\xda") + 12
    cuts = {*range(first, len(data), 7), *range(len(data) - 40, len(data))}
    for cut in sorted(cuts):
        for tail in (b"", bytes(50)):
            message = ""
            try:
                picture = decode(data[:cut] + tail)
            except DecodeError as error:
                message = str(error)
            if not message:
                assert cut > len(data) - 24, cut
                np.testing.assert_array_equal(picture.color, pixels)
            else:
                assert message == (
                    "the stream is truncated: the file ends before the picture does; "
                    "copy or download it again"
                )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("bits", "lossless"), [(12, False), (5, True), (8, True), (12, True), (16, True)]
)
def test_a_missing_end_marker_of_other_depths(bits: int, lossless: bool, channels: int) -> None:
    most = (1 << bits) - 1
    random = np.random.default_rng(7).integers(0, most + 1, (24, 32, channels))
    pixels = np.squeeze(random.astype(np.uint8 if bits <= 8 else np.uint16))
    data = imagecodecs.jpeg8_encode(pixels, 95, lossless=lossless, bitspersample=bits)
    assert data[-2:] == b"\xff\xd9"
    whole = decode(data)
    assert whole.source.notes == ()
    for tail in (b"", b"\xff", bytes(100)):
        picture = decode(data[:-2] + tail)
        assert picture.source.notes == ENDLESS
        np.testing.assert_array_equal(picture.color, whole.color)
    first = data.index(b"\xff\xda") + 6 + 2 * channels
    for cut in {*range(first, len(data) - 20, len(data) // 20), len(data) - 20}:
        for tail in (b"", bytes(50)):
            with pytest.raises(DecodeError, match="is truncated: the file ends before the picture"):
                decode(data[:cut] + tail)


def test_a_progressive_jpeg_without_its_last_scans_is_truncated() -> None:
    data, _ = endless("progressive")
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    tables = [data.rindex(b"\xff\xc4", 0, at) for at in scans[1:]]
    for cut in (*scans[1:], *tables):
        with pytest.raises(DecodeError, match="truncated"):
            decode(data[:cut])


def test_restarts_that_are_missing_are_noticed() -> None:
    flat = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    data, pixels = endless("restarts", flat)
    np.testing.assert_array_equal(decode(data).color, pixels)
    last = max(
        at for at in range(len(data)) if data[at] == 0xFF and data[at + 1] in range(0xD0, 0xD8)
    )
    with pytest.raises(DecodeError, match="truncated"):
        decode(data[:last])


def test_the_size_is_read_without_the_pixels() -> None:
    pixels = np.zeros((20, 30, 3), np.uint16)
    deep = imagecodecs.jpeg8_encode(pixels, 95, bitspersample=12)
    assert codec.read_header(io.BytesIO(deep), 10_000) == codec.Header(30, 20, 6)
    assert codec.read_header(io.BytesIO(saved()), 10_000) == codec.Header(WIDTH, HEIGHT, 3)


def test_hostile_packets_of_xmp_end() -> None:
    space = b' xmlns:h="http://ns.adobe.com/hdr-gain-map/1.0/"'
    many = b"".join(b' h:a%d="1"' % number for number in range(20_000))
    names = b"".join(b' xmlns:n%d="%d"' % (number, number) for number in range(20_000))
    for xmp in (
        b"<x" + space + many + b"/>",
        b"<x" + space + names + b">" + b"<y>" * 20_000 + b"</y>" * 20_000 + b"</x>",
        b"<x" + space + b">" + b"<h:y>" * 20_000 + b"</h:y>" * 20_000 + b"</x>",
    ):
        assert without_promises(xmp) == xmp


def test_the_header_of_damaged_files_ends() -> None:
    data = multi_picture("<", [0x030000, 0], with_segments((0xE1, XAP + PROMISES["both"])), [])
    for at in range(2, len(data) - 1, 3):
        for change in (b"\0", b"\xff", b"\xff\xda"):
            read_header(io.BytesIO(data[:at] + change + data[at + len(change) :]), "a.jpg")
            read_header(io.BytesIO(data[:at]), "a.jpg")


@pytest.mark.parametrize("data", [b"\xff\xd8\xff", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xd9"])
def test_a_file_of_markers_alone_has_no_size_and_is_damaged(data: bytes) -> None:
    assert header.read_header(io.BytesIO(data), 100) is None
    with pytest.raises(DecodeError, match="is damaged or truncated: it begins as JPEG"):
        decode(data)
