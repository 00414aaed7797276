"""Fixtures: the CUDA kernels on an emulator or on a GPU, and guarded buffers."""

from __future__ import annotations

import ctypes
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

GUARD = 64
ALIGNMENT = 256


class Memory:
    """Buffers in memory that the kernels access, each between guard bytes."""

    def __init__(self, on_gpu: bool) -> None:
        self._on_gpu = on_gpu
        self._held: dict[int, tuple[Any, int, np.ndarray, np.ndarray]] = {}

    def put(self, array: np.ndarray, *, offset: int = 0) -> int:
        """Copy an array; returns the address, ``offset`` bytes after a multiple of 256.

        A view is copied with the bytes between its rows.
        """
        raw = _bytes_of(array)
        start = ALIGNMENT + offset
        host = np.random.default_rng(raw.size).integers(
            0, 256, start + raw.size + GUARD + ALIGNMENT, np.uint8
        )
        if self._on_gpu:
            import torch

            held: Any = torch.from_numpy(host).cuda()
            base = held.data_ptr()
        else:
            held, base = host, host.ctypes.data
        start += -base % ALIGNMENT
        host[start : start + raw.size] = raw
        if self._on_gpu:
            held.copy_(torch.from_numpy(host))
        address = int(base) + start
        self._held[address] = (held, start, host.copy(), array)
        return address

    def get(self, address: int) -> np.ndarray:
        """The contents of a buffer as an array of the original shape.

        Fails if a guard byte or, for a view, a byte between its rows has changed.
        """
        held, start, before, like = self._held[address]
        now = held.cpu().numpy() if self._on_gpu else held
        size = _bytes_of(like).size
        assert now[:start].tobytes() == before[:start].tobytes(), "wrote before the buffer"
        behind = start + size
        assert now[behind:].tobytes() == before[behind:].tobytes(), "wrote behind the buffer"
        inside = now[start:behind]
        made = np.ndarray(like.shape, like.dtype, inside, 0, like.strides).copy()
        rest = before[start:behind].copy()
        np.ndarray(like.shape, like.dtype, rest, 0, like.strides)[...] = made
        assert inside.tobytes() == rest.tobytes(), "wrote between the rows"
        return made


def _bytes_of(array: np.ndarray) -> np.ndarray:
    """The bytes of an array from the first to the last, including bytes between rows."""
    assert all(stride >= 0 for stride in array.strides)
    if array.size == 0:
        return np.empty(0, np.uint8)
    last = sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True))
    pointer = ctypes.cast(array.ctypes.data, ctypes.POINTER(ctypes.c_uint8))
    return np.ctypeslib.as_array(pointer, (last + array.itemsize,)).copy()


@dataclass(frozen=True)
class Device:
    """A build of the kernels; ``module`` has the functions declared in ``_cuda.pyi``."""

    module: ModuleType
    on_gpu: bool

    def memory(self) -> Memory:
        return Memory(self.on_gpu)


@pytest.fixture(scope="session", params=["emulated", pytest.param("cuda", marks=pytest.mark.cuda)])
def device_module(request: pytest.FixtureRequest) -> Device:
    if request.param == "emulated":
        module = _emulated()
        if module is None:
            pytest.skip("the emulator of CUDA needs g++ on Linux")
        return Device(module, on_gpu=False)
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU that torch can use")
    module = pytest.importorskip(
        "waifu2x.kernels._cuda", reason="waifu2x.kernels._cuda is not built", exc_type=ImportError
    )
    return Device(module, on_gpu=True)


def _emulated() -> ModuleType | None:
    # Imported by path, since the tests of this folder are not a package.
    spec = importlib.util.spec_from_file_location(
        "cuda_emulated_build", Path(__file__).with_name("emulated.py")
    )
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    return build.module()
