"""Writes networks as files of other programs, and verifies the files before they get their names.

An ONNX file follows the conventions of VapourSynth's vs-mlrt and onnxruntime-web: one float32 input
(1, 3, H, W), RGB in [0, 1], and one output exactly ``scale`` times as large. The border that the
network needs is replicated from the picture's edge inside the model. Scale, margin and alignment
are in the metadata. A safetensors file has the names of the PyTorch files of its architecture, an
ncnn file the blobs "data" and "output"; both hold the network alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from .._record import record
from .._text import level_text, reason, shown
from ..atomic import check_place, check_writable, remove_stale, write_files
from ..errors import ArgumentError, EngineError, GraphError
from . import architectures, model_files, registry
from . import graph as g
from .adapt import adapted, unadapted
from .architectures import span
from .compare import same
from .readers.file import ENLARGED, read_file, read_metadata, read_safetensors
from .readers.ncnn import parse_ncnn
from .readers.onnx import parse_onnx
from .reference import evaluate
from .writers import onnx as writer
from .writers.ncnn import to_ncnn
from .writers.safetensors import to_safetensors

#: Largest allowed difference of a float32 file from float64, on [0, 1].
FLOAT32_TOLERANCE: Final = 1e-4
#: Least allowed PSNR of a float16 file against float64, in dB, on [0, 1].
FLOAT16_PSNR: Final = 60.0
#: Relative change of a picture, about 10 times the rounding of float32.
_ROUNDING: Final = 1e-6

_ONNX, _SAFETENSORS, _NCNN = SUFFIXES = (".onnx", ".safetensors", ".param")
_NCNN_WEIGHTS: Final = ".bin"


#: Entries of metadata that a conversion keeps, and most characters of each.
_KEPT: Final = ("model", "noise", "license", "source")
_LONGEST: Final = 500


@record
class Export:
    """A written network, and its accuracy compared with the network in float64.

    path: the file; of ncnn, the .param, with the .bin next to it.
    margin, alignment: in input pixels; see `waifu2x.network.graph.Graph`.
    error: largest absolute difference on [0, 1], divided by the largest value if that exceeds 1;
        0 for safetensors and ncnn in float32, which hold the same weights.
    psnr: in dB, of the results clamped to [0, 1].
    """

    path: Path
    scale: int
    margin: int
    alignment: int
    error: float
    psnr: float


def export_network(
    path: str | os.PathLike[str],
    *,
    model: str = "cunet",
    scale: int | None = None,
    noise: registry.Level | None = None,
    fp16: bool = False,
    opset: int | None = None,
    size: tuple[int, int] | None = None,
    overwrite: bool = False,
) -> Export:
    """Write one network of ``model``; see `write_network`.

    model: a name, or a file, which is never replaced.
    scale, noise: select the network; see `waifu2x.models`. The scale is that of a file if None, 2
        of any other model.

    Raises `ArgumentError` for an unknown network, and what `read_file` raises, in addition.
    """
    path = Path(path)
    _check_options(path, opset, size)
    entry = registry.model(model)
    scale = entry.default_scale if scale is None else scale
    network = entry.network(scale, noise)
    if network is None:
        there = ", ".join(f"{n.scale}x {level_text(n.noise)}" for n in entry.networks)
        raise ArgumentError(
            f"model {entry.name} has no network for {scale}x, noise {level_text(noise)}; "
            f"use {there}"
        )
    own = [Path(file.path) for file in network.files if not file.package]
    for source in (None, *own):
        _targets(path, overwrite=overwrite, source=source)
    metadata = {
        "model": entry.name,
        "noise": level_text(noise),
        "license": entry.license,
        "source": own[0].name if own else entry.source,
    }
    return write_network(
        registry.load(network),
        path,
        fp16=fp16,
        opset=opset,
        size=size,
        metadata=metadata,
        overwrite=overwrite,
    )


def convert_network(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    fp16: bool = False,
    opset: int | None = None,
    size: tuple[int, int] | None = None,
    overwrite: bool = False,
) -> Export:
    """Write the network in the file ``source`` in another format; see `write_network`.

    source: a file that `read_file` reads, or its name in the folder of the user. Neither it nor its
        .bin is ever replaced.

    Raises what `read_file` raises, in addition.
    """
    source = os.fspath(source)
    source, path = Path(model_files.find(source) or source), Path(path)
    _check_options(path, opset, size)
    for file in (source, source.with_suffix(_NCNN_WEIGHTS)):
        _targets(path, overwrite=overwrite, source=file)
    return write_network(
        read_file(source),
        path,
        fp16=fp16,
        opset=opset,
        size=size,
        metadata=_origin(source),
        overwrite=overwrite,
    )


def _origin(source: Path) -> dict[str, str]:
    """Return what the file of a network says about its origin, at least the name of the file."""
    found = read_metadata(source)
    kept = {name: shown(text)[:_LONGEST] for name, text in found.items() if name in _KEPT and text}
    return {**kept, "source": kept.get("source", shown(source.name))}


def write_network(
    graph: g.Graph,
    path: str | os.PathLike[str],
    *,
    fp16: bool = False,
    opset: int | None = None,
    size: tuple[int, int] | None = None,
    metadata: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Export:
    """Write a network as ONNX, safetensors or ncnn, by the suffix of ``path``.

    graph: a network for RGB, or for the luma, on which it is run here.
    path: ends in .onnx, .safetensors or .param; with .param, the weights go to a .bin next to it,
        and both files appear or none.
    fp16: weights in float16; in ONNX also the arithmetic, but not input and output.
    opset: ONNX only, the operator set, 13 to 21; None for 17.
    size: ONNX only, fixed (height, width) of the input in pixels, multiples of the network's
        alignment; None leaves both dynamic.
    metadata: string pairs for ONNX and safetensors, in addition to those of the network.

    Before a file gets its name, it is read back and must give the same operations, weights and
    geometry. ONNX is also checked by onnx, run in onnxruntime and compared with the network
    evaluated in float64.

    Raises `ArgumentError` for an invalid value, `GraphError` if the format cannot express the
    network, `OutputExistsError` or `EncodeError` if a file cannot be written, and `EngineError` if
    the results are too inaccurate.
    """
    path = Path(path)
    suffix = _check_options(path, opset, size)
    graph = adapted(graph)
    if size is not None and (min(size) < 1 or any(side % graph.alignment for side in size)):
        raise ArgumentError(
            f"`size` is {size[0]}x{size[1]}; both sides must be multiples of {graph.alignment} px"
        )
    targets = _targets(path, overwrite=overwrite)
    match suffix:
        case ".onnx":
            contents = [_onnx(graph, fp16, opset or writer.DEFAULT_OPSET, size, metadata or {})]
            error, psnr = _compare(contents[0], graph, size)
            written = parse_onnx(contents[0])
        case ".safetensors":
            contents = [_safetensors(graph, fp16, metadata or {})]
            written = read_safetensors(contents[0])
        case _:
            text, weights = to_ncnn(graph, fp16=fp16)
            contents = [weights, text.encode("ascii")]
            written = parse_ncnn(text, weights)
    expected = _halved(graph, suffix) if fp16 else graph
    # The constants of an architecture are not in safetensors; other files may round them.
    if not same(written, expected, exact=suffix != _SAFETENSORS):
        raise EngineError(
            f"the {suffix} file holds another network when it is read back, and was not written; "
            "report this"
        )
    if suffix != _ONNX:
        error, psnr = _compare(written, graph, size) if fp16 else (0.0, math.inf)
    if math.isinf(error):
        advice = "; leave out `fp16=True`" if fp16 else ""
        raise EngineError(
            "the exported network returns values that are not finite for a test picture, and was "
            f"not written{advice}"
        )
    if (psnr < FLOAT16_PSNR) if fp16 else (error > _allowed(error, graph, size)):
        allowed = f"{FLOAT16_PSNR:g} dB" if fp16 else f"{FLOAT32_TOLERANCE:g}"
        advice = "leave out `fp16=True`" if fp16 else "report this"
        raise EngineError(
            f"the exported network is {error:.2e} off ({psnr:.1f} dB), more than allowed "
            f"({allowed}), and was not written; {advice}"
        )
    write_files([*zip(targets, contents, strict=True)], overwrite=overwrite)
    return Export(path, graph.scale, graph.margin, graph.alignment, error, psnr)


def _check_options(path: Path, opset: int | None, size: tuple[int, int] | None) -> str:
    """Check what can be checked without the network; return the suffix."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ArgumentError(
            f"{shown(path)}: the name of an exported network must end in .onnx, .safetensors "
            "or .param"
        )
    if suffix != _ONNX and opset is not None:
        raise ArgumentError(f"opset is {opset}, and only ONNX has one; leave out `opset=`")
    if suffix != _ONNX and size is not None:
        raise ArgumentError(
            f"`size` is {size[0]}x{size[1]}, and only ONNX can fix it; leave out `size=`"
        )
    if opset is not None and not writer.MIN_OPSET <= opset <= writer.MAX_OPSET:
        raise ArgumentError(
            f"opset is {opset}; it must be {writer.MIN_OPSET} to {writer.MAX_OPSET}"
        )
    return suffix


