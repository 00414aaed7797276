"""Reads the pages of comic archives (CBZ, ZIP) and rewrites archives with other pages.

Everything but the pages is copied unchanged. Nothing is unpacked to disk. The caller converts the
pages; this module uses neither pictures nor networks.
"""

from __future__ import annotations

import re
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import compress, count
from pathlib import PurePosixPath
from typing import BinaryIO, Literal, NamedTuple

from .._text import natural_key, shown
from ..codec import PAGE_SUFFIXES, sniff
from ..errors import (
    ArgumentError,
    CancelledError,
    DecodeError,
    EncodeError,
    LimitError,
    Waifu2xError,
)
from .zip import STORED, Entry, ZipReader, ZipWriter

MAX_MEMBERS = 100_000
MAX_PAGE_BYTES = 1 << 28
MAX_OTHER_BYTES = 1 << 30

# Documents in ZIP format, whose other members refer to the pictures by name.
_DOCUMENTS = {
    "mimetype": "an EPUB book or OpenDocument file",
    "[Content_Types].xml": "an Office document",
    "META-INF/MANIFEST.MF": "a Java archive or Android app",
}

_REORDERED = "sorted by name, some pages are in another order than before"


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an archive.

    kind: "page" for a picture, "directory", or "other" for a file that is copied unchanged.
    """

    entry: Entry
    kind: Literal["page", "directory", "other"]

    @property
    def name(self) -> str:
        """The path in the archive: relative, "/" between parts, no ".." and no control characters.

        The encoding of an old name is guessed; the bytes of the name are kept.
        """
        return self.entry.name

    @property
    def suffix(self) -> str:
        """The extension in lower case with its dot, or ""."""
        suffix = PurePosixPath(self.entry.name.rpartition("/")[2]).suffix
        # "K" (Kelvin) would become an ASCII letter with fewer bytes than before.
        return suffix.lower() if suffix.isascii() else suffix

    @property
    def size(self) -> int:
        """Declared size of the content in bytes; no more is ever read."""
        return self.entry.size


@dataclass(frozen=True, slots=True)
class RewriteResult:
    """The result of `rewrite`.

    pages: number of pages replaced.
    carried: number of other files copied unchanged, without directories.
    renamed: number of pages whose name changed by more than the extension; see `plan_names`.
    notes: remarks for the user.
    """

    pages: int
    carried: int
    renamed: int
    notes: tuple[str, ...]


def is_archive(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is a ZIP archive.

    Self-extracting archives begin with a program and are not recognized, though `ArchiveReader`
    can read them.
    """
    return sniff(head).name == "zip"


def refuse_other_archives(head: bytes, name: str) -> None:
    """Raise `DecodeError` for the head of a RAR, 7z, tar or ACE archive.

    head: the first `codec.HEAD_BYTES` bytes of the file, or the whole file if shorter.
    name: the name of the file in the message.
    """
    found = sniff(head)
    if found.archive and found.name != "zip":
        raise DecodeError(found.unsupported(shown(name)))


class ArchiveReader:
    """The pages and other files of a ZIP archive, checked before any content is converted.

    stream: a seekable stream, used exclusively by the reader and left open.
    name: the name of the archive in messages.
    is_picture: whether a file with these first bytes (at most 64) is a picture. A page is a picture
        with one of ``codec.PAGE_SUFFIXES``.
    max_members, max_page_bytes, max_other_bytes: limits for the number of members, the size of a
        page, and the total size of all other files.

    members: all members, in the archive's order; ``pages``: the pages among them.
    comment: the comment of the archive.
    notes: remarks on the contents.

    Reads one block at a time; not thread-safe. Raises `DecodeError` for an archive that is damaged,
    encrypted, unsafe or without pages, `LimitError` for an archive beyond a limit.
    """

    def __init__(
        self,
        stream: BinaryIO,
        name: str,
        is_picture: Callable[[bytes], bool],
        *,
        max_members: int = MAX_MEMBERS,
        max_page_bytes: int = MAX_PAGE_BYTES,
        max_other_bytes: int = MAX_OTHER_BYTES,
    ) -> None:
        self.name = shown(name)
        self._zip = ZipReader(stream, name, max_members=max_members)
        self.comment = self._zip.comment
        for entry in self._zip.entries:
            if entry.name in _DOCUMENTS:
                raise DecodeError(
                    f"{self.name} is {_DOCUMENTS[entry.name]}, whose parts refer to its pictures; "
                    "take the pictures out and upscale those"
                )
        misnamed: list[str] = []
        self.members: list[Member] = []
        for entry in self._zip.entries:
            member = Member(entry, "directory" if entry.name.endswith("/") else "other")
            if member.kind == "other" and member.suffix in PAGE_SUFFIXES:
                if is_picture(self._zip.head(entry, 64)):
                    member = Member(entry, "page")
                elif not _is_apple_double(entry.name):
                    misnamed.append(entry.name)
            self.members.append(member)
        self.pages = [member for member in self.members if member.kind == "page"]
        self._check_sizes(max_page_bytes, max_other_bytes)
        self.notes = tuple(_notes(misnamed, self._zip.cleaned))

    def blocks(
        self, member: Member, copy: Callable[[bytes], object] | None = None
    ) -> Iterator[bytes]:
        """Yield the content of ``member``; see `ZipReader.blocks`."""
        return self._zip.blocks(member.entry, copy)

    def read(self, member: Member) -> bytes:
        """The content of ``member``; raises `DecodeError` if it is damaged."""
        return b"".join(self.blocks(member))

    def local_extra(self, member: Member) -> bytes:
        """The extra fields of the member's local header that a copy keeps: dates and owners."""
        return self._zip.local_extra(member.entry)

    def _check_sizes(self, max_page_bytes: int, max_other_bytes: int) -> None:
        if not self.pages:
            raise DecodeError(f"{self.name} holds no pictures; name an archive of pictures")
        for page in self.pages:
            if page.size > max_page_bytes:
                raise LimitError(
                    f"{self.name}: page {shown(page.name)} has {page.size:,} bytes; "
                    f"{max_page_bytes:,} are allowed; take it out"
                )
        others = sum(member.size for member in self.members if member.kind != "page")
        if others > max_other_bytes:
            raise LimitError(
                f"{self.name} holds {others:,} bytes of other files than pictures; "
                f"{max_other_bytes:,} are allowed; take the largest out"
            )


