"""TIFF 6.0 and BigTIFF: layouts, depths, planes, compressions, tiles, byte orders, orientations."""

from __future__ import annotations

import io
import itertools
import struct
from typing import Any, NamedTuple

import numpy as np
import tifffile
from PIL import Image

from . import HEIGHT, WIDTH, Samples, Variant, Variants, packed, random_samples, scaled, smooth


class _Layout(NamedTuple):
    """Name of the photometric in tifffile, color channels and ExtraSamples."""

    photometric: str
    colors: int
    extra: tuple[int, ...] = ()

    @property
    def samples(self) -> int:
        return self.colors + len(self.extra)


_UNSPECIFIED, _ASSOCIATED, _UNASSOCIATED = 0, 1, 2

LAYOUTS = {
    "gray": _Layout("minisblack", 1),
    "white-is-zero": _Layout("miniswhite", 1),
    "gray-alpha": _Layout("minisblack", 1, (_UNASSOCIATED,)),
    "gray-premultiplied": _Layout("minisblack", 1, (_ASSOCIATED,)),
    "gray-unspecified": _Layout("minisblack", 1, (_UNSPECIFIED,)),
    "rgb": _Layout("rgb", 3),
    "rgba": _Layout("rgb", 3, (_UNASSOCIATED,)),
    "rgb-premultiplied": _Layout("rgb", 3, (_ASSOCIATED,)),
    "rgb-unspecified": _Layout("rgb", 3, (_UNSPECIFIED,)),
    "rgb-alpha-and-mask": _Layout("rgb", 3, (_UNASSOCIATED, _UNSPECIFIED)),
    "rgb-mask-and-alpha": _Layout("rgb", 3, (_UNSPECIFIED, _UNASSOCIATED)),
    "cmyk": _Layout("separated", 4),
    "cmyk-alpha": _Layout("separated", 4, (_UNASSOCIATED,)),
}


def written(samples: Samples, layout: _Layout, *, planar: bool = False, **options: Any) -> bytes:
    """A TIFF by tifffile of samples (H, W, C)."""
    stored = samples[:, :, 0] if layout.samples == 1 else samples
    if planar and layout.samples > 1:
        stored = np.ascontiguousarray(samples.transpose(2, 0, 1))
        options["planarconfig"] = "separate"
    elif layout.samples > 1:
        options["planarconfig"] = "contig"
    if layout.extra:
        options["extrasamples"] = layout.extra
    file = io.BytesIO()
    tifffile.imwrite(
        file, stored, photometric=layout.photometric, metadata=None, software=False, **options
    )
    return file.getvalue()


def samples_of(layout: _Layout, dtype: str) -> Samples:
    """Samples of a layout; premultiplied color is at most its alpha."""
    if dtype.startswith("float"):
        samples = (random_samples(layout.samples, 8) / 255).astype(dtype)
    else:
        samples = random_samples(layout.samples, 8 * np.dtype(dtype).itemsize)
    if layout.extra[:1] == (_ASSOCIATED,):
        # Alphas that divide exactly: none, and full.
        white = 1 if dtype.startswith("float") else np.iinfo(samples.dtype).max
        alpha = samples[:, :, layout.colors]
        alpha[:] = np.where(alpha > white / 2, white, 0)
        samples[:, :, : layout.colors] *= (alpha > 0)[:, :, None]
    return samples


def shown(samples: Samples, layout: _Layout) -> tuple[Samples | None, Samples | None]:
    """Color and alpha that a reader has to return; no color for CMYK, which is converted."""
    color, alpha = samples[:, :, : layout.colors], None
    labeled = [n for n, kind in enumerate(layout.extra) if kind != _UNSPECIFIED]
    if labeled:
        alpha = samples[:, :, layout.colors + labeled[0]]
    if color.dtype == np.float64 or color.dtype == np.float16:
        color = color.astype(np.float32)
        alpha = None if alpha is None else alpha.astype(np.float32)
    if layout.photometric == "miniswhite":
        color = (1 if color.dtype.kind == "f" else np.iinfo(color.dtype).max) - color
    return (None if layout.photometric == "separated" else color), alpha


