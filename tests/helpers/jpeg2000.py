"""Codestreams and files of JPEG 2000 that no encoder at hand writes, for tests.

Each component is encoded alone, without decomposition; the packets follow each other in one tile.
Layout: ISO/IEC 15444-1, annexes A and I.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import imagecodecs
import numpy as np
import numpy.typing as npt

_SOT, _SOD, _EOC = 0xFF90, 0xFF93, 0xFFD9
_SIZ, _COD, _QCD, _QCC = 0xFF51, 0xFF52, 0xFF5C, 0xFF5D


def codestream(
    planes: Sequence[npt.NDArray[np.integer]],
    *,
    bits: Sequence[int] | int = 8,
    signed: Sequence[bool] | bool = False,
    steps: Sequence[tuple[int, int]] | None = None,
    size: tuple[int, int] | None = None,
) -> bytes:
    """Return a lossless codestream of one component for each of ``planes``, any integers.

    steps: of each component on the grid; size: width and height of the grid.
    """
    count = len(planes)
    depths = [bits] * count if isinstance(bits, int) else list(bits)
    signs = [signed] * count if isinstance(signed, bool) else list(signed)
    steps = steps or [(1, 1)] * count
    height, width = planes[0].shape
    width, height = size or (width, height)
    parts = [
        _parts(plane, depth, sign) for plane, depth, sign in zip(planes, depths, signs, strict=True)
    ]
    siz = struct.pack(">H8IH", 0, width, height, 0, 0, width, height, 0, 0, count)
    for depth, sign, (across, down) in zip(depths, signs, steps, strict=True):
        siz += struct.pack("3B", depth - 1 | (0x80 if sign else 0), across, down)
    cod, qcd = parts[0][0], parts[0][1]
    main = _marker(_SIZ, siz) + _marker(_COD, cod) + _marker(_QCD, qcd)
    for index, (_, quantization, _) in enumerate(parts[1:], 1):
        main += _marker(_QCC, bytes([index]) + quantization)
    packets = b"".join(packet for _, _, packet in parts)
    tile = struct.pack(">HHHIBBH", _SOT, 10, 0, 14 + len(packets), 0, 1, _SOD) + packets
    return b"\xff\x4f" + main + tile + struct.pack(">H", _EOC)


def _marker(kind: int, body: bytes) -> bytes:
    return struct.pack(">HH", kind, 2 + len(body)) + body


def _parts(plane: npt.NDArray[np.integer], bits: int, signed: bool) -> tuple[bytes, bytes, bytes]:
    """Return the bodies of COD and QCD, and the packet, of one component."""
    dtype = np.dtype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2 if bits <= 16 else 4}")
    data = imagecodecs.jpeg2k_encode(
        np.ascontiguousarray(plane.astype(dtype)),
        codecformat="J2K",
        bitspersample=bits,
        resolutions=1,
        reversible=True,
        mct=False,
        level=0,
    )
    found, position = {}, 2
    while True:
        kind, length = struct.unpack_from(">HH", data, position)
        if kind == _SOT:
            return found[_COD], found[_QCD], data[position + 14 : -2]
        found[kind] = data[position + 4 : position + 2 + length]
        position += 2 + length


def box(kind: bytes, body: bytes) -> bytes:
    """Return one box."""
    return struct.pack(">I4s", 8 + len(body), kind) + body


def jp2(stream: bytes, *header: bytes, before: bytes = b"") -> bytes:
    """Return a JP2 file of a codestream; header: boxes after "ihdr"; before: boxes before it."""
    width, height = struct.unpack_from(">II", stream, 8)
    count = struct.unpack_from(">H", stream, 40)[0]
    ihdr = box(b"ihdr", struct.pack(">IIHBBBB", height, width, count, stream[42], 7, 0, 0))
    return b"".join(
        (
            box(b"jP  ", b"\r\n\x87\n"),
            box(b"ftyp", b"jp2 \0\0\0\0jp2 "),
            box(b"jp2h", ihdr + b"".join(header)),
            before,
            box(b"jp2c", stream),
        )
    )


def enumerated(space: int, parameters: bytes = b"") -> bytes:
    """Return a "colr" box of an enumerated color space."""
    return box(b"colr", struct.pack(">3BI", 1, 0, 0, space) + parameters)


def profile(icc: bytes) -> bytes:
    """Return a "colr" box of a restricted profile."""
    return box(b"colr", b"\2\0\0" + icc)


def definitions(*channels: tuple[int, int, int]) -> bytes:
    """Return a "cdef" box of (channel, type, association)."""
    body = b"".join(struct.pack(">3H", *channel) for channel in channels)
    return box(b"cdef", struct.pack(">H", len(channels)) + body)
