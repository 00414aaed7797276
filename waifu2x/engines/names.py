"""Names of engines, precisions and devices, and which go together; loads no runtime."""

from __future__ import annotations

import re
from typing import Final

from .._text import listed, unknown
from ..errors import ArgumentError

#: Names of engines in `waifu2x.engines.create`, apart from "auto".
ENGINES: Final = ("native", "onnx", "torch", "cuda", "vulkan")

#: Names of precisions in `waifu2x.engines.create`.
PRECISIONS: Final = ("auto", "fp32", "fp16", "bf16")

#: Kinds of devices and the engines that run on them. The first is the one for engine "auto".
KINDS: Final = {
    "cpu": ("native", "onnx", "torch"),
    "cuda": ("cuda", "torch", "onnx"),
    "vulkan": ("vulkan",),
    "mps": ("torch",),
    "xpu": ("torch",),
    "directml": ("onnx",),
    "coreml": ("onnx",),
    "openvino": ("onnx",),
    "webgpu": ("onnx",),
}

#: What a device may be, for messages.
ALLOWED_DEVICES: Final = (
    "it must be cpu, a GPU such as cuda:0 or vulkan:0, several such as cuda:0,cuda:1, mps, xpu, or "
    "for engine onnx directml, coreml, openvino or webgpu"
)

_PRECISIONS_OF: Final = {
    "native": ("auto", "fp32"),
    "onnx": ("auto", "fp32"),
    "vulkan": ("auto", "fp32", "fp16"),
}
_REDUCED: Final = "choose `engine='cuda'`, `engine='vulkan'` or `engine='torch'`"

_DEVICE: Final = re.compile(rf"({'|'.join(KINDS)})(:(\d{{1,4}}))?")


def split_device(device: str) -> list[tuple[str, int | None]]:
    """Return the kind and the number of each device in "cuda:0,cuda:1".

    Raises `ArgumentError` for another text, for several kinds and for a device that is named twice.
    """
    found = [_DEVICE.fullmatch(each.strip()) for each in device.split(",")]
    parts = [(each[1], None if each[3] is None else int(each[3])) for each in found if each]
    if len(parts) < len(found):
        raise ArgumentError(f"device is {device!r}; {ALLOWED_DEVICES}")
    kinds, places = {kind for kind, _ in parts}, {number or 0 for _, number in parts}
    if len(kinds) > 1 or len(places) < len(parts):
        raise ArgumentError(
            f"device is {device!r}; several must be of one kind, each once, as in cuda:0,cuda:1"
        )
    return parts


def kind_of(device: str) -> str:
    """Return the kind of a device, or of several; raises the errors of `split_device`."""
    return split_device(device)[0][0]


def check(
    name: str = "auto",
    *,
    threads: int | None = None,
    device: str | None = None,
    precision: str = "auto",
) -> None:
    """Check the arguments of `waifu2x.engines.create` without looking at the machine.

    Raises `ArgumentError` for an unknown name or precision, a thread count below 1, and a device or
    precision that the engine does not support.
    """
    if name not in ("auto", *ENGINES):
        raise ArgumentError(unknown("engine", name, ("auto", *ENGINES)))
    if threads is not None and threads < 1:
        raise ArgumentError(
            f"threads is {threads}; it must be a whole number, at least 1, or left out"
        )
    if precision not in PRECISIONS:
        raise ArgumentError(unknown("precision", precision, PRECISIONS))
    if device is not None:
        _check_device(name, device)
    allowed = _PRECISIONS_OF.get(name, PRECISIONS)
    if precision not in allowed:
        raise ArgumentError(
            f"precision is {precision!r}, and engine {name} runs in "
            f"{listed(allowed[1:], 'or')}; {_REDUCED}"
        )


def _check_device(name: str, device: str) -> None:
    parts = split_device(device)
    kind = parts[0][0]
    fit = [each for each, engines in KINDS.items() if name in engines]
    if name != "auto" and name not in KINDS[kind]:
        raise ArgumentError(
            f"device is {device!r}, and engine {name} runs on {listed(fit, 'or')}; "
            f"choose `engine={KINDS[kind][0]!r}`"
        )
    if len(parts) > 1 and "onnx" in (name, KINDS[kind][0]):
        raise ArgumentError(
            f"device is {device!r}; engine onnx runs on one device, for example {kind}"
        )
