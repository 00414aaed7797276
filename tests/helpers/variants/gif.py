"""GIF: GIF89a of one frame, with its own LZW (CompuServe, 1990)."""

from __future__ import annotations

import struct

import numpy as np

from . import HEIGHT, WIDTH, Samples, Variant, Variants, random_samples


def lzw(index: Samples, bits: int, *, clear_each: int = 0) -> bytes:
    """Codes of a clear table and literals only, in blocks; clear_each: a clear code so often."""
    least = max(2, bits)
    clear, end = 1 << least, (1 << least) + 1
    codes: list[tuple[int, int]] = []
    size = least + 1
    for used, value in enumerate(index.reshape(-1).tolist()):
        # The table grows by an entry a code: clear before the codes grow.
        if used % (clear_each or (1 << least) - 2 or 1) == 0:
            codes.append((clear, size))
        codes.append((value, size))
    codes.append((end, size))
    whole, place = 0, 0
    for code, width in codes:
        whole |= code << place
        place += width
    data = whole.to_bytes(place // 8 + 1, "little")
    blocks = (data[i : i + 255] for i in range(0, len(data), 255))
    return bytes([least]) + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def file(
    index: Samples, palette: Samples, *, bits: int, canvas: tuple[int, int] = (WIDTH, HEIGHT),
    at: tuple[int, int] = (0, 0), transparent: int | None = None, local: bool = False,
    interlaced: bool = False, background: int = 0, version: bytes = b"GIF89a", before: bytes = b"",
    after: bytes = b"", trailer: bytes = b";", clear_each: int = 0,
) -> bytes:  # fmt: skip
    """A GIF of one frame of palette entries (H, W)."""
    height, width = index.shape
    table = palette.tobytes()
    flags = 0x70 | (0 if local else 0x80 | bits - 1)
    data = version + struct.pack("<HHBBB", *canvas, flags, background, 0)
    data += b"" if local else table
    data += before
    if transparent is not None:
        data += struct.pack("<BBBBHBB", 0x21, 0xF9, 4, 1, 0, transparent, 0)
    rows = index
    if interlaced:
        rows = np.concatenate([index[0::8], index[4::8], index[2::4], index[1::2]])
    local_flags = (0x80 | bits - 1 if local else 0) | (0x40 if interlaced else 0)
    data += struct.pack("<BHHHHB", 0x2C, *at, width, height, local_flags)
    return (
        data + (table if local else b"") + lzw(rows, bits, clear_each=clear_each) + after + trailer
    )


def variants() -> Variants:
    """Every variant of a GIF of one frame."""
    for bits in range(1, 9):
        index = random_samples(1, bits)[:, :, 0]
        palette = np.random.default_rng(bits).integers(0, 256, (2**bits, 3), np.uint8)
        color = palette[index]

        for name, options in (
            ("", {}),
            ("-interlaced", {"interlaced": True}),
            ("-local", {"local": True}),
            ("-background", {"background": 1}),
        ):
            data = file(index, palette, bits=bits, **options)  # type: ignore[arg-type]
            yield Variant(f"gif-{bits}{name}", "gif", data, color)
        clear = int(index[3, 4])
        alpha = np.where(index == clear, 0, 255).astype(np.uint8)
        data = file(index, palette, bits=bits, transparent=clear)
        yield Variant(f"gif-{bits}-transparent", "gif", data, color, alpha)
    # The last ones of the loop: 8 bits.
    data = file(index, palette, bits=8, version=b"GIF87a")
    yield Variant("gif-87a", "gif", data, color)
    data = file(index, palette, bits=8, before=b"!\xfe\5hello\0!\x01\x0c" + bytes(12) + b"\2hi\0")
    yield Variant("gif-extensions", "gif", data, color)
    data = file(index, palette, bits=8, clear_each=1)
    yield Variant("gif-clear-codes", "gif", data, color)
    for name, options in (
        ("trailing", {"trailer": b";" + bytes(50)}),
        ("no-trailer", {"trailer": b""}),
        ("other-trailer", {"trailer": b"GIF89a;"}),
    ):
        yield Variant(f"gif-{name}", "gif", file(index, palette, bits=8, **options), color)  # type: ignore[arg-type]
    larger = np.zeros((HEIGHT + 4, WIDTH + 6, 3), np.uint8)
    larger[3 : 3 + HEIGHT, 5 : 5 + WIDTH] = color
    seen = np.zeros(larger.shape[:2], np.uint8)
    seen[3 : 3 + HEIGHT, 5 : 5 + WIDTH] = 255
    for background in (0, 7):
        data = file(
            index, palette, bits=8, canvas=(WIDTH + 6, HEIGHT + 4), at=(5, 3), background=background
        )
        # ImageMagick and libvips fill the rest with the background color; browsers do not.
        yield Variant(
            f"gif-partial-{background}", "gif", data, larger, seen, unlike=("magick", "vips")
        )
    data = file(index, palette, bits=8, canvas=(0, 0))
    yield Variant("gif-no-canvas", "gif", data, color)
