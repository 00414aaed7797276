"""Runs a command and prints its time and peak memory as JSON. POSIX only (os.wait4).

    python -S -E benchmarks/common/time_command.py COMMAND...

A small program of its own: Linux counts the memory of the parent toward the peak of a child, so a
benchmark that has loaded torch would add the size of torch to every command.
"""

import json
import os
import subprocess
import sys
import tempfile
import time


def main() -> None:
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=errors)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)  # so Popen does not wait again
        errors.seek(0)
        lines = errors.read().decode("utf-8", "replace").strip().splitlines()
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, else in KiB
    answer = {
        "exit": process.returncode,
        "error": lines[-1] if lines else "",
        "wall_s": wall,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_rss": used.ru_maxrss * unit,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
