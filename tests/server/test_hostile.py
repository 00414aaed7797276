"""Requests that no honest client sends: no crash, no growth, and no file outside the folder."""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import json
import logging
import socket
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import httpx
import pytest
from helpers.animations import gif_of
from helpers.server import Running, client, idle, picture, running, wait_for
from python_multipart.multipart import MultipartParser

from waifu2x._machine import resident_memory
from waifu2x.server import uploads, web
from waifu2x.server.api import Api
from waifu2x.server.guard import Guard

BOUNDARY = "xyz"
HOST = "Host: 127.0.0.1\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(stall_seconds=1, body_seconds=2, max_bytes=200_000) as found:
        yield found


@pytest.fixture(autouse=True)
def _still_serves(server: Running) -> Iterator[None]:
    """The server answers afterward, and holds nothing."""
    before = listing()
    yield
    wait_for(lambda: idle(server))
    with client(server.url) as http:
        answer = http.post("/api/upscale", files={"file": picture()})
        assert answer.status_code == 200
    wait_for(lambda: idle(server))
    assert listing() == before


def listing() -> set[str]:
    """The files of the current folder and its parent."""
    return {path.name for folder in (".", "..") for path in Path(folder).iterdir()}


def form(name: str = "in.png", data: bytes | None = None, *, end: bool = True) -> bytes:
    begin = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    )
    last = f"\r\n--{BOUNDARY}--\r\n" if end else ""
    return begin.encode() + (picture() if data is None else data) + last.encode()


def post(server: Running, body: bytes, kind: str | None = None) -> httpx.Response:
    kind = kind or f"multipart/form-data; boundary={BOUNDARY}"
    with client(server.url) as http:
        return http.post("/api/upscale", content=body, headers={"Content-Type": kind})


