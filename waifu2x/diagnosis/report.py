"""The sections of a report, and the steps that fill them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .._record import record
from .isolated import Row, Step, run


@record
class Section:
    """Rows about one subject.

    key: the name for programs. title: the heading.
    """

    key: str
    title: str
    rows: tuple[Row, ...]


#: Seconds for a library to load, from a slow disk as well.
_LOADING: Final = 60.0
#: Seconds for a device to compute its test picture, its driver included.
_TESTING: Final = 90.0


def _library(name: str, module: str, distribution: str = "", needed: str = "needed") -> Step:
    """Return the step that imports a package; ``needed`` makes a missing package a problem."""
    return Step(name, "libraries", "library", (name, module, distribution, needed), _LOADING)


#: Key and heading of each section, and its groups of steps; each group has a process of its own.
_PLAN: Final[tuple[tuple[str, str, tuple[tuple[Step, ...], ...]], ...]] = (
    (
        "package",
        "Package",
        (
            (
                Step("waifu2x", "installation", "package"),
                Step("commit", "installation", "commit"),
                Step("environment", "installation", "environment"),
            ),
            (Step("build", "installation", "build"),),
        ),
    ),
    (
        "system",
        "System",
        (
            (
                Step("python", "machine", "python"),
                Step("system", "machine", "system"),
                Step("container", "machine", "container"),
                Step("processor", "machine", "processor"),
                Step("cores", "machine", "cores"),
                Step("memory", "machine", "memory"),
            ),
            (Step("instruction sets", "machine", "instruction_sets"),),
        ),
    ),
    (
        "engines",
        "Engines",
        (
            (Step("native", "libraries", "native", seconds=_LOADING),),
            (Step("onnx", "libraries", "onnx", seconds=_LOADING),),
            (Step("torch", "libraries", "torch", seconds=_LOADING),),
            (Step("cuda", "libraries", "cuda", seconds=_LOADING),),
            (Step("vulkan", "libraries", "vulkan", seconds=_LOADING),),
        ),
    ),
    (
        "codecs",
        "Codecs",
        (
            (Step("Pillow", "libraries", "pillow", seconds=_LOADING),),
            (Step("imagecodecs", "libraries", "imagecodecs", seconds=_LOADING),),
            (_library("tifffile", "tifffile"),),
            (Step("deflate", "libraries", "deflate", seconds=_LOADING),),
            (Step("PyAV", "libraries", "pyav", seconds=_LOADING),),
            (_library("JPEG XL", "pillow_jxl", "pillow-jxl-plugin", "optional"),),
        ),
    ),
    (
        "packages",
        "Other packages",
        (
            (_library("NumPy", "numpy"),),
            (_library("click", "click"),),
            (_library("rich", "rich"),),
            (_library("psutil", "psutil"),),
            (_library("platformdirs", "platformdirs"),),
            (_library("onnx", "onnx"),),
            (Step("extras", "installation", "extras"),),
        ),
    ),
    (
        "models",
        "Models",
        (
            (
                Step("models", "models", "models", seconds=_TESTING),
                Step("own models", "models", "own_models"),
            ),
        ),
    ),
    ("devices", "Devices", ((Step("devices", "devices", "devices", seconds=_TESTING),),)),
    (
        "self_test",
        "Self-test",
        ((Step("self-test", "self_test", "self_test", seconds=_TESTING),),),
    ),
)


def diagnose() -> Iterator[Section]:
    """Yield the sections of the report, each as it is complete; raises nothing.

    Each step ends within its time limit; a machine without faults takes 10 to 30 seconds.
    """
    for key, title, groups in _PLAN:
        rows = tuple(row for group in groups for row in run(group))
        yield Section(key, title, rows)
