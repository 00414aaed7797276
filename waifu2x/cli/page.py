"""Help pages: one option a line, in groups, and never wider than the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

import click

#: A function that becomes a command.
Decorated = TypeVar("Decorated", bound=Callable[..., Any])

#: Lines are not longer than this, however wide the terminal is.
_WIDEST: Final = 100

#: A space at which no line is broken.
_NO_BREAK: Final = "\N{NO-BREAK SPACE}"

#: Below this width, the text of an option begins on a line of its own.
_NARROW: Final = 70


class Option(click.Option):
    """An option with a row on the help page.

    group: the heading above its row. shown_default: the text of the default, by default the value;
        empty for none.
    """

    def __init__(
        self, *args: Any, group: str = "Options", shown_default: str | None = None, **extra: Any
    ) -> None:
        super().__init__(*args, **extra)
        self.group = group
        if shown_default is None and extra.get("default") is not None:
            shown_default = str(extra["default"])
        default = f"[default: {shown_default}]".replace(" ", _NO_BREAK)
        self._default_text = f"  {default}" if shown_default else ""

    @property
    def row(self) -> tuple[str, str]:
        """The names with the metavar, and what the option does."""
        names = ", ".join(sorted(self.opts, key=len))
        indent = "" if len(self.opts) > 1 else "    "
        value = f" {self.metavar}" if self.metavar else ""
        return f"{indent}{names}{value}", f"{self.help}{self._default_text}"


class Command(click.Command):
    """A command whose page has examples first and options in groups.

    usage: the arguments. examples: commands and what they do. more: commands at the end.
    """

    def __init__(
        self,
        *args: Any,
        usage: str,
        examples: Sequence[tuple[str, str]],
        more: Sequence[tuple[str, str]] = (),
        **extra: Any,
    ) -> None:
        super().__init__(*args, **{**extra, "add_help_option": False})
        self.usage, self.examples, self._more = usage, tuple(examples), tuple(more)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; surplus arguments are a usage error of one line."""
        ctx.allow_extra_args = True
        if not ctx.resilient_parsing:
            self._refuse_single_dash(ctx, args)
        try:
            rest = super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # the parser names no command
            raise
        if rest and not ctx.resilient_parsing:
            raise click.UsageError(f"argument {rest[0]!r} is one too many for {ctx.info_name}", ctx)
        return rest

    def _refuse_single_dash(self, ctx: click.Context, args: Sequence[str]) -> None:
        """Refuse -scale, which would be parsed as -s with the value "cale"."""
        names = {name for param in self.params for name in param.opts if name.startswith("--")}
        for word in args:
            if word == "--":
                break
            if len(word) > 2 and f"-{word.partition('=')[0]}" in names:
                raise click.NoSuchOption(word, possibilities=[f"-{word}"], ctx=ctx)

    def get_help(self, ctx: click.Context) -> str:
        """The page, as wide as the terminal."""
        import shutil  # loaded when needed

        width = max(20, min(shutil.get_terminal_size().columns, _WIDEST))
        return "\n".join(self._lines(str(ctx.info_name), width))

    def _lines(self, name: str, width: int) -> Iterable[str]:
        yield from _wrapped(f"Usage: {name} {self.usage}", width, hanging=7)
        yield ""
        for paragraph in (self.help or "").strip().split("\n\n"):
            yield from _wrapped(paragraph, width)
            yield ""
        yield from table([(f"{name} {line}", text) for line, text in self.examples], width)
        groups: dict[str, list[tuple[str, str]]] = {}
        for option in self.params:
            if isinstance(option, Option):
                groups.setdefault(option.group, []).append(option.row)
        column = max(len(names) for rows in groups.values() for names, _ in rows)
        for group, rows in groups.items():
            yield ""
            yield f"{group}:"
            yield from table(rows, width, column)
        if self._more:
            yield ""
            yield "Commands:"
            yield from table([(f"{name} {line}", text) for line, text in self._more], width)


def help_option(group: str = "Options") -> Callable[[Decorated], Decorated]:
    """Declare -h and --help."""
    return _shown("-h", "--help", group, "Show this page", lambda ctx: ctx.get_help())


def version_option(version: str, group: str) -> Callable[[Decorated], Decorated]:
    """Declare -V and --version; `click.version_option` looks for translations at each start."""
    text = f"waifu2x, version {version}"
    return _shown("-V", "--version", group, "Show the version", lambda ctx: text)


def _shown(
    short: str, long: str, group: str, help: str, text: Callable[[click.Context], str]
) -> Callable[[Decorated], Decorated]:
    """Declare a flag that prints ``text`` and ends the command."""

    def show(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            click.echo(text(ctx))
            ctx.exit()

    return click.option(
        short,
        long,
        cls=Option,
        group=group,
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=show,
        help=help,
    )


def table(rows: Sequence[tuple[str, str]], width: int, column: int = 0) -> Iterable[str]:
    """Lines of two columns; on a narrow terminal the second one is below the first."""
    column = column or max(len(left) for left, _ in rows)
    for left, right in rows:
        if width < _NARROW:
            yield from _wrapped(left.strip(), width, indent=2, hanging=4)
            yield from _wrapped(right, width, indent=6)
        else:
            begin = f"  {left:<{column}}  "
            first, *others = _wrapped(right, width - len(begin)) or [""]
            yield f"{begin}{first}".rstrip()
            yield from (f"{'':{len(begin)}}{line}" for line in others)


def _wrapped(text: str, width: int, *, indent: int = 0, hanging: int = 0) -> list[str]:
    lines = textwrap.wrap(
        text,
        width,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + hanging),
        break_on_hyphens=False,
    )
    return [line.replace(_NO_BREAK, " ") for line in lines]
