"""Metrics, degradations and small runs of the quality benchmark."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from helpers import art
from PIL import Image

from benchmarks import quality

SEED = 7


def _noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(SEED).uniform(16, 235, (height, width))


# --- metrics -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("color", "expected"),
    [
        ((0, 0, 0), 16),
        ((255, 255, 255), 235),
        ((255, 0, 0), 81.481),
        ((0, 255, 0), 144.553),
        ((0, 0, 255), 40.966),
    ],
)
def test_luma_is_bt601_in_studio_range(color, expected):
    pixels = np.full((2, 3, 3), color, np.uint8)
    assert quality.luma(pixels) == pytest.approx(np.full((2, 3), expected))


@pytest.mark.parametrize("error", [1.0, 5.0, 255.0])
def test_psnr_of_a_known_error(error):
    picture = np.zeros((8, 9))
    assert quality.psnr(picture, picture + error) == pytest.approx(20 * math.log10(255 / error))


def test_psnr_averages_squares_over_all_samples():
    picture = np.zeros((2, 2))
    other = np.array([[0.0, 0.0], [0.0, 8.0]])  # mean square 16
    assert quality.psnr(picture, other) == pytest.approx(10 * math.log10(255**2 / 16))
    assert quality.psnr(picture, picture) == math.inf


def test_full_range_luma_would_give_a_psnr_lower_by_a_constant():
    rng = np.random.default_rng(SEED)
    first, second = rng.integers(0, 256, (2, 16, 16, 3), np.uint8)
    studio = quality.psnr(quality.luma(first), quality.luma(second))
    full = [(quality.luma(x) - 16) * 255 / 219 for x in (first, second)]
    assert studio - quality.psnr(*full) == pytest.approx(20 * math.log10(255 / 219), abs=1e-3)


def _ssim_plainly(first: np.ndarray, second: np.ndarray) -> float:
    """Equation 13 of Wang et al. 2004, window by window, with the variances centered."""
    window = np.array(
        [[math.exp(-(x * x + y * y) / (2 * 1.5 * 1.5)) for x in range(-5, 6)] for y in range(-5, 6)]
    )
    window /= window.sum()
    c1, c2 = 6.5025, 58.5225
    values = []
    for top in range(first.shape[0] - 10):
        for left in range(first.shape[1] - 10):
            a = first[top : top + 11, left : left + 11]
            b = second[top : top + 11, left : left + 11]
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            cov = (window * (a - ma) * (b - mb)).sum()
            values.append(
                (2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
            )
    return sum(values) / len(values)


@pytest.mark.parametrize("size", [(11, 11), (11, 17), (23, 14)])
def test_ssim_agrees_with_a_plain_implementation(size):
    first = _noise(*size)
    second = 0.7 * first + 0.3 * _noise(*size)[::-1] + 4
    assert quality.ssim(first, second) == pytest.approx(_ssim_plainly(first, second), abs=1e-12)
    assert quality.ssim(first, second) == pytest.approx(quality.ssim(second, first), abs=1e-12)


def test_ssim_of_equal_pictures_is_one_and_of_flat_ones_compares_means():
    picture = _noise(20, 30)
    assert quality.ssim(picture, picture) == pytest.approx(1, abs=1e-12)
    a, b = 100.0, 120.0
    expected = (2 * a * b + 6.5025) / (a * a + b * b + 6.5025)
    assert quality.ssim(np.full((12, 12), a), np.full((12, 12), b)) == pytest.approx(expected)


def test_ssim_refuses_what_no_window_fits_in():
    with pytest.raises(ValueError, match="11 px"):
        quality.ssim(np.zeros((10, 30)), np.zeros((10, 30)))


# --- degradations --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lanczos", "bicubic", "box", "box+jpeg75", "lanczos+jpeg30"])
@pytest.mark.parametrize("size", [(2, 2), (64, 48), (30, 90)])
def test_degradations_halve_exactly(name, size):
    degradation = quality.Degradation.parse(name)
    assert degradation.name == name
    small = degradation.apply(art.gradient(*size))
    assert small.size == (size[0] // 2, size[1] // 2)
    assert small.mode == "RGB"


def test_box_is_the_mean_of_two_by_two_and_jpeg_follows_it():
    face = art.anime_face(64)
    small = np.asarray(quality.Degradation("box").apply(face), np.float64)
    means = np.asarray(face, np.float64).reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(small - means).max() <= 1  # Pillow rounds after each direction
    worse = np.asarray(quality.Degradation("box", 75).apply(face), np.float64)
    assert 1 < np.abs(worse - small).mean() < 20


@pytest.mark.parametrize(
    "name", ["area", "", "jpeg75", "box+jpeg", "box+jpeg0", "box+jpeg101", "box+jpeg-5", "box+"]
)
def test_unknown_degradations_are_refused(name):
    with pytest.raises(ValueError, match="allowed"):
        quality.Degradation.parse(name)


def test_originals_lose_transparency_and_odd_sides(tmp_path):
    Image.new("RGBA", (7, 5), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    clear = quality.original(tmp_path / "clear.png")
    assert (clear.mode, clear.size) == ("RGB", (6, 4))
    assert clear.getcolors() == [(24, (255, 255, 255))]
    Image.new("L", (8, 6), 40).save(tmp_path / "gray.png")
    gray = quality.original(tmp_path / "gray.png")
    assert (gray.mode, gray.size, gray.getpixel((7, 5))) == ("RGB", (8, 6), (40, 40, 40))


# --- quality.py ----------------------------------------------------------------------------------


def test_quality_of_a_small_picture(tmp_path, capsys):
    pictures = tmp_path / "originals"
    pictures.mkdir()
    art.anime_face(96, 65).save(pictures / "face.png")
    target = tmp_path / "quality.json"
    arguments = "--models upconv_7 --noise none,1 --degradations lanczos,box+jpeg75 --direct"
    arguments = [str(pictures), *arguments.split(), "--tile", "16", "--json", str(target)]
    assert quality.main(arguments) == 0
    report = json.loads(target.read_text())
    assert report["pictures"] == ["face.png"]
    rows = {(row["degradation"], row["method"]): row for row in report["means"]}
    assert len(rows) == 2 * 4
    plain = rows["lanczos", "upconv_7"]
    assert plain["psnr"] > rows["lanczos", "Pillow bicubic"]["psnr"] + 1
    assert plain["direct_psnr"] == pytest.approx(plain["psnr"], abs=0.02)
    assert max(row.get("direct_levels", 0) for row in rows.values()) <= 1
    noisy = rows["box+jpeg75", "upconv_7 n1"]
    assert noisy["psnr"] > rows["box+jpeg75", "upconv_7"]["psnr"]
    printed = capsys.readouterr().out
    assert f"{plain['psnr']:6.2f} | {plain['ssim']:.4f}" in printed


@pytest.mark.parametrize(
    "arguments", ["--models upconv_8", "--noise 4", "--degradations area", "--engine abacus"]
)
def test_quality_refuses_what_does_not_exist(arguments, tmp_path, capsys):
    art.gradient(8, 8).save(tmp_path / "a.png")
    with pytest.raises(SystemExit) as stopped:
        quality.main([str(tmp_path), *arguments.split()])
    assert stopped.value.code == 2
    assert "allowed are" in capsys.readouterr().err


def test_quality_needs_pictures(tmp_path):
    with pytest.raises(SystemExit):
        quality.main([str(tmp_path)])
