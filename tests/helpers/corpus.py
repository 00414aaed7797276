"""Small files of every readable format, and damaged copies, all deterministic.

`seeds` are valid files with their pixels; `damaged` are truncated, bit-flipped and spliced seeds;
`kinds` are valid files of every variant and with labels of every kind; `bombs` are small files that
declare or decompress to huge data; `strips` are valid pictures of extreme shape. ``python
tests/helpers/corpus.py FOLDER`` writes the seeds and the kinds as files.
"""

from __future__ import annotations

import io
import random
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import imagecodecs
import pillow_jxl  # noqa: F401  (registers itself with Pillow)
import tifffile

from helpers import animations, art
from helpers.animations import Part, chunk
from helpers.variants import all_variants

WIDTH, HEIGHT = 37, 29
PNG = b"\x89PNG\r\n\x1a\n"

Bytes = npt.NDArray[np.uint8]


class Seed(NamedTuple):
    """A valid file.

    shown: (H, W, 4) uint8, the picture or the first frame. tolerance: the allowed mean absolute
    error of a decoder. frames: the number of frames; 0 for an archive of one page.
    """

    data: bytes
    shown: Bytes
    tolerance: float = 0.0
    frames: int = 1


# --- pictures


@cache
def face() -> Image.Image:
    """A drawing in RGB."""
    return art.anime_face(WIDTH, HEIGHT)


@cache
def cutout() -> Image.Image:
    """The drawing in RGBA, with alpha from 0 to 255."""
    image = face().copy()
    ramp = np.linspace(0, 255, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)
    image.putalpha(Image.fromarray(ramp.astype(np.uint8)))
    return image


def rgba(image: Image.Image) -> Bytes:
    """The pixels of an 8-bit image in RGBA."""
    return np.asarray(image.convert("RGBA"))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The file that Pillow makes of ``image``."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@cache
def exif(orientation: int = 1) -> bytes:
    """An EXIF block with a second directory."""
    block = Image.Exif()
    block[0x0112] = orientation
    block[0x010E] = "a drawing"
    block.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    return block.tobytes()


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    b'syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="1"'
    b"/></rdf:RDF></x:xmpmeta>"
)


@cache
def profile() -> bytes:
    """The header of an ICC profile for RGB; readers need no more."""
    return struct.pack(">I", 200) + bytes(12) + b"RGB XYZ " + bytes(12) + b"acsp" + bytes(160)


# --- PNG, including kinds that Pillow cannot write


_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
_ADAM7 = (*_PASSES, (0, 1, 1, 2))


def header(width: int, height: int, depth: int = 8, kind: int = 2, interlaced: int = 0) -> bytes:
    """The signature and IHDR of a PNG."""
    fields = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)
    return PNG + chunk(b"IHDR", fields)


def png(
    samples: npt.NDArray[Any],
    depth: int,
    kind: int,
    *,
    before: bytes = b"",
    after: bytes = b"",
    interlaced: bool = False,
) -> bytes:
    """A PNG of ``samples`` (H, W, C) below 2 ** depth, with chunks before and after its pixels."""
    height, width = samples.shape[:2]
    parts = [samples]
    if interlaced:
        parts = [samples[top::down, left::right] for left, top, right, down in _ADAM7]
    rows = b"".join(b"\0" + _packed(row, depth) for part in parts if part.size for row in part)
    return (
        header(width, height, depth, kind, int(interlaced))
        + before
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + after
        + chunk(b"IEND", b"")
    )


def _packed(row: npt.NDArray[Any], depth: int) -> bytes:
    flat = row.reshape(-1)
    if depth == 16:
        return flat.astype(">u2").tobytes()
    bits = np.unpackbits(flat.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :]
    return np.packbits(bits.reshape(-1)).tobytes()


_COLORS = {0: ("L",), 2: ("R", "G", "B"), 4: ("L", "A"), 6: ("R", "G", "B", "A")}