def check_target(
    path: str | os.PathLike[str],
    *,
    sources: Iterable[str | os.PathLike[str]] = (),
    overwrite: bool = False,
) -> None:
    """Check that `write_network` can write ``path``, and replaces no network of ``sources``.

    Raises `ArgumentError` for its suffix, and `OutputExistsError` or `EncodeError`.
    """
    path = Path(path)
    _check_options(path, None, None)
    _targets(path, overwrite=overwrite)
    for source in map(Path, sources):
        for file in (source, source.with_suffix(_NCNN_WEIGHTS)):
            _targets(path, overwrite=overwrite, source=file)


def _targets(path: Path, *, overwrite: bool, source: Path | None = None) -> list[Path]:
    """Return the files to write, the weights of ncnn first; check that they can be written."""
    files = [path]
    if path.suffix.lower() == _NCNN:
        files = [path.with_suffix(_NCNN_WEIGHTS), path]
    targets = [check_place(file, overwrite=overwrite, source=source) for file in files]
    for target in targets:
        remove_stale(target.parent)
        check_writable(target)
    return targets


def _onnx(
    graph: g.Graph,
    fp16: bool,
    opset: int,
    size: tuple[int, int] | None,
    metadata: Mapping[str, str],
) -> bytes:
    entries = {
        **metadata,
        "scale": str(graph.scale),
        "margin": str(graph.margin),
        "alignment": str(graph.alignment),
        "padding": "edge, inside the model",
        "format": "NCHW float32 RGB [0, 1]",
    }
    proto = writer.to_onnx(
        graph, opset=opset, pad_edges=True, fp16=fp16, batch=1, size=size, metadata=entries
    )
    data: bytes = proto.SerializeToString()
    return data


