"""Votes, questions and the report, with a simulated rater of known preference."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import resource
import signal
from collections import Counter
from contextlib import closing
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from helpers import art
from PIL import Image

from waifu2x.comparing import votes
from waifu2x.comparing.content import KINDS, kind_of
from waifu2x.comparing.crops import Crop
from waifu2x.comparing.questions import Chooser, Question, Sample
from waifu2x.comparing.ranking import probabilities
from waifu2x.comparing.report import plot, sections, table
from waifu2x.comparing.votes import Vote, VoteFile, consistency, read_votes
from waifu2x.errors import DecodeError, EncodeError

VOTE = Vote(
    picture="a/1.png",
    crop=Crop(10, 20, 320, 320),
    left="cunet",
    right="bicubic",
    answer="left",
    kind="lines",
    face=False,
    repeat=False,
    seconds=1.25,
    scale=2,
    noise="auto",
    time="2026-01-02T03:04:05+00:00",
)


# --- the file


def test_votes_are_continued(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    file = VoteFile(path, scale=2, noise="auto")
    file.append(VOTE)
    assert read_votes(path) == [VOTE], "on disk before the file is closed"
    file.append(replace(VOTE, answer="same", face=True))
    file.close()
    file = VoteFile(path, scale=2, noise="auto")
    assert file.votes == [VOTE, replace(VOTE, answer="same", face=True)]
    file.append(VOTE)
    file.close()
    assert len(read_votes(path)) == len(path.read_bytes().splitlines()) == 3


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_torn_last_line_is_left_out_and_replaced(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "votes.jsonl"
    line = json.dumps(asdict(VOTE)).encode() + b"\n"
    path.write_bytes(line + line[:cut])
    assert read_votes(path) == [VOTE]
    file = VoteFile(path, scale=2, noise="auto")
    file.append(replace(VOTE, answer="right"))
    file.close()
    assert read_votes(path) == [VOTE, replace(VOTE, answer="right")]


@pytest.mark.parametrize(
    "change",
    [
        {"answer": "both"},
        {"left": "bicubic"},
        {"kind": "noise"},
        {"crop": [1, 2, 3]},
        {"face": 1},
        {"seconds": "1"},
        {"more": 1},
        {"picture": 5},
        {"crop": [float("inf"), 0, 1, 1]},
        {"crop": [float("nan"), 0, 1, 1]},
        {"crop": [0.5, 0, 1, 1]},
        {"crop": [True, 0, 1, 1]},
        {"crop": ["1", 0, 1, 1]},
        {"crop": [-1, 0, 1, 1]},
        {"crop": [0, 0, 0, 1]},
        {"crop": {"x": 1}},
        {"crop": None},
        {"seconds": float("nan")},
        {"seconds": True},
        {"seconds": 10**400},
        {"scale": float("inf")},
        {"scale": 0},
        {"noise": "most"},
        {"noise": [1]},
        {"noise": 7},
        {"left": []},
        {"answer": ["left"]},
    ],
)
def test_a_line_that_is_no_vote_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "votes.jsonl"
    good = asdict(VOTE)
    lines = [json.dumps(good), json.dumps({**good, **change})]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DecodeError, match=r"votes\.jsonl, line 2: "):
        read_votes(path)


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000,
        b'{"picture": ' + b"[" * 100_000,
        b'{"picture": ' * 100_000,
        json.dumps(asdict(VOTE)).encode().replace(b"1.25", b"1e999"),
        json.dumps(asdict(VOTE)).encode().replace(b"320", b"9" * 5000),
    ],
)
def test_a_line_that_cannot_be_parsed_is_named_by_its_number(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "votes.jsonl"
    data = json.dumps(asdict(VOTE)).encode() + b"\n\n" + line + b"\n"
    path.write_bytes(data)
    for read in (read_votes, lambda path: VoteFile(path, scale=2, noise="auto")):
        with pytest.raises(DecodeError, match=r"votes\.jsonl, line 3: ") as error:
            read(path)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 400
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    "data", [b"a text\n", b"[1]\n", b"\xff\n", b"1\n", b"text", b"{}", b'{"pictures"']
)
def test_another_file_is_not_changed(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_bytes(data)
    with pytest.raises(DecodeError, match="; choose another file"):
        VoteFile(path, scale=2, noise="auto")
    assert path.read_bytes() == data


def test_votes_at_another_scale_or_level_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    file = VoteFile(path, scale=2, noise="auto")
    file.append(VOTE)
    file.close()
    for scale, noise in ((4, "auto"), (2, 1)):
        with pytest.raises(DecodeError, match=f"not {scale} and {noise}; choose another file"):
            VoteFile(path, scale=scale, noise=noise)  # type: ignore[arg-type]


def test_a_second_rater_is_refused(tmp_path: Path) -> None:
    """The lock belongs to the open file, so a second one in this process is refused as well."""
    path = tmp_path / "votes.jsonl"
    first = VoteFile(path, scale=2, noise="auto")
    with pytest.raises(EncodeError, match=r"votes\.jsonl are in use by another process; end that"):
        VoteFile(path, scale=2, noise="auto")
    first.append(VOTE)
    first.close()
    with closing(VoteFile(path, scale=2, noise="auto")) as second:
        assert second.votes == [VOTE]


@pytest.mark.parametrize("lock", ["none in the system", "none in the file system"])
def test_without_locks_votes_of_two_raters_stay_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: str
) -> None:
    def refused(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    if lock == "none in the system":
        monkeypatch.setattr(votes, "fcntl", None)
    else:
        monkeypatch.setattr("fcntl.flock", refused)
    path = tmp_path / "votes.jsonl"
    given = [replace(VOTE, seconds=number, answer="right") for number in range(20)]
    with (
        closing(VoteFile(path, scale=2, noise="auto")) as one,
        closing(VoteFile(path, scale=2, noise="auto")) as two,
    ):
        for number, vote in enumerate(given):
            (one, two)[number % 2].append(vote)
    assert read_votes(path) == given


def test_a_vote_that_cannot_be_written_leaves_no_part(tmp_path: Path) -> None:
    """A disk that becomes full takes the beginning of a line, and raises only afterwards."""
    path = tmp_path / "votes.jsonl"
    with closing(VoteFile(path, scale=2, noise="auto")) as file:
        file.append(VOTE)
        size = path.stat().st_size
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))
            with pytest.raises(EncodeError, match="cannot be written: File too large"):
                file.append(VOTE)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)
        assert path.stat().st_size == size
        assert file.votes == [VOTE]
        file.append(replace(VOTE, answer="right"))
    assert read_votes(path) == [VOTE, replace(VOTE, answer="right")]


def test_a_pipe_is_no_file_of_votes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "votes.jsonl")
    with pytest.raises(EncodeError, match="are a device, pipe or socket"):
        VoteFile(tmp_path / "votes.jsonl", scale=2, noise="auto")


def test_a_folder_that_takes_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EncodeError, match=r"votes .*gone.* cannot be written"):
        VoteFile(tmp_path / "gone" / "votes.jsonl", scale=2, noise=None)


def test_repeats_are_compared_without_their_sides() -> None:
    swapped = replace(VOTE, left="bicubic", right="cunet")
    given = [
        VOTE,
        replace(swapped, answer="right", repeat=True),  # the same method again
        replace(VOTE, crop=Crop(0, 0, 9, 9)),
        replace(VOTE, crop=Crop(0, 0, 9, 9), answer="same", repeat=True),
    ]
    found = consistency(given)
    assert (found.repeats, found.agreed, found.left, found.right) == (2, 1, 2, 1)


# --- content


def test_drawings_are_classified() -> None:
    def part(image: Image.Image, left: int, top: int) -> np.ndarray:
        return np.asarray(image.convert("RGB").crop((left, top, left + 128, top + 128)))

    assert kind_of(part(art.gradient(128, 128), 0, 0)) == "gradients"
    assert kind_of(part(art.painted_scene(384, 256), 120, 0)) == "gradients"
    assert kind_of(part(art.anime_face(320, 300), 110, 110)) == "lines"
    page = art.manga_page(362, 512)
    assert kind_of(part(page, 120, 380)) == "screentone"
    assert kind_of(part(page, 0, 0)) == "lines"
    assert kind_of(part(art.checker(128, 128, 2), 0, 0)) == "screentone"
    assert kind_of(np.zeros((1, 1, 3), np.uint8)) == "gradients"


# --- questions

SAMPLES = [
    Sample(f"{picture}.png", Crop(0, 320 * place, 320, 320), KINDS[(picture + place) % 3])
    for picture in range(120)
    for place in range(3)
]


def answered(question: Question, answer: str, **more: object) -> Vote:
    made = replace(
        VOTE,
        picture=question.sample.picture,
        crop=question.sample.crop,
        kind=question.sample.kind,
        left=question.left,
        right=question.right,
        answer=answer,  # type: ignore[arg-type]
        repeat=question.repeat,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def simulated(
    strengths: dict[str, float], ties: float, count: int, seed: int, consistent: float = 0.0
) -> list[Vote]:
    """Votes of a rater; ``consistent``: how often a repeated pair gets its first answer."""
    generator = random.Random(seed)
    chooser = Chooser(list(strengths), generator)
    found: list[Vote] = []
    first: dict[object, str] = {}
    while len(found) < count:
        question = chooser.choose(SAMPLES, found)
        assert question is not None
        one, two = strengths[question.left], strengths[question.right]
        (answer,) = generator.choices(("left", "right", "same"), probabilities(one, two, ties))
        key = (question.sample, frozenset((question.left, question.right)))
        if question.repeat and generator.random() < consistent:
            answer = {question.left: "left", question.right: "right"}.get(first[key], "same")
        vote = answered(question, answer)
        first.setdefault(key, vote.winner or "same")
        found.append(vote)
    return found


def test_a_simulated_rater_is_recovered() -> None:
    """Through the questions as they are chosen: the truth is in each interval of each section."""
    truth = {"upconv_7": 0.2, "cunet": 1.0, "bicubic": -1.2}
    given = simulated(truth, -0.4, 400, seed=7, consistent=0.8)
    (everything, *kinds) = sections(given)
    assert [each.name for each in everything.ranks] == ["cunet", "upconv_7", "bicubic"]
    for each in everything.ranks:
        assert each.low <= truth[each.name] <= each.high, each
        assert each.high - each.low < 1
    assert {section.kind for section in kinds} == set(KINDS)
    held = [
        each.low <= truth[each.name] <= each.high for section in kinds for each in section.ranks
    ]
    assert sum(held) >= len(held) - 1
    found = consistency(given)
    assert 20 < found.repeats < 60
    assert found.agreed / found.repeats > 0.7
    assert abs(found.left - found.right) < 60


def test_the_intervals_hold_under_adaptive_questions() -> None:
    truth = {"a": 0.5, "b": 0.0, "c": -0.5}
    held = []
    for seed in range(12):
        (everything, *_) = sections(simulated(truth, -1, 120, seed))
        held += [each.low <= truth[each.name] <= each.high for each in everything.ranks]
    assert np.mean(held) > 0.85


def test_the_least_sure_pair_is_chosen_most() -> None:
    """Two models are alike and two are clearly worse: their order needs no more votes."""
    given = simulated({"a": 1.5, "b": 1.45, "c": -1.2, "d": -3.0}, -1, 300, seed=3)
    counts = Counter(vote.methods for vote in given[100:] if not vote.repeat)
    assert counts.most_common(1)[0][0] == {"a", "b"}
    assert counts[frozenset("ab")] > 2 * counts[frozenset("ad")]
    assert all(counts[frozenset(pair)] for pair in combinations("abcd", 2))


def test_kinds_get_equal_votes_and_sides_are_random() -> None:
    given = simulated({"a": 0, "b": 0}, 0, 200, seed=1)
    kinds = Counter(vote.kind for vote in given)
    assert max(kinds.values()) - min(kinds.values()) <= 2
    assert 70 < sum(vote.left == "a" for vote in given) < 130


def test_repeats_are_apart_and_once() -> None:
    given = simulated({"a": 0.3, "b": 0, "c": 0}, 0, 300, seed=5)
    places: dict[object, list[int]] = {}
    for number, vote in enumerate(given):
        places.setdefault((vote.place, vote.methods), []).append(number)
    for numbers in places.values():
        assert len(numbers) <= 2
        assert not given[numbers[0]].repeat
        if len(numbers) == 2:
            assert given[numbers[1]].repeat
            assert numbers[1] - numbers[0] > 10


def test_the_questions_end() -> None:
    chooser = Chooser(["a", "b", "c"], random.Random(1))
    given: list[Vote] = []
    while question := chooser.choose(SAMPLES[:4], given):
        given.append(answered(question, "same"))
    assert sum(not vote.repeat for vote in given) == 4 * 3
    assert chooser.choose([], []) is None


def test_waiting_for_crops_brings_no_more_repeats() -> None:
    """A page that polls while nothing new is ready gets the same answer each time."""
    ended = 0
    for seed in range(20):
        chooser = Chooser(["a", "b"], random.Random(seed))
        given: list[Vote] = []
        while question := chooser.choose(SAMPLES[:30], given):
            given.append(answered(question, "same"))
        assert not any(chooser.choose(SAMPLES[:30], given) for _ in range(100))
        ended += len(given) - 30
    assert 10 < ended < 150


def test_votes_on_other_methods_are_ignored() -> None:
    chooser = Chooser(["a", "b"], random.Random(1))
    question = chooser.choose(SAMPLES, [VOTE] * 30)
    assert question is not None
    assert {question.left, question.right} == {"a", "b"}


# --- the report


def test_the_report_is_a_table_by_kind() -> None:
    given = simulated({"cunet": 1, "bicubic": -1}, -1, 60, seed=2)
    given = [replace(vote, face=number % 4 == 0) for number, vote in enumerate(given)]
    found = sections(given)
    assert [section.kind for section in found] == ["all", *KINDS, "faces"]
    assert [section.votes for section in found][-1] == 15
    lines = list(table(given, found))
    assert lines[0] == "all: 60 votes"
    assert lines[1] == "  strength  95% interval     won  same  lost"
    names = [line.split()[-1] for line in lines[2:4]]
    assert names == ["cunet", "bicubic"]
    assert lines[-2].startswith("same answer to ")
    assert lines[-1].startswith("the left side won ")


def test_zero_has_no_minus() -> None:
    ties = [replace(VOTE, crop=Crop(number, 0, 9, 9), answer="same") for number in range(30)]
    found = sections(ties)
    tiny = replace(found[0].ranks[0], strength=-1e-17, low=-0.004, high=-0.0)
    section = replace(found[0], ranks=(tiny, *found[0].ranks[1:]))
    lines = list(table(ties, [section]))
    assert lines[2].split()[:4] == ["+0.00", "+0.00", "to", "+0.00"]
    assert "-0.00" not in "\n".join(lines)


def test_few_crops_have_no_interval() -> None:
    given = [replace(VOTE, crop=Crop(0, number, 9, 9)) for number in range(9)]
    lines = list(table(given, sections(given)))
    assert lines[2].split()[1] == "unknown"
    assert "an interval needs votes on 10 crops or more" in lines
    assert plot(sections(given))


def test_the_plot_is_a_picture() -> None:
    found = sections(simulated({"cunet": 1, "w" * 60: -1}, -1, 60, seed=2))
    with Image.open(io.BytesIO(plot(found))) as image:
        assert image.format == "PNG"
        assert image.width > 480
        colors = image.convert("RGB").getcolors(1 << 16)
    assert colors is not None
    assert len(colors) > 3
