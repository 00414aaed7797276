"""A graph on an NVIDIA GPU in half precision, each convolution one kernel with all that follows it.

Values are (N, H, W, P) with P the channels rounded up to 16, channels last. A convolution of
``csrc/cuda`` reads its input once and writes its result once, with bias, activation, pixel shuffle,
crop and the sum with a skip connection done on the way: what other libraries leave to passes of
their own, which cost as much as the convolutions of such a thin network. Where cuDNN is faster all
the same (`FusedRunner.choose`), it computes the sums and one pass does the rest.
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
from ..network.rewrite import shuffle_transposed
from .cuda_tiles import element, where
from .torch_device import Device
from .torch_module import convolve, cudnn

_log = logging.getLogger(__name__)

#: Channels come in groups of what one step of the tensor cores takes.
_GROUP: Final = 16
#: Compute capability from which the fused convolution runs.
_LEAST_CAPABILITY: Final = (8, 0)
#: Sides of the input over which the two ways of a convolution are timed: the first that fits.
_TRIAL_SIDES: Final = (768, 384, 128)
_TRIALS: Final = 5

_Values = dict[str, torch.Tensor]


def suits(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a device has what the fused convolutions need, in that precision."""
    if dtype == torch.float32 or device.type != "cuda":
        return False
    return torch.cuda.get_device_capability(device) >= _LEAST_CAPABILITY


@dataclass(slots=True)
class _Fused:
    """A convolution and what follows it.

    first: the name of the convolution. name: that of the last operation that is done on the way.
    weight, plain: what the fused kernel takes, and what cuDNN does.
    skip: the value that is added, and how many pixels are cut from each of its sides.
    library: whether cuDNN computes the sums. last: the result is that of the network, in float32.
    """

    name: str
    first: str
    source: str
    weight: torch.Tensor
    plain: torch.Tensor
    bias: torch.Tensor
    slope: torch.Tensor
    kernel: int
    stride: int
    padding: int
    channels: int
    shuffle: int = 1
    crop: int = 0
    skip: tuple[str, int] | None = None
    library: bool = False
    last: bool = False

    @property
    def own(self) -> bool:
        """Whether the fused kernel can do it."""
        return self.stride == 1 and self.padding == 0

    @property
    def reads(self) -> list[str]:
        return [self.source, *([self.skip[0]] if self.skip else [])]


@dataclass(slots=True)
class _Other:
    """Any other operation, as a function of its inputs."""

    name: str
    reads: list[str]
    run: Callable[..., torch.Tensor]


