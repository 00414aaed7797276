"""Checks arguments by tables, and builds signatures and docstrings from the records of options.

A record is a dataclass of options, or a `TypedDict` of arguments that are in no record. Its
docstring describes each field once, in a paragraph that begins with the name and a colon.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from numbers import Integral, Real
from typing import Any, TypeVar, get_type_hints

import numpy as np

from .._record import record
from .._text import shortened, shown, unknown
from ..errors import ArgumentError

_Function = TypeVar("_Function", bound=Callable[..., Any])

#: Characters of a value that a message shows at most.
_SHOWN = 60


@record
class Allowed:
    """The values that an argument may have.

    text: completes the sentence "tile is -1; it must be ..." or "...; allowed are ...".
    convert: returns the value as a plain Python object, or raises an exception; an `ArgumentError`
        has a message of its own.
    words: the allowed strings, if there are few; a message suggests the nearest.
    secret: whether no message may show the value.
    """

    text: str
    convert: Callable[[Any], Any]
    words: tuple[str, ...] = ()
    secret: bool = False

    def checked(self, name: str, value: Any) -> Any:
        """Return ``value`` as a plain Python object; raises `ArgumentError` naming ``name``."""
        try:
            return self.convert(value)
        except ArgumentError:
            raise
        except Exception:  # the methods of any object may raise anything
            if self.words and isinstance(value, str):
                raise ArgumentError(unknown(name, value, self.words)) from None
            given = "not allowed" if self.secret else shown_value(value)
            raise ArgumentError(f"{name} is {given}; {self.text}") from None


def check(record: object, table: Mapping[str, Allowed]) -> None:
    """Replace each field of ``record`` by its checked value; raises `ArgumentError`."""
    for name, allowed in table.items():
        object.__setattr__(record, name, allowed.checked(name, getattr(record, name)))


def kind_of(value: object) -> str:
    """The type of ``value`` with its article, as in "a list" and "an int"."""
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def checked(given: Mapping[str, Any], table: Mapping[str, Allowed]) -> dict[str, Any]:
    """The arguments of ``given`` that ``table`` lists, checked; raises `ArgumentError`."""
    return {
        name: allowed.checked(name, given[name]) for name, allowed in table.items() if name in given
    }


def picked(given: Mapping[str, Any], record: type) -> dict[str, Any]:
    """The arguments of ``given`` that are fields of ``record``."""
    return {name: given[name] for name in keywords_of(record) if name in given}


def shown_value(value: object) -> str:
    """``repr(value)`` on one short line, or the type of a value without any."""
    try:
        text = repr(value)
    except Exception:  # such as for an integer of more digits than Python converts
        text = kind_of(value)
    return shown(shortened(" ".join(text.split()), _SHOWN))


def path_text(name: str, value: object) -> str:
    """Return the path ``value`` of the argument ``name`` as text; raises `ArgumentError`."""
    try:
        text = os.fspath(value)  # type: ignore[call-overload]
    except Exception:
        text = None
    if not isinstance(text, str):
        raise ArgumentError(f"{name} is {kind_of(value)}; it must be a path, such as 'in.png'")
    return text


def has_methods(value: object, *methods: str) -> bool:
    """Return whether ``value`` has all of ``methods``."""
    try:
        return all(callable(getattr(value, method, None)) for method in methods)
    except Exception:
        return False


def refuse_closed(name: str, stream: object) -> None:
    """Raise `ArgumentError` if the file object ``stream`` of the argument ``name`` is closed."""
    if getattr(stream, "closed", False) is True:
        raise ArgumentError(f"{name} is {kind_of(stream)} that is closed; it must be open")


# --- kinds of values --------------------------------------------------------------------------


def whole(text: str, *, least: int, most: int = sys.maxsize) -> Allowed:
    """Allow integers, of NumPy as well, but neither booleans nor floats."""

    def convert(value: Any) -> int:
        if not _is_a(Integral, value):
            raise TypeError
        number = int(value)
        if not least <= number <= most:
            raise ValueError
        return number

    return Allowed(text, convert)


def positive(text: str) -> Allowed:
    """Allow finite numbers above 0, of NumPy as well, but no booleans."""

    def convert(value: Any) -> float:
        if not _is_a(Real, value):
            raise TypeError
        if not (math.isfinite(value) and value > 0):
            raise ValueError
        return int(value) if _is_a(Integral, value) else float(value)

    return Allowed(text, convert)


def share(text: str) -> Allowed:
    """Allow numbers from 0 to 1, of NumPy as well, but no booleans."""

    def convert(value: Any) -> float:
        if not _is_a(Real, value):
            raise TypeError
        if not 0 <= value <= 1:
            raise ValueError
        return int(value) if _is_a(Integral, value) else float(value)

    return Allowed(text, convert)


def flag() -> Allowed:
    """Allow True and False."""

    def convert(value: Any) -> bool:
        if not isinstance(value, bool | np.bool_):
            raise TypeError
        return bool(value)

    return Allowed("it must be True or False", convert)


def text(description: str, pattern: str = r"(?s).*") -> Allowed:
    """Allow strings that match ``pattern``."""

    def convert(value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError
        if re.fullmatch(pattern, value) is None:
            raise ValueError
        return value

    return Allowed(description, convert)


def secret(allowed: Allowed) -> Allowed:
    """Show the value in no message."""
    return dataclasses.replace(allowed, secret=True)


def choice(words: Iterable[str]) -> Allowed:
    """Allow some strings."""
    words = tuple(words)

    def convert(value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError
        if value not in words:
            raise ValueError
        return str(value)

    return Allowed(f"allowed are {', '.join(words)}", convert, words)


def optional(allowed: Allowed) -> Allowed:
    """Allow None as well."""
    return dataclasses.replace(
        allowed, convert=lambda value: None if value is None else allowed.convert(value)
    )


def having(methods: Iterable[str], description: str) -> Allowed:
    """Allow objects that have all of ``methods``."""
    methods = tuple(methods)

    def convert(value: Any) -> Any:
        if not has_methods(value, *methods):
            raise TypeError
        return value

    return Allowed(description, convert)


def _is_a(kind: type, value: object) -> bool:
    """Whether ``value`` is a number of that kind; a boolean is none."""
    return isinstance(value, kind) and not isinstance(value, bool)


# --- signatures and docstrings ----------------------------------------------------------------


def documented(*records: type) -> Callable[[_Function], _Function]:
    """Decorate a function that takes the fields of ``records`` as keyword arguments.

    Its signature lists them by name, type and default, and its docstring ends with their
    descriptions, so that ``help()`` shows both.
    """

    def decorate(function: _Function) -> _Function:
        written = inspect.signature(function)
        own = [
            parameter
            if parameter.annotation is parameter.empty
            else parameter.replace(annotation=_Source(parameter.annotation))
            for parameter in written.parameters.values()
            if parameter.kind is not parameter.VAR_KEYWORD
        ]
        names = {parameter.name for parameter in own}
        options = [option for record in records for option in _parameters(record)]
        function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [*own, *(option for option in options if option.name not in names)],
            return_annotation=_Source(written.return_annotation),
        )
        if function.__doc__ is not None:
            lines = [line for record in records for line in _descriptions(record)]
            function.__doc__ = "\n\n".join(
                [inspect.cleandoc(function.__doc__), "Options, by keyword:", "\n".join(lines)]
            )
        return function

    return decorate


class _Source(str):
    """An annotation as in the source, shown without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@functools.cache
