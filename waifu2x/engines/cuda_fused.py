"""Runs a graph on an NVIDIA GPU in half precision, with fused convolution kernels.

Values are (N, H, W, P), channels last, with P the channels rounded up to a multiple of 16. A
convolution of ``csrc/cuda`` reads its input once and writes its result once; bias, activation,
pixel shuffle, crop and residual sum are fused into it. As separate passes they would cost as much
as the convolutions of such thin networks. If cuDNN is faster nevertheless (`FusedRunner.choose`),
it computes the convolution and one pass does the rest.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch.nn import functional as F

from ..errors import ArgumentError, EngineError
from ..network import graph as g
from ..network.rewrite import Step, fold_scales, fuse, shuffle_transposed
from .cuda_tiles import element, where
from .torch_device import Device
from .torch_module import convolve, cudnn, resize

_log = logging.getLogger(__name__)

#: Channels of one tensor core instruction; values are padded to a multiple.
_GROUP: Final = 16
#: Largest factor of a pixel shuffle in the fused convolution.
_MAX_SHUFFLE: Final = 2
#: Minimum compute capability of the fused convolution.
_LEAST_CAPABILITY: Final = (8, 0)
#: Sides of the input for autotuning; the first that fits in memory is used.
_TRIAL_SIDES: Final = (768, 384, 128)
_TRIALS: Final = 5

_Values = dict[str, torch.Tensor]


def supports(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether the fused kernels run on a device in this precision."""
    if dtype == torch.float32 or device.type != "cuda":
        return False
    return torch.cuda.get_device_capability(device) >= _LEAST_CAPABILITY


@dataclass(slots=True)
class _Convolution:
    """A convolution, its fused operations, and their parameters on the device.

    packed: (k * k, in, out), the weight for the fused kernel. plain: (out, in, k, k) for cuDNN.
    bias, slopes: (out,) float32, before the shuffle. All channel counts are padded.
    channels: of the result, not padded.
    fusable: whether the fused kernel supports it. cudnn: whether cuDNN computes it.
    last: the result is that of the network, in float32.
    """

    step: Step
    op: g.Conv
    packed: torch.Tensor
    plain: torch.Tensor
    bias: torch.Tensor
    slopes: torch.Tensor
    channels: int
    fusable: bool
    last: bool
    cudnn: bool = False

    @property
    def kernel(self) -> int:
        """The side of the kernel."""
        return int(self.op.weight.shape[2])


@dataclass(slots=True)
class _Other:
    """Any other operation, as a function of its inputs."""

    step: Step
    run: Callable[..., torch.Tensor]


