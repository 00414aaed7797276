"""Runs one function in a fresh Python process, for `processes.in_child`.

    python -m benchmarks.common.child ANSWER < REQUEST

REQUEST is a pickled tuple (module, function, arguments). The pickled result is written to the file
ANSWER, because libraries print to standard output. This module imports nothing that would affect a
measurement of memory or time.
"""

import importlib
import pickle
import sys
from pathlib import Path


def main() -> None:
    module, name, arguments = pickle.load(sys.stdin.buffer)
    function = getattr(importlib.import_module(module), name)
    Path(sys.argv[1]).write_bytes(pickle.dumps(function(*arguments)))


if __name__ == "__main__":
    main()