def keywords_of(record: type) -> tuple[str, ...]:
    """The names of the fields of ``record``."""
    return tuple(_defaults(record))


def refuse_unknown(function: str, given: Iterable[str], *records: type) -> None:
    """Raise TypeError, as Python does, for a keyword that is a field of none of ``records``."""
    known = [name for record in records for name in keywords_of(record)]
    for name in given:
        if name not in known:
            import difflib  # loaded when needed

            near = difflib.get_close_matches(name, known, n=1)
            hint = f". Did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}{hint}")


@functools.cache
def _parameters(record: type) -> tuple[inspect.Parameter, ...]:
    """Each field as a keyword-only parameter."""
    hints = get_type_hints(record)
    kind = inspect.Parameter.KEYWORD_ONLY
    return tuple(
        inspect.Parameter(name, kind, default=default, annotation=hints[name])
        for name, default in _defaults(record).items()
    )


def _defaults(record: type) -> dict[str, Any]:
    """The names and defaults of the fields; those of a `TypedDict` default to None."""
    if dataclasses.is_dataclass(record):
        return {field.name: field.default for field in dataclasses.fields(record)}
    return dict.fromkeys(record.__annotations__)


def _descriptions(record: type) -> Iterator[str]:
    """The paragraphs that describe the fields in the docstring of ``record``, and its bases'."""
    names = keywords_of(record)
    for kind in reversed(record.__mro__):
        lines = inspect.cleandoc(kind.__doc__ or "").splitlines()
        described = False
        for line in lines:
            head, colon, _ = line.partition(":")
            if not line.startswith(" "):
                described = bool(colon) and all(part in names for part in head.split(", "))
            if described and line:
                yield line
