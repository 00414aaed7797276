"""The CUDA kernels return the bytes of `waifu2x.kernels.tiles` and write nowhere else."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from waifu2x.errors import EngineError
from waifu2x.kernels import tiles

sys.path.insert(0, str(Path(__file__).parents[1] / "kernels"))
from helpers import kernel_reference as ref

torch = pytest.importorskip("torch")

SAMPLES = ("uint8", "uint16", "float32")
ELEMENTS = ("float32", "float16", "bfloat16")
PIXELS = (3, 4, 5, 8, 16)
STREAM = {"device": 0, "stream": 0}
SPECIAL = np.concatenate([ref.SPECIAL, ref.NOT_FINITE, np.array([65504, 65520, 7e4], np.float32)])


def as_element(values, element):
    """Round float32 to an element type; bfloat16 is stored as uint16."""
    if element == "bfloat16":
        rounded = torch.from_numpy(np.ascontiguousarray(values)).to(torch.bfloat16)
        return rounded.view(torch.int16).numpy().view(np.uint16)
    with np.errstate(over="ignore"):
        return values.astype(element)


def as_float(elements, element):
    if element == "bfloat16":
        return (elements.astype(np.uint32) << 16).view(np.float32)
    return elements.astype(np.float32)


def random_picture(rng, height, width, channels, sample):
    """A view of a wider picture, with rows that start at any alignment."""
    left, right = (int(n) for n in rng.integers(0, 4, 2))
    picture = ref.random_picture(rng, (height, left + width + right, channels), sample)
    if sample == "float32":
        special = rng.random(picture.shape) < 0.05
        picture[special] = rng.choice(SPECIAL, int(special.sum()))
    return picture[:, left : left + width]


def described(picture, sample):
    height, width, channels = picture.shape
    return {
        "sample": sample,
        "height": height,
        "width": width,
        "channels": channels,
        "stride": picture.strides[0] // picture.itemsize,
    }


def brightest(samples):
    fine = samples[np.isfinite(samples) & (samples > 0)]
    return int(fine.max(initial=np.float32(0)).view(np.int32))


def check_gather(device, rng, sample, channels, element, pixel, *, count, offset=0, size=None):
    height, width, tall, wide = (int(n) for n in size or rng.integers(1, 41, 4))
    picture = random_picture(rng, tall, wide, channels, sample)
    xs = rng.integers(-2 * width, wide + 2 * width, count)
    ys = rng.integers(-2 * height, tall + 2 * height, count)
    # The first tile lies inside the picture if it fits.
    xs[:1], ys[:1] = max(wide - width, 0) // 2, max(tall - height, 0) // 2
    inset = int(rng.integers(0, 6))
    memory = device.memory()
    src = memory.put(picture, offset=int(rng.integers(0, 8)) * picture.itemsize)
    empty = as_element(rng.random((count, height, width, pixel), np.float32), element)
    dst = memory.put(empty, offset=offset * empty.itemsize)
    seen = memory.put(np.full((count, 3), 7, np.int32))
    device.module.gather(
        src=src, **described(picture, sample), xs=xs.tolist(), ys=ys.tolist(), dst=dst,
        element=element, window_height=height, window_width=width, pixel=pixel, inset=inset,
        stats=seen, **STREAM,
    )  # fmt: skip
    made = memory.get(dst)
    planes = tiles.gather(picture, xs, ys, width=width, height=height)
    expected = planes.transpose(0, 2, 3, 1)
    ref.assert_same_bits(
        as_float(made[..., :3], element), as_float(as_element(expected, element), element)
    )
    assert not made[..., 3:].view(np.uint8).any()
    memory.get(src)
    inner = expected[:, inset : max(height - inset, 0), inset : max(width - inset, 0)]
    stats = memory.get(seen)
    assert stats[:, 1].tolist() == [max(brightest(each), 7) for each in inner]
    assert (stats[:, [0, 2]] == 7).all()


@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sample", SAMPLES)
def test_gather(device_module, sample, channels, element):
    for pixel in PIXELS:
        seed = [SAMPLES.index(sample), channels, ELEMENTS.index(element), pixel]
        print("seed", seed)
        rng = np.random.default_rng(seed)
        check_gather(device_module, rng, sample, channels, element, pixel, count=4)
        # A destination too unaligned for wide stores.
        check_gather(device_module, rng, sample, channels, element, pixel, count=2, offset=1)


@pytest.mark.parametrize("sample", SAMPLES)
def test_gather_larger_than_a_block_takes(device_module, sample):
    rng = np.random.default_rng(5)
    for element, pixel in (("float16", 3), ("float32", 3), ("float16", 8)):
        sizes = (40, 83, 50, 90)
        check_gather(device_module, rng, sample, 3, element, pixel, count=2, size=sizes)


def test_more_windows_than_one_launch_takes(device_module):
    rng = np.random.default_rng(6)
    for pixel in (3, 4):
        check_gather(
            device_module, rng, "uint8", 3, "float16", pixel, count=131, size=(3, 5, 9, 11)
        )


def test_windows_as_far_out_as_integers_go(device_module):
    picture = ref.random_picture(np.random.default_rng(1), (4, 5, 3), "uint8")
    most = np.iinfo(np.int64)
    xs, ys = [most.min, most.max, 0, most.min], [most.min, 0, most.max, most.max]
    memory = device_module.memory()
    dst = memory.put(np.zeros((4, 9, 11, 3), np.float32))
    device_module.module.gather(
        src=memory.put(picture), **described(picture, "uint8"), xs=xs, ys=ys, dst=dst,
        element="float32", window_height=9, window_width=11, pixel=3, inset=0, stats=0, **STREAM,
    )  # fmt: skip
    expected = tiles.gather(picture, xs, ys, width=11, height=9).transpose(0, 2, 3, 1)
    ref.assert_same_bits(memory.get(dst), np.ascontiguousarray(expected))


@pytest.mark.parametrize("pixel", [3, 8])
@pytest.mark.parametrize("sample", ["uint8", "uint16"])
def test_every_integer_is_the_correctly_rounded_quotient(device_module, sample, pixel):
    values = np.arange(np.iinfo(sample).max + 1).astype(sample)
    picture = np.resize(values, (1, -(-values.size // 3), 3))
    memory = device_module.memory()
    dst = memory.put(np.zeros((1, *picture.shape[:2], pixel), np.float32))
    device_module.module.gather(
        src=memory.put(picture), **described(picture, sample), xs=[0], ys=[0], dst=dst,
        element="float32", window_height=1, window_width=picture.shape[1], pixel=pixel, inset=0,
        stats=0, **STREAM,
    )  # fmt: skip
    expected = (picture.astype(np.float64) / np.iinfo(sample).max).astype(np.float32)
    ref.assert_same_bits(np.ascontiguousarray(memory.get(dst)[0, ..., :3]), expected)


def random_output(rng, shape, element):
    output = ref.random_output(rng, shape, not_finite=0.02)
    return as_element(output, element)


def placed(rng, count, high, wide):
    """Return rectangles side by side, one per tile, and the size of a picture for all of them."""
    rects, left, tall = [], int(rng.integers(0, 4)), 0
    for _ in range(count):
        width, height = int(rng.integers(1, wide + 1)), int(rng.integers(1, high + 1))
        src_x = int(rng.integers(0, wide - width + 1))
        src_y = int(rng.integers(0, high - height + 1))
        top = int(rng.integers(0, 4))
        rects.append((src_x, src_y, left, top, width, height))
        left += width + int(rng.integers(0, 3))
        tall = max(tall, top + height)
    return rects, tall + int(rng.integers(0, 3)), left + int(rng.integers(0, 3))


def marks_of(parts):
    """Expected statistics of samples; the columns held 5, 5 and 0 before."""
    return [
        [5 + int((~np.isfinite(part)).sum()), 5, brightest(ref.quantize(part, "float32"))]
        for part in parts
    ]


def check_blend(device, rng, sample, channels, element, pixel, *, count, size=None):
    high, wide = (int(n) for n in size or rng.integers(1, 41, 2))
    output = random_output(rng, (count, high, wide, pixel), element)
    planes = as_float(output, element)[..., :3].transpose(0, 3, 1, 2)
    rects, height, width = placed(rng, count, high, wide)
    picture = random_picture(rng, height, width, channels, sample)
    memory = device.memory()
    # The output of a network is only aligned to one element.
    src = memory.put(output, offset=int(rng.integers(0, 3)) * output.itemsize)
    dst = memory.put(picture, offset=int(rng.integers(0, 8)) * picture.itemsize)
    seen = memory.put(np.tile(np.array([5, 5, 0], np.int32), (count, 1)))
    device.module.blend(
        src=src, element=element, src_height=high, src_width=wide, pixel=pixel, rects=rects,
        dst=dst, **described(picture, sample), stats=seen, **STREAM,
    )  # fmt: skip
    expected, parts = picture.copy(), []
    for tile, (src_x, src_y, dst_x, dst_y, across, down) in zip(planes, rects, strict=True):
        parts.append(tile[:, src_y : src_y + down, src_x : src_x + across])
        try:
            tiles.blend(
                np.ascontiguousarray(tile), expected, src_x=src_x, src_y=src_y, dst_x=dst_x,
                dst_y=dst_y, width=across, height=down,
            )  # fmt: skip
        except EngineError:
            assert not np.isfinite(parts[-1]).all()
    assert memory.get(dst).tobytes() == expected.tobytes()
    assert memory.get(seen).tolist() == marks_of(parts)
    memory.get(src)


@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sample", SAMPLES)
def test_blend(device_module, sample, channels, element):
    for pixel in PIXELS:
        seed = [SAMPLES.index(sample), channels, ELEMENTS.index(element), pixel, 1]
        print("seed", seed)
        rng = np.random.default_rng(seed)
        check_blend(device_module, rng, sample, channels, element, pixel, count=4)


@pytest.mark.parametrize("sample", SAMPLES)
def test_blend_larger_than_a_block_takes(device_module, sample):
    rng = np.random.default_rng(7)
    for element, pixel in (("float16", 3), ("float32", 3), ("float16", 8)):
        check_blend(device_module, rng, sample, 3, element, pixel, count=2, size=(61, 87))


def test_more_rectangles_than_one_launch_takes(device_module):
    rng = np.random.default_rng(8)
    for pixel in (3, 4):
        check_blend(device_module, rng, "uint8", 3, "float16", pixel, count=131, size=(4, 5))


@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("channels", [1, 3])
def test_feather(device_module, channels, element):
    for pixel in PIXELS:
        seed = [channels, ELEMENTS.index(element), pixel, 2]
        print("seed", seed)
        rng = np.random.default_rng(seed)
        high, wide = (int(n) for n in rng.integers(1, 41, 2))
        output = random_output(rng, (3, high, wide, pixel), element)
        [rect], height, width = placed(rng, 1, high, wide)
        src_x, src_y, dst_x, dst_y, across, down = rect
        canvas = rng.normal(0, 1, (height, width + 3, channels)).astype(np.float32)[:, 1:-2]
        weights_x, weights_y = (rng.random(n, np.float32) for n in (across, down))
        memory = device_module.memory()
        into = memory.put(canvas, offset=4)
        seen = memory.put(np.tile(np.array([5, 5, 0], np.int32), (3, 1)))
        device_module.module.feather(
            src=memory.put(output, offset=output.itemsize * int(rng.integers(0, 2))),
            element=element, src_height=high, src_width=wide, pixel=pixel, index=2, rect=rect,
            canvas=into, height=height, width=width, channels=channels,
            stride=canvas.strides[0] // 4, weights_x=memory.put(weights_x),
            weights_y=memory.put(weights_y), stats=seen, **STREAM,
        )  # fmt: skip
        expected = canvas.copy()
        tile = np.ascontiguousarray(as_float(output, element)[2, ..., :3].transpose(2, 0, 1))
        tiles.blend_feathered(
            tile, expected, src_x=src_x, src_y=src_y, dst_x=dst_x, dst_y=dst_y,
            weights_x=weights_x, weights_y=weights_y,
        )  # fmt: skip
        ref.assert_same_bits(memory.get(into), expected)
        part = tile[:, src_y : src_y + down, src_x : src_x + across]
        assert memory.get(seen).tolist() == [[5, 5, 0], [5, 5, 0], *marks_of([part])]


@pytest.mark.parametrize("sample", SAMPLES)
def test_quantize(device_module, sample):
    rng = np.random.default_rng(9)
    for count in (1, 3, 4, 5, 1023, 1024, 1025, 4099):
        for offset in (0, 1):
            canvas = ref.random_output(rng, (count,), not_finite=0.05)
            memory = device_module.memory()
            dst = memory.put(np.zeros(count, sample), offset=offset * np.dtype(sample).itemsize)
            device_module.module.quantize(
                src=memory.put(canvas), dst=dst, sample=sample, count=count, **STREAM
            )
            ref.assert_same_bits(memory.get(dst), ref.quantize(canvas, sample))


@pytest.mark.parametrize("sample", ["uint8", "uint16"])
def test_every_half_lands_where_the_processor_puts_it(device_module, sample):
    halves = np.arange(65536, dtype=np.uint16).view(np.float16).reshape(1, 128, 512, 1)
    output = np.repeat(halves, 3, axis=3)
    memory = device_module.memory()
    dst = memory.put(np.zeros((128, 512, 3), sample))
    device_module.module.blend(
        src=memory.put(output), element="float16", src_height=128, src_width=512, pixel=3,
        rects=[(0, 0, 0, 0, 512, 128)], dst=dst, sample=sample, height=128, width=512, channels=3,
        stride=3 * 512, stats=0, **STREAM,
    )  # fmt: skip
    ref.assert_same_bits(memory.get(dst), ref.quantize(output[0].astype(np.float32), sample))


def test_what_cannot_be_is_refused(device_module):
    memory = device_module.memory()
    room = memory.put(np.zeros(4096, np.uint8))
    picture = {"sample": "uint8", "height": 6, "width": 8, "channels": 3, "stride": 24}
    window = {"element": "float16", "window_height": 2, "window_width": 3, "pixel": 3}
    cut = {"src": room, **picture, "xs": [0], "ys": [0], "dst": room, **window, "inset": 0,
           "stats": 0, **STREAM}  # fmt: skip
    for wrong in (
        {"src": 0}, {"dst": room + 1}, {"stats": room + 1}, {"sample": "int8"}, {"height": 0},
        {"width": 1 << 29}, {"channels": 2}, {"stride": 23}, {"ys": []}, {"element": "float64"},
        {"window_height": 0}, {"window_width": -1}, {"pixel": 2}, {"pixel": 1 << 30},
        {"inset": -1},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r".+"):
            device_module.module.gather(**{**cut, **wrong})
    tile = {"src": room, "element": "float16", "src_height": 4, "src_width": 5, "pixel": 3}
    into = {**tile, "rects": [(0, 0, 0, 0, 5, 4)], "dst": room, **picture, "stats": 0, **STREAM}
    most = np.iinfo(np.int64).max
    for rect in (
        (1, 0, 0, 0, 5, 4), (0, 1, 0, 0, 5, 4), (0, 0, 4, 0, 5, 4), (0, 0, 0, 3, 5, 4),
        (-1, 0, 0, 0, 5, 4), (0, 0, -1, 0, 5, 4), (0, 0, 0, 0, 0, 4), (0, 0, 0, 0, 5, 0),
        (most, 0, 0, 0, 2, 2), (0, 0, 0, most, 2, 2), (0, 0, 0, 0, most, 1),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="is not inside"):
            device_module.module.blend(**{**into, "rects": [rect]})
    with pytest.raises(ValueError, match="count"):
        device_module.module.quantize(src=room, dst=room, sample="uint8", count=-1, **STREAM)
    assert not memory.get(room).any()


def test_nothing_to_do(device_module):
    memory = device_module.memory()
    room = memory.put(np.zeros(64, np.uint8))
    picture = {"sample": "uint8", "height": 1, "width": 1, "channels": 3, "stride": 3}
    device_module.module.gather(
        src=room, **picture, xs=[], ys=[], dst=room, element="float16", window_height=1,
        window_width=1, pixel=3, inset=0, stats=0, **STREAM,
    )  # fmt: skip
    device_module.module.blend(
        src=room, element="float16", src_height=1, src_width=1, pixel=3, rects=[], dst=room,
        **picture, stats=0, **STREAM,
    )  # fmt: skip
    device_module.module.quantize(src=room, dst=room, sample="uint8", count=0, **STREAM)
    assert not memory.get(room).any()
