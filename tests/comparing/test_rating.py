"""The page of a rater: what it is sent, votes by keys in Chromium, and how rating goes on."""

from __future__ import annotations

import io
import json
import random
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from helpers import art
from helpers.browser import CHROMIUM, chromium
from helpers.command import ended, started, waifu2x, wait_for
from helpers.server import client as client_of
from helpers.server import served
from PIL import Image

from waifu2x.codec import decode
from waifu2x.comparing.gallery import Gallery
from waifu2x.comparing.methods import Method, open_methods
from waifu2x.comparing.rating import Rating, RatingOptions, rating_app
from waifu2x.comparing.votes import VoteFile, read_votes
from waifu2x.errors import EncodeError
from waifu2x.pipeline.options import PictureOptions

#: Sides of the crops, in pixels of the result.
SIDE = 32


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(4):
        art.anime_face(60 + 4 * number, 48).save(folder / f"{number}.png")
    return folder


def methods() -> tuple[Method, ...]:
    return open_methods(["upconv_7", "bicubic"])


@contextmanager
def gallery_of(folder: Path, problems: list[str] | None = None) -> Iterator[Gallery]:
    found = [(path.name, path) for path in sorted(folder.iterdir())]
    gallery = Gallery(
        found,
        methods(),
        scale=2,
        noise="auto",
        side=SIDE,
        on_problem=([] if problems is None else problems).append,
        generator=random.Random(1),
    )
    with closing(gallery):
        yield gallery


def until_finished(gallery: Gallery) -> None:
    ended = threading.Event()
    while not gallery.finished:
        ended.wait(0.05)


# --- the crops


def test_crops_are_those_of_the_whole_results(pictures: Path) -> None:
    with gallery_of(pictures) as gallery:
        until_finished(gallery)
        assert {sample.picture for sample in gallery.samples} == {f"{n}.png" for n in range(4)}
        for sample in gallery.samples[:3]:
            picture = decode(pictures / sample.picture)
            for method in methods():
                whole = method.enlarge(picture, PictureOptions(scale=2))
                with Image.open(io.BytesIO(gallery.image(sample, method.name))) as image:
                    assert image.info == {}, "nothing that tells the methods apart"
                    assert np.array_equal(np.asarray(image), sample.crop.of(whole))


def test_a_broken_picture_is_a_line(pictures: Path) -> None:
    (pictures / "2.png").write_text("no picture")
    problems: list[str] = []
    with gallery_of(pictures, problems) as gallery:
        until_finished(gallery)
        assert {sample.picture for sample in gallery.samples} == {"0.png", "1.png", "3.png"}
    (problem,) = problems
    assert "2.png is not a picture" in problem
    assert "\n" not in problem


def test_preparing_waits_for_votes(tmp_path: Path) -> None:
    """The memory does not depend on the number of pictures."""
    for number in range(60):
        art.anime_face(40, 40).save(tmp_path / f"{number}.png")
    with gallery_of(tmp_path) as gallery:
        while len(gallery.samples) < 24:
            threading.Event().wait(0.05)
        assert not gallery.finished
        for sample in gallery.samples:
            gallery.voted(sample)
        before = len(gallery.samples)
        while len(gallery.samples) == before:
            threading.Event().wait(0.05)
        assert not gallery.finished


# --- what the page is sent


class Client:
    """A page without a browser, and the votes so far."""

    def __init__(self, http: httpx.Client, file: VoteFile, problems: list[str]) -> None:
        self.http, self.file, self.problems = http, file, problems

    def question(self) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get("/api/question").json()
        return found

    def vote(self, name: str, answer: object = "left", face: object = False, **more: Any) -> int:
        data = {"id": name, "vote": answer, "face": face}
        return self.http.post("/api/vote", **{"json": data, **more}).status_code


@pytest.fixture
def client(pictures: Path, tmp_path: Path) -> Iterator[Client]:
    problems: list[str] = []
    with gallery_of(pictures) as gallery:
        until_finished(gallery)
        file = VoteFile(tmp_path / "votes.jsonl", scale=2, noise="auto")
        options = RatingOptions(2, "auto", SIDE)
        rating = Rating(gallery, methods(), file, options, random.Random(1))
        app = rating_app(rating, problems.append)
        with closing(file), served(app) as url, client_of(url) as http:
            yield Client(http, file, problems)


