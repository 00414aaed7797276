"""`integrations/comfyui`, loaded as ComfyUI loads it, with stubs of its documented modules."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

import waifu2x
from waifu2x import engines
from waifu2x.network import model_files
from waifu2x.network.export import export_network

ROOT = Path(__file__).parents[2]
PACK = ROOT / "integrations" / "comfyui"
PAGE = ROOT / "docs" / "integrations.md"

Array = npt.NDArray[np.float32]


class Interrupted(Exception):
    """The exception that ComfyUI raises in a node if the user interrupts the workflow."""


class Comfy:
    """The state behind the stubs of `folder_paths` and `comfy`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bars: list[tuple[int, list[int]]] = []
        self.interrupt: Callable[[], bool] = lambda: False
        self.freed: list[str] = []
        state = self

        class ProgressBar:
            def __init__(self, total: int, node_id: Any = None) -> None:
                self.values: list[int] = []
                state.bars.append((total, self.values))

            def update_absolute(
                self, value: int, total: int | None = None, preview: Any = None
            ) -> None:
                self.values.append(value)

        def throw() -> None:
            if state.interrupt():
                raise Interrupted

        def full_path(name: str, file: str) -> str | None:
            inside = os.path.relpath(os.path.join("/", file), "/")  # noqa: PTH118
            path = Path(state.folders(name)[0], inside)
            return str(path) if path.is_file() else None

        management = ModuleType("comfy.model_management")
        management.throw_exception_if_processing_interrupted = throw  # type: ignore[attr-defined]
        for function in ("unload_all_models", "soft_empty_cache"):
            setattr(management, function, lambda name=function: state.freed.append(name))
        utils = ModuleType("comfy.utils")
        utils.ProgressBar = ProgressBar  # type: ignore[attr-defined]
        comfy = ModuleType("comfy")
        comfy.utils, comfy.model_management = utils, management  # type: ignore[attr-defined]
        paths = ModuleType("folder_paths")
        paths.get_folder_paths, paths.get_full_path = self.folders, full_path  # type: ignore[attr-defined]
        self.modules = {
            "comfy": comfy,
            "comfy.utils": utils,
            "comfy.model_management": management,
            "folder_paths": paths,
        }

    def folders(self, name: str) -> list[str]:
        assert name == "upscale_models"
        return [str(self.folder)]


@pytest.fixture
def comfy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Comfy:
    state = Comfy(tmp_path)
    for name, module in state.modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return state


@pytest.fixture
def pack(comfy: Comfy, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, with an empty cache."""
    name = "custom_nodes.waifu2x_pack"
    spec = importlib.util.spec_from_file_location(name, PACK / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    for part in ("nodes", "cache"):
        monkeypatch.setitem(sys.modules, f"{name}.{part}", sys.modules.pop(f"{name}.{part}"))
    return module


@pytest.fixture
def node(pack: Any) -> Any:
    return pack.NODE_CLASS_MAPPINGS["Waifu2xUpscale"]()


def batch(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape, np.float32))


QUICK = {"model": "upconv_7", "engine": "native"}


def run(node: Any, image: torch.Tensor, **given: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Call the function of the node as ComfyUI does: by name, in inference mode."""
    inputs = {
        "noise": "none",
        "scale": 2.0,
        "width": 0,
        "height": 0,
        "strength": 1.0,
        **QUICK,
        **given,
    }
    with torch.inference_mode():
        return getattr(node, node.FUNCTION)(image=image, **inputs)


def expected(picture: Array, **given: Any) -> Array:
    return waifu2x.upscale(picture, **{**QUICK, **given})


def test_the_pack_exports_what_comfyui_reads(pack: Any) -> None:
    assert pack.NODE_CLASS_MAPPINGS.keys() == pack.NODE_DISPLAY_NAME_MAPPINGS.keys()
    for node in pack.NODE_CLASS_MAPPINGS.values():
        types = node.INPUT_TYPES()
        assert types.keys() == {"required", "optional"}
        names = [*types["required"], *types["optional"]]
        parameters = inspect.signature(getattr(node, node.FUNCTION)).parameters
        assert list(parameters) == ["self", *names]
        for name, (_, options) in types["optional"].items():
            assert parameters[name].default == options.get("default")
        assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES)
        asked = inspect.getfullargspec(node.VALIDATE_INPUTS).args
        assert set(asked) <= {"cls", *names}


