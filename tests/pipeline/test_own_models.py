"""Models of the user: every format through the whole pipeline, on the engine that runs it."""

from __future__ import annotations

import io
import logging
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import art
from helpers.torch_networks import Compact, RRDBNet
from helpers.weight_files import safetensors_bytes, torch_bytes
from torch import nn
from torch.nn import functional as F

import waifu2x
from waifu2x.errors import ArgumentError, EngineError, GraphError, WeightsError
from waifu2x.network import model_files, registry
from waifu2x.network.architectures import build
from waifu2x.network.export import convert_network
from waifu2x.network.readers.file import read_file
from waifu2x.network.writers.onnx import to_onnx
from waifu2x.pipeline.measuring import FLAT, measure
from waifu2x.pipeline.options import UpscalerOptions
from waifu2x.pipeline.pipeline import Pipeline

PICTURE = np.asarray(art.anime_face(48, 40).convert("RGB"))


def compact(scale: int = 2) -> Compact:
    torch.manual_seed(0)
    return Compact(8, 2, scale)


def expected(module: nn.Module, picture: np.ndarray = PICTURE) -> np.ndarray:
    """What torch makes of a picture with a replicated border."""
    border = 16
    value = torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.no_grad():
        made = module(F.pad(value, [border] * 4, mode="replicate"))[0].permute(1, 2, 0).numpy()
    cut = border * made.shape[0] // (picture.shape[0] + 2 * border)
    inside = slice(cut, -cut)
    return np.floor(np.clip(made[inside, inside], 0, 1) * 255 + 0.5).astype(np.uint8)


def off(made: np.ndarray, wanted: np.ndarray) -> int:
    assert made.shape == wanted.shape
    return int(np.abs(made.astype(int) - wanted.astype(int)).max())


def files(module: nn.Module) -> dict[str, bytes]:
    state = module.state_dict()
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    return {
        "new.pth": torch_bytes({"params_ema": state}),
        "old.pt": torch_bytes(state, legacy=True),
        "a.safetensors": safetensors_bytes(arrays),
        "b.onnx": to_onnx(build(arrays)).SerializeToString(),
    }


def exported(module: nn.Module, channels: int = 3, *, dynamic_batch: bool = False) -> bytes:
    file = io.BytesIO()
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["y"], "dynamo": False}
    sides = {2: "h", 3: "w", **({0: "n"} if dynamic_batch else {})}
    names["dynamic_axes"] = {"x": sides, "y": sides}
    torch.onnx.export(module.eval(), (torch.zeros(1, channels, 16, 16),), file, **names)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("engine", ["native", "onnx", "torch"])
def test_every_format_gives_the_pixels_of_torch(engine: Any, tmp_path: Path) -> None:
    module = compact(3)
    for name, data in files(module).items():
        (tmp_path / name).write_bytes(data)
        made = waifu2x.upscale(PICTURE, model=tmp_path / name, engine=engine)
        assert off(made, expected(module)) <= 1, name


def test_the_scale_of_a_file_is_that_of_its_network(tmp_path: Path) -> None:
    (tmp_path / "four.pth").write_bytes(torch_bytes(compact(4).state_dict()))
    upscaler = waifu2x.Upscaler(tmp_path / "four.pth")
    assert upscaler.upscale(PICTURE).shape == (160, 192, 3)
    assert upscaler.upscale(PICTURE, 2).shape == (80, 96, 3)
    assert upscaler.upscale(PICTURE, 16).shape == (640, 768, 3)
    assert upscaler.upscale(PICTURE, width=100).shape[1] == 100
    with pytest.raises(ArgumentError, match="model four removes no noise"):
        upscaler.upscale(PICTURE, noise=1)


def test_a_restorer_runs_at_scale_1_and_leaves_alpha_alone(tmp_path: Path) -> None:
    module = compact(1)
    (tmp_path / "one.pth").write_bytes(torch_bytes(module.state_dict()))
    upscaler = waifu2x.Upscaler(tmp_path / "one.pth")
    made = upscaler.upscale(PICTURE)
    assert off(made, expected(module)) <= 1
    assert off(made, PICTURE) > 1
    alpha = np.random.default_rng(0).integers(0, 256, PICTURE.shape[:2], np.uint8)
    both = upscaler.upscale(np.dstack([PICTURE, alpha]))
    np.testing.assert_array_equal(both[..., 3], alpha)
    assert upscaler.upscale(PICTURE, 0.5).shape == (20, 24, 3)
    with pytest.raises(ArgumentError, match="no network that enlarges; give `scale=1`"):
        upscaler.upscale(PICTURE, 2)


