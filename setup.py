"""Builds the native extension; everything else is declared in pyproject.toml."""

import contextlib
import os
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from pybind11.setup_helpers import build_ext as pybind11_build_ext
from setuptools import find_packages, setup

CSRC = Path("csrc")

# Every instruction set must return the bits of the scalar kernels, so a * b + c stays two
# roundings; kernels that want a fused multiply-add ask for it by intrinsic. MSVC never fuses.
FLAGS = [] if os.name == "nt" else ["-O3", "-ffp-contract=off"]
# The engine's pool; a C library of today has threads anyway, an older one links them on request.
THREADS = [] if os.name == "nt" else ["-pthread"]

ParallelCompile("WAIFU2X_BUILD_JOBS", default=os.cpu_count() or 1).install()


class build_ext(pybind11_build_ext):
    """Leaves a copy in the source tree too, so that ``import waifu2x`` works inside a clone."""

    def run(self):
        super().run()
        if not self.inplace:
            with contextlib.suppress(OSError):
                self.copy_extensions_to_source()


native = Pybind11Extension(
    "waifu2x._native",
    sources=sorted(str(path) for path in CSRC.rglob("*.cpp")),
    depends=sorted(str(path) for kind in ("*.h", "*.inl") for path in CSRC.rglob(kind)),
    include_dirs=[str(CSRC)],
    cxx_std=17,
    extra_compile_args=FLAGS + THREADS,
    extra_link_args=THREADS,
)

setup(
    ext_modules=[native],
    cmdclass={"build_ext": build_ext},
    packages=[*find_packages(include=["waifu2x", "waifu2x.*"]), "waifu2x._models"],
    # The manifest lives in models/ at the top of the tree and is installed as package data.
    package_dir={"waifu2x": "waifu2x", "waifu2x._models": "models"},
    package_data={"waifu2x": ["py.typed", "*.pyi"], "waifu2x._models": ["*.json"]},
)
