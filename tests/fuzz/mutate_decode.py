"""Checks random mutations of the seeds with `helpers.fuzz_target.check`; needs no atheris.

    python tests/fuzz/mutate_decode.py 1000000 [SEED]

Without coverage, many inputs a second: about 1,000 on one core. Every 20,000 inputs, a line shows
the resident memory and the slowest input; an input that escapes is saved as ``escaped-NUMBER`` in
the current folder, and the exit code is 1. Equal seeds give equal inputs.
"""

from __future__ import annotations

import random
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from pathlib import Path
from typing import Final

import psutil
from PIL import Image

_TESTS: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_TESTS))

from helpers.fuzz_target import check  # noqa: E402  (its folder is added above)

#: Larger seeds would be most of the time.
_LARGEST_SEED: Final = 16384
#: Share of the mutations of PNG whose checksums are mended, so that readers look behind them.
_MENDED: Final = 0.7

_NUMBERS: Final = (0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 254, 255)
_WORDS: Final = (0, 1, 2, 255, 256, 32767, 65535, 65536, 1 << 20, (1 << 31) - 1, (1 << 32) - 1)
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_REPORT: Final = 20_000


def mutated(seed: bytes, rng: random.Random, seeds: list[bytes]) -> bytes:
    """Return ``seed`` with changes of bits, numbers and slices, more of them near its start."""
    data = bytearray(seed)
    for _ in range(1 + int(rng.expovariate(0.7))):
        if not data:
            data = bytearray(b"\0")
        kind = rng.randrange(9)
        if rng.random() < 0.6:
            at = min(int(rng.expovariate(1 / (1 + len(data) / 4))), len(data) - 1)
        else:
            at = rng.randrange(len(data))
        match kind:
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at] = rng.randrange(256)
            case 2:
                data[at] = rng.choice(_NUMBERS)
            case 3:
                size = rng.choice((2, 4))
                word = rng.choice((*_WORDS, len(data))) & ((1 << 8 * size) - 1)
                data[at : at + size] = word.to_bytes(size, rng.choice(("big", "little")))
            case 4:
                del data[at : at + rng.randrange(1, 17)]
            case 5:
                data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9)))
            case 6:
                start, length = rng.randrange(len(data)), rng.randrange(1, 33)
                data[at : at + length] = data[start : start + length]
            case 7:
                other = rng.choice(seeds)
                start = rng.randrange(len(other)) if other else 0
                length = rng.randrange(1, 65)
                data[at : at + length] = other[start : start + length]
            case _:
                del data[rng.randrange(len(data)) :]
    return bytes(data)


def with_checksums(data: bytes) -> bytes:
    """Return a PNG with right checksums as far as its chunks go; other data as given."""
    if not data.startswith(_PNG):
        return data
    made, at = bytearray(data), len(_PNG)
    while at + 12 <= len(made):
        (length,) = struct.unpack_from(">I", made, at)
        end = at + 12 + length
        if end > len(made):
            break
        struct.pack_into(">I", made, end - 4, zlib.crc32(bytes(made[at + 4 : end - 4])))
        at = end
    return bytes(made)


def seeds() -> list[bytes]:
    """Return the small seeds of ``helpers/corpus.py``."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, _TESTS / "helpers/corpus.py", folder], check=True)
        files = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    return [data for data in files if len(data) <= _LARGEST_SEED]


def main(count: int, seed: int) -> int:
    """Check ``count`` mutations; return the number that escaped."""
    Image.MAX_IMAGE_PIXELS = None  # as in the command, this package applies its own limit
    rng, files, process = random.Random(seed), seeds(), psutil.Process()
    outcomes: Counter[str] = Counter()
    escaped, slowest = 0, 0.0
    for index in range(count):
        data = mutated(rng.choice(files), rng, files)
        if rng.random() < _MENDED:
            data = with_checksums(data)
        began = time.process_time()
        try:
            picture = check(data)["picture"]
            outcomes["refused" if picture.partition(":")[0].endswith("Error") else "read"] += 1
        except Exception:
            escaped += 1
            Path(f"escaped-{index}").write_bytes(data)
            traceback.print_exc()
        slowest = max(slowest, time.process_time() - began)
        if (index + 1) % _REPORT == 0 or index + 1 == count:
            memory = process.memory_info().rss >> 20
            print(
                f"{index + 1:,} inputs, {escaped} escaped, {memory} MiB resident, slowest "
                f"{slowest:.2f} s, {dict(outcomes)}",
                flush=True,
            )
    return escaped


if __name__ == "__main__":
    sys.exit(1 if main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0) else 0)