def test_a_name_in_the_folder_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(model_files.VARIABLE, str(tmp_path))
    (tmp_path / "mine.pth").write_bytes(torch_bytes(compact().state_dict()))
    options = UpscalerOptions("mine")
    assert options.model == str(tmp_path / "mine.pth")
    assert options.name == "mine"
    assert UpscalerOptions("cunet").name == "cunet"
    assert waifu2x.upscale(PICTURE, model="mine").shape == (80, 96, 3)
    with pytest.raises(ArgumentError, match=r"'min' is unknown \(did you mean mine\?\).*, mine"):
        UpscalerOptions("min")
    (tmp_path / "broken.pth").write_bytes(b"nothing")
    own = registry.in_folder()
    assert isinstance(own["broken"], GraphError)
    assert own["mine"].networks[0].scale == 2


def test_a_model_file_is_described(tmp_path: Path) -> None:
    torch.manual_seed(0)
    (tmp_path / "net.pth").write_bytes(torch_bytes(RRDBNet(8, 2, 4, 2).state_dict()))
    model = registry.model(str(tmp_path / "net.pth"))
    assert (model.name, model.family, model.license) == ("net", "ESRGAN", "unknown")
    assert model.source == str(tmp_path / "net.pth")
    assert (model.scales, model.default_scale) == ((4,), 4)
    assert (model.packages, model.installed) == ((), True)
    graph = registry.load(model.networks[0])
    assert graph.parameters == sum(each.numel() for each in RRDBNet(8, 2, 4, 2).parameters())
    cunet = registry.model("cunet")
    param = registry._locate(cunet.network(2, None).files[0])
    copied = [tmp_path / "x.param", tmp_path / "x.bin"]
    for source, target in zip((param, param.with_suffix(".bin")), copied, strict=True):
        target.write_bytes(source.read_bytes())
    known = registry.model(str(copied[0]))
    assert (known.family, known.license) == ("cunet", "MIT")
    assert known.description == "the weights of cunet"
    weights = {name: tensor.numpy() for name, tensor in compact().state_dict().items()}
    metadata = {"license": "CC-BY-4.0"}
    (tmp_path / "m.safetensors").write_bytes(safetensors_bytes(weights, metadata=metadata))
    assert registry.model(str(tmp_path / "m.safetensors")).license == "CC-BY-4.0"
    made = convert_network(tmp_path / "x.bin", tmp_path / "y.safetensors")
    assert registry.model(str(made.path)).family == "cunet"


