"""The steps after the networks: a share of Lanczos, and colors matched to the source."""

from __future__ import annotations

import mmap
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from helpers import art, families, networks
from PIL import Image

import waifu2x
from waifu2x import kernels
from waifu2x.errors import CancelledError
from waifu2x.picture import Picture, Samples, as_float
from waifu2x.pipeline.finish import BAND, Rows
from waifu2x.pipeline.options import PictureOptions
from waifu2x.pipeline.pipeline import Pipeline
from waifu2x.pipeline.resize import enlarge_rows
from waifu2x.pipeline.squeeze_excitation import LoadedNetwork


def drifting(monkeypatch: pytest.MonkeyPatch, scale: int = 2, **options: Any) -> waifu2x.Upscaler:
    """An upscaler whose 2x network of upconv_7 is one with random weights, which shifts colors."""
    upscaler = waifu2x.Upscaler("upconv_7", **options)
    pipeline = upscaler.pipeline
    graph = networks.compact(scale=scale, features=8, layers=2, seed=3)
    engine = pipeline.engine
    monkeypatch.setitem(pipeline._networks, (engine, 2, None), LoadedNetwork(graph, engine))
    return upscaler


def drawing(width: int = 60, height: int = 50) -> npt.NDArray[np.uint8]:
    picture = np.array(art.anime_face(width, height))
    picture[height // 3 :, width // 2 :] = (250, 220, 200)
    return picture


def lanczos(picture: Samples, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Pillow's enlargement of (H, W, C) samples in float."""
    planes = [
        np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.LANCZOS))
        for plane in np.ascontiguousarray(np.moveaxis(as_float(picture), 2, 0))
    ]
    return np.stack(planes, 2)


def run(pipeline: Pipeline, picture: Picture, rows: Any = None, **options: Any) -> Picture:
    request, _ = pipeline.resolve(picture, PictureOptions(**{"noise": None, **options}))
    return pipeline.run(picture, request, rows=rows)


@pytest.fixture(scope="module")
def upconv() -> waifu2x.Upscaler:
    return waifu2x.Upscaler("upconv_7")


# --- strength ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("size", [(120, 100), (240, 200), (90, 75), (33, 100), (20, 17)])
def test_no_strength_is_the_lanczos_enlargement(
    upconv: waifu2x.Upscaler, dtype: type[Any], size: tuple[int, int]
) -> None:
    picture = kernels.quantize(as_float(drawing()), dtype)
    result = upconv.upscale(picture, width=size[0], height=size[1], strength=0)
    expected = kernels.quantize(lanczos(picture, size), dtype)
    if dtype == np.uint8:
        np.testing.assert_array_equal(result, expected)
    # Pillow rounds the last bit of a band of rows in another way than that of a whole picture.
    least = {np.uint8: 0, np.uint16: 1, np.float32: 5e-7}[dtype]
    assert np.abs(result.astype(np.float64) - expected).max() <= least


def test_full_strength_changes_nothing(upconv: waifu2x.Upscaler) -> None:
    picture = drawing()
    for scale in (2, 1.5):
        np.testing.assert_array_equal(
            upconv.upscale(picture, scale, strength=1.0), upconv.upscale(picture, scale)
        )


@pytest.mark.parametrize("scale", [2, 1.5, 4])
def test_a_strength_mixes_linearly(upconv: waifu2x.Upscaler, scale: float) -> None:
    picture = as_float(drawing())
    none, full = (upconv.upscale(picture, scale, strength=each) for each in (0, 1))
    mixed = upconv.upscale(picture, scale, strength=0.7)
    np.testing.assert_allclose(mixed, 0.7 * full + 0.3 * none, atol=1e-6)
    rounded = upconv.upscale(drawing(), scale, strength=0.7)
    np.testing.assert_array_equal(rounded, kernels.quantize(mixed, np.uint8))


def test_without_enlargement_the_source_itself_is_mixed() -> None:
    picture = drawing()
    cunet = waifu2x.Upscaler("cunet")
    none = cunet.upscale(picture, 1, noise=1, strength=0)
    np.testing.assert_array_equal(none, picture)
    half = cunet.upscale(picture, 1, noise=1, strength=0.5).astype(float)
    full = cunet.upscale(picture, 1, noise=1).astype(float)
    assert np.abs(half - (full + picture) / 2).max() <= 1


