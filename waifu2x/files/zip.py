"""Reads ZIP archives strictly, and writes them without seeking.

Python's zipfile is lenient, for unpacking, and differs between versions of Python. Here an archive
is copied: names, dates, extra fields and compressed bytes are kept, and everything that could
mislead a reader of the copy is refused.

Sources: PKWARE's APPNOTE.TXT 6.3.10 for the records; Info-ZIP's extrafld.txt for the extra fields;
D. Fifield, "A better zip bomb" (WOOT 2019) for members that overlap.
"""

from __future__ import annotations

import re
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import BinaryIO, NamedTuple, TypeAlias

from .._record import record
from .._text import reason, shown
from ..errors import DecodeError, LimitError

STORED = 0
DEFLATED = 8

#: Bytes read or inflated at a time.
BLOCK = 1 << 16

#: Maximum length of a member's name in bytes: the longest path on Linux.
MAX_NAME = 4096

#: Maximum size of the central directory in bytes: 100,000 members of 600 bytes.
_MAX_DIRECTORY = 1 << 26

#: Bytes behind an archive that are searched for its end, at most.
_MAX_TRAILING = 1 << 26

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")

#: Stored in a field of 32 or 16 bits if the value does not fit.
_FULL32 = 0xFFFFFFFF
_FULL16 = 0xFFFF

_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13  # traditional, strong, central directory
_PATCH = 1 << 5
_UTF8 = 1 << 11
_DEFLATE_EFFORT = 1 << 1 | 1 << 2

_EXTRA_ZIP64 = 0x0001
_EXTRA_UNICODE_PATH = 0x7075
_EXTRA_ENCRYPTION = (0x0017, 0x9901)
# Dates, owners and the Unicode comment. Other fields are dropped: some name the target of a link,
# or repeat values that are written anew.
_EXTRA_KEPT = (0x000A, 0x5455, 0x5855, 0x6375, 0x7855, 0x7875)

_METHODS = {
    1: "Shrink",
    6: "Implode",
    9: "Deflate64",
    12: "bzip2",
    14: "LZMA",
    20: "Zstandard",
    93: "Zstandard",
    94: "MP3",
    95: "XZ",
    96: "JPEG",
    97: "WavPack",
    98: "PPMd",
}

_DOS_SYSTEMS = (0, 10, 14)  # FAT, NTFS, VFAT
_REPARSE_POINT = 0x400  # FILE_ATTRIBUTE_REPARSE_POINT: a link on Windows

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_DRIVE = re.compile("[A-Za-z]:")
_JAPANESE = re.compile("[\u3041-\u30ff\u4e00-\u9fff]{2}")


@record
class Entry:
    """One member: a file or a directory.

    name: a safe path: relative, with "/" between its parts, without "..", backslashes or control
        characters. The name of a directory ends with "/".
    raw: the bytes of the name as written; ``utf8`` is their encoding flag.
    size, compressed: bytes of the content, and of the stored data.
    crc: CRC-32 of the content.
    method: ``STORED`` or ``DEFLATED``.
    effort: the flag bits for the compression level of Deflate.
    time, date: last modification in MS-DOS format.
    made_by, internal, external: version and system of the writer, and attributes (Unix mode in the
        upper half of ``external``).
    extra: the extra fields of the central directory that are kept.
    offset, start: positions of the local header and of the stored data.
    """

    name: str
    raw: bytes
    utf8: bool
    size: int
    compressed: int
    crc: int
    method: int
    effort: int
    time: int
    date: int
    made_by: int
    internal: int
    external: int
    extra: bytes
    comment: bytes
    offset: int
    start: int


#: An entry before its name is decoded, and all of its extra fields.
_Record: TypeAlias = tuple[Entry, dict[int, bytes]]


