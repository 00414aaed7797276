"""Comic archives: refusals, preserved data, and names of pages."""

from __future__ import annotations

import io
import random
import re
import struct
import tracemalloc
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pytest
from helpers import art
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from waifu2x.codec import sniff
from waifu2x.errors import (
    ArgumentError,
    CancelledError,
    DecodeError,
    EngineError,
    LimitError,
    Waifu2xError,
)
from waifu2x.files import pages as archive
from waifu2x.files import upscale_file
from waifu2x.files import zip as _zip
from waifu2x.files.pages import ArchiveReader, Member, RewriteResult

DATE = (2011, 3, 27, 14, 30, 8)


def picture(format: str = "PNG", seed: int = 0) -> bytes:
    file = io.BytesIO()
    art.anime_face(24, 20 + seed).save(file, format)
    return file.getvalue()


PNG = picture()
JPEG = picture("JPEG")


class Raw(NamedTuple):
    """A raw archive member, in which every field can be invalid."""

    name: bytes = b"001.png"
    data: bytes = PNG
    method: int = 0
    flags: int = 0
    size: int | None = None
    compressed: int | None = None
    crc: int | None = None
    made_by: int = 0x0314
    external: int = 0o644 << 16
    extra: bytes = b""
    local_name: bytes | None = None
    local_flags: int | None = None
    local_method: int | None = None
    offset: int | None = None
    disk: int = 0
    comment: bytes = b""


def deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflater.compress(data) + deflater.flush()


def build(*members: Raw, comment: bytes = b"", end: dict[str, int] | None = None) -> bytes:
    """Build an archive by the format's specification, without the code under test."""
    body, central = b"", b""
    for one in members:
        stored = deflated(one.data) if one.method == 8 else one.data
        crc = zlib.crc32(one.data) if one.crc is None else one.crc
        size = len(one.data) if one.size is None else one.size
        compressed = len(stored) if one.compressed is None else one.compressed
        offset = len(body) if one.offset is None else one.offset
        name = one.name if one.local_name is None else one.local_name
        flags = one.flags if one.local_flags is None else one.local_flags
        method = one.method if one.local_method is None else one.local_method
        if one.offset is None:
            body += struct.pack(
                "<4s5H3L2H", b"PK\3\4", 20, flags, method, 0x73C4, 0x3E7B, crc, compressed, size,
                len(name), 0,
            ) + name + stored  # fmt: skip
        central += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", one.made_by, 20, one.flags, one.method, 0x73C4, 0x3E7B, crc,
            compressed, size, len(one.name), len(one.extra), len(one.comment), one.disk, 0,
            one.external, offset,
        ) + one.name + one.extra + one.comment  # fmt: skip
    fields = {
        "disk": 0, "first": 0, "here": len(members), "count": len(members),
        "size": len(central), "offset": len(body), "comment": len(comment), **(end or {}),
    }  # fmt: skip
    return body + central + struct.pack("<4s4H2LH", b"PK\5\6", *fields.values()) + comment


