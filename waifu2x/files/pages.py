"""Reads the pages of comic archives (CBZ, ZIP) and rewrites archives with other pages.

Everything but the pages is copied unchanged. Nothing is unpacked to disk. The caller converts the
pages; this module uses neither pictures nor networks.
"""

from __future__ import annotations

import re
import zlib
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import compress, count
from pathlib import PurePosixPath
from typing import BinaryIO, Final, Literal, NamedTuple, TypeAlias

from .._record import record
from .._text import natural_key, shown
from ..codec import PAGE_SUFFIXES, is_picture
from ..errors import (
    ArgumentError,
    CancelledError,
    DecodeError,
    EncodeError,
    LimitError,
    MissingExtraError,
    Waifu2xError,
)
from . import page_names
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

#: Errors that concern a single member of an archive.
_OF_A_MEMBER: Final = (DecodeError, EncodeError, LimitError, MissingExtraError)

_REORDERED = "sorted by name, some pages are in another order than before"


@record
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


@record
class RewriteResult:
    """The result of `rewrite`.

    pages: number of pages, those carried over unchanged included.
    carried: number of other files copied unchanged, without directories.
    renamed: number of pages whose name changed by more than the extension; see `plan_names`.
    notes: remarks for the user.
    """

    pages: int
    carried: int
    renamed: int
    notes: tuple[str, ...]