class ZipReader:
    """The members of a ZIP archive, all checked before any content is read.

    stream: a seekable stream, used exclusively by the reader and left open.
    title: the name of the archive in messages.
    max_members: the maximum number of members.

    entries: the members in the order of the central directory.
    comment: the comment of the archive.
    trailing: number of bytes behind the archive, as from a padded download; not read.
    cleaned: number of names with backslashes (now "/") or control characters (now "_").

    Raises `DecodeError` for an archive that is damaged, truncated, split, encrypted or compressed
    by methods other than Deflate; for members that overlap or share a name; for links, devices and
    unsafe paths (absolute, with a drive letter, ".." or NUL). Raises `LimitError` for too many
    members.
    """

    def __init__(self, stream: BinaryIO, title: str, *, max_members: int) -> None:
        self.title = shown(title)
        self._stream = stream
        try:
            self._length = stream.seek(0, 2)
        except OSError as error:
            raise self._bad(f"cannot be read: {reason(error)}") from error
        end = self._find_end(max_members)
        self.comment, self.trailing = end.comment, end.trailing
        records = self._records(end)
        self.cleaned = 0
        self.entries = [
            self._checked(entry, name)
            for (entry, _), name in zip(records, self._names(records), strict=True)
        ]
        self._refuse_duplicates()
        self._refuse_overlap(end.start)

    def head(self, entry: Entry, count: int) -> bytes:
        """The first ``count`` bytes of the content, or all of it if shorter, without a CRC check.

        Raises `DecodeError` if they cannot be inflated.
        """
        # Deflate adds at most a few bytes per block, and a Huffman table of about 300 bytes.
        stored = self._read(entry.start, min(entry.compressed, count + 1024))
        if entry.method == STORED:
            return stored[:count]
        try:
            return zlib.decompressobj(-15).decompress(stored, count)
        except zlib.error as error:
            raise self._damaged(entry, reason(error)) from error

    def blocks(
        self, entry: Entry, copy: Callable[[bytes], object] | None = None
    ) -> Iterator[bytes]:
        """Yield the content in pieces of at most ``BLOCK`` bytes, ``entry.size`` bytes in all.

        copy: called with each block of the stored data, compressed or not.

        Raises `DecodeError` for damaged content, for a wrong CRC only after the last piece.
        """
        inflate = None if entry.method == STORED else zlib.decompressobj(-15)
        position, end = entry.start, entry.start + entry.compressed
        size = crc = 0
        while position < end:
            block = self._read(position, min(BLOCK, end - position))
            position += len(block)
            if copy is not None:
                copy(block)
            try:
                for piece in (block,) if inflate is None else _inflated(inflate, block):
                    size += len(piece)
                    if size > entry.size:
                        raise self._damaged(
                            entry, f"it holds more than the {entry.size:,} bytes it declares"
                        )
                    crc = zlib.crc32(piece, crc)
                    yield piece
            except zlib.error as error:
                raise self._damaged(entry, reason(error)) from error
            if inflate is not None and inflate.unused_data:
                raise self._damaged(entry, "its compressed data ends early")
        if size != entry.size or (inflate is not None and not inflate.eof):
            raise self._damaged(entry, f"{size:,} of {entry.size:,} bytes are there")
        if crc != entry.crc:
            raise self._damaged(entry, "its checksum (CRC) is wrong")

    def copy(self, entry: Entry, write: Callable[[bytes], object]) -> None:
        """Pass the stored data of ``entry`` to ``write``, compressed or not, without any check."""
        position, end = entry.start, entry.start + entry.compressed
        while position < end:
            block = self._read(position, min(BLOCK, end - position))
            position += len(block)
            write(block)

    def local_extra(self, entry: Entry) -> bytes:
        """The kept extra fields of the local header; they may differ from ``entry.extra``."""
        fields = _LOCAL.unpack(self._read(entry.offset, _LOCAL.size))
        return _kept(_extras(self._read(entry.start - fields[10], fields[10])))

    # --- central directory --------------------------------------------------------------------

    def _find_end(self, max_members: int) -> _End:
        """The end record, with the numbers of its Zip64 record if present."""
        first, tail, at = self._locate_end()
        _, disk, first_disk, here, count, size, offset, _ = _END.unpack_from(tail, at)
        begin, length = at + _END.size, _END.unpack_from(tail, at)[7]
        comment, trailing = tail[begin : begin + length], len(tail) - begin - length
        stop = first + at
        locator = stop - _LOCATOR64.size
        wide = locator >= 0 and self._read(locator, 4) == b"PK\6\7"
        if wide:
            stop = locator - _END64.size
            if stop < 0 or self._read(stop, 4) != b"PK\6\6":
                raise self._bad("has a Zip64 end record that is damaged or encrypted; repack it")
            short = (disk, first_disk, here, count, size, offset)
            values = _END64.unpack(self._read(stop, _END64.size))[4:]
            full = (_FULL16,) * 4 + (_FULL32,) * 2
            if any(a not in (b, f) for a, b, f in zip(short, values, full, strict=True)):
                raise self._bad("has two end records that contradict each other; repack it")
            disk, first_disk, here, count, size, offset = values
        if disk or first_disk or here != count:
            raise self._bad("is one part of a split archive; join the parts and repack them")
        if count > max_members:
            raise LimitError(
                f"{self.title} holds {count:,} members; {max_members:,} are allowed; "
                "split the archive"
            )
        if size > _MAX_DIRECTORY:
            raise LimitError(
                f"{self.title} has a list of files of {size:,} bytes; "
                f"{_MAX_DIRECTORY:,} are allowed; split the archive"
            )
        start = stop - size
        # Data before the archive, such as a self-extracting program, shifts all offsets.
        if start < offset:
            raise self._bad("is damaged: its list of files begins before the file does; repack it")
        if trailing and start != offset:
            raise self._cut_off()
        return _End(count, wide, start, size, start - offset, comment, trailing)

    def _locate_end(self) -> tuple[int, bytes, int]:
        """Find the end record: the position and the bytes of the tail, and the place in the tail.

        A record whose comment ends with the file wins: the comment may contain the signature.
        Without such a record, other bytes follow the archive, and the last record counts whose list
        of files lies where the record says. That of an archive inside of the archive does not.
        """
        for searched, behind in ((_END.size + _FULL16, False), (_MAX_TRAILING, True)):
            first = max(self._length - searched, 0)
            tail = self._read(first, self._length - first)
            at = tail.rfind(b"PK\5\6", 0, max(len(tail) - _END.size + 4, 0))
            while at >= 0:
                *_, size, offset, length = _END.unpack_from(tail, at)
                rest = len(tail) - at - _END.size - length
                gap = first + at - offset - size
                placed = gap in (0, _END64.size + _LOCATOR64.size) or _FULL32 in (offset, size)
                if rest == 0 or (behind and rest > 0 and placed):
                    return first, tail, at
                at = tail.rfind(b"PK\5\6", 0, at)
        raise self._cut_off()

    def _records(self, end: _End) -> list[_Record]:
        """The entries of the central directory, before their names are decoded."""
        data = self._read(end.start, end.size)
        records: list[_Record] = []
        at = 0
        while at < len(data):
            if data[at : at + 4] != b"PK\1\2" or len(data) - at < _CENTRAL.size:
                raise self._bad("has a list of files that is damaged or encrypted; repack it")
            fields = _CENTRAL.unpack_from(data, at)
            at += _CENTRAL.size
            parts = []
            for length in fields[10:13]:
                parts.append(data[at : at + length])
                at += length
            if at > len(data):
                raise self._bad("has a list of files that is cut off; download or copy it again")
            records.append(self._record(fields, parts, end.shift))
        # Writers without Zip64 store the count modulo 65536.
        if len(records) != end.members and (end.wide or len(records) & _FULL16 != end.members):
            raise self._bad(
                f"is damaged: it lists {len(records):,} members and counts {end.members:,}; "
                "repack it"
            )
        return records

    def _record(self, fields: tuple[int, ...], parts: list[bytes], shift: int) -> _Record:
        raw, extra, comment = parts
        (made_by, _, flags, method, time, date, crc, compressed, size) = fields[1:10]
        disk, internal, external, offset = fields[13:]
        extras = _extras(extra)
        wide = extras.get(_EXTRA_ZIP64, b"")
        numbers = []
        for value in (size, compressed, offset):
            if value == _FULL32:
                if len(wide) < 8:
                    raise self._bad(
                        f"is damaged: member {_guess(raw)} has no Zip64 size; repack it"
                    )
                value, wide = int.from_bytes(wide[:8], "little"), wide[8:]
            numbers.append(value)
        if disk not in (0, _FULL16):
            raise self._bad("is one part of a split archive; join the parts and repack them")
        if flags & _ENCRYPTED or method == 99 or not extras.keys().isdisjoint(_EXTRA_ENCRYPTION):
            raise self._encrypted(_guess(raw))
        if flags & _PATCH or method not in (STORED, DEFLATED):
            how = "patched data" if flags & _PATCH else _METHODS.get(method, f"method {method}")
            raise self._bad(
                f"cannot be read: member {_guess(raw)} is compressed by {how}; repack it with "
                "Deflate, or without compression"
            )
        size, compressed, offset = numbers
        entry = Entry(
            name="",
            raw=raw,
            utf8=bool(flags & _UTF8),
            size=size,
            compressed=compressed,
            crc=crc,
            method=method,
            effort=flags & _DEFLATE_EFFORT,
            time=time,
            date=date,
            made_by=made_by,
            internal=internal,
            external=external,
            extra=_kept(extras),
            comment=comment,
            offset=offset + shift,
            start=0,
        )
        return entry, extras

    # --- names -------------------------------------------------------------------------------

    def _names(self, records: list[_Record]) -> Iterator[_Name]:
        """Decode the name of every record.

        Names without the UTF-8 flag are in an unknown encoding, so their bytes are kept. The
        exception is an archive in Shift JIS with a backslash as half of a character (the second
        byte of "表" or "ソ"): programs that read a separator would break such names, so all names
        of that archive become UTF-8.
        """
        legacy = [each.raw for each, _ in records if not each.utf8 and not each.raw.isascii()]
        encoding, recode = _legacy_encoding(legacy)
        for entry, extras in records:
            raw = entry.raw
            if not entry.utf8 and (text := _unicode_path(raw, extras)) is not None:
                yield _Name(text, text.encode("utf-8"), True, "utf-8")
            elif entry.utf8 or raw.isascii():
                try:
                    yield _Name(raw.decode("utf-8"), raw, entry.utf8, "utf-8")
                except UnicodeDecodeError as error:
                    raise self._bad(
                        f"is damaged: the name of member {_guess(raw)} is not UTF-8; repack it"
                    ) from error
            elif recode:
                text = raw.decode(encoding)
                yield _Name(text, text.encode("utf-8"), True, "utf-8")
            else:
                yield _Name(raw.decode(encoding), raw, False, encoding)

    def _safe(self, name: _Name) -> _Name:
        """Replace backslashes in ``name`` by "/" and control characters by "_".

        Both occur in valid archives: old writers on Windows, and the file "Icon" with a carriage
        return on macOS. Paths that lead outside do not, so they are refused.
        """
        text = name.text.replace("\\", "/")
        if "\0" in text:
            wrong = "holds a NUL character"
        elif not text:
            wrong = "is empty"
        elif text.startswith("/"):
            wrong = "is an absolute path"
        elif _DRIVE.match(text):
            wrong = "begins with a drive letter"
        elif any(part.rstrip(" ") == ".." for part in text.split("/")):
            wrong = 'leads upwards with ".."'
        elif len(name.raw) > MAX_NAME:
            wrong = f"is {len(name.raw):,} bytes long, {MAX_NAME:,} are allowed"
            text = text[:40] + "..."
        else:
            text = _CONTROL.sub("_", text)
            if text == name.text:
                return name
            self.cleaned += 1
            return name._replace(text=text, raw=text.encode(name.encoding))
        raise self._bad(f'is not safe: the name of member "{shown(text)}" {wrong}; repack it')

    def _checked(self, entry: Entry, name: _Name) -> Entry:
        """``entry`` with its safe name, after comparing its local header with the directory."""
        name = self._safe(name)
        label = shown(name.text)
        mode = stat.S_IFMT(entry.external >> 16)
        reparse = entry.made_by >> 8 in _DOS_SYSTEMS and entry.external & _REPARSE_POINT
        if stat.S_ISLNK(mode) or reparse:
            raise self._bad(f"is not safe: member {label} is a symbolic link; repack it without")
        if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise self._bad(
                f"is not safe: member {label} is a device, pipe or socket; repack it without"
            )
        if entry.method == STORED and entry.size != entry.compressed:
            raise self._bad(f"is damaged: member {label} has two different sizes; repack it")
        if entry.offset + _LOCAL.size + len(entry.raw) > self._length:
            raise self._bad(f"is cut off: member {label} lies beyond its end; download it again")
        local = _LOCAL.unpack(self._read(entry.offset, _LOCAL.size))
        start = entry.offset + _LOCAL.size + local[9] + local[10]
        raw = self._read(entry.offset + _LOCAL.size, len(entry.raw))
        if local[0] != b"PK\3\4":
            raise self._bad(f"is damaged: member {label} is not where the list says; repack it")
        if local[2] & _ENCRYPTED:
            raise self._encrypted(label)
        if local[9] != len(entry.raw) or raw != entry.raw or local[3] != entry.method:
            raise self._bad(
                f"is damaged: member {label} contradicts the archive's list of files; repack it"
            )
        return replace(entry, name=name.text, raw=name.raw, utf8=name.utf8, start=start)

    # --- relations between members -----------------------------------------------------------

    def _refuse_duplicates(self) -> None:
        seen: set[str] = set()
        for entry in self.entries:
            # Normalized as in a file system: "a//b" and "./a/b" are "a/b".
            path = "/".join(part for part in entry.name.split("/") if part not in ("", "."))
            if path in seen:
                raise self._bad(
                    f"holds two members named {shown(entry.name)}; repack it with one of them"
                )
            seen.add(path)

    def _refuse_overlap(self, limit: int) -> None:
        """Refuse members that share bytes: they can expand far beyond the size of the archive."""
        taken = 0
        for entry in sorted(self.entries, key=lambda entry: entry.offset):
            if entry.offset < taken:
                raise self._bad(
                    f"is not safe: member {shown(entry.name)} overlaps another; repack it"
                )
            taken = entry.start + entry.compressed
            if taken > limit:
                raise self._bad(
                    f"is damaged: member {shown(entry.name)} runs into the list of files; "
                    "download or copy it again"
                )

    # --- small helpers -----------------------------------------------------------------------

    def _read(self, position: int, count: int) -> bytes:
        """Read exactly ``count`` bytes at ``position``."""
        try:
            self._stream.seek(position)
            data = self._stream.read(count)
        except OSError as error:
            raise self._bad(f"cannot be read: {reason(error)}") from error
        if len(data) != count:
            raise self._bad("is cut off; download or copy it again")
        return data

    def _cut_off(self) -> DecodeError:
        return self._bad(
            "is not a complete ZIP archive: its list of files is missing at the end; "
            "download or copy it again"
        )

    def _bad(self, text: str) -> DecodeError:
        return DecodeError(f"{self.title} {text}")

    def _encrypted(self, member: str) -> DecodeError:
        return self._bad(
            f"is encrypted (member {member}); unpack it with its password and pack it again "
            "without one"
        )

    def _damaged(self, entry: Entry, why: str) -> DecodeError:
        return DecodeError(
            f"{self.title}: member {shown(entry.name)} is damaged: {why}; download it again"
        )


