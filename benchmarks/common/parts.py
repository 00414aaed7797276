"""Parts of a benchmark: options, results, and the loop that runs the parts and writes JSON."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from .measure import FailureError, UnavailableError
from .pictures import Named, names

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """Options common to all parts.

    pictures: from the user; empty means that a part draws its own.
    quick: use small pictures, to check that everything works.
    quiet_below: ignore samples during which others used this share of the machine or more.
    folder: for temporary files.
    """

    rounds: int
    pictures: Sequence[Named] = ()
    quick: bool = False
    quiet_below: float = 1.0
    folder: Path = Path()


@dataclass
class Part:
    """Result of a part. report: for JSON. text: tables. problems: wrong results of ours."""

    report: dict[str, Any]
    text: str
    problems: list[str] = field(default_factory=list)


O = TypeVar("O", bound=Options)  # noqa: E741


def run_parts(
    parts: Mapping[str, Callable[[O], Part]],
    options: O,
    arguments: argparse.Namespace,
    facts: Mapping[str, Any],
    footer: str = "",
) -> int:
    """Run the chosen parts and print their tables; return the exit status.

    arguments: with ``only`` and ``json``. facts: what the JSON report starts with.
    """
    report: dict[str, Any] = {
        **facts,
        "rounds": options.rounds,
        "quick": options.quick,
        "pictures": names(options.pictures) or ["drawn by tests/helpers/art.py"],
        "wrong": [],
    }
    for name in [name for name in parts if name in arguments.only]:
        with tempfile.TemporaryDirectory() as folder:
            try:
                part = parts[name](replace(options, folder=Path(folder)))
            except FailureError as error:
                problems = [] if isinstance(error, UnavailableError) else [f"{name}: {error}"]
                part = Part({"not_run": str(error)}, f"\n{name} not run: {error}", problems)
        print(part.text.rstrip(), flush=True)
        report[name] = part.report
        report["wrong"] += [line.replace(folder, "FOLDER") for line in part.problems]
        if arguments.json:  # after every part: a later part may be interrupted
            write_json(arguments.json, report)
    if footer:
        print(f"\n{footer}")
    for problem in report["wrong"]:
        print(f"WRONG: {problem}", file=sys.stderr)
    return 1 if report["wrong"] else 0


def make_options(kind: type[O], arguments: argparse.Namespace, **more: Any) -> O:
    """Make options from the arguments of the same names, and ``more``."""
    known = {each.name for each in fields(kind)}
    chosen = {name: value for name, value in vars(arguments).items() if name in known}
    return kind(**{**chosen, **more})


def write_json(path: Path, report: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def add_options(
    parser: argparse.ArgumentParser,
    parts: Mapping[str, Any],
    *,
    rounds: str,
    default_parts: Sequence[str] = (),
    quiet: bool = True,
) -> None:
    """Add the options that all benchmarks of parts share.

    rounds: the default number of rounds, as text. quiet: whether samples record foreign load.
    """
    chosen = f"or all (default: {','.join(default_parts)})" if default_parts else "(default: all)"
    add = parser.add_argument
    add("--only", type=parse_names("part", parts, everything="all"), metavar="PART,...",
        default=list(default_parts or parts), help=f"of {', '.join(parts)}, {chosen}")  # fmt: skip
    add("--rounds", type=int, metavar="N", help=f"2 or more (default {rounds})")
    add("--quick", action="store_true",
        help="use few and small pictures, to check that everything works; no figures")  # fmt: skip
    if quiet:
        add("--quiet-below", type=float, default=1.0, metavar="SHARE",
            help="ignore samples during which other processes used this share of the machine or "
            "more (default 1: ignore none); --json keeps all samples")  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="also write all samples to this file")


def check_rounds(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, default: int
) -> None:
    if arguments.rounds is None:
        arguments.rounds = default
    if arguments.rounds < 2:
        parser.error("--rounds must be 2 or more: one round has no spread")


def parse_names(
    what: str, known: Sequence[str] | Mapping[str, Any], *, everything: str = ""
) -> Callable[[str], list[str]]:
    """Return an argparse type for names separated by commas.

    everything: a word that stands for all known names.
    """

    def parse(text: str) -> list[str]:
        if everything and text == everything:
            return list(known)
        found = text.split(",")
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(
                    f"{what} {name!r} is unknown; allowed are {', '.join(known)}"
                )
        return found

    return parse


def parse_numbers(kind: Callable[[str], T], least: T) -> Callable[[str], list[T]]:
    """Return an argparse type for numbers of at least ``least``, separated by commas."""

    def parse(text: str) -> list[T]:
        try:
            found = [kind(part) for part in text.split(",")]
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not numbers with commas") from None
        for number in found:
            if number < least:  # type: ignore[operator]
                raise argparse.ArgumentTypeError(
                    f"{number} is too small; it must be {least} or more"
                )
        return found

    return parse