@pytest.mark.parametrize(
    ("name", "data", "error", "match"),
    [
        ("none.pth", None, WeightsError, r"cannot read weights .*none\.pth: No such file"),
        ("text.pth", b"hello", GraphError, r"text\.pth: no weights file; supported are ncnn"),
        ("zip.pth", b"PK\x03\x04" + bytes(40), GraphError, r"zip\.pth: "),
    ],
)
def test_a_file_that_is_no_model(
    name: str, data: bytes | None, error: type[Exception], match: str, tmp_path: Path
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    options = UpscalerOptions(tmp_path / name)  # does not open the file
    with pytest.raises(error, match=match):
        Pipeline(options)


# --- one engine only --------------------------------------------------------------------------


class Gelu(nn.Module):
    """Has an operation that no reader knows."""

    def __init__(self, scale: int = 2, channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.scale = scale
        self.first = nn.Conv2d(channels, 8, 3, padding=1)
        self.last = nn.Conv2d(8, channels * scale**2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pixel_shuffle(self.last(F.gelu(self.first(x))), self.scale)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("batch", ["fixed", "dynamic"])
def test_an_onnx_model_with_other_operations_runs_on_onnx(
    batch: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "gelu.onnx"
    path.write_bytes(exported(Gelu(), dynamic_batch=batch == "dynamic"))
    with pytest.raises(GraphError, match="Gelu"):
        read_file(path)
    with caplog.at_level(logging.DEBUG, "waifu2x"):
        upscaler = waifu2x.Upscaler(path)
    assert upscaler.pipeline.engine.name == "onnx"
    assert "Gelu" in caplog.text
    assert "engine onnx runs the file as it is" in caplog.text
    assert off(upscaler.upscale(PICTURE), expected(Gelu())) <= 1
    tiled = waifu2x.upscale(PICTURE, model=path, tile=16)
    assert off(tiled, expected(Gelu())) <= 1
    for engine in ("native", "torch", "cuda"):
        with pytest.raises(EngineError, match="runs on engine onnx only; choose `engine='onnx'`"):
            waifu2x.Upscaler(path, engine=engine)
    found = waifu2x_engines(path)
    assert found["onnx"] is None
    assert "engine onnx only" in found["native"]


def waifu2x_engines(path: Path) -> dict[str, Any]:
    from waifu2x import engines

    return engines.obstacles(engines.read_model(path))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_onnx_model_of_gray_with_other_operations_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gray.onnx"
    path.write_bytes(exported(Gelu(channels=1), 1))
    with pytest.raises(GraphError, match=r"gray\.onnx: the model takes 1 channel"):
        waifu2x.Upscaler(path)


# --- spandrel -----------------------------------------------------------------------------------


@pytest.fixture
def spandrel(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package; what it imports of torchvision is replaced if torchvision fits another torch."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        functional = types.ModuleType("torchvision.transforms.functional")
        functional.__dict__.update(InterpolationMode=object, rotate=None, normalize=None)
        for name in ("torchvision", "torchvision.transforms"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        monkeypatch.setitem(sys.modules, functional.__name__, functional)
    return pytest.importorskip("spandrel")


@pytest.mark.parametrize("layout", ["pth", "safetensors"])
def test_other_architectures_run_with_spandrel(spandrel: Any, layout: str, tmp_path: Path) -> None:
    from spandrel.architectures.RCAN import RCAN

    torch.manual_seed(0)
    module = RCAN(scale=2, n_resgroups=1, n_resblocks=1, n_feats=16, reduction=4).eval()
    state = module.state_dict()
    path = tmp_path / f"rcan.{layout}"
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    path.write_bytes(torch_bytes(state) if layout == "pth" else safetensors_bytes(arrays))
    model = registry.model(str(path), read=_read_model)
    assert (model.family, model.only_engine, model.scales) == ("RCAN", "torch", (2,))
    upscaler = waifu2x.Upscaler(path)
    assert upscaler.pipeline.engine.name == "torch"
    reference = spandrel.ModelLoader().load_from_state_dict(dict(state))
    assert off(upscaler.upscale(PICTURE), expected(reference)) <= 1
    for engine in ("native", "onnx"):
        with pytest.raises(EngineError, match="runs on engine torch only"):
            waifu2x.Upscaler(path, engine=engine)


def _read_model(path: Path) -> Any:
    from waifu2x import engines

    return engines.read_model(path)


def test_spandrel_does_not_know_every_architecture(spandrel: Any, tmp_path: Path) -> None:
    path = tmp_path / "own.pth"
    path.write_bytes(torch_bytes(Gelu().state_dict()))
    with pytest.raises(GraphError, match=r"own\.pth: .*'first.weight'.*; spandrel has no such"):
        waifu2x.Upscaler(path)


def test_a_network_far_larger_than_its_file_is_refused(spandrel: Any, tmp_path: Path) -> None:
    from spandrel.architectures.RCAN import RCAN

    state = RCAN(scale=2, n_resgroups=1, n_resblocks=1, n_feats=16, reduction=4).state_dict()
    for name in [name for name in state if name.startswith("body.0.body.0.")]:
        state[name.replace("body.0.body.0.", "body.0.body.9999.")] = state[name]
    path = tmp_path / "deep.pth"
    path.write_bytes(torch_bytes(state))
    with pytest.raises(GraphError, match="far more parameters than the file"):
        waifu2x.Upscaler(path)


def test_weights_that_are_not_finite_are_refused_without_spandrel(tmp_path: Path) -> None:
    state = Gelu().state_dict()
    state["first.weight"][0] = torch.nan
    path = tmp_path / "own.pth"
    path.write_bytes(torch_bytes(state))
    expected = "own.pth: the tensor 'first.weight' has values that are not finite"
    with pytest.raises(GraphError, match=f"^{expected}$"):
        waifu2x.Upscaler(path)


def test_without_spandrel_the_message_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    path = tmp_path / "own.pth"
    path.write_bytes(torch_bytes(Gelu().state_dict()))
    with pytest.raises(
        GraphError, match=r"'first.weight'.*; spandrel, .* is not installed; run `pip install"
    ):
        waifu2x.Upscaler(path)


# --- measuring ----------------------------------------------------------------------------------


def test_a_network_is_measured(tmp_path: Path) -> None:
    module = compact()
    with torch.no_grad():
        module.body[-1].bias += 5 / 255  # the network makes everything lighter
    (tmp_path / "light.pth").write_bytes(torch_bytes(module.state_dict()))
    pipeline = Pipeline(UpscalerOptions(tmp_path / "light.pth"))
    found = measure(pipeline, 2, None)
    flat = [expected(module, np.full((24, 24, 3), value, np.uint8)).mean() for value in FLAT[:2]]
    np.testing.assert_allclose(found.flat[:2], flat, atol=0.6)
    assert found.drift == max(
        abs(made - value) for made, value in zip(found.flat, FLAT, strict=True)
    )
    assert found.seconds > 0
