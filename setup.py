"""Builds the native extensions; everything else is declared in pyproject.toml."""

import contextlib
import os
import sys
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from pybind11.setup_helpers import build_ext as pybind11_build_ext
from setuptools import find_packages, setup
from setuptools.command.build_py import build_py as setuptools_build_py

sys.path.insert(0, str(Path(__file__).parent))  # missing in PEP 517 builds
import build_cuda

CSRC = Path("csrc")

# Every instruction set must return the bits of the scalar kernels, so the compiler must not fuse
# a * b + c. Kernels use intrinsics for fused multiply-adds. MSVC never fuses.
FLAGS = [] if os.name == "nt" else ["-O3", "-ffp-contract=off"]
# Older C libraries keep threads in a separate library.
THREADS = [] if os.name == "nt" else ["-pthread"]

ParallelCompile("WAIFU2X_BUILD_JOBS", default=os.cpu_count() or 1).install()


class build_py(setuptools_build_py):
    """Copies models/ at the top of the tree into the package, unless the install is editable."""

    def run(self):
        super().run()
        if not self.editable_mode:
            folder = Path(self.build_lib, "waifu2x", "_models")
            folder.mkdir(parents=True, exist_ok=True)
            for source in Path("models").glob("*.json"):
                self.copy_file(str(source), str(folder / source.name))


class build_ext(pybind11_build_ext):
    """Copies the extensions to the source tree, so that ``import waifu2x`` works in a clone."""

    def run(self):
        super().run()
        if not self.inplace:
            with contextlib.suppress(OSError):
                self.copy_extensions_to_source()

    def build_extension(self, ext):
        if ext.name == build_cuda.NAME:
            build_cuda.prepare(ext, Path(self.build_temp), Path(self.get_ext_fullpath(ext.name)))
        super().build_extension(ext)


native = Pybind11Extension(
    "waifu2x.kernels._native",
    sources=sorted(str(path) for path in CSRC.rglob("*.cpp") if path.parent != build_cuda.CUDA),
    depends=sorted(str(path) for kind in ("*.h", "*.inl") for path in CSRC.rglob(kind)),
    include_dirs=[str(CSRC)],
    cxx_std=17,
    extra_compile_args=FLAGS + THREADS,
    extra_link_args=THREADS,
)

setup(
    ext_modules=[native, *([build_cuda.extension()] if build_cuda.enabled() else [])],
    cmdclass={"build_ext": build_ext, "build_py": build_py},
    packages=find_packages(include=["waifu2x", "waifu2x.*"]),
    # With a root for all packages, an editable install is a path that type checkers can follow.
    package_dir={"": "."},
    package_data={"waifu2x": ["py.typed"], "waifu2x.kernels": ["*.pyi"]},
)
