"""The node: a batch of pictures through a model of waifu2x, on the CPU or a GPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch

import waifu2x

from .cache import Upscalers, version

_Array: TypeAlias = npt.NDArray[np.float32]

#: The folder of ComfyUI with the model files of upscalers.
_FOLDER: Final = "upscale_models"
#: The suffixes of model files; a .param needs its .bin.
_SUFFIXES: Final = (".param", ".pth", ".pt", ".ckpt", ".safetensors", ".onnx", ".json", ".npz")

_NOISE: Final = ["none", "conservative", "0", "1", "2", "3"]
_ENGINES: Final = ["auto", "native", "onnx", "torch", "cuda", "vulkan"]
_PRECISIONS: Final = ["auto", "fp32", "fp16", "bf16"]
_MOST_SIDE: Final = 32768

#: Steps of the progress bar for each picture.
_STEPS: Final = 100
#: Side of the empty mask that "Load Image" returns for a picture without alpha.
_NO_MASK: Final = 64

#: The upscalers of all nodes.
UPSCALERS: Final = Upscalers()


class Waifu2xUpscale:
    """Upscales and denoises each picture of a batch."""

    CATEGORY = "image/upscaling"
    DESCRIPTION = "Upscales and denoises anime pictures with the networks of waifu2x."
    FUNCTION = "upscale"
    RETURN_TYPES = ("IMAGE", "MASK")
    RETURN_NAMES = ("image", "mask")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:
        """Describe the inputs; the models are listed anew by each call."""
        side = {"default": 0, "min": 0, "max": _MOST_SIDE}
        return {
            "required": {
                "image": ("IMAGE",),
                "model": (
                    [*(model.name for model in waifu2x.models()), *_files()],
                    {
                        "default": "cunet",
                        "tooltip": f"A model of waifu2x, or a file in models/{_FOLDER}.",
                    },
                ),
                "noise": (
                    _NOISE,
                    {"default": "none", "tooltip": "The level of JPEG noise to remove."},
                ),
                "scale": (
                    "FLOAT",
                    {
                        "default": 2.0,
                        "min": 0.0,
                        "max": 32.0,
                        "step": 0.05,
                        "tooltip": "1 only denoises; 0 is the scale of the model.",
                    },
                ),
                "width": (
                    "INT",
                    {**side, "tooltip": "Width in pixels instead of the scale; 0 for none."},
                ),
                "height": (
                    "INT",
                    {**side, "tooltip": "Height in pixels instead of the scale; 0 for none."},
                ),
                "strength": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.05,
                        "tooltip": "The share of the network; the rest is Lanczos.",
                    },
                ),
            },
            "optional": {
                "mask": (
                    "MASK",
                    {"tooltip": "Transparency, as from Load Image: 1 is transparent."},
                ),
                "color_fix": (
                    "BOOLEAN",
                    {"default": False, "tooltip": "Match the colors to those of the source."},
                ),
                "tta": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "tooltip": "Average eight rotated and mirrored pictures; 8x the time.",
                    },
                ),
                "engine": (_ENGINES, {"default": "auto"}),
                "device": (
                    "STRING",
                    {"default": "", "tooltip": "For example cuda:1; empty for the default."},
                ),
                "precision": (_PRECISIONS, {"default": "auto"}),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(
        cls,
        model: str | None = None,
        noise: str | None = None,
        engine: str | None = None,
        device: str | None = None,
        precision: str | None = None,
    ) -> bool | str:
        """Return True, or what is wrong with the inputs that are constants of the workflow.

        None stands for an input that comes from another node.
        """
        if noise not in (None, *_NOISE):
            return f"noise is {noise!r}; allowed are {', '.join(_NOISE)}"
        try:
            _options(
                "cunet" if model is None else model,
                engine or "auto",
                device or "",
                precision or "auto",
            )
        except waifu2x.Waifu2xError as error:
            return str(error)
        known = next((each for each in waifu2x.models() if each.name == model), None)
        if known is not None and noise not in (None, "none"):
            levels = [str(level) for level in known.noise_levels()]
            if noise not in levels:
                allowed = ", ".join(["none", *levels])
                return f"model {model} has no noise level {noise}; allowed are {allowed}"
        return True

    @classmethod
    def IS_CHANGED(cls, model: str | None = None, **_: object) -> str:
        """Return a text that changes with the model file."""
        return "" if model is None else str(version(_path(model)))

    def upscale(
        self,
        image: torch.Tensor,
        model: str,
        noise: str,
        scale: float,
        width: int,
        height: int,
        strength: float,
        mask: torch.Tensor | None = None,
        color_fix: bool = False,
        tta: bool = False,
        engine: str = "auto",
        device: str = "",
        precision: str = "auto",
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Upscale a batch, picture by picture.

        image: (B, H, W, C) with C of 1, 3 or 4 (RGBA), in [0, 1]; values outside are clamped.
        mask: (B, H, W), (1, H, W) or (H, W), 1 for transparent pixels. The color of transparent
            pixels is filled from the opaque edge, so that edges get no halo.

        Returns the batch (B, H', W', C), float32 on the CPU, and its mask (B, H', W'), 0 if there
        is no transparency. A picture that equals the one before is not computed again.

        Raises `RuntimeError` with a message of one line, and the exception of ComfyUI if the user
        interrupts the workflow.
        """
        try:
            alpha = _alpha(image, mask)
            sized = width > 0 or height > 0
            given = {
                "scale": None if sized or scale == 0 else scale,
                "width": width or None,
                "height": height or None,
                "noise": _level(noise),
                "strength": strength,
                "color_fix": color_fix,
            }
            upscaler = UPSCALERS.get(_options(model, engine, device, precision, tta=tta))
            results = _results(_pictures(image, alpha), len(image), upscaler, given)
            return _collected(results, len(image), image.shape[-1])
        except waifu2x.Waifu2xError as error:
            raise RuntimeError(f"waifu2x: {error}") from None


