"""Runs the steps of a report in processes of their own, with limits in time.

A library that raises at import, exits, crashes or hangs costs the report one row.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from .._record import record
from .._text import reason, shortened, shown
from .privacy import without_names

#: Most characters of a row.
_LONGEST: Final = 400

#: Seconds for a process to end after its last row.
_ENDING: Final = 5.0

#: Starts `serve` with the import path of this process; "-c" alone prepends the working folder.
_START: Final = (
    "import sys; sys.path[:] = filter(None, sys.path); import json; "
    "sys.path[:] = json.loads(sys.argv[1]); "
    "from waifu2x.diagnosis.isolated import serve; serve(json.loads(sys.argv[2]))"
)


@record
class Row:
    """A fact of the report.

    name: what it is about. text: the fact in words. facts: more of it for programs.
    problem: what is broken, in words; empty if nothing is.
    """

    name: str
    text: str = ""
    facts: dict[str, Any] | None = None
    problem: str = ""


@record
class Step:
    """A function of this package that returns or yields rows.

    name: of the row that reports its failure. module: its module in this package.
    seconds: the limit for each of its rows.
    """

    name: str
    module: str
    function: str
    args: tuple[str, ...] = ()
    seconds: float = 20.0


class _StoppedError(Exception):
    """The process ended, or gave no answer in time."""


def run(steps: Sequence[Step]) -> Iterator[Row]:
    """Yield the rows of all steps; they share a process until one of them ends it."""
    left = list(steps)
    while left:
        done = 0
        with _Process(left) as process:
            for step in left:
                done += 1
                try:
                    yield from map(_presentable, process.rows(step.seconds))
                except _StoppedError as error:
                    yield _presentable(Row(step.name, problem=str(error)))
                    break
        left = left[done:]


class _Process:
    """A Python process that runs steps and writes their rows as lines of JSON."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._process: subprocess.Popen[bytes] | None = None
        calls = [(each.name, each.module, each.function, each.args) for each in steps]
        reading, writing = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, json.dumps(sys.path), json.dumps(calls)],
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=subprocess.DEVNULL,
            )
        except (OSError, ValueError) as error:
            self._fault = f"python cannot be started: {reason(error)}"
        finally:
            os.close(writing)
        threading.Thread(target=self._read, args=(reading,), daemon=True).start()

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_ENDING)
            process.kill()
            process.wait()

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb") as stream:
            for line in stream:
                self._lines.put(line)
        self._lines.put(None)

    def rows(self, seconds: float) -> Iterator[Row]:
        """Yield the rows of the next step; raises `_StoppedError`."""
        if self._process is None:
            raise _StoppedError(self._fault)
        while True:
            try:
                line = self._lines.get(timeout=seconds)
            except queue.Empty:
                self._process.kill()
                raise _StoppedError(f"no answer within {seconds:.0f} s") from None
            if line is None:
                raise _StoppedError(_end(self._process.wait()))
            fields = json.loads(line)
            if fields is None:
                return
            yield Row(**fields)


def _end(code: int) -> str:
    """Describe the end of a process that was to go on."""
    try:
        return f"the process was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"the process ended with exit code {code}"


def _presentable(row: Row) -> Row:
    """Return a row without names of users, in short texts."""
    return Row(
        row.name,
        shortened(without_names(row.text), _LONGEST),
        without_names(row.facts),
        shortened(without_names(row.problem), _LONGEST),
    )


def serve(calls: Iterable[tuple[str, str, str, Sequence[str]]]) -> None:
    """Run steps in this process, and write a line for each row and a null after each step."""
    with os.fdopen(os.dup(1), "wb", buffering=0) as stream:
        # What libraries print must not mix with the rows.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        for name, module, function, args in calls:
            for row in _rows(name, module, function, args):
                stream.write(json.dumps(asdict(row)).encode() + b"\n")
            stream.write(b"null\n")


def _rows(name: str, module: str, function: str, args: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a step; an error of any kind becomes the last of them."""
    try:
        made = getattr(importlib.import_module(f".{module}", __package__), function)(*args)
        yield from [made] if isinstance(made, Row) else made
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may raise anything when it is imported
        yield Row(name, problem=described(error))


def described(error: BaseException) -> str:
    """Describe an error; errors of this package are sentences already."""
    from ..errors import Waifu2xError  # loaded when needed

    if isinstance(error, Waifu2xError):
        return str(error)
    text = reason(error)
    if isinstance(error, OSError) and error.filename:
        text = f"{text}: {shown(error.filename)}"
    kind = type(error).__name__
    return kind if text in ("", kind) else f"{kind}: {text}"