def test_the_page_learns_no_names(client: Client) -> None:
    for _ in range(6):
        question = client.question()
        assert set(question) == {"status", "id", "width", "height", "votes"}
        assert client.question() == question, "until it has a vote"
        images = [client.http.get(f"/api/question/{question['id']}/{side}.png")
                  for side in ("left", "right")]  # fmt: skip
        assert images[0].content != images[1].content
        for image in images:
            assert image.headers["content-type"] == "image/png"
            assert image.headers["cache-control"] == "no-store"
            assert not re.search("upconv|bicubic|[0-9].png", str(image.headers))
        assert client.vote(question["id"], "right", face=True) == 204
    votes = client.file.votes
    assert [vote.answer for vote in votes] == ["right"] * 6
    assert all(vote.face for vote in votes)
    assert {vote.left for vote in votes} == {"upconv_7", "bicubic"}, "sides are random"


def test_the_images_are_those_of_the_sides(client: Client, pictures: Path) -> None:
    question = client.question()
    images = {}
    for side in ("left", "right"):
        data = client.http.get(f"/api/question/{question['id']}/{side}.png").content
        with Image.open(io.BytesIO(data)) as image:
            images[side] = np.asarray(image)
    client.vote(question["id"], "left")
    (vote,) = client.file.votes
    by_name = {method.name: method for method in methods()}
    picture = decode(pictures / vote.picture)
    for side, name in (("left", vote.left), ("right", vote.right)):
        whole = by_name[name].enlarge(picture, PictureOptions(scale=2))
        assert np.array_equal(images[side], vote.crop.of(whole))


def test_a_vote_counts_once(client: Client) -> None:
    question = client.question()
    assert client.vote(question["id"]) == 204
    assert client.vote(question["id"]) == 409
    assert client.http.get(f"/api/question/{question['id']}/left.png").status_code == 404
    assert len(client.file.votes) == 1
    assert client.question()["votes"] == 1


def test_wrong_votes_are_refused(client: Client) -> None:
    name = client.question()["id"]
    assert client.vote(name, "both") == 422
    assert client.vote(name, face="no") == 422
    assert client.vote("other") == 409
    for body in (
        b"",
        b"[]",
        b"[" * 1000,
        b"\xff",
        b"{}",
        b'{"id": 1, "vote": "left", "face": true}',
    ):
        assert client.vote(name, json=None, content=body,
                           headers={"content-type": "application/json"}) == 422  # fmt: skip
    long = json.dumps({"id": name, "vote": "left", "face": False, "more": "x" * 2000}).encode()
    kind = {"content-type": "application/json"}
    assert client.vote(name, json=None, content=long, headers=kind) == 413
    # A form of another site, which a browser sends without permission.
    form = {"content-type": "text/plain"}
    assert client.vote(name, json=None, content=long[:10], headers=form) == 415
    assert client.file.votes == []


def test_another_host_and_other_files_are_refused(client: Client) -> None:
    assert client.http.get("/", headers={"host": "example.com"}).status_code == 400
    for path in ("/votes.jsonl", "/page/..%2frating.py", "/page/none.js", "/api/vote"):
        assert client.http.get(path).status_code in (404, 405)
    page = client.http.get("/")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "access-control-allow-origin" not in page.headers
    assert not re.findall("https?://", page.text)


