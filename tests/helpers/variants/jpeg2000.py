"""JPEG 2000: depths, layouts, codestream and JP2, palettes, channel definitions, subsampling."""

from __future__ import annotations

import io
import itertools
import struct

import imagecodecs
import numpy as np
from PIL import Image

from . import Samples, Variant, Variants, random_samples, scaled, split

_CHANNELS = {"gray": 1, "gray-alpha": 2, "rgb": 3, "rgba": 4}


def box(name: bytes, data: bytes) -> bytes:
    """A box of ISO/IEC 15444-1, annex I."""
    return struct.pack(">I4s", 8 + len(data), name) + data


def codestream(samples: Samples, bits: int) -> bytes:
    """A lossless codestream of samples below 2 ** bits."""
    return bytes(
        imagecodecs.jpeg2k_encode(
            samples, level=0, codecformat="j2k", bitspersample=bits, mct=False
        )
    )


def subsampled(planes: list[Samples], steps: list[tuple[int, int]]) -> bytes:
    """A codestream of 8-bit planes, each with its own step in x and y (ISO/IEC 15444-1, A.5.1).

    With one resolution and one layer, the packets of the components follow each other, so the
    bodies of codestreams of one component are put together.
    """
    height, width = planes[0].shape
    bodies, head = [], b""
    for plane in planes:
        file = io.BytesIO()
        Image.fromarray(plane).save(file, "JPEG2000", no_jp2=True, num_resolutions=1)
        stream = file.getvalue()
        start = stream.index(b"\xff\x93") + 2
        bodies.append(stream[start:-2])
        tile = stream.index(b"\xff\x90")
        head = head or stream[:tile]
    at = head.index(b"\xff\x51")
    (length,) = struct.unpack_from(">H", head, at + 2)
    size = struct.pack(
        ">HIIIIIIIIH", 0, width, height, 0, 0, width, height, 0, 0, len(planes)
    ) + b"".join(struct.pack(">BBB", 7, *step) for step in steps)
    head = head[:at] + struct.pack(">HH", 0xFF51, 2 + len(size)) + size + head[at + 2 + length :]
    body = b"".join(bodies)
    tile_part = struct.pack(">HHHIBB", 0xFF90, 10, 0, 14 + len(body), 0, 1)
    return head + tile_part + b"\xff\x93" + body + b"\xff\xd9"


def wrapped(
    stream: bytes, *, channels: int, bits: int, space: int, extra: bytes = b"",
    size: tuple[int, int], before: bytes = b"",
) -> bytes:  # fmt: skip
    """A JP2 around a codestream. space: 16 sRGB, 17 gray, 18 sYCC. extra: boxes in the header."""
    height, width = size
    header = box(b"ihdr", struct.pack(">IIHBBBB", height, width, channels, bits - 1, 7, 0, 0))
    color = box(b"colr", struct.pack(">BBBI", 1, 0, 0, space))
    return (
        box(b"jP  ", b"\r\n\x87\n")
        + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
        + box(b"jp2h", header + before + color + extra)
        + box(b"jp2c", stream)
    )


def cdef(*entries: tuple[int, int, int]) -> bytes:
    """Channel definitions: channel, type (0 color, 1 opacity, 2 premultiplied) and association."""
    body = struct.pack(">H", len(entries)) + b"".join(struct.pack(">HHH", *e) for e in entries)
    return box(b"cdef", body)


def variants() -> Variants:
    """Every variant of JPEG 2000."""
    for (name, channels), bits in itertools.product(_CHANNELS.items(), (1, 2, 4, 7, 8, 10, 12, 16)):
        samples = random_samples(channels, bits)
        stored = samples[:, :, 0] if channels == 1 else samples
        stream = codestream(stored, bits)
        color, alpha = split(scaled(samples, bits), 3 if channels > 2 else 1)
        tolerance = 1 / 257 if bits > 8 else 0.0
        space = 16 if channels > 2 else 17
        opacity = b""
        if channels in (2, 4):
            colors = channels - 1
            opacity = cdef(*((n, 0, n + 1) for n in range(colors)), (colors, 1, 0))
        data = wrapped(
            stream, channels=channels, bits=bits, space=space, size=samples.shape[:2], extra=opacity
        )
        yield Variant(f"jp2-{name}-{bits}", "jpeg2000", data, color, alpha, tolerance)
        if channels in (1, 3):
            yield Variant(f"j2k-{name}-{bits}", "jpeg2000", stream, color, alpha, tolerance)
    samples = random_samples(3, 8)
    file = io.BytesIO()
    Image.fromarray(samples).save(file, "JPEG2000", tile_size=(8, 8))
    yield Variant("jp2-tiles", "jpeg2000", file.getvalue(), samples)
    yield from _palettes()
    yield from _chroma()
    yield from _definitions()


