"""Checks when the CUDA kernels are built, what pip reports without a compiler, and the metadata."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from helpers.command import waifu2x

from waifu2x import kernels

ROOT = Path(__file__).parent.parent


@pytest.fixture
def build_cuda(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The module of the tree, in an environment without packages, and with a file for nvcc."""
    spec = importlib.util.spec_from_file_location("build_cuda", ROOT / "build_cuda.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("WAIFU2X_CUDA", "CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\n")
    nvcc.chmod(0o755)
    monkeypatch.setenv("CUDACXX", str(nvcc))
    monkeypatch.setattr(sysconfig, "get_path", lambda kind: str(tmp_path / "site"))
    monkeypatch.setattr(sys, "platform", "linux")
    return module


def torch_with(version: str, folder: Path) -> None:
    file = folder / "site" / "torch" / "version.py"
    file.parent.mkdir(parents=True)
    file.write_text(f"cuda: Optional[str] = {version}\nhip: Optional[str] = None\n")


def test_a_plain_build_has_no_cuda_kernels(build_cuda: ModuleType) -> None:
    build, reason = build_cuda.decision()
    assert not build
    assert reason == (
        "CUDA kernels: not built, because torch with CUDA is not installed; "
        "WAIFU2X_CUDA=1 builds them"
    )


def test_torch_with_cuda_turns_the_kernels_on(build_cuda: ModuleType, tmp_path: Path) -> None:
    torch_with("'13.0'", tmp_path)
    assert build_cuda.decision() == (True, "CUDA kernels: built, because torch has CUDA 13.0")


def test_torch_without_cuda_does_not(build_cuda: ModuleType, tmp_path: Path) -> None:
    torch_with("None", tmp_path)
    assert not build_cuda.decision().build


def test_torch_with_cuda_without_nvcc(
    build_cuda: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch_with("'13.0'", tmp_path)
    monkeypatch.setattr(build_cuda, "find_nvcc", lambda: None)
    build, reason = build_cuda.decision()
    assert not build
    assert reason.endswith("torch with CUDA 13.0 is installed, but nvcc is not found")


@pytest.mark.parametrize("choice", ["0", "1"])
def test_the_variable_decides(
    build_cuda: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    torch_with("'13.0'" if choice == "0" else "None", tmp_path)
    monkeypatch.setenv("WAIFU2X_CUDA", choice)
    build, reason = build_cuda.decision()
    assert build is (choice == "1")
    assert reason.endswith(f"because WAIFU2X_CUDA is {choice}")
    assert build_cuda.extension().optional is (choice != "1")


def test_a_wish_that_cannot_be_met_is_an_error(
    build_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAIFU2X_CUDA", "1")
    monkeypatch.setattr(build_cuda, "find_nvcc", lambda: None)
    with pytest.raises(SystemExit, match="needs Linux and nvcc"):
        build_cuda.decision()
    monkeypatch.setenv("WAIFU2X_CUDA", "yes")
    with pytest.raises(SystemExit, match="WAIFU2X_CUDA is 'yes'; it must be 0, 1 or not set"):
        build_cuda.decision()


@pytest.mark.parametrize(
    ("gpus", "archs"),
    [
        ("", ["80"]),  # no driver: PTX for Ampere and newer
        ("9.0\n9.0\n", ["90"]),
        ("8.9\n7.5\n", ["75", "89"]),
        ("12.3\n", ["90"]),  # newer than the toolkit
        ("6.1\n", ["80"]),  # too old for the kernels
    ],
)
def test_kernels_are_built_for_the_gpus_that_are_there(
    build_cuda: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    gpus: str, archs: list[str],
) -> None:  # fmt: skip
    nvcc = tmp_path / "nvcc"
    listed = " ".join(f"compute_{arch}" for arch in (61, 75, 80, 86, 89, 90))
    nvcc.write_text(f"#!/bin/sh\nprintf '%s\\n' {listed}\n")
    if gpus:
        (tmp_path / "gpus").write_text(gpus)
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\nexec /bin/cat {tmp_path}/gpus\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("WAIFU2X_CUDA_ARCHS", raising=False)
    native = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    ptx = f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}"
    assert build_cuda._code(str(nvcc)) == [*native, ptx]
    monkeypatch.setenv("WAIFU2X_CUDA_ARCHS", "75,86")
    assert [flag[-5:] for flag in build_cuda._code(str(nvcc))] == ["sm_75", "sm_86", "te_86"]


def test_the_command_tells_whether_there_are_cuda_kernels(tmp_path: Path) -> None:
    last = waifu2x("models", cwd=tmp_path).stdout.splitlines()[-1]
    assert last.startswith(f"CPU kernels: {kernels.isa()}; CUDA kernels: ")
    assert ("not built" in last) is not kernels.cuda_built()


@pytest.mark.skipif(os.name == "nt", reason="MSVC reports a missing compiler itself")
def test_a_missing_compiler_is_one_line(tmp_path: Path) -> None:
    """The hint is the last line of the build, which pip shows."""
    missing = str(tmp_path / "none")
    result = subprocess.run(
        [sys.executable, "setup.py", "-q", "build", "--build-base", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "CC": missing, "CXX": missing, "WAIFU2X_CUDA": "0"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: no C++ compiler works here; install one: `apt install g++`")


def test_metadata_names_the_versions_that_are_allowed() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    (oldest,) = re.findall(r'^requires-python = ">=3\.(\d+)"$', text, re.MULTILINE)
    assert re.findall(r"Python :: 3\.(\d+)", text)[0] == oldest


@pytest.mark.skipif(
    not os.environ.get("CI"), reason="downloads the backend; runs with CI=true, as in .ci/run"
)
def test_the_function_for_vapoursynth_is_built_outside_its_folder(tmp_path: Path) -> None:
    """A folder `build` that stays would give its old files to the next installation."""
    source = tmp_path / "source"
    shutil.copytree(
        ROOT / "integrations/vapoursynth", source, ignore=shutil.ignore_patterns("__pycache__")
    )
    before = sorted(source.rglob("*"))
    # VapourSynth needs a newer Python than this may be; the build does not.
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--ignore-requires-python"]
    subprocess.run([*pip, "-w", tmp_path, source], check=True)
    assert sorted(source.rglob("*")) == before
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert names == {"waifu2x_vs.py"}
        assert archive.read("waifu2x_vs.py") == (source / "waifu2x_vs.py").read_bytes()
