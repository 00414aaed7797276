"""Procedural drawings: repeatable, and with the pitch, angle, bands and pixels they promise."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from waifu2x.training import drawings
from waifu2x.training.drawings import canvas, faces, gradients, lettering, pixels, strokes, tone

pytest.importorskip("resvg_py")


def generator(*seed: int) -> np.random.Generator:
    return np.random.default_rng([11, *seed])


@pytest.mark.parametrize("kind", drawings.KINDS)
def test_drawings_repeat_by_seed(kind):
    pictures = [drawings.draw(generator(seed), 72, kind) for seed in range(3)]
    for seed, picture in enumerate(pictures):
        assert picture.dtype == np.uint8
        assert picture.shape == (72, 72, 3)
        assert np.array_equal(picture, drawings.draw(generator(seed), 72, kind))
    assert len({picture.tobytes() for picture in pictures}) == 3


def test_a_random_kind_is_drawn_and_an_unknown_one_refused():
    assert drawings.draw(generator(0), 64).shape == (64, 64, 3)
    with pytest.raises(KeyError):
        drawings.draw(generator(0), 64, "photo")


# --- canvas --------------------------------------------------------------------------------------


def test_palettes_run_from_dark_to_light():
    for seed in range(20):
        colors = np.array(canvas.palette(generator(seed), 6))
        light = colors @ [0.299, 0.587, 0.114]
        assert light[-1] > light[0] + 60


def test_ramps_reach_their_colors_and_are_linear():
    field = np.array([[0, 0.25, 0.5, 0.75, 1]], np.float32)
    values = canvas.ramp(field, [(0, 0, 0), (100, 200, 50), (255, 0, 50)])
    expected = [[0, 0, 0], [50, 100, 25], [100, 200, 50], [177.5, 100, 50], [255, 0, 50]]
    assert np.abs(values[0] - expected).max() < 0.1


def test_layers_are_composited_with_straight_alpha():
    base = np.full((2, 2, 3), 100, np.uint8)
    layer = np.zeros((2, 2, 4), np.uint8)
    layer[0, 0] = 200, 0, 50, 255
    layer[0, 1] = 200, 0, 50, 128
    result = canvas.over(base, layer)
    assert result[0, 0].tolist() == [200, 0, 50]
    assert result[0, 1].tolist() == [150, 50, 75]
    assert (result[1] == 100).all()
    moved = canvas.placed(base, layer, 1, -1)
    assert (moved == 100).all()
    assert canvas.placed(base, layer, 1, 1)[1, 1].tolist() == [200, 0, 50]
    assert (canvas.placed(base, layer, 5, 0) == 100).all()


def test_tapered_strokes_end_in_points():
    points = canvas.bezier(np.array([10, 50]), np.array([50, 50]), np.array([90, 50]), 40)
    layer = canvas.drawn(canvas.element(canvas.tapered(points, 12), "#000"), 100)
    width = layer[..., 3].sum(0) / 255
    assert width[50] == pytest.approx(12, abs=0.3)
    assert width[12] < 3
    assert width[88] < 3
    assert (np.diff(width[10:50]) > -0.2).all()


# --- screentone ----------------------------------------------------------------------------------


def peaks(tone_: np.ndarray) -> set[tuple[float, float]]:
    """Pitch and angle (0 to 180 degrees) of the two strongest waves."""
    size = tone_.shape[0]
    window = np.hanning(size)
    spectrum = np.abs(np.fft.fft2((tone_ - tone_.mean()) * window[:, None] * window[None]))
    frequency = np.fft.fftfreq(size)
    fy, fx = np.meshgrid(frequency, frequency, indexing="ij")
    found: list[tuple[float, float]] = []
    for index in np.argsort(spectrum, axis=None)[::-1]:
        x, y = float(fx.flat[index]), float(fy.flat[index])
        pitch, angle = 1 / math.hypot(x, y), math.degrees(math.atan2(y, x)) % 180
        if all(min(abs(angle - other), 180 - abs(angle - other)) > 20 for _, other in found):
            found.append((pitch, angle))
        if len(found) == 2:
            break
    return set(found)


@pytest.mark.parametrize("antialiased", [True, False])
@pytest.mark.parametrize("angle", [0, 15, 30, 45, 75])
@pytest.mark.parametrize("pitch", [3.7, 6, 11])
def test_dots_have_the_pitch_and_angle_asked_for(pitch, angle, antialiased):
    darkness = np.full((256, 256), 0.3, np.float32)
    dots = tone.screentone(darkness, pitch, angle, antialiased=antialiased)
    for found, direction in peaks(dots):
        assert found == pytest.approx(pitch, rel=0.05)
        away = min((direction - angle) % 90, (angle - direction) % 90)
        assert away < 2.5


def test_lines_have_one_direction():
    darkness = np.full((256, 256), 0.4, np.float32)
    lines = tone.screentone(darkness, 8, 30, shape="lines")
    spectrum = np.abs(np.fft.fft2(lines - lines.mean()))
    y, x = np.unravel_index(int(spectrum[:128].argmax()), (128, 256))
    x = x - 256 if x > 128 else x
    assert math.hypot(x, y) / 256 == pytest.approx(1 / 8, rel=0.05)
    assert math.degrees(math.atan2(y, x)) == pytest.approx(120, abs=2)


@pytest.mark.parametrize("shape", tone.SHAPES)
@pytest.mark.parametrize("darkness", [0.05, 0.2, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("antialiased", [True, False])
def test_tone_is_as_dark_as_asked_for(shape, darkness, antialiased):
    field = np.full((240, 240), darkness, np.float32)
    result = tone.screentone(field, 9.7, 22.5, shape=shape, antialiased=antialiased)
    assert result.mean() == pytest.approx(
        1 - darkness, abs=0.01 if antialiased and darkness < 0.9 else 0.03
    )


def test_tone_of_one_bit_has_two_values_and_antialiased_tone_more():
    field = np.full((64, 64), 0.3, np.float32)
    assert set(np.unique(tone.screentone(field, 5, 45, antialiased=False))) == {0, 1}
    assert len(np.unique(tone.screentone(field, 5, 45))) > 10


def test_gradations_change_the_size_of_dots_not_their_pitch():
    x = np.tile(np.linspace(0.1, 0.45, 256, dtype=np.float32), (256, 1))
    result = tone.screentone(x, 8, 45)
    assert result[:, :64].mean() > result[:, -64:].mean() + 0.2
    for half in (result[:, :128], result[:, 128:]):
        square = np.concatenate([half, half], 1)[:128, :128]
        assert {round(pitch) for pitch, _ in peaks(square)} == {8}


# --- gradients and grain -------------------------------------------------------------------------


def test_gradients_have_each_band_once():
    """From 40 to 90 in 512 pixels: 51 levels in order, each a band of about 10 pixels."""
    slope = np.tile(np.linspace(0, 1, 512, dtype=np.float32), (4, 1))
    row = canvas.levels(canvas.ramp(slope, [(40, 40, 90), (90, 40, 40)]))[0].astype(int)
    for channel, sign in ((0, 1), (2, -1)):
        steps = np.diff(row[:, channel]) * sign
        assert set(steps) == {0, 1}
        assert steps.sum() == 50
        borders = np.diff(np.flatnonzero(steps))
        assert borders.min() >= 9
        assert borders.max() <= 12
    assert (row[:, 1] == 40).all()


def test_the_dither_matrix_is_that_of_bayer():
    assert sorted(gradients.BAYER.flat) == list(range(64))
    assert gradients.BAYER[0].tolist() == [0, 32, 8, 40, 2, 34, 10, 42]
    assert gradients.BAYER[:2, :2].tolist() == [[0, 32], [48, 16]]


def test_dithered_gradients_have_few_colors_per_channel_and_keep_the_mean():
    few = 0
    for seed in range(12):
        picture = gradients.dithered(generator(seed), 96)
        few += max(len(np.unique(picture[..., channel])) for channel in range(3)) <= 24
    assert few >= 10


def test_grain_is_light_and_leaves_the_mean():
    base = np.full((128, 128, 3), 120, np.uint8)
    for seed in range(8):
        noisy = gradients.grain(generator(seed), base).astype(float)
        assert 0.3 < noisy.std() < 4
        assert noisy.mean() == pytest.approx(120, abs=0.3)


# --- pixel art -----------------------------------------------------------------------------------


def test_pixel_art_is_enlarged_by_a_whole_factor():
    """Columns of change lie on the grid of large pixels, for factors above one."""
    factors = set()
    for seed in range(24):
        picture = pixels.pixel_art(generator(seed), 96).astype(int)
        columns = np.flatnonzero(np.abs(np.diff(picture, axis=1)).sum((0, 2)))
        rows = np.flatnonzero(np.abs(np.diff(picture, axis=0)).sum((1, 2)))
        factor = next(
            step
            for step in (8, 6, 4, 3, 2, 1)
            if len(set(columns % step)) <= 1 and len(set(rows % step)) <= 1
        )
        factors.add(factor)
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) < 80
    assert {1, 2, 4} <= factors


def test_sprites_are_mirrored_in_shape_and_outlined():
    colors = canvas.palette(generator(0), 4)
    for seed in range(6):
        sprite = pixels.sprite(generator(seed), 16, colors)
        assert np.array_equal(sprite >= 0, (sprite >= 0)[:, ::-1])
        inner = sprite > 0
        beside = np.roll(inner, 1, 1) & ~inner
        beside[:, 0] = False
        assert (sprite[beside] == 0).all()


# --- figures, lines, text ------------------------------------------------------------------------


@pytest.mark.parametrize("monochrome", [False, True])
def test_figures_define_every_gradient_they_use(monochrome):
    for seed in range(10):
        rng = generator(seed)
        look = faces.random_look(rng, 2.0, monochrome)
        text = "".join(faces.figure(rng, np.array([50.0, 40.0]), 20.0, look, "k"))
        used = set(re.findall(r"url\(#([^)]+)\)", text))
        assert used <= set(re.findall(r'id="([^"]+)"', text))
        assert text.count("<g ") == text.count("</g>")
        assert "nan" not in text


def test_monochrome_figures_have_no_hue():
    layer, _, _ = faces.portrait_layer(generator(1), 128, 40, 2, monochrome=True)
    layer = layer.astype(int)
    visible = layer[layer[..., 3] == 255][:, :3]
    assert np.ptp(visible, axis=1).max() <= 2


def test_lines_are_antialiased_and_as_wide_as_asked_for():
    field = np.tile(np.linspace(0, 1, 128, dtype=np.float32), (128, 1))
    white = np.full((128, 128, 3), 255, np.uint8)
    drawn = [strokes.contour_lines(generator(seed), white, field, [0.5]) for seed in range(12)]
    widths = [float((255 - picture[64].astype(float).min(1)).sum() / 255) for picture in drawn]
    assert max(widths) <= 3.3
    assert sum(width > 0.5 for width in widths) >= 6


def test_speed_lines_meet_in_a_focus():
    elements = strokes.speed_line_elements(np.random.default_rng(0), 256, (0, 0, 0))
    assert len(elements) in range(40, 221)
    triangles = [re.findall(r"(-?[\d.]+),(-?[\d.]+)", element) for element in elements]
    assert all(len(corners) == 3 for corners in triangles)


def test_text_without_fonts_is_latin():
    script, font = lettering.Fonts().pick(generator(0), 20)
    assert script == "latin"
    assert font.size == 20
    white = np.full((96, 96, 3), 255, np.uint8)
    written = lettering.write_block(
        generator(1), white, lettering.Fonts(), (8, 8, 90, 90), 16, (0, 0, 0)
    )
    assert 0.03 < (written < 128).mean() < 0.5
    assert (written[:4] == 255).all()


@pytest.mark.parametrize("script", lettering.SCRIPTS)
def test_random_lines_use_the_characters_of_the_script(script):
    for seed in range(20):
        line = lettering.random_line(generator(seed), script, 12)
        assert len(line) >= 11 or script == "japanese"
        allowed = set(lettering.SCRIPTS[script])
        allowed |= set("".join(allowed).upper() + "".join(allowed).lower())
        assert set(line) - {" "} <= allowed | set("ς")
