"""A job for one comic archive: every page is a picture or an animation."""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from .. import codec
from .._text import plural, shown
from ..errors import EncodeError, SkippedError
from ..pipeline.auto_noise import strength
from ..pipeline.progress import ProgressCallback
from .naming import ARCHIVE_SUFFIXES
from .pages import ArchiveReader, Member, check_pages, rewrite
from .task import Job, Options, Result


class ArchiveJob:
    """An archive whose pages have all been opened and checked; a `Job`.

    open_page: opens the picture or animation in a stream, with its name for messages.

    Raises `EncodeError` for a target that is not named as an archive, `SkippedError` if
    ``skip_larger`` skips every page, and the errors of `ArchiveReader`, `check_pages` and
    ``open_page``.
    """

    needs_source = True

    def __init__(
        self,
        stream: BinaryIO,
        name: str,
        options: Options,
        target: Path | None,
        open_page: Callable[[BinaryIO, str], Job],
    ) -> None:
        if target is not None and target.suffix.lower() not in ARCHIVE_SUFFIXES:
            raise EncodeError(
                f"{shown(target)}: {name} is an archive, and so is its result; "
                f"name it {' or '.join(ARCHIVE_SUFFIXES)}"
            )
        self._options = options
        self._open_page = open_page
        self._reader = ArchiveReader(stream, name, codec.is_picture)
        self._extensions: dict[str, str] = {}
        self._larger: set[str] = set()
        check_pages(self._reader, self._check_page)
        if len(self._larger) == len(self._reader.pages):
            raise SkippedError(f"{name} has only pages that are larger: left alone")
        suffix = Path(name).suffix.lower()
        self.extension = suffix if suffix in ARCHIVE_SUFFIXES else ".cbz"

    def write(
        self,
        sink: BinaryIO,
        progress: ProgressCallback | None = None,
        cancel: threading.Event | None = None,
    ) -> Result:
        """Rewrite the archive page by page."""
        pages = len(self._reader.pages)
        results: list[Result] = []
        left_alone = 0

        def advance(share: float) -> None:
            if progress is not None:
                progress(min(1.0, (len(results) + left_alone + share) / pages))

        def convert(member: Member, data: bytes) -> bytes:
            nonlocal left_alone
            if member.name in self._larger:
                left_alone += 1
                return data
            buffer = io.BytesIO()
            job = self._open_page(io.BytesIO(data), member.name)
            results.append(job.write(buffer, advance, cancel))
            return buffer.getvalue()

        made = rewrite(
            self._reader, sink, convert, extension=lambda member: self._extensions[member.name]
        )
        counts = [plural(pages, "page")]
        if made.carried:
            counts.append(f"{plural(made.carried, 'other file')} carried over")
        if made.renamed:
            counts.append(f"{plural(made.renamed, 'page')} renamed")
        if left_alone:
            counts.append(f"{plural(left_alone, 'larger page')} left alone")
        return Result(
            size_in=max((each.size_in for each in results), key=_area),
            size_out=max((each.size_out for each in results), key=_area),
            noise=max(
                (each.noise for each in results),
                key=strength,
            ),
            reason="chosen for each page" if self._options.noise == "auto" else "",
            notes=(*counts, *made.notes, *_merged([each.notes for each in results])),
        )

    def _check_page(self, member: Member, data: bytes) -> None:
        try:
            self._extensions[member.name] = self._open_page(io.BytesIO(data), member.name).extension
        except SkippedError:
            self._larger.add(member.name)
            self._extensions[member.name] = member.suffix


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _merged(notes: list[tuple[str, ...]]) -> Iterator[str]:
    """The notes of all pages, each once, with a count unless every page has the note."""
    counts = Counter(note for page in notes for note in dict.fromkeys(page))
    for note, count in counts.items():
        yield note if count == len(notes) else f"{note} ({count} of {len(notes)} pages)"
