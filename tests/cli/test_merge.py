"""``waifu2x merge``: files in, a file out, figures, and errors with the names of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import art
from helpers.weight_files import compact_file
from PIL import Image

from waifu2x.cli import main
from waifu2x.network.compare import same
from waifu2x.network.merging import linear
from waifu2x.network.readers.file import read_file


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a.pth, b.pth and pictures, which becomes the current one."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a.pth", "b.pth")):
        compact_file(tmp_path / name, seed=seed)
    (tmp_path / "pictures").mkdir()
    art.anime_face(41, 37).save("pictures/1.png")
    art.sprite(32).save("pictures/2.png")
    art.checker(24, 24).convert("L").save("pictures/10.png")
    Path("pictures/notes.txt").write_text("not a picture")
    return tmp_path


def merge(*words: str) -> list[str]:
    result = CliRunner().invoke(main, ["merge", *words])
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout.splitlines()


def refused(*words: str) -> str:
    result = CliRunner().invoke(main, ["merge", *words])
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    return result.stderr


@pytest.mark.parametrize("suffix", [".onnx", ".safetensors", ".param"])
def test_the_file_holds_the_merged_weights(folder: Path, suffix: str) -> None:
    (line,) = merge("a.pth", "b.pth", "-o", f"c{suffix}", "-w", "0.6,0.4")
    assert line.startswith(f"c{suffix}: linear merge of 2 networks 2x")
    expected = linear([read_file("a.pth"), read_file("b.pth")], [0.6, 0.4])
    assert same(read_file(f"c{suffix}"), expected)


def test_files_of_several_formats_are_merged(folder: Path) -> None:
    for suffix in (".onnx", ".safetensors", ".param"):
        merge("a.pth", "b.pth", "-o", f"c{suffix}", "-w", "1,1")
    merge("c.onnx", "c.safetensors", "c.param", "-o", "d.safetensors", "-w", "1,2,3")
    assert same(read_file("c.onnx"), read_file("d.safetensors"))


@pytest.mark.parametrize("method", ["linear", "slerp"])
def test_a_network_merged_with_itself_is_itself(folder: Path, method: str) -> None:
    merge("a.pth", "a.pth", "-o", "c.onnx", "-w", "0.3,0.7", "--method", method)
    merge("a.pth", "b.pth", "-o", "d.onnx", "-w", "1,0", "--method", method)
    for name in ("c.onnx", "d.onnx"):
        assert same(read_file(name), read_file("a.pth"))


def test_equal_commands_write_equal_bytes(folder: Path) -> None:
    compact_file(folder / "o.pth", seed=9)
    for name in ("c.safetensors", "d.safetensors"):
        merge("a.pth", "b.pth", "-o", name, "-w", "1,1",
              *("--method", "dare", "--base", "o.pth", "--density", "0.3"))  # fmt: skip
    assert Path("c.safetensors").read_bytes() == Path("d.safetensors").read_bytes()


def test_the_origin_is_recorded_without_folders(folder: Path) -> None:
    (folder / "secret").mkdir()
    compact_file(folder / "secret" / "o.pth", seed=9)
    merge("a.pth", "b.pth", "-o", "c.safetensors", "-w", "1,-0.5",
          *("--method", "dare", "--base", "secret/o.pth", "--density", "0.3"))  # fmt: skip
    data = Path("c.safetensors").read_bytes()
    assert b"secret" not in data
    for text in (b'"a.pth, b.pth"', b'"1, -0.5"', b'"dare"', b'"o.pth"', b'"0.3"', b'"0"'):
        assert text in data


def test_the_figures_of_parents_and_child(folder: Path) -> None:
    lines = merge("a.pth", "b.pth", "-o", "c.onnx", "-w", "1,1", "--eval", "pictures")
    assert lines[1].split() == ["PSNR", "SSIM"]
    rows = [line.split() for line in lines[2:5]]
    assert [row[-1] for row in rows] == ["a.pth", "b.pth", "c.onnx"]
    assert all(row[1] == "dB" and 0 < float(row[0]) < 60 for row in rows)
    assert all(-1 <= float(row[2]) <= 1 for row in rows)
    assert lines[5] == "mean of 3 pictures, shrunk by 2"
    again = merge("a.pth", "a.pth", "-o", "d.onnx", "-w", "1,1", "--eval", "pictures")
    assert (
        len({line.rpartition(" ")[0] for line in again[2:5]} | {lines[2].rpartition(" ")[0]}) == 1
    )


def test_the_base_is_compared_as_well(folder: Path) -> None:
    lines = merge("a.pth", "-o", "c.onnx", "-w", "1", "--eval", "pictures",
                  *("--method", "task", "--base", "b.pth"))  # fmt: skip
    assert [line.split()[-1] for line in lines[2:5]] == ["a.pth", "b.pth", "c.onnx"]
    assert lines[2].split()[:3] == lines[4].split()[:3]


def test_networks_that_differ_are_named(folder: Path) -> None:
    compact_file(folder / "wide.pth", seed=0, features=12)
    text = refused("a.pth", "wide.pth", "-o", "c.onnx", "-w", "1,1")
    assert text == (
        "Error: the networks differ: 'body.0' is Conv weight 8x3x3x3 bias 8 stride 1 padding 1, "
        "and 'body.0' is Conv weight 12x3x3x3 bias 12 stride 1 padding 1\n"
    )
    assert not Path("c.onnx").exists()


def test_nothing_is_written_if_a_picture_fails(folder: Path) -> None:
    Image.fromarray(np.zeros((9, 40, 3), np.uint8)).save("pictures/3.png")
    text = refused("a.pth", "b.pth", "-o", "c.onnx", "-w", "1,1", "--eval", "pictures")
    assert text == "Error: pictures/3.png is 40x9 px; --eval needs at least 12 px a side\n"
    Path("pictures/3.png").write_bytes(b"no picture")
    text = refused("a.pth", "b.pth", "-o", "c.onnx", "-w", "1,1", "--eval", "pictures")
    assert text.startswith("Error: pictures/3.png is not a picture")
    assert not Path("c.onnx").exists()
