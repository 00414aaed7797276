"""Shrinking and JPEG: known values, equality with Pillow, shares and ranges of the random mix."""

from __future__ import annotations

import collections
import io

import numpy as np
import pytest
from helpers import art
from PIL import Image

from waifu2x.training import degradation
from waifu2x.training.degradation import (
    FAMILIES,
    KERNELS,
    Degradation,
    degrade,
    degrade_pixelated,
    jpeg,
    pixelated,
    shrink,
    taps,
)


def noise_patch(height: int = 64, width: int = 64) -> np.ndarray:
    return np.random.default_rng(5).integers(60, 196, (height, width, 3), np.uint8)


def checkerboard(low: int, high: int, size: int = 16) -> np.ndarray:
    cells = np.indices((size, size)).sum(0) % 2
    return np.where(cells[..., None], high, low).astype(np.uint8).repeat(3, 2)


# --- kernels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("width", [0.95, 1.0, 1.05])
def test_weights_are_symmetric_and_sum_to_one(name, width):
    weights = np.array(taps(name, width))
    assert weights.sum() == pytest.approx(1)
    assert weights == pytest.approx(weights[::-1])


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("level", [0, 1, 100, 254, 255])
def test_flat_pictures_stay_flat(name, linear, level):
    flat = np.full((12, 16, 3), level, np.uint8)
    assert (shrink(flat, name, linear=linear) == level).all()


def test_area_of_a_checkerboard_is_its_mean():
    assert (shrink(checkerboard(40, 60), "area") == 50).all()
    assert (degradation.Degradation("box").shrunk(checkerboard(40, 60)) == 50).all()


def test_linear_light_averages_light_not_levels():
    small = shrink(checkerboard(0, 255), "area", linear=True)
    # Half the light of white is level 188 of sRGB.
    assert (small == 188).all()
    assert (shrink(checkerboard(0, 255), "area") == 128).all()


