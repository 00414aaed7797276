"""BMP: headers of every version, bit fields, run lengths, OS/2 (Windows GDI, OS/2 1.x and 2.x)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from . import HEIGHT, WIDTH, Samples, Variant, Variants, packed, random_samples

RGB, RLE8, RLE4, BITFIELDS, ALPHABITFIELDS = 0, 1, 2, 3, 6
OS2_RLE24 = 4

#: Masks of bit fields: bits per pixel; red, green, blue, alpha.
MASKS: dict[str, tuple[int, tuple[int, int, int, int]]] = {
    "555": (16, (0x7C00, 0x3E0, 0x1F, 0)),
    "565": (16, (0xF800, 0x7E0, 0x1F, 0)),
    "bgr565": (16, (0x1F, 0x7E0, 0xF800, 0)),
    "x444": (16, (0xF00, 0xF0, 0xF, 0)),
    "a444": (16, (0xF00, 0xF0, 0xF, 0xF000)),
    "rgba4444": (16, (0xF000, 0xF00, 0xF0, 0xF)),
    "a1555": (16, (0x7C00, 0x3E0, 0x1F, 0x8000)),
    "231": (16, (0b110000, 0b1110, 0b1, 0)),
    "x888": (32, (0xFF0000, 0xFF00, 0xFF, 0)),
    "bgr888": (32, (0xFF, 0xFF00, 0xFF0000, 0)),
    "a888": (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
    "rgba8888": (32, (0xFF000000, 0xFF0000, 0xFF00, 0xFF)),
    "abgr8888": (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
    "a2-10-10-10": (32, (0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000)),
    "11-11-10": (32, (0xFFE00000, 0x1FFC00, 0x3FF, 0)),
    "gap": (32, (0x7F000000, 0x7F00, 0x7F, 0)),
}


def file(
    rows: Sequence[bytes], bits: int, *, header: int = 40, compression: int = RGB,
    masks: Sequence[int] = (), palette: Samples | None = None, colors_used: int | None = None,
    top_down: bool = False, gap: int = 0, profile: bytes = b"", width: int = WIDTH,
    height: int = HEIGHT,
) -> bytes:  # fmt: skip
    """A BMP of rows from the bottom up, or of one encoded row."""
    pixels = b"".join(rows)
    used = colors_used if colors_used is not None else 0 if palette is None else len(palette)
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        fields = (header, width, -height if top_down else height, 1, bits, compression)
        info = struct.pack("<IiiHHIIiiII", *fields, len(pixels), 2835, 2835, used, 0)
        if header in (52, 56, 108, 124):
            info += struct.pack("<4I", *(*masks, 0, 0, 0, 0)[:4])
        if header >= 108:
            info += b"BGRs" + bytes(48)
        if header == 124:
            # Profile behind the pixels, at an offset from the header.
            info += struct.pack("<IIII", 4, 0, 0, 0)
        info = info[:header].ljust(header, b"\0")
    if header == 40 and compression == BITFIELDS:
        info += struct.pack("<3I", *masks[:3])
    if header == 40 and compression == ALPHABITFIELDS:
        info += struct.pack("<4I", *masks)
    table = b""
    if palette is not None:
        entries = [bytes(color[::-1]) + (b"" if header == 12 else b"\0") for color in palette]
        table = b"".join(entries)
    start = 14 + len(info) + len(table) + gap
    if header == 124 and profile:
        info = bytearray(info)
        info[56:60] = b"DEBM"
        struct.pack_into("<II", info, 112, start - 14 + len(pixels), len(profile))
        info = bytes(info)
    size = start + len(pixels) + len(profile)
    head = struct.pack("<2sIHHI", b"BM", size, 0, 0, start)
    return head + info + table + bytes(gap) + pixels + profile


def padded(row: bytes) -> bytes:
    """A row in whole groups of four bytes."""
    return row + bytes(-len(row) % 4)


def shades(mask: int, samples: Samples) -> tuple[Samples, Samples]:
    """Values of a mask from 8-bit samples, and the 8-bit samples that they mean."""
    width = mask.bit_count()
    shift = (mask & -mask).bit_length() - 1
    white = 2**width - 1
    values = (samples.astype(np.uint32) * white + 127) // 255
    means = np.rint(values * 255 / white).astype(np.uint8)
    return values << shift, means


def variants() -> Variants:
    """Every variant of BMP."""
    yield from _palettes()
    yield from _direct()
    yield from _fields()
    yield from _runs()


def _palettes() -> Variants:
    for bits in (1, 2, 4, 8):
        index = random_samples(1, bits)[:, :, 0]
        palette = np.random.default_rng(bits).integers(0, 256, (2**bits, 3), np.uint8)
        color = palette[index]
        rows = [padded(packed(row, bits)) for row in index]
        for header in (12, 40, 64, 16, 108, 124):
            unusual = bits == 2 or header == 16
            if header in (12, 64, 16) and bits == 2:
                continue
            data = file(rows[::-1], bits, header=header, palette=palette)
            yield Variant(f"bmp-{bits}-header-{header}", "bmp", data, color, may_refuse=unusual)
        down = file(rows, bits, palette=palette, top_down=True, gap=8)
        yield Variant(f"bmp-{bits}-top-down-gap", "bmp", down, color, may_refuse=bits == 2)
        if bits > 1:
            few = 2**bits - 1
            short = np.minimum(index, few - 1)
            rows = [padded(packed(row, bits)) for row in short]
            data = file(rows[::-1], bits, palette=palette[:few])
            yield Variant(
                f"bmp-{bits}-short-palette", "bmp", data, palette[short], may_refuse=bits == 2
            )


def _direct() -> Variants:
    color = random_samples(3, 8)
    rows = [padded(row[:, ::-1].tobytes()) for row in color]
    for header in (12, 40, 64, 108, 124):
        data = file(rows[::-1], 24, header=header)
        yield Variant(f"bmp-24-header-{header}", "bmp", data, color)
    yield Variant("bmp-24-top-down", "bmp", file(rows, 24, top_down=True), color)
    data = file(rows[::-1], 24, header=124, profile=b"profile" * 9)
    yield Variant("bmp-24-profile", "bmp", data, color)
    for name, fourth in (("zero", 0), ("full", 255), ("half", 77)):
        rest = np.full((HEIGHT, WIDTH), fourth, np.uint8)
        rows = [row.tobytes() for row in np.dstack([color[:, :, ::-1], rest])[::-1]]
        yield Variant(f"bmp-32-reserved-{name}", "bmp", file(rows, 32), color)


def _fields() -> Variants:
    samples = random_samples(4, 8)
    for name, (bits, masks) in MASKS.items():
        planes = [shades(mask, samples[:, :, n]) for n, mask in enumerate(masks) if mask]
        values = np.sum([stored for stored, _ in planes], axis=0).astype(np.uint32)
        color = np.dstack([means for _, means in planes[:3]])
        alpha = planes[3][1] if masks[3] else None
        dtype = "<u2" if bits == 16 else "<u4"
        rows = [padded(row.astype(dtype).tobytes()) for row in values[::-1]]
        for header, compression in (
            *((40, BITFIELDS), (40, ALPHABITFIELDS), (52, BITFIELDS)),
            *((56, BITFIELDS), (108, BITFIELDS), (124, BITFIELDS)),
        ):
            with_alpha = header != 52 and not (header == 40 and compression == BITFIELDS)
            if compression == ALPHABITFIELDS and not masks[3]:
                continue
            data = file(rows, bits, header=header, compression=compression, masks=masks)
            # ImageMagick 6 expects an alpha mask of a header of 52 bytes, and scales 2 bits of
            # alpha wrong; imagecodecs reads 8 bits of wider masks only.
            unlike = ["magick"] if header == 52 or name.startswith("a2") else []
            unlike += ["imagecodecs"] if "10" in name or name == "gap" else []
            how = "alpha-fields" if compression == ALPHABITFIELDS else header
            yield Variant(
                f"bmp-{name}-{how}", "bmp", data, color, alpha if with_alpha else None, 1.0,
                may_refuse=True, unlike=tuple(unlike),
            )  # fmt: skip
    values = np.sum([shades(mask, samples[:, :, n])[0] for n, mask in
                     enumerate(MASKS["555"][1][:3])], axis=0)  # fmt: skip
    color = np.dstack([shades(m, samples[:, :, n])[1] for n, m in enumerate(MASKS["555"][1][:3])])
    rows = [padded(row.astype("<u2").tobytes()) for row in values[::-1]]
    yield Variant("bmp-16-default", "bmp", file(rows, 16), color, None, 1.0)


def _runs() -> Variants:
    palette = np.random.default_rng(8).integers(0, 256, (256, 3), np.uint8)
    index = np.repeat(random_samples(1, 8)[:, ::4, 0], 4, axis=1)[:, :WIDTH]
    flat = b"".join(_encoded(row.tolist()) for row in index[::-1]) + b"\0\1"
    data = file([flat], 8, compression=RLE8, palette=palette)
    yield Variant("bmp-rle8", "bmp", data, palette[index])
    absolute = b"".join(
        bytes([0, WIDTH]) + row.tobytes() + bytes(WIDTH % 2) + b"\0\0" for row in index[::-1]
    )
    data = file([absolute + b"\0\1"], 8, compression=RLE8, palette=palette)
    yield Variant("bmp-rle8-absolute", "bmp", data, palette[index])
    four = index % 16
    flat = b"".join(
        b"".join(bytes([1, value << 4]) for value in row) + b"\0\0" for row in four[::-1].tolist()
    )
    data = file([flat + b"\0\1"], 4, compression=RLE4, palette=palette[:16])
    yield Variant("bmp-rle4", "bmp", data, palette[four])
    absolute = b""
    for row in four[::-1]:
        body = packed(row, 4)
        absolute += bytes([0, WIDTH]) + body + bytes(len(body) % 2) + b"\0\0"
    data = file([absolute + b"\0\1"], 4, compression=RLE4, palette=palette[:16])
    yield Variant("bmp-rle4-absolute", "bmp", data, palette[four])
    # A jump by a delta: decoders leave the pixels between transparent, or take entry 0.
    body = b"\0\2\2\1" + _encoded(index[-2, 2:].tolist())
    body += b"".join(_encoded(row.tolist()) for row in index[:-2][::-1]) + b"\0\1"
    data = file([body], 8, compression=RLE8, palette=palette)
    yield Variant("bmp-rle8-delta", "bmp", data, None, unlike=("magick", "imagecodecs"))
    color = np.repeat(random_samples(3, 8)[:, ::4], 4, axis=1)[:, :WIDTH]
    runs = b""
    for row in color[::-1]:
        for start in range(0, WIDTH, 4):
            count = min(4, WIDTH - start)
            runs += bytes([count]) + row[start, ::-1].tobytes()
        runs += b"\0\0"
    data = file([runs + b"\0\1"], 24, header=64, compression=OS2_RLE24)
    yield Variant("bmp-rle24", "bmp", data, color, may_refuse=True)


def _encoded(row: list[int]) -> bytes:
    """Runs of one row, and the end of the line."""
    result = b""
    at = 0
    while at < len(row):
        count = 1
        while at + count < len(row) and row[at + count] == row[at] and count < 255:
            count += 1
        result += bytes([count, row[at]])
        at += count
    return result + b"\0\0"
