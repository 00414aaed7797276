from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from helpers.kernel_reference import STAIRCASE

from waifu2x.kernels import _native


def in_subprocess(cap, code="print(_native.isa(), *_native.isas())"):
    environment = {**os.environ, "WAIFU2X_CPU": cap}
    return subprocess.run(
        [sys.executable, "-c", f"from waifu2x.kernels import _native\n{code}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_levels_are_the_bottom_of_the_staircase():
    assert _native.isas() == STAIRCASE[: len(_native.isas())]
    assert _native.isa() == _native.isas()[-1]


@pytest.mark.parametrize("cap", STAIRCASE)
def test_cap(cap):
    uncapped = in_subprocess("").stdout.split()[1:]
    allowed = STAIRCASE[: STAIRCASE.index(cap) + 1]
    expected = [name for name in uncapped if name in allowed]
    result = in_subprocess(cap)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [expected[-1], *expected]


def test_unknown_cap_names_what_is_allowed():
    result = in_subprocess("sse9")
    assert result.returncode != 0
    assert "ValueError" in result.stderr
    uncapped = in_subprocess("").stdout.split()[1:]
    assert (
        f"WAIFU2X_CPU is 'sse9'; on this CPU it may be {', '.join(uncapped)}, "
        "or unset for the fastest\n"
    ) in result.stderr


def test_a_level_above_the_cap_cannot_be_asked_for():
    result = in_subprocess(
        "scalar",
        "import numpy as np\n"
        "p = np.zeros((1, 1, 1), np.float32)\n"
        f"_native.quantize(p, p.copy(), isa='{STAIRCASE[1]}')",
    )
    assert f"isa is '{STAIRCASE[1]}'; usable here: scalar" in result.stderr


def test_kernels_release_the_gil():
    """Another thread sees a half-finished result, which is impossible while the GIL is held."""
    size = 1500
    for _ in range(200):  # the other thread may not be scheduled; once is enough
        color = np.zeros((size, size, 3), np.uint8)
        color[0, 0] = 200
        alpha = np.zeros((size, size), np.uint8)
        alpha[0, 0] = 1
        worker = threading.Thread(target=_native.bleed, args=(color, alpha, size))
        worker.start()
        seen = False
        while worker.is_alive() and not seen:
            first, last = color[1, 1, 0], color[-1, -1, 0]  # order matters
            seen = first == 200 and last == 0
        worker.join()
        assert color.min() == 200
        if seen:
            return
    pytest.fail("never saw a kernel at work")
