"""Runs a command and tells, as JSON, how long it took and how much memory it had at most.

    python -S -E benchmarks/_command.py COMMAND...

A program of its own, and a small one, because Linux counts the memory of whoever starts a process
into that process's peak: started from a benchmark that has loaded torch, everything would seem to
take what torch takes. POSIX only (os.wait4).
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
        process.returncode = os.waitstatus_to_exitcode(status)  # Popen shall not wait for it too
        errors.seek(0)
        told = errors.read().decode("utf-8", "replace").strip().splitlines()
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss counts bytes there, kilobytes here
    print(
        json.dumps(
            {
                "exit": process.returncode,
                "error": told[-1] if told else "",
                "wall_s": wall,
                "cpu_s": used.ru_utime + used.ru_stime,
                "peak_rss": used.ru_maxrss * unit,
            }
        )
    )


if __name__ == "__main__":
    main()
