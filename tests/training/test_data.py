"""The cache of patches: repeatable, split by source, without flat patches and excluded pictures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers import art
from PIL import Image

from waifu2x.training import compose, data, packages
from waifu2x.training.data import Sources, is_held_out, patches, prepare
from waifu2x.training.packages import TrainingDataError

pytest.importorskip("resvg_py")

SHAPES = (
    '<circle cx="20" cy="20" r="{}" fill="#4060c0" stroke="#101010" stroke-width="2"/>',
    '<path d="M2,{} L38,4 L30,36 Z" fill="#d0a080" stroke="#000"/><path d="M4,8H36" stroke="red"/>',
)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """A folder as `unpack` leaves it: 40 drawings in each of two sets, some of them damaged."""
    folder = tmp_path_factory.mktemp("unpacked")
    for name in ("openclipart", "noto"):
        (folder / name).mkdir()
        for number in range(40):
            body = SHAPES[number % 2].format(4 + number % 14)
            text = (
                '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40">'
                f"{body if number % 10 else '<rect'}</svg>"
            )
            (folder / name / f"people+drawing_{number}.svg").write_text(text)
    (folder / "openclipart/people+manga_girl_9.svg").write_text("<svg/>")
    return folder


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(data, "VALIDATION_COUNT", 5)
    monkeypatch.setattr(data, "VALIDATION_SIZE", 48)


# --- sources -------------------------------------------------------------------------------------


def test_the_split_is_by_name_and_a_few_percent():
    names = [f"people+drawing_{number}.svg" for number in range(4000)]
    held_out = [name for name in names if is_held_out(name)]
    assert 0.03 < len(held_out) / len(names) < 0.05
    assert held_out == [name for name in names if is_held_out(name)]


def test_the_two_sets_share_no_source(unpacked, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    for number in range(60):
        (own / f"{number}.png").write_bytes(b"")
    sources = Sources(unpacked, own)
    train, held_out = sources.library(held_out=False), sources.library(held_out=True)
    for name in ("openclipart", "noto"):
        assert not set(train.svgs[name]) & set(held_out.svgs[name])
        together = [path.name for path in (*train.svgs[name], *held_out.svgs[name])]
        assert sorted(together) == sorted(f"people+drawing_{number}.svg" for number in range(40))
    assert not set(train.pictures) & set(held_out.pictures)
    assert len(train.pictures) + len(held_out.pictures) == 60


def test_excluded_drawings_stay_out_even_if_they_lie_in_the_folder(unpacked):
    for held_out in (False, True):
        library = Sources(unpacked).library(held_out)
        assert not any("manga_girl" in path.name for path in library.svgs["openclipart"])


def test_evaluation_pictures_stay_out_of_a_folder_of_the_user(unpacked, tmp_path):
    for name in ("27_kde_konqui.png", "25_wesnoth_druid.png", "mine.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    sources = Sources(unpacked, tmp_path)
    found = [*sources.library(False).pictures, *sources.library(True).pictures]
    assert [path.name for path in found] == ["mine.png"]


def test_a_folder_without_drawings_is_refused(tmp_path):
    with pytest.raises(TrainingDataError, match="holds no SVGs; unpack"):
        Sources(tmp_path).library(held_out=False)


# --- patches -------------------------------------------------------------------------------------


def test_detail():
    assert data.detail(np.full((32, 32, 3), 90, np.uint8)) == 0
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = 255
    assert data.detail(stripes) == 1
    gentle = np.tile(np.arange(32, dtype=np.uint8)[None, :, None], (32, 1, 3))
    assert data.detail(gentle) == 0


@pytest.mark.parametrize("kind", ["svg", "mix", "face", "gradient", "pixel_art"])
def test_patches_of_a_scene(unpacked, kind):
    library = Sources(unpacked).library(held_out=False)
    for number in range(4):
        name, found = patches(library, 48, [3, number], kind)
        _, again = patches(library, 48, [3, number], kind)
        assert name == kind
        assert len(found) <= 5
        assert len(found) == len(again)
        for patch, same in zip(found, again, strict=True):
            assert patch.shape == (48, 48, 3)
            assert patch.dtype == np.uint8
            assert np.array_equal(patch, same)


def test_flat_scenes_give_few_patches(unpacked, monkeypatch):
    monkeypatch.setattr(data, "scene", lambda *_: np.full((64, 64, 3), 128, np.uint8))
    library = Sources(unpacked).library(held_out=False)
    kept = [len(patches(library, 32, [number], "pixel_art")[1]) for number in range(100)]
    assert 0 < sum(kept) < 30


def test_own_pictures_are_cropped_and_laid_over_a_ground(tmp_path):
    art.anime_face(300, 200).save(tmp_path / "large.webp", lossless=True)
    clear = Image.new("RGBA", (40, 60), (0, 0, 0, 0))
    clear.paste((255, 0, 0, 255), (0, 0, 40, 30))
    clear.save(tmp_path / "small.png")
    for name in ("large.webp", "small.png"):
        seen = set()
        for seed in range(4):
            rng = np.random.default_rng(seed)
            crop = compose.own_picture(rng, 64, [tmp_path / name])
            assert crop.shape == (64, 64, 3)
            assert crop.dtype == np.uint8
            again = compose.own_picture(np.random.default_rng(seed), 64, [tmp_path / name])
            assert np.array_equal(crop, again)
            seen.add(crop.tobytes())
        assert len(seen) > 1
    # The opaque upper half shows, and the ground is random.
    assert (compose.own_picture(np.random.default_rng(0), 64, [tmp_path / "small.png"])[:20, :30]
            == [255, 0, 0]).all()  # fmt: skip


def test_drawings_lie_in_every_quarter():
    places = compose._places(np.random.default_rng(0), 100, 4)
    assert {(x > 50, y > 50) for x, y in places} == {
        (False, False), (True, False), (False, True), (True, True),
    }  # fmt: skip


# --- the cache -----------------------------------------------------------------------------------


def test_the_cache_repeats_by_seed(unpacked, tmp_path, small):
    own = tmp_path / "own"
    own.mkdir()
    for number in range(40):
        art.anime_face(80, 70).rotate(9 * number).save(own / f"{number}.png")
    sources = Sources(unpacked, own)
    counts = prepare(sources, tmp_path / "one", count=24, size=48, seed=5)
    prepare(sources, tmp_path / "two", count=24, size=48, seed=5)
    prepare(sources, tmp_path / "other", count=24, size=48, seed=6)
    assert sum(counts.values()) == 24
    assert "picture" in counts
    for name in ("train.npy", "validation.npy", "patches.json"):
        first = (tmp_path / "one" / name).read_bytes()
        assert first == (tmp_path / "two" / name).read_bytes()
        assert first != (tmp_path / "other" / name).read_bytes()
    train = np.load(tmp_path / "one/train.npy", mmap_mode="r")
    assert train.shape == (24, 48, 48, 3)
    assert train.dtype == np.uint8
    assert train.reshape(24, -1).any(1).all()
    held_out = np.load(tmp_path / "one/validation.npy")
    assert held_out.shape == (5, 48, 48, 3)
    facts = json.loads((tmp_path / "one/patches.json").read_text())
    assert facts["kinds"] == counts
    assert (facts["count"], facts["size"], facts["seed"]) == (24, 48, 5)
    assert not list((tmp_path / "one").glob("*.part"))


def test_without_pictures_there_are_none_in_the_mix(unpacked, tmp_path, small):
    counts = prepare(Sources(unpacked), tmp_path, count=8, size=48)
    assert "picture" not in counts


def test_tiny_patches_are_refused(unpacked, tmp_path):
    with pytest.raises(TrainingDataError, match="size of patches is 32; allowed are 48 or more"):
        prepare(Sources(unpacked), tmp_path / "none", size=32)
    assert not (tmp_path / "none").exists()


# --- command line --------------------------------------------------------------------------------


def test_the_command_unpacks_and_prepares(unpacked, tmp_path, small, monkeypatch, capsys):
    monkeypatch.setattr(packages, "unpack", lambda *folders: {"noto": len(folders)})
    assert data.main(["unpack", "a", "b"]) == 0
    arguments = ["prepare", str(unpacked), str(tmp_path), "--count", "4", "--size", "48"]
    assert data.main(arguments) == 0
    assert np.load(tmp_path / "train.npy").shape == (4, 48, 48, 3)


def test_errors_of_the_command_are_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        data.main(["unpack", str(tmp_path), str(tmp_path / "out")])
    assert stop.value.code == 2
    assert "holds no package of training pictures" in capsys.readouterr().err.splitlines()[-1]
