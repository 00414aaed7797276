"""Runs the command as a process and checks exit code, streams and files."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers import art
from helpers.command import WAIFU2X, ended, importable, on_terminal, started, waifu2x, wait_for
from helpers.torch_networks import Compact
from helpers.weight_files import torch_bytes
from PIL import Image

from waifu2x.network import registry


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    art.anime_face(24, 20).save(tmp_path / "in.png")
    art.anime_face(24, 20).save(tmp_path / "in.jpg", quality=75)
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_main_job(folder: Path) -> None:
    art.anime_face(192, 160).save(folder / "face.png")
    result = waifu2x("face.png", "out.png", cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) == 1
    assert re.search(
        r"out\.png: 192x160 -> 384x320 px, cunet, noise none \(.*lossless", result.stdout
    )
    truth = np.asarray(art.anime_face(384, 320), float)

    def error(image: Image.Image) -> float:
        return float(np.square(np.asarray(image, float) - truth).mean())

    bicubic = Image.open(folder / "face.png").resize((384, 320), Image.Resampling.BICUBIC)
    assert error(Image.open(folder / "out.png")) < error(bicubic) / 2


def test_auto_noise_says_what_and_why(folder: Path) -> None:
    result = waifu2x("in.jpg", "out.png", "-m", "upconv_7", cwd=folder)
    assert result.returncode == 0
    assert "noise 1 (" in result.stdout
    assert "quality 75" in result.stdout


def test_output_left_out_or_a_directory(folder: Path) -> None:
    assert waifu2x("in.png", "-m", "upconv_7", cwd=folder).returncode == 0
    assert (folder / "in_waifu2x.png").exists()
    (folder / "sub").mkdir()
    assert waifu2x("in.jpg", "sub", "-m", "upconv_7", cwd=folder).returncode == 0
    assert names(folder / "sub") == ["in.png"]


def test_options_reach_the_picture(folder: Path) -> None:
    args = ["-s", "1.5", "-n", "-1", "-m", "upconv_7", "-e", "torch", "-t", "8", "-x",
            "-f", "webp", "-q", "80", "--threads", "1", "--quiet"]  # fmt: skip
    result = waifu2x(*args, "in.png", cwd=folder)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    with Image.open(folder / "in_waifu2x.webp") as image:
        assert (image.format, image.size) == ("WEBP", (36, 30))


def test_nothing_to_do_is_said(folder: Path) -> None:
    result = waifu2x("in.png", "out.png", "-s", "1", cwd=folder)
    assert result.returncode == 0
    assert "nothing to enlarge or denoise" in result.stdout
    with Image.open(folder / "out.png") as ours, Image.open(folder / "in.png") as given:
        assert ours.tobytes() == given.tobytes()


@pytest.mark.parametrize("options", [["-t", "16"], ["-m", "upconv_7", "-s", "16"]])
def test_interrupting_leaves_nothing(folder: Path, options: list[str]) -> None:
    """Ctrl-C during the work sets the exit code and leaves no file and no traceback."""
    art.anime_face(512, 512).save(folder / "big.png")
    before = names(folder)
    process = started("big.png", "out.png", *options, "--verbose", cwd=folder)
    wait_for(process.stderr, "pass over")  # the work has begun
    process.send_signal(signal.SIGINT)
    out, rest = ended(process)
    assert process.returncode == 130
    assert out == ""
    assert "Error" not in rest
    assert "Traceback" not in rest
    assert names(folder) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_processor_takes_over_with_one_line(folder: Path) -> None:
    said = "torch finds no CUDA device: using engine native on the CPU\n"
    for options in (
        ["-d", "cuda:0"],
        ["-e", "cuda", "--fp32"],
        ["-e", "cuda", "-d", "cuda:0,cuda:1"],
    ):
        result = waifu2x("in.png", "out.png", "--overwrite", *options, cwd=folder)
        assert (result.returncode, result.stderr) == (0, said)
    result = waifu2x("in.png", "quiet.png", "-e", "cuda", "--quiet", cwd=folder)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    (folder / "in").mkdir()
    (folder / "in.png").rename(folder / "in" / "1.png")
    result = waifu2x("in", "out", "-d", "cuda:0", cwd=folder)
    assert (result.returncode, result.stderr) == (0, said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-d", "gpu"], "device is 'gpu'"),
        (["-e", "native", "-d", "cuda:0"], "device is 'cuda:0', and engine native runs on cpu"),
        (["-e", "cuda", "-d", "cpu"], "device is 'cpu', and engine cuda runs on cuda"),
    ],
)
def test_a_device_that_cannot_be_is_one_line(folder: Path, options: list[str], said: str) -> None:
    result = waifu2x("in.png", "out.png", *options, cwd=folder)
    assert result.returncode == 2
    assert result.stderr.startswith(f"Error: {said}")
    assert len(result.stderr.splitlines()) == 1
    assert not (folder / "out.png").exists()


def test_width_and_height(folder: Path) -> None:
    waifu2x("in.png", "w.png", "--width", "60", "-m", "upconv_7", cwd=folder)
    waifu2x("in.png", "b.png", "--width", "60", "--height", "9", "-m", "upconv_7", cwd=folder)
    assert Image.open(folder / "w.png").size == (60, 50)
    assert Image.open(folder / "b.png").size == (60, 9)


def test_options_may_come_first_and_names_may_be_any(folder: Path) -> None:
    target = folder / "結果 - 1.png"
    assert waifu2x("-m", "upconv_7", "in.png", target, cwd=folder).returncode == 0
    assert target.exists()


def test_verbose_talks_on_stderr(folder: Path) -> None:
    result = waifu2x("in.png", "out.png", "-m", "upconv_7", "--verbose", cwd=folder)
    assert "upconv_7" in result.stderr
    assert "24x20 px" in result.stderr
    assert len(result.stdout.splitlines()) == 1


def test_progress_bar_on_a_terminal(folder: Path) -> None:
    art.anime_face(900, 900).save(folder / "large.png")  # takes longer than the bar waits
    code, _, shown = on_terminal("large.png", "out.png", "-m", "upconv_7", cwd=folder)
    assert code == 0
    assert "%" in shown
    assert "large.png" in shown
    code, _, shown = on_terminal("in.png", "-m", "upconv_7", "-t", "8", "--quiet", cwd=folder)
    assert (code, shown) == (0, "")


#: Arguments, a part of the message, and the exit code.
FAILURES = {
    "missing": (["gone.png", "out.png"], "gone.png does not exist", 1),
    "missing, with an old result": (["gone.png", "in.jpg"], "gone.png does not exist", 1),
    "missing, in place": (["gone", "gone", "-r"], "gone does not exist", 1),
    "missing, for a folder": (["gone", "results", "-r"], "gone does not exist", 1),
    "missing, several": (["gone", "missing", "results"], "does not exist", 1),
    "missing, with a slash": (["gone/", "results"], "gone does not exist", 1),
    "an address": (
        ["https://example.com/a.png", "out.png"],
        "https://example.com/a.png is an address on the network; download it first",
        1,
    ),
    "a new folder with a slash": (["in.png", "new/"], "directory new does not exist; create", 1),
    "a new folder": (["in.png", "new"], "directory new does not exist; create it first", 1),
    "empty": (["empty.png", "out.png"], "empty", 1),
    "truncated": (["truncated.png", "out.png"], "truncated.png", 1),
    "corrupt": (["corrupt.png", "out.png"], "corrupt.png", 1),
    # libtiff prints a message.
    "damaged TIFF": (["damaged.tif", "out.png"], "damaged.tif", 1),
    "no picture": (["text.png", "out.png"], "not a picture", 1),
    "an empty folder": (["sub", "results"], "holds no picture", 1),
    "a folder without OUTPUT": (["sub"], "sub is a folder; give an output folder", 2),
    "a pattern without OUTPUT": (["*.png"], "*.png is a pattern; give an output folder", 2),
    "zero scale": (["in.png", "out.png", "-s", "0"], "scale is 0", 2),
    "negative scale": (["in.png", "out.png", "-s", "-2"], "scale is -2", 2),
    "no number": (["in.png", "out.png", "-s", "nan"], "scale is nan", 2),
    "zero width": (["in.png", "out.png", "--width", "0"], "width is 0", 2),
    "missing directory": (["in.png", "gone/out.png"], "directory gone does not exist", 1),
    "file as directory": (["in.png", "in.jpg/out.png"], "in.jpg is not a directory", 1),
    "unknown extension": (["in.png", "out.xyz"], "xyz", 2),
    "unknown format": (["in.png", "out.png", "-f", "pcx"], "pcx", 2),
    "another extension": (["in.png", "out.png", "-f", "jpeg"], "contradict each other", 2),
    "another extension, animated": (["in.gif", "out.png", "-f", "webp"], "contradict", 2),
    "two names": (["in.png", "out.png", "--name", "{stem}_x{ext}"], "give one of them", 2),
    "too wide for WebP": (["wide.png", "out.webp", "-s", "2"], "16383", 1),
    "too wide for JPEG": (["wide.png", "out.jpg", "-s", "8"], "65500", 1),
    "exists": (["in.png", "in.jpg"], "--overwrite", 1),
    "the input": (["in.png", "in.png"], "is the input itself, which is never replaced", 1),
    "the input, overwriting": (["in.png", "./in.png", "--overwrite"], "the input itself", 1),
    "negative tile": (["in.png", "out.png", "-t", "-1"], "tile is -1", 2),
    "no threads": (["in.png", "out.png", "--threads", "0"], "threads is 0", 2),
    "bad quality": (["in.png", "out.jpg", "-q", "101"], "quality is 101", 2),
    "quality of a PNG": (["in.png", "-q", "90"], "quality is 90", 2),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures_are_one_clear_line(folder: Path, name: str) -> None:
    args, message, code = FAILURES[name]
    data = (folder / "in.png").read_bytes()
    (folder / "empty.png").touch()
    (folder / "truncated.png").write_bytes(data[: len(data) // 2])
    middle = len(data) // 2
    (folder / "corrupt.png").write_bytes(data[:middle] + b"\xff" * 40 + data[middle + 40 :])
    (folder / "text.png").write_text("this is no picture")
    art.anime_face(64, 64).save(folder / "whole.tif", compression="tiff_lzw")
    tiff = bytearray((folder / "whole.tif").read_bytes())
    tiff[900:930] = b"\xff" * 30
    (folder / "damaged.tif").write_bytes(tiff)
    (folder / "sub").mkdir()
    Image.new("L", (8200, 1)).save(folder / "wide.png")
    before = names(folder)
    result = waifu2x(*args, cwd=folder)
    assert result.returncode == code
    assert result.stdout == "" or name == "missing, several"
    lines = result.stderr.splitlines()
    assert len(lines) == (2 if name == "missing, several" else 1)
    assert all(line.startswith("Error: ") and message in line for line in lines)
    assert names(folder) == before
    assert (folder / "in.png").read_bytes() == data


def test_pixel_limit(folder: Path) -> None:
    env = {"WAIFU2X_MAX_PIXELS": "479"}
    result = waifu2x("in.png", "out.png", cwd=folder, env=env)
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert "24x20" in result.stderr
    assert "WAIFU2X_MAX_PIXELS" in result.stderr
    assert not (folder / "out.png").exists()


def test_a_bomb_is_refused_from_its_header(folder: Path) -> None:
    """A few bytes that declare 60000 x 60000 pixels must not be decoded."""
    data = bytearray((folder / "in.png").read_bytes())
    import struct
    import zlib

    data[16:24] = struct.pack(">II", 60000, 60000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (folder / "bomb.png").write_bytes(data)
    result = waifu2x("bomb.png", "out.png", cwd=folder)
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert "60000x60000" in result.stderr


def test_missing_torch_names_the_pip_command(folder: Path) -> None:
    (folder / "torch.py").write_text("raise ImportError('no torch here')")
    result = waifu2x("in.png", "out.png", "-e", "torch", cwd=folder, env=importable(folder))
    assert result.returncode == 1
    assert "pip install torch" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_version_and_models(folder: Path) -> None:
    assert re.fullmatch(
        r"waifu2x, version \d+\.\d+\.\d+\n", waifu2x("--version", cwd=folder).stdout
    )
    table = waifu2x("models", cwd=folder).stdout
    for word in ("cunet", "upconv_7", "upconv_7_photo", "none 0 1 2 3", "MIT"):
        assert word in table
    for model in registry.models():
        (line,) = re.findall(rf"^{model.name} .+$", table, re.MULTILINE)
        network = model.network(2, None) or model.network(4, None)
        assert network is not None
        if model.installed:
            assert f" {registry.load(network).macs_per_pixel / 1000:.0f}k " in line


def test_export_writes_a_model_that_says_what_it_needs(folder: Path) -> None:
    result = waifu2x("export", "-m", "upconv_7", "-n", "2", "x.onnx", "--fp16", cwd=folder)
    assert (result.returncode, result.stderr) == (0, "")
    model = onnx.load(folder / "x.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["scale"] == "2"
    assert metadata["margin"] == "7"
    assert metadata["alignment"] == "1"
    again = waifu2x("export", "-m", "upconv_7", "x.onnx", cwd=folder)
    assert (again.returncode, len(again.stderr.splitlines())) == (1, 1)
    assert waifu2x("export", "-s", "3", "y.onnx", cwd=folder).returncode == 2
    assert waifu2x("export", "--opset", "5", "y.onnx", cwd=folder).returncode == 2
    assert waifu2x("export", "--static", "33x20", "y.onnx", cwd=folder).returncode == 2
    assert not (folder / "y.onnx").exists()


def piped(*args: str, data: bytes, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [WAIFU2X, "-m", "upconv_7", *args], cwd=cwd, input=data, capture_output=True, timeout=300
    )


def test_pipes(folder: Path) -> None:
    data = (folder / "in.jpg").read_bytes()
    result = piped("-", "-", data=data, cwd=folder)
    assert result.returncode == 0
    assert result.stdout.startswith(b"\xff\xd8\xff"), "as the input, and nothing before it"
    assert b"standard output: 24x20 -> 48x40 px" in result.stderr
    assert result.stdout.endswith(b"\xff\xd9"), "and nothing behind it"
    result = piped("-", "-f", "webp", "--quiet", data=data, cwd=folder)
    assert (result.stdout[8:12], result.stderr) == (b"WEBP", b"")
    result = piped("-", "out.png", data=data, cwd=folder)
    assert (result.returncode, result.stderr) == (0, b"")
    assert Image.open(folder / "out.png").size == (48, 40)
    result = piped("in.png", "-", data=b"", cwd=folder)
    assert result.stdout[:4] == b"\x89PNG"


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\nhalf"])
def test_a_pipe_gets_nothing_of_a_failure(folder: Path, data: bytes) -> None:
    result = piped("-", "-", data=data, cwd=folder)
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.count(b"\n") == 1
    assert b"Traceback" not in result.stderr


def test_a_pipe_that_nobody_reads_is_one_line(folder: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run(
        [WAIFU2X, "in.png", "-", "-m", "upconv_7"],
        cwd=folder, stdout=write, stderr=subprocess.PIPE, timeout=300,
    )  # fmt: skip
    os.close(write)
    assert result.returncode == 1
    assert result.stderr.count(b"\n") == 1
    assert b"Broken pipe" in result.stderr


def test_a_picture_is_not_poured_into_a_terminal(folder: Path) -> None:
    master, slave = pty.openpty()
    result = subprocess.run(
        [WAIFU2X, "in.png", "-"], cwd=folder, stdout=slave, stderr=subprocess.PIPE, timeout=300
    )
    os.close(slave)
    os.close(master)
    assert result.returncode == 2
    assert b"is a terminal" in result.stderr


def test_options_of_what_is_written(folder: Path) -> None:
    os.utime(folder / "in.png", (1_000_000_000, 1_100_000_000))
    result = waifu2x("in.png", "out.png", "-m", "upconv_7", "--depth", "16", "--keep-times",
                     "--strip", cwd=folder)  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    header = (folder / "out.png").read_bytes()[:32]
    assert header[24] == 16
    assert (folder / "out.png").stat().st_mtime == 1_100_000_000
    result = waifu2x("in.png", "out.jpg", "--depth", "16", cwd=folder)
    assert result.returncode == 2
    assert "JPEG holds 8 bits" in result.stderr
    result = waifu2x("in.png", "out2.png", "--depth", "12", cwd=folder)
    assert result.returncode == 2
    assert "depth is 12; it must be 8 or 16" in result.stderr


def test_verbose_says_where_the_global_means_come_from(folder: Path) -> None:
    result = waifu2x("in.png", "out.png", "--verbose", "-e", "onnx", "-t", "16", cwd=folder)
    assert result.returncode == 0
    assert "global means: exact, over all of" in result.stderr


def test_the_models_of_the_user_are_listed_and_described(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = Compact(8, 1, 4)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "own.pth").write_bytes(torch_bytes(made.state_dict()))
    (tmp_path / "broken.pth").write_bytes(b"nothing")
    env = {"WAIFU2X_MODELS": str(tmp_path)}
    table = waifu2x("models", cwd=folder, env=env).stdout
    assert re.search(r"^sub/own +- +- +- +- +none +\dk +unknown +Compact$", table, re.MULTILINE)
    assert re.search(r"^broken .* see waifu2x info broken: broken.pth: no weights", table, re.M)
    listed = json.loads(waifu2x("models", "--json", cwd=folder, env=env).stdout)
    own = {each["name"]: each for each in listed}
    assert own["broken"]["error"].startswith("broken.pth: no weights file")
    assert own["sub/own"]["scales"][0]["scale"] == 4
    page = waifu2x("info", "sub/own", cwd=folder, env=env).stdout
    for text in ("Compact", "4x none", "native, onnx", str(tmp_path / "sub" / "own.pth")):
        assert text in page
    assert hashlib.sha256((tmp_path / "sub" / "own.pth").read_bytes()).hexdigest() in page
    result = waifu2x("in.png", "own.png", "-m", "sub/own", cwd=folder, env=env)
    assert result.returncode == 0, result.stderr
    assert ", own, noise none" in result.stdout
    with Image.open(folder / "in.png") as before, Image.open(folder / "own.png") as after:
        assert after.size == (4 * before.width, 4 * before.height)
    failed = waifu2x("in.png", "x.png", "-m", "broken", cwd=folder, env=env)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("Error: broken.pth: no weights file")


def test_a_file_with_the_name_of_a_model_does_not_replace_it(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cunet.pth").write_bytes(torch_bytes(Compact(8, 1, 4).state_dict()))
    (tmp_path / "two\nlines.pth").write_bytes(b"nothing")
    env = {"WAIFU2X_MODELS": str(tmp_path)}
    for given in ((), ("-m", "cunet")):
        result = waifu2x("in.png", "own.png", "--overwrite", *given, cwd=folder, env=env)
        assert result.returncode == 0, result.stderr
        with Image.open(folder / "in.png") as before, Image.open(folder / "own.png") as after:
            assert after.size == (2 * before.width, 2 * before.height)
    table = waifu2x("models", cwd=folder, env=env).stdout
    assert re.search(r"^cunet\.pth .*Compact$", table, re.MULTILINE)
    assert "\ntwo\\nlines " in table
    page = waifu2x("info", "cunet.pth", "--no-measure", cwd=folder, env=env).stdout
    assert "Compact" in page
    missing = {"WAIFU2X_MODELS": str(tmp_path / "missing")}
    assert waifu2x("in.png", "missing.png", cwd=folder, env=missing).returncode == 0


def test_a_drift_of_flat_colors_is_said(tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = Compact(8, 1, 2)
    with torch.no_grad():
        made.body[-1].weight *= 0.01
        made.body[-1].bias[:] = -6 / 255
    (tmp_path / "dark.pth").write_bytes(torch_bytes(made.state_dict()))
    page = waifu2x("info", "dark.pth", cwd=tmp_path).stdout
    assert "0, 122, 249" in page
    assert "flat areas change by up to 6 of 255; --color-fix keeps their color" in page
