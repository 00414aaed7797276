"""Checks README and docs: commands and code run from top to bottom, links have targets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from helpers import art
from helpers.families import needs
from helpers.samples import prepare
from helpers.server import process
from helpers.videos import needs_ffmpeg
from PIL import Image

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = sorted([README, *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks/README.md"])
BIN = Path(sys.executable).parent

#: Pages whose indented blocks are drawings.
DRAWINGS = {"docs/architecture.md"}
#: Pages whose programs need peers, hours, or a GPU; `tests/benchmarks` runs the programs.
BENCHMARKS = {"benchmarks/README.md"}
#: Pages whose commands download packages and train for hours; `tests/training` runs the programs.
TRAINING = {"docs/training.md"}
#: Pages of Python only, run as one program by `tests/test_python_page.py`.
ONE_PROGRAM = {"docs/python.md"}
ELSEWHERE = DRAWINGS | BENCHMARKS | TRAINING | ONE_PROGRAM
RUN = [page for page in PAGES if str(page.relative_to(ROOT)) not in ELSEWHERE]
#: Pages that need optional packages.
NEEDS = {
    "docs/models.md": [needs("realcugan"), needs("realesrgan")],
    "docs/video.md": [needs_ffmpeg],
}

INSTALLS = "installs; .ci/run runs the line as it stands"
FROM_INDEX = "installs from the index"
CONTAINER = "needs a container engine; tests/test_container.py runs the steps of the Dockerfile"
BUILDS = "builds for minutes; tests/test_wheels.py reads what the program is told"
#: Pages whose steps need a running server.
SERVED = {"docs/server.md"}
#: The address on the pages of a server.
ADDRESS = "127.0.0.1:8760"
SERVER = "runs until it is stopped; the page runs with one on a free port"
ENDLESS = "runs until it is stopped; tests/batch/test_cluster.py starts one"
#: The commands that are not run, by their exact text, and the reason.
NOT_RUN = {
    "python3 -m venv .venv && .venv/bin/pip install . "
    "&& .venv/bin/waifu2x docs/images/sample.jpg": INSTALLS,
    "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest": INSTALLS,
    "WAIFU2X_CUDA=1 pip install '.[torch]'": FROM_INDEX,
    "pip install '.[jxl]'": FROM_INDEX,
    "pip install '.[vulkan]'": FROM_INDEX,
    "pip install '.[dask]'": FROM_INDEX,
    "pip install '.[models]'": FROM_INDEX,
    "pip install waifu2x-native": FROM_INDEX,
    "docker build -t waifu2x .": CONTAINER,
    'docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/data" waifu2x in.png out.png': CONTAINER,
    "docker run --rm -p 127.0.0.1:8760:8760 -e WAIFU2X_TOKEN=a-long-secret "
    "waifu2x serve --host 0.0.0.0": CONTAINER,
    "python packaging/wheels.py build dist python3": BUILDS,
    "python packaging/wheels.py check dist python3": BUILDS,
    "python packaging/wheels.py cross dist root": BUILDS,
    "waifu2x pictures big -r --watch": "runs until it is stopped; tests/batch/test_watching.py",
    "waifu2x rate pictures -m upconv_7 -m cunet -m bicubic": (
        "runs until it is stopped; tests/comparing/test_rating.py"
    ),
    "waifu2x rate pictures --report --plot ranks.png": "needs votes; tests/comparing",
    "pip install . ./integrations/vapoursynth": FROM_INDEX,
    "dask scheduler": ENDLESS,
    "dask worker tcp://192.168.0.10:8786 --nthreads 16": ENDLESS,
    "waifu2x pictures big -r --resume --cluster tcp://192.168.0.10:8786": "no such scheduler",
    "pip install '.[serve]'": FROM_INDEX,
    "sphinx-build -W --keep-going -c docs . build/site": "builds in a clone; tests/test_site.py",
    "waifu2x serve": SERVER,
    "WAIFU2X_TOKEN=a-long-secret waifu2x serve --host 0.0.0.0": SERVER,
    'eval "$(waifu2x completion zsh)"': "for zsh",
    "waifu2x completion fish | source": "for fish",
}
#: The same option with a smaller value, which takes seconds instead of minutes.
SMALLER = {"--static 720x1280": "--static 64x96"}


@dataclass(frozen=True)
class Step:
    """A command line of a page, or a block of Python."""

    text: str
    code: bool = False


def steps(page: Path) -> list[Step]:
    """Return what a reader of the page would run, in order, without comments of command lines."""
    found = []
    for line, code in re.findall(
        r"^ {4}(\S.*)$|^```python\n((?s:.+?))^```", page.read_text("utf-8"), re.MULTILINE
    ):
        if code:
            found.append(Step(code, code=True))
        else:
            found.append(Step(re.split(r" +# ", line)[0].strip()))
    return found


def text(todo: list[Step]) -> str:
    return "\n".join(step.text for step in todo)


def run(step: Step, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a step as a reader does: a line in bash, Python as a file."""
    if step.code:
        # A file, because the workers of a cluster import it.
        (folder / "code.py").write_text(step.text)
        command = [sys.executable, "code.py"]
    else:
        text = step.text
        for long, short in SMALLER.items():
            text = text.replace(long, short)
        command = ["bash", "-e", "-o", "pipefail", "-c", text]
    path = os.pathsep.join([str(BIN), os.environ["PATH"]])
    return subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=name, marks=NEEDS.get(name, ()))
        for page in RUN
        for name in [str(page.relative_to(ROOT))]
    ],
)
def test_page_runs_from_top_to_bottom(page: Path, tmp_path: Path) -> None:
    todo = [step for step in steps(page) if step.text not in NOT_RUN]
    prepare(tmp_path, text(todo))
    with ExitStack() as stack:
        if str(page.relative_to(ROOT)) in SERVED:
            url, _ = stack.enter_context(process(cwd=tmp_path))
            free = url.removeprefix("http://").rstrip("/")
            todo = [replace(each, text=each.text.replace(ADDRESS, free)) for each in todo]
        _run_all(todo, tmp_path)