def test_lists_are_those_of_the_library(pack: Any, node: Any) -> None:
    module = sys.modules[type(node).__module__]
    assert ["auto", *engines.ENGINES] == module._ENGINES
    assert list(engines.PRECISIONS) == module._PRECISIONS
    assert module._SUFFIXES == model_files.SUFFIXES
    (models, options) = node.INPUT_TYPES()["required"]["model"]
    assert models == [model.name for model in waifu2x.models()]
    assert options["default"] in models


def test_a_batch_becomes_what_its_pictures_become(node: Any, comfy: Comfy) -> None:
    image = batch(3, 12, 17, 3)
    made, mask = run(node, image, noise="1")
    assert (made.shape, made.dtype, made.device.type) == ((3, 24, 34, 3), torch.float32, "cpu")
    assert (mask.shape, mask.dtype) == ((3, 24, 34), torch.float32)
    assert not mask.any()
    for result, source in zip(made, image, strict=True):
        np.testing.assert_array_equal(result.numpy(), expected(source.numpy(), scale=2, noise=1))
    assert 0 <= made.min() <= made.max() <= 1


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({"scale": 1.5}, {"scale": 1.5}),
        ({"scale": 0.0}, {}),
        ({"width": 30}, {"width": 30}),
        ({"width": 30, "height": 20, "scale": 3.0}, {"width": 30, "height": 20}),
        ({"scale": 1.0, "noise": "3"}, {"scale": 1, "noise": 3}),
        ({"strength": 0.25}, {"scale": 2, "strength": 0.25}),
        ({"color_fix": True}, {"scale": 2, "color_fix": True}),
        ({"tta": True}, {"scale": 2, "tta": True}),
        ({"device": " cpu ", "engine": "torch"}, {"scale": 2, "device": "cpu", "engine": "torch"}),
    ],
)
def test_inputs_reach_the_upscaler(
    node: Any, given: dict[str, Any], options: dict[str, Any]
) -> None:
    image = batch(1, 10, 14, 3)
    made, _ = run(node, image, **given)
    np.testing.assert_array_equal(made[0].numpy(), expected(image[0].numpy(), **options))


def test_gray_and_samples_outside_the_range(node: Any) -> None:
    gray, _ = run(node, batch(1, 9, 11, 1))
    assert gray.shape == (1, 18, 22, 1)
    wild = batch(1, 9, 11, 3) * 4 - 1
    made, _ = run(node, wild)
    np.testing.assert_array_equal(made[0].numpy(), expected(wild[0].clamp(0, 1).numpy(), scale=2))
    half, _ = run(node, batch(1, 9, 11, 3).half())
    assert half.dtype == torch.float32


