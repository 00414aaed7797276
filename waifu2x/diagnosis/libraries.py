"""Engines, codecs and other packages: their versions, and whether they load."""

from __future__ import annotations

import importlib
import zlib
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final

from .. import _machine
from .._text import plural
from .installation import version_of
from .isolated import Row

#: Features of Pillow: their names there, and those of the libraries.
_PILLOW: Final = {
    "libjpeg_turbo": "libjpeg-turbo",
    "jpg": "JPEG",
    "jpg_2000": "OpenJPEG",
    "zlib": "zlib",
    "libtiff": "libtiff",
    "webp": "libwebp",
    "avif": "libavif",
    "littlecms2": "Little CMS",
}


def library(name: str, module: str, distribution: str, needed: str) -> Row:
    """Import a package; return its version.

    distribution: the name for pip, if it differs from that of the module. needed: "needed" if a
    missing package is a problem.
    """
    distribution = distribution or module
    version = version_of(distribution)
    if version is None and find_spec(module) is None:
        return _missing(name, distribution, needed == "needed")
    importlib.import_module(module)
    return Row(name, version or "unknown version", {"version": version})


def _missing(name: str, distribution: str, needed: bool) -> Row:
    text = f"not installed (pip install {distribution})"
    problem = f"not installed; run `pip install {distribution}`" if needed else ""
    return Row(name, text, {"version": None}, problem)


# --- engines ------------------------------------------------------------------------------------


def native() -> Row:
    """Return the threads of the native engine."""
    from .. import engines, kernels  # loaded when needed

    engine = engines.create("native")
    threads = engine.threads
    text = f"loads, {kernels.isa()}, {plural(threads, 'thread')}"
    return Row("native", text, {"isa": kernels.isa(), "threads": threads})


def onnx() -> Row:
    """Return the version of onnxruntime, and its execution providers."""
    if version_of("onnxruntime") is None and find_spec("onnxruntime") is None:
        return _missing("onnx", "onnxruntime", needed=True)
    runtime = importlib.import_module("onnxruntime")
    from ..engines import onnx_providers  # loaded when needed

    providers = list(runtime.get_available_providers())
    kinds = ["cpu", *onnx_providers.installed()]
    text = f"onnxruntime {runtime.__version__}, {', '.join(providers)}; devices {', '.join(kinds)}"
    facts = {"version": runtime.__version__, "providers": providers, "devices": kinds}
    return Row("onnx", text, facts)


def torch() -> Row:
    """Return the version of PyTorch, and the devices that it finds."""
    if find_spec("torch") is None:
        return _missing("torch", "torch", needed=False)
    module = importlib.import_module("torch")
    devices = _torch_devices(module)
    cuda = module.version.cuda
    cudnn = module.backends.cudnn.version() if cuda else None
    parts = [f"torch {module.__version__}"]
    parts += [f"CUDA {cuda}, cuDNN {cudnn}"] if cuda else []
    parts.append(f"devices {', '.join(devices)}")
    facts = {"version": module.__version__, "cuda": cuda, "cudnn": cudnn, "devices": devices}
    return Row("torch", ", ".join(parts), facts)


def _torch_devices(module: ModuleType) -> list[str]:
    devices = ["cpu"]
    devices += [f"cuda:{index}" for index in range(module.cuda.device_count())]
    devices += ["mps"] * bool(module.backends.mps.is_available())
    if hasattr(module, "xpu") and module.xpu.is_available():
        devices += [f"xpu:{index}" for index in range(module.xpu.device_count())]
    return devices