class FusedRunner:
    """A graph with its weights packed; see `waifu2x.engines.cuda_graphs.Runner`."""

    pixel = _GROUP

    def __init__(self, graph: g.Graph, device: Device, dtype: torch.dtype, native: Any) -> None:
        """Lower a graph. Raises `EngineError` for operations that are not for it."""
        self.graph = shuffle_transposed(graph)
        self.dtype = dtype
        self._device, self._native = device.torch, native
        self._readers: dict[str, list[g.Node]] = {}
        for node in self.graph.nodes:
            for name in node.inputs:
                self._readers.setdefault(name, []).append(node)
        self._steps: list[_Fused | _Other] = []
        self._lower()
        self._last_use: dict[str, int] = {}
        for index, step in enumerate(self._steps):
            for name in step.reads:
                self._last_use[name] = index
        self.choose(os.environ.get("WAIFU2X_CUDA_CONV", "auto"))

    # --- lowering -----------------------------------------------------------------------------

    def _lower(self) -> None:
        done: set[str] = set()
        for node in self.graph.nodes:
            if node.name in done:
                continue
            pooled = self.graph.values[node.name].pooled
            if isinstance(node.op, g.Conv) and not pooled:
                done |= self._convolution(node, node.op)
            elif isinstance(node.op, g.Crop) and self._only_skips(node):
                continue  # read where it is added
            else:
                self._steps.append(_Other(node.name, list(node.inputs), self._function(node)))
        made = {value.name for value in self.graph.inputs}
        for step in self._steps:
            missing = set(step.reads) - made
            if missing:
                raise EngineError(f"{step.name!r} reads {missing.pop()!r} before it is made")
            made.add(step.name)

    def _convolution(self, node: g.Node, op: g.Conv) -> set[str]:
        """Add a convolution with the operations after it that only it is for; returns those."""
        chain, activation = [node], op.activation
        shuffle, crop = 1, 0
        skip: tuple[str, int] | None = None

        def following(kind: type) -> g.Node | None:
            readers = self._readers.get(chain[-1].name, [])
            if chain[-1].name == self.graph.output or len(readers) != 1:
                return None
            return readers[0] if isinstance(readers[0].op, kind) else None

        if activation is None and (after := following(g.PixelShuffle)) is not None:
            assert isinstance(after.op, g.PixelShuffle)
            shuffle = after.op.factor
            chain.append(after)
            if (after := following(g.Crop)) is not None:
                assert isinstance(after.op, g.Crop)
                crop = after.op.margin
                chain.append(after)
        if activation is None and (after := following(g.Activate)) is not None:
            assert isinstance(after.op, g.Activate)
            if after.op.activation.kind != "sigmoid":
                activation = after.op.activation
                chain.append(after)
        if (after := following(g.Add)) is not None:
            others = [name for name in after.inputs if name != chain[-1].name]
            if len(others) == 1 and (skip := self._made(others[0])) is not None:
                chain.append(after)
        if activation is not None and activation.kind == "sigmoid":
            raise EngineError(f"{node.name!r} ends in a sigmoid, which is not for this engine")
        name = chain[-1].name
        out, _, kernel, _ = op.weight.shape
        # Before the shuffle, which makes one channel of several.
        together = shuffle * shuffle
        slopes = np.repeat(g.negative_slopes(activation, out // together), together)
        made = _Fused(
            name=name,
            first=node.name,
            source=node.inputs[0],
            weight=self._packed(op),
            plain=self._plain(op),
            bias=self._floats(_padded(op.bias, _up(out))),
            slope=self._floats(_padded(slopes, _up(out))),
            kernel=kernel,
            stride=op.stride,
            padding=op.padding,
            channels=self.graph.values[name].channels,
            shuffle=shuffle,
            crop=crop,
            skip=skip,
            last=name == self.graph.output,
        )
        self._steps.append(made)
        return {each.name for each in chain}

    def _packed(self, op: g.Conv) -> torch.Tensor:
        """(taps, in, out) with both rounded up."""
        out, inputs, kernel, _ = op.weight.shape
        packed = np.zeros((kernel * kernel, _up(inputs), _up(out)), np.float32)
        packed[:, :inputs, :out] = op.weight.transpose(2, 3, 1, 0).reshape(-1, inputs, out)
        return torch.from_numpy(packed).to(self._device, self.dtype)

    def _plain(self, op: g.Conv) -> torch.Tensor:
        """(out, in, k, k) with both rounded up, channels last."""
        out, inputs, kernel, _ = op.weight.shape
        plain = np.zeros((_up(out), _up(inputs), kernel, kernel), np.float32)
        plain[:out, :inputs] = op.weight
        made = torch.from_numpy(plain).to(self._device, self.dtype)
        return made.contiguous(memory_format=torch.channels_last)

    def _floats(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(array, np.float32)).to(self._device)

    def _made(self, name: str) -> tuple[str, int] | None:
        """A value that is there by now, itself or as a cut of one that is."""
        ready = {step.name for step in self._steps} | {self.graph.inputs[0].name}
        if name in ready:
            return name, 0
        node = next((each for each in self.graph.nodes if each.name == name), None)
        if node is not None and isinstance(node.op, g.Crop) and node.inputs[0] in ready:
            return node.inputs[0], node.op.margin
        return None

    def _only_skips(self, crop: g.Node) -> bool:
        """Whether all that reads a crop is a sum that a convolution does on the way."""
        if crop.name == self.graph.output:
            return False
        for reader in self._readers.get(crop.name, []):
            others = [name for name in reader.inputs if name != crop.name]
            if not isinstance(reader.op, g.Add) or len(others) != 1:
                return False
            if not self._ends_in_convolution(others[0]):
                return False
        return True

    def _ends_in_convolution(self, name: str) -> bool:
        """Whether a value is a convolution's, up to what is fused, and only the sum reads it."""
        nodes = {node.name: node for node in self.graph.nodes}
        while name in nodes and len(self._readers.get(name, [])) == 1:
            op = nodes[name].op
            if isinstance(op, g.Conv):
                return not self.graph.values[name].pooled
            if not isinstance(op, g.PixelShuffle | g.Crop | g.Activate):
                return False
            name = nodes[name].inputs[0]
        return False

    def _function(self, node: g.Node) -> Callable[..., torch.Tensor]:
        """An operation that is not fused, on values channels last."""
        op, values = node.op, self.graph.values
        channels = values[node.inputs[0]].channels
        if values[node.name].pooled:
            return self._pooled_function(node, channels)
        match op:
            case g.Multiply():
                return self._gate(node)
            case g.Crop(margin=margin):
                return lambda x: x[
                    :, margin : -margin or None, margin : -margin or None
                ].contiguous()
            case g.Add():
                return lambda a, b: a + b
            case g.Activate(activation=activation):
                return _activation(activation, self._floats)
            case g.Affine(scale=scale, offset=offset):
                # What rounds the channels up stays 0.
                return lambda x: F.pad(
                    x[..., :channels] * scale + offset, (0, x.shape[3] - channels)
                )
            case g.Concat():
                sizes = [values[name].channels for name in node.inputs]
                return lambda *xs: _widened(
                    torch.cat([x[..., :n] for x, n in zip(xs, sizes, strict=True)], 3)
                )
            case g.PixelShuffle(factor=factor):
                return lambda x: _widened(_last(F.pixel_shuffle(_first(x[..., :channels]), factor)))
            case g.Upsample(factor=factor):
                return lambda x: _last(F.interpolate(_first(x), scale_factor=float(factor)))
        raise EngineError(f"{node.name!r} ({type(op).__name__}) is not for this engine")

    def _pooled_function(self, node: g.Node, channels: int) -> Callable[..., torch.Tensor]:
        """Means and what is made of them, in float32: (N, C)."""
        match node.op:
            case g.GlobalMean():
                return lambda x: x.mean((1, 2), dtype=torch.float32)[:, :channels]
            case g.Conv() as op:
                weight, bias = self._floats(op.weight[:, :, 0, 0]), self._floats(op.bias)
                after = _activation(op.activation, self._floats)
                return lambda x: after(F.linear(x, weight, bias))
            case g.Activate(activation=activation):
                return _activation(activation, self._floats)
            case g.Affine(scale=scale, offset=offset):
                return lambda x: x * scale + offset
        raise EngineError(f"{node.name!r} ({type(node.op).__name__}) is not for this engine")

    def _gate(self, node: g.Node) -> Callable[..., torch.Tensor]:
        """In place, where nothing reads the value afterwards."""
        readers = self._readers[node.inputs[0]]
        order = {each.name: index for index, each in enumerate(self.graph.nodes)}
        alone = all(order[reader.name] <= order[node.name] for reader in readers)

        def gate(x: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
            x = x if alone else x.clone()
            batch, height, width, pixel = x.shape
            full = F.pad(gates.float(), (0, pixel - gates.shape[1])).expand(batch, pixel)
            full = full.contiguous()
            self._native.gate(
                data=x.data_ptr(),
                element=element(x.dtype),
                batch=batch,
                height=height,
                width=width,
                channels=pixel,
                gates=full.data_ptr(),
                **where(x),
            )
            return x

        return gate

    # --- running ------------------------------------------------------------------------------

    def __call__(self, batch: torch.Tensor, means: Sequence[torch.Tensor]) -> torch.Tensor:
        """Run the network over (N, H, W, 16)."""
        return self._go(batch, means, self._convolve)

    def times(
        self, batch: torch.Tensor, means: Sequence[torch.Tensor] = ()
    ) -> list[tuple[str, float, float]]:
        """Name, seconds and floating-point operations of each step, one after the other, on a GPU.

        Those of the convolutions are counted as they are without padded channels.
        """
        took: list[tuple[str, float, float]] = []
        made = {node.name: node for node in self.graph.nodes}

        def convolve(step: _Fused, values: _Values) -> torch.Tensor:
            result = self._convolve(step, values)
            seconds = self._seconds(lambda: self._convolve(step, values))
            lost = step.kernel - 1 if step.own else 0
            height, width = values[step.source].shape[1:3]
            size = (height - lost) * (width - lost) / step.stride**2
            macs = size * batch.shape[0] * made[step.first].op.weight.size  # type: ignore[union-attr]
            took.append((step.name, seconds, 2.0 * macs))
            return result

        def other(step: _Other, values: _Values) -> torch.Tensor:
            # Some work in place: on copies, that are made before.
            given = [values[name].clone() for name in step.reads]
            took.append((step.name, self._seconds(lambda: step.run(*given)), 0.0))
            return step.run(*(values[name] for name in step.reads))

        self._go(batch, means, convolve, other)
        return took

    def _go(
        self,
        batch: torch.Tensor,
        means: Sequence[torch.Tensor],
        convolve: Callable[[_Fused, _Values], torch.Tensor],
        other: Callable[[_Other, _Values], torch.Tensor] | None = None,
    ) -> torch.Tensor:
        values: _Values = {self.graph.inputs[0].name: batch}
        for given, mean in zip(self.graph.inputs[1:], means, strict=True):
            values[given.name] = mean.reshape(mean.shape[0], -1)
        for index, step in enumerate(self._steps):
            if isinstance(step, _Fused):
                values[step.name] = convolve(step, values)
            elif other is not None:
                values[step.name] = other(step, values)
            else:
                values[step.name] = step.run(*(values[name] for name in step.reads))
            for name in step.reads:
                if self._last_use[name] == index and name != self.graph.output:
                    values.pop(name, None)
        return values[self.graph.output]

    def _convolve(self, step: _Fused, values: _Values) -> torch.Tensor:
        return self._by_library(step, values) if step.library else self._by_us(step, values)

    def _by_us(self, step: _Fused, values: _Values) -> torch.Tensor:
        source = values[step.source]
        batch, height, width, pixel = source.shape
        lost = 2 * step.crop
        out_height = (height - step.kernel + 1) * step.shuffle - lost
        out_width = (width - step.kernel + 1) * step.shuffle - lost
        dtype = torch.float32 if step.last else self.dtype
        out_pixel = step.channels if step.last else _up(step.channels)
        result = source.new_empty((batch, out_height, out_width, out_pixel), dtype=dtype)
        skip = values[step.skip[0]] if step.skip else None
        self._native.convolve(
            src=source.data_ptr(),
            src_height=height,
            src_width=width,
            src_pixel=pixel,
            batch=batch,
            element=element(self.dtype),
            weight=step.weight.data_ptr(),
            kernel=step.kernel,
            channels_in=step.weight.shape[1],
            channels_out=step.weight.shape[2],
            bias=step.bias.data_ptr(),
            slope=step.slope.data_ptr(),
            dst=result.data_ptr(),
            dst_element=element(dtype),
            dst_height=out_height,
            dst_width=out_width,
            dst_pixel=out_pixel,
            dst_channels=step.channels,
            shuffle=step.shuffle,
            crop=step.crop,
            addend=0 if skip is None else skip.data_ptr(),
            addend_element=element(self.dtype if skip is None else skip.dtype),
            addend_height=0 if skip is None else skip.shape[1],
            addend_width=0 if skip is None else skip.shape[2],
            addend_pixel=0 if skip is None else skip.shape[3],
            addend_crop=step.skip[1] if step.skip else 0,
            **where(source),
        )
        return result

    def _by_library(self, step: _Fused, values: _Values) -> torch.Tensor:
        sums = convolve(
            _first(values[step.source]), step.plain, None, stride=step.stride, padding=step.padding
        )
        result = _last(sums).contiguous()
        plain = step.shuffle == 1 and step.crop == 0
        skip = values[step.skip[0]] if step.skip else None
        batch, height, width, channels = result.shape
        fused = skip is not None and plain and skip.shape[3] == channels
        self._native.finish(
            data=result.data_ptr(),
            element=element(result.dtype),
            batch=batch,
            height=height,
            width=width,
            channels=channels,
            bias=step.bias.data_ptr(),
            slope=step.slope.data_ptr(),
            addend=skip.data_ptr() if fused and skip is not None else 0,
            addend_height=skip.shape[1] if fused and skip is not None else 0,
            addend_width=skip.shape[2] if fused and skip is not None else 0,
            addend_crop=step.skip[1] if fused and step.skip else 0,
            **where(result),
        )
        if step.shuffle > 1:
            shuffled = F.pixel_shuffle(
                _first(result[..., : step.channels * step.shuffle**2]), step.shuffle
            )
            result = _widened(_last(shuffled))
        if step.crop:
            cut = slice(step.crop, -step.crop)
            result = result[:, cut, cut].contiguous()
        if skip is not None and not fused:
            assert step.skip is not None
            cut = slice(step.skip[1], -step.skip[1] or None)
            result = result[..., : step.channels] + skip[:, cut, cut, : step.channels]
            result = _widened(result)
        return result

    # --- which way is faster ------------------------------------------------------------------

    def choose(self, way: str) -> None:
        """Choose for each convolution whether the fused kernel or cuDNN computes it.

        way: "own", "cudnn", or "auto", which times both once, over one input, so that the choice
            does not depend on the pictures.

        Raises `ArgumentError` for anything else.
        """
        if way not in ("auto", "own", "cudnn"):
            raise ArgumentError(f"WAIFU2X_CUDA_CONV is {way!r}; allowed are auto, own and cudnn")
        for step in self._steps:
            if isinstance(step, _Fused):
                step.library = not step.own or (way == "cudnn" and not step.last)
        if way != "auto" or self._device.type != "cuda":
            return
        for side in _TRIAL_SIDES:
            with suppress(torch.cuda.OutOfMemoryError):
                self._try_both(side)
                return
            torch.cuda.empty_cache()
        _log.debug("no memory to time convolutions: those that were not are ours")

    def _try_both(self, least: int) -> None:
        side = self.graph.input_size(least)
        batch = torch.rand((1, side, side, self.pixel), device=self._device).to(self.dtype)
        batch[..., 3:] = 0
        means = [
            torch.full((1, given.channels, 1, 1), 0.5, device=self._device)
            for given in self.graph.inputs[1:]
        ]

        def timed(step: _Fused, values: _Values) -> torch.Tensor:
            # The last one stays in float32 to the end, which cuDNN has no way for.
            if step.own and not step.last:
                own = self._seconds(lambda: self._by_us(step, values))
                library = self._seconds(lambda: self._by_library(step, values))
                step.library = library < own
                _log.debug(
                    "%s: fused %.3f ms, cuDNN and a pass %.3f ms",
                    step.name, 1e3 * own, 1e3 * library,
                )  # fmt: skip
            return self._convolve(step, values)

        began = time.perf_counter()
        # By the first way that cuDNN thinks of: to try all takes longer than one picture.
        with cudnn(benchmark=False):
            self._go(batch, means, timed)
        _log.debug("convolutions chosen in %.2f s", time.perf_counter() - began)

    def _seconds(self, run: Callable[[], object]) -> float:
        """The shortest of some runs, by the clock of the device."""
        run()
        took: list[float] = []
        for _ in range(_TRIALS):
            begin, end = (
                torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
                for _ in range(2)
            )
            begin.record()
            run()
            end.record()
            end.synchronize()
            took.append(begin.elapsed_time(end) / 1e3)
        return min(took)


def _up(channels: int) -> int:
    return -(-channels // _GROUP) * _GROUP


def _padded(array: np.ndarray, size: int) -> np.ndarray:
    return np.pad(array.astype(np.float32), (0, size - array.size))


def _first(x: torch.Tensor) -> torch.Tensor:
    """Channels first by name, still last in memory."""
    return x.permute(0, 3, 1, 2)


def _last(x: torch.Tensor) -> torch.Tensor:
    return x.permute(0, 2, 3, 1)


def _widened(x: torch.Tensor) -> torch.Tensor:
    """With channels rounded up, the new ones 0."""
    return F.pad(x, (0, _up(x.shape[3]) - x.shape[3])).contiguous()


def _activation(
    activation: g.Activation | None, floats: Callable[[np.ndarray], torch.Tensor]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function of values whose channels are last; 0 stays 0, but for the sigmoid."""
    match activation:
        case None:
            return lambda x: x
        case g.Activation(kind="relu"):
            return F.relu
        case g.Activation(kind="sigmoid"):
            return torch.sigmoid
        case g.Activation(kind="prelu", slopes=slopes):
            assert slopes is not None
            weight = floats(slopes)
            return lambda x: torch.where(
                x >= 0, x, x * F.pad(weight, (0, x.shape[-1] - weight.numel())).to(x.dtype)
            )
        case g.Activation(slope=slope):
            return lambda x: F.leaky_relu(x, slope)
    raise EngineError(f"{activation} is not for this engine")