def variants() -> Variants:
    """Every variant of TIFF."""
    yield from _layouts()
    yield from _depths()
    yield from _compressions()
    yield from _structures()
    yield from _colors()


def _variant(name: str, data: bytes, samples: Samples, layout: _Layout, **more: Any) -> Variant:
    color, alpha = shown(samples, layout)
    return Variant(f"tiff-{name}", "tiff", data, color, alpha, **more)


def _layouts() -> Variants:
    types = ("uint8", "uint16", "float32", "float16", "float64")
    for (name, layout), dtype, planar in itertools.product(LAYOUTS.items(), types, (False, True)):
        if layout.samples == 1 and planar:
            continue
        ink = layout.photometric == "separated"
        if dtype in ("float16", "float64") and (ink or layout.extra or planar):
            continue
        if ink and dtype.startswith("float"):
            continue
        samples = samples_of(layout, dtype)
        data = written(samples, layout, planar=planar)
        refusable = name in ("cmyk-alpha", "rgb-mask-and-alpha", "gray-unspecified")
        # libvips and ImageMagick take any extra sample for alpha.
        mask = bool(layout.extra) and layout.extra[0] == _UNSPECIFIED
        unlike = ("vips", "magick") if mask else ()
        yield _variant(
            f"{name}-{dtype}{'-planar' if planar else ''}", data, samples, layout,
            may_refuse=refusable, unlike=unlike,
        )  # fmt: skip


def _depths() -> Variants:
    for bits in (2, 4, 6, 10, 12, 14):
        few = bits not in (2, 4, 12)
        for name, layout in (("gray", LAYOUTS["gray"]), ("rgb", LAYOUTS["rgb"]),
                             ("white-is-zero", LAYOUTS["white-is-zero"])):  # fmt: skip
            samples = random_samples(layout.samples, bits)
            data = written(samples, layout, bitspersample=bits)
            wide = scaled(samples, bits)
            if layout.photometric == "miniswhite":
                wide = np.iinfo(wide.dtype).max - wide
            yield Variant(
                f"tiff-{name}-{bits}-bits", "tiff", data, wide, None, 1 / 257,
                may_refuse=few or layout.colors == 3,
            )  # fmt: skip
    bilevel = random_samples(1, 1)[:, :, 0].astype(bool)
    for name, invert in (("minisblack", False), ("miniswhite", True)):
        file = io.BytesIO()
        tifffile.imwrite(file, bilevel, photometric=name, metadata=None)
        color = (bilevel != invert)[:, :, None] * np.uint8(255)
        yield Variant(f"tiff-bilevel-{name}", "tiff", file.getvalue(), color)
    for bits in (1, 2, 4, 8):
        index = random_samples(1, bits)[:, :, 0]
        palette = np.random.default_rng(bits).integers(0, 256, (3, 2**bits)).astype(np.uint16) * 257
        file = io.BytesIO()
        color = (palette >> 8).astype(np.uint8).T[index]
        yield Variant(f"tiff-palette-{bits}", "tiff", _palette_file(index, bits, palette), color)
    tifffile.imwrite(file, index, photometric="palette", colormap=palette, metadata=None)
    yield Variant("tiff-palette-tifffile", "tiff", file.getvalue(), color)


def _palette_file(index: Samples, bits: int, palette: Samples) -> bytes:
    """A little-endian TIFF of packed palette indices."""
    rows = b"".join(packed(row, bits) for row in index)
    height, width = index.shape
    colormap = palette.astype("<u2").tobytes()
    count = 9
    directory = 8 + len(rows) + len(rows) % 2
    behind = directory + 2 + 12 * count + 4
    entries = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, 3),
        (273, 4, 1, 8), (278, 3, 1, height), (279, 4, 1, len(rows)),
        (320, 3, palette.size, behind),
    ]  # fmt: skip
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    body = struct.pack("<2sHI", b"II", 42, directory) + rows + bytes(len(rows) % 2)
    return body + struct.pack("<H", count) + table + bytes(4) + colormap


