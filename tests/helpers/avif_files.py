"""Edits the boxes of an AVIF that libavif wrote, to make variants that no encoder here writes."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

from waifu2x.codec.boxes import boxes

Box = tuple[bytes, bytes]


def box(kind: bytes, content: bytes) -> bytes:
    """A box."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def children(content: bytes) -> list[Box]:
    """Kind and content of each box."""
    return [(kind, content[at : at + size]) for kind, at, size in boxes(io.BytesIO(content))]


def _edited(content: bytes, kind: bytes, edit: Callable[[bytes], bytes]) -> bytes:
    return b"".join(box(k, edit(v) if k == kind else v) for k, v in children(content))


def _with_meta(data: bytes, edit: Callable[[bytes], bytes]) -> bytes:
    """Edit the boxes in the root meta box; moves the places of the items along."""
    before = dict(children(data))[b"meta"]
    after = before[:4] + edit(before[4:])
    shift = len(after) - len(before)

    def moved(table: bytes) -> bytes:
        # Version 0, and 32-bit offsets and lengths, as libavif writes.
        assert table[:6] == b"\0\0\0\0\x44\0"
        entries, at = b"", 8
        for _ in range(int.from_bytes(table[6:8], "big")):
            item, reference, count, offset, length = struct.unpack_from(">HHHII", table, at)
            assert count == 1
            entries += struct.pack(">HHHII", item, reference, count, offset + shift, length)
            at += 14
        return table[:8] + entries

    after = after[:4] + _edited(after[4:], b"iloc", moved)
    return b"".join(box(k, after if k == b"meta" else v) for k, v in children(data))


def with_properties(data: bytes, *properties: Box, drop: tuple[bytes, ...] = ()) -> bytes:
    """Give the primary item of a still further properties; ``drop`` renames others to "free"."""

    def edit(content: bytes) -> bytes:
        def parts(inner: bytes) -> bytes:
            known = children(dict(children(inner))[b"ipco"])
            kept = [(b"free" if kind in drop else kind, value) for kind, value in known]
            table = b"".join(box(*each) for each in [*kept, *properties])
            links = dict(children(inner))[b"ipma"]
            count = links[10]
            # 0x80: essential, as those that transform the picture have to be.
            new = bytes(
                number | (0x80 if kind in (b"irot", b"imir", b"clap") else 0)
                for number, (kind, _) in enumerate(properties, len(known) + 1)
            )
            links = (
                links[:10]
                + bytes([count + len(new)])
                + links[11 : 11 + count]
                + new
                + links[11 + count :]
            )
            return box(b"ipco", table) + box(b"ipma", links)

        return _edited(content, b"iprp", parts)

    return _with_meta(data, edit)


def with_item(data: bytes, kind: bytes, *, hidden: bool = False) -> bytes:
    """Add an item of no data to a still."""

    def edit(content: bytes) -> bytes:
        def entries(inner: bytes) -> bytes:
            count = int.from_bytes(inner[4:6], "big")
            entry = struct.pack(">BBHHH4sB", 2, 0, hidden, 99, 0, kind, 0)
            return inner[:4] + struct.pack(">H", count + 1) + inner[6:] + box(b"infe", entry)

        return _edited(content, b"iinf", entries)

    return _with_meta(data, edit)
