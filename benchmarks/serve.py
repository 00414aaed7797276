"""Measures ``waifu2x serve``: throughput, fairness between clients, and memory.

    python -m benchmarks.serve [--only PART,...] [--rounds 3] [--quick] [--json FILE]

See benchmarks/README.md for the parts. Server and clients share this machine; each client has a
loopback address of its own. The exit status is 1 if an answer is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import io
import json
import random
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from .common.environment import describe, environment
from .common.measure import FailureError
from .common.parts import Options, Part, add_options, check_rounds, make_options, run_parts
from .common.pictures import draw_face
from .common.processes import waifu2x_command
from .common.tables import markdown

DISTRIBUTIONS = ("waifu2x-native", "starlette", "uvicorn", "python-multipart", "numpy", "pillow")

MODEL = "upconv_7"
CLIENTS = 20
BOUNDARY = "benchmark"
MEMORY = "1G"
SEED = 20261126

#: Connections at once in part throughput.
CONNECTIONS = 8

#: Shares of the requests of part memory.
KINDS = {"good": 0.6, "broken": 0.12, "canceled": 0.1, "slow": 0.08, "cut off": 0.05, "huge": 0.05}


@dataclass(frozen=True)
class Server:
    """A running server. process: of the command, for its memory."""

    port: int
    process: psutil.Process


@contextlib.contextmanager
def serving(*more: object) -> Iterator[Server]:
    command = waifu2x_command("serve", "--port", 0, "-m", MODEL, "--quiet", *more)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise FailureError("the server does not start")
        try:
            yield Server(int(line.rstrip("/\n").rpartition(":")[2]), psutil.Process(process.pid))
        finally:
            process.terminate()
            process.wait(60)


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    seconds: float


class Client:
    """A connection that stays open. number: of the loopback address, 1 to 250."""

    def __init__(self, server: Server, number: int, seconds: float = 600) -> None:
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", server.port, timeout=seconds, source_address=(f"127.0.0.{number}", 0)
        )

    def post(self, data: bytes, **fields: str) -> Answer:
        """Upscale a picture; a full queue is tried again after a pause."""
        body = form(data, **fields)
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        began = time.perf_counter()
        while True:
            self._connection.request("POST", "/api/upscale", body, headers)
            answer = self._connection.getresponse()
            found = Answer(answer.status, answer.read(), time.perf_counter() - began)
            if found.status != 503:
                return found
            time.sleep(0.1)

    def close(self) -> None:
        self._connection.close()


def form(data: bytes, **fields: str) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="in"\r\n\r\n'
    return b"".join([*parts, head.encode(), data, f"\r\n--{BOUNDARY}--\r\n".encode()])


def pictures(count: int, least: int, most: int) -> list[bytes]:
    """Files of PNG and JPEG in turn, with sides between ``least`` and ``most`` pixels."""
    draw = random.Random(SEED)
    found = []
    for index in range(count):
        size = draw.randint(least, most), draw.randint(least, most)
        stream = io.BytesIO()
        if index % 2:
            draw_face(*size).save(stream, "PNG")
        else:
            draw_face(*size).save(stream, "JPEG", quality=80)
        found.append(stream.getvalue())
    return found


# --- throughput


def throughput(options: Options) -> Part:
    """The same pictures through the command and through the server, in turn."""
    count, least, most = (8, 32, 64) if options.quick else (48, 96, 320)
    files = pictures(count, least, most)
    source = options.folder / "in"
    source.mkdir()
    for index, data in enumerate(files):
        (source / f"{index:03}.{'png' if index % 2 else 'jpg'}").write_bytes(data)
    seconds: dict[str, list[float]] = {"command": [], "server": []}
    problems: list[str] = []
    out = options.folder / "out"
    with serving() as server:
        expected: list[bytes] = []
        _all_of(server, files)  # loads the networks
        for turn in range(options.rounds):
            for name in ("command", "server") if turn % 2 else ("server", "command"):
                began = time.perf_counter()
                if name == "server":
                    made = _all_of(server, files)
                    seconds[name].append(time.perf_counter() - began)
                    expected = expected or made
                    if made != expected:
                        problems.append("results of the server differ from round to round")
                else:
                    shutil.rmtree(out, ignore_errors=True)
                    subprocess.run(waifu2x_command(source, out, "-m", MODEL, "--quiet"), check=True)
                    seconds[name].append(time.perf_counter() - began)
    written = [path.read_bytes() for path in sorted(out.iterdir())]
    if written != expected:
        problems.append("results of the server differ from those of the command")
    start = _start_seconds(options)
    net = [each - start for each in seconds["command"]]
    ratio = statistics.median(net) / statistics.median(seconds["server"])
    rows = [
        ["waifu2x FOLDER, whole process", f"{statistics.median(seconds['command']):.2f}"],
        ["waifu2x FOLDER, without its start", f"{statistics.median(net):.2f}"],
        [
            f"waifu2x serve, {CONNECTIONS} connections",
            f"{statistics.median(seconds['server']):.2f}",
        ],
    ]
    text = (
        f"\nThroughput: {count} pictures of {least} to {most} px a side, {MODEL}\n\n"
        f"{markdown(['', 'seconds'], rows)}\n\n"
        f"The server has {ratio:.1%} of the throughput of the command."
    )
    report = {"seconds": seconds, "start": start, "ratio": ratio, "pictures": count}
    return Part(report, text, problems)


def _start_seconds(options: Options) -> float:
    """The time of the command for one tiny picture: its start, and loading the network."""
    tiny = options.folder / "tiny.png"
    draw_face(8, 8).save(tiny)
    found = []
    for _ in range(options.rounds):
        began = time.perf_counter()
        subprocess.run(
            waifu2x_command(
                tiny, options.folder / "tiny_out.png", "-m", MODEL, "--quiet", "--overwrite"
            ),
            check=True,
        )
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def _all_of(server: Server, files: Sequence[bytes]) -> list[bytes]:
    """Post all files over several connections; returns the results in order."""
    results: list[bytes] = [b""] * len(files)
    todo = iter(range(len(files)))
    lock = threading.Lock()

    def work(number: int) -> None:
        connection = Client(server, number)
        while True:
            with lock:
                index = next(todo, None)
            if index is None:
                connection.close()
                return
            answer = connection.post(files[index])
            if answer.status == 200:
                results[index] = answer.body

    _in_threads(work, range(1, CONNECTIONS + 1))
    return results


def _in_threads(work: Callable[[int], None], numbers: Sequence[int]) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# --- fairness


def fairness(options: Options) -> Part:
    """Clients that always have work waiting; the first of them has eight times as many requests."""
    seconds = 4 if options.quick else 30
    clients = 4 if options.quick else CLIENTS
    (data,) = pictures(1, 96, 96)
    served: Counter[int] = Counter()
    waits: dict[int, list[float]] = {number: [] for number in range(1, clients + 1)}
    problems: list[str] = []
    with serving("--queue", 8 * clients) as server:
        Client(server, 1).post(data)
        end = time.perf_counter() + seconds

        def work(number: int) -> None:
            connection = Client(server, number)
            while time.perf_counter() < end:
                answer = connection.post(data)
                if answer.status != 200:
                    problems.append(f"status {answer.status}")
                elif time.perf_counter() < end:
                    served[number] += 1
                    waits[number].append(answer.seconds)
            connection.close()

        connections = [1] * 16 + [each for each in range(2, clients + 1) for _ in range(2)]
        _in_threads(work, connections)
    counts = [served[number] for number in range(1, clients + 1)]
    others = counts[1:]
    index = sum(counts) ** 2 / (len(counts) * sum(each * each for each in counts))
    rows = [
        ["client with 16 connections", str(counts[0]), f"{statistics.median(waits[1]):.2f}"],
        [
            f"{len(others)} clients with 2 each: least, median, most",
            f"{min(others)}, {statistics.median(others):g}, {max(others)}",
            f"{statistics.median(wait for n in waits if n > 1 for wait in waits[n]):.2f}",
        ],
    ]
    text = (
        f"\nFairness: {clients} clients for {seconds} s\n\n"
        f"{markdown(['', 'pictures', 'median wait, s'], rows)}\n\n"
        f"Jain's index of fairness: {index:.3f} (1 is equal shares)."
    )
    return Part({"served": counts, "jain": index, "seconds": seconds}, text, problems)


# --- memory


def memory(options: Options) -> Part:
    """Requests of all kinds from 20 clients; every answer is right, or an honest error."""
    total = 40 if options.quick else 200
    draw = random.Random(SEED)
    files = pictures(6, 32, 96 if options.quick else 320)
    kinds = [kind for kind, share in KINDS.items() for _ in range(round(share * total))]
    draw.shuffle(kinds)
    problems: list[str] = []
    answers: Counter[str] = Counter()
    samples: list[tuple[int, int]] = []
    done = 0
    lock = threading.Lock()
    with serving("--memory", MEMORY, "--max-pixels", 2_000_000) as server:
        expected = {}
        for data in files:
            expected[data] = hashlib.sha256(Client(server, 1).post(data).body).digest()
        stopped = threading.Event()

        def sample() -> None:
            while not stopped.wait(0.05):
                samples.append((done, server.process.memory_info().rss))

        sampler = threading.Thread(target=sample)
        sampler.start()
        todo = iter(kinds)

        def work(number: int) -> None:
            nonlocal done
            choice = random.Random(SEED + number)
            while True:
                with lock:
                    kind = next(todo, None)
                if kind is None:
                    return
                data = choice.choice(files)
                try:
                    outcome, right = _request(server, number, kind, data, expected[data], choice)
                except (OSError, http.client.HTTPException) as error:
                    outcome, right = type(error).__name__, False
                with lock:
                    done += 1
                    answers[f"{kind}: {outcome}"] += 1
                    if not right:
                        problems.append(f"{kind}: {outcome}")

        _in_threads(work, range(1, CLIENTS + 1))
        stopped.set()
        sampler.join()
        health = _health(server)
        folders = [Path(each.path) for each in server.process.open_files()]
    first = max(rss for number, rss in samples if number <= total // 2)
    second = max(rss for number, rss in samples if number > total // 2)
    rows = [[kind, str(count)] for kind, count in sorted(answers.items())]
    text = (
        f"\nMemory: {total} requests from {CLIENTS} clients, --memory {MEMORY}\n\n"
        f"{markdown(['kind: answer', 'requests'], rows)}\n\n"
        f"Peak {first >> 20} MiB in the first half and {second >> 20} MiB in the second, "
        f"{samples[-1][1] >> 20} MiB at the end."
    )
    if health != (0, 0):
        problems.append(f"{health} pictures are left in the server")
    report = {
        "answers": dict(answers),
        "peak_first_half": first,
        "peak_second_half": second,
        "end": samples[-1][1],
        "open_files": len(folders),
    }
    return Part(report, text, problems)


def _health(server: Server) -> tuple[int, int]:
    for _ in range(100):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("GET", "/api/health")
        found = json.loads(connection.getresponse().read())
        connection.close()
        if not found["queued"] and not found["running"]:
            break
        time.sleep(0.1)
    return found["queued"], found["running"]


def _request(
    server: Server, number: int, kind: str, data: bytes, expected: bytes, choice: random.Random
) -> tuple[str, bool]:
    """Send one request; returns the outcome, and whether it is what it should be."""
    if kind == "good":
        answer = Client(server, number).post(data)
        same = hashlib.sha256(answer.body).digest() == expected
        return f"{answer.status}{' and the right bytes' * same}", same
    if kind == "broken":
        broken = choice.choice([b"text", b"", data[: len(data) // 3], data[10:], b"\0" * 5000])
        answer = Client(server, number).post(broken)
        # A picture that is cut off may still decode in part.
        return str(answer.status), answer.status in (200, 415)
    if kind == "huge":
        answer = Client(server, number).post(data, scale="100000")
        return str(answer.status), answer.status in (413, 422)
    body = form(data)
    head = (
        f"POST /api/upscale HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        f"Connection: close\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    ).encode()
    with socket.create_connection(
        ("127.0.0.1", server.port), timeout=600, source_address=(f"127.0.0.{number}", 0)
    ) as connection:
        connection.sendall(head)
        if kind == "cut off":
            connection.sendall(body[: len(body) // 2])
            return "no answer", True
        if kind == "canceled":
            connection.sendall(body)
            time.sleep(choice.random() * 0.3)
            return "no answer", True
        for begin in range(0, len(body), len(body) // 10 + 1):
            connection.sendall(body[begin : begin + len(body) // 10 + 1])
            time.sleep(0.1)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        same = hashlib.sha256(answer.read()).digest() == expected
        # A slow body finds the queue full as any other.
        return f"{answer.status}{' and the right bytes' * same}", same or answer.status == 503


#: In execution order.
PARTS: Mapping[str, Callable[[Options], Part]] = {
    "throughput": throughput,
    "fairness": fairness,
    "memory": memory,
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serve", description="Measure the server."
    )
    add_options(parser, PARTS, rounds="3", quiet=False)
    arguments = parser.parse_args(argv)
    check_rounds(parser, arguments, 3)
    facts = environment(threads=None, distributions=DISTRIBUTIONS)
    print(describe(facts), flush=True)
    options = make_options(Options, arguments)
    return run_parts(PARTS, options, arguments, {"benchmark": "serve", **facts})


if __name__ == "__main__":
    sys.exit(main())
