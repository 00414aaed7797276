"""Corrects the names of pages in the documents of a comic, such as ComicInfo.xml.

Sources: the schema of ComicInfo 2.1 (anansi-project), CoMet 1.1, MetronInfo 1.0 and ACBF 1.1. Most
documents refer to pages by their number, which does not change; some store names of files.
"""

from __future__ import annotations

import codecs
import html
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

#: Documents by their name in lower case, and by their extension.
_NAMES: Final = ("comicinfo.xml", "comet.xml", "metroninfo.xml")
_EXTENSION: Final = ".acbf"

#: Maximum size of a document in bytes; ACBF may embed pictures.
_MAX_BYTES: Final = 1 << 24

_ENCODING: Final = re.compile(rb"""<\?xml[^>]*encoding=["']([A-Za-z0-9_.-]+)["']""")
#: A value of an attribute, or the text between two tags.
_VALUE: Final = re.compile(r"""(?<==")[^"<>]+(?=")|(?<==')[^'<>]+(?=')|(?<=>)[^<>]+(?=<)""")

#: Changes the end of a name, and leaves the rest as it is written.
_Change = Callable[[str], str]


def is_document(name: str, size: int) -> bool:
    """Whether the member ``name`` of ``size`` bytes is a document that may name pages."""
    plain = name.rpartition("/")[2].lower()
    return size <= _MAX_BYTES and (plain in _NAMES or plain.endswith(_EXTENSION))


def corrected(data: bytes, name: str, changes: Mapping[str, _Change]) -> bytes | None:
    """Return the document ``data`` with the new names of pages, or None if no name changes.

    name: of the document in the archive.
    changes: changes of the names of all pages. A document may write a name from the top of the
        archive, from the folder of the document, or without folders if the name is unambiguous.

    A document that cannot be decoded is not changed.
    """
    encoding = _encoding(data)
    try:
        text = data.decode(encoding)
        known = _known_names(name.rpartition("/")[0], changes)

        def change(found: re.Match[str]) -> str:
            value = found[0]
            plain = html.unescape(value.strip()).replace("\\", "/").removeprefix("./")
            if plain not in known:
                return value
            end = len(value.rstrip())
            return known[plain](value[:end]) + value[end:]

        new = _VALUE.sub(change, text)
        return None if new == text else new.encode(encoding)
    except (UnicodeError, LookupError):
        return None


def _encoding(data: bytes) -> str:
    # "utf-8-sig" and "utf-16" would write another byte order mark than the file has.
    for mark, encoding in (
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if data.startswith(mark):
            return encoding
    declared = _ENCODING.search(data[:200])
    return declared[1].decode("ascii") if declared else "utf-8"


def _known_names(folder: str, changes: Mapping[str, _Change]) -> dict[str, _Change]:
    """The names that may stand for a page in a document in ``folder``, and how they change."""
    plain: defaultdict[str, set[str]] = defaultdict(set)
    for page, change in changes.items():
        plain[page.rpartition("/")[2]].add(change(page).rpartition("/")[2])
    known: dict[str, _Change] = {}
    for page, change in changes.items():
        short = page.rpartition("/")[2]
        if len(plain[short]) == 1:
            known[short] = change
    for page, change in changes.items():
        if folder and page.startswith(folder + "/"):
            known[page.removeprefix(folder + "/")] = change
    return known | dict(changes)
