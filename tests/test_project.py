"""Checks the pages about the project: the length of the README, and that what they name exists."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from test_docs import PAGES, README, ROOT, steps

CONTRIBUTING = ROOT / "CONTRIBUTING.md"
PROJECT = [CONTRIBUTING, ROOT / "CHANGELOG.md", ROOT / "SECURITY.md"]
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))

#: Programs of the commands in CONTRIBUTING.md that the extra `test` does not bring.
OTHER_PROGRAMS = {"python3", "pip", "pre-commit", "."}


def words(page: Path) -> int:
    return len(page.read_text("utf-8").split())


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub forms them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def load(path: Path) -> Any:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    return yaml.safe_load(path.read_text("utf-8"))


def test_the_readme_is_a_first_screen() -> None:
    assert words(README) <= 1100
    assert words(CONTRIBUTING) <= 900


@pytest.mark.parametrize("page", PROJECT, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8"))
    assert all((page.parent / target).exists() for target in targets), targets


@pytest.mark.parametrize(
    "page", [*PAGES, *PROJECT], ids=lambda page: str(page.relative_to(ROOT).with_suffix(""))
)
def test_links_into_pages_lead_to_a_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", page.read_text("utf-8")):
        assert anchor in anchors((page.parent / target) if target else page), (target, anchor)


def test_files_named_for_contributors_exist() -> None:
    found = 0
    for span in re.findall(r"`([^`]+)`", CONTRIBUTING.read_text("utf-8")):
        for word in span.split():
            if re.fullmatch(r"\.?[\w-]+(/[\w.-]*)+|[\w-]+\.(py|md|toml)", word):
                assert (ROOT / word).exists(), word
                found += 1
    assert found > 40


def test_names_for_contributors_are_in_the_code() -> None:
    text = "\n".join(
        path.read_text("utf-8")
        for name in ("waifu2x", "tests")
        for path in ROOT.glob(f"{name}/**/*.py")
    )
    names = re.findall(r"`([A-Z_]{4,})`", CONTRIBUTING.read_text("utf-8"))
    assert {"FORMATS", "ENGINES", "FIXTURES", "NOT_RUN", "OUTSIDE"} <= set(names)
    for name in names:
        assert re.search(rf"^{name}\b.* = ", text, re.MULTILINE), name


def test_commands_for_contributors_exist() -> None:
    commands = [part for step in steps(CONTRIBUTING) for part in step.text.split(" && ")]
    assert len(commands) > 10
    # The environment may not be on the PATH.
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for command in commands:
        program, *arguments = [
            word for word in command.split() if not re.match(r"[A-Z0-9_]+=", word)
        ]
        name = program.removeprefix(".venv/bin/")
        assert name in OTHER_PROGRAMS or shutil.which(name, path=places), name
        for argument in arguments:
            path, _, test = argument.partition("::")
            if path.startswith("tests/"):
                assert (ROOT / path).exists(), path
                assert not test or f"\ndef {test}(" in (ROOT / path).read_text("utf-8"), test


def test_the_line_for_contributors_installs_as_the_readme_does() -> None:
    (readme,) = (step.text for step in steps(README) if step.text.endswith("pytest"))
    (own, *_) = (step.text for step in steps(CONTRIBUTING))
    assert own.rpartition(" && ")[0] == readme.rpartition(" && ")[0]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_issue_forms_are_complete(form: Path) -> None:
    found = load(form)
    if form.stem == "config":
        assert found == {"blank_issues_enabled": False}
        return
    assert {"name", "description", "labels", "body"} == set(found)
    ids = [item["id"] for item in found["body"]]
    assert len(set(ids)) == len(ids)
    required = {item["id"] for item in found["body"] if item.get("validations", {}).get("required")}
    assert required
    if form.stem in ("bug", "picture"):
        assert "doctor" in required
    if form.stem == "picture":
        assert {"input", "result"} <= required


def test_hooks_are_local() -> None:
    found = load(ROOT / ".pre-commit-config.yaml")
    assert [each["repo"] for each in found["repos"]] == ["local"]
    hooks = {each["id"]: each for each in found["repos"][0]["hooks"]}
    assert {"ruff", "ruff-format", "mypy", "end-of-file", "large-files"} <= set(hooks)
    assert {each["language"] for each in hooks.values()} == {"system", "pygrep"}
