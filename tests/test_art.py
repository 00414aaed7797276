"""The test pictures have the properties that other tests assume."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import art
from PIL import Image


def _values(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.float64)


@pytest.mark.parametrize(
    ("draw", "size"),
    [
        (art.anime_face, (48,)),
        (art.manga_page, (48, 64)),
        (art.sprite, (32,)),
        (art.painted_scene, (48, 32)),
        (art.gradient, (9, 7)),
    ],
)
def test_the_same_call_gives_the_same_pixels(draw, size):
    once, again = draw(*size), draw(*size)
    anew = getattr(draw, "__wrapped__", draw)(*size)  # not the cached picture
    assert once is not again
    assert np.array_equal(np.asarray(once), np.asarray(again))
    assert np.array_equal(np.asarray(once), np.asarray(anew))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3), (17, 64), (64, 17)])
def test_every_size_can_be_drawn(size):
    width, height = size
    for image, mode in (
        (art.anime_face(width, height), "RGB"),
        (art.manga_page(width, height), "L"),
        (art.painted_scene(width, height), "RGB"),
    ):
        assert image.size == size
        assert image.mode == mode
    assert art.sprite(width).size == (width, width)
    assert art.anime_face(width).size == (width, width)


@pytest.mark.parametrize("draw", [art.anime_face, art.manga_page, art.painted_scene, art.sprite])
def test_no_picture_of_no_size(draw):
    sizes = (0,) if draw is art.sprite else (0, 4)
    with pytest.raises(ValueError, match="at least 1"):
        draw(*sizes)


def test_a_small_face_is_a_large_one_reduced():
    large, small = art.anime_face(512), art.anime_face(256)
    error = _values(large.reduce(2)) - _values(small)
    psnr = 10 * np.log10(255**2 / np.mean(error**2))
    assert psnr > 30
    # a drawing has flat areas, ink and strong color
    values = _values(large)
    assert values.min() < 60
    assert np.ptp(values, axis=2).max() > 150


def test_a_small_scene_is_a_large_one_reduced():
    error = _values(art.painted_scene(384, 256).reduce(2)) - _values(art.painted_scene(192, 128))
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 35


def test_a_wide_face_keeps_the_drawing_in_its_middle():
    wide, square = _values(art.anime_face(192, 96)), _values(art.anime_face(96))
    middle = wide[20:90, 48 + 30 : 48 + 66]
    assert np.abs(middle - square[20:90, 30:66]).mean() < 1


def test_a_page_is_ink_paper_and_dots():
    page = _values(art.manga_page(362, 512))
    assert (page == 0).mean() > 0.1
    assert (page == 255).mean() > 0.3
    dots = page[365:395, 20:230]  # toned sky of the last panel
    assert dots.min() < 40
    assert dots.max() > 200


def test_a_sprite_has_soft_edges_and_junk_where_there_is_nothing():
    pixels = np.asarray(art.sprite(64, junk=(1, 254, 3)))
    alpha = pixels[..., 3]
    assert (alpha == 0).mean() > 0.2
    assert (alpha == 255).mean() > 0.2
    assert ((alpha > 0) & (alpha < 255)).sum() > 100
    assert np.array_equal(np.unique(pixels[alpha == 0], axis=0), [[1, 254, 3, 0]])
    # junk does not reach the edge pixels, whose ink is dark
    edge = pixels[(alpha > 0) & (alpha < 128)]
    assert edge[:, 1].max() < 160


def test_a_scene_is_smooth():
    scene = _values(art.painted_scene(192, 128))
    assert np.abs(np.diff(scene[:10], axis=0)).max() < 12


@pytest.mark.parametrize(
    ("mode", "dtype", "top"),
    [
        ("L", np.uint8, 255),
        ("LA", np.uint8, 255),
        ("RGB", np.uint8, 255),
        ("RGBA", np.uint8, 255),
        ("I;16", np.uint16, 65535),
        ("F", np.float32, 1),
    ],
)
def test_gradients_rise_over_the_whole_range(mode, dtype, top):
    image = art.gradient(64, 48, mode)
    values = np.asarray(image)
    assert image.mode == mode
    assert image.size == (64, 48)
    assert values.dtype == dtype
    first = values if values.ndim == 2 else values[..., 0]
    assert (np.diff(first.astype(np.float64), axis=1) > 0).all()
    assert first.min() < 0.02 * top
    assert first.max() > 0.98 * top


def test_an_unknown_mode_of_gradient_is_refused():
    with pytest.raises(ValueError, match="CMYK"):
        art.gradient(4, 4, "CMYK")


def test_checker_alternates():
    assert np.asarray(art.checker(4, 2)).tolist() == [[0, 255, 0, 255], [255, 0, 255, 0]]


def test_all_pictures_are_written(tmp_path):
    art.main(tmp_path / "new" / "folder")
    names = sorted(p.name for p in (tmp_path / "new" / "folder").iterdir())
    assert names == [
        "anime_face.png",
        "checker.png",
        "gradient.png",
        "manga_page.png",
        "painted_scene.png",
        "sprite.png",
        "sprite_large.png",
    ]
