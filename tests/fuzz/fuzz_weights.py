"""Fuzzes the readers of weights files with atheris.

    pip install -e '.[fuzz,test]'
    python tests/fuzz/fuzz_weights.py                      # seeds from helpers/weights_fuzz.py
    python tests/fuzz/fuzz_weights.py crashes/crash-0123   # run one input again

Options and folders are those of libFuzzer, as in fuzz_decode.py. A crash is any exception of
`helpers.weights_fuzz.check`, more than 10 seconds or 1 GiB of memory. In a zip archive, a member
changes and its checksum stays correct, because readers refuse wrong checksums at once.
"""

from __future__ import annotations

import io
import random
import sys
import tempfile
import zipfile
from pathlib import Path

import atheris

_TESTS = Path(__file__).resolve().parents[1]

_DEFAULTS = {"-timeout": "10", "-rss_limit_mb": "1024"}


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Mutate one member of a zip archive half of the time, and the bytes as they are otherwise."""
    chosen = random.Random(seed)
    if chosen.random() < 0.5 and zipfile.is_zipfile(io.BytesIO(data)):
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                members = {info.filename: archive.read(info) for info in archive.infolist()}
        except Exception:  # of any kind: the archive is damaged
            return bytes(atheris.Mutate(data, max_size))
        if members:
            name = chosen.choice(sorted(members))
            members[name] = bytes(atheris.Mutate(members[name], max_size))
            made = io.BytesIO()
            with zipfile.ZipFile(made, "w") as archive:
                for member, content in members.items():
                    archive.writestr(member, content)
            if len(made.getvalue()) <= max_size:
                return made.getvalue()
    return bytes(atheris.Mutate(data, max_size))


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

    atheris.Setup([sys.argv[0], *defaults, *arguments], run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