def raw(server: Running, data: bytes, *, wait: float = 30) -> bytes:
    """Send bytes and return all that comes back."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=wait) as connection:
        connection.sendall(data)
        return received(connection)


def received(connection: socket.socket) -> bytes:
    found = b""
    try:
        while piece := connection.recv(1 << 16):
            found += piece
    except (ConnectionResetError, TimeoutError):
        pass
    return found


def head(length: int | str, path: str = "/api/upscale") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\n{HOST}Connection: close\r\nContent-Length: {length}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    ).encode()


# --- bodies


@pytest.mark.parametrize(
    "name",
    [
        "../../../../tmp/evil.png",
        "..\\..\\evil.png",
        "/etc/passwd",
        "C:\\evil.png",
        "\\\\host\\share\\evil.png",
        "a\0b.png",
        "x" * 3000,
        "..",
        ".",
        "",
        "nul",
        'a\\";x=.png',
        "%2e%2e%2fevil.cbz",
        "\u202egnp.exe",
    ],
)
def test_names_never_become_paths(server: Running, name: str) -> None:
    with client(server.url) as http:
        answer = http.post("/api/upscale", files={"file": (name, b"no picture", "image/png")})
    assert answer.status_code in (415, 422, 400)
    assert len(answer.json()["detail"]) < 600
    body = form(name.replace("\0", "\\0"))
    assert post(server, body).status_code == 200
    assert not Path("/tmp/evil.png").exists()


def test_a_declared_length_is_checked_before_the_body(server: Running) -> None:
    answer = raw(server, head(10**12))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"larger than 200000 bytes" in answer or b"the limit of this server" in answer


def test_a_body_without_a_length_is_counted(server: Running) -> None:
    def chunks() -> Iterator[bytes]:
        yield form(data=b"", end=False)
        for _ in range(400):
            yield b"\0" * 1000

    with client(server.url) as http:
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        answer = http.post("/api/upscale", content=chunks(), headers={"Content-Type": kind})
    assert answer.status_code == 413


@pytest.mark.parametrize("path", ["/page", "/sdapi/v1/extra-single-image", "/api"])
def test_every_route_has_the_limit(server: Running, path: str) -> None:
    assert raw(server, head(10**9, path)).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (form(end=False), 400),
        (form()[:30], 400),
        (b"", 400),
        (b"--other--\r\n", 400),
        (b"\0" * 1000, 400),
        (f"--{BOUNDARY}\r\n".encode() + b"A: " + b"b" * 10_000 + b"\r\n\r\n", 400),
        (b"".join(f"--{BOUNDARY}\r\nA{i}: b\r\n\r\n\r\n".encode() for i in range(99)), 413),
    ],
)
def test_malformed_forms(server: Running, body: bytes, status: int) -> None:
    answer = post(server, body)
    assert answer.status_code in (status, 400, 422)
    assert answer.json()["detail"]


def test_too_many_and_too_long_fields(server: Running) -> None:
    with client(server.url) as http:
        many = {f"x{number}": (None, "1") for number in range(100)}
        assert http.post("/api/upscale", files=many).status_code == 413
        long = {"scale": (None, "1" * 100_000)}
        assert http.post("/api/upscale", files=long).status_code == 413
        twice = [("scale", (None, "1")), ("scale", (None, "2"))]
        assert http.post("/api/upscale", files=twice).status_code == 422
        two = [("file", picture()), ("file", picture())]
        assert http.post("/api/upscale", files=two).status_code == 422


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        (b"".join(b"a%d: b\r\n" % number for number in range(10_000)), "more than 8 headers"),
        (b"a: b\r\n" * 9, "more than 8 headers"),
        (b"a: " + b"y" * 150_000, "more than 4096 bytes of headers"),
        (b"y" * 150_000, "more than 4096 bytes of headers"),
        (b"".join(b"a%d: %s\r\n" % (number, b"y" * 1000) for number in range(8)), "4096 bytes"),
    ],
)
def test_headers_of_parts_are_counted(
    server: Running, monkeypatch: pytest.MonkeyPatch, headers: bytes, text: str
) -> None:
    """The limits of the server hold with any parser."""
    lenient = functools.partial(MultipartParser, max_header_count=1 << 30, max_header_size=1 << 30)
    monkeypatch.setattr(uploads, "MultipartParser", lenient)
    answer = post(server, f"--{BOUNDARY}\r\n".encode() + headers)
    assert answer.status_code == 413
    assert text in answer.json()["detail"]
    monkeypatch.undo()
    answer = post(server, f"--{BOUNDARY}\r\n".encode() + headers)
    assert answer.status_code in (400, 413)


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/mixed; boundary=xyz",
        "image/png",
        "multipart/form-data; boundary=" + "x" * 5000,
        ";;;",
    ],
)
def test_wrong_content_types(server: Running, kind: str) -> None:
    assert post(server, form(), kind).status_code in (400, 415)


def test_values_of_fields_are_data(server: Running) -> None:
    values = ["9" * 400, "1e400", "nan", "inf", "-0", "\0", "`rm`", "{}", "1_0", "٣", "0x10", " "]
    with client(server.url) as http:
        for name in ("scale", "width", "noise", "quality", "depth", "skip_larger", "model"):
            for value in values:
                answer = http.post(
                    "/api/upscale", files={"file": b"no picture"}, data={name: value}
                )
                assert answer.status_code in (415, 422), (name, value, answer.text)


# --- slow and broken connections


def test_a_body_that_stalls_is_dropped(server: Running) -> None:
    answer = raw(server, head(5000) + form()[:100])
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_body_that_trickles_is_dropped(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head(100_000))
        try:
            for byte in form():
                connection.sendall(bytes([byte]))
                time.sleep(0.2)
        except OSError:
            pass
        else:
            pytest.fail("the server took all of it")


def test_a_request_that_is_cut_off(server: Running) -> None:
    for body in (form()[:50], form(end=False), b""):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head(5000) + body)
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head(5000) + body)
            reset = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)


def test_a_client_that_reads_nothing_is_dropped(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "STALL_SECONDS", 1)
    body = form(data=picture(300, 300))
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(head(len(body)) + body)
        wait_for(lambda: server.workshop.running)
        wait_for(lambda: idle(server))


def test_a_client_that_reads_slowly_gets_all(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "STALL_SECONDS", 0.5)
    monkeypatch.setattr(web, "HEAD_SECONDS", 0.5)
    field = b'--xyz\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    body = field % (b"format", b"bmp") + field % (b"scale", b"8") + form(data=picture(240, 240))
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.sendall(head(len(body)) + body)
        count = 0
        while piece := connection.recv(1 << 17):
            count += len(piece)
            time.sleep(0.02)
    assert count > 1920 * 1920 * 3


def test_half_a_head_is_dropped(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "HEAD_SECONDS", 0.5)
    for begin in (b"", b"POST /api/upscale HTTP/1.1\r\nHost: 127", b"G"):
        began = time.monotonic()
        raw(server, begin)
        assert time.monotonic() - began < 25


def test_a_connection_too_many_takes_the_place_of_the_oldest_idle_one(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "CONNECTIONS_EACH", 4)
    with contextlib.ExitStack() as stack:
        begun = []
        for _ in range(6):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
            begun.append(stack.enter_context(connection))
            connection.sendall(b"GET / HTTP/1.1\r\n")
            time.sleep(0.1)
        for connection in begun[:2]:
            answer = received(connection)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 5" in answer.lower()
            assert b"application/problem+json" in answer
            assert b"content-security-policy" in answer.lower()
        with client(server.url) as http:
            assert http.get("/api/health").status_code == 200


def test_a_connection_too_many_is_refused_if_all_are_at_work(
    server: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "waifu2x.server")
    monkeypatch.setattr(web, "CONNECTIONS_EACH", 2)
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
            stack.enter_context(connection).sendall(head(5000))
        wait_for(lambda: server.workshop.queue.held == 2)
        with client(server.url) as http:
            answer = http.get("/api/health")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "5"
        assert answer.headers["content-type"] == "application/problem+json"
        assert set(web.SECURITY_HEADERS) <= {name.title() for name in answer.headers}
    wait_for(lambda: '"status": 503' in caplog.text)  # written after the answer


def test_what_is_malformed_gets_problem_json(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "waifu2x.server")
    answer = raw(server, b"\0\1\2\3\r\n\r\n")
    top, _, body = answer.partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 400 ")
    assert b"content-security-policy" in top.lower()
    assert json.loads(body)["detail"] == "the request is not HTTP"
    wait_for(lambda: '"method": null, "path": null, "status": 400' in caplog.text)


def test_a_flood_of_headers(server: Running) -> None:
    flood = b"".join(b"X-%d: %s\r\n" % (number, b"y" * 500) for number in range(1000))
    answer = raw(server, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + flood + b"\r\n")
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize(
    "data",
    [
        b"\0\1\2\3\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"\0" * 100 + b"\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /api/upscale HTTP/1.1\r\n" + HOST.encode() + b"Content-Length: -1\r\n\r\n",
        b"POST /api/upscale HTTP/1.1\r\n"
        + HOST.encode()
        + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_not_http(server: Running, data: bytes) -> None:
    answer = raw(server, data, wait=20)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


@pytest.mark.parametrize(
    "path",
    [
        "/page/../../../etc/passwd",
        "/page/%2e%2e%2f%2e%2e%2fapp.py",
        "/page/..%5capp.py",
        "/page//etc/passwd",
        "/page/app.py",
        "/api/jobs/../health",
        "/api/jobs/%00/result",
        "/" + "a" * 8000,
    ],
)
def test_paths_of_requests(server: Running, path: str) -> None:
    answer = raw(server, f"GET {path} HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n".encode())
    assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 ", b"HTTP/1.1 405 "))
    assert b"root:" not in answer
    assert b"import" not in answer


# --- pictures


def png_of(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds little data."""

    def chunk(name: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1_000_000)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("size", [(100_000, 100_000), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1)])