def check_pages(reader: ArchiveReader, verify: Callable[[Member, bytes], object]) -> None:
    """Read the whole archive once, before hours of work; call ``verify`` with every page.

    verify: receives the page and its bytes. Its errors get the names of archive and page.

    Raises `DecodeError` for damaged content of any member, and the errors of ``verify``.
    """
    for member in reader.members:
        if member.kind == "page":
            data = reader.read(member)
            with _named(reader, member):
                verify(member, data)
        else:
            for _ in reader.blocks(member):
                pass


def rewrite(
    reader: ArchiveReader,
    sink: BinaryIO,
    convert: Callable[[Member, bytes], bytes],
    *,
    extension: Callable[[Member], str],
) -> RewriteResult:
    """Write the archive to ``sink`` with every page replaced by the result of ``convert``.

    sink: written from front to back, so it may be a pipe. After an error it holds half an archive;
        see `atomic.write_file`.
    convert: from a page and its bytes to the new bytes. Its errors get the names of archive and
        page.
    extension: the extension, with its dot, of each page's new bytes; called for all pages before
        the first is converted.

    Order, paths, dates, permissions, comments and kept extra fields stay the same. Pages are stored
    without compression; other members are copied byte for byte. Equal pages give equal archives.
    Only one page at a time is in memory.

    Raises `DecodeError` for damaged content, and the errors of ``convert``.
    """
    plan = plan_names(reader.members, extension)
    names = iter(plan.names)
    writer = ZipWriter(sink)
    carried = 0
    for member in reader.members:
        extra = reader.local_extra(member)
        if member.kind == "page":
            data = reader.read(member)
            with _named(reader, member):
                data = convert(member, data)
            entry = replace(
                member.entry,
                raw=next(names).apply_raw(member.entry.raw),
                size=len(data),
                compressed=len(data),
                crc=zlib.crc32(data),
                method=STORED,
                internal=0,  # bit 0 would mean "text"
            )
            writer.begin(entry, extra)
            writer.write(data)
        else:
            carried += member.kind == "other"
            writer.begin(member.entry, extra)
            for _ in reader.blocks(member, copy=writer.write):
                pass
    writer.finish(reader.comment)
    return RewriteResult(
        pages=len(reader.pages),
        carried=carried,
        renamed=sum(name.renamed for name in plan.names),
        notes=reader.notes if plan.ordered else (*reader.notes, _REORDERED),
    )


class NewName(NamedTuple):
    """A change of a page's name: ``cut`` characters are removed at the end, ``tail`` is added.

    renamed: whether more than the extension changes.
    """

    cut: int
    tail: str
    renamed: bool

    def apply(self, name: str) -> str:
        """Change ``name``."""
        return name[: len(name) - self.cut] + self.tail

    def apply_raw(self, name: bytes) -> bytes:
        """Change the bytes of a name; the part cut off is ASCII in every encoding."""
        return name[: len(name) - self.cut] + self.tail.encode("ascii")


class NamePlan(NamedTuple):
    """The new names of the pages; ``ordered``: whether they sort like the old names."""

    names: list[NewName]
    ordered: bool


