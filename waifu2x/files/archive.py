"""A job for one comic archive: every page is a picture or an animation."""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn, Protocol

from .. import codec
from .._text import plural, shown
from ..errors import EncodeError, SkippedError, Waifu2xError
from ..pipeline.auto_noise import strength
from ..pipeline.progress import ProgressCallback
from .naming import ARCHIVE_SUFFIXES
from .pages import ArchiveReader, Member, check_pages, rewrite
from .task import Job, Options, PlainJob, Result


class OpenPage(Protocol):
    """Opens the picture or animation in a stream as a job; see `ArchiveJob`."""

    def __call__(
        self, page: BinaryIO, page_name: str, *, as_png: bool = False, whole: bool = False
    ) -> Job:
        """Open a page.

        page_name: for messages. as_png: write the page as PNG, not in the format of the options.
        whole: decode all frames of an animation, so that damage is found.
        """


class ArchiveJob(PlainJob):
    """An archive whose pages have all been opened and checked; a `Job`.

    A page that its format cannot hold becomes a PNG. A page that fails is carried over unchanged,
    and so is a damaged file; `Result.failures` names them. With ``options.strict``, both are
    errors.

    Raises `EncodeError` for a target that is not named as an archive, `SkippedError` if
    ``skip_larger`` skips every page, the errors of `ArchiveReader`, and those of ``open_page`` if
    no page is left.
    """

    needs_source = True

    def __init__(
        self,
        stream: BinaryIO,
        name: str,
        options: Options,
        target: Path | None,
        open_page: OpenPage,
    ) -> None:
        if target is not None and target.suffix.lower() not in ARCHIVE_SUFFIXES:
            raise EncodeError(
                f"{shown(target)}: {name} is an archive, and so is its result; "
                f"name it {' or '.join(ARCHIVE_SUFFIXES)}"
            )
        self._options = options
        self._open_page = open_page
        self._reader = ArchiveReader(stream, name)
        self._extensions: dict[str, str] = {}
        self._larger: set[str] = set()
        #: Pages that become PNG, and the labels of the formats that cannot hold them.
        self._as_png: dict[str, str] = {}
        self._failures: dict[str, Waifu2xError] = {}
        self._failed = None if options.strict else self._keep
        check_pages(self._reader, self._check_page, self._failed)
        if not self._extensions:
            self._refuse(name)
        suffix = Path(name).suffix.lower()
        self.extension = suffix if suffix in ARCHIVE_SUFFIXES else ".cbz"

    def write(
        self,
        sink: BinaryIO,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Result:
        """Rewrite the archive page by page."""
        pages = len(self._extensions)
        results: list[Result] = []
        ended = 0

        def advance(share: float) -> None:
            if progress is not None:
                progress(min(1.0, (ended + share) / pages))

        def convert(member: Member, data: bytes) -> bytes:
            nonlocal ended
            buffer = io.BytesIO()
            try:
                job = self._open_page(
                    io.BytesIO(data), member.name, as_png=member.name in self._as_png
                )
                results.append(job.write(buffer, advance, cancel))
            finally:
                ended += 1
            return buffer.getvalue()

        made = rewrite(
            self._reader,
            sink,
            convert,
            extension=lambda member: self._extensions[member.name],
            unchanged={*self._larger, *self._failures},
            failed=self._failed,
        )
        if not results:
            self._refuse(self._reader.name)
        counts = [plural(made.pages, "page")]
        if made.carried:
            counts.append(f"{plural(made.carried, 'other file')} carried over")
        if made.renamed:
            counts.append(f"{plural(made.renamed, 'page')} renamed")
        if self._larger:
            counts.append(f"{plural(len(self._larger), 'larger page')} left alone")
        if self._failures:
            counts.append(f"{len(self._failures):,} carried over unchanged after an error")
        for label in dict.fromkeys(self._as_png.values()):
            names = [shown(page) for page, other in self._as_png.items() if other == label]
            counts.append(f"pages that {label} cannot hold, written as PNG: {', '.join(names)}")
        return Result(
            size_in=max((each.size_in for each in results), key=_area),
            size_out=max((each.size_out for each in results), key=_area),
            noise=max(
                (each.noise for each in results),
                key=strength,
            ),
            reason="chosen for each page" if self._options.noise == "auto" else "",
            notes=(*counts, *made.notes, *_merged([each.notes for each in results])),
            failures=tuple(f"{error}; carried over unchanged" for error in self._failures.values()),
        )

    def _check_page(self, member: Member, data: bytes) -> None:
        name = member.name
        try:
            try:
                job = self._open_page(io.BytesIO(data), name, whole=True)
            except EncodeError:
                if self._options.strict:
                    raise
                job = self._open_page(io.BytesIO(data), name, as_png=True, whole=True)
                self._as_png[name] = self._label(data)
            self._extensions[name] = job.extension
        except SkippedError:
            self._larger.add(name)

    def _label(self, data: bytes) -> str:
        """The label of the format in which a page would be written."""
        if self._options.format is not None:
            return codec.format_named(None, self._options.format).label
        found = codec.sniff(data[: codec.HEAD_BYTES]).format
        return "PNG" if found is None else found.label

    def _keep(self, member: Member, error: Waifu2xError) -> None:
        self._failures[member.name] = error

    def _refuse(self, name: str) -> NoReturn:
        """Raise for an archive without a page to convert."""
        if not self._failures:
            raise SkippedError(f"{name} has only pages that are larger: left alone")
        raise next(iter(self._failures.values()))


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _merged(notes: list[tuple[str, ...]]) -> Iterator[str]:
    """The notes of all pages, each once, with a count unless every page has the note."""
    counts = Counter(note for page in notes for note in dict.fromkeys(page))
    for note, count in counts.items():
        yield note if count == len(notes) else f"{note} ({count} of {len(notes)} pages)"