def _palettes() -> Variants:
    index = random_samples(1, 2)
    for name, bits in (("", 2), ("-8", 8)):
        stream = codestream(index[:, :, 0], bits)
        table = np.array([[0, 0, 0], [0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)
        pclr = box(b"pclr", struct.pack(">HB3B", 4, 3, 7, 7, 7) + table.tobytes())
        cmap = box(b"cmap", b"".join(struct.pack(">HBB", 0, 1, n) for n in range(3)))
        data = wrapped(
            stream, channels=1, bits=bits, space=16, size=index.shape[:2], before=pclr + cmap
        )
        yield Variant(f"jp2-palette{name}", "jpeg2000", data, table[index[:, :, 0]])


def _definitions() -> Variants:
    samples = random_samples(4, 8)
    color, alpha = samples[:, :, :3], samples[:, :, 3]
    size = samples.shape[:2]
    # Stored as blue, green, red.
    stream = codestream(np.ascontiguousarray(color[:, :, ::-1]), 8)
    data = wrapped(
        stream, channels=3, bits=8, space=16, size=size, extra=cdef((0, 0, 3), (1, 0, 2), (2, 0, 1))
    )
    yield Variant("jp2-bgr", "jpeg2000", data, color, may_refuse=True)
    # Alpha first.
    stream = codestream(np.ascontiguousarray(samples[:, :, [3, 0, 1, 2]]), 8)
    data = wrapped(
        stream, channels=4, bits=8, space=16, size=size,
        extra=cdef((0, 1, 0), (1, 0, 1), (2, 0, 2), (3, 0, 3)),
    )  # fmt: skip
    yield Variant("jp2-argb", "jpeg2000", data, color, alpha, may_refuse=True)
    # A fourth channel that is no opacity.
    stream = codestream(samples, 8)
    data = wrapped(
        stream, channels=4, bits=8, space=16, size=size,
        extra=cdef((0, 0, 1), (1, 0, 2), (2, 0, 3), (3, 65535, 65535)),
    )  # fmt: skip
    yield Variant(
        "jp2-unspecified",
        "jpeg2000",
        data,
        color,
        may_refuse=True,
        unlike=("magick", "imagecodecs"),
    )
    premultiplied = samples.copy()
    clear = random_samples(1, 1)[:, :, 0] == 0
    premultiplied[clear] = 0
    premultiplied[~clear, 3] = 255
    stream = codestream(premultiplied, 8)
    data = wrapped(
        stream, channels=4, bits=8, space=16, size=size,
        extra=cdef((0, 0, 1), (1, 0, 2), (2, 0, 3), (3, 2, 0)),
    )  # fmt: skip
    yield Variant(
        "jp2-premultiplied", "jpeg2000", data, premultiplied[:, :, :3], premultiplied[:, :, 3],
        may_refuse=True,
    )  # fmt: skip


def _chroma() -> Variants:
    for (name, step), width, height in itertools.product(
        (("444", (1, 1)), ("422", (2, 1)), ("420", (2, 2))), (12, 13), (8, 9)
    ):
        luma = np.random.default_rng(1).integers(60, 190, (height, width), np.uint8)
        size = -(-height // step[1]), -(-width // step[0])
        # Flat chroma, so that no rule of interpolation matters.
        planes = [luma, np.full(size, 100, np.uint8), np.full(size, 150, np.uint8)]
        stream = subsampled(planes, [(1, 1), step, step])
        y, cb, cr = luma.astype(np.float64), 100 - 128, 150 - 128
        color = np.stack(
            [y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1
        )
        color = np.clip(np.rint(color), 0, 255).astype(np.uint8)
        data = wrapped(stream, channels=3, bits=8, space=18, size=luma.shape)
        yield Variant(
            f"jp2-ycc-{name}-{width}x{height}", "jpeg2000", data, color, None, 1.0,
            may_refuse=name != "444",
        )  # fmt: skip
