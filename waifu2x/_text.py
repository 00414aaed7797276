"""Formats names and error messages for one line, and compares and sorts file names.

Error messages of the package are one line: the fault, the value, what is allowed, what to do. They
begin with a lower-case word or a name, join clauses with semicolons and end without a period.
Arguments to give are named as in Python, in backquotes (``replace it with `overwrite=True```); the
command translates them into its options.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from io import UnsupportedOperation
from typing import Final

#: The advice for a damaged file, at the end of a message.
AGAIN: Final = "; copy or download it again"


#: Characters of a name that a message shows at most.
_LONGEST: Final = 255

_BACKQUOTE: Final = {0x60: r"\x60"}


def shown(path: object) -> str:
    """``path`` as printable text on one line.

    Control characters, such as a newline in a file name, and bytes that are not UTF-8 become
    escapes, and so do backquotes, which mark arguments in messages.
    """
    text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else str(path)
    printable = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
    return printable.translate(_BACKQUOTE)


def reason(error: BaseException) -> str:
    """The message of an error of the operating system or a library, on one short line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UnsupportedOperation) and str(error) in ("read", "write"):
        # Python names only the method.
        return f"the file object is not open for {'reading' if str(error) == 'read' else 'writing'}"
    text = shown(" ".join(str(error).split())) or type(error).__name__
    return shortened(text, 160)


def shortened(text: str, most: int) -> str:
    """``text``, or its beginning and "..." in ``most`` characters."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def plural(count: int, noun: str) -> str:
    """``count`` and ``noun``, as in "1 page" and "2 pages"."""
    return f"{count} {noun}{'s'[: count != 1]}"


def level_text(noise: float | str | None) -> str:
    """A noise level, as in "none", "conservative", "1" and "1.5"."""
    if noise is None:
        return "none"
    return noise if isinstance(noise, str) else f"{noise:.10g}"


def listed(names: Sequence[str], last: str = "or") -> str:
    """``names`` as in "a, b or c"."""
    return f" {last} ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The entry of ``words`` that ``word`` probably misspells, or None."""
    import difflib  # loaded when needed

    close = difflib.get_close_matches(word.lower(), list(words), n=1)
    return close[0] if close else None


def unknown(what: str, value: str, allowed: Sequence[str]) -> str:
    """A message that ``value`` is none of the names ``allowed``; it suggests the closest name."""
    meant = nearest(value, allowed)
    guess = f" (did you mean {meant}?)" if meant else ""
    short = shortened(shown(value), _LONGEST)
    return f"{what} {short!r} is unknown{guess}; allowed are {', '.join(allowed)}"


def natural_key(name: str) -> list[tuple[int, str]]:
    """A sort key that puts "2.jpg" before "10.jpg"."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name.casefold())
    # Numbers are compared by length, then as text: int() refuses very long ones.
    return [
        (len(digits.lstrip("0")), digits.lstrip("0")) if digits else (1 << 30, text)
        for digits, text in parts
    ]


def folded(name: str) -> str:
    """A key that is equal for names that differ only in case or Unicode normalization.

    The file systems of Windows and macOS compare names this way.
    """
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
