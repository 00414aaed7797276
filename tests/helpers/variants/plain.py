"""Netpbm, PCX, QOI and DDS."""

from __future__ import annotations

import io
import struct
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from . import (
    HEIGHT,
    WIDTH,
    Samples,
    Variant,
    Variants,
    packed,
    random_samples,
    scaled,
    smooth,
    split,
)


def variants() -> Variants:
    """Every variant of the plain formats."""
    yield from _netpbm()
    yield from _pcx()
    yield from _qoi()
    yield from _dds()


# --- Netpbm: pbm(5), pgm(5), ppm(5), pam(5), pfm(5)


def _netpbm() -> Variants:
    bits = random_samples(1, 1)
    white = ((1 - bits) * 255).astype(np.uint8)
    rows = b"".join(packed(row, 1) for row in bits)
    yield Variant("ppm-p4", "ppm", b"P4\n%d %d\n" % (WIDTH, HEIGHT) + rows, white)
    digits = "".join(map(str, bits.reshape(-1).tolist())).encode()
    for name, text in (("", b" ".join(bytes([c]) for c in digits)), ("-dense", digits)):
        data = b"P1\n# comment\n%d %d\n" % (WIDTH, HEIGHT) + text + b"\n"
        yield Variant(f"ppm-p1{name}", "ppm", data, white)
    for channels, plain, raw in ((1, b"P2", b"P5"), (3, b"P3", b"P6")):
        for most in (1, 15, 100, 255, 1000, 4095, 65535):
            rng = np.random.default_rng(most)
            samples = rng.integers(0, most + 1, (HEIGHT, WIDTH, channels))
            limit = 255 if most < 256 else 65535
            rounded = (samples * limit + most // 2) // most  # halves up, as in netpbm
            color = rounded.astype(np.uint8 if most < 256 else np.uint16)
            head = b"\n%d %d\n%d\n" % (WIDTH, HEIGHT, most)
            body = samples.astype(np.uint8 if most < 256 else ">u2").tobytes()
            tolerance = 1 / 257 if most in (1000, 4095) else 0.0
            text = " ".join(map(str, samples.reshape(-1).tolist())).encode()
            name = raw.decode().lower()
            yield Variant(f"ppm-{name}-{most}", "ppm", raw + head + body, color, None, tolerance)
            # Text of more than 8 bits may be reduced, with a note.
            shown = color if most < 256 else None
            name = plain.decode().lower()
            yield Variant(f"ppm-{name}-{most}", "ppm", plain + head + text + b"\n", shown)
    samples = random_samples(3, 8)
    head = b"P6 # a\n#b\n %d\t%d #c\n255 " % (WIDTH, HEIGHT)
    yield Variant("ppm-p6-comments", "ppm", head + samples.tobytes(), samples)


# --- PCX: ZSoft, version 5


def _pcx_file(planes: list[Samples], bits: int, *, palette: Samples | None = None,
              version: int = 5) -> bytes:  # fmt: skip
    """A PCX of planes (H, W) of samples of ``bits``."""
    height, width = planes[0].shape
    stride = -(-width * bits // 8)
    stride += stride % 2
    header = bytearray(128)
    struct.pack_into(
        "<BBBBHHHHHH", header, 0, 10, version, 1, bits, 0, 0, width - 1, height - 1, 72, 72
    )
    if palette is not None and len(palette) <= 16:
        header[16 : 16 + 3 * len(palette)] = palette.tobytes()
    struct.pack_into("<BHH", header, 65, len(planes), stride, 1)
    body = b""
    for y in range(height):
        line = b"".join(packed(plane[y], bits).ljust(stride, b"\0") for plane in planes)
        body += b"".join(bytes([0xC1, v]) for v in line)
    tail = b"\x0c" + palette.tobytes() if palette is not None and len(palette) == 256 else b""
    return bytes(header) + body + tail


def _pcx() -> Variants:
    rng = np.random.default_rng(4)
    color = random_samples(3, 8)
    yield Variant("pcx-24", "pcx", _pcx_file(list(color.transpose(2, 0, 1)), 8), color)
    index = random_samples(1, 8)[:, :, 0]
    palette = rng.integers(0, 256, (256, 3), np.uint8)
    yield Variant("pcx-8", "pcx", _pcx_file([index], 8, palette=palette), palette[index])
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    yield Variant("pcx-8-gray", "pcx", _pcx_file([index], 8, palette=ramp), index[:, :, None])
    four = random_samples(1, 4)[:, :, 0]
    sixteen = rng.integers(0, 256, (16, 3), np.uint8)
    planes = [four >> n & 1 for n in range(4)]
    yield Variant("pcx-1-4-planes", "pcx", _pcx_file(planes, 1, palette=sixteen), sixteen[four])
    yield Variant(
        "pcx-4", "pcx", _pcx_file([four], 4, palette=sixteen), sixteen[four], may_refuse=True
    )
    bit = random_samples(1, 1)[:, :, 0]
    black = np.array([[0, 0, 0], [255, 255, 255]], np.uint8)
    data, shown = _pcx_file([bit], 1, palette=black), bit[:, :, None] * np.uint8(255)
    # ImageMagick 6 inverts two colors.
    yield Variant("pcx-1", "pcx", data, shown, unlike=("magick",))


# --- QOI: qoiformat.org


def _qoi() -> Variants:
    for channels in (3, 4):
        for name, samples in (("noise", random_samples(channels, 8)), ("ramps", smooth(channels))):
            data = bytes(imagecodecs.qoi_encode(samples))
            color, alpha = split(samples, 3)
            yield Variant(f"qoi-{channels}-{name}", "qoi", data, color, alpha)


# --- DDS: Direct3D 9 and DX10 headers


def _dds_file(
    pixels: bytes, *, flags: int, bits: int = 0, masks: tuple[int, int, int, int] = (0, 0, 0, 0),
    fourcc: bytes = bytes(4), dx10: int | None = None, width: int = WIDTH, height: int = HEIGHT,
) -> bytes:  # fmt: skip
    head = struct.pack("<4sIIIIIII44x", b"DDS ", 124, 0x1007, height, width, len(pixels), 0, 1)
    head += struct.pack("<II4sIIIII", 32, flags, fourcc, bits, *masks)
    head += struct.pack("<IIIII", 0x1000, 0, 0, 0, 0)
    if dx10 is not None:
        head += struct.pack("<IIIII", dx10, 3, 0, 1, 0)
    return head + pixels


def _dds() -> Variants:
    samples = random_samples(4, 8)
    color, alpha = samples[:, :, :3], samples[:, :, 3]
    rgb, with_alpha = 0x40, 0x41
    order = np.ascontiguousarray
    for name, body, options, shown, seen in (
        ("bgr24", color[:, :, ::-1], {"flags": rgb, "bits": 24,
         "masks": (0xFF0000, 0xFF00, 0xFF, 0)}, color, None),
        ("rgb24", color, {"flags": rgb, "bits": 24, "masks": (0xFF, 0xFF00, 0xFF0000, 0)},
         color, None),
        ("bgra32", samples[:, :, [2, 1, 0, 3]], {"flags": with_alpha, "bits": 32,
         "masks": (0xFF0000, 0xFF00, 0xFF, 0xFF000000)}, color, alpha),
        ("rgba32", samples, {"flags": with_alpha, "bits": 32,
         "masks": (0xFF, 0xFF00, 0xFF0000, 0xFF000000)}, color, alpha),
        ("bgrx32", samples[:, :, [2, 1, 0, 3]], {"flags": rgb, "bits": 32,
         "masks": (0xFF0000, 0xFF00, 0xFF, 0)}, color, None),
        ("l8", color[:, :, :1], {"flags": 0x20000, "bits": 8, "masks": (0xFF, 0, 0, 0)},
         color[:, :, :1], None),
        ("la16", samples[:, :, [0, 3]], {"flags": 0x20001, "bits": 16,
         "masks": (0xFF, 0, 0, 0xFF00)}, color[:, :, :1], alpha),
        ("dx10-rgba", samples, {"flags": 4, "fourcc": b"DX10", "dx10": 28}, color, alpha),
    ):  # fmt: skip
        data = _dds_file(order(body).tobytes(), **options)  # type: ignore[arg-type]
        # ImageMagick 6 takes blue for red.
        unlike = ("magick",) if name.startswith("rgb") else ()
        yield Variant(f"dds-{name}", "dds", data, shown, seen, unlike=unlike)
    five = samples[:, :, :3].astype(np.uint16)
    values = five[:, :, 0] >> 3 << 11 | five[:, :, 1] >> 2 << 5 | five[:, :, 2] >> 3
    shown = np.dstack(
        [scaled(samples[:, :, n] >> (8 - bits), bits) for n, bits in ((0, 5), (1, 6), (2, 5))]
    )
    data = _dds_file(
        values.astype("<u2").tobytes(), flags=rgb, bits=16, masks=(0xF800, 0x7E0, 0x1F, 0)
    )
    yield Variant("dds-565", "dds", data, shown, None, 1.0)
    # Blocks of 4x4 pixels; only other decoders tell what they hold.
    ramps = Image.fromarray(np.pad(smooth(4), ((0, 3), (0, 3), (0, 0)), "edge")[:12, :16])
    for name in ("DXT1", "DXT3", "DXT5", "BC2", "BC3", "BC5"):
        file = io.BytesIO()
        source: Any = ramps if name != "BC5" else ramps.convert("RGB")
        source.save(file, "DDS", pixel_format=name)
        yield Variant(f"dds-{name.lower()}", "dds", file.getvalue(), None)
