"""Parameters that several commands share, each declared once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import click

from ..errors import ArgumentError
from ..network import registry

if TYPE_CHECKING:
    _ParamType: TypeAlias = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # generic in the stubs of new releases only


class NoiseLevel(_ParamType):
    """A noise level: none, 0, 1, 2, 3 and, if allowed, auto; -1 is an old name for none."""

    name = "noise"

    def __init__(self, *, auto: bool) -> None:
        self._words = ("auto", "none") if auto else ("none",)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str | None:
        """Convert a word to a level."""
        if value == "auto" and value in self._words:
            return "auto"
        if value in ("none", "-1", None):
            return None
        if str(value) in ("0", "1", "2", "3"):
            return int(value)
        return self.fail(
            f"{value!r} is not one of {', '.join(self._words)}, 0, 1, 2, 3", param, ctx
        )


class Size(_ParamType):
    """Two sides in pixels; the name of the type is their order, HxW or WxH."""

    def __init__(self, name: Literal["HxW", "WxH"]) -> None:
        self.name = name

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Convert two numbers with an x between them to a pair."""
        if isinstance(value, tuple):
            return value
        first, _, second = str(value).lower().partition("x")
        if first.isdecimal() and second.isdecimal():
            return int(first), int(second)
        sides = "height x width" if self.name == "HxW" else "width x height"
        return self.fail(f"{value!r} is not a size; {sides}, for example 720x1280", param, ctx)


class MemorySize(_ParamType):
    """Bytes, with K, M, G or T."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Convert 4G to a number of bytes."""
        from ..batch import parse_memory

        try:
            return value if isinstance(value, int) else parse_memory(str(value))
        except ArgumentError as error:
            return self.fail(str(error), param, ctx)


model_option = click.option(
    "-m",
    "--model",
    metavar="NAME",
    type=click.Choice([model.name for model in registry.models()]),
    default="cunet",
    help=f"{', '.join(model.name for model in registry.models())}  [default: cunet]",
)

overwrite_option = click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it exists")
