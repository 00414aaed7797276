"""Removes names of users from texts: a report may be published."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Any


def without_names(value: Any) -> Any:
    """Return a text, or texts in lists and dicts, with ``~`` for the home folder.

    The name of the user in other paths becomes ``USER``.
    """
    if isinstance(value, str):
        for pattern, replacement in _patterns():
            value = pattern.sub(replacement, value)
        return value
    if isinstance(value, (list, tuple)):
        return [without_names(each) for each in value]
    if isinstance(value, dict):
        return {name: without_names(each) for name, each in value.items()}
    return value


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    found: dict[str, str] = {}
    names = set()
    for home in _homes():
        # Messages write a backslash twice within quotes.
        for text in {str(home), str(home).replace("\\", "\\\\")}:
            found[rf"{re.escape(text)}(?=[/\\]|\b|$)"] = "~"
        names.add(home.name)
    for name in names - {""}:
        found[rf"(?<=[/\\]){re.escape(name)}(?=[/\\]|$)"] = "USER"
    return tuple((re.compile(pattern), text) for pattern, text in found.items())


def _homes() -> list[Path]:
    """Return the home folder as the environment and the system name it, the longest first."""
    homes = set()
    for name in ("HOME", "USERPROFILE"):
        if os.environ.get(name):
            homes.add(Path(os.environ[name]))
    try:
        import pwd  # not on Windows

        homes.add(Path(pwd.getpwuid(os.getuid()).pw_dir))
    except (ImportError, KeyError):
        pass
    homes |= {home.resolve() for home in homes}
    # A user without a home has the root, or a folder that is missing.
    return sorted((home for home in homes if home.name), key=lambda home: -len(str(home)))
