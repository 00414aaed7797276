"""Fuzzes the readers of weights files with atheris.

    pip install -e '.[fuzz,test]'
    python tests/fuzz/fuzz_weights.py                      # seeds from helpers/weights_fuzz.py
    python tests/fuzz/fuzz_weights.py crashes/crash-0123   # run one input again

Options and folders are those of libFuzzer, as in fuzz_decode.py. A crash is any exception of
`helpers.weights_fuzz.check`, more than 10 seconds or 1 GiB of memory.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

_TESTS = Path(__file__).resolve().parents[1]

_DEFAULTS = {"-timeout": "10", "-rss_limit_mb": "1024"}


def main(arguments: list[str]) -> None:
    """Run libFuzzer with ``arguments``; libFuzzer ends the process."""
    places = [argument for argument in arguments if not argument.startswith("-")]
    if not places:
        places = [tempfile.mkdtemp(prefix="waifu2x-fuzz-")]
        arguments = [*arguments, *places]
    given = {argument.partition("=")[0] for argument in arguments}
    defaults = [f"{key}={value}" for key, value in _DEFAULTS.items() if key not in given]

    sys.path.insert(0, str(_TESTS))
    with atheris.instrument_imports(include=["waifu2x"]):
        from helpers.weights_fuzz import check, seeds

    folder = Path(places[0])
    if folder.is_dir() and not any(folder.iterdir()):
        for name, seed in seeds().items():
            (folder / name).write_bytes(seed.wrap(seed.payload))

    def run(data: bytes) -> None:
        check(data)

    atheris.Setup([sys.argv[0], *defaults, *arguments], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
