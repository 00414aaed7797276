"""Runs the steps of the Dockerfile in a folder, as no container engine is needed for that."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
#: Steps that need a container, by their exact text.
NOT_RUN = {"apt-get update && apt-get install -y --no-install-recommends g++"}
#: Absolute paths of the image, which lie below the folder of the test instead.
PLACES = re.compile(r"(?<![\w./$-])/(?=(?:src|wheels|opt|data|sample_2x\.png)\b)")
#: Bytes of the image without its base, so that both stay below 350 MB.
LIMIT = 225_000_000

needs_network = pytest.mark.skipif(
    not os.environ.get("CI"), reason="downloads the dependencies; runs with CI=true, as in .ci/run"
)


class Step(NamedTuple):
    """An instruction of the Dockerfile."""

    name: str
    text: str


def stages() -> list[list[Step]]:
    """The instructions of the Dockerfile by stage, each from FROM on."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text("utf-8"))
    found: list[list[Step]] = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, rest = line.split(maxsplit=1)
            if name == "FROM":
                found.append([])
            if found:
                found[-1].append(Step(name, rest.strip()))
    return found


def only(name: str) -> str:
    """The text of the instruction that the last stage has once."""
    (text,) = (step.text for step in stages()[-1] if step.name == name)
    return text


def test_the_image_is_for_a_user_without_rights() -> None:
    assert only("USER").split(":")[0] != "0"
    assert json.loads(only("ENTRYPOINT")) == ["waifu2x"]
    assert only("WORKDIR") == "/data"
    assert {step.name for step in stages()[-1]} <= {
        "FROM", "COPY", "ENV", "WORKDIR", "USER", "EXPOSE", "ENTRYPOINT", "CMD",
    }  # fmt: skip
    assert len({stage[0].text.split()[0] for stage in stages()}) == 1


def test_the_port_is_that_of_the_server() -> None:
    text = (ROOT / "waifu2x/cli/serve.py").read_text("utf-8")
    assert re.search(rf"\b{only('EXPOSE')}\b", text)


def context(target: Path) -> None:
    """Copy what .dockerignore leaves of the tree: a file counts by the last pattern that fits."""
    patterns = [
        line
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    for path in ROOT.rglob("*"):
        name = path.relative_to(ROOT)
        if not path.is_file() or name.parts[0].startswith("."):
            continue
        kept = True
        for pattern in patterns:
            plain = pattern.removeprefix("!")
            parents = [str(each) for each in (name, *name.parents)]
            short = plain.removeprefix("**/")
            if any(fnmatch(each, plain) for each in parents) or (
                short != plain and any(fnmatch(part, short) for part in name.parts)
            ):
                kept = pattern.startswith("!")
        if kept:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target / name)


@pytest.fixture(scope="module")
def image() -> Iterator[tuple[Path, dict[str, str]]]:
    """The folder with the finished image, and the environment of its programs."""
    # Not in the folder of pytest, which other users cannot enter.
    folder = Path(tempfile.mkdtemp(prefix="waifu2x-container-"))
    folder.chmod(0o755)
    try:
        yield folder, build(folder)
    finally:
        shutil.rmtree(folder)


def build(folder: Path) -> dict[str, str]:
    """Run both stages; returns the environment of the second."""
    subprocess.run([sys.executable, "-m", "venv", folder / "base"], check=True)
    passed = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    start = {"PATH": f"{folder}/base/bin:/usr/bin:/bin", "HOME": str(folder / "base"), **passed}
    environment = {}
    for number, stage in enumerate(stages()):
        environment = dict(start)
        where = folder
        for step in stage[1:]:
            text = PLACES.sub(f"{folder}/", step.text)
            if step.name == "ENV":
                for pair in shlex.split(text):
                    name, value = pair.split("=", 1)
                    environment[name] = value.replace("$PATH", environment["PATH"])
            elif step.name == "WORKDIR":
                where = Path(text)
                where.mkdir(parents=True, exist_ok=True)
            elif step.name == "COPY" and number == 0:
                source, target = text.split()
                assert source == "."
                context(Path(target))
            elif step.name == "COPY":
                origin, source, target = text.split()
                assert origin == "--from=build"
                assert source == target
                assert Path(source).is_dir()
            elif step.name == "RUN" and step.text not in NOT_RUN:
                done = subprocess.run(
                    ["sh", "-c", text], cwd=where, env=environment, capture_output=True, text=True
                )
                assert done.returncode == 0, (text, done.stdout, done.stderr)
        if number == 0:
            for left in ("src", "wheels"):
                shutil.rmtree(folder / left)
    return environment


def start(image: tuple[Path, dict[str, str]], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the entry point in /data as a user without a home folder, as `docker run --user` does."""
    folder, environment = image
    environment = {**environment, "HOME": "/"}
    program, *rest = json.loads(only("ENTRYPOINT"))
    found = shutil.which(program, path=environment["PATH"])
    assert found is not None
    command = [found, *rest, *arguments]
    if os.geteuid() == 0:
        python = Path(sys.base_prefix).resolve()
        for each in (python, *python.parents):
            if not each.stat().st_mode & 0o001:
                pytest.skip(f"other users cannot enter {each}, where Python is")
        os.chown(folder / "data", 12345, 12345)
        command = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", *command]
    return subprocess.run(
        command, cwd=folder / "data", env=environment, capture_output=True, text=True, check=False
    )


@needs_network
def test_the_image_does_the_main_job(image: tuple[Path, dict[str, str]]) -> None:
    folder, _ = image
    shutil.copy(ROOT / "docs/images/sample.jpg", folder / "data/in.jpg")
    (folder / "data/in.jpg").chmod(0o644)
    result = start(image, "in.jpg", "out.png")
    assert result.returncode == 0, result.stderr
    with Image.open(folder / "data/out.png") as picture:
        assert picture.size == (448, 448)
    if os.geteuid() == 0:
        assert (folder / "data/out.png").stat().st_uid == 12345


@needs_network
def test_the_image_runs_the_commands_that_need_packages(
    image: tuple[Path, dict[str, str]],
) -> None:
    """Nothing is removed from the packages that a command loads."""
    for line in ("serve --help", "models", "export -m upconv_7 net.onnx", "info net.onnx"):
        result = start(image, *line.split())
        assert result.returncode == 0, (line, result.stderr)
    shutil.copy(ROOT / "docs/images/sample.jpg", image[0] / "data/in.jpg")
    result = start(image, "in.jpg", "deep.tiff", "--depth", "16", "-e", "onnx", "-m", "swift")
    assert result.returncode == 0, result.stderr


@needs_network
def test_the_image_is_small(image: tuple[Path, dict[str, str]]) -> None:
    folder, _ = image
    files = [path for path in (folder / "opt").rglob("*") if not path.is_dir()]
    assert sum(path.lstat().st_size for path in files) < LIMIT
