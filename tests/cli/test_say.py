"""Messages of the package in the words of the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from waifu2x.batch import BatchResult
from waifu2x.cli.say import error_line, error_text, in_shell_words, result_line, shown_in_shell
from waifu2x.errors import OutputExistsError

WORDS = {
    "a.png exists already; replace it with `overwrite=True`": (
        "a.png exists already; replace it with --overwrite"
    ),
    "give `engine='native'`": "give --engine native",
    "give `noise=None`, `noise=1` or `noise='auto'`": (
        "give --noise none, --noise 1 or --noise auto"
    ),
    "`tile=64`": "--tile 64",
    "`precision='fp32'`": "--fp32",
    "leave out `width=` and `height=`": "leave out --width and --height",
    "`skip_larger` is 0x5": "--skip-larger is 0x5",
    "`skip_larger=(10, 20)`": "--skip-larger 10x20",
    "`width=3, height=4`": "--width 3 --height 4",
    "`name='{stem}_waifu2x{ext}'`": "--name '{stem}_waifu2x{ext}'",
    "raise `max_pixels`": "raise WAIFU2X_MAX_PIXELS",
    "`max_pixels=2000000`": "WAIFU2X_MAX_PIXELS=2000000",
    "run `pip install torch`": "run pip install torch",
    "call `waifu2x.upscale_file`": "call waifu2x INPUT... [OUTPUT]",
    "`opset=17`": "--opset 17",
}

#: Nothing that the command can do: the words stay as they are.
SAME = (
    "a `b`.png does not exist",
    "`overwrite=False`",
    "`unknown=1`",
    "`tile=64, unknown=1`",
    "`tile=f()`",
    "`**tile`",
    "a ` b.png",
    "``",
    "`tile) + f(tile`",
)


@pytest.mark.parametrize("text", WORDS)
def test_python_becomes_shell(text: str) -> None:
    assert in_shell_words(text) == WORDS[text]


@pytest.mark.parametrize("text", SAME)
def test_other_words_stay(text: str) -> None:
    assert in_shell_words(text) == text


def test_what_the_command_prints_and_reports() -> None:
    error = OutputExistsError("a.png exists already;\nreplace it with `overwrite=True`")
    failed = BatchResult(Path("a.png"), Path("o.png"), "failed", error=error)
    line = "a.png exists already; replace it with --overwrite"
    assert error_text(error) == error_line(failed) == line
    reported = shown_in_shell(failed)
    assert type(reported.error) is OutputExistsError
    assert reported.as_dict()["error"] == line
    done = BatchResult(
        Path("a.png"), Path("o.png"), "done", (2, 3), (4, 6), notes=("see `tile=64`",)
    )
    assert result_line(done, "cunet").endswith("; see --tile 64")
    assert shown_in_shell(done).notes == ("see --tile 64",)
    assert shown_in_shell(done).error is None