def masked(seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Black outside of a disk, which is opaque, as saved sprites often are."""
    y, x = torch.meshgrid(torch.arange(20), torch.arange(24), indexing="ij")
    opaque = ((y - 10) ** 2 + (x - 12) ** 2 < 50).float()
    return batch(1, 20, 24, 3, seed=seed) * 0.2 + 0.8 * opaque[None, :, :, None], 1 - opaque[None]


def test_a_mask_is_enlarged_with_its_picture(node: Any) -> None:
    image, mask = masked()
    made, enlarged = run(node, image, mask=mask)
    like = expected(np.dstack([image[0].numpy(), 1 - mask[0].numpy()]), scale=2)
    np.testing.assert_array_equal(made[0].numpy(), like[:, :, :3])
    np.testing.assert_array_equal(enlarged[0].numpy(), 1 - like[:, :, 3])
    rgba, of_alpha = run(node, torch.cat([image, 1 - mask[..., None]], -1))
    np.testing.assert_array_equal(rgba[0].numpy(), like)
    np.testing.assert_array_equal(of_alpha.numpy(), enlarged.numpy())


def test_the_edge_of_a_mask_has_no_halo(node: Any) -> None:
    """Color under transparent pixels, black here, does not reach the opaque ones."""
    image, mask = masked()
    image[:] = 0.9
    image[mask[..., None].expand_as(image) == 1] = 0
    made, enlarged = run(node, image, mask=mask)
    visible = made[enlarged < 0.99]
    assert len(visible) > 500
    assert (visible - 0.9).abs().max() < 0.02
    plain, _ = run(node, image)
    assert (plain[enlarged < 0.99] - 0.9).abs().max() > 0.3


def test_masks_of_batches(node: Any) -> None:
    image = torch.cat([masked(seed)[0] for seed in (1, 2)])
    _, mask = masked()
    one, ones = run(node, image, mask=mask)
    two, twos = run(node, image, mask=torch.cat([mask, mask]))
    flat, flats = run(node, image, mask=mask[0])
    for made, found in ((two, twos), (flat, flats)):
        np.testing.assert_array_equal(made.numpy(), one.numpy())
        np.testing.assert_array_equal(found.numpy(), ones.numpy())


def test_the_mask_of_a_picture_without_alpha_is_ignored(node: Any) -> None:
    """Load Image returns 64x64 zeros."""
    image = batch(2, 10, 12, 3)
    made, mask = run(node, image, mask=torch.zeros(1, 64, 64))
    np.testing.assert_array_equal(made.numpy(), run(node, image)[0].numpy())
    assert mask.shape == (2, 20, 24)


@pytest.mark.parametrize(
    ("image", "given", "message"),
    [
        (batch(1, 8, 8, 3), {"mask": torch.ones(1, 9, 8)}, r"mask has the shape \(1, 9, 8\)"),
        (batch(3, 8, 8, 3), {"mask": torch.ones(2, 8, 8)}, r"it must be \(3, 8, 8\) or \(1, 8, 8"),
        (batch(1, 8, 8, 4), {"mask": torch.ones(1, 8, 8)}, "connect only one alpha"),
        (batch(8, 8, 3), {}, r"image has the shape \(8, 8, 3\)"),
        (batch(1, 8, 8, 5), {}, r"image has the shape \(1, 8, 8, 5\)"),
        (torch.full((1, 8, 8, 3), torch.nan), {}, "finite"),
        (batch(1, 8, 8, 3), {"model": "cunets"}, "cunets"),
        (
            batch(1, 8, 8, 3),
            {"model": "gone.pth"},
            "'gone.pth'; it must be .* in models/upscale_models",
        ),
        (batch(1, 8, 8, 3), {"noise": "conservative"}, "conservative"),
        (batch(1, 8, 8, 3), {"device": "nowhere"}, "device"),
    ],
)
def test_errors_are_one_line(
    node: Any, image: torch.Tensor, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(RuntimeError, match=message) as caught:
        run(node, image, **given)
    assert type(caught.value) is RuntimeError
    assert re.fullmatch("waifu2x: .+", str(caught.value))


def test_the_bar_reaches_its_end_and_never_goes_back(node: Any, comfy: Comfy) -> None:
    image = batch(3, 10, 12, 3)
    image[1] = image[0]
    run(node, image)
    ((total, values),) = comfy.bars
    assert values == sorted(values)
    assert values[-1] == total
    assert {total // 3, 2 * total // 3} <= set(values)


@pytest.mark.parametrize("calls", [1, 2, 4])
def test_an_interruption_stops_between_and_within_pictures(
    node: Any, comfy: Comfy, calls: int
) -> None:
    """The exception of ComfyUI passes through, and the cached upscaler goes on working."""
    counter = iter(range(1, 1000))
    comfy.interrupt = lambda: next(counter) >= calls
    image = batch(3, 10, 12, 3)
    with pytest.raises(Interrupted):
        run(node, image)
    assert next(counter) == calls + 1
    comfy.interrupt = lambda: False
    made, _ = run(node, image)
    np.testing.assert_array_equal(made[2].numpy(), expected(image[2].numpy(), scale=2))


def test_a_repeated_picture_is_computed_once(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sources: list[Array] = []
    upscale = waifu2x.Upscaler.upscale

    def counted(self: Any, picture: Any, *args: Any, **options: Any) -> Any:
        sources.append(picture)
        return upscale(self, picture, *args, **options)

    monkeypatch.setattr(waifu2x.Upscaler, "upscale", counted)
    image = batch(4, 8, 9, 3)
    image[1] = image[2] = image[0]
    made, _ = run(node, image)
    assert len(sources) == 2
    np.testing.assert_array_equal(made[2].numpy(), made[0].numpy())
    assert not np.array_equal(made[3].numpy(), made[0].numpy())


def test_models_of_comfyui_leave_a_full_gpu(
    node: Any, comfy: Comfy, monkeypatch: pytest.MonkeyPatch
) -> None:
    upscale = waifu2x.Upscaler.upscale
    failures = [True]

    def full(self: Any, *args: Any, **options: Any) -> Any:
        if failures:
            failures.pop()
            raise waifu2x.DeviceMemoryError("the device has too little memory")
        return upscale(self, *args, **options)

    monkeypatch.setattr(waifu2x.Upscaler, "upscale", full)
    run(node, batch(1, 8, 9, 3))
    assert comfy.freed == ["unload_all_models", "soft_empty_cache"]
    failures += [True, True]
    with pytest.raises(RuntimeError, match="waifu2x: the device has too little memory"):
        run(node, batch(1, 8, 9, 3))


# The cache.


@pytest.fixture
def created(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The options of every upscaler that is created."""
    options: list[Any] = []
    create = waifu2x.Upscaler.from_options

    def noted(given: Any) -> Any:
        options.append(given)
        return create(given)

    monkeypatch.setattr(waifu2x.Upscaler, "from_options", noted)
    return options


def test_nodes_share_the_networks(pack: Any, created: list[Any]) -> None:
    nodes = [pack.NODE_CLASS_MAPPINGS["Waifu2xUpscale"]() for _ in range(3)]
    for node, noise in zip(nodes, ("none", "1", "1"), strict=True):
        run(node, batch(1, 8, 9, 3), noise=noise)
    assert len(created) == 1
    run(nodes[0], batch(1, 8, 9, 3), engine="onnx")
    assert len(created) == 2


def test_the_cache_is_bounded_and_drops_what_was_used_longest_ago(
    pack: Any, created: list[Any]
) -> None:
    cache = sys.modules[pack.__name__ + ".cache"].Upscalers(most=2)
    one, two, three = (waifu2x.UpscalerOptions("upconv_7", threads=n) for n in (1, 2, 3))
    for options in (one, two, one, three, one, two):
        cache.get(options)
        assert len(cache) <= 2
    assert created == [one, two, three, two]


def test_threads_create_an_upscaler_once(pack: Any, created: list[Any]) -> None:
    cache = sys.modules[pack.__name__ + ".cache"].Upscalers()
    options = waifu2x.UpscalerOptions("upconv_7", threads=1)
    barrier = threading.Barrier(8)

    def get(_: int) -> Any:
        barrier.wait()
        return cache.get(options)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(get, range(8)))
    assert len(created) == 1
    assert all(each is found[0] for each in found)


