"""ICO and CUR: pictures of every depth with masks, PNG inside, and the choice among several."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import numpy as np
from PIL import Image

from . import HEIGHT, WIDTH, Samples, Variant, Variants, packed, random_samples
from .bmp import padded


def picture(
    rows: Samples, bits: int, mask: Samples, *, palette: Samples | None = None, header: int = 40,
    profile: bytes = b"",
) -> bytes:  # fmt: skip
    """A DIB of twice the height: pixels and the AND mask, 1 where transparent, from the bottom."""
    height, width = rows.shape[:2]
    info = struct.pack("<IiiHHIIiiII", header, width, 2 * height, 1, bits, 0, 0, 0, 0, 0, 0)
    info = info.ljust(header, b"\0")
    table = b"" if palette is None else b"".join(bytes(c[::-1]) + b"\0" for c in palette)
    body = b"".join(padded(packed(row, min(bits, 8))) for row in rows[::-1])
    return info + table + body + b"".join(padded(packed(row, 1)) for row in mask[::-1]) + profile


def file(pictures: Sequence[tuple[bytes, int, int, int]], *, kind: int = 1) -> bytes:
    """An ICO (1) or CUR (2) of pictures: data, width, height and bits."""
    start = 6 + 16 * len(pictures)
    entries, bodies = b"", b""
    for data, width, height, bits in pictures:
        one, depth = (1, bits) if kind == 1 else (0, 0)
        entries += struct.pack(
            "<BBBBHHII", width % 256, height % 256, 0, 0, one, depth, len(data), start + len(bodies)
        )
        bodies += data
    return struct.pack("<HHH", 0, kind, len(pictures)) + entries + bodies


def variants() -> Variants:
    """Every variant of ICO."""
    mask = random_samples(1, 1)[:, :, 0]
    seen = ((1 - mask) * 255).astype(np.uint8)
    samples = random_samples(4, 8)
    color, alpha = samples[:, :, :3], samples[:, :, 3]
    parts: dict[int, tuple[bytes, Samples, Samples]] = {}
    for bits in (1, 4, 8):
        index = random_samples(1, bits)[:, :, 0]
        palette = np.random.default_rng(bits).integers(0, 256, (2**bits, 3), np.uint8)
        parts[bits] = picture(index, bits, mask, palette=palette), palette[index], seen
    parts[24] = picture(np.ascontiguousarray(color[:, :, ::-1]), 24, mask), color, seen
    bgra = np.ascontiguousarray(samples[:, :, [2, 1, 0, 3]])
    none = np.zeros_like(mask)
    parts[32] = picture(bgra, 32, none), color, alpha
    for bits, (data, shown, opacity) in parts.items():
        for kind, name in ((1, "ico"), (2, "cur")):
            whole = file([(data, WIDTH, HEIGHT, bits)], kind=kind)
            yield Variant(f"{name}-{bits}", "ico", whole, shown, opacity, may_refuse=kind == 2)
    for depth in (24, 32):
        png = io.BytesIO()
        Image.fromarray(samples if depth == 32 else color).save(png, "PNG")
        whole = file([(png.getvalue(), WIDTH, HEIGHT, depth)])
        yield Variant(f"ico-png-{depth}", "ico", whole, color, alpha if depth == 32 else None)
    # The best depth among equal sizes, whatever the order.
    for name, order in (("up", (1, 4, 8, 32)), ("down", (32, 8, 4, 1)), ("no-alpha", (8, 24, 4))):
        best = max(order)
        whole = file([(parts[bits][0], WIDTH, HEIGHT, bits) for bits in order])
        # ImageMagick returns them all; the first of the largest is compared.
        yield Variant(f"ico-depths-{name}", "ico", whole, *parts[best][1:], unlike=("magick",))
    small = np.ascontiguousarray(bgra[:4, :5])
    entry = picture(small, 32, none[:4, :5]), 5, 4, 32
    whole = file([entry, (parts[8][0], WIDTH, HEIGHT, 8), entry])
    yield Variant("ico-largest", "ico", whole, *parts[8][1:])
    data = picture(
        np.ascontiguousarray(color[:, :, ::-1]), 24, mask, header=124, profile=b"profile" * 40
    )
    # ImageMagick 6 does not skip the longer header.
    yield Variant(
        "ico-24-v5-profile", "ico", file([(data, WIDTH, HEIGHT, 24)]), color, seen,
        unlike=("magick",),
    )  # fmt: skip
