"""File names and foreign messages, fit for one line of a terminal."""

from __future__ import annotations

import os


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