def _png_seeds() -> Iterator[tuple[str, Seed]]:
    image = cutout()
    bands = {"L": image.convert("L"), **dict(zip("RGBA", image.split(), strict=True))}
    planes = {name: np.asarray(band).astype(np.uint16) for name, band in bands.items()}
    for depth, kind, interlaced in (
        *((1, 0, False), (2, 0, True), (4, 0, False), (8, 0, False), (16, 0, True)),
        *((8, 2, False), (16, 2, False), (8, 4, False), (16, 4, False)),
        *((8, 6, True), (16, 6, False)),
    ):
        stack = np.dstack([planes[name] for name in _COLORS[kind]])
        samples = stack * 257 if depth == 16 else stack >> (8 - depth)
        as_bytes = (samples.astype(np.float64) * 255 / (2**depth - 1)).round().astype(np.uint8)
        if kind in (0, 4):
            gray = as_bytes[..., :1]
            as_bytes = np.concatenate([gray, gray, as_bytes], axis=2)
        shown = (
            as_bytes if kind >= 4 else np.dstack([as_bytes, np.full_like(as_bytes[..., 0], 255)])
        )
        data = png(samples, depth, kind, interlaced=interlaced)
        yield f"png-{kind}-{depth}{'-adam7' * interlaced}.png", Seed(data, shown)
    few = face().quantize(16)
    palette = np.array(few.getpalette(), np.uint8).reshape(-1, 3)[:16]
    indices = np.asarray(few)
    clear = np.where(np.arange(16) == 3, 0, 255).astype(np.uint8)
    data = png(
        indices[..., None],
        4,
        3,
        before=chunk(b"PLTE", palette.tobytes()) + chunk(b"tRNS", clear.tobytes()),
    )
    yield "png-palette.png", Seed(data, np.dstack([palette[indices], clear[indices]]))
    before = (
        chunk(b"gAMA", struct.pack(">I", 45455))
        + chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
        + chunk(b"iCCP", b"icc\0\0" + zlib.compress(profile()))
        + chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1))
        + chunk(b"eXIf", exif().removeprefix(b"Exif\0\0"))
        + chunk(b"tEXt", b"Title\0a face")
        + chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"drawn " * 20))
        + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
        + chunk(b"iTXt", b"Author\0\1\0ja\0\0" + zlib.compress("作者".encode()))
        + chunk(b"sBIT", b"\x08\x08\x08")
        + chunk(b"cICP", bytes([1, 13, 0, 1]))
    )
    yield "png-metadata.png", Seed(png(np.asarray(face()), 8, 2, before=before), rgba(face()))
    after = chunk(b"tEXt", b"Title\0behind") + chunk(b"eXIf", exif().removeprefix(b"Exif\0\0"))
    yield "png-behind.png", Seed(png(np.asarray(face()), 8, 2, after=after), rgba(face()))


# --- the other formats


def _jpeg_seeds() -> Iterator[tuple[str, Seed]]:
    rotated = np.rot90(rgba(face()), -1)  # the stored form for orientation 6
    gray = face().convert("L")
    for name, image, options, shown in (
        ("rgb", face(), {"quality": 95}, rgba(face())),
        ("gray", gray, {"quality": 95}, rgba(gray)),
        ("cmyk", face().convert("CMYK"), {"quality": 95}, rgba(face())),
        ("progressive", face(), {"progressive": True, "quality": 95}, rgba(face())),
        ("restarts", face(), {"restart_marker_blocks": 2, "quality": 95}, rgba(face())),
        (
            "metadata",
            face(),
            {
                "quality": 95,
                "exif": exif(6),
                "xmp": XMP,
                "icc_profile": profile(),
                "dpi": (72, 72),
                "comment": b"drawn",
            },
            rotated,
        ),
    ):
        yield f"jpeg-{name}.jpg", Seed(saved(image, "JPEG", **options), shown, 6.0)
    mpo = saved(face(), "MPO", save_all=True, append_images=[face()], quality=95)
    yield "jpeg.mpo", Seed(mpo, rgba(face()), 6.0)


def _moving_parts(alphas: tuple[int, ...]) -> list[Part]:
    disposals = (animations.KEEP, animations.CLEAR, animations.RESTORE)
    return animations.random_parts(
        1, 14, 11, 6, alphas=alphas, disposals=disposals, whole_first=True, replace=False
    )


def _animated_seeds() -> Iterator[tuple[str, Seed]]:
    def seed(data: bytes, parts: list[Part]) -> Seed:
        return Seed(data, animations.shown(14, 11, parts[:1])[0], frames=len(parts))

    parts = _moving_parts((0, 255, 255))
    yield "gif-animated.gif", seed(animations.gif(14, 11, parts, repeats=3), parts)
    yield "gif-interlaced.gif", seed(animations.gif(14, 11, parts, interlaced=True), parts)
    parts = _moving_parts((0, 100, 255))
    parts[0].dispose = animations.CLEAR
    yield "apng.png", seed(animations.apng(14, 11, parts, plays=2), parts)
    default = np.full((11, 14, 4), 77, np.uint8)
    yield "apng-default.png", seed(animations.apng(14, 11, parts, default=default), parts)
    parts = animations.random_parts(
        2, 14, 11, 4, alphas=(0, 100, 255), disposals=(0, 1), whole_first=True, even=True
    )
    yield "webp-animated.webp", seed(animations.webp(14, 11, parts), parts)
    frames = [face(), face().transpose(Image.Transpose.FLIP_LEFT_RIGHT), face().rotate(180)]
    options: dict[str, Any] = {"save_all": True, "append_images": frames[1:], "duration": 80}
    data = saved(frames[0], "AVIF", quality=95, speed=10, subsampling="4:4:4", **options)
    yield "avif-animated.avif", Seed(data, rgba(face()), 6.0, 3)
    data = saved(frames[0], "WEBP", quality=95, **options)
    yield "webp-animated-lossy.webp", Seed(data, rgba(face()), 8.0, 3)


