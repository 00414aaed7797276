"""SVGs: page and drawn box, parts in view, palette, strokes, and files that cannot be rendered."""

from __future__ import annotations

import numpy as np
import pytest

from waifu2x.training import svg
from waifu2x.training.svg import SvgError, View

pytest.importorskip("resvg_py")

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" '
DISK = HEAD + 'viewBox="0 0 100 50"><circle cx="70" cy="25" r="10" fill="#ff0000"/></svg>'
PALETTE = [(20, 20, 40), (120, 90, 140), (240, 230, 220)]


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        ('viewBox="1 2 30 40"', View(1, 2, 30, 40)),
        ("viewBox='1,2, 30,40' width='5'", View(1, 2, 30, 40)),
        ('width="20" height="10px"', View(0, 0, 20, 10)),
        ('width="1in" height="25.4mm"', View(0, 0, 96, 96)),
        ('width="3pt" height="1pc"', View(0, 0, 4, 16)),
    ],
)
def test_page(root, expected):
    page = svg.page(f"<?xml version='1.0'?>{HEAD}{root}></svg>")
    assert (page.x, page.y, page.width, page.height) == pytest.approx(
        (expected.x, expected.y, expected.width, expected.height)
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html/>",
        HEAD + "></svg>",
        HEAD + 'viewBox="0 0 0 5"></svg>',
        HEAD + 'viewBox="1 2 3"></svg>',
        HEAD + 'width="100%" height="100%"></svg>',
        HEAD + 'width="9e9" height="1"></svg>',
    ],
)
def test_pages_without_a_size_are_refused(text):
    with pytest.raises(SvgError):
        svg.page(text)


def test_the_drawn_box_is_found():
    box = svg.drawn_box(DISK, 200)
    assert (box.x, box.y, box.width, box.height) == pytest.approx((60, 15, 20, 20), abs=1)


@pytest.mark.parametrize(
    "text", [HEAD + 'viewBox="0 0 9 9"></svg>', HEAD + 'viewBox="0 0 9 9"><g><rect</svg>']
)
def test_empty_and_broken_drawings_are_refused(text):
    with pytest.raises(SvgError):
        svg.drawn_box(text)


def test_a_view_selects_and_scales():
    layer = svg.render(DISK, View(60, 15, 20, 20), 80, 40)
    assert layer.shape == (40, 80, 4)
    assert layer.dtype == np.uint8
    assert layer[20, 40].tolist() == [255, 0, 0, 255]
    assert layer[0, 0].tolist()[3] == 0
    # The edge is antialiased, and the area is that of an ellipse.
    alpha = layer[..., 3] / 255
    assert ((alpha > 0.1) & (alpha < 0.9)).any()
    assert alpha.sum() == pytest.approx(np.pi * 40 * 20, rel=0.01)


def test_rotation_about_the_center_of_the_view():
    text = HEAD + 'viewBox="0 0 20 20"><rect x="2" y="9" width="16" height="2"/></svg>'
    upright = svg.render(text, View(0, 0, 20, 20), 40, 40, angle=90)[..., 3]
    assert upright[5:35, 19:21].min() == 255
    assert upright[:, :10].max() == 0


def test_a_prolog_with_entities_is_kept():
    text = (
        '<!DOCTYPE svg [<!ENTITY ns "http://www.w3.org/2000/svg">]>'
        '<svg xmlns="&ns;" width="8" height="8"><rect width="8" height="8" fill="#00ff00"/></svg>'
    )
    assert (svg.render(text, View(0, 0, 8, 8), 8, 8) == [0, 255, 0, 255]).all()


def test_colors_are_replaced_wherever_they_stand():
    text = (
        '<path fill="#123456" stroke="#abc"/><path style="fill:#FFFFFF;stroke:black"/>'
        '<stop stop-color="red"/><path fill="url(#abcdef)" id="#123456"/>'
    )
    seen = []

    def mapping(color):
        seen.append(color)
        return 1, 2, 3

    changed = svg.recolored(text, mapping)
    assert sorted(seen) == sorted(
        [(0x12, 0x34, 0x56), (0xAA, 0xBB, 0xCC), (255, 255, 255), (0, 0, 0), (255, 0, 0)]
    )
    assert changed == (
        '<path fill="#010203" stroke="#010203"/><path style="fill:#010203;stroke:#010203"/>'
        '<stop stop-color="#010203"/><path fill="url(#abcdef)" id="#123456"/>'
    )


def test_grays_stay_gray_and_hues_move():
    changed = 0
    for seed in range(30):
        mapping = svg.random_recoloring(np.random.default_rng(seed))
        assert mapping((0, 0, 0)) == (0, 0, 0)
        assert mapping((255, 255, 255)) == (255, 255, 255)
        red, green, blue = mapping((90, 90, 90))
        assert red == green == blue
        changed += mapping((200, 40, 40)) != (200, 40, 40)
    assert changed >= 28


def test_a_palette_attracts_colors_of_like_lightness():
    mapping = svg.tinted_recoloring(np.random.default_rng(0), PALETTE)
    dark, light = mapping((10, 60, 10)), mapping((250, 250, 180))
    assert sum(dark) < sum((10, 60, 10)) + 30
    assert sum(light) > 500
    assert (
        np.abs(np.subtract(light, PALETTE[2])).sum()
        < np.abs(np.subtract((250, 250, 180), PALETTE[2])).sum()
    )


def test_stroke_widths_are_multiplied():
    text = '<path stroke-width="2"/><path style="stroke-width:0.5px;fill:red"/>'
    assert svg.thickened(text, 3) == (
        '<path stroke-width="6"/><path style="stroke-width:1.5px;fill:red"/>'
    )


def test_an_outline_is_drawn_around_shapes():
    style = svg.outline_style((1, 2, 3), 4)
    layer = svg.render(DISK, View(50, 5, 40, 40), 80, 80, style=style)
    # The disk reaches from 20 to 60; its line is 8 pixels wide.
    assert layer[40, 20].tolist() == [1, 2, 3, 255]
    assert layer[40, 17].tolist() == [1, 2, 3, 255]
    assert layer[40, 40].tolist() == [255, 0, 0, 255]
    assert layer[40, 14, 3] == 0


def test_variations_repeat_by_seed_and_differ_between_seeds():
    def picture(seed):
        rng = np.random.default_rng(seed)
        drawing = svg.vary(DISK, rng, palette=PALETTE, longest=60)
        return svg.render_drawing(drawing, 60), svg.render_part(drawing, rng, 48, 90)

    kinds = set()
    for seed in range(12):
        whole, part = picture(seed)
        again, same_part = picture(seed)
        assert np.array_equal(whole, again)
        assert np.array_equal(part, same_part)
        assert max(whole.shape[:2]) == 60
        assert part.shape == (48, 48, 4)
        kinds.add(whole.tobytes())
    assert len(kinds) >= 8


def test_every_error_of_the_renderer_is_ours():
    with pytest.raises(SvgError):
        svg.render("<svg", View(0, 0, 1, 1), 4, 4)
    with pytest.raises(SvgError):
        svg.render(HEAD + ">" + "&bad;</svg>", View(0, 0, 1, 1), 4, 4)
