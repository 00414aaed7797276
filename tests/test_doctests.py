"""The examples in the docstrings of the public names run, with exactly the output they show."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path

import pytest
from helpers import public
from helpers.samples import prepare

import waifu2x

#: Functions, classes, and their methods, by name.
DOCUMENTED: dict[str, object] = {"waifu2x": waifu2x, "waifu2x.errors": waifu2x.errors}
for _name, _object in public.objects().items():
    DOCUMENTED[_name] = _object
    if isinstance(_object, type):
        DOCUMENTED |= {f"{_name}.{each}": value for each, value in public.methods(_object)}


def examples(name: str) -> doctest.DocTest:
    """Return the examples in the docstring of a name."""
    text = inspect.getdoc(DOCUMENTED[name]) or ""
    return doctest.DocTestParser().get_doctest(text, {"waifu2x": waifu2x}, name, name, 0)


@pytest.mark.parametrize("name", public.objects())
def test_every_function_and_class_has_an_example(name: str) -> None:
    assert examples(name).examples


@pytest.mark.parametrize("name", [name for name in DOCUMENTED if examples(name).examples])
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = examples(name)
    prepare(tmp_path, "\n".join(each.source for each in test.examples))
    monkeypatch.chdir(tmp_path)
    shown: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=shown.append, clear_globs=False)
    assert not shown, "".join(shown)


def test_a_wrong_example_fails() -> None:
    """A runner that compares nothing would pass every example."""
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", "wrong", 0)
    assert doctest.DocTestRunner(verbose=False).run(test, out=lambda text: None).failed == 1
