"""The command: its line, its log, its signals and its exit codes."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest
from helpers.command import waifu2x
from helpers.server import client, opened, picture, process, wait_for

from waifu2x.server.settings import ServerSettings

BIG = picture(600, 500)


def test_the_log_has_a_line_of_json_for_each_request(tmp_path: Path) -> None:
    with process(cwd=tmp_path) as (url, server):
        with client(url) as http:
            http.get("/api/health")
            http.post("/api/upscale", files={"file": ("secret name.png", picture())})
            http.get("/nothing")
        server.send_signal(signal.SIGTERM)
        out, err = server.communicate(timeout=60)
    assert (out, server.returncode) == ("", 143)
    lines = list(map(json.loads, err.splitlines()))
    lines.sort(key=lambda line: ["/api/health", "/api/upscale", "/nothing"].index(line["path"]))
    assert [line["path"] for line in lines] == ["/api/health", "/api/upscale", "/nothing"]
    assert [line["status"] for line in lines] == [200, 200, 404]
    assert lines[1]["size"] == [48, 40]
    assert lines[1]["model"] == "upconv_7"
    assert {"time", "client", "method", "sent", "seconds"} <= set(lines[0])
    assert "secret" not in err


def test_quiet_prints_no_line(tmp_path: Path) -> None:
    with process("--quiet", cwd=tmp_path) as (url, server):
        with client(url) as http:
            assert http.get("/api/health").status_code == 200
            kind = {"Content-Type": "multipart/form-data; boundary=B"}
            assert http.post("/api/upscale", content=b"x" * 99, headers=kind).status_code == 400
        server.send_signal(signal.SIGINT)
        assert server.communicate(timeout=60) == ("", "")
        assert server.returncode == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_what_has_begun(tmp_path: Path, number: signal.Signals) -> None:
    answers: list[httpx.Response] = []
    with process("--threads", "1", cwd=tmp_path) as (url, server):

        def post() -> None:
            with client(url) as http:
                answers.append(http.post("/api/upscale", files={"file": BIG}))

        thread = threading.Thread(target=post)
        with client(url) as http:
            thread.start()
            wait_for(lambda: http.get("/api/health").json()["running"])
        server.send_signal(number)
        thread.join(60)
        server.communicate(timeout=60)
    assert server.returncode == 128 + number
    assert opened(answers[0].content).size == (1200, 1000)
    assert not list(Path("/tmp").glob(f"waifu2x-serve-{server.pid}-*"))


def test_an_upload_that_is_not_complete_does_not_delay_the_end(tmp_path: Path) -> None:
    with process(cwd=tmp_path) as (url, server):
        where = httpx.URL(url)
        with socket.create_connection((where.host, where.port)) as connection:
            head = f"POST /page HTTP/1.1\r\nHost: {where.host}\r\nContent-Length: 5000\r\n\r\n"
            connection.sendall(head.encode() + BIG[:1000])
            wait_for(lambda: [*Path("/tmp").glob(f"waifu2x-serve-{server.pid}-*/*")])
            server.send_signal(signal.SIGTERM)
            answer = connection.makefile("rb").read()
        server.communicate(timeout=10)
    assert server.returncode == 128 + signal.SIGTERM
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"the server is stopping" in answer
    assert not list(Path("/tmp").glob(f"waifu2x-serve-{server.pid}-*"))


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    with process(cwd=tmp_path) as (url, server):

        def post() -> None:
            with client(url) as http, pytest.raises(httpx.HTTPError):
                http.post("/api/upscale", files={"file": BIG}, data={"tta": "true"})

        thread = threading.Thread(target=post)
        with client(url) as http:
            thread.start()
            wait_for(lambda: http.get("/api/health").json()["running"])
        server.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert server.poll() is None
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=20)
        thread.join(20)
    assert server.returncode == 130
    assert not list(Path("/tmp").glob(f"waifu2x-serve-{server.pid}-*"))


def test_files_of_a_killed_server_are_removed_by_the_next(tmp_path: Path) -> None:
    with process(cwd=tmp_path) as (_, server):
        server.kill()
        server.wait()
    assert list(Path("/tmp").glob(f"waifu2x-serve-{server.pid}-*"))
    with process(cwd=tmp_path) as (_, other):
        assert not list(Path("/tmp").glob(f"waifu2x-serve-{server.pid}-*"))
        other.send_signal(signal.SIGTERM)
        other.wait(60)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--host", "0.0.0.0"], 2, "give --token, or --host 127.0.0.1"),
        (["--host", "::"], 2, "give --token"),
        (["--host", "example.com"], 2, "give --token"),
        (["--token", "short"], 2, "8 or more letters"),
        (["--port", "65536"], 2, "from 0 to 65535"),
        (["--port", "x"], 2, "port is 'x'"),
        (["--queue", "0"], 2, "at least 1"),
        (["--max-bytes", "0"], 2, "above 0"),
        (["--max-pixels", "0"], 2, "at least 1"),
        (["--cache", "much"], 2, "such as 4G"),
        (["-m", "nothing"], 2, "model 'nothing' is unknown"),
        (["-e", "native", "-d", "cuda:0"], 2, "'cuda:0'"),
        (["--host", "203.0.113.1", "--token", "long-secret"], 1, "cannot listen on 203.0.113.1"),
        (["extra"], 2, "one too many"),
    ],
)
def test_wrong_options(tmp_path: Path, words: list[str], code: int, text: str) -> None:
    done = waifu2x("serve", *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("Error: ")
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("token", ["se:cret-1\u00e9", "short", "with a space"])
def test_no_message_shows_the_token(tmp_path: Path, token: str) -> None:
    for words, env in (([], {"WAIFU2X_TOKEN": token}), (["--token", token], {})):
        done = waifu2x("serve", *words, cwd=tmp_path, env=env)
        assert (done.returncode, done.stdout) == (2, "")
        assert "token is not allowed; it must be 8 or more letters" in done.stderr
        assert token not in done.stderr
        assert "cret" not in done.stderr
    assert "a-long-secret" not in repr(ServerSettings(token="a-long-secret"))


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = waifu2x("serve", "--port", port, cwd=tmp_path)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in done.stderr
    assert "choose another --port" in done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_no_token(tmp_path: Path, host: str) -> None:
    if host == "::1" and not _has_ipv6():
        pytest.skip("no IPv6 here")
    with process("--host", host, cwd=tmp_path) as (url, server):
        with client(url) as http:
            assert http.get("/api/health").status_code == 200
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