def _compressions() -> Variants:
    lossless = ("lzw", "zlib", "adobe_deflate", "packbits", "zstd", "lzma", "png", "jpegxl", "webp",
                "jpeg2000", "lerc")  # fmt: skip
    needed = ("lzw", "zlib", "adobe_deflate", "packbits", "zstd", "lzma")
    for compression, name, dtype in itertools.product(
        lossless, ("gray", "rgb", "rgba"), ("uint8", "uint16", "float32")
    ):
        layout = LAYOUTS[name]
        if dtype == "float32" and compression in ("png", "webp", "jpeg2000", "jpegxl"):
            continue
        if compression == "webp" and (dtype != "uint8" or name == "gray"):
            continue
        samples = samples_of(layout, dtype)
        options: dict[str, Any] = {}
        if compression in ("webp", "jpegxl"):
            options["compressionargs"] = {"lossless": True}
        if compression == "jpeg2000":
            options["compressionargs"] = {"level": 0}
        try:
            data = written(samples, layout, compression=compression, **options)
        except (ValueError, KeyError, NotImplementedError):
            continue
        yield _variant(
            f"{compression}-{name}-{dtype}", data, samples, layout,
            may_refuse=compression not in needed,
        )  # fmt: skip
    for compression, name, dtype, planar in itertools.product(
        ("lzw", "zlib"), ("rgb", "gray-alpha"), ("uint8", "uint16", "float32"), (False, True)
    ):
        layout = LAYOUTS[name]
        samples = samples_of(layout, dtype)
        data = written(samples, layout, compression=compression, predictor=True, planar=planar)
        yield _variant(
            f"{compression}-predictor-{name}-{dtype}{'-planar' if planar else ''}", data, samples,
            layout,
        )  # fmt: skip
    bilevel = Image.fromarray(np.kron(random_samples(1, 1)[:, :, 0], np.ones((3, 3))) > 0)
    for compression in ("group3", "group4", "tiff_ccitt"):
        file = io.BytesIO()
        bilevel.save(file, "TIFF", compression=compression)
        color = np.asarray(bilevel)[:, :, None] * np.uint8(255)
        yield Variant(f"tiff-{compression}", "tiff", file.getvalue(), color)
    picture = Image.fromarray(np.kron(smooth(3), np.ones((3, 3, 1))).astype(np.uint8))
    for mode in ("L", "RGB", "CMYK"):
        file = io.BytesIO()
        picture.convert(mode).save(file, "TIFF", compression="jpeg", quality=95)
        yield Variant(f"tiff-jpeg-{mode}", "tiff", file.getvalue(), None, lossy=True)