@pytest.mark.parametrize(
    ("name", "filter"),
    [
        ("lanczos", Image.Resampling.LANCZOS),
        ("catmull-rom", Image.Resampling.BICUBIC),
        ("bilinear", Image.Resampling.BILINEAR),
        ("hamming", Image.Resampling.HAMMING),
        ("area", Image.Resampling.BOX),
    ],
)
@pytest.mark.parametrize("size", [(64, 64), (40, 26), (8, 90), (2, 2)])
def test_exact_kernels_equal_those_of_pillow(name, filter, size):
    """Pillow rounds between its passes, which costs one level; edges are normalized alike."""
    patch = noise_patch(*size)
    expected = np.asarray(Image.fromarray(patch).resize((size[1] // 2, size[0] // 2), filter))
    difference = np.abs(shrink(patch, name).astype(int) - expected)
    assert difference.max() <= 1
    # Means of two levels are often halves, which the first pass rounds.
    assert size == (2, 2) or (difference > 0).mean() < (0.6 if name == "area" else 0.25)


def test_mitchell_against_its_definition():
    """At 1/4 and 3/4 of a pixel of the result from the center, and so on."""
    values = [KERNELS["mitchell"].weight(x) for x in (0, 0.5, 1, 1.5, 2)]
    assert values == pytest.approx([16 / 18, 0.5347222, 1 / 18, -0.0347222, 0])


def test_wider_kernels_blur_more():
    stripes = np.tile(np.array([0, 0, 255, 255] * 16, np.uint8)[None, :, None], (64, 1, 3))
    contrast = [np.ptp(shrink(stripes, "mitchell", width=w)[16, 8:24]) for w in (0.95, 1, 1.05)]
    assert contrast == sorted(contrast, reverse=True)
    assert contrast[0] > contrast[2]


def test_shrinking_does_not_dither_or_shift():
    x = np.linspace(20, 230, 64)
    ramp = np.rint(np.tile(x[None, :, None], (64, 1, 3))).astype(np.uint8)
    for name in KERNELS:
        small = shrink(ramp, name).astype(int)
        assert (np.diff(small[:, 6:-6], axis=1) >= 0).all()
        centers = (x[12:-12:2] + x[13:-12:2]) / 2
        assert np.abs(small[16, 6:-6, 0] - centers).max() <= 1.6


# --- JPEG ----------------------------------------------------------------------------------------


def passes(monkeypatch, noise, count=400):
    """The calls of `jpeg` for ``count`` pictures of one level, each a list."""
    calls: list[list[dict]] = []

    def record(picture, quality, *, subsampled, shift=(0, 0)):
        calls[-1].append({"quality": quality, "subsampled": subsampled, "shift": shift})
        return picture

    monkeypatch.setattr(degradation, "jpeg", record)
    rng = np.random.default_rng(1)
    patch = noise_patch(16, 16)
    for _ in range(count):
        calls.append([])
        made = degrade(patch, rng, noise)
        assert made.compressed == bool(calls[-1])
    return calls


@pytest.mark.parametrize(
    ("noise", "lowest", "highest", "share"),
    [(0, 85, 95, 0.65), (1, 65, 85, 0.65), (2, 27, 95, 0.65), (3, 27, 95, 0.95)],
)
def test_qualities_by_noise_level(monkeypatch, noise, lowest, highest, share):
    calls = passes(monkeypatch, noise)
    compressed = [each for each in calls if each]
    assert len(compressed) / len(calls) == pytest.approx(share, abs=0.07)
    qualities = [one["quality"] for each in compressed for one in each]
    assert lowest <= min(qualities)
    assert max(qualities) <= highest
    assert min(qualities) <= lowest + 3
    assert max(qualities) >= highest - 3
    numbers = collections.Counter(len(each) for each in compressed)
    if noise < 2:
        assert set(numbers) == {1}
    else:
        total = sum(numbers.values())
        assert numbers[1] / total == pytest.approx(0.6, abs=0.08)
        assert numbers[2] / total == pytest.approx(0.3, abs=0.08)
        assert numbers[3] / total == pytest.approx(0.1, abs=0.05)
        mild = [each for each in compressed if each[0]["quality"] > 70]
        assert {len(each) for each in mild} == {1}
        assert len(mild) / total == pytest.approx(0.15, abs=0.05)
        for each in compressed:
            falling = [one["quality"] for one in each]
            assert falling == sorted(falling, reverse=True)


def test_half_of_the_pictures_are_subsampled_and_grids_shift(monkeypatch):
    calls = [each for each in passes(monkeypatch, 3, 600) if each]
    subsampled = [each[0]["subsampled"] for each in calls]
    assert np.mean(subsampled) == pytest.approx(0.5, abs=0.07)
    assert all(len({one["subsampled"] for one in each}) == 1 for each in calls)
    shifts = {one["shift"] for each in calls for one in each}
    assert {x for x, _ in shifts} == {y for _, y in shifts} == set(range(8))


def test_level_none_is_never_compressed(monkeypatch):
    assert not any(passes(monkeypatch, None))


def test_the_grid_of_blocks_is_shifted():
    """Steps at the borders of blocks lie where the shift puts them."""
    picture = np.asarray(art.gradient(96, 96)).copy()
    for shift in [(0, 0), (3, 5)]:
        result = jpeg(picture, 10, subsampled=False, shift=shift).astype(int)
        assert result.shape == picture.shape
        for axis, offset in ((1, shift[0]), (0, shift[1])):
            step = np.abs(np.diff(result - picture, axis=axis)).mean((1 - axis, 2))
            by_phase = [step[phase::8].mean() for phase in range(8)]
            # The step before sample k is number k - 1; borders lie at k + offset = 0 modulo 8.
            assert int(np.argmax(by_phase)) == (7 - offset) % 8


def test_chroma_subsampling_touches_chroma():
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 200
    full = np.abs(jpeg(stripes, 95, subsampled=False).astype(int) - stripes).mean()
    half = np.abs(jpeg(stripes, 95, subsampled=True).astype(int) - stripes).mean()
    assert half > 4 * full


# --- the mix -------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [None, 0, 1, 2, 3])
@pytest.mark.parametrize("size", [(2, 2), (64, 64), (30, 50)])
def test_degrade_halves_and_repeats_by_seed(noise, size):
    patch = noise_patch(*size)
    for seed in range(20):
        one = degrade(patch, np.random.default_rng(seed), noise)
        two = degrade(patch.copy(), np.random.default_rng(seed), noise)
        assert one.pixels.dtype == np.uint8
        assert one.pixels.shape == (size[0] // 2, size[1] // 2, 3)
        assert np.array_equal(one.pixels, two.pixels)
        assert (one.family, one.compressed) == (two.family, two.compressed)


def test_an_unknown_level_is_refused():
    with pytest.raises(KeyError):
        degrade(noise_patch(), np.random.default_rng(0), 4)


def test_pillow_has_most_of_the_mix_and_lanczos_most_of_pillow(monkeypatch):
    drawn: collections.Counter[str] = collections.Counter()

    def pillow(patch, filter):
        drawn[f"pillow {filter.name}"] += 1
        return patch[::2, ::2]

    def exact(patch, name, *, width, linear):
        drawn[name] += 1
        drawn["linear"] += linear
        assert 0.95 <= width <= 1.05
        return patch[::2, ::2]

    monkeypatch.setattr(degradation, "_pillow", pillow)
    monkeypatch.setattr(degradation, "shrink", exact)
    rng = np.random.default_rng(2)
    families = np.zeros(len(FAMILIES))
    for _ in range(4000):
        before = drawn.copy()
        made = degradation.random_shrink(noise_patch(8, 8), rng)
        families[made.family] += 1
        (name,) = set(drawn - before) - {"linear"}
        pillow_family = {"LANCZOS": "lanczos", "BICUBIC": "bicubic", "BOX": "box"}
        known = {f"pillow {key}": family for key, family in pillow_family.items()}
        known |= {name: kernel.family for name, kernel in KERNELS.items()}
        assert FAMILIES[made.family] == known.get(name, "soft")
    # By the weights of the tables, which sum to 1.05.
    assert families[FAMILIES.index("lanczos")] / 4000 == pytest.approx(0.665 / 1.05, abs=0.03)
    shares = {name: count / 4000 for name, count in drawn.items()}
    assert sum(share for name, share in shares.items() if name.startswith("pillow")) > 0.5
    assert max(shares, key=lambda name: shares[name]) == "pillow LANCZOS"
    assert set(KERNELS) < set(shares)
    assert 0.01 < shares["linear"] < 0.05


def test_an_estimator_sees_all_families_as_often():
    rng = np.random.default_rng(2)
    made = [degrade(noise_patch(8, 8), rng, None, balanced=True).family for _ in range(2000)]
    counts = np.bincount(made, minlength=len(FAMILIES))
    np.testing.assert_allclose(counts / 2000, 1 / len(FAMILIES), atol=0.05)


@pytest.mark.parametrize("size", [4, 16, 96])
def test_pixel_art_is_enlarged_by_whole_pixels(size):
    rng = np.random.default_rng(5)
    picture = np.asarray(art.anime_face(size))
    recolored, borders = 0, []
    for _ in range(40):
        made = pixelated(picture, rng)
        assert (made.shape, made.dtype) == (picture.shape, np.uint8)
        small = degrade_pixelated(made, rng, None)
        assert not small.compressed
        assert FAMILIES[small.family] == "box"
        assert np.array_equal(small.pixels.repeat(2, 0).repeat(2, 1), made)
        assert np.array_equal(small.pixels, degradation.shrink(made, "area"))
        recolored += not np.isin(made, picture).all()
        borders += np.diff(np.flatnonzero(np.diff(made.astype(int), axis=1).any((0, 2)))).tolist()
    assert 10 < recolored < 30
    if size == 96:
        # From a border between squares to the next: their sides.
        assert {4, 6, 8, 10, 12, 14} <= set(borders)
        assert not any(border % 2 for border in borders)
    assert degrade_pixelated(made, np.random.default_rng(1), 3).compressed


def test_fixed_degradations_are_those_of_pillow():
    face = art.anime_face(64)
    for name, filter in degradation.FILTERS.items():
        expected = face.resize((32, 32), filter)
        assert np.array_equal(Degradation(name).apply(face), expected)
        file = io.BytesIO()
        expected.save(file, "JPEG", quality=60)
        decoded = np.asarray(Image.open(file).convert("RGB"))
        assert np.array_equal(Degradation(name, 60).shrunk(np.asarray(face)), decoded)