def cuda() -> Row:
    """Return the NVIDIA driver, and whether the CUDA kernels load."""
    from .. import kernels  # loaded when needed

    gpus, driver = _machine.nvidia_gpus(), _machine.nvidia_driver()
    facts: dict[str, Any] = {"gpus": gpus, "driver": driver or None, "kernels": "not built"}
    if kernels.cuda_built():
        facts["kernels"] = "built"
        if find_spec("torch") is not None and gpus:
            importlib.import_module("waifu2x.engines.cuda_tiles")
            facts["kernels"] = "load"
    text = "no NVIDIA driver"
    if driver:
        text = f"{plural(gpus, 'GPU')}, driver for CUDA {driver // 1000}.{driver % 1000 // 10}"
    return Row("cuda", f"{text}; CUDA kernels: {facts['kernels']}", facts)


def vulkan() -> Row:
    """Return the version of ncnn, and the GPUs that it reaches."""
    if version_of("ncnn") is None and find_spec("ncnn") is None:
        return _missing("vulkan", "ncnn", needed=False)
    module = importlib.import_module("ncnn")
    from ..engines.vulkan_devices import gpus  # loaded when needed

    version = version_of("ncnn") or str(getattr(module, "__version__", "unknown version"))
    devices = [f"vulkan:{gpu.index} ({gpu.name}, {gpu.kind})" for gpu in gpus()]
    text = f"ncnn {version}, devices {', '.join(devices) or 'none'}"
    return Row("vulkan", text, {"version": version, "devices": devices})


# --- codecs -------------------------------------------------------------------------------------


def pillow() -> Row:
    """Return the version of Pillow, and of the libraries that it was built with."""
    if version_of("pillow") is None and find_spec("PIL") is None:
        return _missing("Pillow", "pillow", needed=True)
    from PIL import Image, __version__, features  # loaded when needed

    Image.init()
    libraries: dict[str, str | None] = {}
    for feature, name in _PILLOW.items():
        there = features.check(feature)
        libraries[name] = (features.version(feature) or "unknown version") if there else None
    if libraries["libjpeg-turbo"]:
        del libraries["JPEG"]  # the version of the interface, not of the library
    parts = [f"{name} {version}" for name, version in libraries.items() if version]
    lacks = [name for name, version in libraries.items() if version is None]
    text = ", ".join([__version__, *parts])
    if lacks:
        text += f"; without {', '.join(lacks)}"
    return Row("Pillow", text, {"version": __version__, "libraries": libraries})


def imagecodecs() -> Row:
    """Return the version of imagecodecs, and of the libraries used here."""
    version = version_of("imagecodecs")
    if version is None and find_spec("imagecodecs") is None:
        return _missing("imagecodecs", "imagecodecs", needed=True)
    module = importlib.import_module("imagecodecs")
    libraries = {
        name: str(getattr(module, f"{name}_version")()) for name in ("cms", "jpeg2k", "qoi")
    }
    text = ", ".join([version or "unknown version", *libraries.values()])
    return Row("imagecodecs", text, {"version": version, "libraries": libraries})


def deflate() -> Row:
    """Return the library that compresses PNG and TIFF."""
    version, fallback = version_of("isal"), f"zlib {zlib.ZLIB_RUNTIME_VERSION}"
    if version is None and find_spec("isal") is None:
        return Row("deflate", f"{fallback}; isal is not installed", {"isal": None})
    importlib.import_module("isal.isal_zlib")
    return Row("deflate", f"isal {version}, {fallback}", {"isal": version})


def pyav() -> Row:
    """Return the version of PyAV, and of FFmpeg's libraries in it."""
    version = version_of("av")
    if version is None and find_spec("av") is None:
        return _missing("PyAV", "av", needed=False)
    module = importlib.import_module("av")
    libraries = {
        name: ".".join(map(str, numbers)) for name, numbers in module.library_versions.items()
    }
    ffmpeg = str(getattr(module, "ffmpeg_version_info", "") or "unknown version")
    parts = [f"{name} {number}" for name, number in libraries.items()]
    text = ", ".join([version or "unknown version", f"FFmpeg {ffmpeg}", *parts])
    facts = {"version": version, "ffmpeg": ffmpeg, "libraries": libraries}
    return Row("PyAV", text, facts)
