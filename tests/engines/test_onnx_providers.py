"""Execution providers of onnxruntime, with stand-ins for what is not installed here."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from waifu2x import engines
from waifu2x.engines import onnx_providers
from waifu2x.errors import EngineError
from waifu2x.network import registry


@pytest.fixture(autouse=True)
def _fresh() -> Any:
    for each in (onnx_providers._plugins, onnx_providers._register):
        each.cache_clear()
    yield
    for each in (onnx_providers._plugins, onnx_providers._register):
        each.cache_clear()


def built_in(
    monkeypatch: pytest.MonkeyPatch, name: str, *, starts: bool = True, error: str = ""
) -> list[Any]:
    """Pretend that a provider is built in; the list receives what sessions are given."""
    given: list[Any] = []
    session = onnxruntime.InferenceSession

    def make(model: Any, options: Any, providers: Any, enable_fallback: int) -> Any:
        assert enable_fallback == 0
        given.append(providers)
        if error:
            raise RuntimeError(error)
        made = session(model, options, providers=["CPUExecutionProvider"])
        names = [name] if starts else []
        return SimpleNamespace(
            get_providers=lambda: [*names, "CPUExecutionProvider"],
            get_inputs=made.get_inputs,
            run=made.run,
        )

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: [name, "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", make)
    return given


@pytest.mark.parametrize(
    ("device", "name", "options"),
    [
        ("directml", "DmlExecutionProvider", {"device_id": "0"}),
        ("directml:1", "DmlExecutionProvider", {"device_id": "1"}),
        ("cuda:2", "CUDAExecutionProvider", {"device_id": "2"}),
        ("openvino", "OpenVINOExecutionProvider", {"device_type": "GPU"}),
        ("openvino:1", "OpenVINOExecutionProvider", {"device_type": "GPU.1"}),
        ("coreml", "CoreMLExecutionProvider", {"ModelFormat": "MLProgram"}),
        ("webgpu", "WebGpuExecutionProvider", {}),
    ],
)
def test_a_built_in_provider_runs_the_network(
    device: str, name: str, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = built_in(monkeypatch, name)
    engine = engines.create("onnx", device=device)
    assert list(engine.identities) == [device]
    assert name in engine.identities[device]
    graph = registry.load(registry.model("upconv_7").networks[0])
    batch = np.random.default_rng(0).random((1, 3, 30, 31), np.float32)
    want = engines.create("native").compile(graph).run(batch)
    np.testing.assert_allclose(engine.compile(graph).run(batch), want, atol=1e-4)
    assert given == 2 * [[(name, options), "CPUExecutionProvider"]]  # the first checks the start


def test_a_provider_that_does_not_start_is_no_silent_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one error before the first picture, not one for each picture."""
    built_in(monkeypatch, "DmlExecutionProvider", starts=False)
    with pytest.raises(EngineError, match="DmlExecutionProvider of onnxruntime does not start"):
        engines.create("onnx", device="directml")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("no adapter\nat line 3", "no adapter"),
        (
            "/src/webgpu_context.cc:65 f(A)::<lambda(B)> a == B::C was false. No adapters",
            "No adapters",
        ),
        ("/src/provider.cc:7 f() ok was false. ", "/src/provider.cc:7 f() ok was false."),
    ],
)
def test_the_reason_of_a_failed_start_is_given(
    error: str, reason: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    built_in(monkeypatch, "WebGpuExecutionProvider", error=error)
    with pytest.raises(EngineError) as caught:
        engines.create("onnx", device="webgpu")
    assert str(caught.value) == (
        f"WebGpuExecutionProvider of onnxruntime does not start on this machine: {reason}; "
        "choose `engine='native'`"
    )
    assert capfd.readouterr() == ("", "")


def test_a_provider_that_is_not_installed_names_its_package() -> None:
    with pytest.raises(EngineError) as caught:
        engines.create(device="directml")
    assert str(caught.value) == (
        "device directml needs DmlExecutionProvider of onnxruntime, which is not installed; "
        "run `pip install onnxruntime-directml`, or choose `engine='native'`"
    )


def plugin(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *, devices: int, broken: str = ""
) -> list[str]:
    """Install a plugin package with so many devices; the list receives its registrations."""
    package = folder / "onnxruntime_ep_pretend"
    package.mkdir()
    (package / "__init__.py").write_text(
        f"{broken}\n"
        "def get_ep_name(): return 'WebGpuExecutionProvider'\n"
        "def get_library_path(): return '/library.so'\n"
    )
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "onnxruntime_ep_pretend", raising=False)
    registered: list[str] = []
    monkeypatch.setattr(
        onnxruntime,
        "register_execution_provider_library",
        lambda name, path: registered.append(f"{name} {path}"),
    )
    kinds = onnxruntime.OrtHardwareDeviceType
    made = [
        SimpleNamespace(
            ep_name="WebGpuExecutionProvider",
            device=SimpleNamespace(vendor="maker", device_id=index, type=kind),
            ep_metadata={},
        )
        for index, kind in enumerate([*[kinds.GPU] * devices, kinds.CPU, kinds.NPU])
    ]
    monkeypatch.setattr(onnxruntime, "get_ep_devices", lambda: made)
    return registered


def test_a_plugin_is_registered_once_and_found_by_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    registered = plugin(monkeypatch, tmp_path, devices=2)
    assert "webgpu" in onnx_providers.installed()
    for number in (None, 0, 1):
        found = onnx_providers.find("webgpu", number)
        assert found.plugin.device.device_id == (number or 0)
        assert "maker" in found.identity
    assert registered == ["onnxruntime_ep_pretend /library.so"]
    with pytest.raises(EngineError, match=r"device is webgpu:2, and .* finds 2 devices"):
        onnx_providers.find("webgpu", 2)


def test_a_plugin_without_a_device_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plugin(monkeypatch, tmp_path, devices=0)
    with pytest.raises(EngineError, match="WebGpuExecutionProvider of onnxruntime finds no device"):
        engines.create(device="webgpu")


def test_a_broken_plugin_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plugin(monkeypatch, tmp_path, devices=1, broken="raise OSError('no library')")
    assert onnx_providers.installed() == []
