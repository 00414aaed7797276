"""Names of pages in the documents of a comic."""

from __future__ import annotations

from functools import partial

import pytest

from waifu2x.files import page_names


def renamed(name: str, old: str, new: str) -> str:
    return name.removesuffix(old) + new


CHANGES = {
    "001.webp": partial(renamed, old=".webp", new=".png"),
    "ch1/002.webp": partial(renamed, old=".webp", new=".png"),
    "ch2/002.webp": partial(renamed, old="", new=""),
    "ch2/it's.webp": partial(renamed, old=".webp", new=".png"),
    "a&b.webp": partial(renamed, old="", new=".png"),
}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('<Page Image="0" Key="001.webp" />', '<Page Image="0" Key="001.png" />'),
        ("<Page Key='001.webp'/>", "<Page Key='001.png'/>"),
        ("<coverImage>\n 001.webp\n</coverImage>", "<coverImage>\n 001.png\n</coverImage>"),
        ('<i h="ch1/002.webp"/>', '<i h="ch1/002.png"/>'),
        ('<i h="ch1\\002.webp"/>', '<i h="ch1\\002.png"/>'),
        ('<i h="./ch1/002.webp"/>', '<i h="./ch1/002.png"/>'),
        ('<i h="it\'s.webp"/>', '<i h="it\'s.png"/>'),
        ('<i h="it&apos;s.webp"/>', '<i h="it&apos;s.png"/>'),
        ('<i h="a&amp;b.webp"/>', '<i h="a&amp;b.webp.png"/>'),
        ('<i h="002.webp"/>', None),  # one of two pages
        ("<Notes>made from 001.webp</Notes>", None),
        ('<i h="x001.webp"/>', None),
        ("", None),
    ],
)
def test_names_in_a_document(before: str, after: str | None) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        found = page_names.corrected(before.encode(encoding), "ComicInfo.xml", CHANGES)
        assert found == (None if after is None else after.encode(encoding))


def test_names_from_the_folder_of_the_document() -> None:
    found = page_names.corrected(b'<i h="002.webp"/>', "ch1/ComicInfo.xml", CHANGES)
    assert found == b'<i h="002.png"/>'
    assert page_names.corrected(b'<i h="002.webp"/>', "ch2/ComicInfo.xml", CHANGES) is None


def test_the_declared_encoding_counts() -> None:
    text = '<?xml version="1.0" encoding="Shift_JIS"?><i t="表" h="001.webp"/>'
    found = page_names.corrected(text.encode("cp932"), "ComicInfo.xml", CHANGES)
    assert found == text.replace("webp", "png").encode("cp932")
    for data in (b"\xff001.webp", b'<?xml encoding="no-such"?><i h="001.webp"/>'):
        assert page_names.corrected(data, "ComicInfo.xml", CHANGES) is None


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("ComicInfo.xml", 100, True),
        ("a/comicinfo.XML", 100, True),
        ("MetronInfo.xml", 100, True),
        ("CoMet.xml", 100, True),
        ("book.acbf", 100, True),
        ("book.xml", 100, False),
        ("ComicInfo.xml", 1 << 30, False),
    ],
)
def test_documents_are_known_by_name(name: str, size: int, expected: bool) -> None:
    assert page_names.is_document(name, size) is expected
