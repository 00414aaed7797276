"""Handmade ICC profiles."""

import struct


def cmyk_profile():
    """A small CMYK profile that maps every ink mix to the same middle gray, so its use shows."""

    def text(value):
        return (
            b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(value), 28) + value
        )

    grid = 2
    identity = "".join(f"{matrix:08x}" for matrix in (65536, 0, 0, 0, 65536, 0, 0, 0, 65536))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, grid, 0]) + bytes.fromhex(identity)
    curve = bytes(range(256))
    lut += curve * 4 + bytes([128, 128, 128]) * grid**4 + curve * 3
    tags = {
        b"desc": text("x".encode("utf-16-be")),
        b"cprt": text("x".encode("utf-16-be")),
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061),
        b"A2B0": lut,
    }
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data
    size = offset + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x04200000, b"prtr", b"CMYK", b"Lab ")
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28
    head += struct.pack(">3i", 63190, 65536, 54061)
    return head + b"\0" * (128 - len(head)) + table + body
