from __future__ import annotations

import math
import os
import stat
import sys
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers.families import needs

from waifu2x import engines
from waifu2x.errors import ArgumentError, EncodeError, EngineError, OutputExistsError
from waifu2x.network import export, registry
from waifu2x.network.export import Export, export_network
from waifu2x.network.writers import onnx as writer

EVERY = [
    pytest.param(
        model.name,
        network.scale,
        network.noise,
        id=f"{model.name}-{network.scale}x-{network.noise}",
        marks=needs(model.name),
    )
    for model in registry.models()
    for network in model.networks
    # The same operators as realesrgan_anime, at three times the cost.
    if model.name != "realesrgan"
]

FAMILIES = [("upconv_7", 2), ("upconv_7_photo", 2), ("cunet", 2), ("cunet", 1)]


def run(path: Path, batch: np.ndarray) -> np.ndarray:
    """Run the file with only NumPy and onnxruntime."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert given.type == made.type == "tensor(float)"
    (result,) = session.run(None, {given.name: batch})
    return result


@cache
def picture(height: int, width: int) -> np.ndarray:
    made = np.random.default_rng((height, width)).random((1, 3, height, width), np.float32)
    made[:, :, : height // 3] = 1
    made[:, :, height // 2 :, : width // 2] = 0
    return made


@cache
def expected(model: str, scale: int, noise: int | None, height: int, width: int) -> np.ndarray:
    """Run the network in torch on a picture padded with its edge by the margin."""
    network = registry.model(model).network(scale, noise)
    assert network is not None
    graph = registry.load(network)
    border = graph.border
    padded = np.pad(
        picture(height, width), ((0, 0), (0, 0), (border, border), (border, border)), mode="edge"
    )
    surplus = (border - graph.lost) * scale
    inside = slice(surplus, -surplus or None)
    return engines.create("torch").compile(graph).run(padded)[:, :, inside, inside]


def psnr(got: np.ndarray, want: np.ndarray) -> float:
    error = float(np.mean(np.square(got.astype(np.float64) - want)))
    return math.inf if error == 0 else -10 * math.log10(error)


@pytest.mark.parametrize(("model", "scale", "noise"), EVERY)
def test_every_network_runs_outside_as_it_does_here(
    tmp_path: Path, model: str, scale: int, noise: int | None
) -> None:
    path = tmp_path / "network.onnx"
    made = export_network(path, model=model, scale=scale, noise=noise)
    assert [entry.name for entry in tmp_path.iterdir()] == ["network.onnx"]
    got = run(path, picture(16, 20))
    assert got.shape == (1, 3, 16 * scale, 20 * scale)
    want = expected(model, scale, noise, 16, 20)
    # Real-CUGAN PRO returns values far beyond [0, 1] for noise, and rounding is relative.
    largest = max(1, np.abs(want).max()) if model == "realcugan_pro" else 1
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * largest)
    assert made.path == path
    assert 0 < made.error <= export.FLOAT32_TOLERANCE
    assert made.psnr > 80


@pytest.mark.parametrize(("model", "scale"), FAMILIES)
def test_half_precision_is_smaller_and_close(tmp_path: Path, model: str, scale: int) -> None:
    half, full = tmp_path / "half.onnx", tmp_path / "full.onnx"
    made = export_network(half, model=model, scale=scale, noise=1, fp16=True)
    export_network(full, model=model, scale=scale, noise=1)
    assert half.stat().st_size < 0.55 * full.stat().st_size
    assert psnr(run(half, picture(32, 40)), expected(model, scale, 1, 32, 40)) >= 60
    assert made.psnr >= export.FLOAT16_PSNR
    # The file contains no float32 arithmetic.
    assert made.psnr < 110


@pytest.mark.parametrize(("model", "scale"), FAMILIES)
@pytest.mark.parametrize("fp16", [False, True])
def test_a_fixed_size_takes_that_size_only(
    tmp_path: Path, model: str, scale: int, fp16: bool
) -> None:
    path = tmp_path / "fixed.onnx"
    export_network(path, model=model, scale=scale, noise=0, size=(16, 20), fp16=fp16)
    got = run(path, picture(16, 20))
    assert got.shape == (1, 3, 16 * scale, 20 * scale)
    assert psnr(got, expected(model, scale, 0, 16, 20)) >= 60
    with pytest.raises(Exception, match="invalid dimensions"):
        run(path, picture(20, 20))


@pytest.mark.parametrize(("model", "scale", "alignment"), [("cunet", 2, 2), ("cunet", 1, 4)])
def test_sizes_off_the_alignment_are_refused_with_it(
    tmp_path: Path, model: str, scale: int, alignment: int
) -> None:
    path = tmp_path / "a.onnx"
    for size in ((16, 17), (17, 16), (alignment + 1, alignment), (0, 16), (16, -4)):
        with pytest.raises(
            ArgumentError, match=rf"`size` is {size[0]}x{size[1]}; .*multiples of {alignment} px"
        ):
            export_network(path, model=model, scale=scale, noise=0, size=size)
    assert list(tmp_path.iterdir()) == []
    # The smallest size equals the alignment.
    made = export_network(path, model=model, scale=scale, noise=0, size=(alignment, alignment))
    assert made.alignment == alignment
    assert run(path, picture(alignment, alignment)).shape[2:] == (alignment * scale,) * 2


@pytest.mark.parametrize("opset", [13, 21])
def test_opset_is_that_asked_for(tmp_path: Path, opset: int) -> None:
    path = tmp_path / "a.onnx"
    export_network(path, model="upconv_7", opset=opset)
    assert [one.version for one in onnx.load(path).opset_import] == [opset]
    np.testing.assert_allclose(
        run(path, picture(16, 20)), expected("upconv_7", 2, None, 16, 20), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("opset", [12, 22, 0])
def test_other_opsets_are_refused(tmp_path: Path, opset: int) -> None:
    with pytest.raises(ArgumentError, match=f"opset is {opset}; it must be 13 to 21"):
        export_network(tmp_path / "a.onnx", model="upconv_7", opset=opset)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("noise", "written"), [(None, "none"), (2, "2")])
def test_metadata_says_what_a_caller_must_know(
    tmp_path: Path, noise: int | None, written: str
) -> None:
    path = tmp_path / "a.onnx"
    made = export_network(path, noise=noise)
    assert (made.scale, made.margin, made.alignment) == (2, 18, 2)
    found = {one.key: one.value for one in onnx.load(path).metadata_props}
    source = registry.model("cunet").source
    assert found == {
        "model": "cunet",
        "scale": "2",
        "noise": written,
        "margin": "18",
        "alignment": "2",
        "padding": "edge, inside the model",
        "format": "NCHW float32 RGB [0, 1]",
        "license": "MIT",
        "source": source,
    }


# --- files ----------------------------------------------------------------------------------------


def upconv(path: Path | str, *, overwrite: bool = False) -> Export:
    return export_network(path, model="upconv_7", overwrite=overwrite)


def test_an_existing_file_is_kept_unless_overwriting(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"precious")
    with pytest.raises(OutputExistsError, match=r"a\.onnx exists"):
        upconv(path)
    assert path.read_bytes() == b"precious"
    upconv(path, overwrite=True)
    assert run(path, picture(4, 4)).shape == (1, 3, 8, 8)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.onnx"]


@pytest.mark.parametrize("name", ["a", "a.onnx.bak", "a.png", "onnx"])
def test_another_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArgumentError, match=r"must end in \.onnx"):
        upconv(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_text_path_and_a_suffix_in_capitals_are_taken(tmp_path: Path) -> None:
    made = upconv(str(tmp_path / "A.ONNX"))
    assert made.path == tmp_path / "A.ONNX"
    assert made.path.is_file()


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncodeError, match=r"missing.a\.onnx: .* does not exist"):
        upconv(tmp_path / "missing" / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_way_is_refused_even_when_overwriting(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").mkdir()
    with pytest.raises(EncodeError, match=r"a\.onnx"):
        upconv(tmp_path / "a.onnx", overwrite=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.onnx"]


@pytest.mark.skipif(sys.platform == "win32", reason="no file modes on Windows")
def test_the_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    made = upconv(tmp_path / "a.onnx")
    assert stat.S_IMODE(made.path.stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)


@pytest.mark.parametrize("existing", [None, b"precious"])
def test_a_file_that_does_not_check_out_never_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: bytes | None
) -> None:
    """If the reference differs slightly, the export fails."""
    path = tmp_path / "a.onnx"
    if existing is not None:
        path.write_bytes(existing)
    true = export.evaluate
    monkeypatch.setattr(export, "evaluate", lambda graph, batch: true(graph, batch) + 2e-4)
    with pytest.raises(
        EngineError, match=r"is [12]\.\d+e-04 off .*\(0\.0001\), and was not written"
    ):
        upconv(path, overwrite=True)
    if existing is None:
        assert list(tmp_path.iterdir()) == []
    else:
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.onnx"]
        assert path.read_bytes() == existing


def test_half_precision_that_does_not_check_out_never_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = export.evaluate
    monkeypatch.setattr(export, "evaluate", lambda graph, batch: true(graph, batch) + 2e-3)
    with pytest.raises(EngineError, match=r"allowed \(60 dB\), and was not written"):
        export_network(tmp_path / "a.onnx", model="upconv_7", fp16=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("fp16", "advice"), [(False, ""), (True, "; leave out `fp16=True`")])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_network_that_overflows_never_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fp16: bool, advice: str, value: float
) -> None:
    true = export._run
    monkeypatch.setattr(export, "_run", lambda model, picture: true(model, picture) + value)
    with pytest.raises(EngineError) as caught:
        export_network(tmp_path / "a.onnx", model="upconv_7", fp16=fp16)
    assert str(caught.value) == (
        "the exported network returns values that are not finite for a test picture, and was "
        f"not written{advice}"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_onnxruntime_refuses_never_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = onnx.ModelProto()
    monkeypatch.setattr(writer, "to_onnx", lambda *_, **__: proto)
    with pytest.raises(EngineError, match="onnxruntime cannot run the exported network: "):
        upconv(tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_behind_when_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "evaluate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        upconv(tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_rename_is_an_encode_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("replace", "rename", "link"):
        monkeypatch.setattr(os, name, refuse)
    with pytest.raises(EncodeError, match=r"a\.onnx"):
        upconv(tmp_path / "a.onnx", overwrite=True)
    assert list(tmp_path.iterdir()) == []


# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "scale", "noise", "message"),
    [
        ("cunet", 4, None, "model cunet has no network for 4x, noise none; use 1x 0, 1x 1"),
        ("cunet", 1, None, "no network for 1x, noise none; use .*2x none"),
        (
            "upconv_7",
            1,
            0,
            "model upconv_7 has no network for 1x, noise 0; use 2x none, 2x 0",
        ),
        ("upconv_7", 2, 4, "no network for 2x, noise 4"),
        ("nope", 2, None, "model 'nope' is unknown"),
    ],
)
def test_networks_that_do_not_exist_are_refused(
    tmp_path: Path, model: str, scale: int, noise: int | None, message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        export_network(tmp_path / "a.onnx", model=model, scale=scale, noise=noise)
    assert list(tmp_path.iterdir()) == []