# Model files, and what ComfyUI calls before a node runs.


@pytest.fixture
def own(comfy: Comfy) -> str:
    (comfy.folder / "sub").mkdir()
    export_network(comfy.folder / "sub" / "own.onnx", model="upconv_7")
    (comfy.folder / "readme.txt").write_text("not a model")
    return str(Path("sub", "own.onnx"))


def test_model_files_of_comfyui_are_listed_and_run(node: Any, own: str) -> None:
    models, _ = node.INPUT_TYPES()["required"]["model"]
    assert models[-1] == own
    assert models[:-1] == [model.name for model in waifu2x.models()]
    image = batch(1, 10, 12, 3)
    made, _ = run(node, image, model=own, scale=0.0)
    np.testing.assert_allclose(made[0].numpy(), expected(image[0].numpy()), atol=1e-5)


def test_a_replaced_model_file_is_read_again(
    node: Any, own: str, comfy: Comfy, created: list[Any]
) -> None:
    image = batch(1, 10, 12, 3)
    first, _ = run(node, image, model=own)
    before = type(node).IS_CHANGED(model=own, noise="none")
    assert type(node).IS_CHANGED(model=own) == before
    export_network(comfy.folder / own, model="upconv_7_photo", overwrite=True)
    assert type(node).IS_CHANGED(model=own) != before
    second, _ = run(node, image, model=own)
    run(node, image, model=own)
    assert len(created) == 2
    assert not torch.equal(first, second)
    assert type(node).IS_CHANGED() == type(node).IS_CHANGED(model=None, noise="1")
    assert type(node).IS_CHANGED(model="cunet") == type(node).IS_CHANGED(model="upconv_7")


def test_a_workflow_reads_no_file_outside_of_the_folder(
    node: Any, own: str, comfy: Comfy, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    for name in ("own.onnx", "own"):
        (outside / name).write_bytes((comfy.folder / own).read_bytes())
    relative = os.path.relpath(outside, comfy.folder)
    for model in (f"{outside}/own", f"{outside}/own.onnx", f"{relative}/own.onnx", "./own", ""):
        assert "it must be a model of waifu2x or a file in" in node.VALIDATE_INPUTS(model=model)
        with pytest.raises(RuntimeError, match="it must be a model of waifu2x or a file in"):
            run(node, batch(1, 8, 9, 3), model=model)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"model": "cunet", "noise": "3", "engine": "auto", "device": ""}, None),
        ({"model": "realcugan", "noise": "conservative"}, None),
        ({}, None),  # all inputs come from other nodes, by both conventions of ComfyUI
        ({"model": None, "noise": None, "engine": None, "device": None, "precision": None}, None),
        ({"noise": "3"}, None),
        ({"model": "cunets"}, "cunets"),
        ({"model": "gone.pth"}, "'gone.pth'; it must be a model of waifu2x or a file in"),
        ({"noise": "4"}, "noise is '4'; allowed are none, conservative, 0, 1, 2, 3"),
        ({"model": "cunet", "noise": "conservative"}, "model cunet has no noise level conserv"),
        ({"engine": "native", "device": "cuda:0"}, "device"),
        ({"engine": "ncnn"}, "engine"),
    ],
)
def test_inputs_are_checked_before_the_workflow_runs(
    node: Any, inputs: dict[str, str], message: str | None
) -> None:
    found = type(node).VALIDATE_INPUTS(**inputs)
    if message is None:
        assert found is True
    else:
        assert message in found
        assert "\n" not in found


