"""docs/python.md: its code runs from top to bottom, its tables are complete."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import waifu2x
from waifu2x._machine import processors

PAGE = (Path(__file__).parent.parent / "docs" / "python.md").read_text("utf-8")


def rows(start: str, end: str) -> list[list[str]]:
    """The cells of the tables between two headings."""
    part = PAGE.partition(start)[2].partition(end)[0]
    lines = [line for line in part.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def names(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def test_the_code_runs_in_an_empty_folder(tmp_path: Path) -> None:
    code = "\n".join(re.findall(r"^```python\n(.+?)^```", PAGE, re.MULTILINE | re.DOTALL))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    promised = re.findall(r"^ *print\(.+\)  # (.+)$", code, re.MULTILINE)
    assert len(promised) > 15
    printed = iter(done.stdout.splitlines())
    for line in promised:  # in this order
        assert line.replace("threads=N", f"threads={processors()}") in printed, line


def test_every_option_is_in_a_table_with_its_default() -> None:
    parameters = inspect.signature(waifu2x.upscale_many).parameters
    listed = {
        name: row[1].strip("`")
        for row in rows("## Options", "## Arrays")
        for name in names(row[0])
        if row[0] != "option"
    }
    given = {name: repr(each.default) for name, each in parameters.items()}
    assert listed == {name: text for name, text in given.items() if name not in ("inputs", "out")}


def test_each_table_is_for_the_functions_it_names() -> None:
    starts = ("For all three functions:", "For `upscale_file` and", "For `upscale_many` also;")
    ends = (*starts[1:], "## Arrays")
    functions = (waifu2x.upscale, waifu2x.upscale_file, waifu2x.upscale_many)
    known: set[str] = set()
    for function, start, end in zip(functions, starts, ends, strict=True):
        known |= {name for row in rows(start, end) for name in names(row[0])}
        own = {"image", "source", "target", "inputs", "out"}
        assert known == inspect.signature(function).parameters.keys() - own


def test_every_error_and_public_name_is_on_the_page() -> None:
    listed = {name for row in rows("## Errors", "## Records") for name in names(row[0])}
    errors = {name for name in waifu2x.__all__ if name.endswith("Error")}
    assert listed - {"ValueError", "ImportError"} == errors - {"Waifu2xError"}
    for name in waifu2x.__all__:
        assert name in PAGE or name == "__version__", name


def test_fields_of_results_are_in_the_table() -> None:
    table = rows("| field of `FileResult`", "## Many files")
    assert {name for row in table for name in names(row[0])} == {
        *waifu2x.FileResult.__dataclass_fields__
    }
