"""The options of a request, declared by the command and checked as there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from pathlib import PurePath
from typing import Any, Final, Literal, TypeAlias

from .._record import record
from .._text import listed, nearest, unknown
from ..errors import ArgumentError
from ..files.task import Options
from ..network import registry

Kind: TypeAlias = Literal["string", "number", "integer", "boolean"]

#: Options of the command that the server has chosen at its start.
AT_START: Final = ("engine", "device", "fp32", "tile", "threads", "memory")

_TRUE: Final = ("true", "1", "yes", "on")
_FALSE: Final = ("false", "0", "no", "off", "")


@record
class Parameter:
    """An option of the command that a request may give.

    name: of the field. flag: the option of the command. kind: its type in JSON.
    convert: returns the value of a text; raises `ArgumentError`.
    choices: the allowed words, if there are few. default: as text, or None.
    """

    name: str
    flag: str
    kind: Kind
    convert: Callable[[str], Any] = field(repr=False)
    help: str = ""
    choices: tuple[str, ...] = ()
    default: str | None = None

    def value(self, text: str) -> Any:
        """The value of ``text``; raises `ArgumentError`."""
        if self.kind != "boolean":
            return self.convert(text)
        word = text.strip().lower()
        if word not in (*_TRUE, *_FALSE):
            raise ArgumentError(f"{self.name} is {text!r}; it must be true or false")
        return word in _TRUE

    def facts(self) -> dict[str, Any]:
        """The fields for JSON."""
        return {
            "name": self.name,
            "flag": self.flag,
            "type": self.kind,
            "choices": list(self.choices),
            "default": self.default,
            "help": self.help,
        }


@record
class Choice:
    """The choice of a request: a model, test-time augmentation, and the options of the picture."""

    model: str
    tta: bool
    options: Options

    @property
    def key(self) -> str:
        """A text that is equal for equal results."""
        options = {name: getattr(self.options, name) for name in _OPTION_NAMES}
        return repr((self.model, self.tta, options))


_OPTION_NAMES: Final = tuple(each.name for each in dataclasses.fields(Options))


class Parameters:
    """The parameters of all requests, and the models that these may name."""

    def __init__(self, declared: tuple[Parameter, ...], default: str, own: registry.Model) -> None:
        """Declare the parameters.

        default: the name of the model without one in the request, or its path. own: that model.
            A file with the name of another model is called by its name with the suffix.
        """
        self._default = default
        installed = {each.name: each for each in registry.models() if each.installed}
        is_file = any(network.format == "file" for network in own.networks)
        self._file = PurePath(own.source).name if is_file else None
        known = [each.name for each in registry.models()]
        name = self._file if self._file and own.name in known else own.name
        #: By the names that a request may give, the default first. Files of the user are never
        #: opened by a name from a request, except the default.
        self.models: dict[str, registry.Model] = {name: own, **installed}
        models = tuple(self.models)
        self.declared = {
            each.name: replace(each, choices=models, default=models[0])
            if each.name == "model"
            else each
            for each in declared
        }

    def read(self, given: Mapping[str, str]) -> Choice:
        """Check the fields of a request; raises `ArgumentError`."""
        values: dict[str, Any] = {}
        for name, text in given.items():
            parameter = self.declared.get(name)
            if parameter is None:
                raise ArgumentError(self._unknown(name))
            if name == "model":
                values[name] = self.model(text)
            else:
                values[name] = parameter.value(text)
        model, tta = values.pop("model", self._default), values.pop("tta", False)
        return Choice(model, bool(tta), Options(**values))

    def model(self, name: str) -> str:
        """Return what `UpscalerOptions` takes for the model ``name``; raises `ArgumentError`."""
        known = self.models
        if name not in known:
            raise ArgumentError(unknown("model", name, list(known)))
        return self._default if name == next(iter(known)) else name

    def argument(self, name: str) -> str | None:
        """Return what to type after ``--model`` for the model ``name``; None for no option.

        A file is named without its folder, which is private.
        """
        if self._file is not None and name == next(iter(self.models)):
            return self._file
        return None if name == registry.models()[0].name else name

    def _unknown(self, name: str) -> str:
        if name in AT_START:
            return f"option {name} is chosen when the server starts; leave it out"
        meant = nearest(name, self.declared)
        guess = f" (did you mean {meant}?)" if meant else ""
        allowed = listed(["file", *self.declared], "and")
        return f"field {name[:60]!r} is unknown{guess}; allowed are {allowed}"