def test_a_bomb_of_pixels(server: Running, size: tuple[int, int]) -> None:
    before = resident_memory()
    for _ in range(3):
        assert post(server, form(data=png_of(*size))).status_code in (413, 415)
    assert resident_memory() - before < 64 << 20


@pytest.mark.parametrize("archive", [False, True])
def test_a_bomb_of_frames(server: Running, archive: bool) -> None:
    data, name = gif_of(2000, 2000, 3000), "in.gif"
    if archive:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as book:
            book.writestr("1.gif", data)
        data, name = stream.getvalue(), "in.cbz"
    answer = post(server, form(name, data))
    assert answer.status_code == 413
    assert "3000 frames of 2000x2000, 12000000000 pixels, and the limit is" in answer.text


def test_a_client_that_goes_away_ends_the_survey_of_an_animation(server: Running) -> None:
    body = form("in.gif", gif_of(2000, 2000, 500))
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head(len(body)) + body)
        wait_for(lambda: server.workshop.running)
    wait_for(lambda: idle(server), seconds=5)


def test_an_animation_is_charged_by_its_frames(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    charged: list[float] = []
    monkeypatch.setattr(server.workshop.queue, "charge", lambda client, cost: charged.append(cost))
    assert post(server, form("in.gif", gif_of(10, 10, 20))).status_code == 200
    assert charged == [19 * 100]


def test_bombs_of_archives(server: Running) -> None:
    before = resident_memory()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"{number}.png", b"\0" * 5_000_000)
    answer = post(server, form("in.cbz", stream.getvalue()))
    assert answer.status_code in (413, 415)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("../../evil.png", picture())
    answer = post(server, form("in.cbz", stream.getvalue()))
    assert answer.status_code == 415
    assert "leads upwards" in answer.json()["detail"]
    assert resident_memory() - before < 64 << 20


