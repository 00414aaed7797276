"""PSD: color modes, depths, compressions, and what the channels beyond color are.

Layout: Adobe Photoshop File Formats Specification. The sign of the layer count says whether the
first extra channel is the transparency of the merged picture.
"""

from __future__ import annotations

import struct

import numpy as np

from . import Samples, Variant, Variants, packed, random_samples

BITMAP, GRAY, INDEXED, RGB, CMYK, MULTICHANNEL, LAB = 0, 1, 2, 3, 4, 7, 9


def file(
    planes: Samples, mode: int, *, depth: int = 8, layers: int = 0, packbits: bool = False,
    palette: Samples | None = None, resources: bytes = b"", version: int = 1,
    layer: Samples | None = None,
) -> bytes:  # fmt: skip
    """A PSD of planes (C, H, W). layers: the layer count; negative: the first extra is alpha.

    layer: planes of a layer over the whole picture; None makes layers without pixels.
    """
    count, height, width = planes.shape
    head = struct.pack(">4sH6xHIIHH", b"8BPS", version, count, height, width, depth, mode)
    colors = b"" if palette is None else palette.T.tobytes()
    head += struct.pack(">I", len(colors)) + colors
    head += struct.pack(">I", len(resources)) + resources
    wide = ">Q" if version == 2 else ">I"
    info = b""
    if layers:
        # Records of empty layers: no channels, normal mode, full opacity.
        record = struct.pack(">iiiiH", 0, 0, 0, 0, 0) + b"8BIMnorm" + bytes([255, 0, 0, 0])
        record += struct.pack(">I", 12) + bytes(8) + b"\0\0\0\0"
        info = struct.pack(">h", layers) + record * abs(layers)
        info += bytes(len(info) % 2)
    if layer is not None:
        record = struct.pack(">iiiiH", 0, 0, height, width, len(layer))
        record += b"".join(
            struct.pack(">hI", number, 2 + plane.size) for number, plane in enumerate(layer)
        )
        record += b"8BIMnorm" + bytes([255, 0, 0, 0]) + struct.pack(">I", 12) + bytes(12)
        info = struct.pack(">h", layers) + record
        info += b"".join(struct.pack(">H", 0) + plane.tobytes() for plane in layer)
        info += bytes(len(info) % 2)
    section = struct.pack(wide, len(info)) + info + struct.pack(">I", 0) if layers else b""
    head += struct.pack(wide, len(section)) + section
    bits = depth if depth == 1 else 8 if depth == 8 else 16
    rows = [packed(row, bits) for plane in planes for row in plane]
    if not packbits:
        return head + struct.pack(">H", 0) + b"".join(rows)
    literal = [
        b"".join(
            bytes([len(row[i : i + 128]) - 1]) + row[i : i + 128] for i in range(0, len(row), 128)
        )
        for row in rows
    ]
    counts = b"".join(struct.pack(">I" if version == 2 else ">H", len(row)) for row in literal)
    return head + struct.pack(">H", 1) + counts + b"".join(literal)


def resource(number: int, data: bytes) -> bytes:
    """An image resource without a name."""
    return struct.pack(">4sHHI", b"8BIM", number, 0, len(data)) + data + bytes(len(data) % 2)


def merged(real: bool) -> bytes:
    """Resource 1057, version info: whether the merged picture is real."""
    name = struct.pack(">I", 1) + b"\0a"
    return resource(1057, struct.pack(">IB", 1, real) + name + name + struct.pack(">I", 1))


def variants() -> Variants:
    """Every variant of PSD."""
    samples = random_samples(5, 8)
    planes = np.ascontiguousarray(samples.transpose(2, 0, 1))
    color, gray = samples[:, :, :3], samples[:, :, :1]
    bits = random_samples(1, 1)
    white = ((1 - bits) * 255).astype(np.uint8)
    for name, packbits in (("", False), ("-packbits", True)):
        data = file(bits.transpose(2, 0, 1), BITMAP, depth=1, packbits=packbits)
        yield Variant(f"psd-bitmap{name}", "psd", data, white)
        for mode_name, mode, count, shown in (
            ("gray", GRAY, 1, gray), ("rgb", RGB, 3, color),
        ):  # fmt: skip
            data = file(planes[:count], mode, packbits=packbits)
            yield Variant(f"psd-{mode_name}{name}", "psd", data, shown)
            data = file(planes[:count], mode, packbits=packbits, layers=1)
            yield Variant(f"psd-{mode_name}-layer{name}", "psd", data, shown)
            # A saved selection: the merged picture is opaque. Without a layer, psd-tools reads the
            # channel as alpha.
            for layers in (0, 1):
                data = file(planes[: count + 1], mode, packbits=packbits, layers=layers)
                yield Variant(
                    f"psd-{mode_name}-selection-{layers}{name}", "psd", data, shown,
                    unlike=("psd-tools",) if layers == 0 else (),
                )  # fmt: skip
            # Transparency, alone and with a saved selection; solid or clear, so that the white
            # behind it does not matter.
            alpha = np.where(samples[:, :, 4] > 99, 255, 0).astype(np.uint8)
            blended = np.where(alpha[None] == 0, 255, planes[:count]).astype(np.uint8)
            for more in (0, 1):
                stack = np.concatenate([blended, alpha[None], *([planes[4:]] if more else [])])
                data = file(stack, mode, packbits=packbits, layers=-1)
                yield Variant(
                    f"psd-{mode_name}-alpha-{more}{name}", "psd", data, shown, alpha,
                    unlike=("magick",) if more and mode == GRAY else (),
                )  # fmt: skip
    # Half-transparent: blended with white, so color is recovered within the rounding.
    alpha = np.full(gray.shape[:2], 128, np.uint8)
    over = np.rint(color * (128 / 255) + (255 - 128)).astype(np.uint8)
    stack = np.concatenate([over.transpose(2, 0, 1), alpha[None]])
    yield Variant(
        "psd-rgb-blended", "psd", file(stack, RGB, layers=-1), color, alpha, 1.0,
        unlike=("magick",),
    )  # fmt: skip
    palette = np.random.default_rng(2).integers(0, 256, (256, 3), np.uint8)
    yield Variant(
        "psd-indexed", "psd", file(planes[:1], INDEXED, palette=palette), palette[planes[0]]
    )
    # Ink is stored inverted.
    yield Variant("psd-cmyk", "psd", file(planes[:4], CMYK), None)
    yield Variant(
        "psd-lab", "psd", file(planes[:3], LAB), None, may_refuse=True, unlike=("magick",)
    )
    deep = random_samples(3, 16)
    data = file(deep.transpose(2, 0, 1), RGB, depth=16)
    yield Variant("psd-rgb-16", "psd", data, deep, may_refuse=True)
    yield Variant("psb-rgb", "psd", file(planes[:3], RGB, version=2), color, may_refuse=True)
    yield Variant(
        "psd-multichannel", "psd", file(planes[:3], MULTICHANNEL), None, may_refuse=True,
        unlike=("magick", "psd-tools"),
    )  # fmt: skip
    data = file(planes[:3], RGB, resources=merged(True))
    yield Variant("psd-merged-real", "psd", data, color)
    # Saved without compatibility: the merged picture is white, the layer holds the pixels.
    blank = np.full_like(planes[:3], 255)
    data = file(blank, RGB, layers=1, layer=planes[:3], resources=merged(False))
    yield Variant("psd-merged-blank", "psd", data, color, may_refuse=True, unlike=("magick",))
