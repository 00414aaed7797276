"""Runs the whole corpus through `fuzz_target.check` in a separate process, which a hang may end.

``python confined.py [MIB]`` writes a JSON line for every case: family, name, outcome and seconds.
With MIB, the address space is limited to that much more than the process uses after reading every
kind of file, and Pillow's own pixel limit is off, as in the command.
"""

from __future__ import annotations

import faulthandler
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from PIL import Image

from helpers import corpus
from helpers.fuzz_target import check

#: The limit in pixels.
MAX_PIXELS = 1_000_000

#: Timeout of a case in seconds; a slower case ends the process with a traceback on stderr.
SECONDS = 10


def cases() -> Iterator[tuple[str, str, bytes]]:
    """Family, name and bytes of every case."""
    for name, seed in corpus.seeds().items():
        yield "seeds", name, seed.data
    for name, data in corpus.kinds().items():
        yield "kinds", name, data
    for name, data in corpus.bombs().items():
        yield "bombs", name, data
    for name, seed in corpus.strips().items():
        yield "strips", name, seed.data
    for name, data in corpus.damaged():
        yield "damaged", name, data


def limit_memory(mebibytes: int) -> None:
    """Limit the address space of this process to ``mebibytes`` more than now (Linux)."""
    import resource

    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    most = pages * resource.getpagesize() + (mebibytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main(mebibytes: int | None) -> None:
    """Run everything."""
    everything = list(cases())
    if mebibytes is not None:
        Image.MAX_IMAGE_PIXELS = None
        for family, _, data in everything:  # loads the readers of all formats
            if family == "seeds":
                check(data, MAX_PIXELS)
        limit_memory(mebibytes)
    for family, name, data in everything:
        print(json.dumps([family, name]), flush=True)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        start = time.perf_counter()
        try:
            result = check(data, MAX_PIXELS)
        except Exception as error:
            result = {"crash": repr(error)}
        seconds = time.perf_counter() - start
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps([family, name, result, seconds]), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else None)
