"""`integrations/vapoursynth`: clips become what `waifu2x.upscale` makes of their arrays.

The conversion of frames runs with a stub of VapourSynth's frames as well, on any Python.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from helpers.vs_mlrt import as_filter

import waifu2x
from waifu2x import ArgumentError, Upscaler
from waifu2x.network.export import export_network

SCRIPT = Path(__file__).parents[2] / "integrations" / "vapoursynth" / "waifu2x_vs.py"
HAS_VAPOURSYNTH = importlib.util.find_spec("vapoursynth") is not None
needs_vapoursynth = pytest.mark.skipif(
    not HAS_VAPOURSYNTH, reason="VapourSynth is not installed; its wheels need Python 3.12"
)

Array = npt.NDArray[Any]


class Format(NamedTuple):
    """The documented attributes of a `vapoursynth.VideoFormat`, as far as they are read."""

    name: str
    num_planes: int
    sample_type: int
    bits_per_sample: int


class Frame:
    """A stub of a `vapoursynth.VideoFrame`: rows lie a multiple of 64 bytes apart."""

    def __init__(self, form: Format, width: int, height: int) -> None:
        self.format, self.width, self.height = form, width, height
        self.props: dict[str, Any] = {}
        dtype = np.dtype(f"{'uf'[form.sample_type]}{form.bits_per_sample // 8}")
        padded = -(-width * dtype.itemsize // 64) * 64 // dtype.itemsize
        self._memory = [np.full((height, padded), 77, dtype) for _ in range(form.num_planes)]

    def __getitem__(self, plane: int) -> memoryview:
        return memoryview(self._memory[plane][:, : self.width])


class Family(IntEnum):
    """The color families."""

    UNDEFINED = 0
    GRAY = 1
    RGB = 2
    YUV = 3


def stub() -> ModuleType:
    module = ModuleType("vapoursynth")
    module.INTEGER, module.FLOAT = 0, 1  # type: ignore[attr-defined]
    module.VideoFrame, module.VideoNode = Frame, SimpleNamespace  # type: ignore[attr-defined]
    for family in Family:
        setattr(module, family.name, family)
    module.core = SimpleNamespace(create_video_frame=Frame)  # type: ignore[attr-defined]
    return module


def load(vapoursynth: ModuleType | None) -> ModuleType:
    """Import the script, with the stub or with the program itself."""
    spec = importlib.util.spec_from_file_location("waifu2x_vs", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        if vapoursynth is not None:
            patch.setitem(sys.modules, "vapoursynth", vapoursynth)
        spec.loader.exec_module(module)
    return module


class Kit(NamedTuple):
    """The script, and functions that make frames of arrays and back."""

    script: Any
    frame: Callable[..., Any]
    array: Callable[[Any], Array]


def name_of(array: Array) -> str:
    suffix = {"u1": ("8", "24"), "u2": ("16", "48"), "f4": ("S", "S")}[array.dtype.str[1:]]
    return f"GRAY{suffix[0]}" if array.ndim == 2 else f"RGB{suffix[1]}"


def fill(frame: Any, array: Array) -> Any:
    for plane in range(frame.format.num_planes):
        np.asarray(frame[plane])[:] = array if array.ndim == 2 else array[:, :, plane]
    return frame


def to_array(frame: Any) -> Array:
    planes = [np.asarray(frame[plane]) for plane in range(frame.format.num_planes)]
    return planes[0].copy() if len(planes) == 1 else np.stack(planes, axis=-1)


@pytest.fixture(
    params=["stub", pytest.param("vapoursynth", marks=needs_vapoursynth)], scope="module"
)
def kit(request: pytest.FixtureRequest) -> Kit:
    if request.param == "stub":
        script = load(stub())

        def form(array: Array) -> Any:
            planes = 1 if array.ndim == 2 else 3
            kind = int(array.dtype == np.float32)
            return Format(name_of(array), planes, kind, 8 * array.dtype.itemsize)
    else:
        script = load(None)

        def form(array: Array) -> Any:
            return script.vs.core.get_video_format(getattr(script.vs, name_of(array)))

    def frame(array: Array, **props: Any) -> Any:
        made = script.vs.core.create_video_frame(form(array), array.shape[1], array.shape[0])
        made.props.update(props)
        return fill(made, array)

    return Kit(script, frame, to_array)


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler("upconv_7", engine="native", threads=1)


def picture(shape: tuple[int, ...], dtype: Any = np.uint8, seed: int = 1) -> Array:
    rng = np.random.default_rng(seed)
    if dtype == np.float32:
        return rng.random(shape, np.float32)
    return rng.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


def frames_of(kit: Kit, upscaler: Upscaler, **options: Any) -> Any:
    chosen = kit.script.PictureOptions(**{"noise": None, **options})
    return kit.script._Frames(upscaler, chosen)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(13, 21), (13, 21, 3), (9, 64, 3)])
def test_a_frame_becomes_what_its_array_becomes(
    kit: Kit, upscaler: Upscaler, shape: tuple[int, ...], dtype: Any
) -> None:
    source = picture(shape, dtype)
    made = frames_of(kit, upscaler, scale=2)(3, kit.frame(source, _Matrix=0, _Note="kept"))
    assert made.format.name.lower() == kit.frame(source).format.name.lower()
    assert dict(made.props) == {"_Matrix": 0, "_Note": "kept"}
    result = kit.array(made)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, upscaler.upscale(source, 2))


@pytest.mark.parametrize(
    "options",
    [{"scale": 1.5}, {"scale": 1, "noise": 2}, {"width": 30}, {"scale": 2, "strength": 0.5}],
)
def test_options_reach_the_upscaler(kit: Kit, upscaler: Upscaler, options: dict[str, Any]) -> None:
    source = picture((12, 18, 3))
    result = kit.array(frames_of(kit, upscaler, **options)(0, kit.frame(source)))
    np.testing.assert_array_equal(result, upscaler.upscale(source, **{"noise": None, **options}))


def test_samples_beyond_full_scale_are_no_error(kit: Kit, upscaler: Upscaler) -> None:
    """`resize` overshoots [0, 1] at edges."""
    source = picture((9, 11, 3), np.float32) * np.float32(1.2) - np.float32(0.1)
    result = kit.array(frames_of(kit, upscaler, scale=2)(0, kit.frame(source)))
    np.testing.assert_array_equal(result, upscaler.upscale(source, 2))


@pytest.mark.parametrize("shape", [(14, 18), (14, 18, 3)])
def test_alpha_is_enlarged_with_its_frame(
    kit: Kit, upscaler: Upscaler, shape: tuple[int, ...]
) -> None:
    color, alpha = picture(shape), picture(shape[:2], seed=2)
    alpha[:, :6] = 0
    made = frames_of(kit, upscaler, scale=2)(0, kit.frame(color, _Alpha=kit.frame(alpha)))
    expected = upscaler.upscale(np.dstack([color, alpha]), 2)
    colors = expected[:, :, 0] if len(shape) == 2 else expected[:, :, :3]
    np.testing.assert_array_equal(kit.array(made), colors)
    np.testing.assert_array_equal(kit.array(made.props["_Alpha"]), expected[:, :, -1])


def test_alpha_of_another_size_or_depth_is_an_error(kit: Kit, upscaler: Upscaler) -> None:
    frames = frames_of(kit, upscaler)
    for alpha in (picture((9, 12)), picture((9, 11), np.uint16)):
        with pytest.raises(ArgumentError, match=r"_Alpha of frame 5 is .*must agree"):
            frames(5, kit.frame(picture((9, 11, 3)), _Alpha=kit.frame(alpha)))


def test_an_interlaced_frame_is_an_error(kit: Kit, upscaler: Upscaler) -> None:
    frames = frames_of(kit, upscaler)
    with pytest.raises(ArgumentError, match=r"frame 4 is interlaced \(_FieldBased is 2\)"):
        frames(4, kit.frame(picture((9, 11, 3)), _FieldBased=2))
    frames(4, kit.frame(picture((9, 11, 3)), _FieldBased=0))


class Counting:
    """An upscaler that counts its pictures."""

    def __init__(self, upscaler: Upscaler) -> None:
        self._upscaler = upscaler
        self._lock = threading.Lock()
        self.count = 0

    def upscale(self, *args: Any, **options: Any) -> Array:
        with self._lock:
            self.count += 1
        return self._upscaler.upscale(*args, **options)


def test_a_repeated_frame_is_computed_once(kit: Kit, upscaler: Upscaler) -> None:
    counting = Counting(upscaler)
    frames = frames_of(kit, counting)
    sources = [picture((9, 11, 3), seed=seed) for seed in (1, 1, 2, 2, 1)]
    made = [frames(n, kit.frame(each, _Number=n)) for n, each in enumerate(sources)]
    assert counting.count == 3
    assert [frame.props["_Number"] for frame in made] == [0, 1, 2, 3, 4]
    np.asarray(made[0][0])[:] = 0  # each frame has memory of its own
    np.testing.assert_array_equal(kit.array(made[1]), upscaler.upscale(sources[1], 2))


def test_threads_may_call_it_at_once(kit: Kit, upscaler: Upscaler) -> None:
    frames = frames_of(kit, upscaler)
    sources = [picture((9, 11, 3), seed=n // 2) for n in range(24)]
    expected = [upscaler.upscale(picture((9, 11, 3), seed=n), 2) for n in range(12)]
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda n: frames(n, kit.frame(sources[n], _Number=n)), range(24)))
    for n, frame in enumerate(made):
        assert frame.props["_Number"] == n
        np.testing.assert_array_equal(kit.array(frame), expected[n // 2])


# From here on, VapourSynth itself.


@pytest.fixture(scope="module")
def script() -> Any:
    if not HAS_VAPOURSYNTH:
        pytest.skip("VapourSynth is not installed; its wheels need Python 3.12")
    return load(None)


def clip_of(script: Any, arrays: list[Array], **settings: Any) -> Any:
    """Return a clip of these pictures, which may differ in size."""
    vs = script.vs
    first = arrays[0]
    varies = len({each.shape for each in arrays}) > 1
    blank = vs.core.std.BlankClip(
        format=getattr(vs, name_of(first)),
        width=first.shape[1],
        height=first.shape[0],
        length=len(arrays),
        varsize=varies,
        **settings,
    )

    def draw(n: int, f: Any) -> Any:
        frame = vs.core.create_video_frame(f.format, arrays[n].shape[1], arrays[n].shape[0])
        frame.props.update(f.props)
        frame.props["Number"] = n
        return fill(frame, arrays[n])

    return blank.std.ModifyFrame(blank, draw)


def requested(clip: Any) -> list[Any]:
    """Request all frames at once."""
    return [future.result() for future in [clip.get_frame_async(n) for n in range(len(clip))]]


@pytest.fixture
def four_threads(script: Any) -> Iterator[None]:
    before = script.vs.core.num_threads
    script.vs.core.num_threads = 4
    yield
    script.vs.core.num_threads = before


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.parametrize("name", ["RGB24", "RGB48", "RGBS", "GRAY8", "GRAY16", "GRAYS"])
def test_ten_frames_have_the_bytes_of_upscale(
    script: Any, upscaler: Upscaler, name: str, parallel: int
) -> None:
    dtype = {"8": np.uint8, "4": np.uint8, "6": np.uint16, "S": np.float32}.get(name[-1], np.uint16)
    dtype = np.uint16 if name == "RGB48" else dtype
    shape = (13, 21, 3) if name.startswith("RGB") else (13, 21)
    arrays = [picture(shape, dtype, seed) for seed in (1, 2, 2, 3, 4, 4, 4, 5, 6, 1)]
    clip = clip_of(script, arrays, fpsnum=24000, fpsden=1001)
    big = script.upscale(clip, 2, noise=1, upscaler=upscaler, parallel=parallel)
    assert (big.width, big.height, len(big)) == (42, 26, 10)
    assert big.format.id == clip.format.id
    assert big.fps == clip.fps
    for n, frame in enumerate(requested(big)):
        assert dict(frame.props) == dict(clip.get_frame(n).props)
        expected = waifu2x.upscale(arrays[n], 2, noise=1, model="upconv_7", engine="native")
        assert to_array(frame).tobytes() == expected.tobytes(), n


def test_frames_of_several_sizes(script: Any, upscaler: Upscaler) -> None:
    arrays = [picture(shape) for shape in [(9, 13, 3), (9, 13, 3), (16, 8, 3), (20, 16, 3)]]
    clip = clip_of(script, arrays)
    big = script.upscale(clip, 1.5, upscaler=upscaler)
    assert (big.width, big.height) == (0, 0)
    for frame, array in zip(requested(big), arrays, strict=True):
        np.testing.assert_array_equal(to_array(frame), upscaler.upscale(array, 1.5))
    equal = script.upscale(clip, width=20, height=24, upscaler=upscaler)
    assert (equal.width, equal.height) == (20, 24)
    for frame, array in zip(requested(equal), arrays, strict=True):
        expected = upscaler.upscale(array, width=20, height=24)
        np.testing.assert_array_equal(to_array(frame), expected)


@pytest.mark.usefixtures("four_threads")
def test_several_filters_share_one_upscaler(script: Any) -> None:
    """Frames of both filters are computed by several threads at once."""
    script._kept.cache_clear()
    arrays = [picture((13, 21, 3), seed=seed) for seed in range(6)]
    clip = clip_of(script, arrays)
    options = {"model": "upconv_7", "engine": "native", "threads": 1}
    filters = [
        script.upscale(clip, 2, noise=0, **options),
        script.upscale(clip, 2, noise=0, parallel=2, **options),
        script.upscale(clip, 1, noise=3, **options),
    ]
    assert script._kept.cache_info().currsize == 1
    futures = [[each.get_frame_async(n) for each in filters] for n in range(6)]
    for array, each in zip(arrays, futures, strict=True):
        one, two, same_size = (to_array(future.result()) for future in each)
        np.testing.assert_array_equal(one, waifu2x.upscale(array, 2, noise=0, **options))
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(same_size, waifu2x.upscale(array, 1, noise=3, **options))


def test_a_replaced_model_file_is_read_again(script: Any, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    path.write_bytes(b"1")
    made: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(script, "_kept", lambda *key: made.append(key))
        for content in (b"1", b"1", b"22"):
            if path.read_bytes() != content:
                path.write_bytes(content)
            script._upscaler(waifu2x.UpscalerOptions(path))
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("YUV420P8", r'matrix_in_s="709"\).*format=vs\.YUV420P8, matrix_s'),
        ("YUV444P10", r"format=vs\.RGB48"),
        ("RGB30", r"RGB30.*format=vs\.RGB48"),
        ("RGBH", r"RGBH.*format=vs\.RGBS"),
        ("GRAY10", r"Gray10.*format=vs\.GRAY16"),
        ("GRAYH", r"GrayH.*format=vs\.GRAYS"),
    ],
)
def test_other_formats_are_errors_with_the_conversion(
    script: Any, upscaler: Upscaler, name: str, message: str
) -> None:
    clip = script.vs.core.std.BlankClip(format=getattr(script.vs, name), width=16, height=16)
    with pytest.raises(ArgumentError, match=message) as caught:
        script.upscale(clip, upscaler=upscaler)
    assert "\n" not in str(caught.value)


def test_the_conversions_in_the_messages_work(script: Any, upscaler: Upscaler) -> None:
    vs = script.vs
    clip = vs.core.std.BlankClip(format=vs.YUV420P8, width=16, height=16, length=1)
    rgb = clip.resize.Bicubic(format=vs.RGB48, matrix_in_s="709")
    big = script.upscale(rgb, upscaler=upscaler)
    back = big.resize.Bicubic(format=vs.YUV420P8, matrix_s="709")
    assert (back.get_frame(0).format.name, back.width) == ("YUV420P8", 32)


def test_wrong_arguments_are_errors_of_the_call(script: Any, upscaler: Upscaler) -> None:
    vs = script.vs
    clip = vs.core.std.BlankClip(format=vs.RGB24, width=16, height=16)
    for options, message in [
        ({"scale": 0}, "scale is 0"),
        ({"scale": 2, "width": 9}, "a scale and a size are given"),
        ({"noise": "auto"}, "a clip has no JPEG quality"),
        ({"parallel": 0}, "parallel is 0"),
        ({"model": "cunets"}, "cunets"),
        ({"engine": "ncnn"}, "engine"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            script.upscale(clip, **options)
    with pytest.raises(ArgumentError, match="are given"):
        script.upscale(clip, model="upconv_7", upscaler=upscaler)
    with pytest.raises(ArgumentError, match="clip is str"):
        script.upscale("clip")
    varies = vs.core.std.BlankClip(clip, width=16, height=16, varformat=True)
    with pytest.raises(ArgumentError, match="format of clip varies"):
        script.upscale(varies)


def test_errors_of_frames_name_the_cause(script: Any, upscaler: Upscaler) -> None:
    vs = script.vs
    clip = vs.core.std.BlankClip(format=vs.RGB24, width=16, height=16).std.SetFieldBased(1)
    with pytest.raises(vs.Error, match="frame 7 is interlaced"):
        script.upscale(clip, upscaler=upscaler).get_frame(7)


# The scripts of docs/integrations.md, with a drawing instead of a video.

PAGE = SCRIPT.parents[2] / "docs" / "integrations.md"
SOURCE = 'core.bs.VideoSource("in.mkv")'
DRAWN = (
    "core.std.Splice([core.std.StackVertical([core.std.BlankClip(format=vs.YUV420P8, width=56,"
    " height=24 + 4 * (n % 5), length=1, color=[60 + 9 * n, 110, 140]), core.std.BlankClip("
    "format=vs.YUV420P8, width=56, height=32 - 4 * (n % 5), length=1, color=[200, 128, 90])])"
    " for n in range(10)])"
)


def page_scripts() -> list[str]:
    """Return the scripts of the page; blocks of "python" would be run by tests/test_docs.py."""
    text = PAGE.read_text("utf-8")
    found = re.findall(r"^```py\n(.+?)^```", text, re.MULTILINE | re.DOTALL)
    assert all(each.count(SOURCE) == 1 for each in found)
    return [each.replace(SOURCE, DRAWN) for each in found]


@pytest.fixture
def run_script(script: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """A function that runs a script and returns its output, and what the script has defined."""
    monkeypatch.setitem(sys.modules, "waifu2x_vs", script)

    def run(text: str, **given: Any) -> tuple[Any, dict[str, Any]]:
        names: dict[str, Any] = given
        exec(compile(text, "script.vpy", "exec"), names)
        return script.vs.get_output(0).clip, names

    yield run
    script.vs.clear_outputs()


def test_the_script_of_the_page(script: Any, run_script: Callable[..., Any]) -> None:
    output, names = run_script(page_scripts()[0])
    arrays = [to_array(frame) for frame in requested(names["rgb"])]
    assert (len(arrays), arrays[0].shape, arrays[0].dtype) == (10, (56, 56, 3), np.uint16)
    expected = [waifu2x.upscale(each, 2, noise=1) for each in arrays]
    for frame, like in zip(requested(names["big"]), expected, strict=True):
        assert to_array(frame).tobytes() == like.tobytes()
    back = clip_of(script, expected).resize.Bicubic(
        format=script.vs.YUV420P10, matrix_in=0, matrix_s="709"
    )
    for frame, like in zip(requested(output), requested(back), strict=True):
        for plane in range(3):
            np.testing.assert_array_equal(np.asarray(frame[plane]), np.asarray(like[plane]))


def test_the_script_of_the_page_for_vs_mlrt(
    script: Any,
    run_script: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a stand-in for the plugin; the result is that of the function, apart from rounding."""
    export_network(tmp_path / "upconv_7.onnx", model="upconv_7", noise=1)
    monkeypatch.chdir(tmp_path)
    text = (
        page_scripts()[1].replace("core.ort.Model", "model").replace("tilesize=256", "tilesize=48")
    )
    assert "model(" in text
    _, names = run_script(text, model=as_filter(script.vs))
    like = script.upscale(names["rgb"], 2, noise=1, model="upconv_7", engine="native")
    for n in (0, 9):
        made = to_array(names["big"].get_frame(n))
        np.testing.assert_allclose(made.clip(0, 1), to_array(like.get_frame(n)), atol=1e-5)


