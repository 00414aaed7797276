"""Compares the workflows and the settings of the wheels with the tree."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
tomllib = pytest.importorskip("tomllib", reason="tomllib comes with Python 3.11")

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
WHEELS = PROJECT["tool"]["cibuildwheel"]


def workflow(name: str) -> dict[Any, Any]:
    return yaml.safe_load((ROOT / ".github/workflows" / name).read_text("utf-8"))


def steps(content: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in content["jobs"].values() for step in job["steps"]]


def test_wheels_are_built_for_every_version_that_the_package_names() -> None:
    built = [re.sub(r"cp3(\d+)-\*", r"3.\1", pattern) for pattern in WHEELS["build"]]
    named = [each[-4:] for each in PROJECT["project"]["classifiers"] if "Python :: 3." in each]
    assert named == built
    assert PROJECT["project"]["requires-python"] == f">={built[0]}"


def test_each_wheel_runs_the_main_job_and_tests_that_exist() -> None:
    main_job, tests = WHEELS["test-command"]
    assert main_job.startswith("waifu2x docs/images/sample.jpg ")
    # Without csrc, the tests of the kernels would have no instruction sets to compare.
    assert "csrc" in WHEELS["test-sources"]
    for source in WHEELS["test-sources"]:
        assert (ROOT / source).exists()
    files = [word for word in shlex.split(tests) if word.startswith("tests/")]
    assert len(files) >= 10
    for file in files:
        text = (ROOT / file).read_text("utf-8")
        # The wheel is tested without the tree, a compiler, and on Windows.
        assert not re.search(
            r"\bcsrc\b|helpers\.command|^(import|from) torch", text, re.MULTILINE
        ), file


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_have_few_rights_and_pinned_actions(path: Path) -> None:
    content = workflow(path.name)
    assert content["permissions"] == {"contents": "read"}
    for job in content["jobs"].values():
        assert job["timeout-minutes"] <= 120
        assert set(job.get("permissions", {})) <= {"id-token"}
    for step in steps(content):
        if "uses" in step:
            assert re.search(r"@v\d[\d.]*$", step["uses"])
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_ci_runs_the_script_of_the_project() -> None:
    commands = [step["run"] for step in steps(workflow("ci.yml")) if "run" in step]
    assert sum(".ci/run" in shlex.split(command) for command in commands) == 1
    versions = workflow("ci.yml")["jobs"]["check"]["strategy"]["matrix"]["python"]
    assert {f"cp{version.replace('.', '')}-*" for version in versions} <= set(WHEELS["build"])


def test_only_a_tag_publishes() -> None:
    content = workflow("wheels.yml")
    # YAML 1.1 reads the key as a boolean.
    assert content[True]["push"] == {"tags": ["v*"]}
    publish = content["jobs"]["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["environment"]["name"] == "pypi"
    assert "startsWith(github.ref, 'refs/tags/v')" in publish["if"]
    assert set(publish["needs"]) == set(content["jobs"]) - {"publish"}
    for path in content[True]["pull_request"]["paths"]:
        assert (ROOT / path.removesuffix("/**")).exists(), path
