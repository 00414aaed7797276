"""Measures an ONNX model that the graph cannot express, so that onnxruntime can run it in tiles.

The shapes of results give scale, margin and alignment. A crop of a picture must give the crop of
the result, which confirms the alignment. An impulse shows how far a result depends on the picture.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Final, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import onnxruntime

from .._machine import processors
from ..errors import EngineError
from ..network.graph import ExternalModel, Graph, Input, Node
from ..network.readers.onnx import check_contained
from .base import first_line

Picture: TypeAlias = npt.NDArray[np.float32]

#: Sides of the pictures that the model is run on, all of them small.
_SIDE: Final = 64
#: Multiple of all alignments; a reach of less than half of it is measured.
_REACH_SIDE: Final = 128
_ALIGNMENTS: Final = (1, 2, 4, 8, 16, 32, 64)
#: Largest difference that is taken for rounding, of values in [0, 1].
_ROUNDING: Final = 1e-3
#: Guess of the memory: 64 channels, of 6 values at the scale of the input and 2 at the output's.
_CHANNELS: Final = 64
_LIVE: Final = (6, 2)
_MAX_SCALE: Final = 16
#: Memory of a run in bytes; transformers with large windows take 1 GiB.
_MEMORY: Final = 1 << 31
#: Limit of all runs in seconds.
_SECONDS: Final = 300
#: Parts of the messages with which onnxruntime reports the two limits.
_NO_MEMORY: Final = ("BFCArena", "bad_alloc", "bad allocation", "Failed to allocate memory")
_TERMINATED: Final = "terminate flag"


def measure_onnx(data: bytes) -> Graph:
    """Return a graph of one node that holds the model.

    data: a model with one input (N, C, H, W) and one output, without external data. Height and
        width must be dynamic.

    Memory and time of the runs are limited, because the operators of a small file can take any.

    Raises `GraphError` for a damaged file, and `EngineError` for a model that onnxruntime does not
    run within the limits, or whose results have no size in proportion to the picture.
    """
    parameters = check_contained(data)
    model = _Session(data)
    first, second = model.size(_SIDE), model.size(2 * _SIDE)
    scale, rest = divmod(second - first, _SIDE)
    lost, odd = divmod(scale * _SIDE - first, 2 * scale) if scale else (0, 0)
    if rest or odd or not 1 <= scale <= _MAX_SCALE or lost < 0:
        raise EngineError(
            f"pictures of {_SIDE} and {2 * _SIDE} px give {first} and {second} px; "
            "a network must enlarge by a whole number"
        )
    multiple = model.alignment(scale, lost)
    op = ExternalModel(
        "onnx",
        "",
        data,
        model.channels_out,
        parameters,
        scale,
        lost,
        multiple,
        model.reach(scale, lost, multiple),
        4 * _CHANNELS * (_LIVE[0] + _LIVE[1] * scale**2),
    )
    return Graph([Node("output", op, ("input",))], output="output",
                 inputs=(Input("input", model.channels),))  # fmt: skip


class _Session:
    """The model in onnxruntime."""

    def __init__(self, data: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = processors()
        options.enable_mem_pattern = False
        # Otherwise, constants are computed before a run, without limits.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        _limit_memory()
        options.add_session_config_entry("session.use_env_allocators", "1")
        self._session = _attempt(
            lambda: onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        )
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise EngineError(
                f"the model has {len(inputs)} inputs and {len(outputs)} outputs; "
                "it must have one of each"
            )
        kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
        shape = inputs[0].shape
        if inputs[0].type not in kinds or len(shape) != 4 or shape[1] not in (1, 3):
            raise EngineError(
                f"the input of the model is {inputs[0].type} {shape}; "
                "it must be floats (N, C, H, W) with 1 or 3 channels"
            )
        if isinstance(shape[2], int) or isinstance(shape[3], int):
            raise EngineError(
                f"the model takes pictures of {shape[3]}x{shape[2]} px only; "
                "export it with dynamic height and width"
            )
        self._name, self._dtype = inputs[0].name, kinds[inputs[0].type]
        self.channels: int = shape[1]
        self.channels_out = 0
        self._rng = np.random.default_rng(0)
        self._deadline = time.monotonic() + _SECONDS

    def run(self, picture: Picture) -> Picture:
        """Run the model on (C, H, W)."""
        feed = {self._name: picture[None].astype(self._dtype)}
        options = onnxruntime.RunOptions()
        options.log_severity_level = 4
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        left = max(0.0, self._deadline - time.monotonic())
        timer = threading.Timer(left, setattr, (options, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            (made,) = _attempt(lambda: self._session.run(None, feed, options))
        finally:
            timer.cancel()
        made = np.asarray(made, np.float32)
        if made.ndim != 4 or made.shape[0] != 1 or made.shape[1] != self.channels:
            raise EngineError(
                f"the result of the model has the shape {made.shape}; "
                f"it must be (1, {self.channels}, H, W)"
            )
        self.channels_out = made.shape[1]
        result: Picture = made[0]
        return result

    def noise(self, height: int, width: int) -> Picture:
        """Return a random picture."""
        return self._rng.random((self.channels, height, width), np.float32)

    def size(self, side: int) -> int:
        """Return the side of the result for a square picture."""
        height, width = self.run(self.noise(side, side)).shape[1:]
        if height != width:
            raise EngineError(f"the result of a square picture has {width}x{height} px")
        return int(height)

    def alignment(self, scale: int, lost: int) -> int:
        """Return the smallest multiple of sizes and shifts that the result follows.

        A network that depends on the whole picture follows none exactly; then the multiple is the
        smallest of those whose differences are about the least.
        """
        differences: dict[int, float] = {}
        for multiple in _ALIGNMENTS:
            difference = self._difference(scale, lost, multiple)
            if difference <= _ROUNDING:
                return multiple
            differences[multiple] = difference
        least = min(differences.values())
        if not np.isfinite(least):
            raise EngineError(
                f"the size of the result follows no size of the picture that is a multiple of 1 to "
                f"{_ALIGNMENTS[-1]} px"
            )
        return next(m for m, difference in differences.items() if difference <= 1.5 * least)

    def _difference(self, scale: int, lost: int, multiple: int) -> float:
        """Return by how much the result of a crop differs from the crop of the result.

        Infinity if the sizes differ from those that scale and margin give.
        """
        height, width = 2 * _SIDE + 3 * multiple, 2 * _SIDE + multiple
        picture = self.noise(height, width)
        try:
            whole = self.run(picture)
            part = self.run(picture[:, multiple:, multiple:])
        except EngineError:
            if time.monotonic() > self._deadline:
                raise
            return np.inf
        shift = scale * multiple
        whole_size = tuple(scale * (side - 2 * lost) for side in (height, width))
        if whole.shape[1:] != whole_size or part.shape[1:] != tuple(n - shift for n in whole_size):
            return np.inf
        # Only the middle: near the edge, results depend on the padding.
        rows, columns = (slice(n // 2 - 4 * scale, n // 2 + 4 * scale) for n in part.shape[1:])
        moved = whole[:, shift:, shift:]
        difference = np.abs(moved[:, rows, columns] - part[:, rows, columns]).max()
        return float(difference / max(1.0, float(np.abs(whole).max())))

    def reach(self, scale: int, lost: int, multiple: int) -> int | None:
        """Return the distance in pixels at which a change of the picture changes the result.

        None if the change reaches the edge of the result, or cannot be told from rounding.
        """
        middle = _REACH_SIDE // 2 - _REACH_SIDE // 2 % multiple
        picture = self.noise(_REACH_SIDE, _REACH_SIDE)
        before = self.run(picture)
        reach = 0
        for value in (0.0, 1.0):
            changed = picture.copy()
            changed[:, middle : middle + multiple, middle : middle + multiple] = value
            difference = np.abs(self.run(changed) - before).max(axis=0)
            rows = np.flatnonzero(difference.max(axis=1))
            columns = np.flatnonzero(difference.max(axis=0))
            if not len(rows):
                return None
            low = min(rows[0], columns[0]) // scale + lost
            high = max(rows[-1], columns[-1]) // scale + lost
            if low <= lost or high >= _REACH_SIDE - lost - 1:
                return None
            reach = max(reach, middle - low, int(high) - (middle + multiple - 1))
        return reach


@functools.cache
def _limit_memory() -> None:
    """Give onnxruntime an allocator with a limit, which only sessions with an option for it use."""
    info = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    # Grows by the requested sizes, so that a run leaves little behind.
    arena = onnxruntime.OrtArenaCfg(_MEMORY, 1, 1 << 20, -1)
    onnxruntime.create_and_register_allocator(info, arena)


_T = TypeVar("_T")


def _attempt(run: Callable[[], _T]) -> _T:
    try:
        return run()
    except Exception as error:  # onnxruntime raises plain Exceptions of several kinds
        text = first_line(error)
        if any(sign in text for sign in _NO_MEMORY):
            text = f"it needs more than {_MEMORY >> 30} GiB for a small picture"
        elif _TERMINATED in text:
            text = f"small pictures take more than {_SECONDS} s"
        raise EngineError(f"onnxruntime cannot run this model: {text}") from error
