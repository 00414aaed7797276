"""The public names, signatures, docstrings and checks of the Python API."""

from __future__ import annotations

import gc
import inspect
import io
import json
import os
import pydoc
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import fields
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from helpers import art
from PIL import Image

import waifu2x
from waifu2x.batch import ManyKeywords, PlaceKeywords
from waifu2x.files import FileKeywords
from waifu2x.pipeline.arguments import documented
from waifu2x.pipeline.options import PictureOptions
from waifu2x.pipeline.upscaler import PictureKeywords, RunKeywords, UpscaleKeywords, UseKeywords
from waifu2x.video.frames import FrameKeywords

ROOT = Path(waifu2x.__file__).parent.parent
SCRIPT = Path(__file__).parent / "data" / "user_script.py"

FUNCTIONS = (waifu2x.upscale, waifu2x.upscale_file, waifu2x.upscale_many)
#: The options of videos.
VIDEO = {
    *("codec", "crf", "preset", "deinterlace", "exact", "start", "end", "drop_streams"),
}


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


def options(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters except the first ones, which name the pictures."""
    own = {"image", "source", "target", "inputs", "out", "frames"}
    return {name: each for name, each in parameters(function).items() if name not in own}


# --- names ------------------------------------------------------------------------------------


def test_dir_is_the_public_names() -> None:
    assert dir(waifu2x) == sorted(waifu2x.__all__)
    for name in waifu2x.__all__:
        assert getattr(waifu2x, name) is not None
    assert dir(waifu2x) == sorted(waifu2x.__all__)  # also after everything was imported
    with pytest.raises(AttributeError, match="no attribute 'upscale_more'"):
        waifu2x.upscale_more  # type: ignore[attr-defined]  # noqa: B018


def test_every_error_is_public() -> None:
    raised = {
        name
        for name, value in vars(waifu2x.errors).items()
        if isinstance(value, type) and issubclass(value, waifu2x.errors.Waifu2xError)
    }
    assert raised == {name for name in waifu2x.__all__ if name.endswith("Error")}


# --- signatures -------------------------------------------------------------------------------


def test_the_functions_take_the_same_options() -> None:
    one, file, many = (options(function) for function in FUNCTIONS)
    assert file.keys() - one.keys() == {
        *("format", "quality", "depth", "strip", "skip_larger", "strict"),
        *("overwrite", "keep_times"),
        *VIDEO,
    }
    assert options(waifu2x.upscale_video) == file
    assert many.keys() - file.keys() == {
        *("recursive", "include", "exclude", "name", "shard", "resume", "memory"),
        *("report", "cluster"),
    }
    assert one.keys() <= file.keys() <= many.keys()
    for name in one.keys() - {"scale"}:
        assert one[name] == file[name] == many[name]
    for name in file:
        assert file[name] == many[name]
    assert one["scale"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert {each.kind for each in many.values()} == {inspect.Parameter.KEYWORD_ONLY}


def test_the_method_takes_the_options_of_a_picture() -> None:
    method, function = options(waifu2x.Upscaler.upscale), options(waifu2x.upscale)
    method.pop("self")
    picture = {"scale", "width", "height", "noise", "strength", "color_fix"}
    assert set(method) == {*picture, "progress", "cancel"}
    assert all(function[name] == each for name, each in method.items())
    assert set(parameters(waifu2x.Upscaler)) == {
        field.name for field in fields(waifu2x.UpscalerOptions)
    }


@pytest.mark.parametrize(
    ("keywords", "function"),
    [
        (PictureKeywords, waifu2x.Upscaler.upscale),
        (UpscaleKeywords, waifu2x.upscale),
        (FileKeywords, waifu2x.upscale_file),
        (FileKeywords, waifu2x.upscale_video),
        (ManyKeywords, waifu2x.upscale_many),
        (FrameKeywords, waifu2x.iter_frames),
    ],
)
def test_type_checkers_see_the_signature(keywords: type, function: Callable[..., Any]) -> None:
    """A `TypedDict` is what type checkers read; the records are what is checked at run time."""
    hints = get_type_hints(keywords)
    shown = {
        name: each.annotation
        for name, each in options(function).items()
        if each.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert hints == shown


def test_defaults_are_those_of_the_records() -> None:
    records = (waifu2x.Options, waifu2x.UpscalerOptions, waifu2x.BatchOptions)
    defaults = {field.name: field.default for record in records for field in fields(record)}
    many = options(waifu2x.upscale_many)
    for name in ("progress", "cancel", "upscaler", "report", "cluster"):
        defaults[name] = None
    assert {name: each.default for name, each in many.items()} == defaults


@pytest.mark.parametrize(
    "function",
    [*FUNCTIONS, waifu2x.iter_frames, waifu2x.Upscaler, waifu2x.Upscaler.upscale],
)
def test_help_explains_every_parameter(function: Callable[..., Any]) -> None:
    text = pydoc.render_doc(function, renderer=pydoc.plaintext)
    for name in parameters(function).keys() - {"self"}:
        described = [
            line
            for line in text.splitlines()
            if name in line.strip(" |").partition(":")[0].split(", ") and ": " in line
        ]
        assert len(described) >= 1, name


def test_each_parameter_is_described_once() -> None:
    for function in (*FUNCTIONS, waifu2x.iter_frames):
        text = inspect.getdoc(function) or ""
        heads = [line.partition(": ")[0] for line in text.splitlines() if ": " in line]
        names = [name for head in heads if head[:1] != " " for name in head.split(", ")]
        listed = [name for name in names if name in parameters(function)]
        assert sorted(listed) == sorted(parameters(function))


def test_docstrings_may_be_stripped() -> None:
    """Python -OO removes docstrings."""

    def function(image: str, **options: Any) -> None: ...

    documented(PictureOptions)(function)
    assert function.__doc__ is None
    picture = ["scale", "width", "height", "noise", "strength", "color_fix"]
    assert list(parameters(function)) == ["image", *picture]


# --- wrong types and values -------------------------------------------------------------------

PICTURE = np.zeros((4, 4, 3), np.uint8)


class Number:
    """An object of no allowed type."""

    def __repr__(self) -> str:
        return "Number\n()"


MODELS = [
    *("cunet", "fine", "swift", "upconv_7", "upconv_7_photo", "realcugan", "realcugan_pro"),
    *("realesrgan_animevideo", "realesrgan_anime", "realesrgan"),
]

SIDE = "it must be a whole number of pixels, 1 to 2147483648"

#: Keyword -> wrong values and what the message says after the name.
WRONG: dict[str, tuple[list[Any], str]] = {
    "scale": (
        ["2", True, 0, -1, float("nan"), float("inf"), 10**400, [2], Number()],
        "; it must be a number above 0, for example 2, 1.5 or 0.5",
    ),
    "width": (["9", True, 0, 1.5, 2**31 + 1], f"; {SIDE}"),
    "height": (["9", False, -1, 1.5, 10**400], f"; {SIDE}"),
    "noise": (
        ["1", 4, -1, True, np.True_, 3.1, -0.5, float("nan"), float("inf"), 1j, [1], "none"],
        "; allowed are None, 'auto', 'conservative' and numbers from 0 to 3, such as 1 or 1.5",
    ),
    "strength": (
        ["1", None, True, -0.1, 1.5, float("nan"), float("inf")],
        "; it must be a number from 0 to 1, for example 0.7",
    ),
    "color_fix": (["yes", 1, None], "; it must be True or False"),
    "model": ([None, 1, b"cunet"], "; it must be a name such as 'cunet', or a path"),
    "engine": ([None, 1, True], "; allowed are auto, native, onnx, torch, cuda, vulkan"),
    "threads": (["2", 2.5, True, 0], "; it must be a whole number, at least 1, or left out"),
    "device": (
        [0, "gpu", "cuda:x", ""],
        "; it must be cpu, a GPU such as cuda:0 or vulkan:0, several such as cuda:0,cuda:1, mps, "
        "xpu, or for engine onnx directml, coreml, openvino or webgpu",
    ),
    "precision": ([16, None], "; allowed are auto, fp32, fp16, bf16"),
    "tile": (["x", -1, 64.0, None], "; it must be 0 for automatic, or a side in px"),
    "run_memory": (["4G", 0, 1e9], "; it must be a positive number of bytes"),
    "tta": (["yes", 1, None], "; it must be True or False"),
    "max_pixels": (["1", 0, 1e6], "; it must be a whole number, at least 1"),
    "progress": ([1, "bar"], "; it must be a function of one number"),
    "cancel": ([True, 1], "; it must be a threading.Event"),
    "format": ([1, True], "; it must be the name of a format, such as 'png'"),
    "quality": (["90", 0, 101, 90.0, True], "; it must be a whole number from 1 to 100"),
    "depth": (["8", 12, 8.0, True], "; it must be 8 or 16 bits per sample"),
    "strip": ([1, "no"], "; it must be True or False"),
    "skip_larger": (
        [5, (5,), (0, 5), ("5", 5), "5x5", (1, 2, 3)],
        "; it must be (width, height) in pixels, 1 or more",
    ),
    "strict": ([1, "yes", None], "; it must be True or False"),
    "codec": ([1, True, b"h264"], "; allowed are h264, hevc, av1, vp9, ffv1, prores"),
    "crf": (
        ["18", -1, True, float("nan"), float("inf")],
        "; it must be a number, 0 or more, such as 18",
    ),
    "preset": ([1.5, True, b"slow"], "; it must be the name of a preset, such as 'slow'"),
    "deinterlace": ([True, 1], "; allowed are bwdif, off"),
    "exact": ([1, "yes", None], "; it must be True or False"),
    "start": (
        ["1", -1, True, float("nan"), float("inf")],
        "; it must be seconds from the beginning, 0 or more",
    ),
    "end": (
        ["1", -1, True, float("nan"), float("inf")],
        "; it must be seconds from the beginning, 0 or more",
    ),
    "drop_streams": ([1, "yes", None], "; it must be True or False"),
    "overwrite": ([1, "yes", None], "; it must be True or False"),
    "keep_times": ([1, "yes", None], "; it must be True or False"),
    "recursive": ([1, "yes", None], "; it must be True or False"),
    "resume": ([1, "yes", None], "; it must be True or False"),
    "include": (["*.png", 5, [1], None], "; it must be a list of patterns, such as ['*.png']"),
    "exclude": (["*.png", 5, [1], None], "; it must be a list of patterns, such as ['*.png']"),
    "name": ([5, True], "; it must be a template such as '{stem}_{scale}x{ext}'"),
    "shard": (
        [5, (4, 3), (0, 3), ("1", 3), (1, 2, 3), True],
        "; it must be a part and the number of parts, such as '3/16'",
    ),
    "memory": (["4G", 0, 4e9], "; it must be a whole number of bytes, 1 or more, such as 4 << 30"),
    "cluster": ([5], "; it must be 'local' or an address such as 'tcp://scheduler:8786'"),
}

#: Unknown words, with the end of the message.
UNKNOWN = {
    "model": ("cunett", "(did you mean cunet?); allowed are cunet, fine, swift, upconv_7,"),
    "engine": (
        "nativ",
        "(did you mean native?); allowed are auto, native, onnx, torch, cuda, vulkan",
    ),
    "precision": ("half", "; allowed are auto, fp32, fp16, bf16"),
    "format": ("jpe2g", "(did you mean jpeg?); allowed are gif, png, jpeg, webp, avif, tiff, bmp"),
}


def calls(name: str) -> list[Callable[..., object]]:
    """The functions that take a keyword, each with arguments that do not exist."""
    every: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
        (waifu2x.upscale, (PICTURE,)),
        (waifu2x.upscale_file, ("nosuch.png", "out.webp")),
        (waifu2x.upscale_many, ("nosuch", "out")),
        (waifu2x.Options, ()),
        (waifu2x.BatchOptions, ()),
        (waifu2x.UpscalerOptions, ()),
        (waifu2x.Upscaler, ()),
    ]

    def called(function: Callable[..., Any], given: tuple[Any, ...]) -> Callable[..., object]:
        return lambda **keywords: function(*given, **keywords)

    return [called(function, given) for function, given in every if name in parameters(function)]


def test_every_option_is_in_the_table() -> None:
    assert WRONG.keys() | {"upscaler", "report"} == options(waifu2x.upscale_many).keys()


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, (values, _) in WRONG.items() for value in values]
)
def test_wrong_types_and_values(
    name: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = " ".join(repr(value).split())
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    for call in calls(name):
        with pytest.raises(waifu2x.ArgumentError) as error:
            call(**{name: value})
        assert str(error.value) == f"{name} is {shown}{WRONG[name][1]}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_words_get_a_guess(name: str) -> None:
    value, end = UNKNOWN[name]
    for call in calls(name):
        with pytest.raises(waifu2x.ArgumentError) as error:
            call(**{name: value})
        assert str(error.value).startswith(f"{name} {value!r} is unknown")
        assert end in str(error.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: waifu2x.upscale(PICTURE, upscaler="cunet"), "upscaler is a str; it must be"),  # type: ignore[call-overload]
        (lambda: waifu2x.upscale_file("a.png", upscaler={}), "upscaler is a dict"),  # type: ignore[typeddict-item]
        (lambda: waifu2x.Upscaler.from_options({"tta": True}), "options is a dict; it must be"),  # type: ignore[arg-type]
        (lambda: waifu2x.upscale([[1]]), "image is a list; allowed are a path"),  # type: ignore[call-overload]
        (lambda: waifu2x.upscale(5), "image is an int; allowed are a path"),  # type: ignore[call-overload]
        (lambda: waifu2x.upscale_file(5), "source is an int; allowed are a path"),  # type: ignore[arg-type]
        (lambda: waifu2x.upscale_file("a.png", 5), "target is an int; allowed are a path"),  # type: ignore[arg-type]
        (lambda: waifu2x.upscale_file(b"data"), "source has no name; name the file to write"),
        (lambda: waifu2x.upscale_file(io.StringIO()), "source is a StringIO"),  # type: ignore[arg-type]
        (lambda: waifu2x.upscale_many(5, "out"), "inputs holds an int; allowed are paths"),  # type: ignore[arg-type]
        (lambda: waifu2x.upscale_many(["a", 5], "out"), "inputs holds an int"),  # type: ignore[list-item]
        (lambda: waifu2x.upscale_many("a", 5), "out is an int; it must be a path"),  # type: ignore[arg-type]
        (lambda: waifu2x.upscale_many("a", "b", report=5), "report is an int; it must be"),  # type: ignore[arg-type]
        (lambda: waifu2x.upscale(PICTURE, 2, width=5), "give `scale=`, or `width=`"),
        (lambda: waifu2x.Options(scale=2, height=5), "give `scale=`, or `width=`"),
        (lambda: waifu2x.BatchOptions(resume=True, overwrite=True), "`overwrite=True` exclude"),
        (lambda: waifu2x.BatchOptions(shard="5/4"), "shard is '5/4'"),
        (lambda: waifu2x.BatchOptions(name="{stam}{ext}"), "stam"),
        (lambda: waifu2x.Options(format="png", quality=90), "PNG is lossless"),
        (lambda: waifu2x.Options(format="jpeg", depth=16), "holds 8 bits per sample; write"),
        (lambda: waifu2x.upscale_file("a.png", "b.jpg", depth=16), "holds 8 bits per sample"),
        (lambda: waifu2x.upscale_file("a.png", "b.png", quality=90), "PNG is lossless"),
        (lambda: waifu2x.upscale_file("a.png", "b.png", format="jpeg"), "contradict each other"),
        (lambda: waifu2x.upscale_file("a.png", "b.xyz"), "'.xyz' is unknown"),
    ],
)
def test_wrong_arguments_precede_any_file(call: Callable[[], object], message: str) -> None:
    with pytest.raises(waifu2x.ArgumentError) as error:
        call()
    assert message in str(error.value)


class Raising:
    """An object whose methods raise."""

    def __repr__(self) -> str:
        raise RuntimeError

    def __bool__(self) -> bool:
        raise RuntimeError

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __getattr__(self, name: str) -> object:
        raise RuntimeError

    def __iter__(self) -> Any:
        raise RuntimeError

    def __fspath__(self) -> str:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]


class RaisingInt(int):
    def __int__(self) -> int:
        raise RuntimeError

    def __float__(self) -> float:
        raise RuntimeError

    def __repr__(self) -> str:
        raise RuntimeError


class BytesPath:
    def __fspath__(self) -> bytes:
        return b"in.png"


class TextPicture:
    def read(self, count: int = -1) -> str:
        return "text"


#: Values that no argument takes.
HOSTILE: dict[str, Any] = {
    "huge": 10**5000,
    "negative": -(10**5000),
    "huge pair": (10**5000, 10**5000),
    "complex": 2 + 0j,
    "raising": Raising(),
    "raising int": RaisingInt(2),
    "decimal": Decimal("sNaN"),
    "array": np.zeros((2, 2, 2, 2)),
    "date": np.datetime64("2020"),
    "itself": NotImplemented,
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("name", [*WRONG, "upscaler", "report"])
def test_no_value_escapes_the_checks(
    name: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for call in calls(name):
        with pytest.raises(waifu2x.ArgumentError) as error:
            call(**{name: value})
        assert str(error.value).startswith(name)
        assert str(error.value).isprintable()
        assert len(str(error.value)) < 250
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [*HOSTILE.values(), BytesPath()], ids=[*HOSTILE, "bytes path"])
def test_no_file_escapes_the_checks(value: Any, tmp_path: Path) -> None:
    art.anime_face(8, 8).save(tmp_path / "in.png")
    for call in (
        lambda: waifu2x.upscale(value),
        lambda: waifu2x.upscale_file(value, tmp_path / "out.png"),
        lambda: waifu2x.upscale_file(tmp_path / "in.png", value),
        lambda: waifu2x.upscale_many(value, tmp_path),
        lambda: waifu2x.upscale_many([value], tmp_path),
        lambda: waifu2x.upscale_many(tmp_path / "in.png", value),
        lambda: waifu2x.Upscaler.from_options(value),
    ):
        with pytest.raises(waifu2x.ArgumentError) as error:
            call()
        assert str(error.value).isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]


def test_what_is_closed_is_refused(tmp_path: Path) -> None:
    art.anime_face(8, 8).save(tmp_path / "in.png")
    stream = io.BytesIO((tmp_path / "in.png").read_bytes())
    lazy = Image.open(stream)
    stream.close()
    closed = Image.new("RGB", (8, 8))
    closed.close()
    opened = Image.open(tmp_path / "in.png")
    opened.close()
    for image in (lazy, closed, opened):
        with pytest.raises(waifu2x.ArgumentError, match=r"^image is closed; it must be open$"):
            waifu2x.upscale(image)
    message = "is a BytesIO that is closed; it must be open$"
    with pytest.raises(waifu2x.ArgumentError, match=f"^image {message}"):
        waifu2x.upscale(stream)
    with pytest.raises(waifu2x.ArgumentError, match=f"^source {message}"):
        waifu2x.upscale_file(stream, tmp_path / "out.png")
    with pytest.raises(waifu2x.ArgumentError, match=f"^target {message}"):
        waifu2x.upscale_file(tmp_path / "in.png", stream)


def test_a_stream_that_is_open_for_the_other_direction_is_refused(tmp_path: Path) -> None:
    art.anime_face(8, 8).save(tmp_path / "in.png")
    with (
        (tmp_path / "out.png").open("wb") as writable,
        pytest.raises(waifu2x.DecodeError, match=r"the file object is not open for reading$"),
    ):
        waifu2x.upscale(writable)
    with (
        (tmp_path / "in.png").open("rb") as readable,
        pytest.raises(waifu2x.EncodeError, match=r"the file object is not open for writing$"),
    ):
        waifu2x.upscale_file(tmp_path / "in.png", readable)


def test_a_stream_of_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(waifu2x.ArgumentError, match="the input reads as str"):
        waifu2x.upscale(TextPicture())  # type: ignore[call-overload]


@pytest.mark.parametrize("name", ["x" * 5000 + ".png", "a\0b.png", "\ud800.png"])
def test_names_that_no_file_has(name: str, tmp_path: Path) -> None:
    art.anime_face(8, 8).save(tmp_path / "in.png")
    upscaler = waifu2x.Upscaler("upconv_7")
    for call in (
        lambda: waifu2x.upscale(name),
        lambda: waifu2x.upscale_file(name, tmp_path / "out.png", upscaler=upscaler),
        lambda: waifu2x.upscale_file(tmp_path / "in.png", tmp_path / name, upscaler=upscaler),
        lambda: waifu2x.upscale_many(tmp_path / "in.png", tmp_path / name, upscaler=upscaler),
        lambda: waifu2x.upscale_many(
            tmp_path / "in.png", tmp_path / "out", report=tmp_path / name, upscaler=upscaler
        ),
    ):
        with pytest.raises(waifu2x.Waifu2xError) as error:
            call()
        assert str(error.value).isprintable()


def test_long_values_are_cut() -> None:
    with pytest.raises(waifu2x.ArgumentError, match=r"scale is array.{10,60}\.\.\.; it must"):
        waifu2x.Options(scale=np.zeros((9, 9)))  # type: ignore[arg-type]


def test_an_unknown_keyword_is_a_type_error() -> None:
    for function, given in zip(FUNCTIONS, ((PICTURE,), ("a",), ("a", "b")), strict=True):
        with pytest.raises(TypeError, match=r"unexpected keyword argument 'sacle'. Did you mean"):
            function(*given, sacle=2)


def test_an_upscaler_and_its_options_exclude_each_other() -> None:
    upscaler = waifu2x.Upscaler("upconv_7")
    for call in calls("upscaler"):
        with pytest.raises(waifu2x.ArgumentError, match="engine and upscaler are both given"):
            call(upscaler=upscaler, engine="native")


def test_numbers_of_numpy_are_numbers() -> None:
    picture = waifu2x.Options(scale=np.float32(1.5), noise=np.int64(2), quality=np.uint8(90))  # type: ignore[arg-type]
    assert (picture.scale, picture.noise, picture.quality) == (1.5, 2, 90)
    assert {type(picture.scale), type(picture.noise), type(picture.quality)} == {float, int}
    assert waifu2x.Options(scale=Fraction(3, 2)).scale == 1.5  # type: ignore[arg-type]
    between = waifu2x.Options(noise=np.float32(1.5)).noise  # type: ignore[arg-type]
    assert (between, type(between)) == (1.5, float)
    whole = waifu2x.Options(noise=2.0).noise
    assert (whole, type(whole)) == (2, int)
    assert waifu2x.UpscalerOptions(threads=np.int32(2), tta=np.True_).tta is True  # type: ignore[arg-type]
    assert waifu2x.BatchOptions(shard=(np.int64(3), 16)).shard == (3, 16)


def test_spellings_of_a_format_are_one() -> None:
    for name in ("jpeg", "JPG", ".jpg", "jpe"):
        assert waifu2x.Options(format=name).format == "jpeg"  # type: ignore[arg-type]
    assert waifu2x.Options(format="apng").format == "png"  # type: ignore[arg-type]


# --- noise and inputs -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def upscaler() -> waifu2x.Upscaler:
    return waifu2x.Upscaler("upconv_7")


@pytest.fixture(scope="module")
def jpeg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("jpeg") / "in.jpg"
    art.anime_face(24, 20).save(path, quality=75)
    return path


def test_automatic_noise_is_the_default_of_a_file(upscaler: waifu2x.Upscaler, jpeg: Path) -> None:
    denoised = upscaler.upscale(jpeg, noise=1)
    assert denoised != upscaler.upscale(jpeg, noise=None)
    data = jpeg.read_bytes()
    with jpeg.open("rb") as file:
        given = (jpeg, os.fspath(jpeg), data, bytearray(data), io.BytesIO(data), file)
        for image in (*given, Image.open(jpeg)):
            assert waifu2x.upscale(image, upscaler=upscaler) == denoised  # type: ignore[call-overload]
    target = jpeg.with_name("one.png")
    assert waifu2x.upscale_file(data, target, upscaler=upscaler).noise == 1
    (many,) = waifu2x.upscale_many(jpeg, jpeg.parent / "many", upscaler=upscaler)
    assert target.read_bytes() == many.target.read_bytes()
    assert Image.open(target).tobytes() == denoised.tobytes()


def test_without_a_file_the_noise_must_be_given(upscaler: waifu2x.Upscaler, jpeg: Path) -> None:
    converted = Image.open(jpeg).convert("RGB")
    for image in (converted, np.asarray(converted)):
        plain = upscaler.upscale(image, noise=None)
        np.testing.assert_array_equal(np.asarray(upscaler.upscale(image)), np.asarray(plain))
        with pytest.raises(waifu2x.ArgumentError, match="give None or 0 to 3, or pass the file"):
            upscaler.upscale(image, noise="auto")


def test_bytes_that_are_no_picture(upscaler: waifu2x.Upscaler) -> None:
    with pytest.raises(waifu2x.DecodeError):
        upscaler.upscale(b"nothing")
    with pytest.raises(waifu2x.ArgumentError, match="it must be a path or a binary file object"):
        upscaler.upscale(io.StringIO("text"))  # type: ignore[call-overload]


# --- repr and the results of many -------------------------------------------------------------


def test_reprs_tell(upscaler: waifu2x.Upscaler) -> None:
    engine = upscaler.pipeline.engine
    start = f"Upscaler('upconv_7', engine={engine.name!r}, threads={engine.threads}"
    assert repr(upscaler) == f"{start})"
    chosen = waifu2x.Upscaler("upconv_7", tta=True, tile=64, threads=1)
    assert repr(chosen) == "Upscaler('upconv_7', engine='native', threads=1, tile=64, tta=True)"
    assert repr(waifu2x.models()[0]) == "Model(name='cunet', style='art')"
    assert repr(waifu2x.models()[0].networks[0]) == "Network(scale=1, noise=0)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        art.anime_face(20, 16).save(tmp_path / "in" / name)
    return tmp_path


def test_results_that_are_never_iterated_warn(upscaler: waifu2x.Upscaler, folder: Path) -> None:
    with pytest.warns(RuntimeWarning, match="never iterated, so no file was processed") as caught:
        waifu2x.upscale_many(folder / "in", folder / "out", upscaler=upscaler)
    assert caught[0].filename == __file__
    assert list((folder / "out").iterdir()) == []


def test_results_count_and_tell(upscaler: waifu2x.Upscaler, folder: Path) -> None:
    (folder / "in" / "c.png").write_bytes(b"broken")
    shares: list[float] = []
    results = waifu2x.upscale_many(
        folder / "in", folder / "out", upscaler=upscaler, progress=shares.append
    )
    assert repr(results) == "<BatchResults: 0 of 3 files ended (0 done, 0 skipped, 0 failed)>"
    assert {result.status for result in results} == {"done", "failed"}
    assert repr(results) == "<BatchResults: 3 of 3 files ended (2 done, 0 skipped, 1 failed)>"
    assert (results.summary.done, results.summary.failed) == (2, 1)
    assert results.progress.share == shares[-1] == 1
    assert shares == sorted(shares)
    assert len(shares) == 3
    assert list(results) == []


@pytest.mark.parametrize("end", ["stop", "cancel", "close"])
def test_results_can_be_ended(upscaler: waifu2x.Upscaler, folder: Path, end: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = waifu2x.upscale_many(
            folder / "in", folder / "out", upscaler=upscaler, report=folder / "report.jsonl"
        )
        getattr(results, end)()
        assert list(results) == []
        del results
        gc.collect()
    assert list((folder / "out").iterdir()) == []


def test_leaving_the_loop_abandons_the_rest(upscaler: waifu2x.Upscaler, folder: Path) -> None:
    for number in range(30):
        art.anime_face(20, 16).save(folder / "in" / f"{number}.png")
    for _ in waifu2x.upscale_many(folder / "in", folder / "out", upscaler=upscaler):
        break
    assert len(list((folder / "out").iterdir())) < 30


# --- types ------------------------------------------------------------------------------------


def test_a_users_script_runs_and_has_types(folder: Path) -> None:
    """A package without stubs, or a finder hook in an editable install, makes all of it `Any`."""
    art.anime_face(24, 20).save(folder / "in.png")
    art.anime_face(24, 20).save(folder / "in.jpg", quality=75)
    done = subprocess.run(
        [sys.executable, SCRIPT], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("scale is -2; it must be a number above 0")
    wrong = folder / "wrong.py"
    wrong.write_text(
        "import waifu2x\n"
        "reveal_type(waifu2x.upscale('a.png'))\n"
        "waifu2x.upscale('a.png', noise='7')\n"
        "waifu2x.upscale_many('a', 'b', engine='ncnn')\n"
        "waifu2x.upscale_fille\n"
    )
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", SCRIPT, wrong],
        cwd=ROOT, env={**os.environ, "MYPYPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    lines = checked.stdout.splitlines()
    faults = [Path(line.split(": ")[0]).name for line in lines if ": error: " in line]
    assert faults == ["wrong.py:3", "wrong.py:4", "wrong.py:5"], checked.stdout
    assert 'Revealed type is "PIL.Image.Image"' in checked.stdout


@pytest.mark.skipif(shutil.which("pyright") is None, reason="pyright is not installed")
def test_pyright_finds_the_types(folder: Path) -> None:
    shutil.copy(SCRIPT, folder / "script.py")
    (folder / "pyrightconfig.json").write_text(
        json.dumps({"typeCheckingMode": "strict", "extraPaths": [str(ROOT)]})
    )
    checked = subprocess.run(
        ["pyright", "--pythonpath", sys.executable],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "0 errors" in checked.stdout, checked.stdout


def test_keywords_outside_the_records_are_described() -> None:
    for keywords in (RunKeywords, UseKeywords, PlaceKeywords):
        for name in keywords.__annotations__:
            assert f"{name}: " in (inspect.getdoc(keywords) or "")