def _modern_seeds() -> Iterator[tuple[str, Seed]]:
    solid, alpha = rgba(face()), rgba(cutout())
    extra = {"exif": exif(), "icc_profile": profile(), "xmp": XMP}
    yield "webp-lossy.webp", Seed(saved(face(), "WEBP", quality=95), solid, 8.0)
    yield "webp-lossless.webp", Seed(saved(face(), "WEBP", lossless=True, **extra), solid)
    data = saved(cutout(), "WEBP", lossless=True, exact=True)
    yield "webp-alpha.webp", Seed(data, alpha)
    yield "webp-lossy-alpha.webp", Seed(saved(cutout(), "WEBP", quality=95, exact=True), alpha, 8.0)
    options: dict[str, Any] = {"quality": 95, "speed": 10, "subsampling": "4:4:4"}
    yield "avif.avif", Seed(saved(face(), "AVIF", **options, exif=exif(), xmp=XMP), solid, 6.0)
    yield "avif-alpha.avif", Seed(saved(cutout(), "AVIF", **options), alpha, 6.0)
    deep = np.asarray(face()).astype(np.uint16) * 4
    data = bytes(imagecodecs.avif_encode(deep, level=95, bitspersample=10, speed=10))
    yield "avif-10bit.avif", Seed(data, solid, 6.0)
    yield "jp2.jp2", Seed(saved(face(), "JPEG2000"), solid)
    yield "jp2-alpha.jp2", Seed(saved(cutout(), "JPEG2000", tile_size=(16, 16)), alpha)
    data = saved(face(), "JPEG2000", no_jp2=True, irreversible=True)
    yield "jp2-codestream.j2k", Seed(data, solid, 6.0)
    deep = np.asarray(face()).astype(np.uint16) * 257
    data = bytes(imagecodecs.jpeg2k_encode(deep, level=0))
    yield "jp2-16bit.jp2", Seed(data, solid)
    yield "jxl.jxl", Seed(saved(face(), "JXL", lossless=True), solid)
    yield "jxl-alpha.jxl", Seed(saved(cutout(), "JXL", lossless=True), alpha)
    yield "jxl-lossy.jxl", Seed(saved(face(), "JXL", quality=95, exif=exif()), solid, 8.0)
    data = bytes(imagecodecs.jpegxl_encode(deep, lossless=True, usecontainer=True))
    yield "jxl-16bit.jxl", Seed(data, solid)


def _tiff_seeds() -> Iterator[tuple[str, Seed]]:
    solid, alpha = rgba(face()), rgba(cutout())
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "group4"):
        bilevel = compression == "group4"
        image = face().convert("1") if bilevel else cutout()
        data = saved(image, "TIFF", compression=compression, dpi=(72, 72))
        yield f"tiff-{compression}.tif", Seed(data, rgba(image) if bilevel else alpha)
    yield "tiff-jpeg.tif", Seed(saved(face(), "TIFF", compression="jpeg", quality=95), solid, 8.0)
    yield "tiff-palette.tif", Seed(saved(face().quantize(16), "TIFF"), rgba(face().quantize(16)))
    color = np.asarray(face())
    deep = color.astype(np.uint16) * 257
    for name, samples, options in (
        ("16bit", deep, {}),
        ("16bit-lzw", deep, {"compression": "lzw", "predictor": True}),
        ("16bit-tiled", deep, {"compression": "zlib", "tile": (16, 16)}),
        ("16bit-planar", np.ascontiguousarray(deep.transpose(2, 0, 1)), {"planarconfig": 2}),
        ("8bit-tiled", color, {"tile": (16, 32)}),
        ("float", (color / 255).astype(np.float32), {}),
        ("float-zstd", (color / 255).astype(np.float32), {"compression": "zstd"}),
        ("bigtiff", color, {"bigtiff": True}),
        ("big-endian", deep, {"byteorder": ">"}),
    ):
        file = io.BytesIO()
        tifffile.imwrite(file, samples, photometric="rgb", metadata=None, **options)
        yield f"tiff-{name}.tif", Seed(file.getvalue(), solid)


def _plain_seeds() -> Iterator[tuple[str, Seed]]:
    solid, alpha = rgba(face()), rgba(cutout())
    few, gray, bilevel = face().quantize(16), face().convert("L"), face().convert("1")
    yield "gif.gif", Seed(saved(few, "GIF"), rgba(few))
    yield (
        "gif-clear.gif",
        Seed(saved(few, "GIF", transparency=3), rgba(few) * _opaque(np.asarray(few) != 3), 128.0),
    )
    yield "bmp.bmp", Seed(saved(face(), "BMP"), solid)
    yield "bmp-palette.bmp", Seed(saved(few, "BMP"), rgba(few))
    yield "bmp-bilevel.bmp", Seed(saved(bilevel, "BMP"), rgba(bilevel))
    yield "bmp-rle.bmp", Seed(_rle_bmp(few), rgba(few))
    yield "ppm.ppm", Seed(saved(face(), "PPM"), solid)
    yield "ppm.pgm", Seed(saved(gray, "PPM"), rgba(gray))
    yield "ppm.pbm", Seed(saved(bilevel, "PPM"), rgba(bilevel))
    deep = (np.asarray(face()).astype(np.uint16) * 257).astype(">u2").tobytes()
    yield "ppm-16bit.ppm", Seed(b"P6 %d %d 65535\n" % face().size + deep, solid)
    text = " ".join(map(str, np.asarray(face()).reshape(-1).tolist())).encode()
    yield "ppm-text.ppm", Seed(b"P3\n# drawn\n%d %d\n255\n" % face().size + text + b"\n", solid)
    yield "tga.tga", Seed(saved(cutout(), "TGA"), alpha)
    yield "tga-rle.tga", Seed(saved(face(), "TGA", compression="tga_rle"), solid)
    yield "tga-palette.tga", Seed(saved(few, "TGA"), rgba(few))
    yield "pcx.pcx", Seed(saved(face(), "PCX"), solid)
    yield "pcx-palette.pcx", Seed(saved(few, "PCX"), rgba(few))
    yield "dds.dds", Seed(saved(cutout(), "DDS"), alpha)
    yield (
        "dds-dxt1.dds",
        Seed(
            saved(face().resize((36, 28)), "DDS", pixel_format="DXT1"),
            rgba(face().resize((36, 28))),
            16.0,
        ),
    )
    yield (
        "dds-bc3.dds",
        Seed(
            saved(cutout().resize((36, 28)), "DDS", pixel_format="DXT5"),
            rgba(cutout().resize((36, 28))),
            16.0,
        ),
    )
    yield "ico.ico", Seed(saved(cutout(), "ICO", sizes=[(WIDTH, HEIGHT)]), alpha)
    bitmap = saved(cutout(), "ICO", sizes=[(WIDTH, HEIGHT)], bitmap_format="bmp")
    yield "ico-bmp.ico", Seed(bitmap, alpha)
    yield "psd.psd", Seed(_psd(np.asarray(face())), solid)
    yield "qoi.qoi", Seed(_qoi(np.asarray(face())), solid)


