"""Names results: the rule for a name that was not given, and the check of a name that was."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path, PurePath
from typing import Final

from .._text import shown
from ..errors import EncodeError

#: Extensions of comic archives.
ARCHIVE_SUFFIXES: Final = (".cbz", ".zip")

#: Maximum bytes of a file name on all common file systems.
MAX_NAME_BYTES: Final = 255

#: Ends the stem of a result in the folder of its input.
SUFFIX: Final = "_waifu2x"


def stem_suffix(source_folder: str | os.PathLike[str], folder: str | os.PathLike[str]) -> str:
    """The text between the stem of the input and the extension of the result.

    source_folder, folder: the folders of the input and of the result. In another folder the result
        is called ``{stem}{ext}``, in the input's own ``{stem}_waifu2x{ext}``.
    """
    first, second = os.path.abspath(source_folder), os.path.abspath(folder)  # noqa: PTH100
    own = os.path.normcase(first) == os.path.normcase(second)
    if not own:
        # A folder that does not exist yet is not the input's own.
        with contextlib.suppress(OSError, ValueError):
            own = os.path.samefile(first, second)  # noqa: PTH121
    return SUFFIX if own else ""


def result_path(source: Path, folder: Path | None, extension: str) -> Path:
    """The file for the result of ``source`` in ``folder``, by default in its own.

    extension: of the result, with its dot.

    A stem that is too long for the name of a file is shortened and gets a checksum.
    """
    folder = source.parent if folder is None else folder
    end = f"{stem_suffix(source.parent, folder)}{extension}"
    return folder / f"{shortened_name(source.stem, MAX_NAME_BYTES - name_size(end))}{end}"


def name_size(text: str) -> int:
    """Return the size of a name on disk in bytes."""
    try:
        return len(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:  # a lone surrogate, possible on Windows
        return len(text.encode("utf-8", "surrogatepass"))


def digest(text: str) -> str:
    """Return the SHA-256 of ``text`` as hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def shortened_name(text: str, room: int) -> str:
    """Return ``text``, shortened to ``room`` bytes including a checksum if it is longer."""
    if name_size(text) <= room:
        return text
    end = "~" + digest(text)[:8]
    left = room - len(end)
    for index, char in enumerate(text):
        left -= name_size(char)
        if left < 0:
            return text[:index] + end
    return text


def check_is_file(target: str | os.PathLike[str], format: str | None) -> None:
    """Raise `EncodeError` for the name of a directory, which does not exist.

    A name without an extension is a file only if the ``format`` is given.
    """
    text, name = os.fspath(target), shown(target)
    if os.path.exists(text) and not os.path.isfile(text):  # noqa: PTH110, PTH113
        raise EncodeError(f"{name} is a device or socket, not a file; name a file, or - for a pipe")
    if text.endswith(("/", os.sep)):
        plain = name.rstrip("/" + os.sep)
        if os.path.lexists(text.rstrip("/" + os.sep)):
            raise EncodeError(f"{plain} is a file, not a directory; leave out the / at its end")
        raise EncodeError(f"directory {plain} does not exist; create it first")
    if format is None and not PurePath(text).suffix:
        raise EncodeError(
            f"directory {name} does not exist; create it first, or name a file with an extension, "
            f"such as {name}.png"
        )
