"""The filters of vs-mlrt as far as they decide pixels: shapes, tiles, and what is discarded.

After the documentation and the source of vsov, vsort and vstrt of August 2026.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

Array = npt.NDArray[np.float32]


@functools.lru_cache(maxsize=8)
def session(path: Path, height: int, width: int) -> tuple[onnxruntime.InferenceSession, str, int]:
    """Fix the input of a network to a tile, as vs-mlrt does.

    Returns the session, the name of the input and the scale. Fails if the filters refuse the file.
    """
    model = onnx.load(path)
    (entry,), (result,) = model.graph.input, model.graph.output
    for value in (entry, result):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert len(value.type.tensor_type.shape.dim) == 4
    sides = entry.type.tensor_type.shape.dim
    assert sides[1].dim_value == 3
    for index, side in ((0, 1), (2, height), (3, width)):
        sides[index].dim_value = side
    sides = result.type.tensor_type.shape.dim
    sides[0].dim_value = 1
    for index in (2, 3):
        sides[index].Clear()
    del model.graph.value_info[:]
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    one, channels, tall, wide = (
        side.dim_value for side in model.graph.output[0].type.tensor_type.shape.dim
    )
    assert (one, channels) == (1, 3)
    assert (tall % height, wide % width) == (0, 0)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    made = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return made, entry.name, tall // height


def filtered(path: Path, planes: Array, *, overlap: int = 0, tilesize: int | None = None) -> Array:
    """Run (3, H, W) through the network in tiles of (tilesize, tilesize), and return (3, H', W').

    overlap: in input pixels for the step between tiles, and in output pixels for what is discarded
        at the inner edges of a tile. A later tile replaces what an earlier one wrote.
    """
    _, height, width = planes.shape
    tall, wide = (tilesize or height), (tilesize or width)
    assert height >= tall > 2 * overlap
    assert width >= wide > 2 * overlap
    network, name, scale = session(path, tall, wide)
    target = np.empty((3, height * scale, width * scale), np.float32)
    for top in starts(height, tall, overlap):
        for left in starts(width, wide, overlap):
            tile = np.ascontiguousarray(planes[None, :, top : top + tall, left : left + wide])
            (result,) = network.run(None, {name: tile})
            above, before = overlap * (top > 0), overlap * (left > 0)
            below = overlap * (top + tall < height)
            behind = overlap * (left + wide < width)
            rows = slice(above, tall * scale - below)
            columns = slice(before, wide * scale - behind)
            part = target[:, top * scale :, left * scale :]
            part[:, rows, columns] = result[0, :, rows, columns]
    return target


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Return the first pixel of each tile along a side."""
    return [*range(0, length - tile, tile - 2 * overlap), length - tile]


def as_filter(vs: Any) -> Any:
    """Return a stand-in for ``core.ort.Model``, on `filtered`."""

    def model(clip: Any, network_path: str, overlap: int = 0, tilesize: int | None = None) -> Any:
        assert clip.format.id == vs.RGBS
        _, _, scale = session(Path(network_path), tilesize or clip.height, tilesize or clip.width)
        template = clip.std.BlankClip(clip.width * scale, clip.height * scale)

        def run(n: int, f: Any) -> Any:
            planes = np.stack([np.asarray(f[plane]) for plane in range(3)])
            result = filtered(Path(network_path), planes, overlap=overlap, tilesize=tilesize)
            frame = vs.core.create_video_frame(f.format, template.width, template.height)
            frame.props.update(f.props)
            for plane in range(3):
                np.asarray(frame[plane])[:] = result[plane]
            return frame

        return template.std.ModifyFrame(clip, run)

    return model
