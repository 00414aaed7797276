"""``waifu2x devices``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.command import importable, waifu2x

vulkan_devices = pytest.importorskip("waifu2x.engines.vulkan_devices", exc_type=ImportError)

HAS_VULKAN = bool(vulkan_devices.gpus())


def test_every_device_is_listed_with_its_verdict(tmp_path: Path) -> None:
    done = waifu2x("devices", "-m", "upconv_7", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["model"] == "upconv_7"
    native, *others = found["devices"]
    assert (native["engine"], native["device"], native["passed"]) == ("native", "cpu", None)
    assert native["seconds"] > 0
    assert {each["engine"] for each in others} == {"cuda", "vulkan", "onnx"}
    assert sum(each["chosen"] for each in found["devices"]) == 1
    for each in others:
        assert each["problem"] or each["passed"] is not None


@pytest.mark.skipif(not HAS_VULKAN, reason="there is no Vulkan device")
def test_a_software_driver_is_right_and_never_chosen(tmp_path: Path) -> None:
    found = json.loads(waifu2x("devices", "-m", "upconv_7", "--json", cwd=tmp_path).stdout)
    software = [each for each in found["devices"] if each["software"]]
    assert software
    for each in software:
        assert (each["passed"], each["chosen"], each["problem"]) == (True, False, "")
        assert each["error"] <= 2
        assert each["seconds"] > 0


def test_the_table(tmp_path: Path) -> None:
    done = waifu2x("devices", "-m", "upconv_7", cwd=tmp_path)
    header, native, *rest = done.stdout.splitlines()
    assert header.split() == ["engine", "device", "name", "result", "s/MP"]
    assert native.startswith("native  cpu ")
    assert " reference " in native
    assert "torch finds no CUDA device" in done.stdout or "cuda:0" in done.stdout
    if HAS_VULKAN:
        assert "software, never chosen by auto" in done.stdout
        assert any(" right to " in line for line in rest)


def test_a_library_that_cannot_be_imported_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so: cannot open')")
    done = waifu2x("devices", "-m", "upconv_7", "--json", cwd=tmp_path, env=importable(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    found = {each["engine"]: each for each in json.loads(done.stdout)["devices"]}
    assert found["cuda"]["problem"] == "cannot be loaded: libcudart.so: cannot open"
    assert {"native", "vulkan", "onnx"} <= set(found)


def test_wrong_arguments(tmp_path: Path) -> None:
    for options, said in (
        (["-m", "cunett"], "model 'cunett' is unknown (did you mean cunet?)"),
        (["--threads", "0"], "threads is 0; it must be a whole number"),
        (["x"], "argument 'x' is one too many for waifu2x devices"),
    ):
        done = waifu2x("devices", *options, cwd=tmp_path)
        assert done.returncode == 2
        assert said in done.stderr
