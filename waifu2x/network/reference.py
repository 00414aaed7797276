"""Evaluates a graph with NumPy in float64: the slow, plain reference for the engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ..errors import GraphError
from . import graph as g

Array: TypeAlias = npt.NDArray[np.float64]


def evaluate(
    graph: g.Graph, batch: npt.NDArray[np.floating], means: Sequence[npt.NDArray[np.floating]] = ()
) -> Array:
    """Evaluate ``graph`` in float64.

    batch: (N, C, H, W). means: (N or 1, C, 1, 1) for each of ``graph.inputs[1:]``.

    Returns (N, C', H', W') float64.
    """
    values: dict[str, Array] = {
        given.name: np.asarray(array, np.float64)
        for given, array in zip(graph.inputs, (batch, *means), strict=True)
    }
    for node in graph.nodes:
        values[node.name] = _apply(node.op, [values[name] for name in node.inputs])
    return values[graph.output]


def _apply(op: g.Op, inputs: list[Array]) -> Array:
    x = inputs[0]
    match op:
        case g.Conv():
            return _activate(op.activation, _convolve(op, x))
        case g.ConvTranspose():
            return _activate(op.activation, _convolve_transposed(op, x))
        case g.Activate():
            return _activate(op.activation, x)
        case g.Add():
            return sum(inputs[1:], start=x)
        case g.Multiply():
            return x * inputs[1]
        case g.Affine():
            return x * _constant(op.scale) + _constant(op.offset)
        case g.Concat():
            return np.concatenate(inputs, axis=1)
        case g.Crop():
            return x[:, :, op.margin : x.shape[2] - op.margin, op.margin : x.shape[3] - op.margin]
        case g.GlobalMean():
            mean: Array = x.mean(axis=(2, 3), keepdims=True)
            return mean
        case g.PixelShuffle():
            n, c, h, w = x.shape
            f = op.factor
            x = x.reshape(n, c // (f * f), f, f, h, w).transpose(0, 1, 4, 2, 5, 3)
            return x.reshape(n, c // (f * f), h * f, w * f)
        case g.PixelUnshuffle():
            n, c, h, w = x.shape
            f = op.factor
            x = x.reshape(n, c, h // f, f, w // f, f).transpose(0, 1, 3, 5, 2, 4)
            return x.reshape(n, c * f * f, h // f, w // f)
        case g.Upsample():
            return x.repeat(op.factor, axis=2).repeat(op.factor, axis=3)
        case g.Resize():
            return _resize(op, _resize(op, x.swapaxes(2, 3)).swapaxes(2, 3))
        case g.ExternalModel():
            raise GraphError(f"a model of engine {op.engine} alone cannot be evaluated here")


def _constant(value: float | g.Weights) -> float | Array:
    if not isinstance(value, np.ndarray):
        return value
    return value.astype(np.float64).reshape(1, -1, 1, 1)


def _resize(op: g.Resize, x: Array) -> Array:
    """Resample along the last axis."""
    size = x.shape[3]
    center = (np.arange(size * op.numerator // op.denominator) + 0.5) * (
        op.denominator / op.numerator
    ) - 0.5
    first = np.floor(center).astype(int)
    out = np.zeros((*x.shape[:3], len(center)))
    for tap in range(1 - op.support, op.support + 1):
        weight = _kernel(op.kind, np.abs(center - (first + tap)))
        out += weight * x[..., np.clip(first + tap, 0, size - 1)]
    return out


def _kernel(kind: g.ResizeKind, distance: Array) -> Array:
    """Return the weight of a sample by its distance from the center."""
    if kind == "bilinear":
        return np.maximum(1 - distance, 0)
    a = -0.75
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


def _convolve(op: g.Conv, x: Array) -> Array:
    kernel, stride = op.weight.shape[2], op.stride
    x = np.pad(x, ((0, 0), (0, 0), (op.padding, op.padding), (op.padding, op.padding)))
    height = (x.shape[2] - kernel) // stride + 1
    width = (x.shape[3] - kernel) // stride + 1
    weight = op.weight.astype(np.float64)
    out = np.zeros((x.shape[0], weight.shape[0], height, width))
    for i in range(kernel):
        for j in range(kernel):
            window = x[:, :, i : i + stride * height : stride, j : j + stride * width : stride]
            out += np.einsum("oc,nchw->nohw", weight[:, :, i, j], window, optimize=True)
    return out + op.bias.astype(np.float64).reshape(1, -1, 1, 1)


def _convolve_transposed(op: g.ConvTranspose, x: Array) -> Array:
    kernel, stride, padding = op.weight.shape[2], op.stride, op.padding
    n, _, h, w = x.shape
    weight = op.weight.astype(np.float64)
    full = np.zeros(
        (n, weight.shape[1], (h - 1) * stride + kernel, (w - 1) * stride + kernel), np.float64
    )
    for i in range(kernel):
        for j in range(kernel):
            part = np.einsum("co,nchw->nohw", weight[:, :, i, j], x, optimize=True)
            full[:, :, i : i + stride * h : stride, j : j + stride * w : stride] += part
    full = full[:, :, padding : full.shape[2] - padding, padding : full.shape[3] - padding]
    return full + op.bias.astype(np.float64).reshape(1, -1, 1, 1)


def _sigmoid(x: Array) -> Array:
    result: Array = 0.5 + 0.5 * np.tanh(0.5 * x)  # without overflow
    return result


def _activate(activation: g.Activation | None, x: Array) -> Array:
    if activation is None:
        return x
    if activation.kind == "relu":
        return np.maximum(x, 0)
    if activation.kind == "leaky_relu":
        return np.where(x >= 0, x, x * activation.slope)
    if activation.kind == "sigmoid":
        return _sigmoid(x)
    if activation.kind == "silu":
        return x * _sigmoid(x)
    if activation.kind == "tanh":
        return np.tanh(x)
    assert activation.slopes is not None
    return np.where(x >= 0, x, x * activation.slopes.astype(np.float64).reshape(1, -1, 1, 1))
