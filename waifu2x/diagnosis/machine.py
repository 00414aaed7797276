"""Python, the system and the hardware."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

from .. import _machine
from .._text import plural, shown
from .isolated import Row

_CPUINFO: Final = Path("/proc/cpuinfo")

#: Extensions of x86-64 and AArch64 that a kernel here or in a library may use.
_EXTENSIONS: Final = (
    *("sse4_2", "avx", "f16c", "fma", "avx2", "avx512f", "avx512bw", "avx512vl", "avx512_vnni"),
    *("amx_tile", "asimd", "asimdhp", "sve", "sve2"),
)

#: Files that a container has, and its kind.
_CONTAINERS: Final = {"/.dockerenv": "Docker", "/run/.containerenv": "Podman"}


def python() -> Row:
    """Return the version of Python."""
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    facts = {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "compiler": platform.python_compiler(),
        "free_threaded": free_threaded,
        "file_names": sys.getfilesystemencoding(),
    }
    text = (
        f"{facts['version']} ({facts['implementation']}, {facts['compiler']}"
        f"{', free-threaded' if free_threaded else ''}), file names in {facts['file_names']}"
    )
    return Row("Python", text, facts)


def system() -> Row:
    """Return the operating system, its C library and the architecture."""
    facts = {
        "name": _distribution(),
        "kernel": f"{platform.system()} {platform.release()}",
        "libc": _libc(),
        "architecture": platform.machine(),
    }
    return Row("system", ", ".join(filter(None, facts.values())), facts)


def _distribution() -> str:
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    if sys.platform == "win32":
        return f"Windows {platform.version()}"
    try:
        return shown(platform.freedesktop_os_release().get("PRETTY_NAME", ""))
    except OSError:
        return ""


def _libc() -> str:
    if "musl" in str(sysconfig.get_config_var("SOABI")):
        return "musl"
    return " ".join(filter(None, platform.libc_ver()))


def container() -> Row:
    """Return the kind of container that this process runs in."""
    kinds = [kind for path, kind in _CONTAINERS.items() if Path(path).exists()]
    if "microsoft" in platform.release().lower():
        kinds.append("WSL")
    return Row("container", ", ".join(kinds) or "none found", {"kinds": kinds})


def processor() -> Row:
    """Return the model of the processor, and its instruction sets as the system lists them."""
    text = _read(_CPUINFO)
    model = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*: (.+)$", text, re.MULTILINE)
    name = model[1] if model else _processor_name()
    known = set(flags[1].split()) if flags else set()
    extensions = [each for each in _EXTENSIONS if each in known]
    facts = {"model": name, "extensions": extensions}
    return Row("processor", ", ".join(filter(None, (name, " ".join(extensions)))), facts)


def _processor_name() -> str:
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return shown(subprocess.check_output(command, text=True, timeout=10).strip())
    return platform.processor() or "unknown model"


def cores() -> Row:
    """Return the cores of the machine, and those that this process may use."""
    usable, there, quota = _machine.processors(), os.cpu_count(), _machine.processor_quota()
    text = f"{usable} of {there} usable"
    if quota is not None:
        text += f", the container is limited to the time of {quota:.3g}"
    return Row("cores", text, {"usable": usable, "there": there, "quota": quota})


def memory() -> Row:
    """Return the memory of the machine, and what is available within the container's limit."""
    total, available = _machine.total_memory(), _machine.available_memory()
    limit = _machine.memory_limit()
    text = f"{_gib(total)}, {_gib(available)} available"
    if limit is not None and limit < total:
        text += f", the container is limited to {_gib(limit)}"
    facts = {"total_bytes": total, "available_bytes": available, "limit_bytes": limit}
    return Row("memory", text, facts)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def instruction_sets() -> Row:
    """Return the instruction sets of our kernels: those that the CPU has, and the best in use."""
    from .. import kernels  # loaded when needed

    usable, used = list(kernels.isas()), kernels.isa()
    capped = os.environ.get("WAIFU2X_CPU", "")
    text = f"kernels use {used}, of {plural(len(usable), 'level')}: {', '.join(usable)}"
    if capped:
        text += f"; capped by WAIFU2X_CPU={shown(capped)}"
    return Row("instruction sets", text, {"used": used, "usable": usable})


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
