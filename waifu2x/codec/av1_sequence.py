"""The colors in the sequence header of an AV1 bitstream.

An AVIF without a color box takes its colors from here. Syntax: AV1 Bitstream & Decoding Process
Specification, 5.3 (OBUs) and 5.5 (sequence header).
"""

from __future__ import annotations

from typing import NamedTuple

_SEQUENCE_HEADER = 1
_UNSPECIFIED = 2
_SRGB_WITHOUT_MATRIX = (1, 13, 0)


class Colors(NamedTuple):
    """The colors of a bitstream: code points of ITU-T H.273, 2 for what is unspecified.

    limited: whether 8-bit samples end at 16 and 235 or 240.
    """

    primaries: int
    transfer: int
    matrix: int
    limited: bool


class _Bits:
    """Reads a big-endian bit field; raises ValueError at its end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("its sequence header ends too early")
        return self._value >> self._left & (1 << count) - 1

    def flag(self) -> bool:
        return self.read(1) == 1


def colors_of(bitstream: bytes) -> Colors | None:
    """Return the colors in the first sequence header; None if there is none.

    bitstream: its start, or the OBUs of an av1C box. Raises ValueError if it is damaged.
    """
    position = 0
    while position < len(bitstream):
        head = bitstream[position]
        position += 2 if head & 4 else 1
        size = len(bitstream) - position
        if head & 2:
            size, position = _leb128(bitstream, position)
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            return _in_sequence_header(_Bits(bitstream[position : position + size]))
        position += size
    return None


def _leb128(data: bytes, position: int) -> tuple[int, int]:
    """Return the number at ``position`` and the position after it."""
    value = 0
    for index, byte in enumerate(data[position : position + 8]):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, position + index + 1
    raise ValueError("the size of a unit is damaged")


def _in_sequence_header(bits: _Bits) -> Colors:
    profile = bits.read(3)
    bits.read(1)  # still_picture
    reduced = bits.flag()
    if reduced:
        bits.read(5)  # seq_level_idx
    else:
        _skip_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    bits.read(width_bits + height_bits)
    if not reduced and bits.flag():  # frame_id_numbers_present_flag
        bits.read(7)
    bits.read(3)  # superblock size, filter_intra, intra_edge_filter
    if not reduced:
        _skip_tools(bits)
    bits.read(3)  # superres, cdef, restoration
    deep = bits.flag()
    if profile == 2 and deep:
        bits.read(1)  # twelve_bit
    if profile != 1:
        bits.read(1)  # mono_chrome
    points = (_UNSPECIFIED,) * 3
    if bits.flag():
        points = (bits.read(8), bits.read(8), bits.read(8))
    full = points == _SRGB_WITHOUT_MATRIX or bits.flag()
    return Colors(*points, limited=not full)


def _skip_operating_points(bits: _Bits) -> None:
    model = 0
    if bits.flag():  # timing_info_present_flag
        bits.read(64)
        if bits.flag():  # equal_picture_interval: a variable-length number follows
            zeros = 0
            while not bits.flag():
                zeros += 1
            bits.read(zeros)
        if bits.flag():  # decoder_model_info_present_flag
            model = bits.read(5) + 1
            bits.read(32 + 5 + 5)
    delays = bits.flag()
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:
            bits.read(1)  # seq_tier
        if model and bits.flag():
            bits.read(2 * model + 1)
        if delays and bits.flag():
            bits.read(4)


def _skip_tools(bits: _Bits) -> None:
    bits.read(4)  # interintra and masked compounds, warped motion, dual filter
    order = bits.flag()
    if order:
        bits.read(2)  # jnt_comp, ref_frame_mvs
    screen = True if bits.flag() else bits.flag()
    if screen and not bits.flag():  # seq_choose_integer_mv
        bits.read(1)
    if order:
        bits.read(3)