def _structures() -> Variants:
    chosen = ("gray", "gray-alpha", "rgb", "rgba", "rgb-premultiplied")
    for name, dtype, byteorder, bigtiff in itertools.product(
        chosen, ("uint8", "uint16"), "<>", (False, True)
    ):
        layout = LAYOUTS[name]
        samples = samples_of(layout, dtype)
        data = written(samples, layout, byteorder=byteorder, bigtiff=bigtiff)
        label = f"{'big' if bigtiff else 'classic'}-{'mm' if byteorder == '>' else 'ii'}"
        yield _variant(f"{label}-{name}-{dtype}", data, samples, layout)
    for name, dtype, planar in itertools.product(
        (*chosen, "cmyk"), ("uint8", "uint16"), (False, True)
    ):
        layout = LAYOUTS[name]
        if layout.samples == 1 and planar:
            continue
        samples = samples_of(layout, dtype)
        tail = f"{name}-{dtype}{'-planar' if planar else ''}"
        for label, options in (
            ("tiled", {"tile": (16, 16)}),
            ("strips", {"rowsperstrip": 2}),
            ("tiled-lzw", {"tile": (16, 16), "compression": "lzw"}),
        ):
            data = written(samples, layout, planar=planar, **options)
            yield _variant(f"{label}-{tail}", data, samples, layout)
    layout = LAYOUTS["rgb"]
    for orientation, dtype in itertools.product(range(1, 9), ("uint8", "uint16")):
        samples = samples_of(layout, dtype)
        data = written(samples, layout, extratags=[(274, 3, 1, orientation, True)])
        yield _variant(
            f"orientation-{orientation}-{dtype}", data, upright(samples, orientation), layout
        )
    # Fill order 2: the bits of each byte the other way around.
    bits = random_samples(1, 1)[:, :, 0].astype(bool)
    rows = np.packbits(bits, axis=1, bitorder="little").tobytes()
    data = _bilevel_file(rows, bits.shape, fill_order=2)
    yield Variant("tiff-fill-order-2", "tiff", data, bits[:, :, None] * np.uint8(255))


def _bilevel_file(rows: bytes, shape: tuple[int, ...], *, fill_order: int) -> bytes:
    height, width = shape
    directory = 8 + len(rows) + len(rows) % 2
    entries = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, 1), (259, 3, 1, 1), (262, 3, 1, 1),
        (266, 3, 1, fill_order), (273, 4, 1, 8), (278, 3, 1, height), (279, 4, 1, len(rows)),
    ]  # fmt: skip
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    body = struct.pack("<2sHI", b"II", 42, directory) + rows + bytes(len(rows) % 2)
    return body + struct.pack("<H", len(entries)) + table + bytes(4)


def upright(samples: Samples, orientation: int) -> Samples:
    """Samples that are stored in an EXIF orientation as a viewer shows them."""
    # By transpositions of Pillow, one channel at a time.
    method = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)  # fmt: skip
    if method is None:
        return samples
    planes = [
        np.asarray(Image.fromarray(np.ascontiguousarray(plane)).transpose(method))
        for plane in samples.transpose(2, 0, 1)
    ]
    return np.stack(planes, axis=-1).astype(samples.dtype)


def _colors() -> Variants:
    # YCbCr without compression: BT.601 by default, BT.709 by the tag; full range.
    samples = random_samples(3, 8)
    for name, luma in (("601", (299, 587, 114, 1000)), ("709", (2126, 7152, 722, 10000))):
        red, green, blue = (value / luma[3] for value in luma[:3])
        y, cb, cr = (samples[:, :, n].astype(np.float64) - (0, 128, 128)[n] for n in range(3))
        r = y + (2 - 2 * red) * cr
        b = y + (2 - 2 * blue) * cb
        g = (y - red * r - blue * b) / green
        color = np.clip(np.rint(np.stack([r, g, b], axis=-1)), 0, 255).astype(np.uint8)
        tag = [n for value in luma[:3] for n in (value, luma[3])]
        data = written(samples, _Layout("ycbcr", 3), extratags=[(529, 5, 3, tag, True)])
        # libvips and ImageMagick do not convert; tifffile returns the samples as they are.
        yield Variant(
            f"tiff-ycbcr-{name}", "tiff", data, color, None, 1.0, may_refuse=True,
            unlike=("vips", "magick", "tifffile"),
        )  # fmt: skip
    lab = np.stack(
        [smooth(3)[:, :, 0], (smooth(3)[:, :, 1] // 4), (smooth(3)[:, :, 2] // 4)], axis=-1
    ).astype(np.uint8)
    data = written(lab, _Layout("cielab", 3))
    yield Variant("tiff-lab-8", "tiff", data, None, lossy=True)
    assert samples.shape == (HEIGHT, WIDTH, 3)