def _options(
    model: str, engine: str, device: str, precision: str, *, tta: bool = False
) -> waifu2x.UpscalerOptions:
    return waifu2x.UpscalerOptions(
        _path(model),
        engine=cast("Any", engine),
        device=device.strip() or None,
        precision=cast("Any", precision),
        tta=tta,
    )


def _level(noise: str) -> Any:
    """Return the noise level that an entry of the list stands for."""
    return int(noise) if noise.isdecimal() else None if noise == "none" else noise


def _files() -> list[str]:
    """Return the model files in the folders of ComfyUI, relative to their folder, sorted."""
    import folder_paths

    found = set()
    for folder in folder_paths.get_folder_paths(_FOLDER):
        for parent, _, names in os.walk(folder, followlinks=True):
            found |= {
                os.path.relpath(Path(parent, name), folder)
                for name in names
                if Path(name).suffix.lower() in _SUFFIXES
            }
    return sorted(found, key=str.lower)


def _path(model: str) -> str:
    """Return the name of a model, or the path of a model file in a folder of ComfyUI.

    A workflow may come from anywhere, so it names no other files.
    """
    if any(known.name == model for known in waifu2x.models()):
        return model
    if Path(model).suffix.lower() in _SUFFIXES:
        import folder_paths

        path: str | None = folder_paths.get_full_path(_FOLDER, model)
        if path is not None:
            return path
    raise waifu2x.ArgumentError(
        f"model is {model!r}; it must be a model of waifu2x or a file in models/{_FOLDER}"
    )


def _alpha(image: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
    """Return alpha (B, H, W), 1 for opaque pixels, if ``mask`` is the one of ``image``."""
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4) or 0 in image.shape:
        raise waifu2x.ArgumentError(
            f"image has the shape {tuple(image.shape)}; it must be (batch, height, width, 1, 3 or "
            "4 channels)"
        )
    if mask is None:
        return None
    planes = mask[None] if mask.ndim == 2 else mask
    if planes.shape[1:] == (_NO_MASK, _NO_MASK) and not planes.any():
        return None
    count, height, width, channels = image.shape
    if planes.shape[1:] != (height, width) or len(planes) not in (1, count):
        raise waifu2x.ArgumentError(
            f"mask has the shape {tuple(mask.shape)}; it must be ({count}, {height}, {width}) or "
            f"(1, {height}, {width}), as the image has"
        )
    if channels == 4:
        raise waifu2x.ArgumentError("image is RGBA and mask is given; connect only one alpha")
    return (1 - planes).expand(count, height, width)


def _pictures(image: torch.Tensor, alpha: torch.Tensor | None) -> Iterator[_Array]:
    """Yield the pictures of a batch as (H, W, C) arrays, with alpha as their last channel."""
    for number, picture in enumerate(image):
        if alpha is not None:
            picture = torch.cat((picture, alpha[number, :, :, None].to(picture)), -1)
        samples = picture.detach().to("cpu", torch.float32).clamp(0, 1)
        yield cast("_Array", samples.contiguous().numpy())


def _results(
    pictures: Iterator[_Array], count: int, upscaler: waifu2x.Upscaler, options: dict[str, Any]
) -> Iterator[_Array]:
    """Yield the result of each picture."""
    bar = _progress_bar(count * _STEPS)
    source = result = None
    for number, picture in enumerate(pictures):
        _raise_if_interrupted()

        def follow(share: float, done: int = number) -> None:
            _raise_if_interrupted()
            bar(int((done + share) * _STEPS))

        if source is None or result is None or not np.array_equal(source, picture):
            source, result = picture, _upscaled(upscaler, picture, follow, options)
        bar((number + 1) * _STEPS)
        yield result


def _upscaled(
    upscaler: waifu2x.Upscaler,
    picture: _Array,
    follow: Callable[[float], None],
    options: dict[str, Any],
) -> _Array:
    """Return the result of a picture; other models leave the GPU if its memory runs out."""
    try:
        return upscaler.upscale(picture, progress=follow, **options)
    except waifu2x.DeviceMemoryError:
        if not _free_device_memory():
            raise
    return upscaler.upscale(picture, progress=follow, **options)


def _collected(
    results: Iterator[_Array], count: int, channels: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return color and mask of the results; ``channels`` are those of the batch."""
    images = masks = torch.empty(0)
    for number, result in enumerate(results):
        height, width, found = result.shape
        if number == 0:
            images = torch.empty((count, height, width, channels))
            masks = torch.zeros((count, height, width))
        images[number] = torch.from_numpy(result[:, :, :channels])
        if found in (2, 4):
            masks[number] = torch.from_numpy(1 - result[:, :, -1])
    return images, masks


def _progress_bar(total: int) -> Callable[[int], None]:
    """Return a function that moves the bar of ComfyUI to a number of steps out of ``total``."""
    try:
        from comfy.utils import ProgressBar
    except ImportError:
        return lambda _: None
    bar = ProgressBar(total)
    return lambda value: bar.update_absolute(value, total)


def _raise_if_interrupted() -> None:
    """Raise the exception of ComfyUI if the user has interrupted the workflow."""
    try:
        from comfy.model_management import throw_exception_if_processing_interrupted
    except ImportError:
        return
    throw_exception_if_processing_interrupted()


def _free_device_memory() -> bool:
    """Move the models of ComfyUI off the GPU; return whether that was possible."""
    try:
        from comfy import model_management
    except ImportError:
        return False
    model_management.unload_all_models()
    model_management.soft_empty_cache()
    return True