class ZipWriter:
    """Writes a ZIP archive from front to back, so ``sink`` may be a pipe.

    Size and CRC of each member must be known before its content. The output depends only on the
    members, not on clock or environment. Zip64 is used for numbers that need it.
    """

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self._position = 0
        self._central: list[bytes] = []

    def begin(self, entry: Entry, local_extra: bytes) -> None:
        """Write the header of ``entry``; pass its ``compressed`` bytes to `write` next.

        ``entry.offset`` and ``entry.start`` are ignored.
        """
        big = max(entry.size, entry.compressed) >= _FULL32
        far = self._position >= _FULL32
        sizes = struct.pack("<2Q", entry.size, entry.compressed) if big else b""
        place = struct.pack("<Q", self._position) if far else b""
        flags = (entry.effort if entry.method == DEFLATED else 0) | (_UTF8 if entry.utf8 else 0)
        common = (
            flags,
            entry.method,
            entry.time,
            entry.date,
            entry.crc,
            _FULL32 if big else entry.compressed,
            _FULL32 if big else entry.size,
            len(entry.raw),
        )
        extra = _wide(sizes + place) + entry.extra
        self._central.append(
            _CENTRAL.pack(
                b"PK\1\2",
                entry.made_by,
                45 if big or far else 20,
                *common,
                len(extra),
                len(entry.comment),
                0,
                entry.internal,
                entry.external,
                _FULL32 if far else self._position,
            )
            + entry.raw
            + extra
            + entry.comment
        )
        extra = _wide(sizes) + local_extra
        needed = 45 if big else 20
        self.write(_LOCAL.pack(b"PK\3\4", needed, *common, len(extra)) + entry.raw + extra)

    def write(self, data: bytes) -> None:
        """Write stored data of the current member."""
        self._sink.write(data)
        self._position += len(data)

    def finish(self, comment: bytes) -> None:
        """Write the central directory and the archive's comment; ``sink`` stays open."""
        start, count = self._position, len(self._central)
        for each in self._central:
            self.write(each)
        stop = self._position
        size = stop - start
        if count >= _FULL16 or max(start, size) >= _FULL32:
            self.write(
                _END64.pack(b"PK\6\6", _END64.size - 12, 45, 45, 0, 0, count, count, size, start)
                + _LOCATOR64.pack(b"PK\6\7", 0, stop, 1)
            )
        short = min(count, _FULL16)
        self.write(
            _END.pack(
                b"PK\5\6", 0, 0, short, short, min(size, _FULL32), min(start, _FULL32), len(comment)
            )
            + comment
        )


