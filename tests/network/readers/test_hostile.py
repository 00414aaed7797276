"""Reads the hostile corpus in a child process, which measures time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import hostile_weights
from helpers.hostile_weights import CANARY, MEBIBYTES, write

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak memory is that of Linux"
)

ENDINGS = (".pth", ".safetensors", ".onnx", ".json", ".npz", ".param", ".txt", ".png")


@pytest.fixture(scope="module", params=["read_file", "read_model"])
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], str]:
    folder = tmp_path_factory.mktemp("hostile") / "corpus"
    folder.mkdir()
    paths = write(folder)
    (folder / "list.json").write_text(json.dumps([str(path) for path in paths]))
    child = subprocess.run(
        [sys.executable, hostile_weights.__file__, folder, request.param],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    lines = [json.loads(line) for line in child.stdout.splitlines()]
    assert child.returncode == 0, child.stderr
    assert [line["name"] for line in lines] == [path.name for path in paths]
    return folder, {line["name"]: line for line in lines}, child.stderr


def test_every_file_ends_in_one_clear_line(outcomes: Any) -> None:
    _, lines, errors = outcomes
    assert errors == ""
    assert len(lines) > 150
    assert {Path(name).suffix for name in lines} == set(ENDINGS)
    for name, line in lines.items():
        message = line["outcome"]
        assert message.startswith(f"{name}: "), f"{name} was read: {message}"
        assert message.isprintable()
        assert len(message) <= 360


def test_nothing_is_executed(outcomes: Any) -> None:
    folder, lines, _ = outcomes
    assert not list(folder.rglob(CANARY))
    for name, line in lines.items():
        if name.startswith(("zip-system-2", "zip-eval", "legacy-system-2", "legacy-eval")):
            assert "-0." in name or "which is not allowed; nothing was executed" in line["outcome"]


def test_the_memory_is_bounded(outcomes: Any) -> None:
    _, lines, _ = outcomes
    assert max(line["peak"] for line in lines.values()) <= MEBIBYTES


def test_external_data_is_refused(outcomes: Any) -> None:
    _, lines, _ = outcomes
    external = [line for name, line in lines.items() if name.startswith("external")]
    assert len(external) == 6
    for line in external:
        assert "which is refused" in line["outcome"]