def test_the_way_of_the_page_to_multiples(script: Any) -> None:
    """`resize.Point` with a larger source window mirrors the edge."""
    array = picture((9, 13, 3), np.float32)
    w, h = 16, 12
    padded = clip_of(script, [array]).resize.Point(w, h, src_width=w, src_height=h)
    assert "resize.Point(w, h, src_width=w, src_height=h)" in PAGE.read_text("utf-8")
    mirrored = np.pad(array, ((0, 3), (0, 3), (0, 0)), mode="symmetric")
    np.testing.assert_array_equal(to_array(padded.get_frame(0)), mirrored)


def test_vspipe_runs_the_script_of_the_page(
    script: Any, run_script: Callable[..., Any], tmp_path: Path
) -> None:
    """The program reads the path of its Python from a configuration file, here in a new folder."""
    folder = Path(sys.executable).parent
    if not (folder / "vspipe").exists():
        pytest.skip("vspipe is not installed next to Python")
    env = {
        **os.environ,
        "XDG_CONFIG_HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(SCRIPT.parent), *sys.path]),
    }
    subprocess.run([folder / "vapoursynth", "config"], env=env, capture_output=True, check=False)
    path = tmp_path / "script.vpy"
    path.write_text(page_scripts()[0])
    done = subprocess.run(
        [folder / "vspipe", str(path), "-"], env=env, capture_output=True, check=False
    )
    if b"Failed to initialize VSScript" in done.stderr:
        pytest.skip("vspipe finds no shared library of this Python")
    assert done.returncode == 0, done.stderr
    output, _ = run_script(page_scripts()[0])
    expected = [
        np.ascontiguousarray(frame[plane]).tobytes()
        for frame in requested(output)
        for plane in range(3)
    ]
    assert done.stdout == b"".join(expected)