def _opaque(mask: npt.NDArray[np.bool_]) -> Bytes:
    return mask[..., None].astype(np.uint8)


def _qoi(color: Bytes) -> bytes:
    """QOI (qoiformat.org) with only uncompressed pixels."""
    height, width = color.shape[:2]
    pixels = b"".join(b"\xfe" + pixel.tobytes() for pixel in color.reshape(-1, 3))
    return b"qoif" + struct.pack(">IIBB", width, height, 3, 0) + pixels + bytes(7) + b"\1"


def _psd(color: Bytes) -> bytes:
    """A Photoshop file of one composite, compressed with PackBits."""
    height, width = color.shape[:2]
    rows = [_literal(row.tobytes()) for plane in color.transpose(2, 0, 1) for row in plane]
    counts = b"".join(struct.pack(">H", len(row)) for row in rows)
    head = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, height, width, 8, 3)
    return head + bytes(12) + struct.pack(">H", 1) + counts + b"".join(rows)


def _literal(row: bytes) -> bytes:
    """PackBits without any runs."""
    parts = (row[i : i + 128] for i in range(0, len(row), 128))
    return b"".join(bytes([len(part) - 1]) + part for part in parts)


def _rle_bmp(image: Image.Image) -> bytes:
    """A run-length encoded BMP of 256 colors (BI_RLE8)."""
    table = bytes(image.getpalette() or []).ljust(768, b"\0")[:768]
    colors = b"".join(
        table[i + 2 : i - 1 if i else None : -1][:3] + b"\0" for i in range(0, 768, 3)
    )
    rows = b"".join(
        b"".join(bytes([1, value]) for value in row) + b"\0\0" for row in np.asarray(image)[::-1]
    )
    rows += b"\0\1"
    start = 14 + 40 + 1024
    info = struct.pack("<IiiHHIIiiII", 40, *image.size, 1, 8, 1, len(rows), 0, 0, 256, 0)
    return struct.pack("<2sIHHI", b"BM", start + len(rows), 0, 0, start) + info + colors + rows


