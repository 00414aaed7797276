"""Every message of the package: one line, one style, and the words of one place.

Outside ``waifu2x/cli``, messages name arguments as in Python, in backquotes, and the command
translates them. So each of them must have an option, and no message may name an option itself.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import waifu2x
from waifu2x import errors
from waifu2x.cli.say import in_shell_words, shell_word

PACKAGE = Path(waifu2x.__file__).parent

CLASSES = {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.Waifu2xError)
}

OPTION = re.compile(r"(?<![\w-])--[a-z]")
SPAN = re.compile(r"`([^`]*)`")
PIP = re.compile(r"`pip [^`]*`")
ARGUMENT = re.compile(r"\b[a-z_]+=(?:True|False|None|['\"\d)])")

#: In a warning, which the command never causes.
PYTHON_ONLY = ("`for result in waifu2x.upscale_many(...)`",)

#: A first word with a capital must be one of these.
NAMES = re.compile(r"[A-Z0-9_]{2}|(AVIF|Adaptive|Chainer|Compact|Gated|Pillow|PyTorch|U-Net)\b")


class Message(NamedTuple):
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


def source_files() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, ast.parse(path.read_text("utf-8"))


def texts(node: ast.AST, constants: dict[str, object]) -> list[str]:
    """All texts that an expression may be, with {} in place of what only a run can tell."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            parts = [texts(value, constants) for value in values]
            return ["".join(each) for each in itertools.product(*parts)]
        case ast.FormattedValue(value=value, conversion=conversion):
            return texts(value, constants) if conversion == -1 else ["'x'"]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [a + b for a in texts(left, constants) for b in texts(right, constants)]
        case ast.IfExp(body=body, orelse=orelse):
            return texts(body, constants) + texts(orelse, constants)
        case ast.Name(id=name) if isinstance(constants.get(name), str):
            return [str(constants[name])]
    return ["{}"]


def constants_of(path: Path) -> dict[str, object]:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    name = ".".join(part for part in parts if part != "__init__")
    if name in ("waifu2x.__main__", "waifu2x.engines.cuda_graphs"):
        return {}
    return vars(importlib.import_module(name))


def raised() -> Iterator[Message]:
    """The messages of all errors that the package creates."""
    for path, tree in source_files():
        constants = constants_of(path)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.args:
                name = ast.unparse(node.func).rpartition(".")[2]
                if name in CLASSES or name in ("unknown", "_bad", "damaged"):
                    for text in texts(node.args[0], constants):
                        yield Message(f"{path.relative_to(PACKAGE)}:{node.lineno}", text)


#: Strings of the training that are no messages: SVG, and the options of its own program.
NO_MESSAGE = re.compile(r'[\w-]="|^--[a-z]+$')


def strings() -> Iterator[Message]:
    """All strings of the package outside ``cli``, without docstrings."""
    for path, tree in source_files():
        if path.is_relative_to(PACKAGE / "cli"):
            continue
        constants = constants_of(path)
        nested = set[ast.AST]()
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                nested.add(node.value)
            if node in nested:
                continue
            if isinstance(node, ast.JoinedStr):
                nested.update(ast.walk(node))
            if isinstance(node, ast.Constant | ast.JoinedStr):
                for text in texts(node, constants):
                    if path.is_relative_to(PACKAGE / "training") and NO_MESSAGE.search(text):
                        continue
                    yield Message(f"{path.relative_to(PACKAGE)}:{node.lineno}", text)


RAISED = list(dict.fromkeys(raised()))
STRINGS = list(dict.fromkeys(strings()))


def test_messages_are_found() -> None:
    assert len(RAISED) > 250
    found = {message.text for message in RAISED}
    assert "scale is {}; it must be a number above 0, for example 2, 1.5 or 0.5" in found
    assert any(text.endswith("; raise the limit with `max_pixels=`") for text in found)


def faults_of_style(text: str) -> list[str]:
    faults = []
    if "\n" in text or text != text.strip() or "  " in text:
        faults.append("not one line")
    if text.endswith((".", "!", ";", ":", ",")):
        faults.append("ends with punctuation")
    if text[:1].isupper() and not NAMES.match(text):
        faults.append("begins with a capital")
    if re.search(r"[a-z0-9]\. [A-Z]", text):
        faults.append("two sentences")
    if text.count("`") % 2:
        faults.append("a backquote without its other")
    return faults


def faults_of_words(text: str) -> list[str]:
    faults = []
    for code in PYTHON_ONLY:
        text = text.replace(code, "")
    if OPTION.search(PIP.sub("", text)):
        faults.append("names an option of the command")
    for span in SPAN.findall(text):
        code = span.replace("{}", "1")
        if shell_word(code) is None:
            faults.append(f"the command has nothing for {span}")
    if "waifu2x-native[" in text:
        faults.append("an extra of a package that is on no index")
    if ARGUMENT.search(SPAN.sub("", text)):
        faults.append("an argument without backquotes")
    if "`" in in_shell_words(text.replace("{}", "1")):
        faults.append("backquotes are left in the shell")
    return faults


def test_style() -> None:
    wrong = [f"{each}: {fault}" for each in RAISED for fault in faults_of_style(each.text)]
    assert not wrong, "\n".join(wrong)


def test_a_damaged_file_has_advice() -> None:
    damaged = [each for each in RAISED if re.search(r"\b(damaged|truncated|cut off)\b", each.text)]
    assert len(damaged) > 20
    assert not [str(each) for each in damaged if "; " not in each.text]


def test_words() -> None:
    wrong = [f"{each}: {fault}" for each in STRINGS for fault in faults_of_words(each.text)]
    assert not wrong, "\n".join(wrong)


def test_the_command_speaks_no_python() -> None:
    for path, tree in source_files():
        if not path.is_relative_to(PACKAGE / "cli") or path.name == "say.py":
            continue
        documented = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if id(node) in documented:
                    continue
                assert "`" not in node.value, f"{path.name}:{node.lineno}: {node.value}"
                assert not re.search(r"\b[a-z_]+=(True|None)", node.value), node.value


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a is 1; replace it with --overwrite", "names an option"),
        ("a is 1; replace it with --overwrite (overwrite=True)", "without backquotes"),
        ("a is 1; give `nothing=1`", "has nothing for"),
        ("a is 1; give `overwrite=False`", "has nothing for"),
        ("a is 1; run `make it`", "has nothing for"),
        ("a is 1; run `pip install 'waifu2x-native[jxl]'`", "on no index"),
    ],
)
def test_faults_of_words_are_found(text: str, fault: str) -> None:
    assert any(fault in each for each in faults_of_words(text))


@pytest.mark.parametrize("text", ["A is 1", "a is 1.", "a is\n1", "a is 1. Then b", "a `b", "a  b"])
def test_faults_of_style_are_found(text: str) -> None:
    assert faults_of_style(text)


@pytest.mark.parametrize(
    "text",
    [
        "a.png exists already; replace it with `overwrite=True`",
        "run `pip install --force-reinstall pillow`",
        "GIF is written for animations only",
        "WAIFU2X_CPU is 'x'",
    ],
)
def test_good_messages_pass(text: str) -> None:
    assert not faults_of_style(text) + faults_of_words(text)
