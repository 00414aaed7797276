"""The order of work on a GPU, recorded by fake streams and events."""

from __future__ import annotations

import gc
import threading
import weakref
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch

from waifu2x.engines import torch_device
from waifu2x.engines.torch_device import CudaDevice, TorchSession
from waifu2x.errors import DeviceLostError, DeviceMemoryError, EngineError


class Streams:
    """Replaces torch.cuda."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.made = 0
        self.events = 0

    def stream(self, device: torch.device) -> Any:
        name = ("compute", "up", "down")[self.made]
        self.made += 1
        log = self.log

        class Stream:
            def __str__(self) -> str:
                return name

            def wait_event(self, event: object) -> None:
                log.append(f"{name} waits for {event}")

        return Stream()

    def event(self, blocking: bool = False) -> Any:
        log, number = self.log, self.events
        self.events += 1

        class Event:
            def __str__(self) -> str:
                return f"event {number}"

            def record(self, stream: object) -> None:
                log.append(f"{self} on {stream}")

            def synchronize(self) -> None:
                assert blocking
                log.append(f"the host waits for {self}")

        return Event()


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Streams:
    made = Streams()
    monkeypatch.setattr(torch.cuda, "Stream", made.stream)
    monkeypatch.setattr(torch.cuda, "Event", made.event)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 4000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 300)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 100)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, stream: None)
    monkeypatch.setattr(
        torch_device, "_pinned", lambda shape, dtype: torch.empty(shape, dtype=dtype)
    )
    return made


def gpu() -> CudaDevice:
    return CudaDevice(torch.device("cpu"), torch.float16, None)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_copies_overlap_with_networks(streams: Streams, dtype: type) -> None:
    device = gpu()
    one, other = TorchSession(device), TorchSession(device)
    samples = (np.arange(24) * 1000 % 251).astype(dtype).reshape(2, 4, 3)[:, ::2]
    uploaded = one.upload(samples)
    with one.computing():
        result = uploaded.clone()
    other.empty((1, 1, 3), np.uint8)  # queued after the network, without a wait
    assert one.download(result).tobytes() == samples.tobytes()
    assert streams.log == [
        "event 0 on up",
        "compute waits for event 0",
        "event 1 on compute",
        "event 2 on compute",
        "down waits for event 1",
        "event 3 on down",
        "the host waits for event 3",
    ]


def test_stats_and_constants_and_transforms(streams: Streams) -> None:
    session = TorchSession(gpu())
    stats = session.stats(2)
    with torch.inference_mode():
        stats[1] = torch.tensor([3, *np.float32([0.5, 1.0]).view(np.int32).tolist()])
    assert [(m.nonfinite, m.max_in, m.max_out) for m in session.read(stats)] == [
        (0, 0.0, 0.0),
        (3, 0.5, 1.0),
    ]
    array = np.ones((1, 2, 1, 1), np.float32)
    assert session.device.constant(array).shape == (1, 2, 1, 1)
    rotated = session.transformed(torch.arange(6).reshape(2, 1, 3), 1, True)
    assert rotated.shape == (1, 2, 3)


def test_available_memory_is_free_or_cached(streams: Streams) -> None:
    device = gpu()
    assert device.available() == int(0.7 * (1000 + 200))
    assert device.release_memory()
    assert not device.release_memory()
    assert device.available() == int(0.7 / 4 * (1000 + 200))


def test_releasing_memory_frees_the_values_of_a_failed_run(streams: Streams) -> None:
    class Value:
        """A tensor of a run."""

    def fail() -> None:
        value = Value()
        values.append(weakref.ref(value))
        raise RuntimeError("CUDA out of memory")

    device, values = gpu(), []
    gc.disable()  # as between two collections
    try:
        try:
            with device.computing():
                fail()
        except DeviceMemoryError as error:
            error.cycle = error  # type: ignore[attr-defined]  # as context managers form them
        device.release_memory()
        assert values[0]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("message", "kind", "lost"),
    [
        ("CUDA out of memory. Tried to allocate 2 GiB", DeviceMemoryError, False),
        ("CUDA error: out of memory", DeviceMemoryError, False),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling x", DeviceMemoryError, False),
        ("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED", EngineError, False),
        ("CUDA error: invalid argument", EngineError, False),
        ("CUDA error: no kernel image is available for execution", EngineError, False),
        ("CUDA error: an illegal memory access was encountered (gather)", DeviceLostError, True),
        ("CUDA error: unspecified launch failure", DeviceLostError, True),
        ("CUDA error: uncorrectable ECC error encountered", DeviceLostError, True),
    ],
)
def test_what_an_error_means(streams: Streams, message: str, kind: type, lost: bool) -> None:
    device = gpu()
    with pytest.raises(EngineError) as caught, device.computing():
        raise RuntimeError(f"{message}\nCompile with TORCH_USE_CUDA_DSA")
    assert type(caught.value) is kind
    assert "TORCH_USE" not in str(caught.value)
    assert device.lost is lost


@pytest.mark.parametrize(
    ("message", "kind", "want"),
    [
        ("no such algorithm", EngineError, "torch failed on an input of 3x2 px: no such algorithm"),
        ("CUDA error: out of memory", DeviceMemoryError, "not enough memory on cpu: CUDA error"),
    ],
)
def test_an_error_names_the_window_and_keeps_its_kind(
    streams: Streams, message: str, kind: type, want: str
) -> None:
    session = TorchSession(gpu())
    with pytest.raises(EngineError) as caught, session.computing(window=(2, 3)):
        raise RuntimeError(message)
    assert type(caught.value) is kind
    assert str(caught.value).startswith(want)


def test_one_picture_at_a_time_queues_its_work(streams: Streams) -> None:
    device = gpu()
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with device.computing():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert entered.wait(10)
    assert not device.lock.acquire(blocking=False)
    leave.set()
    thread.join()
    with device.computing(), device.computing():
        pass