def plan_names(members: Sequence[Member], extension: Callable[[Member], str]) -> NamePlan:
    """Give every page the extension of its new format.

    Comic readers sort pages by name, so new extensions must neither merge two names nor change
    their order. An extension affects the order only if another name continues the same stem with a
    dot: "a.jpg" next to "a.png" or "a.k.jpg". Such a page keeps its old extension, as in
    "a.jpg.webp"; otherwise the extension is replaced. Names are compared without case, as on
    Windows and macOS, and never collide with other members or directories. A page that keeps its
    extension keeps its name.

    ``ordered`` is False in the remaining cases, if keeping all old extensions would not help
    either: one page's whole name begins another's, as in "a.jpg (2).jpg".

    Raises `ArgumentError` if ``extension`` returns anything but a dot, letters and digits.
    """
    pages = [member for member in members if member.kind == "page"]
    others = [member.name for member in members if member.kind != "page"]
    suffixes = [extension(page) for page in pages]
    for suffix in suffixes:
        if not re.fullmatch(r"\.[A-Za-z0-9]{1,16}", suffix):
            raise ArgumentError(f"extension {suffix!r} is not a dot with letters and digits")
    old = [page.name for page in pages]
    plans = []
    for keep_all in (False, True):
        names = _new_names(pages, others, suffixes, keep_all=keep_all)
        new = [name.apply(page) for name, page in zip(names, old, strict=True)]
        plans.append(NamePlan(names, _same_order(old, new)))
        if plans[-1].ordered:
            return plans[-1]
    return plans[0]


def _new_names(
    pages: list[Member], others: list[str], suffixes: list[str], *, keep_all: bool
) -> list[NewName]:
    keys = sorted(page.name.casefold() for page in pages)
    stays = [page.suffix == suffix.lower() for page, suffix in zip(pages, suffixes, strict=True)]
    taken = {_key(name) for name in (*others, *compress([page.name for page in pages], stays))}
    for name in (*others, *(page.name for page in pages)):
        taken.update(str(parent) for parent in PurePosixPath(name.casefold()).parents)
    names = []
    for page, suffix, stay in zip(pages, suffixes, stays, strict=True):
        if stay:
            names.append(NewName(0, "", False))
            continue
        stem = page.name[: -len(page.suffix)].casefold()
        # Names that begin with the stem and a dot; "/" follows the dot in ASCII.
        rivals = bisect_left(keys, stem + "/") - bisect_left(keys, stem + ".")
        alone = rivals == 1 and not keep_all
        chosen = next(
            candidate
            for candidate in _candidates(page.suffix, suffix, alone=alone)
            if _key(candidate.apply(page.name)) not in taken
        )
        taken.add(_key(chosen.apply(page.name)))
        names.append(chosen)
    return names


def _candidates(old: str, new: str, *, alone: bool) -> Iterator[NewName]:
    """Yield new names for a page, the best first; ``alone``: its old extension is not needed."""
    if alone:
        yield NewName(len(old), new, False)
    yield NewName(0, new, True)
    for number in count(2):
        yield NewName(0, f".{number}{new}", True)


def _key(name: str) -> str:
    """A key that is equal for names of one file on a case-insensitive file system."""
    return str(PurePosixPath(name.casefold()))


def _same_order(old: list[str], new: list[str]) -> bool:
    """Whether both sort alike without case, by characters and in natural order."""

    def orders(names: list[str]) -> list[list[int]]:
        indices = range(len(names))
        return [sorted(indices, key=lambda i: key(names[i])) for key in (str.casefold, natural_key)]

    return orders(old) == orders(new)


def _is_apple_double(name: str) -> bool:
    """Whether macOS wrote this file for attributes that ZIP does not support."""
    return name.startswith("__MACOSX/") or PurePosixPath(name).name.startswith("._")


def _notes(misnamed: list[str], cleaned: int) -> Iterator[str]:
    if misnamed:
        some = ", ".join(shown(name) for name in misnamed[:3])
        more = f" and {len(misnamed) - 3:,} more" if len(misnamed) > 3 else ""
        yield f"not pictures in spite of their names, carried over unchanged: {some}{more}"
    if cleaned:
        yield f"names with backslashes or control characters, which were replaced: {cleaned:,}"


@contextmanager
def _named(reader: ArchiveReader, member: Member) -> Iterator[None]:
    """Add the names of archive and member to errors of this package."""
    try:
        yield
    except CancelledError:
        raise
    except Waifu2xError as error:
        # An argument that does not fit a page is a fact of the file.
        kind = EncodeError if isinstance(error, ArgumentError) else type(error)
        raise kind(f"{reader.name}: page {shown(member.name)}: {error}") from error
