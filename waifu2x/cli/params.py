"""Types of option values: each names the value, what is allowed, and shell completion."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias

import click
from click.shell_completion import CompletionItem

from .._text import nearest
from ..codec.formats import format_named
from ..errors import WeightsError
from ..network import model_files, registry
from .page import Decorated, Option

if TYPE_CHECKING:
    _ParamType: TypeAlias = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # generic in the stubs of new releases only


def refuse(message: str) -> NoReturn:
    """Raise a usage error; ``message`` is the whole line."""
    raise click.BadParameter(message)


class FileName(_ParamType):
    """A file, folder, pattern or ``-``; nothing is opened."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse an empty name, which would mean the current folder."""
        if value == "":
            refuse(f"{_called(param)} is ''; it must be the name of a file or folder")
        return str(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Let the shell complete file names."""
        return [CompletionItem(incomplete, type="file")]


class Number(_ParamType):
    """A number; its range is checked by the record of options.

    allowed: completes "it must be ...". whole: whether only integers are allowed.
    """

    name = "number"

    def __init__(self, allowed: str, *, whole: bool = True) -> None:
        self._allowed, self.whole = allowed, whole

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Convert digits; integral values become int, so messages show 0 and not 0.0."""
        if isinstance(value, int | float):
            return value
        text = str(value).strip()
        if self.whole:
            if re.fullmatch(r"[+-]?[0-9]{1,18}", text):
                return int(text)
        elif re.fullmatch(r"[+-]?([0-9.]+(e[+-]?[0-9]+)?|nan|inf)", text, re.IGNORECASE):
            try:
                number = float(text)
            except ValueError:  # several decimal points
                number = math.nan
            else:
                return int(number) if number.is_integer() and abs(number) < 1 << 53 else number
        return refuse(f"{_called(param)} is {value!r}; it must be {self._allowed}")


class NumberList(_ParamType):
    """Numbers with commas between them.

    allowed: completes "it must be ...".
    """

    name = "numbers"

    def __init__(self, allowed: str) -> None:
        self._allowed = allowed

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Convert the numbers, in digits or e-notation; nan and inf are refused later."""
        if isinstance(value, tuple):
            return value
        number = r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?\s*|\s*[+-]?(nan|inf)\s*"
        words = str(value).split(",")
        if not all(re.fullmatch(number, word, re.IGNORECASE) for word in words):
            refuse(f"{_called(param)} is {value!r}; it must be {self._allowed}")
        return tuple(float(word) for word in words)


class Word(_ParamType):
    """One of few words.

    words: the listed ones. also: accepted, but not listed. habits: words of other programs and
    the word to use here. more: what else is allowed, at the end of messages.
    """

    name = "word"

    def __init__(
        self,
        words: Sequence[str],
        *,
        also: Sequence[str] = (),
        habits: Mapping[str, str] = {},
        more: str = "",
    ) -> None:
        self._words, self._also, self._habits, self._more = tuple(words), tuple(also), habits, more

    @property
    def words(self) -> tuple[str, ...]:
        """The words that are listed and completed."""
        return self._words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse an unknown word; the message suggests a similar one."""
        word = str(value)
        if word.lower() in (*self.words, *self._also):
            return word.lower()
        meant = self._habits.get(PurePath(word).name) or nearest(
            word, [each for each in self.words if each.isidentifier()]
        )
        hint = f" (did you mean {meant}?)" if meant else ""
        allowed = ", ".join(self.words) + self._more
        return refuse(f"{_called(param)} {value!r} is unknown{hint}; allowed are {allowed}")

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete the listed words."""
        return [CompletionItem(word) for word in self.words if word.startswith(incomplete)]


class FormatName(Word):
    """A format to write, by name or extension, in any case."""

    name = "format"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Convert to the name of the format."""
        if str(value).lower().removeprefix(".") == "y4m":
            return "y4m"
        return format_named(None, str(value)).name


class NoiseLevel(Word):
    """A noise level, none and, if allowed, auto; -1 means none in other programs.

    auto: allow auto, and numbers between two levels.
    """

    name = "noise"

    def __init__(self, *, auto: bool) -> None:
        words = ("auto",) * auto + ("none", *map(str, registry.LEVELS))
        super().__init__(words, also=("-1",), more=" and numbers between, such as 1.5" * auto)
        self._between = auto

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert a word to "auto", a level, a number between two levels, or None for none."""
        if value is None or isinstance(value, int | float):
            return value
        if self._between and re.fullmatch(r"[0-2]\.[0-9]{1,9}|3\.0{1,9}", str(value)):
            number = float(value)
            return int(number) if number.is_integer() else number
        word = super().convert(value, param, ctx)
        if word in ("none", "-1"):
            return None
        return int(word) if word.isdigit() else word


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
        if found := re.fullmatch(r"0*([1-9][0-9]{0,8})x0*([1-9][0-9]{0,8})", str(value).lower()):
            return int(found[1]), int(found[2])
        sides, example = (
            ("HEIGHTxWIDTH", "720x1280") if self.name == "HxW" else ("WIDTHxHEIGHT", "1920x1080")
        )
        return refuse(
            f"{_called(param)} is {value!r}; it must be {sides} in pixels, for example {example}"
        )


class Moment(_ParamType):
    """A moment of a video: seconds, or minutes and seconds, or hours as well."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Convert 83.5, 1:23.5 or 0:01:23.5 to seconds."""
        if isinstance(value, int | float):
            return value
        found = re.fullmatch(
            r"(?:(?:([0-9]{1,4}):)?([0-9]{1,4}):)?([0-9]{1,9}(?:\.[0-9]{0,9})?)", str(value).strip()
        )
        if found is None:
            refuse(
                f"{_called(param)} is {value!r}; it must be seconds or a time, such as 90 or 1:30.5"
            )
        hours, minutes, seconds = (float(part or 0) for part in found.groups())
        total = 3600 * hours + 60 * minutes + seconds
        return int(total) if total.is_integer() else total


class MemorySize(_ParamType):
    """Bytes, with K, M, G or T."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Convert 4G to a number of bytes."""
        from ..batch import parse_memory

        number = value if isinstance(value, int) else parse_memory(str(value))
        return number or refuse(f"memory is {value!r}; it must be above 0, such as 4G")


def _called(param: click.Parameter | None) -> str:
    """What messages call ``param``: its long option without dashes, or its metavar."""
    if isinstance(param, click.Option):
        return max(param.opts, key=len).lstrip("-")
    if param is not None and isinstance(param.type, ModelName):
        return "model"
    return "the name" if param is None else str(param.metavar).rstrip(".")


#: Names of models in other programs.
_MODELS_ELSEWHERE = {
    "models-cunet": "cunet",
    "models-upconv_7_anime_style_art_rgb": "upconv_7",
    "models-upconv_7_photo": "upconv_7_photo",
    "upconv_7_anime_style_art_rgb": "upconv_7",
    "anime": "cunet",
    "art": "cunet",
    "photo": "upconv_7_photo",
    "models-se": "realcugan",
    "models-pro": "realcugan_pro",
    "realesr-animevideov3": "realesrgan_animevideo",
    "realesrgan-x4plus-anime": "realesrgan_anime",
    "realesrgan-x4plus": "realesrgan",
}


class ModelName(Word):
    """A model by name, or a file of weights by path; the file is not opened.

    more: names that are allowed as well.
    """

    name = "model"

    def __init__(self, *more: str) -> None:
        super().__init__(more, habits=_MODELS_ELSEWHERE)

    @property
    def words(self) -> tuple[str, ...]:
        """The names of the manifest, read when needed: a command without a model reads none."""
        return (*(model.name for model in registry.models()), *self._words)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Refuse a name that is neither a model, nor a path, nor in the folder of the user."""
        name = str(value)
        if name in self.words:  # before a file of the same name
            return name
        if PurePath(name).name not in _MODELS_ELSEWHERE or Path(name).is_file():
            path = model_files.find(name)
            if path is not None:
                return path
        return super().convert(value, param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete names, and let the shell complete a path."""
        try:
            own = list(model_files.in_folder())
        except WeightsError:
            own = []
        found = [CompletionItem(name) for name in (*self.words, *own)]
        found = [item for item in found if item.value.startswith(incomplete)]
        return found or [CompletionItem(incomplete, type="file")]


class MethodName(ModelName):
    """A model, or bicubic, which enlarges without a network."""

    def __init__(self) -> None:
        super().__init__("bicubic")


def model_option(group: str) -> Callable[[Decorated], Decorated]:
    """Declare -m."""
    return click.option(
        "-m",
        "--model",
        cls=Option,
        group=group,
        metavar="NAME",
        type=ModelName(),
        default="cunet",
        help="Listed by waifu2x models; or a file",
    )


def noise_option(group: str) -> Callable[[Decorated], Decorated]:
    """Declare -n."""
    return click.option(
        "-n",
        "--noise",
        cls=Option,
        group=group,
        metavar="LEVEL",
        type=NoiseLevel(auto=True),
        default="auto",
        help="auto, none, conservative, 0 to 3, 1.5",
    )


def overwrite_option(group: str, what: str) -> Callable[[Decorated], Decorated]:
    """Declare --overwrite."""
    return click.option("--overwrite", cls=Option, group=group, is_flag=True, help=what)
