"""Names and paths of model files."""

from __future__ import annotations

from pathlib import Path

import pytest

from waifu2x.errors import WeightsError
from waifu2x.network import model_files
from waifu2x.network.readers.file import read_file


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models, and a current folder without any."""
    models = tmp_path / "models"
    (models / "sub").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    monkeypatch.setenv(model_files.VARIABLE, str(models))
    monkeypatch.chdir(tmp_path / "here")
    return models


def test_names_are_paths_without_their_suffix(folder: Path) -> None:
    for name in ("b.pth", "a10.onnx", "a2.onnx", "sub/b.safetensors", "twice.pth", "twice.onnx",
                 "pair.param", "pair.bin", "readme.txt"):  # fmt: skip
        (folder / name).touch()
    assert list(model_files.in_folder().items()) == [
        ("a2", folder / "a2.onnx"),
        ("a10", folder / "a10.onnx"),
        ("b", folder / "b.pth"),
        ("pair", folder / "pair.param"),
        ("sub/b", folder / "sub/b.safetensors"),
        ("twice.onnx", folder / "twice.onnx"),
        ("twice.pth", folder / "twice.pth"),
    ]
    for name, path in model_files.in_folder().items():
        assert model_files.find(name) == str(path)
    assert model_files.find("b.pth") == str(folder / "b.pth")
    assert model_files.find("twice") is None
    assert model_files.find("readme") is None


def test_a_name_stands_for_one_file(folder: Path) -> None:
    for name in ("net.onnx", "net.pth", "net.pth.onnx", "net.pth.onnx.pt"):
        (folder / name).touch()
    found = model_files.in_folder()
    assert {name: path.name for name, path in found.items()} == {
        name: name for name in ("net.onnx", "net.pth", "net.pth.onnx", "net.pth.onnx.pt")
    }


def test_a_path_comes_before_a_name_in_the_folder(folder: Path) -> None:
    (folder / "net.pth").touch()
    Path("net.pth").touch()
    assert model_files.find("net.pth") == "net.pth"
    assert model_files.find("net") == str(folder / "net.pth")
    Path("net").touch()
    assert model_files.find("net") == "net"


@pytest.mark.parametrize("name", ["net.pth", "./net", "a/net", "/a/net", "NET.ONNX"])
def test_a_path_need_not_exist(folder: Path, name: str) -> None:
    assert model_files.find(name) == name


def test_a_path_that_cannot_be_looked_up() -> None:
    name = "n" * 5000
    assert model_files.find(name) is None
    assert model_files.find(f"{name}.pth") == f"{name}.pth"
    with pytest.raises(WeightsError, match="File name too long"):
        read_file(f"{name}.pth")


def test_the_weights_of_ncnn_stand_for_the_network(folder: Path) -> None:
    assert model_files.find("a/net.bin") == "a/net.bin"
    Path("a").mkdir()
    Path("a/net.param").touch()
    assert model_files.find("a/net.bin") == "a/net.param"


@pytest.mark.parametrize("name", ["net", "cunett", "", "net.txt"])
def test_other_words_are_no_files(folder: Path, name: str) -> None:
    assert model_files.find(name) is None


def test_without_the_variable_there_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (None, ""):
        monkeypatch.delenv(model_files.VARIABLE, raising=False)
        if value is not None:
            monkeypatch.setenv(model_files.VARIABLE, value)
        assert model_files.in_folder() == {}
        assert model_files.find("net") is None


@pytest.mark.parametrize("kind", ["missing", "a file"])
def test_a_folder_that_cannot_be_read(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "models"
    if kind == "a file":
        path.touch()
    monkeypatch.setenv(model_files.VARIABLE, str(path))
    with pytest.raises(WeightsError, match=r"cannot read the folder .* create it, or unset"):
        model_files.in_folder()
