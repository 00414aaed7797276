"""docs/python.md: its code runs from top to bottom, prints what it promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from waifu2x._machine import processors

PAGE = (Path(__file__).parent.parent / "docs" / "python.md").read_text("utf-8")


def test_the_code_runs_in_an_empty_folder(tmp_path: Path) -> None:
    code = "\n".join(re.findall(r"^```python\n(.+?)^```", PAGE, re.MULTILINE | re.DOTALL))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    promised = re.findall(r"^ *print\(.+\)  # (.+)$", code, re.MULTILINE)
    assert len(promised) > 15
    printed = iter(done.stdout.splitlines())
    for line in promised:  # in this order
        assert line.replace("threads=N", f"threads={processors()}") in printed, line