def test_alpha_keeps_its_hard_edges(upconv: waifu2x.Upscaler) -> None:
    """Alpha is not mixed, and no color comes from transparent pixels."""
    sprite = np.asarray(art.sprite(48, junk=(255, 0, 255)))
    plain = upconv.upscale(sprite)
    mixed = upconv.upscale(sprite, strength=0)
    np.testing.assert_array_equal(mixed[:, :, 3], plain[:, :, 3])
    black = np.asarray(art.sprite(48, junk=(0, 0, 0)))
    np.testing.assert_array_equal(upconv.upscale(black, strength=0), mixed)


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 6])
def test_bands_of_rows_are_enlarged_as_the_whole(scale: int) -> None:
    picture = drawing(31, 45)
    whole = lanczos(picture, (31 * scale, 45 * scale))
    for start in range(0, 45, 16):
        end = min(start + 16, 45)
        found = enlarge_rows(picture, scale=scale, start=start, end=end)
        np.testing.assert_allclose(found, whole[start * scale : end * scale], atol=1e-6)


# --- colors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("scale", [2, 4, 1.5, 3, 0.5])
def test_a_flat_picture_keeps_its_color(
    monkeypatch: pytest.MonkeyPatch, dtype: type[Any], scale: float
) -> None:
    """Of any color, in one pass and in two, with a last shrink and without."""
    upscaler = drifting(monkeypatch)
    for color in ([128, 128, 128], [0, 255, 3], [250, 220, 200]):
        picture = np.empty((21, 19, 3), np.uint8)
        picture[:] = color
        samples = kernels.quantize(as_float(picture), dtype)
        shifted = upscaler.upscale(samples, scale)
        fixed = upscaler.upscale(samples, scale, color_fix=True)
        if scale > 0.5:
            assert np.abs(as_float(shifted) - as_float(samples[0, 0])).max() > 1 / 255
        tolerance = 2e-7 if dtype == np.float32 else 0
        assert np.abs(as_float(fixed) - as_float(samples[0, 0])).max() <= tolerance


@families.needs("realesrgan_animevideo")
def test_the_drift_of_a_real_network() -> None:
    upscaler = waifu2x.Upscaler("realesrgan_animevideo")
    flat = np.full((40, 40, 3), 128, np.uint8)
    assert upscaler.upscale(flat, 4).min() >= 130
    assert (upscaler.upscale(flat, 4, color_fix=True) == 128).all()