def _run_all(todo: list[Step], folder: Path) -> None:
    for step in todo:
        result = run(step, folder)
        assert result.returncode == 0, (step.text, result.stderr)
        for comment in re.findall(r"print\(\w+\)  # (.+)", step.text):
            assert comment in result.stdout.splitlines()


def test_what_is_not_run_is_listed_exactly() -> None:
    texts = {step.text for page in RUN for step in steps(page)}
    assert set(NOT_RUN) <= texts
    assert all(any(long in text for text in texts) for long in SMALLER)


def test_pages_have_the_steps_that_are_counted_on() -> None:
    """A page whose commands are no longer found would pass without a run."""
    counts = {str(page.relative_to(ROOT)): len(steps(page)) for page in RUN}
    assert counts["README.md"] >= 12
    assert counts["docs/cli.md"] >= 22
    assert counts["docs/animations.md"] >= 4
    assert counts["docs/batch.md"] >= 3
    assert counts["docs/gpu.md"] >= 6
    assert counts["docs/models.md"] >= 5
    assert counts["docs/convert.md"] >= 7
    assert counts["docs/integrations.md"] >= 2
    assert counts["docs/archives.md"] >= 1
    assert counts["docs/video.md"] >= 5
    assert counts["docs/server.md"] >= 9
    assert counts["docs/install.md"] >= 6
    assert all(step.code for name in ONE_PROGRAM for step in steps(ROOT / name))


def test_readme_code_makes_what_it_names(tmp_path: Path) -> None:
    todo = [step for step in steps(README) if step.code]
    prepare(tmp_path, text(todo))
    for step in todo:
        assert run(step, tmp_path).returncode == 0
    assert Image.open(tmp_path / "big.png").size == (80, 72)
    assert Image.open(tmp_path / "4x.png").size == (160, 144)
    assert Image.open(tmp_path / "in.webp").n_frames == 2
    assert (tmp_path / "bigger/more/1.png").exists()


@pytest.mark.parametrize("name", ["docs/batch.md", "docs/cluster.md"])
def test_code_for_many_files_reports_each(name: str, tmp_path: Path) -> None:
    (step,) = (step for step in steps(ROOT / name) if step.code)
    prepare(tmp_path, text([step]))
    result = run(step, tmp_path)
    assert sorted(result.stdout.splitlines()) == [
        "done pictures/1.jpg big/1.png",
        "done pictures/2.png big/2.png",
        "done pictures/more/1.png big/more/1.png",
    ], result.stderr


def test_onnx_consumer_is_ten_lines_and_agrees(tmp_path: Path) -> None:
    (step,) = (step for step in steps(ROOT / "docs/convert.md") if step.code)
    statements = [line for line in step.text.splitlines() if line]
    assert len(statements) <= 11  # ten, plus the second import
    art.anime_face(41, 35).save(tmp_path / "in.png")
    for command in ("export -m cunet -n 1 cunet.onnx", "in.png ours.png -n 1"):
        assert run(Step(f"waifu2x {command}"), tmp_path).returncode == 0
    assert run(step, tmp_path).returncode == 0
    theirs, ours = (Image.open(tmp_path / name) for name in ("out.png", "ours.png"))
    assert theirs.size == ours.size
    pairs = zip(theirs.tobytes(), ours.tobytes(), strict=True)
    assert max(abs(a - b) for a, b in pairs) <= 1


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8"))
    for target in targets:
        assert (page.parent / target).exists(), target


def test_readme_opens_with_the_picture_and_two_commands() -> None:
    text = README.read_text("utf-8")
    block = re.search(r"(?:^    .+\n)+", text, re.MULTILINE)
    assert block is not None
    assert 0 < text.index("before_after.png") < block.start()
    install, test = (line.strip() for line in block[0].splitlines())
    assert install.endswith(" && .venv/bin/waifu2x docs/images/sample.jpg")
    assert test.endswith(" && .venv/bin/pytest")
    with Image.open(ROOT / "docs/images/before_after.png") as image:
        assert image.width > 400
    with Image.open(ROOT / "docs/images/sample.jpg") as image:
        assert image.size == (224, 224)


def test_ci_runs_the_two_commands_of_the_readme() -> None:
    """`.ci/run` takes the lines from the README, so that they cannot differ."""
    pattern = "s/^    \\(python3 -m venv .*\\)$/\\1/p"
    assert f"sed -n '{pattern}' README.md" in (ROOT / ".ci/run").read_text("utf-8")
    lines = [step.text for step in steps(README) if step.text.startswith("python3 -m venv ")]
    assert [line for line in NOT_RUN if NOT_RUN[line] == INSTALLS] == lines
