"""When the bar appears; how it looks is tested on a terminal in test_cli_one.py."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from waifu2x.batch import BatchProgress
from waifu2x.cli import progress
from waifu2x.cli.options import CommandOptions
from waifu2x.cli.root import main


class Fake:
    """A run that is half done."""

    progress = BatchProgress(total=1, ended=0, share=0.5, current=(Path("in.png"),))


def options(*words: str) -> CommandOptions:
    context = main.make_context("waifu2x", ["in.png", "out.png", *words])
    return CommandOptions.from_values(context.params)


def shown(reporter: progress.BarReporter, seconds: float) -> bool:
    """Whether the bar was there after so many seconds."""
    with reporter:
        time.sleep(seconds)
        return reporter._bar is not None


def test_a_short_run_has_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_BAR_AFTER", 60)
    reporter = progress.BarReporter(options(), Fake())
    assert not shown(reporter, 0.3)


def test_a_longer_run_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_BAR_AFTER", 0.1)
    reporter = progress.BarReporter(options(), Fake())
    assert reporter._bar is None
    assert shown(reporter, 5)


def test_a_bar_that_is_asked_for_is_there_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_BAR_AFTER", 60)
    assert progress.BarReporter(options("--progress", "bar"), Fake())._bar is not None


def test_lines_are_printed_before_there_is_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_BAR_AFTER", 60)
    reporter = progress.BarReporter(options(), Fake())
    reporter.say("a result")
    reporter.say("an error", err=True)
    assert capsys.readouterr() == ("a result\n", "an error\n")
