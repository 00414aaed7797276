"""Runs one function of a module beside this file, for `_processes.in_child`.

    python benchmarks/_child.py ANSWER < REQUEST

REQUEST is JSON with module, function and arguments; what the function returns is written to the
file ANSWER as JSON. Standard output is left to whatever libraries print. Nothing is imported here
that a measurement of memory or of time could notice.
"""

import importlib
import json
import sys
from pathlib import Path


def main() -> None:
    request = json.load(sys.stdin)
    function = getattr(importlib.import_module(request["module"]), request["function"])
    answer = function(**request["arguments"])
    Path(sys.argv[1]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
