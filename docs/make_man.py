"""Writes docs/waifu2x.1, the man page, from the commands: ``python docs/make_man.py``.

The page uses the macros of man(7) only, so that groff and mandoc render it alike.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from waifu2x import __version__  # noqa: E402
from waifu2x.cli import main  # noqa: E402
from waifu2x.cli.page import Command, Option  # noqa: E402

PAGE = HERE / "waifu2x.1"

STATUS: Final = (
    ("0", "Everything is done, or was skipped as requested."),
    (
        "1",
        "A file or the machine is the reason: missing, damaged, too large, exists already, "
        "disk full.",
    ),
    ("2", "The command line is wrong; no file was opened."),
    (
        "129, 130, 143",
        "Stopped by SIGHUP, Ctrl-C or SIGTERM; only complete files are left.",
    ),
)

ENVIRONMENT: Final = (
    (
        "WAIFU2X_CPU",
        "The highest instruction set to use: scalar, avx2 or avx512 on x86-64, scalar or neon on "
        "AArch64.",
    ),
    (
        "WAIFU2X_CUDA_CONV",
        "The convolutions on NVIDIA GPUs: own or cudnn, instead of the faster of both.",
    ),
    ("WAIFU2X_MAX_PIXELS", "The most pixels of a picture or a result."),
    ("WAIFU2X_MODELS", "A folder of model files, which --model then takes by name."),
    ("WAIFU2X_TOKEN", "The secret that clients of waifu2x serve must send."),
)


def page() -> str:
    """Return the man page."""
    return "\n".join([*_lines(), ""])


def _lines() -> Iterator[str]:
    yield '.\\" Written by docs/make_man.py.'
    yield f'.TH WAIFU2X 1 "" "waifu2x {__version__}" "User Commands"'
    yield ".SH NAME"
    yield rf"waifu2x \- {_text(_summary(main))}"
    yield ".SH SYNOPSIS"
    yield rf"\fBwaifu2x\fR {_text(main.usage)}"
    yield ".br"
    yield r"\fBwaifu2x\fR \fICOMMAND\fR [OPTIONS] ..."
    yield ".SH DESCRIPTION"
    yield from _paragraphs(main)
    yield ".PP"
    yield "One line on standard error that begins with Error: describes an error."
    yield ".SH OPTIONS"
    yield from _options(main)
    yield ".SH COMMANDS"
    for name, command in main.commands.items():
        assert isinstance(command, Command)
        yield f'.SS "waifu2x {_text(name)} {_text(command.usage)}"'
        yield from _paragraphs(command)
        yield from _options(command)
        yield from _examples(f"waifu2x {name}", command)
    yield ".SH EXIT STATUS"
    for code, meaning in STATUS:
        yield from _item(rf"\fB{code}\fR", _text(meaning))
    yield ".SH ENVIRONMENT"
    for variable, meaning in ENVIRONMENT:
        yield from _item(rf"\fB{variable}\fR", _text(meaning))
    yield ".SH EXAMPLES"
    yield from _examples("waifu2x", main)


def _summary(command: Command) -> str:
    """Return the first sentence of the help, as the name section writes it."""
    first = str(command.help).partition(".")[0]
    return first[0].lower() + first[1:]


def _paragraphs(command: Command) -> Iterator[str]:
    first, *others = str(command.help).strip().split("\n\n")
    yield _text(" ".join(first.split()))
    for paragraph in others:
        yield ".PP"
        yield _text(" ".join(paragraph.split()))


def _options(command: Command) -> Iterator[str]:
    groups: dict[str, list[Option]] = {}
    for option in command.params:
        if isinstance(option, Option):
            groups.setdefault(option.group, []).append(option)
    for group, options in groups.items():
        if command is main:
            yield f'.SS "{_text(group)}"'
        elif len(groups) > 1:
            yield ".PP"
            yield rf"\fI{_text(group)}\fR"
        for option in options:
            yield from _item(_names(option), _description(option))


def _names(option: Option) -> str:
    names = ", ".join(rf"\fB{_text(name)}\fR" for name in sorted(option.opts, key=len))
    return rf"{names} \fI{_text(option.metavar)}\fR" if option.metavar else names


def _description(option: Option) -> str:
    """Return the text and the default, whose spaces do not break on the help page."""
    return _text(re.sub(r"\s+", " ", option.row[1]))


def _item(term: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield term
    yield text


def _examples(name: str, command: Command) -> Iterator[str]:
    for arguments, meaning in command.examples:
        yield from _item(rf"\fB{_text(f'{name} {arguments}'.strip())}\fR", _text(meaning))


def _text(text: str) -> str:
    """Return ``text`` with what roff would read as a request or an escape, or draw otherwise."""
    for plain, escaped in (
        ("\\", r"\e"),
        ("-", r"\-"),
        ("'", r"\(aq"),
        ("`", r"\(ga"),
        ("^", r"\(ha"),
        ("~", r"\(ti"),
        ('"', r"\(dq"),
    ):
        text = text.replace(plain, escaped)
    return rf"\&{text}" if text.startswith(".") else text


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