class FusedRunner:
    """A network with its weights on a device; see `waifu2x.engines.cuda_graphs.Runner`."""

    pixel = _GROUP

    def __init__(self, graph: g.Graph, device: Device, dtype: torch.dtype, native: Any) -> None:
        """Lower a graph. Raises `EngineError` for an operation that the kernels do not support."""
        self.graph = shuffle_transposed(fold_scales(graph))
        self.dtype = dtype
        self._device, self._native = device.torch, native
        steps, _ = fuse(self.graph, shuffles=True)
        self._last_use = {name: index for index, step in enumerate(steps) for name in step.reads}
        self._steps = [self._lower(index, step) for index, step in enumerate(steps)]
        self.choose(os.environ.get("WAIFU2X_CUDA_CONV", "auto"))

    # --- lowering -----------------------------------------------------------------------------

    def _lower(self, index: int, step: Step) -> _Convolution | _Other:
        op, value = step.node.op, self.graph.values[step.name]
        if isinstance(op, g.Conv) and not value.pooled:
            return self._convolution(step, op)
        channels = self.graph.values[step.inputs[0].name].channels
        if value.pooled:
            return _Other(step, self._pooled_function(step, channels))
        if isinstance(op, g.Multiply) and self.graph.values[step.inputs[1].name].pooled:
            # In place, unless the value is read later or belongs to the caller.
            source = step.inputs[0].name
            free = self._last_use[source] == index and source != self.graph.inputs[0].name
            return _Other(
                step, self._gate if free else lambda x, gates: self._gate(x.clone(), gates)
            )
        return _Other(step, self._function(step, channels))

    def _convolution(self, step: Step, op: g.Conv) -> _Convolution:
        if step.activation is not None and step.activation.smooth:
            raise EngineError(
                f"{step.name!r} ends in a {step.activation.kind}, which engine cuda does not fuse"
            )
        out = op.bias.size
        # The shuffle makes one channel of several.
        phases = step.shuffle**2
        slopes = np.repeat(g.negative_slopes(step.activation, out // phases), phases)
        return _Convolution(
            step=step,
            op=op,
            packed=self._packed(op),
            plain=self._plain(op),
            bias=self._floats(_padded(op.bias, _up(out))),
            slopes=self._floats(_padded(slopes, _up(out))),
            channels=self.graph.values[step.name].channels,
            fusable=op.stride == 1 and step.shuffle <= _MAX_SHUFFLE,
            last=step.name == self.graph.output,
        )

    def _packed(self, op: g.Conv) -> torch.Tensor:
        """Return the weight as (k * k, in, out), channels padded."""
        out, inputs, kernel, _ = op.weight.shape
        packed = np.zeros((kernel * kernel, _up(inputs), _up(out)), np.float32)
        packed[:, :inputs, :out] = op.weight.transpose(2, 3, 1, 0).reshape(-1, inputs, out)
        return torch.from_numpy(packed).to(self._device, self.dtype)

    def _plain(self, op: g.Conv) -> torch.Tensor:
        """Return the weight as (out, in, k, k), channels padded and last in memory."""
        out, inputs, kernel, _ = op.weight.shape
        plain = np.zeros((_up(out), _up(inputs), kernel, kernel), np.float32)
        plain[:out, :inputs] = op.weight
        weight = torch.from_numpy(plain).to(self._device, self.dtype)
        return weight.contiguous(memory_format=torch.channels_last)

    def _floats(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(array, np.float32)).to(self._device)

    def _function(self, step: Step, channels: int) -> Callable[..., torch.Tensor]:
        """Return an operation that is not fused, on (N, H, W, P); ``channels`` of its input."""
        match step.node.op:
            case g.Crop(margin=margin):
                return lambda x: _cropped(x, margin).contiguous()
            case g.Add():
                return lambda a, b: a + b
            case g.Multiply():
                return lambda a, b: a * b
            case g.Activate(activation=activation):
                return _activation(activation, self._floats)
            case g.Affine() as affine:
                scale, offset = self._constant(affine.scale), self._constant(affine.offset)
                # The padded channels stay 0.
                return lambda x: F.pad(
                    (x[..., :channels] * scale + offset).to(x.dtype), (0, x.shape[3] - channels)
                )
            case g.Concat():
                sizes = [self.graph.values[name].channels for name in step.node.inputs]
                return lambda *xs: _padded_channels(
                    torch.cat([x[..., :n] for x, n in zip(xs, sizes, strict=True)], 3)
                )
            case g.PixelShuffle(factor=factor):
                return lambda x: _shuffled(x, channels, factor)
            case g.PixelUnshuffle(factor=factor):
                return lambda x: _padded_channels(
                    _last(F.pixel_unshuffle(_first(x[..., :channels]), factor))
                )
            case g.Upsample(factor=factor):
                return lambda x: _last(F.interpolate(_first(x), scale_factor=float(factor)))
            case g.Resize() as op:
                return lambda x: _last(resize(_first(x), op)).contiguous()
        raise _unsupported(step)

    def _pooled_function(self, step: Step, channels: int) -> Callable[..., torch.Tensor]:
        """Return an operation whose result is pooled, (N, C) float32."""
        match step.node.op:
            case g.GlobalMean():
                return lambda x: x.mean((1, 2), dtype=torch.float32)[:, :channels]
            case g.Conv() as op:
                weight, bias = self._floats(op.weight[:, :, 0, 0]), self._floats(op.bias)
                after = _activation(op.activation, self._floats)
                return lambda x: after(F.linear(x, weight, bias))
            case g.Activate(activation=activation):
                return _activation(activation, self._floats)
            case g.Affine() as affine:
                scale, offset = self._constant(affine.scale), self._constant(affine.offset)
                return lambda x: x * scale + offset
        raise _unsupported(step)

    def _constant(self, value: float | np.ndarray) -> float | torch.Tensor:
        return self._floats(value) if isinstance(value, np.ndarray) else value

    def _gate(self, x: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
        """Multiply ``x`` in place by gates (N or 1, C)."""
        batch, height, width, pixel = x.shape
        padded = F.pad(gates.float(), (0, pixel - gates.shape[1])).expand(batch, pixel).contiguous()
        self._native.gate(
            data=x.data_ptr(),
            element=element(x.dtype),
            batch=batch,
            height=height,
            width=width,
            channels=pixel,
            gates=padded.data_ptr(),
            **where(x),
        )
        return x

    # --- running ------------------------------------------------------------------------------

    def __call__(self, batch: torch.Tensor, means: Sequence[torch.Tensor]) -> torch.Tensor:
        """Run the network on (N, H, W, 16)."""
        return self._run(batch, means, self._convolve)

    def times(
        self, batch: torch.Tensor, means: Sequence[torch.Tensor] = ()
    ) -> list[tuple[str, float, float]]:
        """Return name, seconds and floating-point operations of each step, run alone on a GPU.

        Padded channels do not count as operations; steps other than convolutions count 0.
        """
        times: list[tuple[str, float, float]] = []

        def convolve(conv: _Convolution, values: _Values) -> torch.Tensor:
            result = self._convolve(conv, values)
            seconds = self._seconds(lambda: self._convolve(conv, values))
            lost = conv.kernel - 1 - 2 * conv.op.padding if conv.fusable else 0
            count, height, width, _ = values[conv.step.inputs[0].name].shape
            positions = (height - lost) * (width - lost) / conv.op.stride**2
            macs = positions * count * conv.op.weight.size
            times.append((conv.step.name, seconds, 2.0 * macs))
            return result

        def other(other: _Other, values: _Values) -> torch.Tensor:
            # On copies, because some operations work in place.
            copies = [values[ref.name].clone() for ref in other.step.inputs]
            times.append((other.step.name, self._seconds(lambda: other.run(*copies)), 0.0))
            return _call(other, values)

        self._run(batch, means, convolve, other)
        return times

    def _run(
        self,
        batch: torch.Tensor,
        means: Sequence[torch.Tensor],
        convolve: Callable[[_Convolution, _Values], torch.Tensor],
        other: Callable[[_Other, _Values], torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Run all steps by the functions given, releasing each value after its last use."""
        values: _Values = {self.graph.inputs[0].name: batch}
        for given, mean in zip(self.graph.inputs[1:], means, strict=True):
            values[given.name] = mean.reshape(mean.shape[0], -1)
        for index, lowered in enumerate(self._steps):
            if isinstance(lowered, _Convolution):
                result = convolve(lowered, values)
            else:
                result = (other or _call)(lowered, values)
            values[lowered.step.name] = result
            for name in lowered.step.reads:
                if self._last_use[name] == index:
                    values.pop(name, None)
        return values[self.graph.output]

    def _convolve(self, conv: _Convolution, values: _Values) -> torch.Tensor:
        return self._cudnn(conv, values) if conv.cudnn else self._fused(conv, values)

    def _fused(self, conv: _Convolution, values: _Values) -> torch.Tensor:
        """Compute a convolution and its fused operations in one kernel."""
        step = conv.step
        source = values[step.inputs[0].name]
        if conv.op.padding:
            source = F.pad(source, (0, 0, *[conv.op.padding] * 4))
        batch, height, width, pixel = source.shape
        out_height, out_width = (
            (side - conv.kernel + 1) * step.shuffle - 2 * step.crop for side in (height, width)
        )
        dtype = torch.float32 if conv.last else self.dtype
        out_pixel = conv.channels if conv.last else _up(conv.channels)
        result = source.new_empty((batch, out_height, out_width, out_pixel), dtype=dtype)
        addend = values[step.addend.name] if step.addend else None
        self._native.convolve(
            src=source.data_ptr(),
            src_height=height,
            src_width=width,
            src_pixel=pixel,
            batch=batch,
            element=element(self.dtype),
            weight=conv.packed.data_ptr(),
            kernel=conv.kernel,
            channels_in=conv.packed.shape[1],
            channels_out=conv.packed.shape[2],
            bias=conv.bias.data_ptr(),
            slope=conv.slopes.data_ptr(),
            dst=result.data_ptr(),
            dst_element=element(dtype),
            dst_height=out_height,
            dst_width=out_width,
            dst_pixel=out_pixel,
            dst_channels=conv.channels,
            shuffle=step.shuffle,
            crop=step.crop,
            addend=0 if addend is None else addend.data_ptr(),
            addend_element=element(self.dtype if addend is None else addend.dtype),
            addend_height=0 if addend is None else addend.shape[1],
            addend_width=0 if addend is None else addend.shape[2],
            addend_pixel=0 if addend is None else addend.shape[3],
            addend_crop=step.addend.crop if step.addend else 0,
            **where(source),
        )
        return result

    def _cudnn(self, conv: _Convolution, values: _Values) -> torch.Tensor:
        """Compute a convolution by cuDNN, and its fused operations in as few passes as possible."""
        step, op = conv.step, conv.op
        source = _first(values[step.inputs[0].name])
        sums = convolve(source, conv.plain, None, stride=op.stride, padding=op.padding)
        result = _last(sums).contiguous()
        batch, height, width, channels = result.shape
        addend = values[step.addend.name] if step.addend else None
        crop = step.addend.crop if step.addend else 0
        moved = step.shuffle > 1 or step.crop > 0
        here = addend if addend is not None and not moved and addend.shape[3] == channels else None
        self._native.finish(
            data=result.data_ptr(),
            element=element(result.dtype),
            batch=batch,
            height=height,
            width=width,
            channels=channels,
            bias=conv.bias.data_ptr(),
            slope=conv.slopes.data_ptr(),
            addend=0 if here is None else here.data_ptr(),
            addend_height=0 if here is None else here.shape[1],
            addend_width=0 if here is None else here.shape[2],
            addend_crop=0 if here is None else crop,
            **where(result),
        )
        if step.shuffle > 1:
            result = _shuffled(result, conv.channels * step.shuffle**2, step.shuffle)
        if step.crop:
            result = _cropped(result, step.crop).contiguous()
        if addend is not None and here is None:
            total = result[..., : conv.channels] + _cropped(addend, crop)[..., : conv.channels]
            result = _padded_channels(total)
        return result

    # --- fused kernel or cuDNN ----------------------------------------------------------------

    def choose(self, way: str) -> None:
        """Choose between the fused kernel and cuDNN for each convolution.

        way: "own", "cudnn", or "auto", which times both once on a fixed input, so that the choice
            does not depend on the pictures.

        Raises `ArgumentError` for any other value.
        """
        if way not in ("auto", "own", "cudnn"):
            raise ArgumentError(f"WAIFU2X_CUDA_CONV is {way!r}; allowed are auto, own and cudnn")
        for conv in self._steps:
            if isinstance(conv, _Convolution):
                conv.cudnn = not conv.fusable or (way == "cudnn" and not conv.last)
        if way != "auto" or self._device.type != "cuda":
            return
        for side in _TRIAL_SIDES:
            with suppress(torch.cuda.OutOfMemoryError):
                self._autotune(side)
                return
            torch.cuda.empty_cache()
        _log.debug("no memory to time convolutions: the rest use the fused kernel")

    def _autotune(self, least: int) -> None:
        """Time both ways of each convolution on an input of at least ``least`` pixels a side."""
        side = self.graph.input_size(least)
        batch = torch.rand((1, side, side, self.pixel), device=self._device).to(self.dtype)
        batch[..., 3:] = 0
        means = [
            torch.full((1, given.channels, 1, 1), 0.5, device=self._device)
            for given in self.graph.inputs[1:]
        ]

        def timed(conv: _Convolution, values: _Values) -> torch.Tensor:
            # Only the fused kernel writes the network's result in float32.
            if conv.fusable and not conv.last:
                fused = self._seconds(lambda: self._fused(conv, values))
                library = self._seconds(lambda: self._cudnn(conv, values))
                conv.cudnn = library < fused
                _log.debug(
                    "%s: fused %.3f ms, cuDNN and a pass %.3f ms",
                    conv.step.name, 1e3 * fused, 1e3 * library,
                )  # fmt: skip
            return self._convolve(conv, values)

        began = time.perf_counter()
        # With cuDNN's first algorithm: its own benchmark takes longer than one picture.
        with cudnn(benchmark=False):
            self._run(batch, means, timed)
        _log.debug("convolutions chosen in %.2f s", time.perf_counter() - began)

    def _seconds(self, run: Callable[[], object]) -> float:
        """Return the shortest time of several runs, measured by events on the device."""
        run()
        times: list[float] = []
        for _ in range(_TRIALS):
            begin, end = (
                torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
                for _ in range(2)
            )
            begin.record()
            run()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) / 1e3)
        return min(times)


def _call(other: _Other, values: _Values) -> torch.Tensor:
    return other.run(*(values[ref.name] for ref in other.step.inputs))


def _unsupported(step: Step) -> EngineError:
    return EngineError(f"engine cuda does not run {step.name!r} ({type(step.node.op).__name__})")


def _up(channels: int) -> int:
    """Round up to a multiple of 16."""
    return -(-channels // _GROUP) * _GROUP


def _padded(array: np.ndarray, size: int) -> np.ndarray:
    return np.pad(array.astype(np.float32), (0, size - array.size))


def _first(x: torch.Tensor) -> torch.Tensor:
    """Return a view (N, C, H, W) of (N, H, W, C)."""
    return x.permute(0, 3, 1, 2)


def _last(x: torch.Tensor) -> torch.Tensor:
    """Return a view (N, H, W, C) of (N, C, H, W)."""
    return x.permute(0, 2, 3, 1)


def _cropped(x: torch.Tensor, margin: int) -> torch.Tensor:
    cut = slice(margin, -margin or None)
    return x[:, cut, cut]


def _shuffled(x: torch.Tensor, channels: int, factor: int) -> torch.Tensor:
    return _padded_channels(_last(F.pixel_shuffle(_first(x[..., :channels]), factor)))


def _padded_channels(x: torch.Tensor) -> torch.Tensor:
    """Pad the channels with zeros to a multiple of 16."""
    return F.pad(x, (0, _up(x.shape[3]) - x.shape[3])).contiguous()


def _activation(
    activation: g.Activation | None, floats: Callable[[np.ndarray], torch.Tensor]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function of channels-last values; all but the sigmoid keep padded channels 0."""
    match activation:
        case None:
            return lambda x: x
        case g.Activation(kind="relu"):
            return F.relu
        case g.Activation(kind="sigmoid"):
            return torch.sigmoid
        case g.Activation(kind="silu"):
            return F.silu
        case g.Activation(kind="tanh"):
            return torch.tanh
        case g.Activation(kind="prelu", slopes=slopes):
            assert slopes is not None
            weight = floats(slopes)
            return lambda x: torch.where(
                x >= 0, x, x * F.pad(weight, (0, x.shape[-1] - weight.numel())).to(x.dtype)
            )
        case g.Activation(slope=slope):
            return lambda x: F.leaky_relu(x, slope)
    raise EngineError(f"engine cuda does not run {activation}")
