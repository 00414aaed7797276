"""Records: frozen dataclasses that share their methods.

`dataclasses` writes six methods for each frozen class as text and compiles them when the class is
defined, which took a quarter of the time from the command to its first network run. A record
compiles its ``__init__`` alone. Everything else, such as `dataclasses.replace`, works as usual.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar, overload

_Type = TypeVar("_Type", bound=type)

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_):
        """Do nothing: only type checkers read it."""
        return lambda decorator: decorator


@overload
def record(cls: _Type, /) -> _Type: ...
@overload
def record(*, eq: bool = True, kw_only: bool = False) -> Callable[[_Type], _Type]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def record(cls: Any = None, /, *, eq: bool = True, kw_only: bool = False) -> Any:
    """Make a class what ``@dataclass(frozen=True, slots=True)`` makes it.

    eq: compare by value; otherwise by identity. kw_only: take the fields as keywords only.
    """

    def decorate(cls: Any) -> Any:
        own = set(vars(cls))
        define = dataclasses.dataclass(
            init=False, repr=False, eq=False, slots=True, kw_only=kw_only
        )
        made: Any = define(cls)
        fields = dataclasses.fields(made)
        made._compared = attrgetter(*(each.name for each in fields if each.compare), "__class__")
        methods = {**_METHODS, **(_COMPARISON if eq else {}), "__init__": _init(made, fields)}
        for name, method in methods.items():
            if name not in own:
                setattr(made, name, method)
        return made

    return decorate if cls is None else decorate(cls)


#: Stands for a field that its factory makes.
_NEW: Final = object()


def _init(cls: type, fields: Sequence[dataclasses.Field[Any]]) -> Callable[..., None]:
    """Compile ``__init__``, whose signature and errors are those of a function."""
    scope: dict[str, Any] = {"_set": object.__setattr__, "_NEW": _NEW}
    positional = ["self"]
    keywords: list[str] = []
    body: list[str] = []
    for each in fields:
        name = value = each.name
        parameter = name
        if each.default is not dataclasses.MISSING:
            scope[f"_default_{name}"] = each.default
            parameter = f"{name}=_default_{name}"
        elif each.default_factory is not dataclasses.MISSING:
            scope[f"_make_{name}"] = each.default_factory
            parameter = f"{name}=_NEW"
            value = f"_make_{name}() if {name} is _NEW else {name}"
        (keywords if each.kw_only else positional).append(parameter)
        body.append(f" _set(self, {name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        body.append(" self.__post_init__()")
    parameters = ", ".join([*positional, *(["*", *keywords] if keywords else [])])
    exec("\n".join([f"def __init__({parameters}):", *(body or [" pass"])]), scope)
    init: Callable[..., None] = scope["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__module__ = cls.__module__
    init.__annotations__ = {**{each.name: each.type for each in fields}, "return": None}
    return init


@recursive_repr()
def _repr(self: Any) -> str:
    shown = (each.name for each in dataclasses.fields(self) if each.repr)
    values = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
    return f"{type(self).__qualname__}({values})"


def _eq(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return self._compared(self) == self._compared(other)


def _hash(self: Any) -> int:
    return hash(self._compared(self))


def _set_attribute(self: object, name: str, value: object) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _delete_attribute(self: object, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _get_state(self: Any) -> list[Any]:
    return [getattr(self, each.name) for each in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for each, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, each.name, value)


_METHODS: Final = {
    "__repr__": _repr,
    "__setattr__": _set_attribute,
    "__delattr__": _delete_attribute,
    "__getstate__": _get_state,
    "__setstate__": _set_state,
}
_COMPARISON: Final = {"__eq__": _eq, "__hash__": _hash}