def packed(files: dict[str, bytes], comment: bytes = b"") -> bytes:
    """An archive written by Python's zipfile."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        out.comment = comment
        for name, data in files.items():
            info = zipfile.ZipInfo(name, DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o640 << 16
            out.writestr(info, data)
    return file.getvalue()


def reader(data: bytes, **limits: Any) -> ArchiveReader:
    return ArchiveReader(io.BytesIO(data), "book.cbz", **limits)


def rewritten(
    data: bytes,
    sink: BinaryIO | None = None,
    convert: Callable[[Member, bytes], bytes] = lambda member, data: b"new " + data,
    suffix: str = ".webp",
    **handling: Any,
) -> tuple[zipfile.ZipFile, RewriteResult]:
    sink = io.BytesIO() if sink is None else sink
    result = archive.rewrite(
        reader(data), sink, convert, extension=lambda member: suffix, **handling
    )
    assert isinstance(sink, io.BytesIO)
    return zipfile.ZipFile(io.BytesIO(sink.getvalue())), result


class Failures(dict[str, str]):
    """The messages of members that failed, by name."""

    def __call__(self, member: Member, error: Waifu2xError) -> None:
        self[member.name] = str(error)


def new_unless_broken(member: Member, data: bytes) -> bytes:
    if not data.startswith((b"\x89PNG", b"\xff\xd8\xff")):
        raise DecodeError("no picture")
    return b"new " + data


def refusal(data: bytes, error: type[Waifu2xError] = DecodeError, **limits: Any) -> str:
    """The message of one line with which an archive is refused, at any stage."""
    with pytest.raises(error) as caught:
        archive.check_pages(reader(data, **limits), lambda member, data: None)
    message = str(caught.value)
    assert message.startswith("book.cbz")
    assert message.isprintable()
    return message


# --- signatures ------------------------------------------------------------------------------


def test_archives_are_recognized_by_their_first_bytes() -> None:
    assert sniff(build(Raw())).name == "zip"
    assert sniff(build()).name == "zip"
    assert not sniff(PNG).archive
    assert not sniff(b"").archive
    assert not sniff(b"PK").archive


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"Rar!\x1a\x07\x00", "a RAR archive (CBR)"),
        (b"Rar!\x1a\x07\x01\x00", "a RAR archive (CBR)"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "a 7z archive (CB7)"),
        (b"\0" * 257 + b"ustar\x0000", "a tar archive (CBT)"),
        (b"\0" * 7 + b"**ACE**", "an ACE archive (CBA)"),
    ],
)
def test_other_archives_are_named(tmp_path: Path, head: bytes, kind: str) -> None:
    source = tmp_path / "a\n.cbr"
    source.write_bytes(head)
    with pytest.raises(DecodeError) as caught:
        upscale_file(source, tmp_path / "b.cbz")
    assert str(caught.value) == (
        f"{tmp_path}/a\\n.cbr is {kind}, which is not supported; repack it as ZIP (CBZ)"
    )


# --- refusals --------------------------------------------------------------------------------

ZIP64_AES = struct.pack("<2H7s", 0x9901, 7, b"\2\0AE\3\0\0")


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "list of files is missing"),
        (b"PK\3\4" + b"\0" * 100, "list of files is missing"),
        (build(Raw())[:-1], "list of files is missing"),
        (build(Raw())[: len(PNG)], "list of files is missing"),
        (b"PK\3\4" + bytes(30) + build(Raw()) + b"tail", "list of files is missing"),
        (build(Raw(), end={"count": 2, "here": 2}), "lists 1 members and counts 2"),
        (build(Raw(), end={"size": 20}), "damaged"),
        (build(Raw(), end={"offset": 1 << 30}), "begins before the file"),
        (build(Raw(), end={"size": 1 << 20}), "begins before the file"),
        (build(Raw(), end={"disk": 1}), "split archive"),
        (build(Raw(), end={"here": 0}), "split archive"),
        (build(Raw(disk=3)), "split archive"),
        (build(Raw(flags=1)), "is encrypted (member 001.png)"),
        (build(Raw(flags=1 << 6 | 1)), "is encrypted"),
        (build(Raw(flags=1 << 13)), "is encrypted"),
        (build(Raw(local_flags=1)), "is encrypted"),
        (build(Raw(extra=ZIP64_AES)), "is encrypted"),
        (build(Raw(method=99)), "is encrypted"),
        (build(Raw(), Raw(b"a.txt", method=9)), "member a.txt is compressed by Deflate64"),
        (build(Raw(method=14)), "by LZMA"),
        (build(Raw(method=93)), "by Zstandard"),
        (build(Raw(method=42)), "by method 42"),
        (build(Raw(flags=1 << 5)), "by patched data"),
        (build(Raw(), Raw(b"a.txt", b"", offset=0)), "contradicts"),
        (build(Raw(), Raw(b"001.png", offset=0)), "two members named 001.png"),
        (build(Raw(), Raw()), "two members named 001.png"),
        (build(Raw(b"a/b.png"), Raw(b"./a//b.png")), "two members named"),
        (build(Raw(local_name=b"002.png")), "contradicts"),
        (build(Raw(local_name=b"0012.png")), "contradicts"),
        (build(Raw(method=8, local_method=0)), "contradicts"),
        (build(Raw(offset=1 << 31)), "beyond its end"),
        (build(Raw(), Raw(b"b.png", offset=4)), "not where the list says"),
        (build(Raw(size=10)), "two different sizes"),
        (build(Raw(size=10**6, compressed=10**6)), "runs into the list"),
        (build(Raw(crc=7)), "member 001.png is damaged: its checksum (CRC) is wrong"),
        (build(Raw(method=8, size=len(PNG) - 1)), f"more than the {len(PNG) - 1:,} bytes"),
        (build(Raw(method=8, size=len(PNG) + 1)), f"{len(PNG):,} of {len(PNG) + 1:,} bytes"),
        (build(Raw(method=8, compressed=40)), "is damaged: "),
        (build(Raw(size=0xFFFFFFFF)), "no Zip64 size"),
        (build(Raw(), end={"count": 0, "here": 0, "size": 0}), "no pictures"),
        (build(), "no pictures"),
        (build(Raw(b"a.txt", b"text")), "no pictures"),
        (build(Raw(), Raw(b"mimetype", b"application/epub+zip")), "an EPUB book"),
        (build(Raw(), Raw(b"[Content_Types].xml", b"<xml/>")), "an Office document"),
    ],
)  # fmt: skip
def test_broken_archives_are_refused(data: bytes, part: str) -> None:
    assert part in refusal(data)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        (b"../a.png", 'leads upwards with ".."'),
        (b"a/../b.png", 'leads upwards with ".."'),
        (b"a/..", 'leads upwards with ".."'),
        (b"a\\..\\b.png", 'leads upwards with ".."'),
        (b"a/.. /b.png", 'leads upwards with ".."'),
        (b"/etc/a.png", "is an absolute path"),
        (b"\\\\host\\a.png", "is an absolute path"),
        (b"C:\\a.png", "begins with a drive letter"),
        (b"c:a.png", "begins with a drive letter"),
        (b"a.png\0.txt", "holds a NUL character"),
        (b"", "is empty"),
        (b"a" * 4097, "4,096 are allowed"),
    ],
)
def test_unsafe_names_are_refused(name: bytes, part: str) -> None:
    message = refusal(build(Raw(), Raw(name)))
    assert "is not safe" in message
    assert part in message


def test_a_name_in_an_extra_field_is_checked_as_well() -> None:
    field = b"\1" + zlib.crc32(b"a.png").to_bytes(4, "little") + b"../a.png"
    extra = struct.pack("<2H", 0x7075, len(field)) + field
    assert "leads upwards" in refusal(build(Raw(b"a.png", extra=extra)))
    out, _ = rewritten(build(Raw(b"b.png", extra=extra)))  # the field is for another name
    assert out.namelist() == ["b.webp"]
    assert out.infolist()[0].extra == b""


def test_names_that_are_not_utf8_in_spite_of_their_flag_are_refused() -> None:
    assert "is not UTF-8" in refusal(build(Raw(b"\x82\xa0.png", flags=1 << 11)))


@pytest.mark.parametrize(
    ("made_by", "external", "part"),
    [
        (0x0314, 0o120777 << 16, "symbolic link"),
        (0x0014, 0o120777 << 16, "symbolic link"),
        (0x0014, 0x400, "symbolic link"),
        (0x0A14, 0x420, "symbolic link"),
        (0x0314, 0o010644 << 16, "device, pipe or socket"),
        (0x0314, 0o020644 << 16, "device, pipe or socket"),
    ],
)
def test_links_and_devices_are_refused(made_by: int, external: int, part: str) -> None:
    link = Raw(b"link", b"../../etc/passwd", made_by=made_by, external=external)
    message = refusal(build(Raw(), link))
    assert part in message
    assert "member link" in message


def test_members_that_overlap_are_refused() -> None:
    # Fifield's construction: the content of a file is the header and content of the next.
    kernel = build(Raw(b"b.png"))
    local = kernel[: kernel.index(b"PK\1\2")]
    outer = Raw(b"a.png", local)
    offset = 30 + len(outer.name)
    assert "overlaps another" in refusal(build(outer, Raw(b"b.png", offset=offset)))


def test_limits() -> None:
    data = build(Raw(), Raw(b"a.txt", b"x" * 50), Raw(b"b.txt", b"x" * 51))
    assert "3 members; 2 are allowed" in refusal(data, LimitError, max_members=2)
    assert "page 001.png: it has" in refusal(data, LimitError, max_page_bytes=len(PNG) - 1)
    assert "101 bytes of other files" in refusal(data, LimitError, max_other_bytes=100)
    assert reader(data, max_members=3, max_page_bytes=len(PNG), max_other_bytes=101).pages
    huge = build(Raw(), end={"size": 1 << 27})
    assert "134,217,728 bytes" in refusal(huge, LimitError)


def test_a_bomb_stops_at_the_declared_size() -> None:
    bomb = Raw(b"a.txt", bytes(1 << 24), method=8, size=1000)
    data = build(Raw(), bomb)
    book = reader(data)
    pieces = []
    with pytest.raises(DecodeError, match="more than the 1,000 bytes it declares"):
        pieces.extend(book.blocks(book.members[1]))
    assert not pieces


def test_any_single_cut_is_refused() -> None:
    data = packed({"001.png": PNG, "a.txt": b"text" * 20})
    for stop in random.Random(1).sample(range(len(data)), 60):
        refusal(data[:stop])


def test_any_flipped_byte_is_refused_or_harmless() -> None:
    data = packed({"001.png": PNG, "a.txt": b"text" * 20})
    rng = random.Random(2)
    for at in range(len(data)):
        if rng.random() < 0.8 and at < len(PNG):
            continue
        broken = bytearray(data)
        broken[at] ^= 1 << rng.randrange(8)
        message = ""
        try:
            out, _ = rewritten(bytes(broken))
        except Waifu2xError as error:
            message = str(error)
        assert message.isprintable()
        assert message or out.testzip() is None


# --- preserved data ---------------------------------------------------------------------------


def test_pages_are_replaced_and_everything_else_survives() -> None:
    inner = packed({"x.png": PNG})
    other = {
        "ComicInfo.xml": b"<ComicInfo/>" * 50,
        "extras.zip": inner,
        "__MACOSX/._001.jpg": b"\0\5\x16\7" + b"\0" * 60,
        "error.jpg": b"<html>not found</html>",
        "empty.png": b"",
        "notes/": b"",
        "notes/é 表.txt": b"text",
    }
    source = packed({"010.jpg": JPEG, **other, "002.PNG": PNG, "002b.jpg": JPEG}, comment=b"a scan")
    out, result = rewritten(source, convert=new_unless_broken, failed=(failed := Failures()))
    before = zipfile.ZipFile(io.BytesIO(source))
    assert result == RewriteResult(pages=5, carried=4, renamed=0, notes=())
    assert failed == {
        "error.jpg": "book.cbz: page error.jpg: no picture",
        "empty.png": "book.cbz: page empty.png: no picture",
    }
    assert out.namelist() == ["010.webp", *other, "002.webp", "002b.webp"]
    assert out.comment == b"a scan"
    assert out.read("010.webp") == b"new " + JPEG
    assert out.testzip() is None
    for name, data in other.items():
        assert out.read(name) == data
    for old, new in zip(before.infolist(), out.infolist(), strict=True):
        assert new.date_time == old.date_time == DATE
        assert new.external_attr == old.external_attr
        assert new.create_system == old.create_system
        if old.filename in other:
            assert (new.compress_type, new.compress_size) == (old.compress_type, old.compress_size)
        else:
            assert new.compress_type == zipfile.ZIP_STORED


def test_the_result_is_deterministic_and_needs_no_seeking() -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.data += data
            return len(data)

    source = packed({"1.png": PNG, "a.txt": b"text"})
    runs = []
    for _ in range(2):
        pipe = Pipe()
        assert not pipe.seekable()
        archive.rewrite(
            reader(source),
            pipe,  # type: ignore[arg-type]
            lambda member, data: data,
            extension=lambda member: member.suffix,
        )
        runs.append(bytes(pipe.data))
    assert runs[0] == runs[1]
    out = zipfile.ZipFile(io.BytesIO(runs[0]))
    assert {name: out.read(name) for name in out.namelist()} == {"1.png": PNG, "a.txt": b"text"}
    assert not any(info.flag_bits & 8 for info in out.infolist())


def test_sources_written_to_a_pipe_are_read() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError("a pipe")

        def seek(self, *args: int) -> int:
            raise OSError("a pipe")

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("1.png", PNG)
        file.writestr("a.txt", b"text")
    out, _ = rewritten(pipe.getvalue())
    assert out.read("a.txt") == b"text"


def test_an_archive_behind_a_program_is_read() -> None:
    source = packed({"1.png": PNG, "a.txt": b"text"})
    for data in (b"MZ program " * 99 + source, b"MZ" + source):
        out, _ = rewritten(data)
        assert out.namelist() == ["1.webp", "a.txt"]
        assert out.testzip() is None


def test_an_end_record_inside_the_comment_is_not_taken_for_the_end() -> None:
    comment = b"see PK\5\6 and " + b"PK\5\6" + b"\0" * 40
    sink = io.BytesIO()
    source = reader(build(Raw(), comment=comment))
    archive.rewrite(source, sink, lambda member, data: data, extension=lambda member: ".webp")
    again = reader(sink.getvalue())  # zipfile fails on such a comment
    assert again.comment == comment
    assert [member.name for member in again.members] == ["001.webp"]


def test_zip64_headers_are_read() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as source:
        for name, data in (("1.png", PNG), ("a.txt", b"text")):
            with source.open(name, "w", force_zip64=True) as member:
                member.write(data)
    out, _ = rewritten(file.getvalue())
    assert out.namelist() == ["1.webp", "a.txt"]
    assert out.testzip() is None


class Sparse(io.RawIOBase):
    """A file in memory that stores long writes as zeros."""

    def __init__(self) -> None:
        self.pieces: list[tuple[int, bytes]] = []
        self.length = self.at = 0

    def write(self, data: Any) -> int:
        if len(data) < 1 << 20:
            self.pieces.append((self.length, bytes(data)))
        self.length += len(data)
        return len(data)

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + (0, self.at, self.length)[whence]
        return self.at

    def read(self, count: int = -1) -> bytes:
        stop = self.length if count < 0 else min(self.at + count, self.length)
        out = bytearray(stop - self.at)
        for start, data in self.pieces:
            low, high = max(start, self.at), min(start + len(data), stop)
            if low < high:
                out[low - self.at : high - self.at] = data[low - start : high - start]
        self.at = stop
        return bytes(out)


def test_files_and_archives_beyond_4_gib() -> None:
    small = reader(packed({"1.png": PNG})).members[0].entry
    size = 5 << 30
    large = replace(small, name="a.bin", raw=b"a.bin", method=0, size=size, compressed=size, crc=1)
    stored = replace(small, method=0, size=len(PNG), compressed=len(PNG))
    file: Any = Sparse()
    writer = _zip.ZipWriter(file)
    writer.begin(large, b"")
    zeros = bytes(1 << 26)
    for _ in range(size // len(zeros)):
        writer.write(zeros)
    writer.begin(stored, b"")
    writer.write(PNG)
    writer.finish(b"end")
    theirs = zipfile.ZipFile(file)
    assert [info.file_size for info in theirs.infolist()] == [size, len(PNG)]
    assert theirs.read("1.png") == PNG
    ours = ArchiveReader(file, "book.cbz", max_other_bytes=size)
    assert [member.size for member in ours.members] == [size, len(PNG)]
    assert ours.read(ours.pages[0]) == PNG
    assert ours.comment == b"end"


def test_more_members_than_16_bits_can_count() -> None:
    source = packed({"1.png": PNG, **{f"{n:05}/": b"" for n in range(66_000)}})
    out, result = rewritten(source)
    assert result.pages == 1
    assert len(out.namelist()) == 66_001


def test_extra_fields_keep_dates_and_lose_what_is_unsafe() -> None:
    stamp = struct.pack("<2HBl", 0x5455, 5, 1, 1_300_000_000)
    link = struct.pack("<2H", 0x756E, 6) + b"target"
    out, _ = rewritten(build(Raw(extra=stamp + link + b"\0\0\0"), Raw(b"a.txt", b"", extra=stamp)))
    assert [info.extra for info in out.infolist()] == [stamp, stamp]


def test_comments_of_members_survive() -> None:
    out, _ = rewritten(build(Raw(comment=b"cover"), Raw(b"a.txt", b"", comment=b"by me")))
    assert [info.comment for info in out.infolist()] == [b"cover", b"by me"]


def test_memory_stays_flat_with_a_large_file() -> None:
    block = random.Random(3).randbytes(1 << 20)
    source = packed({"1.png": PNG, "film.mkv": block * 50})

    class Counter(io.RawIOBase):
        total = 0

        def write(self, data: Any) -> int:
            self.total += len(data)
            return len(data)

    sink = Counter()
    stream = io.BytesIO(source)
    tracemalloc.start()
    try:
        book = ArchiveReader(stream, "book.cbz")
        archive.check_pages(book, lambda member, data: None)
        archive.rewrite(book, sink, lambda member, data: data, extension=lambda member: ".png")  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sink.total > 50 << 20
    assert peak < 2 << 20


# --- pages that fail -------------------------------------------------------------------------


def verify(member: Member, data: bytes) -> None:
    try:
        Image.open(io.BytesIO(data)).load()
    except OSError as error:
        raise DecodeError(f"the picture is truncated ({error})") from error


def test_a_damaged_page_is_an_error_before_the_work() -> None:
    good = packed({"006.jpg": JPEG, "a.txt": b"text"})
    archive.check_pages(reader(good), verify)
    bad = packed({"006.jpg": JPEG, "007.jpg": JPEG[: len(JPEG) // 2]})
    with pytest.raises(DecodeError, match=r"^book\.cbz: page 007\.jpg: the picture is truncated"):
        archive.check_pages(reader(bad), verify)


def test_errors_of_the_conversion_name_the_page_and_keep_their_class() -> None:
    def fail(error: Waifu2xError, member: Member, data: bytes) -> bytes:
        raise error

    source = packed({"ch 1/007.jpg": JPEG})
    with pytest.raises(EngineError, match=r"^book\.cbz: page ch 1/007\.jpg: not finite$"):
        rewritten(source, convert=partial(fail, EngineError("not finite")))
    with pytest.raises(CancelledError, match=r"^stopped$"):
        rewritten(source, convert=partial(fail, CancelledError("stopped")))


@pytest.mark.parametrize("behind", [b"\0", bytes(10), bytes(70_000), b"tail", b"PK\5\6", JPEG])
def test_bytes_behind_an_archive_are_left_out(behind: bytes) -> None:
    for source in (packed({"1.png": PNG}), packed({"1.png": PNG}, comment=b"a scan")):
        book = reader(source + behind)
        count = f"{len(behind):,} byte{'s'[: len(behind) != 1]}"
        assert book.notes == (f"{count} behind the archive left out",)
        out, _ = rewritten(source + behind)
        assert out.testzip() is None
        assert out.namelist() == ["1.webp"]
        assert out.comment == reader(source).comment


def test_bytes_behind_an_archive_in_zip64_are_left_out() -> None:
    source = packed({"1.png": PNG, **{f"{n:05}/": b"" for n in range(66_000)}})
    assert b"PK\6\6" in source[-98:-76]
    assert len(reader(source + bytes(20)).members) == 66_001


def test_a_cut_archive_is_not_taken_for_an_archive_inside_of_it() -> None:
    inner = packed({"a.png": PNG})
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as out:
        out.writestr("1.png", PNG)
        out.writestr("extras.zip", inner)
    data = stored.getvalue()
    assert "list of files is missing" in refusal(data[: data.index(inner) + len(inner) + 30])


@pytest.mark.parametrize("method", [0, 8])
def test_damaged_members_are_carried_over_as_they_are_stored(method: int) -> None:
    source = build(
        Raw(b"1.png"), Raw(b"2.png", method=method, crc=7), Raw(b"a.txt", b"text", crc=8)
    )
    book, failed = reader(source), Failures()
    archive.check_pages(book, lambda member, data: None, failed)
    assert failed == {
        "2.png": "book.cbz: member 2.png is damaged: its checksum (CRC) is wrong; "
        "download it again",
        "a.txt": "book.cbz: member a.txt is damaged: its checksum (CRC) is wrong; "
        "download it again",
    }
    out, result = rewritten(source, unchanged=set(failed))
    assert (result.pages, result.carried) == (2, 1)
    assert [info.CRC for info in out.infolist()][1:] == [7, 8]
    again = reader(_file(out).getvalue())
    blocks: list[bytes] = []
    again.copy(again.members[1], blocks.append)
    assert b"".join(blocks) == (deflated(PNG) if method else PNG)


def test_a_page_that_fails_keeps_its_name() -> None:
    source = packed({"1.gif": b"GIF8", "2.jpg": JPEG, "2.jpg.webp": b"RIFF"})
    out, _ = rewritten(source, convert=new_unless_broken, failed=(failed := Failures()))
    assert list(failed) == ["1.gif", "2.jpg.webp"]
    assert out.namelist() == ["1.gif", "2.jpg.2.webp", "2.jpg.webp"]
    assert out.read("2.jpg.webp") == b"RIFF"


def test_a_page_beyond_the_limit_fails_alone() -> None:
    book = reader(build(Raw(b"1.png"), Raw(b"2.png", PNG + b"\0")), max_page_bytes=len(PNG))
    archive.check_pages(book, lambda member, data: None, failed := Failures())
    assert list(failed) == ["2.png"]
    assert f"it has {len(PNG) + 1:,} bytes" in failed["2.png"]


# --- names -----------------------------------------------------------------------------------


def new_names(names: list[str], suffix: str = ".webp", others: tuple[str, ...] = ()) -> list[str]:
    files = dict.fromkeys(names, PNG) | dict.fromkeys(others, b"text")
    out, _ = rewritten(packed(files), suffix=suffix)
    return out.namelist()[: len(names)]


@pytest.mark.parametrize(
    ("old", "suffix", "new"),
    [
        (["b.jpg", "a.png"], ".webp", ["b.webp", "a.webp"]),
        (["a.jpg", "a_2.png"], ".webp", ["a.webp", "a_2.webp"]),
        (["a.jpg", "a.png"], ".webp", ["a.jpg.webp", "a.png.webp"]),
        (["A.jpg", "a.png"], ".webp", ["A.jpg.webp", "a.png.webp"]),
        (["a.jpg", "a.png", "a_2.png"], ".webp", ["a.jpg.webp", "a.png.webp", "a_2.webp"]),
        (["a.jpg", "a.png"], ".png", ["a.jpg.png", "a.png"]),
        (["001.jpg", "001.k.jpg"], ".png", ["001.jpg.png", "001.k.png"]),
        (["a.jpg", "a.k/1.jpg"], ".png", ["a.jpg.png", "a.k/1.png"]),
        (["a.PNG", "b.png"], ".png", ["a.PNG", "b.png"]),
        (["a.b/1.jpg", "a.b/2.jpg"], ".webp", ["a.b/1.webp", "a.b/2.webp"]),
        (["v1.5 c2.jpg", "v1 c2.jpg"], ".webp", ["v1.5 c2.webp", "v1 c2.webp"]),
    ],
)
def test_new_extensions(old: list[str], suffix: str, new: list[str]) -> None:
    assert new_names(old, suffix) == new


def test_new_names_never_meet_other_members() -> None:
    assert new_names(["a.jpg"], others=("a.webp",)) == ["a.jpg.webp"]
    assert new_names(["a.jpg"], others=("A.WEBP/x.txt",)) == ["a.jpg.webp"]
    assert new_names(["a.jpg"], others=("a.webp", "a.jpg.webp")) == ["a.jpg.2.webp"]
    assert new_names(["001.jpg", "001.jpg.png"]) == ["001.jpg.webp", "001.jpg.png.webp"]
    assert new_names(["a.jpg"], others=("a.webp/",)) == ["a.jpg.webp"]


def test_an_order_that_cannot_be_kept_is_noted() -> None:
    _, result = rewritten(packed({"a.jpg": PNG, "a.jpg (2).jpg": PNG}))
    assert result.notes == ("sorted by name, some pages are in another order than before",)
    assert result.renamed == 1


@pytest.mark.parametrize("suffix", ["", ".", "webp", ".a/b", "./..", ".é"])
def test_an_extension_is_a_dot_and_letters(suffix: str) -> None:
    with pytest.raises(ArgumentError, match="is not a dot with letters and digits"):
        rewritten(packed({"a.jpg": JPEG}), suffix=suffix)


def test_names_in_old_encodings_keep_their_bytes() -> None:
    for raw in (
        "漫画/01話.jpg".encode("cp932"),
        "漫画/é.jpg".encode(),
        "Pokémon.jpg".encode("cp437"),
    ):
        source = build(Raw(raw), Raw(raw[:-4] + b".txt", b"text"))
        out, _ = rewritten(source)
        names = [info.orig_filename.encode("cp437") for info in out.infolist()]
        assert names == [raw[:-4] + b".webp", raw[:-4] + b".txt"]
        assert not any(info.flag_bits & 1 << 11 for info in out.infolist())


def test_names_are_shown_readably() -> None:
    for text, encoding in (
        ("漫画/01話.jpg", "cp932"),
        ("漫画.jpg", "utf-8"),
        ("Pokémon.jpg", "cp437"),
    ):
        assert reader(build(Raw(text.encode(encoding)))).members[0].name == text


def test_a_backslash_within_a_character_is_not_a_separator() -> None:
    names = ["表紙.jpg", "第一話/ソ.txt"]
    raws = [name.encode("cp932") for name in names]
    assert all(b"\\" in raw for raw in raws)
    out, _ = rewritten(build(Raw(raws[0]), Raw(raws[1], b"text"), Raw(b"a.txt", b"")))
    assert out.namelist() == ["表紙.webp", names[1], "a.txt"]


def test_the_unicode_path_field_becomes_the_name() -> None:
    raw = b"??.jpg"
    field = b"\1" + zlib.crc32(raw).to_bytes(4, "little") + "漫画.jpg".encode()
    out, _ = rewritten(build(Raw(raw, extra=struct.pack("<2H", 0x7075, len(field)) + field)))
    assert out.namelist() == ["漫画.webp"]


def test_backslashes_and_control_characters_are_cleaned() -> None:
    source = build(
        Raw(b"ch1\\01.png"), Raw(b"ch1\\Icon\r", b""), Raw("é\x01.txt".encode("cp437"), b"")
    )
    out, result = rewritten(source)
    assert out.namelist() == ["ch1/01.webp", "ch1/Icon_", "é_.txt"]
    assert result.notes == ("names with backslashes or control characters, which were replaced: 3",)


def safe(name: str) -> bool:
    parts = name.split("/")
    return (
        not any(unicodedata.category(char) == "Cc" for char in name)
        and not name.startswith("/")
        and "\\" not in name
        and ".." not in parts
        and not re.match("[A-Za-z]:", name)
    )


PARTS = st.sampled_from(
    [b"a", b"A", b".", b"..", b"/", b"\\", b":", b"\0", b"\n", b"\x83\x5c", b"\x81", b"1", b"10",
     b"_", b" ", "表".encode(), b".png", b".jpg", b".webp", b".JPG", b"2"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    names=st.lists(
        st.tuples(
            st.one_of(st.lists(PARTS, max_size=6).map(b"".join), st.binary(max_size=6)),
            st.sampled_from([b"", b".png", b".jpg", b".jpeg", b".png/"]),
            st.sampled_from([0, 1 << 11]),
            st.booleans(),
        ),
        min_size=1,
        max_size=8,
    ),
    suffix=st.sampled_from([".png", ".webp", ".jpg"]),
)
def test_whatever_the_names_the_result_is_safe(
    names: list[tuple[bytes, bytes, int, bool]], suffix: str
) -> None:
    members = [
        Raw(stem + end, b"\x89PNG" if page else b"text", flags=flags)
        for stem, end, flags, page in names
    ]
    source = build(Raw(b"000.png", b"\x89PNG"), *members)
    message = ""
    try:
        book = reader(source)
    except DecodeError as error:
        message = str(error)
    assert message.isprintable()
    if message:
        return
    out, result = rewritten(source, suffix=suffix)
    assert out.testzip() is None
    # The names in the result equal the planned names.
    again = [entry.name for entry in _zip.ZipReader(_file(out), "out", max_members=99).entries]
    plan = archive.plan_names(book.members, lambda member: suffix)
    new = iter(plan.names)
    planned = [
        next(new).apply(member.name) if member.kind == "page" else member.name
        for member in book.members
    ]
    flagged = [bool(info.flag_bits & 1 << 11) or info.filename.isascii() for info in out.infolist()]
    for name, seen, exact, info in zip(planned, again, flagged, out.infolist(), strict=True):
        assert safe(name)
        assert ".." not in info.filename.split("/")
        assert not info.filename.startswith("/")
        if exact:
            assert seen == name == info.filename
            assert safe(info.filename)
    pages = [
        new for new, member in zip(planned, book.members, strict=True) if member.kind == "page"
    ]
    assert all(name.lower().endswith(suffix) for name in pages)
    assert len({name.casefold() for name in pages}) >= len(
        {member.name.casefold() for member in book.pages}
    )
    if plan.ordered:
        old = [member.name.casefold() for member in book.pages]
        order = sorted(range(len(pages)), key=lambda i: old[i])
        assert order == sorted(range(len(pages)), key=lambda i: pages[i].casefold())
    else:
        assert any("another order" in note for note in result.notes)


def _file(out: zipfile.ZipFile) -> io.BytesIO:
    assert isinstance(out.fp, io.BytesIO)
    return out.fp
