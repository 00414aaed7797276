"""File names and foreign messages: fit for one line of a terminal, compared, in order."""

from __future__ import annotations

import os
import re
import unicodedata


def shown(path: object) -> str:
    """``path`` as text that always prints, on one line.

    Control characters (a file name may hold a newline) and bytes that are not UTF-8 become
    escapes, so that a message never breaks a line, a log or a terminal.
    """
    text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else str(path)
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def reason(error: BaseException) -> str:
    """What the operating system or a library says about ``error``, on one short line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = shown(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."


def plural(count: int, noun: str) -> str:
    """``count`` and ``noun``, as in "1 page" and "2 pages"."""
    return f"{count} {noun}{'s'[: count != 1]}"


def natural_key(name: str) -> list[tuple[int, str]]:
    """A key by which "2.jpg" comes before "10.jpg"."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name.casefold())
    # Digits are compared by their number, then length, as text: int() refuses very long ones.
    return [
        (len(digits.lstrip("0")), digits.lstrip("0")) if digits else (1 << 30, text)
        for digits, text in parts
    ]


def folded(name: str) -> str:
    """Equal for names that are one where case and the way of writing accents do not count.

    So compare the file systems of Windows and macOS.
    """
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