def test_a_scale_beyond_all_limits(server: Running) -> None:
    with client(server.url) as http:
        for fields in ({"scale": "1e9"}, {"width": "2147483648"}, {"scale": "100000"}):
            answer = http.post("/api/upscale", files={"file": picture()}, data=fields)
            assert answer.status_code in (413, 422)


def test_a_batch_of_too_many_pictures(server: Running) -> None:
    image = base64.b64encode(picture(4, 4)).decode()
    images = [{"data": image, "name": "x"} for _ in range(60)]
    with client(server.url) as http:
        answer = http.post(
            "/sdapi/v1/extra-batch-images", json={"imageList": images, "upscaler_1": "Lanczos"}
        )
    assert answer.status_code == 413


# --- who may send


def test_files_are_private(server: Running) -> None:
    assert stat.S_IMODE(server.workshop.folder.stat().st_mode) == 0o700
    modes: set[int] = set()
    body = form(data=picture(400, 300))
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head(len(body)) + body)

        def seen() -> bool:
            modes.update(stat.S_IMODE(each.st_mode) for each in server.stats())
            return bool(modes)

        wait_for(seen)
        received(connection)
    assert modes == {0o600}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "["}, 403),
        ({"Host": "[::"}, 403),
        ({"Host": "a]b"}, 403),
        ({"Host": "[x]"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://[::1"}, 403),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]:1"}, 200),
    ],
)
def test_other_sites_may_not_use_the_server(
    server: Running, headers: dict[str, str], status: int
) -> None:
    with client(server.url) as http:
        answer = http.get("/api/health", headers=headers)
        assert answer.status_code == status
        if status == 403:
            assert answer.headers["content-type"] == "application/problem+json"
            assert set(web.SECURITY_HEADERS) <= {name.title() for name in answer.headers}
        same = {"Origin": server.url.rstrip("/")}
        assert http.get("/api/health", headers=same).status_code == 200
        answer = http.options("/api/upscale", headers={"Access-Control-Request-Method": "POST"})
        assert answer.status_code == 405
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("place", [Guard, Api], ids=["stack", "route"])
def test_a_defect_is_an_answer_like_others(
    place: type, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> NoReturn:
        raise KeyError("no such thing")

    monkeypatch.setattr(place, "_problem" if place is Guard else "_facts", fail)
    caplog.set_level(logging.INFO, "waifu2x.server")
    with running() as server, client(server.url) as http:
        answer = http.post(
            "/api/upscale", files={"file": picture()}, headers={"Prefer": "respond-async"}
        )
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "this is a defect of waifu2x" in answer.json()["detail"]
    assert set(web.SECURITY_HEADERS) <= {name.title() for name in answer.headers}
    assert '"status": 500' in caplog.text
    assert "Traceback" in caplog.text


def test_the_token() -> None:
    token = "a-long-secret"
    with running(token=token) as server, client(server.url) as http:
        basic = base64.b64encode(f"me:{token}".encode()).decode()
        for value, status in [
            (None, 401),
            ("Bearer wrong", 401),
            (f"Bearer {token}x", 401),
            ("Basic %%%", 401),
            (f"Digest {token}", 401),
            (f"Bearer {token}", 200),
            (f"bearer {token}", 200),
            (f"Basic {basic}", 200),
        ]:
            headers = {} if value is None else {"Authorization": value}
            for path in ("/api/health", "/docs", "/openapi.json"):
                answer = http.get(path, headers=headers)
                assert answer.status_code == status
                if status == 401:
                    assert answer.headers["www-authenticate"] == (
                        'Basic realm="waifu2x", Bearer realm="waifu2x"'
                    )
                    assert token not in answer.text
