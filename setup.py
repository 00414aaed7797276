"""Builds the native extensions; everything else is declared in pyproject.toml."""

import os
import sys
import sysconfig
import tempfile
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from pybind11.setup_helpers import build_ext as pybind11_build_ext
from setuptools import find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel as setuptools_bdist_wheel
from setuptools.command.build import build as setuptools_build
from setuptools.command.build_py import build_py as setuptools_build_py
from setuptools.command.egg_info import egg_info as setuptools_egg_info
from setuptools.errors import CCompilerError, CompileError

sys.path.insert(0, str(Path(__file__).parent))  # missing in PEP 517 builds
import build_cuda

CSRC = Path("csrc")

# Every instruction set must return the bits of the scalar kernels, so the compiler must not fuse
# a * b + c. Kernels use intrinsics for fused multiply-adds. MSVC does not fuse by default from
# Visual Studio 2022 on. Without traps, GCC vectorizes loops that compare; the results are the same.
FLAGS = [] if os.name == "nt" else ["-O3", "-ffp-contract=off", "-fno-trapping-math"]
# Older C libraries keep threads in a separate library.
THREADS = [] if os.name == "nt" else ["-pthread"]

COMPILER_HINT = (
    "no C++ compiler works here; install one: `apt install g++` on Debian and Ubuntu, "
    "`dnf install gcc-c++` on Fedora, `xcode-select --install` on macOS, the Build Tools for "
    "Visual Studio with C++ on Windows"
)
HEADERS_HINT = (
    "the headers of Python (Python.h) are not in {folder}; install them: `apt install python3-dev` "
    "on Debian and Ubuntu, `dnf install python3-devel` on Fedora"
)

ParallelCompile("WAIFU2X_BUILD_JOBS", default=os.cpu_count() or 1).install()

# A build of a wheel leaves nothing in the tree, where tests would import it. Removed at exit.
scratch = tempfile.TemporaryDirectory(prefix="waifu2x-build-")


class build(setuptools_build):
    """Compiles first, so that an error of the compiler ends the output."""

    sub_commands = sorted(setuptools_build.sub_commands, key=lambda each: each[0] != "build_ext")


class bdist_wheel(setuptools_bdist_wheel):
    """Builds outside the tree."""

    def finalize_options(self):
        self.distribution.get_command_obj("build").build_base = scratch.name
        super().finalize_options()


class egg_info(setuptools_egg_info):
    """Writes outside the tree, except for a source distribution, which contains the files."""

    def initialize_options(self):
        super().initialize_options()
        if "sdist" not in self.distribution.commands:
            self.egg_base = scratch.name


class build_py(setuptools_build_py):
    """Copies models/ at the top of the tree into the package, unless the install is editable."""

    def run(self):
        super().run()
        if not self.editable_mode:
            folder = Path(self.build_lib, "waifu2x", "_models")
            folder.mkdir(parents=True, exist_ok=True)
            for kind in ("*.json", "*.safetensors"):
                for source in Path("models").glob(kind):
                    self.copy_file(str(source), str(folder / source.name))


class build_ext(pybind11_build_ext):
    """Reports what is missing in one line, and builds the CUDA kernels if wanted."""

    def build_extensions(self):
        self.require_compiler()
        print(build_cuda.decision().reason, flush=True)  # shown by `pip install -v`
        super().build_extensions()

    def require_compiler(self):
        """Compile a tiny program; raises CompileError with the package to install."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.cpp")
            headers = sysconfig.get_path("include")
            for text, hint in (
                ("#include <vector>\n", COMPILER_HINT),
                ("#include <Python.h>\n", HEADERS_HINT.format(folder=headers)),
            ):
                source.write_text(text)
                try:
                    self.compiler.compile(
                        [str(source)], output_dir=folder, include_dirs=self.include_dirs
                    )
                except (CCompilerError, OSError) as error:
                    raise CompileError(hint) from error

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
    ext_modules=[native, *([build_cuda.extension()] if build_cuda.decision().build else [])],
    cmdclass={
        "bdist_wheel": bdist_wheel,
        "build": build,
        "build_ext": build_ext,
        "build_py": build_py,
        "egg_info": egg_info,
    },
    packages=find_packages(include=["waifu2x", "waifu2x.*"]),
    # With a root for all packages, an editable install is a path that type checkers can follow.
    package_dir={"": "."},
    package_data={
        "waifu2x": ["py.typed"],
        "waifu2x.kernels": ["*.pyi"],
        "waifu2x.server": ["page/*"],
        "waifu2x.comparing": ["page/*"],
    },
    data_files=[("share/man/man1", ["docs/waifu2x.1"])],
)
