"""``waifu2x doctor``; imports nothing that a broken installation lacks, click excepted."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import click

from ..diagnosis import Row, Section, diagnose
from .page import Command, Option, help_option

HELP = """Check the installation, and print what a bug report needs.

The report lists versions, the hardware, engines, devices, codecs and models, and times one picture.
The checksum of every model file is verified, and the picture is compared with its known result. The
home folder is written as ~; names of users and hosts are left out. It takes 10 to 60 seconds.

Each thing that is broken is one line on standard error, and the exit code is 1.
"""

_WITHOUT_BACKQUOTES = {0x60: None}

EXAMPLES = (("", "The report, for an issue"), ("--json", "JSON, for programs"))


@click.command(
    "doctor",
    cls=Command,
    help=HELP,
    usage="[OPTIONS]",
    examples=EXAMPLES,
)
@click.option("--json", "as_json", cls=Option, is_flag=True, help="Print JSON, for programs")
@help_option()
def doctor(as_json: bool) -> int:
    problems: dict[str, list[str]] = {}
    sections = []
    for section in diagnose():
        for row in section.rows:
            if row.problem:
                problems.setdefault(_in_shell_words(row.problem), []).append(row.name)
        if as_json:
            sections.append(section)
        else:
            _print(section)
    if as_json:
        click.echo(json.dumps(_facts(sections, problems.keys()), indent=2))
    for problem, names in problems.items():
        click.echo(f"Error: {', '.join(names)}: {problem}", err=True)
    return 1 if problems else 0


def _print(section: Section) -> None:
    """Print a section as Markdown."""
    lines = [f"- {row.name}: {_text(row)}" for row in section.rows]
    click.echo("\n".join([f"### {section.title}", "", *lines, ""]))


def _text(row: Row) -> str:
    broken = f"**broken**: {_in_shell_words(row.problem)}" if row.problem else ""
    return "; ".join(filter(None, (row.text, broken)))


def _facts(sections: Iterable[Section], problems: Iterable[str]) -> dict[str, Any]:
    """Return what --json prints: the rows of each section by its key."""
    found: dict[str, Any] = {
        section.key: [asdict(row) for row in section.rows] for section in sections
    }
    return {**found, "problems": [*problems]}


def _in_shell_words(text: str) -> str:
    """Return a message in the words of the command, as far as its modules can be imported."""
    try:
        from .say import error_text
    except Exception:  # the report goes on without a library that fails in any way
        return " ".join(text.translate(_WITHOUT_BACKQUOTES).split())
    return error_text(text)