class _End(NamedTuple):
    """The end record: position of the central directory, and lengths of data around the archive."""

    members: int
    wide: bool
    start: int
    size: int
    shift: int
    comment: bytes
    trailing: int


class _Name(NamedTuple):
    """A member's name: text, bytes as written, whether flagged as UTF-8, and encoding."""

    text: str
    raw: bytes
    utf8: bool
    encoding: str


def _inflated(inflate: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    """Inflate ``data`` in pieces of at most ``BLOCK`` bytes."""
    while not inflate.eof:
        piece = inflate.decompress(data, BLOCK)
        data = inflate.unconsumed_tail
        if piece:
            yield piece
        # After a full piece, the decompressor may hold output without any input left.
        if not data and len(piece) < BLOCK:
            return


def _extras(data: bytes) -> dict[int, bytes]:
    """Extra fields by number, the first of each, up to any padding."""
    fields: dict[int, bytes] = {}
    at = 0
    while len(data) - at >= 4:
        number, length = struct.unpack_from("<2H", data, at)
        at += 4
        if length > len(data) - at:
            break
        fields.setdefault(number, data[at : at + length])
        at += length
    return fields


def _kept(fields: dict[int, bytes]) -> bytes:
    return b"".join(
        struct.pack("<2H", number, len(data)) + data
        for number, data in fields.items()
        if number in _EXTRA_KEPT
    )


def _wide(numbers: bytes) -> bytes:
    """The Zip64 extra field, or nothing without ``numbers``."""
    return struct.pack("<2H", _EXTRA_ZIP64, len(numbers)) + numbers if numbers else b""


def _unicode_path(raw: bytes, extras: dict[int, bytes]) -> str | None:
    """The name in Info-ZIP's extra field, unless its checksum is that of another name."""
    data = extras.get(_EXTRA_UNICODE_PATH, b"")
    if data[:5] != b"\1" + zlib.crc32(raw).to_bytes(4, "little"):
        return None
    return _decodes(data[5:], "utf-8")


def _decodes(raw: bytes, encoding: str) -> str | None:
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        return None
    # Python's cp932 maps bytes that Shift JIS leaves undefined.
    if encoding == "cp932" and re.search("[\x80\xa0\uf8f0-\uf8f3]", text):
        return None
    return text


def _legacy_encoding(names: list[bytes]) -> tuple[str, bool]:
    """Guess the encoding of names that are neither ASCII nor flagged, and whether to recode them.

    macOS writes UTF-8 without the flag, old Japanese programs write Shift JIS, and the format
    specifies cp437. The guess mostly matters for messages. European names can be valid Shift JIS by
    accident ("Pokémon"), so Shift JIS requires two adjacent Japanese characters or a backslash
    within a character.
    """
    if None not in [_decodes(raw, "utf-8") for raw in names]:
        return "utf-8", False
    texts = [_decodes(raw, "cp932") for raw in names]
    found = [text for text in texts if text is not None]
    if len(found) == len(names):
        pairs = zip(names, found, strict=True)
        if any(raw.count(b"\\") > text.count("\\") for raw, text in pairs):
            return "cp932", True
        if any(_JAPANESE.search(text) for text in found):
            return "cp932", False
    return "cp437", False


def _guess(raw: bytes) -> str:
    """The name for messages before its encoding is known."""
    encoding, _ = _legacy_encoding([raw])
    return shown(raw[:200].decode(encoding, "replace"))
