"""The server's own API: the bytes of the command, its options, jobs, and its sentences."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers import art
from helpers.command import waifu2x
from helpers.server import Running, client, idle, opened, picture, running, wait_for
from helpers.weight_files import compact_file
from PIL import Image

from waifu2x import Upscaler, __version__
from waifu2x.network import registry
from waifu2x.pipeline.options import UpscalerOptions
from waifu2x.server import jobs as jobs_module

BIG = picture(600, 500)


def send(http: httpx.Client, data: bytes, name: str = "in.png", **fields: str) -> httpx.Response:
    return http.post("/api/upscale", files={"file": (name, data)}, data=fields)


def command(folder: Path, data: bytes, name: str, *options: str) -> bytes:
    """The result of the command for the same file."""
    (folder / name).write_bytes(data)
    out = folder / "out"
    out.mkdir()
    done = waifu2x(name, "out", "-m", "upconv_7", *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    (found,) = out.iterdir()
    return found.read_bytes()


def animation() -> bytes:
    frames = [art.anime_face(24, 20).rotate(turn) for turn in (0, 20)]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=80)
    return stream.getvalue()


def comic() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("1.jpg", picture(format="JPEG"))
        archive.writestr("2.png", picture())
    return stream.getvalue()


def deep() -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((24, 20)).convert("I;16").save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "options"),
    [
        ("in.png", picture(), {}),
        ("in.jpg", picture(format="JPEG", quality=60), {"scale": "3"}),
        ("in.jpg", picture(format="JPEG", quality=60), {"noise": "2", "format": "webp"}),
        ("in.png", picture(), {"format": "jpeg", "quality": "70", "width": "60"}),
        ("in.png", picture(), {"strength": "0.5", "color_fix": "true"}),
        ("in.png", deep(), {}),
        ("in.png", picture(), {"depth": "16", "strip": "true", "tta": "true"}),
        ("in.gif", animation(), {}),
        ("in.cbz", comic(), {"noise": "1"}),
    ],
)
def test_a_result_has_the_bytes_of_the_command(
    http: httpx.Client, tmp_path: Path, name: str, data: bytes, options: dict[str, str]
) -> None:
    answer = send(http, data, name, **options)
    assert answer.status_code == 200, answer.text
    words = []
    for key, value in options.items():
        words.append(f"--{key.replace('_', '-')}")
        words += [] if value == "true" else [value]
    assert answer.content == command(tmp_path, data, name, *words)


def test_the_headers_of_an_answer(http: httpx.Client) -> None:
    answer = send(http, picture(format="JPEG", quality=60), "a/../täst.jpg", noise="1")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-waifu2x-size"] == "48x40"
    assert answer.headers["x-waifu2x-noise"] == "1"
    assert json.loads(answer.headers["x-waifu2x-notes"]) == []
    assert answer.headers["content-disposition"] == "inline; filename*=utf-8''t%C3%A4st_waifu2x.png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("a%22b.png", "a%22b_waifu2x.png"),
        ("a%0D%0Ab.png", "a%20b_waifu2x.png"),
        ("100%25.png", "100%2525_waifu2x.png"),
    ],
)
def test_names_as_browsers_encode_them(http: httpx.Client, sent: str, name: str) -> None:
    """Browsers write %22, %0D and %0A for three characters, and encode nothing else."""
    body = (
        f'--xyz\r\nContent-Disposition: form-data; name="file"; filename="{sent}"\r\n\r\n'.encode()
        + picture()
        + b"\r\n--xyz--\r\n"
    )
    answer = http.post(
        "/api/upscale",
        content=body,
        headers={"Content-Type": "multipart/form-data; boundary=xyz"},
    )
    assert answer.headers["content-disposition"] == f"inline; filename*=utf-8''{name}"


def test_notes_and_failed_pages_are_in_the_answer(http: httpx.Client) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("1.png", picture())
        archive.writestr("2.png", b"\x89PNG\r\n\x1a\n")
    answer = send(http, stream.getvalue(), "in.cbz")
    assert answer.headers["content-type"] == "application/vnd.comicbook+zip"
    assert any("2.png" in note for note in json.loads(answer.headers["x-waifu2x-notes"]))
    assert send(http, stream.getvalue(), "in.cbz", strict="true").status_code == 415


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"scale": "two"}, ["-s", "two"]),
        ({"scale": "-1"}, ["-s", "-1"]),
        ({"noise": "7"}, ["-n", "7"]),
        ({"scale": "2", "width": "9"}, None),
        ({"format": "xcf"}, ["-f", "xcf"]),
        ({"quality": "101"}, ["-q", "101"]),
        ({"format": "bmp", "quality": "50"}, ["-f", "bmp", "-q", "50"]),
        ({"depth": "9"}, ["--depth", "9"]),
        ({"quality": "70"}, ["out", "-q", "70"]),
        ({"strength": "2"}, ["--strength", "2"]),
        ({"skip_larger": "big"}, ["--skip-larger", "big"]),
    ],
)
def test_a_wrong_option_has_the_sentence_of_the_command(
    http: httpx.Client, tmp_path: Path, fields: dict[str, str], words: list[str] | None
) -> None:
    answer = send(http, picture(), **fields)
    problem = answer.json()
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert {name: problem[name] for name in ("type", "title", "status")} == {
        "type": "about:blank",
        "title": "Unprocessable Entity",
        "status": 422,
    }
    if words is not None:
        (tmp_path / "in.png").write_bytes(picture())
        (tmp_path / "out").mkdir()
        done = waifu2x("in.png", *words, cwd=tmp_path)
        assert done.stderr == f"Error: {problem['detail']}\n"


@pytest.mark.parametrize(
    ("data", "status", "text"),
    [
        (b"", 415, "in.png is empty (0 bytes); copy or download it again"),
        (b"text", 415, "in.png is not a picture in a supported format"),
        (
            b"YUV4MPEG2 W2 H2 F1:1\nFRAME\n" + bytes(6),
            415,
            "in.png is a YUV4MPEG2 video; the server",
        ),
        (b"\x1a\x45\xdf\xa3" + bytes(99), 415, "in.png is a Matroska video file; the server takes"),
        (picture()[:60], 415, "in.png"),
        (picture(60, 50), 422, "in.png is 60x50, larger than 30x30"),
    ],
)
def test_a_wrong_file(http: httpx.Client, data: bytes, status: int, text: str) -> None:
    answer = send(http, data, skip_larger="30x30")
    assert answer.status_code == status
    assert answer.json()["detail"].startswith(text)


def test_wrong_requests(http: httpx.Client) -> None:
    for answer, status, text in [
        (http.post("/api/upscale", data={"scale": "2"}), 415, "no form"),
        (http.post("/api/upscale", content=b"x"), 415, "no form"),
        (http.post("/api/upscale", files={"other": b"x"}), 422, "'other' holds a file"),
        (http.post("/api/upscale", files={"scale": (None, "2")}), 422, "holds no file"),
        (send(http, picture(), model="/etc/passwd"), 422, "model '/etc/passwd' is unknown"),
        (send(http, picture(), engine="onnx"), 422, "option engine is chosen when"),
        (send(http, picture(), skale="2"), 422, "did you mean scale?"),
        (send(http, picture(), tta="perhaps"), 422, "it must be true or false"),
        (http.get("/api/upscale"), 405, "another method"),
        (http.get("/nothing"), 404, "nothing under this path"),
        (http.get("/api/jobs/x"), 404, "no such job"),
    ]:
        assert answer.status_code == status
        assert answer.json()["status"] == status
        assert text in answer.json()["detail"]


# --- jobs


def events(http: httpx.Client, link: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    with http.stream("GET", f"{link}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in stream.iter_lines():
            key, _, value = line.partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                found.append((name, json.loads(value)))
    return found


def begun(http: httpx.Client, data: bytes, **fields: str) -> dict[str, Any]:
    answer = http.post(
        "/api/upscale",
        files={"file": ("in.png", data)},
        data=fields,
        headers={"Prefer": "respond-async"},
    )
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    assert answer.headers["location"] == job["links"]["self"] == f"/api/jobs/{job['id']}"
    return job


def test_a_job_from_begin_to_end(http: httpx.Client) -> None:
    job = begun(http, BIG)
    assert job["status"] in ("queued", "running")
    early = http.get(job["links"]["result"])
    assert early.status_code in (200, 409)
    followed = events(http, job["links"]["self"])
    names = [name for name, _ in followed]
    shares = [each["progress"] for _, each in followed]
    assert names[-1] == "done"
    assert set(names[:-1]) <= {"queued", "progress"}
    assert shares == sorted(shares)
    assert shares[-1] == 1
    done = http.get(job["links"]["self"]).json()
    assert done == followed[-1][1]
    assert (done["size_in"], done["size_out"]) == ([600, 500], [1200, 1000])
    assert (done["status"], done["error"], done["name"]) == ("done", None, "in_waifu2x.png")
    for _ in range(2):
        result = http.get(job["links"]["result"])
        assert opened(result.content).size == (1200, 1000)
    assert http.delete(job["links"]["self"]).status_code == 204
    assert http.get(job["links"]["self"]).status_code == 404


def test_a_job_that_fails_carries_its_problem(http: httpx.Client) -> None:
    job = begun(http, b"text")
    name, facts = events(http, job["links"]["self"])[-1]
    assert (name, facts["status"], facts["error"]["status"]) == ("failed", "failed", 415)
    answer = http.get(job["links"]["result"])
    assert (answer.status_code, answer.json()) == (415, facts["error"])
    http.delete(job["links"]["self"])


def test_a_deleted_job_is_canceled(server: Running, http: httpx.Client) -> None:
    job = begun(http, BIG, tta="true")
    wait_for(lambda: server.workshop.running == 1)
    assert http.delete(job["links"]["self"]).status_code == 204
    wait_for(lambda: idle(server))


def test_a_client_that_goes_away_cancels_its_work(server: Running) -> None:
    finished = threading.Event()

    def go_away() -> None:
        with client(server.url) as http, pytest.raises(httpx.ReadTimeout):
            http.post("/api/upscale", files={"file": BIG}, data={"tta": "true"}, timeout=0.5)
        finished.set()

    threading.Thread(target=go_away).start()
    wait_for(lambda: server.workshop.running == 1)
    with server.workshop._lock:
        (job,) = server.workshop._running
    assert finished.wait(60)
    wait_for(lambda: idle(server))
    assert job.status == "canceled"


def test_a_client_that_closes_its_sending_side_has_gone(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        head = "POST /page?tta=true HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        connection.sendall(f"{head}Content-Length: {len(BIG)}\r\n\r\n".encode() + BIG)
        wait_for(lambda: server.workshop.running == 1)
        with server.workshop._lock:
            (job,) = server.workshop._running
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    wait_for(lambda: idle(server))
    assert job.status == "canceled"


# --- models, options, description


def test_health(http: httpx.Client) -> None:
    assert http.get("/api/health").json() == {
        "status": "ok",
        "version": __version__,
        "queued": 0,
        "running": 0,
    }


def test_models(http: httpx.Client) -> None:
    found = http.get("/api/models").json()
    assert found["default"] == "upconv_7"
    installed = {each.name: each for each in registry.models() if each.installed}
    assert {each["name"] for each in found["models"]} == set(installed)
    for each in found["models"]:
        model = installed[each["name"]]
        assert each["scales"] == list(model.scales)
        assert each["noise_levels"] == [str(level) for level in model.noise_levels()]
        assert (each["license"], each["description"]) == (model.license, model.description)
        assert each["default_scale"] == 2
        assert each["argument"] == (None if each["name"] == "cunet" else each["name"])
        assert send(http, picture(), model=each["name"], scale="2").status_code == 200


def test_options_are_those_of_the_command(http: httpx.Client) -> None:
    found = http.get("/api/options").json()
    help = waifu2x("--help", cwd=Path()).stdout
    for option in found["options"]:
        assert f"{option['flag']} " in help
        assert option["type"] in ("string", "number", "integer", "boolean")
    names = [option["name"] for option in found["options"]]
    assert names[:4] == ["scale", "width", "height", "noise"]
    assert {"model", "format", "quality", "tta", "strip"} <= set(names)
    assert "png" in found["formats"]
    limits = {"max_bytes": 64 << 20, "max_pixels": UpscalerOptions().limit, "keep_seconds": 600}
    assert found["limits"] == {
        **limits,
        "max_animation": 64 * UpscalerOptions().limit,
        "keep_bytes": 4 << 30,
        "keep_jobs": 1000,
    }


def test_the_description(http: httpx.Client) -> None:
    found = http.get("/openapi.json").json()
    form = found["paths"]["/api/upscale"]["post"]["requestBody"]["content"]
    properties = form["multipart/form-data"]["schema"]["properties"]
    options = http.get("/api/options").json()["options"]
    assert list(properties) == ["file", *(option["name"] for option in options)]
    for path, methods in found["paths"].items():
        for method in methods:
            answer = http.request(method.upper(), path.format(id="x"))
            assert answer.status_code not in (405, 500)
            assert (
                answer.json()["detail"] != "there is nothing under this path; see /docs"
                if (answer.status_code == 404)
                else True
            )
    page = http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "POST /api/upscale" in page.text
    assert "<script" not in page.text
    assert http.get("/page/docs.css").status_code == 200


# --- settings


def test_results_are_cached_within_a_limit() -> None:
    pictures = [picture(24 + size, 20) for size in range(4)]
    with running(cache=12_000) as server, client(server.url) as http:
        first = send(http, pictures[0])
        cache = server.workshop._cache
        taken = server.workshop._taken
        assert send(http, pictures[0], "other.png").content == first.content
        assert server.workshop._taken == taken
        send(http, pictures[0], noise="1")
        assert server.workshop._taken == taken + 1
        for each in pictures:
            send(http, each)
        wait_for(lambda: sum(each.st_size for each in server.stats()) == cache.size)
        assert 0 < cache.size <= 12_000


def test_the_cache_gives_no_name_of_another_client() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as book:
        book.writestr("01.png", picture())
        book.writestr("02.png", picture()[:300])
    with running(cache=1 << 20) as server, client(server.url) as http:
        for owner in ("alice", "bob"):
            answer = send(http, stream.getvalue(), f"{owner}_secret.cbz")
            assert answer.status_code == 200
            text = str(answer.headers)
            assert f"{owner}_secret.cbz: page 02.png is truncated" in text
            assert ("alice" in text) == (owner == "alice")
            assert f'{owner}_secret_waifu2x.cbz"' in text
        assert server.workshop._taken == 2


def test_a_model_file_is_served_by_its_name_only(tmp_path: Path) -> None:
    file = tmp_path / "own.pth"
    compact_file(file, seed=0)
    expected = Upscaler(file).upscale(picture())
    with running(upscaler=UpscalerOptions(file)) as server, client(server.url) as http:
        found = http.get("/api/models").json()
        assert found["default"] == "own"
        assert found["models"][0]["argument"] == "own.pth"
        assert str(tmp_path) not in str(found)
        for fields in ({}, {"model": "own"}):
            answer = send(http, picture(), **fields)
            assert opened(answer.content).tobytes() == expected.tobytes()
        assert send(http, picture(), model=str(file)).status_code == 422
        assert send(http, picture(), model="upconv_7").status_code == 200


def test_a_model_file_with_the_name_of_a_model(tmp_path: Path) -> None:
    file = tmp_path / "cunet.pth"
    compact_file(file, seed=0)
    expected = Upscaler(file).upscale(picture())
    with running(upscaler=UpscalerOptions(file)) as server, client(server.url) as http:
        found = http.get("/api/models").json()
        assert found["default"] == "cunet.pth"
        models = {each["name"]: each for each in found["models"]}
        assert models["cunet.pth"]["argument"] == "cunet.pth"
        assert models["cunet.pth"]["default_scale"] == registry.model(str(file)).default_scale
        assert models["cunet"]["argument"] is None
        assert models["cunet"]["noise_levels"] == ["0", "1", "2", "3"]
        for fields in ({}, {"model": "cunet.pth"}):
            answer = send(http, picture(), **fields)
            assert opened(answer.content).tobytes() == expected.tobytes()
        answer = send(http, picture(), model="cunet")
        assert opened(answer.content).tobytes() != expected.tobytes()
        names = [each["name"] for each in http.get("/sdapi/v1/upscalers").json()]
        assert {"cunet", "cunet.pth"} <= set(names)


def test_a_batch_whose_client_goes_away_is_canceled(server: Running) -> None:
    image = base64.b64encode(picture(400, 300)).decode()
    images = [{"data": image, "name": "x.png"} for _ in range(4)]
    body = {"imageList": images, "upscaler_1": "cunet", "upscaling_resize": 8}
    with client(server.url) as http, pytest.raises(httpx.ReadTimeout):
        http.post("/sdapi/v1/extra-batch-images", json=body, timeout=1)
    wait_for(lambda: idle(server))


def test_a_job_is_forgotten_after_its_time() -> None:
    with running(keep_seconds=0.2) as server, client(server.url) as http:
        job = begun(http, picture())
        events(http, job["links"]["self"])
        # The file goes without any further request.
        wait_for(lambda: idle(server))
        assert len(server.store) == 0
        assert http.get(job["links"]["self"]).status_code == 404


def kept(server: Running) -> int:
    """The bytes of the files of a server."""
    return sum(each.st_size for each in server.stats())


def test_results_of_jobs_are_bounded_in_bytes() -> None:
    with running(keep_bytes=20_000) as server, client(server.url) as http:
        jobs = []
        for width in range(30, 36):
            jobs.append(begun(http, picture(width, 30)))
            events(http, jobs[-1]["links"]["self"])
        wait_for(lambda: kept(server) <= 20_000)
        answers = [http.get(job["links"]["result"]) for job in jobs]
        statuses = [answer.status_code for answer in answers]
        assert statuses == [410] * 4 + [200] * 2
        for path in ("self", "events", "result"):
            gone = http.get(jobs[0]["links"][path])
            assert gone.status_code == 410
            assert "removed to make room" in gone.json()["detail"]


def test_the_bound_holds_for_jobs_that_were_queued_at_once() -> None:
    with running(keep_bytes=20_000) as server, client(server.url) as http:
        jobs = [begun(http, picture(width, 30)) for width in range(30, 42)]
        wait_for(lambda: not (server.workshop.running or server.workshop.queue.held))
        wait_for(lambda: 0 < kept(server) <= 20_000)
        statuses = [http.get(job["links"]["self"]).status_code for job in jobs]
        assert set(statuses) == {200, 410}


def test_results_of_jobs_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "KEPT_JOBS", 3)
    with running() as server, client(server.url) as http:
        jobs = []
        for _ in range(5):
            jobs.append(begun(http, picture()))
            events(http, jobs[-1]["links"]["self"])
        wait_for(lambda: len(server.store) == 3)
        statuses = [http.get(job["links"]["self"]).status_code for job in jobs]
        assert statuses == [410] * 2 + [200] * 3
        for job in jobs[2:]:
            http.delete(job["links"]["self"])
        wait_for(lambda: idle(server))
        assert http.get(jobs[4]["links"]["self"]).status_code == 404


def test_a_small_limit_for_bodies_keeps_results() -> None:
    """A limit for bodies does not shorten the time of results."""
    with running(max_bytes=30_000) as server, client(server.url) as http:
        jobs = [begun(http, picture(200, 150)) for _ in range(12)]
        for job in jobs:
            events(http, job["links"]["self"])
        assert kept(server) > 16 * 30_000
        assert {http.get(job["links"]["result"]).status_code for job in jobs} == {200}


def test_a_full_queue_is_status_503() -> None:
    with running(queue=2) as server, client(server.url) as http:
        server.workshop.reserve("another")
        server.workshop.reserve("a third")
        answer = send(http, picture())
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["detail"] == "the queue is full; try again later"
        server.workshop.queue.release("another")
        assert send(http, picture()).status_code == 200
        server.workshop.queue.release("a third")


def test_the_limit_of_pixels_is_checked_before_decoding() -> None:
    options = UpscalerOptions("upconv_7", max_pixels=1000)
    with running(upscaler=options) as server, client(server.url) as http:
        assert send(http, picture(20, 20)).status_code == 200
        answer = send(http, picture(50, 50))
        assert answer.status_code == 413
        assert "1,000" in answer.json()["detail"] or "1000" in answer.json()["detail"]
        wait_for(lambda: idle(server))