def test_a_full_disk_keeps_the_question(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(vote: object) -> None:
        raise EncodeError("votes votes.jsonl cannot be written: No space left on device")

    question = client.question()
    with monkeypatch.context() as patch:
        patch.setattr(client.file, "append", full)
        assert client.vote(question["id"]) == 500
    assert client.problems == ["votes votes.jsonl cannot be written: No space left on device"]
    assert client.question() == question
    assert client.vote(question["id"]) == 204


def test_the_questions_end(client: Client) -> None:
    for _ in range(100):
        question = client.question()
        if question["status"] != "question":
            break
        client.vote(question["id"], "same")
    assert question == {"status": "done", "votes": len(client.file.votes)}


# --- the command


@contextmanager
def rating_in(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A running ``waifu2x rate pictures``, and the address of its page."""
    models = ("-m", "upconv_7", "-m", "bicubic")
    process = started(
        "rate", "pictures", *models, "--side", str(SIDE), "--port", "0", *options, cwd=folder
    )
    try:
        line = wait_for(process.stdout, "open http://127.0.0.1:")
        yield process, re.findall(r"http://\S+", line)[0]
    finally:
        process.kill()
        process.communicate()


in_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")


@in_browser
def test_votes_by_keys_are_kept_through_a_kill(pictures: Path, tmp_path: Path) -> None:
    path = pictures / "votes.jsonl"
    with chromium() as browser:
        for number, keys in enumerate((["ArrowLeft", "ArrowRight"], ["ArrowDown", "ArrowLeft"])):
            with rating_in(tmp_path) as (process, address):
                page = browser.new_page(viewport={"width": 1280, "height": 800})
                errors: list[str] = []
                page.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
                page.on("console", lambda message, errors=errors: errors.append(message.text))
                page.goto(address)
                for place, key in enumerate(keys):
                    _vote_by(page, key, face=place == 0)
                assert not errors
                assert len(read_votes(path)) == 2 * (number + 1)
                process.send_signal(signal.SIGKILL)
                process.wait()
                page.keyboard.press("ArrowLeft")
                page.get_by_text("The server has stopped").wait_for()
                page.close()
    votes = read_votes(path)
    assert [vote.answer for vote in votes] == ["left", "right", "same", "left"]
    assert [vote.face for vote in votes] == [True, False, True, False]
    keys_of = {(*vote.place, vote.methods) for vote in votes if not vote.repeat}
    assert len(keys_of) == sum(not vote.repeat for vote in votes), "a new question each time"


def _vote_by(page: Any, key: str, *, face: bool) -> None:
    """Look at a question in place, tag it, vote by a key, and wait for the next one."""
    stage = page.locator("#stage:not([hidden])")
    stage.wait_for(timeout=60_000)
    left, right = page.locator("#left"), page.locator("#right")
    assert left.is_visible()
    assert right.is_visible()
    box = left.bounding_box()
    page.keyboard.press("Space")
    assert left.is_visible()
    assert not right.is_visible()
    place = left.bounding_box()
    page.keyboard.press("Space")
    assert right.is_visible()
    assert not left.is_visible()
    assert right.bounding_box() == place, "toggled in place"
    page.keyboard.press("b")
    assert left.bounding_box() == box
    image = left.locator("img")
    assert image.evaluate("image => [image.width, image.naturalWidth]") == [SIDE, SIDE], "1:1"
    page.keyboard.press("z")
    assert image.evaluate("image => image.width") == 2 * SIDE
    page.keyboard.press("z")
    if face:
        page.keyboard.press("f")
        assert page.locator("#face").get_attribute("aria-pressed") == "true"
    name = stage.get_attribute("data-question")
    page.keyboard.press(key)
    page.wait_for_function(
        "name => document.getElementById('stage').dataset.question !== name", arg=name
    )
    assert page.locator("#face").get_attribute("aria-pressed") == "false"


@in_browser
@pytest.mark.parametrize("size", [(400, 800), (1280, 800)])
def test_the_page_fits_the_window(pictures: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    with chromium() as browser, rating_in(tmp_path, "--side", "120") as (_, address):
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        page.goto(address)
        page.locator("#stage:not([hidden])").wait_for(timeout=60_000)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        for button in page.get_by_role("button").all():
            assert button.is_visible()
            assert button.get_attribute("aria-keyshortcuts")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_with_the_number_of_votes(
    pictures: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with rating_in(tmp_path) as (process, address):
        assert httpx.get(address).status_code == 200  # it handles signals from then on
        process.send_signal(number)
        out, err = ended(process)
        assert (process.returncode, err) == (128 + number, "")
        assert out == "pictures/votes.jsonl: 0 votes\n"


def test_a_second_command_on_the_votes_is_refused(pictures: Path, tmp_path: Path) -> None:
    (pictures / "votes.jsonl").write_bytes(b'{"pict')
    with rating_in(tmp_path):
        options = ("-m", "upconv_7", "-m", "bicubic", "--port", "0")
        done = waifu2x("rate", "pictures", *options, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            "Error: votes pictures/votes.jsonl are in use by another process; end that process, "
            "or choose another file\n"
        )


def test_the_report_of_the_command(pictures: Path, tmp_path: Path) -> None:
    done = waifu2x("rate", "pictures", "--report", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "Error: votes pictures/votes.jsonl cannot be read: No such file or directory\n"
    )
