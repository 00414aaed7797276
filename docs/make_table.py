"""Writes tests/helpers/round_trip.py's tables to docs/formats.md: ``python docs/make_table.py``."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from helpers.round_trip import BEGIN, END, markdown  # noqa: E402

PAGE = HERE / "formats.md"


def filled(page: str) -> str:
    """Return ``page`` with current tables between the two markers."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{markdown()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")
