"""The start of the command: signals during the imports, and ``python -m waifu2x``."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from waifu2x._signals import handled

#: Sends a signal to this process when a module is first imported.
INTERRUPTED = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Interrupt())
sys.argv = ["waifu2x", "--version"]
from waifu2x.__main__ import main
{before}
main()
"""


def interrupted(
    module: str, number: signal.Signals, before: str = ""
) -> subprocess.CompletedProcess[str]:
    script = INTERRUPTED.format(module=module, number=int(number), before=before)
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"]
)
@pytest.mark.parametrize("module", ["numpy", "click", "waifu2x.cli", "waifu2x.codec.formats"])
def test_a_signal_during_imports_is_quiet(module: str, number: signal.Signals, code: int) -> None:
    done = interrupted(module, number)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_an_ignored_signal_stays_ignored() -> None:
    before = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
    done = interrupted("numpy", signal.SIGINT, before)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("waifu2x")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP")
def test_signals_are_handled_until_the_end_of_the_command() -> None:
    script = (
        "import os, signal, waifu2x.__main__ as start, waifu2x.cli\n"
        "waifu2x.cli.main = lambda **given: print(given, flush=True) or "
        "os.kill(os.getpid(), signal.SIGHUP)\n"
        "start.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (129, "{'prog_name': 'waifu2x'}\n")
    assert done.stderr == ""


def test_handlers_are_restored() -> None:
    caught = []
    before = signal.getsignal(signal.SIGTERM)
    with handled(lambda number, frame: caught.append(number)):
        signal.raise_signal(signal.SIGTERM)
    assert caught == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_module_is_the_command() -> None:
    module = [sys.executable, "-m", "waifu2x"]
    shown = subprocess.run([*module, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("waifu2x, version ")
    wrong = subprocess.run([*module, "--no-such"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "__main__" not in wrong.stderr
    assert "python" not in wrong.stderr