def test_files_of_the_registry_name_the_package() -> None:
    assert (PACK / "requirements.txt").read_text().split() == ["waifu2x-native"]
    text = (PACK / "pyproject.toml").read_text()
    assert 'dependencies = ["waifu2x-native"]' in text
    name = re.search(r'^name = "(.+)"$', text, re.MULTILINE)
    assert name is not None
    assert re.fullmatch(r"(?!.*comfyui)[a-z][a-z0-9]*([-_.][a-z0-9]+)*", name[1])
    assert re.search(r'^version = "\d+\.\d+\.\d+"$', text, re.MULTILINE)
    assert re.search(r"^\[tool\.comfy\]$", text, re.MULTILINE)


# The workflow of the page.


def workflow() -> dict[str, Any]:
    text = re.search(r"^```json\n(.+?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert text is not None
    return json.loads(text[1])


def fits(value: object, kind: object, options: dict[str, Any]) -> bool:
    """Whether a constant of a workflow passes the default checks of ComfyUI."""
    if isinstance(kind, list):
        return value in kind
    python = {"FLOAT": (int, float), "INT": int, "STRING": str, "BOOLEAN": bool}[str(kind)]
    if not isinstance(value, python):
        return False
    if kind in ("FLOAT", "INT"):
        assert isinstance(value, int | float)
        return bool(options["min"] <= value <= options["max"])
    return True


def test_the_workflow_of_the_page_fits_the_node(node: Any) -> None:
    nodes = workflow()
    ours = [each for each in nodes.values() if each["class_type"].startswith("Waifu2x")]
    assert ours
    outputs = {
        "LoadImage": ("IMAGE", "MASK"),
        "JoinImageWithAlpha": ("IMAGE",),
        "Waifu2xUpscale": type(node).RETURN_TYPES,
    }
    types = type(node).INPUT_TYPES()
    for each in ours:
        assert types["required"].keys() <= each["inputs"].keys()
        for name, value in each["inputs"].items():
            kind, *options = {**types["required"], **types["optional"]}[name]
            if isinstance(value, list):  # a link: node and number of its output
                source, number = value
                assert outputs[nodes[source]["class_type"]][number] == kind
            else:
                assert fits(value, kind, *(options or [{}])), name


def test_the_workflow_of_the_page_runs(node: Any) -> None:
    nodes = workflow()
    image, mask = masked()
    stubs: dict[str, Callable[..., tuple[Any, ...]]] = {
        "LoadImage": lambda image: (masked()[0], masked()[1]),
        "Waifu2xUpscale": lambda **inputs: run(node, **inputs),
        "JoinImageWithAlpha": lambda image, alpha: (
            torch.cat([image[..., :3], 1 - alpha[..., None]], -1),
        ),
        "SaveImage": lambda images, filename_prefix: (images,),
    }

    def output(name: str) -> tuple[Any, ...]:
        inputs = {
            key: output(value[0])[value[1]] if isinstance(value, list) else value
            for key, value in nodes[name]["inputs"].items()
        }
        return stubs[nodes[name]["class_type"]](**inputs)

    (last,) = [name for name, each in nodes.items() if each["class_type"] == "SaveImage"]
    (saved,) = output(last)
    rgba = np.dstack([image[0].numpy(), 1 - mask[0].numpy()])
    like = waifu2x.upscale(rgba, 2, model="cunet", noise=1, engine="native")
    np.testing.assert_allclose(saved[0].numpy(), like, atol=1e-6)


def test_without_comfyui_a_picture_still_runs(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other hosts of its nodes lack the modules for progress and interruption."""
    for name in ("comfy", "comfy.utils", "comfy.model_management"):
        monkeypatch.setitem(sys.modules, name, None)
    made, _ = run(node, batch(1, 8, 9, 3))
    assert made.shape == (1, 16, 18, 3)