@pytest.mark.parametrize("scale", [2, 4, 1.5])
def test_flat_areas_of_a_drawing_keep_their_color(
    monkeypatch: pytest.MonkeyPatch, scale: float
) -> None:
    picture = drawing()
    fixed = drifting(monkeypatch).upscale(picture, scale, color_fix=True)
    top, left = int(scale * (50 // 3 + 4)), int(scale * (60 // 2 + 4))
    assert (fixed[top:, left:] == (250, 220, 200)).all()


def test_gray_alpha_and_augmentation(monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler = drifting(monkeypatch)
    gray = np.full((20, 22), 90, np.uint8)
    assert (upscaler.upscale(gray, color_fix=True) == 90).all()
    half = np.full((40, 22, 4), (10, 200, 90, 128), np.uint8)
    half[:16, :, 3] = 0
    fixed = upscaler.upscale(half, color_fix=True)
    assert (fixed[40:] == (10, 200, 90, 128)).all()
    assert (fixed[:24, :, 3] == 0).all()
    with_tta = drifting(monkeypatch, tta=True)
    assert (with_tta.upscale(gray, color_fix=True) == 90).all()


@pytest.mark.parametrize("options", [{"color_fix": True}, {"strength": 0.3}])
def test_without_a_network_nothing_is_finished(
    upconv: waifu2x.Upscaler, options: dict[str, Any]
) -> None:
    picture = drawing()
    for scale in (1, 0.5):
        np.testing.assert_array_equal(
            upconv.upscale(picture, scale, **options), upconv.upscale(picture, scale)
        )


# --- rows -------------------------------------------------------------------------------------

BOTH = {"strength": 0.6, "color_fix": True}


@pytest.mark.parametrize("scale", [2, 4, 1.5])
@pytest.mark.parametrize("engine", ["native", "onnx"])
def test_tiles_threads_and_memory_change_no_byte(
    monkeypatch: pytest.MonkeyPatch, engine: str, scale: float
) -> None:
    picture = drawing(70, 90)
    expected = drifting(monkeypatch, engine=engine).upscale(picture, scale, **BOTH)
    for options in ({"tile": 16}, {"tile": 33}, {"threads": 3}):
        other = drifting(monkeypatch, engine=engine, **options)
        # Networks that pad inside run in one piece, or in tiles that overlap.
        found = other.upscale(picture, scale, **BOTH)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("options", [{"strength": 0.5}, {"color_fix": True}, BOTH])
def test_rows_arrive_while_those_below_are_computed(
    options: dict[str, Any],
) -> None:
    # One thread computes, so that another core is left to the one that hands out rows.
    upconv = waifu2x.Upscaler("upconv_7", engine="native", threads=1)
    picture = Picture(drawing(100, 700))
    request, _ = upconv.pipeline.resolve(picture, PictureOptions(noise=None, **options))
    # That thread may still wait for a core until all rows are computed.
    for _ in range(25):
        shares: list[float] = []
        arrived: list[tuple[float, Samples]] = []
        result = upconv.pipeline.run(
            picture,
            request,
            progress=shares.append,
            rows=lambda color, alpha: arrived.append((shares[-1] if shares else 0.0, color.copy())),  # noqa: B023 - runs at once
        )
        np.testing.assert_array_equal(np.concatenate([rows for _, rows in arrived]), result.color)
        assert {len(rows) for _, rows in arrived[:-1]} == {2 * BAND}
        if arrived[0][0] < 0.9:
            break
    assert arrived[0][0] < 0.9
    np.testing.assert_array_equal(run(upconv.pipeline, picture, **options).color, result.color)


def test_rows_arrive_once_from_engines_that_do_not_stream() -> None:
    pipeline = waifu2x.Upscaler("upconv_7", engine="onnx").pipeline
    arrived: list[Samples] = []
    picture = Picture(drawing())
    result = run(pipeline, picture, rows=lambda color, alpha: arrived.append(color), **BOTH)
    np.testing.assert_array_equal(np.concatenate(arrived), result.color)


def test_finishing_can_be_cancelled(upconv: waifu2x.Upscaler) -> None:
    cancel = threading.Event()
    with pytest.raises(CancelledError):
        upconv.upscale(
            drawing(100, 700), cancel=cancel, progress=lambda share: cancel.set(), **BOTH
        )


def test_the_estimate_counts_the_samples_in_float() -> None:
    """The whole result, or the rows in memory if the rows above are freed as they are finished."""
    picture = Picture(np.broadcast_to(np.zeros(1, np.uint8), (1000, 800, 3)))
    row = 4 * 3 * 1600

    def work(engine: str, **options: Any) -> int:
        pipeline = waifu2x.Upscaler("upconv_7", engine=engine).pipeline
        request, _ = pipeline.resolve(picture, PictureOptions(noise=None, **options))
        return pipeline.footprint(picture, request).work

    held = 256 if sys.platform == "linux" else 2000
    for options in (BOTH, {"color_fix": True}, {"strength": 0.5}):
        assert work("native", **options) - work("native") == row * held
        assert work("onnx", **options) - work("onnx") == row * 2000
    assert work("native", scale=1.9, strength=0.5) > work("native", scale=1.9)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems free whole arrays only")
def test_rows_are_freed() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    rows = Rows((1000, 4000, 3))
    rows.samples[:] = 1
    before = resident()
    for end in (0, 1, 300, 299, 900):
        rows.free(end)
    assert before - resident() > 0.8 * rows.samples.nbytes
    assert (rows.samples[901:] == 1).all()


# --- files ------------------------------------------------------------------------------------


def test_an_animation_and_a_batch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    upscaler = drifting(monkeypatch)
    frames = [Image.new("RGB", (24, 20), color) for color in ((128, 128, 128), (10, 200, 90))]
    source = tmp_path / "in.png"
    frames[0].save(source, save_all=True, append_images=frames[1:], duration=100)
    waifu2x.upscale_file(source, tmp_path / "out.png", upscaler=upscaler, color_fix=True)
    with Image.open(tmp_path / "out.png") as made:
        assert made.n_frames == 2  # type: ignore[attr-defined]
        for index, frame in enumerate(frames):
            made.seek(index)
            assert made.convert("RGB").getcolors() == [(48 * 40, frame.getpixel((0, 0)))]

    folder = tmp_path / "many"
    folder.mkdir()
    Image.fromarray(drawing()).save(folder / "a.png")
    frames[1].save(folder / "b.png")
    many = {"upscaler": upscaler, "noise": None, "strength": 0.0, "color_fix": True}
    results = list(waifu2x.upscale_many([folder], tmp_path / "done", **many))  # type: ignore[arg-type]
    assert [each.status for each in results] == ["done", "done"]
    plain = kernels.quantize(lanczos(drawing(), (120, 100)), np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "done" / "a.png")), plain)