def archive(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP archive of ``files``."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as out:
        for name, data in files.items():
            out.writestr(zipfile.ZipInfo(name, (2020, 1, 2, 3, 4, 6)), data, method)
    return file.getvalue()


def _archive_seeds() -> Iterator[tuple[str, Seed]]:
    page = saved(face(), "JPEG", quality=95)
    files = {"a/001.jpg": page, "a/002.png": saved(face(), "PNG"), "info.xml": b"<info/>"}
    for name, method in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
        yield f"zip-{name}.cbz", Seed(archive(files, method), rgba(face()), frames=0)


@cache
def seeds() -> dict[str, Seed]:
    """Valid files by name; the part of a name before the first "-" or "." is the kind."""
    groups = (_png_seeds, _jpeg_seeds, _animated_seeds, _modern_seeds, _tiff_seeds, _plain_seeds)
    return {name: seed for group in (*groups, _archive_seeds) for name, seed in group()}


# --- kinds of files that readers get wrong


@cache
def kinds() -> dict[str, bytes]:
    """Valid files of every variant, and with labels of every kind, by name."""
    found = {f"{name}.{variant.kind}": variant.data for name, variant in all_variants().items()}
    return {**found, **dict(_labeled())}


def _labeled() -> Iterator[tuple[str, bytes]]:
    photo = saved(face(), "JPEG", quality=95)

    def segments(*parts: tuple[int, bytes]) -> bytes:
        head = b"".join(
            struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in parts
        )
        return photo[:2] + head + photo[2:]

    gain = XMP.replace(b"tiff:Orientation", b'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" '
                       b'hdrgm:Version="1.0" tiff:Orientation')  # fmt: skip
    packet = b"http://ns.adobe.com/xap/1.0/\0" + gain
    entries = struct.pack(">IIIHH", 0x30000, len(photo) + 500, 0, 0, 0)
    entries += struct.pack(">IIIHH", 0, len(photo), len(photo) + 400, 0, 0)
    index = struct.pack(">2sHIH", b"MM", 42, 8, 3)
    index += struct.pack(">HHI4s", 0xB000, 7, 4, b"0100") + struct.pack(">HHII", 0xB001, 4, 1, 2)
    index += struct.pack(">HHII", 0xB002, 7, 32, 50) + bytes(4) + entries
    pictures = b"MPF\0" + index
    iso = b"urn:iso:std:iso:ts:21496:-1\0" + bytes(4)
    yield "jpeg-gain-map.jpg", segments((0xE1, packet), (0xE2, pictures), (0xE2, iso)) + photo
    dataset = struct.pack(">BBBH", 0x1C, 2, 120, 7) + b"caption"
    block = b"8BIM" + struct.pack(">HHI", 0x404, 0, len(dataset)) + dataset
    iptc = b"Photoshop 3.0\0" + block
    yield "jpeg-iptc.jpg", segments((0xED, iptc), (0xFE, b"a comment"))
    digest = b"0123456789ABCDEF0123456789ABCDEF"
    further = struct.pack(">32sII", digest, len(XMP), 0) + XMP
    extended = b"http://ns.adobe.com/xmp/extension/\0" + further
    note = XMP.replace(b"tiff:Orientation", b'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" '
                       b'xmpNote:HasExtendedXMP="' + digest + b'" tiff:Orientation')  # fmt: skip
    packet = b"http://ns.adobe.com/xap/1.0/\0" + note
    yield "jpeg-extended-xmp.jpg", segments((0xE1, packet), (0xE1, extended))
    chunks = [chunk(b"cICP", bytes([primaries, transfer, 0, 1]))
              for primaries, transfer in ((12, 13), (9, 16), (9, 18), (1, 8))]  # fmt: skip
    for number, label in enumerate(chunks):
        yield f"png-cicp-{number}.png", png(np.asarray(face()), 8, 2, before=label)
    raw = b"\nexif\n%8d\n" % len(exif()) + exif().hex().encode() + b"\n"
    body = b"Raw profile type exif\0\0" + zlib.compress(raw)
    yield "png-raw-profile.png", png(np.asarray(face()), 8, 2, before=chunk(b"zTXt", body))
    for primaries, transfer in ((12, 13), (9, 16), (9, 18), (1, 8)):
        options = {"primaries": primaries, "transfer": transfer, "matrix": 1}
        data = bytes(imagecodecs.avif_encode(np.asarray(face()), level=90, speed=10, **options))
        yield f"avif-nclx-{primaries}-{transfer}.avif", data
    jp2 = saved(face(), "JPEG2000")
    start = jp2.index(b"colr") - 4
    (size,) = struct.unpack_from(">I", jp2, start)
    color = struct.pack(">I4sBBB", 11 + len(profile()), b"colr", 2, 0, 0) + profile()
    header_at = jp2.index(b"jp2h") - 4
    (header_size,) = struct.unpack_from(">I", jp2, header_at)
    longer = struct.pack(">I", header_size - size + len(color))
    yield (
        "jp2-icc.jp2",
        jp2[:header_at] + longer + jp2[header_at + 4 : start] + color + jp2[start + size :],
    )
    text = "\u5c71\u7530".encode()
    file = io.BytesIO()
    tifffile.imwrite(file, np.asarray(face()), photometric="rgb", metadata=None,
                     extratags=[(315, 1, len(text), text, True)])  # fmt: skip
    yield "tiff-utf8.tif", file.getvalue()
    pages = {"1.jpg": photo[:-2], "2.png": png(np.asarray(face()), 8, 2), "ComicInfo.xml": b"<a/>"}
    yield "zip-page-without-eoi.cbz", archive(pages)
    yield "zip-trailing-zeros.cbz", archive(pages) + bytes(1000)


# --- damage


def damaged(per_seed: int = 8) -> Iterator[tuple[str, bytes]]:
    """Every seed truncated, bit-flipped, spliced and with large numbers at the start, by name."""
    files = {name: seed.data for name, seed in seeds().items()}
    names = list(files)
    for name, data in files.items():
        rng = random.Random(name)
        near = min(len(data), 160)
        cuts = {len(data) * part // per_seed for part in range(1, per_seed)}
        cuts |= {rng.randrange(1, near) for _ in range(per_seed // 2)} | {len(data) - 1}
        for cut in sorted(cuts):
            yield f"{name} cut to {cut}", data[:cut]
        for number in range(per_seed):
            changed = bytearray(data)
            for _ in range(rng.choice((1, 1, 2, 8))):
                reach = len(data) if rng.random() < 0.5 else near
                changed[rng.randrange(reach)] ^= 1 << rng.randrange(8)
            yield f"{name} flipped {number}", bytes(changed)
        for number in range(per_seed // 2):
            place = rng.randrange(4, near - 4)
            value = rng.choice(
                (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\xff\xff", bytes(4))
            )
            yield f"{name} large {number} at {place}", data[:place] + value + data[place + 4 :]
        for number in range(per_seed // 2):
            other = files[rng.choice(names)]
            start, end = rng.randrange(len(data)), rng.randrange(len(other))
            yield f"{name} spliced {number}", data[:start] + other[end : end + 2000]


# --- bombs


_GIB = 1 << 30


@cache
def zeros(size: int) -> bytes:
    """A zlib stream of ``size`` zero bytes, a multiple of 1 MiB, repeating one compressed block."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    # Adler-32 (RFC 1950) of n zero bytes: the first sum stays 1, the second is n.
    adler = size % 65521 << 16 | 1
    return b"\x78\x9c" + block * (size >> 20) + b"\3\0" + struct.pack(">I", adler)


def _put(data: bytes, place: int, layout: str, *values: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(layout, changed, place, *values)
    return bytes(changed)


def _after(data: bytes, mark: bytes, skip: int, layout: str, *values: int) -> bytes:
    """``data`` with ``values`` written ``skip`` bytes after the start of ``mark``."""
    return _put(data, data.index(mark) + skip, layout, *values)


def _tag(data: bytes, tag: int, value: int) -> bytes:
    """Replace the value of a tag in the first directory of a little-endian classic TIFF."""
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    places = range(start + 2, start + 2 + 12 * count, 12)
    place = next(at for at in places if struct.unpack_from("<H", data, at)[0] == tag)
    return _put(data, place + 2, "<HII", 4, 1, value)


@cache
def bombs() -> dict[str, bytes]:
    """Small files that declare or decompress to huge data, by name."""
    return dict((*_claims(), *_unpacking()))


def _claims() -> Iterator[tuple[str, bytes]]:
    """Huge sizes in headers."""
    files = {name: seed.data for name, seed in seeds().items()}
    pixels = chunk(b"IDAT", zlib.compress(bytes(4000)))
    for depth in (1, 8, 16):
        data = header(100_000, 100_000, depth, 0) + pixels + chunk(b"IEND", b"")
        yield f"png 100000x100000 of {depth} bits", data
    yield "png 2147483647x1", header(2**31 - 1, 1) + pixels
    yield "png length", header(9, 9) + struct.pack(">I4s", 2**31 - 1, b"IDAT") + bytes(99)
    data = header(8000, 8000, 8, 6) + chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
    control = struct.pack(">IIIIIHHBB", 0, 8000, 8000, 0, 0, 1, 1, 0, 0)
    yield "apng 8000x8000", data + chunk(b"fcTL", control) + pixels + chunk(b"IEND", b"")
    data = files["apng.png"]
    yield "apng frames", data.replace(data[33:53], chunk(b"acTL", struct.pack(">II", 2**31, 0)))
    yield "gif canvas", _put(files["gif.gif"], 6, "<HH", 65535, 65535)
    yield "gif canvas, animated", _put(files["gif-animated.gif"], 6, "<HH", 65535, 65535)
    image = files["gif.gif"].rindex(struct.pack("<HHHH", 0, 0, WIDTH, HEIGHT))
    yield "gif image", _put(files["gif.gif"], image + 4, "<HH", 65535, 65535)
    for name, extension in (
        ("gif image, far", b""),
        ("gif image, behind an empty block", b"!\x01\0\4;,!;\0"),
        ("gif image, behind a comment", b"!\xfe\0"),
        ("gif image, behind a loop", b"!\xff\x0bNETSCAPE2.0\0\3;,;\0"),
        ("gif image, behind a stray byte", b"\0"),
    ):
        start = image - 1
        sound = files["gif.gif"]
        # With disposal to background, for which Pillow allocates at once.
        place = b"!\xf9\4\x08\0\0\0\0," + struct.pack("<HHHH", 9000, 9000, 60000, 60000)
        yield name, sound[:start] + extension + place + sound[start + 9 :]
    data = files["gif-animated.gif"]
    yield "gif frame", _put(data, data.rindex(b"\x21\xf9\x04") + 13, "<HH", 65535, 65535)
    for name in ("bmp.bmp", "bmp-palette.bmp", "bmp-rle.bmp"):
        yield f"{name} 60000x60000", _put(files[name], 18, "<ii", 60000, 60000)
        yield f"{name} upside down", _put(files[name], 18, "<ii", 2**31 - 1, -(2**31))
    for name in ("tiff-raw.tif", "tiff-tiff_lzw.tif", "tiff-16bit.tif", "tiff-16bit-lzw.tif"):
        data = files[name]
        yield f"{name} 100000x100000", _tag(_tag(data, 256, 100_000), 257, 100_000)
        yield f"{name} rows", _tag(_tag(data, 278, 2**32 - 1), 257, 2**31)
        yield f"{name} samples", _tag(data, 277, 65535)
        yield f"{name} bytes in a strip", _tag(data, 279, 2**32 - 1)
    for name in ("tiff-8bit-tiled.tif", "tiff-16bit-tiled.tif"):
        yield f"{name} tile", _tag(_tag(files[name], 322, 65536), 323, 65536)
        yield f"{name} long tile", _tag(files[name], 323, 1 << 30)
    data = b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10)
    yield "webp canvas", data + bytes([2, 0, 0, 0]) + b"\xff" * 6
    yield "webp lossless", _after(files["webp-alpha.webp"], b"VP8L", 9, "<I", 0x0FFFFFFF)
    yield "webp lossy", _after(files["webp-lossy.webp"], b"VP8 ", 14, "<HH", 16383, 16383)
    data = files["webp-animated.webp"]
    yield "webp canvas, animated", _after(data, b"VP8X", 12, "<IH", 0xFFFFFFFF, 0xFFFF)
    yield "webp frame", _after(data, b"ANMF", 14, "<IH", 0xFFFFFFFF, 0xFFFF)
    for name in ("avif.avif", "avif-10bit.avif", "avif-animated.avif"):
        yield f"{name} 65535x65535", _after(files[name], b"ispe", 8, ">II", 65535, 65535)
    flat = saved(Image.new("RGB", (2048, 2048)), "AVIF", speed=10, quality=10)
    yield "avif 2048x2048 as 37x29", _after(flat, b"ispe", 8, ">II", WIDTH, HEIGHT)
    for name in ("jp2.jp2", "jp2-codestream.j2k", "jp2-16bit.jp2"):
        siz = b"\xff\x4f\xff\x51"
        whole = _after(files[name], siz, 8, ">II", 2**31 - 1, 2**31 - 1)
        if b"ihdr" in whole:
            yield f"{name} codestream", whole
            whole = _after(whole, b"ihdr", 4, ">II", 2**31 - 1, 2**31 - 1)
        yield f"{name} huge", whole
        yield f"{name} one tile", _after(whole, siz, 24, ">II", 2**31 - 1, 2**31 - 1)
        yield f"{name} tiles", _after(files[name], siz, 24, ">II", 1, 1)
        yield f"{name} components", _after(files[name], siz, 40, ">H", 16384)
    for name in ("jpeg-rgb.jpg", "jpeg-gray.jpg", "jpeg-cmyk.jpg"):
        frame = files[name].index(b"\xff\xc0")
        yield f"{name} 65500x65500", _put(files[name], frame + 5, ">HH", 65500, 65500)
    data = files["jpeg-progressive.jpg"]
    frame, scan = data.index(b"\xff\xc2"), data.rindex(b"\xff\xda")
    yield "jpeg progressive 65500x65500", _put(data, frame + 5, ">HH", 65500, 65500)
    scans = _put(data, frame + 5, ">HH", 1000, 1000)[:-2] + data[scan:-2] * 5000 + b"\xff\xd9"
    yield "jpeg scans", scans
    yield "psd 300000x300000", _put(files["psd.psd"], 14, ">II", 300_000, 300_000)
    yield "psd channels", _put(files["psd.psd"], 12, ">H", 65535)
    yield "psd layers", _put(files["psd.psd"], 34, ">I", 2**32 - 1)
    for name in ("dds.dds", "dds-dxt1.dds", "dds-bc3.dds"):
        yield f"{name} huge", _put(files[name], 12, "<II", 2**31 - 1, 2**31 - 1)
        yield f"{name} 32768x32768", _put(files[name], 12, "<II", 32768, 32768)
    yield "ico png", _after(files["ico.ico"], b"IHDR", 4, ">II", 100_000, 100_000)
    yield "ico bmp", _put(files["ico-bmp.ico"], 26, "<ii", 60000, 120_000)
    yield "ico entries", _put(files["ico.ico"], 4, "<H", 65535)
    for name in ("tga.tga", "tga-rle.tga", "tga-palette.tga"):
        yield f"{name} 65535x65535", _put(files[name], 12, "<HH", 65535, 65535)
    yield "pcx 65535x65535", _put(files["pcx.pcx"], 8, "<HH", 65534, 65534)
    yield "pcx row", _put(files["pcx.pcx"], 66, "<H", 65535)
    yield "qoi huge", _put(files["qoi.qoi"], 4, ">II", 2**32 - 1, 2**32 - 1)
    for kind in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"):
        most = b" 255" if kind not in (b"P1", b"P4") else b""
        yield f"ppm {kind.decode()} huge", kind + b" 99999 99999" + most + b"\n" + bytes(99)
        yield f"ppm {kind.decode()} digits", kind + b" " + b"9" * 5000 + b" 9" + most + b"\n"
    yield (
        "jxl huge",
        b"\xff\x0a" + _bits((0, 1), (3, 2), (2**30 - 1, 30), (1, 3), (1, 1)) + bytes(99),
    )


def _bits(*fields: tuple[int, int]) -> bytes:
    """Pack (value, bits) pairs, lowest bit first."""
    whole, place = 0, 0
    for value, count in fields:
        whole |= value << place
        place += count
    return whole.to_bytes(place // 8 + 1, "little")


def _unpacking() -> Iterator[tuple[str, bytes]]:
    """Huge sizes that appear only during decompression."""
    sound = np.asarray(face())
    packed = zeros(_GIB)
    end = chunk(b"IEND", b"")
    for depth in (8, 16):
        data = header(16, 16, depth) + chunk(b"IDAT", packed) + end
        yield f"png pixels of {depth} bits", data
    yield "png profile", png(sound, 8, 2, before=chunk(b"iCCP", b"icc\0\0" + packed))
    yield "png text", png(sound, 8, 2, before=chunk(b"zTXt", b"Comment\0\0" + packed))
    for name, body in (
        ("texts", chunk(b"zTXt", b"Comment\0\0" + zeros(1 << 20)) * 1000),
        ("raw profiles", chunk(b"zTXt", b"Raw profile type xmp\0\0" + zeros(1 << 20)) * 1000),
        ("xmps", chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zeros(8 << 20)) * 200),
        ("profiles", chunk(b"iCCP", b"icc\0\0" + zeros(16 << 20)) * 100),
    ):
        yield f"png {name}", png(sound, 8, 2, before=body)
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed)
    yield "png xmp", png(sound, 8, 2, after=text)
    head = header(16, 16) + chunk(b"acTL", struct.pack(">II", 2, 0))
    frames = [struct.pack(">IIIIIHHBB", n, 16, 16, 0, 0, 1, 1, 0, 0) for n in (0, 1)]
    data = head + chunk(b"fcTL", frames[0]) + chunk(b"IDAT", packed) + chunk(b"fcTL", frames[1])
    yield "apng pixels", data + chunk(b"fdAT", struct.pack(">I", 2) + packed) + end
    for name, dtype in (("8bit", np.uint8), ("16bit", np.uint16)):
        file = io.BytesIO()
        samples = np.zeros((16, 16, 3), dtype)
        tifffile.imwrite(file, samples, photometric="rgb", metadata=None, compression="zlib")
        data = file.getvalue()
        yield f"tiff {name} strip", _tag(_tag(data, 273, len(data)), 279, len(packed)) + packed
    brotli = imagecodecs.brotli_encode(bytes(1 << 26), level=5)
    box = struct.pack(">I4s", 12 + len(brotli), b"brob") + b"xml " + brotli
    still = bytes(imagecodecs.jpegxl_encode(sound, lossless=True, usecontainer=True))
    yield "jxl xmp", still + box
    yield "zip page", _lying(_GIB)
    yield "zip page, said to be small", _lying(1000)
    yield "zip other file", archive({"1.png": seeds()["png-2-8.png"].data, "a.txt": bytes(1 << 23)})
    yield "zip members", archive({f"{n}.png": PNG for n in range(3000)})
    yield "zip one inside another", _overlapping()


def _lying(size: int) -> bytes:
    """An archive whose page starts like a PNG, declares ``size`` bytes and unpacks to 1 GiB."""
    first = seeds()["png-2-8.png"].data
    raw = struct.pack("<BHH", 0, len(first), len(first) ^ 0xFFFF) + first + zeros(_GIB)[2:-4]
    data = bytearray(archive({"1.png": PNG}))
    start, name_end = data.index(b"PK\1\2"), 30 + len("1.png")
    data[name_end:start] = raw
    central = name_end + len(raw)
    struct.pack_into("<II", data, 18, len(raw), size)
    struct.pack_into("<II", data, central + 20, len(raw), size)
    struct.pack_into("<I", data, len(data) - 6, central)
    return bytes(data)


def _overlapping() -> bytes:
    """An archive whose members all share the same bytes."""
    data = archive({"1.png": png(np.zeros((400, 400, 3), np.uint16), 8, 2)})
    start = data.index(b"PK\1\2")
    entry, trailer = data[start:-22], data[-22:]
    names = b"".join(entry.replace(b"1.png", b"%d.png" % (n % 10)) for n in range(500))
    return data[:start] + names + _put(trailer, 8, "<HHI", 500, 500, len(names))


# --- extreme shapes


@cache
def strips() -> dict[str, Seed]:
    """Valid pictures one pixel wide or high, up to the longest side of their format, by name."""
    found = {}
    for kind, suffix, longest, options in (
        ("PNG", "png", 65535, {}),
        ("BMP", "bmp", 65535, {}),
        ("TIFF", "tif", 65535, {"compression": "tiff_lzw"}),
        ("GIF", "gif", 65535, {}),
        ("JPEG", "jpg", 65500, {"quality": 95}),
        ("WEBP", "webp", 16383, {"lossless": True}),
        ("TGA", "tga", 65535, {}),
        ("PPM", "pgm", 65535, {}),
    ):
        for length in (1, 1000, longest):
            for width, height in {(length, 1), (1, length)}:
                image = strip(width, height)
                if kind == "WEBP":
                    image = image.convert("RGB")
                data = saved(image, kind, **options)
                name = f"{width}x{height}.{suffix}"
                found[name] = Seed(data, rgba(image), 6.0 if kind == "JPEG" else 0.0)
    return found


def strip(width: int, height: int) -> Image.Image:
    """A gray line, one pixel wide or high, with different neighbors and a long period."""
    n = np.arange(width * height)
    line = 128 + 80 * np.sin(n / 7) + 40 * np.sin(n / 3001)
    return Image.fromarray(line.reshape(height, width).astype(np.uint8))


def main(folder: Path) -> None:
    """Write the seeds and the kinds into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: seed.data for name, seed in seeds().items()}
    for name, data in (files | kinds()).items():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/helpers/corpus.py FOLDER")
    main(Path(sys.argv[1]))