def _safetensors(graph: g.Graph, fp16: bool, metadata: Mapping[str, str]) -> bytes:
    inner, factor = unadapted(graph)
    tensors: Mapping[str, npt.NDArray[np.floating]]
    tensors = span.completed(architectures.state_dict(inner))
    if fp16:
        tensors = {name: _half(name, array).astype(np.float16) for name, array in tensors.items()}
    entries = {**metadata, **({ENLARGED: str(factor)} if factor > 1 else {})}
    return to_safetensors(tensors, metadata=entries)


def _halved(graph: g.Graph, suffix: str) -> g.Graph:
    """Return the network as a float16 file of a format holds it.

    ncnn stores the weights of convolutions in float16, safetensors all weights of the architecture,
    and ONNX all constants.
    """
    inner, factor = unadapted(graph) if suffix == _SAFETENSORS else (graph, 1)
    nodes = [replace(node, op=_halved_op(node.name, node.op, suffix)) for node in inner.nodes]
    return adapted(g.Graph(nodes, output=inner.output, inputs=inner.inputs), factor)


def _halved_op(name: str, op: g.Op, suffix: str) -> g.Op:
    match op:
        case g.Conv() | g.ConvTranspose():
            activation = op.activation
            bias = op.bias
            if suffix != _NCNN:
                bias = _half(name, bias)
                activation = _halved_activation(name, activation)
            return replace(op, weight=_half(name, op.weight), bias=bias, activation=activation)
        case g.Activate(activation=activation) if suffix != _NCNN:
            made = _halved_activation(name, activation)
            assert made is not None
            return g.Activate(made)
        case g.Affine() if suffix == _ONNX:
            scale, offset = (
                _half(name, number) if isinstance(number, np.ndarray) else float(np.float16(number))
                for number in (op.scale, op.offset)
            )
            return g.Affine(scale, offset)
        case _:
            return op


