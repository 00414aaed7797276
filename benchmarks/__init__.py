"""Benchmarks of speed, memory, accuracy and robustness; see README.md in this folder.

The benchmarks measure the installed package. ``python -m`` puts the repository root first on
``sys.path``, which would hide the installed package behind the sources, so the root moves last.
"""

import sys
from pathlib import Path

if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent.parent:
    sys.path.append(sys.path.pop(0))
