"""Fuzzes the readers of pictures, animations and archives with atheris.

https://github.com/google/atheris

    pip install -e '.[fuzz,test]'
    python tests/fuzz/fuzz_decode.py                       # seeds from helpers/corpus.py
    python tests/fuzz/fuzz_decode.py -max_total_time=600 -artifact_prefix=crashes/ corpus/
    python tests/fuzz/fuzz_decode.py crashes/crash-0123    # run one input again

Options and folders are those of libFuzzer. An empty folder is filled with the seeds. A crash is
any exception of `helpers.fuzz_target.check`: an exception other than the errors of this package,
an invalid result, a warning. More than 10 seconds or 1 GiB of memory is a crash, too.

Coverage is measured in Python code: this package, Pillow and tifffile. Decoders in C are not
instrumented.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

_TESTS = Path(__file__).resolve().parents[1]

# The packages whose branches guide the fuzzer.
_GUIDING = ["waifu2x", "tifffile", "PIL"]

_DEFAULTS = {"-timeout": "10", "-rss_limit_mb": "1024"}


def main(arguments: list[str]) -> None:
    """Run libFuzzer with ``arguments``; libFuzzer ends the process."""
    places = [argument for argument in arguments if not argument.startswith("-")]
    if not places:
        places = [tempfile.mkdtemp(prefix="waifu2x-fuzz-")]
        arguments = [*arguments, *places]
    folder = Path(places[0])
    if folder.is_dir() and not any(folder.iterdir()):
        # In a separate process: modules imported here could no longer be instrumented.
        subprocess.run([sys.executable, _TESTS / "helpers/corpus.py", folder], check=True)
    given = {argument.partition("=")[0] for argument in arguments}
    defaults = [f"{key}={value}" for key, value in _DEFAULTS.items() if key not in given]

    sys.path.insert(0, str(_TESTS))
    with atheris.instrument_imports(include=_GUIDING):
        # Readers that would otherwise be imported with the first file that needs them.
        import pillow_jxl  # noqa: F401
        import tifffile  # noqa: F401
        from helpers.fuzz_target import check
        from PIL import Image

        Image.init()

    Image.MAX_IMAGE_PIXELS = None  # as in the command, this package applies its own limit

    def run(data: bytes) -> None:
        check(data)

    atheris.Setup([sys.argv[0], *defaults, *arguments], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