class ArchiveReader:
    """The pages and other files of a ZIP archive, checked before any content is converted.

    stream: a seekable stream, used exclusively by the reader and left open.
    name: the name of the archive in messages.
    max_members, max_page_bytes, max_other_bytes: limits for the number of members, the size of a
        page, and the total size of all other files.

    members: all members, in the archive's order; ``pages``: the pages among them, which are the
        files with one of ``codec.PAGE_SUFFIXES``.
    comment: the comment of the archive.
    notes: remarks on the contents.

    Reads one block at a time; not thread-safe. Raises `DecodeError` for an archive that is damaged,
    encrypted, unsafe or without pages, `LimitError` for an archive beyond a limit; a page that is
    too large is an error only when it is read.
    """

    def __init__(
        self,
        stream: BinaryIO,
        name: str,
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
        self.members = [Member(entry, self._kind(entry)) for entry in self._zip.entries]
        self.pages = [member for member in self.members if member.kind == "page"]
        self._max_page_bytes = max_page_bytes
        self._check_sizes(max_other_bytes)
        self.notes = tuple(_notes(self._zip.cleaned, self._zip.trailing))

    def blocks(
        self, member: Member, copy: Callable[[bytes], object] | None = None
    ) -> Iterator[bytes]:
        """Yield the content of ``member``; see `ZipReader.blocks`."""
        return self._zip.blocks(member.entry, copy)

    def read(self, member: Member) -> bytes:
        """The content of ``member``.

        Raises `DecodeError` if the content is damaged, and `LimitError` for a page that is too
        large.
        """
        if member.kind == "page" and member.size > self._max_page_bytes:
            raise LimitError(
                f"it has {member.size:,} bytes; {self._max_page_bytes:,} are allowed; take it out"
            )
        return b"".join(self.blocks(member))

    def copy(self, member: Member, write: Callable[[bytes], object]) -> None:
        """Pass the stored data of ``member`` to ``write``; see `ZipReader.copy`."""
        self._zip.copy(member.entry, write)

    def local_extra(self, member: Member) -> bytes:
        """The extra fields of the member's local header that a copy keeps: dates and owners."""
        return self._zip.local_extra(member.entry)

    def _kind(self, entry: Entry) -> Literal["page", "directory", "other"]:
        if entry.name.endswith("/"):
            return "directory"
        if Member(entry, "other").suffix not in PAGE_SUFFIXES:
            return "other"
        if _is_apple_double(entry.name):
            with suppress(DecodeError):
                return "page" if is_picture(self._zip.head(entry, 64)) else "other"
            return "other"
        return "page"

    def _check_sizes(self, max_other_bytes: int) -> None:
        if not self.pages:
            raise DecodeError(f"{self.name} holds no pictures; name an archive of pictures")
        others = sum(member.size for member in self.members if member.kind != "page")
        if others > max_other_bytes:
            raise LimitError(
                f"{self.name} holds {others:,} bytes of other files than pictures; "
                f"{max_other_bytes:,} are allowed; take the largest out"
            )


#: Receives a member that cannot be read or converted, and the error with the member's name.
Failed: TypeAlias = Callable[[Member, Waifu2xError], object]


def check_pages(
    reader: ArchiveReader,
    verify: Callable[[Member, bytes], object],
    failed: Failed | None = None,
) -> None:
    """Read the whole archive once, before hours of work; call ``verify`` with every page.

    verify: receives the page and its bytes. Its errors get the names of archive and page.
    failed: receives each member that is damaged or that ``verify`` refuses.

    Without ``failed``, raises `DecodeError` for damaged content of any member, and the errors of
    ``verify``. With ``failed``, raises only `ArgumentError`s of ``verify``, as `EncodeError`, and
    errors that do not concern a single page.
    """
    for member in reader.members:
        with _named(reader, member, failed):
            if member.kind == "page":
                verify(member, reader.read(member))
            else:
                for _ in reader.blocks(member):
                    pass


def rewrite(
    reader: ArchiveReader,
    sink: BinaryIO,
    convert: Callable[[Member, bytes], bytes],
    *,
    extension: Callable[[Member], str],
    unchanged: Collection[str] = (),
    failed: Failed | None = None,
) -> RewriteResult:
    """Write the archive to ``sink`` with every page replaced by the result of ``convert``.

    sink: written from front to back, so it may be a pipe. After an error it holds half an archive;
        see `atomic.write_file`.
    convert: from a page and its bytes to the new bytes. Its errors get the names of archive and
        page.
    extension: the extension, with its dot, of each page's new bytes; called for all pages before
        the first is converted.
    unchanged: the names of members that are carried over as they are stored.
    failed: receives each page that ``convert`` refuses, which is carried over as well; None raises
        the error.

    Order, paths, dates, permissions, comments and kept extra fields stay the same. Pages are stored
    without compression. Other members are copied byte for byte, except that documents of comics
    receive the new names of pages (`page_names`). Equal pages give equal archives. Only one page at
    a time is in memory.

    Raises `DecodeError` for damaged content, and the errors of ``convert``.
    """
    plan = plan_names(
        reader.members, lambda page: page.suffix if page.name in unchanged else extension(page)
    )
    changes = dict(zip((page.name for page in reader.pages), plan.names, strict=True))
    appliers = {name: change.apply for name, change in changes.items()}
    writer = ZipWriter(sink)
    carried = 0
    for member in reader.members:
        extra = reader.local_extra(member)
        carried += member.kind == "other"
        entry, data = member.entry, None
        if member.name not in unchanged:
            with _named(reader, member, failed):
                if member.kind == "page":
                    data = convert(member, reader.read(member))
                    entry = replace(entry, raw=changes[member.name].apply_raw(entry.raw))
                elif page_names.is_document(member.name, member.size):
                    data = page_names.corrected(reader.read(member), member.name, appliers)
        if data is not None:
            entry = replace(
                entry,
                size=len(data),
                compressed=len(data),
                crc=zlib.crc32(data),
                method=STORED,
                internal=0,  # bit 0 would mean "text"
            )
            writer.begin(entry, extra)
            writer.write(data)
            continue
        writer.begin(entry, extra)
        if member.kind == "page" or member.name in unchanged:
            reader.copy(member, writer.write)
        else:
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
    # A page that fails later keeps its old name.
    before = {_key(page.name) for page in pages}
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
        own = _key(page.name)
        chosen = next(
            candidate
            for candidate in _candidates(page.suffix, suffix, alone=alone)
            if (key := _key(candidate.apply(page.name))) not in taken
            and (key == own or key not in before)
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


def _notes(cleaned: int, trailing: int) -> Iterator[str]:
    if cleaned:
        yield f"names with backslashes or control characters, which were replaced: {cleaned:,}"
    if trailing:
        yield f"{trailing:,} {'byte' if trailing == 1 else 'bytes'} behind the archive left out"


@contextmanager
def _named(reader: ArchiveReader, member: Member, failed: Failed | None = None) -> Iterator[None]:
    """Add the names of archive and member to errors of this package.

    failed: receives the errors that concern ``member`` only; None raises them.
    """
    try:
        yield
    except CancelledError:
        raise
    except Waifu2xError as error:
        # An argument that does not fit a page is a fact of the file.
        kind = EncodeError if isinstance(error, ArgumentError) else type(error)
        text, page = str(error), shown(member.name)
        if text.startswith((f"{page}: ", f"{page} ")):
            text = f"{reader.name}: page {text}"
        elif not text.startswith((f"{reader.name}: ", f"{reader.name} ")):
            text = f"{reader.name}: page {page}: {text}"
        named = kind(text)
        if failed is None or not isinstance(error, _OF_A_MEMBER):
            raise named from error
        failed(member, named)
