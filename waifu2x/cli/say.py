"""Describes results and errors in one line each, in the words of the command line.

The package names arguments as a Python caller writes them, in backquotes. `in_shell_words`
replaces these names by the options of the command.
"""

from __future__ import annotations

import ast
import re
import shlex
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import click

from .._text import level_text, shown
from ..codec.limits import MAX_PIXELS_VARIABLE
from .options import all_options

if TYPE_CHECKING:
    from ..batch import BatchResult, Summary
    from ..files import FileResult

#: Arguments that the command takes from the environment.
_VARIABLES: Final = (MAX_PIXELS_VARIABLE,)

#: The public functions of the package, which the command runs.
_FUNCTION: Final = re.compile(r"waifu2x\.\w+")

#: Programs that a message may run; their words are the same in Python and in a shell.
_PROGRAMS: Final = ("pip ", "dask ", "mkdir ", "python ")


def in_shell_words(text: str) -> str:
    """Return ``text`` with the Python words in backquotes replaced by those of the command.

    ``overwrite=True`` becomes ``--overwrite``, ``engine='native'`` becomes ``--engine native``,
    ``scale=`` and ``scale`` become ``--scale``. The options are those that the command declares.
    Other words in backquotes, such as those in a file name, stay as they are.
    """
    return re.sub(r"`([^`]+)`", lambda found: shell_word(found[1]) or found[0], text)


def shell_word(code: str) -> str | None:
    """Return what a user of the command writes instead of ``code``; None if there is nothing."""
    if code.startswith(_PROGRAMS):
        return code
    if _FUNCTION.fullmatch(code):
        return "waifu2x INPUT... [OUTPUT]"
    try:
        # An argument without a value is a name only: width=.
        call = ast.parse(f"f({code}...)" if code.endswith("=") else f"f({code})", mode="eval").body
        if not isinstance(call, ast.Call):
            return None
        given = [(name.id, ...) for name in call.args if isinstance(name, ast.Name)]
        given += [(str(word.arg), ast.literal_eval(word.value)) for word in call.keywords]
    except (SyntaxError, ValueError):
        return None
    words = [_option_for(name, value) for name, value in given]
    if not words or len(given) < len(call.args) + len(call.keywords):
        return None
    return None if None in words else " ".join(filter(None, words))


def _option_for(name: str, value: Any) -> str | None:
    """Return the option, or the environment variable, that gives ``value`` to an argument.

    value: an Ellipsis stands for no value.
    """
    for option in _declared().get(name, ()):
        word = max(option.opts, key=len)
        if value is ... or (value is True if option.is_bool_flag else _chooses(option, value)):
            return word
        if not option.is_flag:
            return f"{word} {_in_shell(value)}"
    for option in _declared().get(str(value), ()):
        if option.is_flag:  # named after the value: --fp32 is precision='fp32'
            return max(option.opts, key=len)
    for variable in _VARIABLES:
        if variable == f"WAIFU2X_{name.upper()}":
            return variable if value is ... else f"{variable}={_in_shell(value)}"
    return None


def _chooses(option: click.Option, value: Any) -> bool:
    return option.is_flag and value == option.flag_value


def _in_shell(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return shlex.quote(str(value))


@cache
def _declared() -> dict[str, list[click.Option]]:
    """The options of all commands by the name of their argument."""
    from .convert import convert  # loaded when needed
    from .export import export
    from .merge import merge
    from .serve_options import settings_options

    upscale = click.command()(all_options(lambda: None))
    found: dict[str, list[click.Option]] = {}
    serve = click.command()(settings_options(lambda: None))
    commands = (upscale, export, convert, merge, serve)
    for option in (each for command in commands for each in command.params):
        named = f"WAIFU2X_{str(option.name).upper()}"
        if isinstance(option, click.Option) and named not in _VARIABLES:
            found.setdefault(str(option.name), []).append(option)
    return found


def result_line(result: FileResult | BatchResult, model: str) -> str:
    """Describe a finished file."""
    target = "standard output" if result.target is None else shown(result.target)
    if result.size_out is None:  # an earlier attempt finished it without a report
        return "; ".join([f"{target}: done", *map(in_shell_words, result.notes)])
    why = f" ({result.reason})" if result.reason else ""
    done = (
        f"{target}: {_size(result.size_in)} -> {_size(result.size_out)} px, "
        f"{shown(model)}, noise {level_text(result.noise)}{why}"
    )
    return "; ".join([done, *map(in_shell_words, result.notes)])


def error_line(result: BatchResult) -> str:
    """Describe a failed file, with its name."""
    message = error_text(result.error)
    source = shown(result.source)
    return message if source in message else f"{source}: {message}"


def error_text(error: object) -> str:
    """Describe an error in one line."""
    return in_shell_words(" ".join(str(error).split()))


def shown_in_shell(result: BatchResult) -> BatchResult:
    """Return ``result`` with its messages in the words of the command."""
    error = result.error
    return replace(
        result,
        notes=tuple(map(in_shell_words, result.notes)),
        failures=tuple(map(error_text, result.failures)),
        error=None if error is None else type(error)(error_text(error)),
    )


def summary_line(summary: Summary, total: int, seconds: float) -> str:
    """Summarize a batch."""
    incomplete = f" ({summary.incomplete} incomplete)" if summary.incomplete else ""
    counts = [f"{summary.done} done{incomplete}"]
    if summary.skipped:
        counts.append(f"{summary.skipped} skipped")
    if summary.failed:
        counts.append(f"{summary.failed} failed")
    if total > summary.ended:
        counts.append(f"{total - summary.ended} not begun or dropped")
    rate = f" ({summary.done / seconds:.3g} files/s)" if summary.done and seconds > 0 else ""
    return f"{', '.join(counts)} in {duration(seconds)}{rate}"


def duration(seconds: float) -> str:
    """Format seconds: 3.2 s, 4 min 10 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _size(size: tuple[int, int] | None) -> str:
    return "?" if size is None else f"{size[0]}x{size[1]}"