def _halved_activation(name: str, activation: g.Activation | None) -> g.Activation | None:
    if activation is None or activation.slopes is None:
        return activation
    return replace(activation, slopes=_half(name, activation.slopes))


def _half(name: str, array: npt.NDArray[np.floating]) -> g.Weights:
    with np.errstate(over="ignore"):
        made = array.astype(np.float16).astype(np.float32)
    if not np.isfinite(made).all():
        raise GraphError(f"{name!r} has weights beyond the range of float16; write float32")
    return made


def _compare(
    model: bytes | g.Graph, graph: g.Graph, size: tuple[int, int] | None
) -> tuple[float, float]:
    """Return largest difference and PSNR of a model from the graph in float64.

    model: ONNX, which onnxruntime runs, or a graph, which is evaluated in float64. The difference
        of values that are not finite is infinite.
    """
    picture = _test_picture(*_size(graph, size))
    expected = _evaluate(graph, picture)
    result = _run(model, picture) if isinstance(model, bytes) else _evaluate(model, picture)
    if not np.isfinite(result).all() or not np.isfinite(expected).all():
        return math.inf, -math.inf
    difference = result.astype(np.float64) - expected
    mean_square = float(np.mean(np.square(result.clip(0, 1) - expected.clip(0, 1))))
    psnr = -10 * math.log10(mean_square) if mean_square > 0 else math.inf
    # Rounding is relative: some networks return values far beyond [0, 1] for noise.
    return float(np.abs(difference).max()) / max(1.0, float(np.abs(expected).max())), psnr


def _allowed(error: float, graph: g.Graph, size: tuple[int, int] | None) -> float:
    """Return the largest allowed difference of a float32 file.

    Networks may amplify rounding, as SPAN does. They may differ by as much as for a picture that
    differs by `_ROUNDING`.
    """
    if error <= FLOAT32_TOLERANCE:
        return FLOAT32_TOLERANCE
    picture = _test_picture(*_size(graph, size))
    noise = np.random.default_rng(1).standard_normal(picture.shape)
    expected = _evaluate(graph, picture)
    changed = _evaluate(graph, picture * (1 + _ROUNDING * noise))
    difference = float(np.abs(changed - expected).max()) / max(1.0, float(np.abs(expected).max()))
    return max(FLOAT32_TOLERANCE, difference)


def _size(graph: g.Graph, size: tuple[int, int] | None) -> tuple[int, int]:
    """Return height and width of the test picture."""
    return size or (4 * graph.alignment + 20, 4 * graph.alignment + 24)


def _run(model: bytes, picture: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        (result,) = session.run(None, {writer.INPUT: picture})
    except Exception as error:  # onnxruntime raises plain Exceptions of several kinds
        raise EngineError(
            f"onnxruntime cannot run the exported network: {reason(error)}; report this"
        ) from error
    made: npt.NDArray[np.float32] = result
    return made


def _evaluate(graph: g.Graph, picture: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Evaluate a network on a picture with its edge replicated; the result has its scale."""
    border = graph.border
    padded = np.pad(picture, ((0, 0), (0, 0), (border, border), (border, border)), mode="edge")
    surplus = (border - graph.lost) * graph.scale
    inside = slice(surplus, -surplus or None)
    return evaluate(graph, padded)[:, :, inside, inside]


def _test_picture(height: int, width: int) -> npt.NDArray[np.float32]:
    """Return flat areas, edges, a gradient and noise: (1, 3, height, width) in [0, 1]."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    ramp = x / max(width - 1, 1)
    disc = ((x - width / 2) ** 2 + (y - height / 2) ** 2 < (min(height, width) / 3) ** 2) * 1.0
    noise = np.random.default_rng(0).random((height, width))
    picture: npt.NDArray[np.float32] = np.stack([ramp, disc, noise])[None].astype(np.float32)
    return picture
