"""Runs one function in a fresh Python process, for `processes.in_child`.

    python -m benchmarks.common.child ANSWER < REQUEST

REQUEST is JSON with module, function and arguments. The result of the function is written to the
file ANSWER as JSON, because libraries print to standard output. This module imports nothing that
would affect a measurement of memory or time.
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
