"""Fuzz everything that reads files, with atheris (https://github.com/google/atheris).

    pip install -e '.[fuzz,test]'
    python tests/fuzz/fuzz_decode.py                       # seeds from corpus.py, in a new folder
    python tests/fuzz/fuzz_decode.py -max_total_time=600 -artifact_prefix=crashes/ corpus/
    python tests/fuzz/fuzz_decode.py crashes/crash-0123    # run one input again

Options and folders are those of libFuzzer. A folder that is given and empty is filled with the
seeds. Crashes are what `target.check` lets out: every exception but the errors of this package, an
unsound result, a warning, more than 10 seconds, or more than 1 GiB of memory.

Coverage is that of the Python code: ours, and that of the readers in Pillow and tifffile. The
decoders in C run as they are.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

_HERE = Path(__file__).resolve().parent

# The packages whose branches guide the fuzzer.
_GUIDING = ["waifu2x", "tifffile", "PIL"]

_DEFAULTS = {"-timeout": "10", "-rss_limit_mb": "1024"}


def main(arguments: list[str]) -> None:
    """Run libFuzzer with ``arguments``; it ends the process itself."""
    places = [argument for argument in arguments if not argument.startswith("-")]
    if not places:
        places = [tempfile.mkdtemp(prefix="waifu2x-fuzz-")]
        arguments = [*arguments, *places]
    folder = Path(places[0])
    if folder.is_dir() and not any(folder.iterdir()):
        # In a process of its own: what it imports here could no longer be instrumented.
        subprocess.run([sys.executable, _HERE / "corpus.py", folder], check=True)
    given = {argument.partition("=")[0] for argument in arguments}
    defaults = [f"{key}={value}" for key, value in _DEFAULTS.items() if key not in given]

    sys.path.insert(0, str(_HERE.parent))
    with atheris.instrument_imports(include=_GUIDING):
        # Readers that would be imported later, with the first file that needs them.
        import pillow_jxl  # noqa: F401
        import tifffile  # noqa: F401
        from helpers.fuzz_target import check
        from PIL import Image

        Image.init()

    Image.MAX_IMAGE_PIXELS = None  # as in the command, where our own limit has to do

    def run(data: bytes) -> None:
        check(data)

    atheris.Setup([sys.argv[0], *defaults, *arguments], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
