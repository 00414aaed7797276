"""Compare convolutions and single passes of the CUDA kernels with float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

STREAM = {"device": 0, "stream": 0}
ULP = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
LEAST = {"float32": 2.0**-149, "float16": 2.0**-24, "bfloat16": 2.0**-133}


def as_element(values, element):
    """Round float32 to an element type; bfloat16 is stored as uint16."""
    values = np.ascontiguousarray(values, np.float32)
    if element != "bfloat16":
        return values.astype(element)
    bits = values.view(np.uint32)
    rounded = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FFF), rounded)


def as_float(elements, element):
    if element == "bfloat16":
        return (elements.astype(np.uint32) << 16).view(np.float32)
    return elements.astype(np.float32)


def rounded(values, element):
    return as_float(as_element(values, element), element)


@dataclass
class Case:
    """A layer and the options of its run."""

    channels_in: int
    channels_out: int
    kernel: int = 3
    height: int = 5
    width: int = 7
    batch: int = 1
    element: str = "float16"
    src_more: int = 0  # unread channels per pixel
    dst_element: str = ""  # default: element
    dst_channels: int = 0  # default: all
    dst_pixel: int = 0  # default: dst_channels
    shuffle: int = 1
    crop: int = 0
    addend: str = ""  # element type of the addend; empty: no addend
    addend_crop: int = 0
    addend_more: int = 0

    def __post_init__(self):
        self.dst_element = self.dst_element or self.element
        self.dst_channels = self.dst_channels or self.channels_out // self.shuffle**2
        self.dst_pixel = self.dst_pixel or self.dst_channels
        self.dst_height = (self.height - self.kernel + 1) * self.shuffle - 2 * self.crop
        self.dst_width = (self.width - self.kernel + 1) * self.shuffle - 2 * self.crop

    def random(self, rng):
        """Return random inputs as float32 values that the element type represents exactly."""
        n, k = self.batch, self.kernel
        src = rng.standard_normal((n, self.height, self.width, self.channels_in + self.src_more))
        src[..., self.channels_in :] = np.nan
        weight = rng.standard_normal((k * k, self.channels_in, self.channels_out))
        made = {
            "src": rounded(src, self.element),
            "weight": rounded(weight / k / np.sqrt(self.channels_in), self.element),
            "bias": rng.standard_normal(self.channels_out).astype(np.float32),
            "slope": rng.choice([0, 0.1, 0.25, 1], self.channels_out).astype(np.float32),
        }
        if self.addend:
            sides = (side + 2 * self.addend_crop for side in (self.dst_height, self.dst_width))
            shape = (n, *sides, self.dst_channels + self.addend_more)
            made["addend"] = rounded(rng.standard_normal(shape), self.addend)
            made["addend"][..., self.dst_channels :] = np.nan
        return made

    def run(self, device, made):
        memory = device.memory()
        element = self.element
        dst_shape = (self.batch, self.dst_height, self.dst_width, self.dst_pixel)
        dst = memory.put(as_element(np.full(dst_shape, np.nan), self.dst_element))
        addend = made.get("addend")
        _, addend_height, addend_width, addend_pixel = (0,) * 4 if addend is None else addend.shape
        device.module.convolve(
            src=memory.put(as_element(made["src"], element)),
            src_height=self.height,
            src_width=self.width,
            src_pixel=made["src"].shape[-1],
            batch=self.batch,
            element=element,
            weight=memory.put(as_element(made["weight"], element)),
            kernel=self.kernel,
            channels_in=self.channels_in,
            channels_out=self.channels_out,
            bias=memory.put(made["bias"]),
            slope=memory.put(made["slope"]),
            dst=dst,
            dst_element=self.dst_element,
            dst_height=self.dst_height,
            dst_width=self.dst_width,
            dst_pixel=self.dst_pixel,
            dst_channels=self.dst_channels,
            shuffle=self.shuffle,
            crop=self.crop,
            addend=0 if addend is None else memory.put(as_element(addend, self.addend)),
            addend_element=self.addend or element,
            addend_height=addend_height,
            addend_width=addend_width,
            addend_pixel=addend_pixel,
            addend_crop=self.addend_crop,
            **STREAM,
        )
        return memory.get(dst)

    def expected(self, made):
        """Return the result in float64 and the sum of the magnitudes of its terms."""
        k = self.kernel
        src = made["src"][..., : self.channels_in].astype(np.float64)
        windows = np.lib.stride_tricks.sliding_window_view(src, (k, k), axis=(1, 2))
        weight = made["weight"].reshape(k, k, self.channels_in, self.channels_out)
        weight = weight.astype(np.float64)
        y = np.einsum("nyxcij,ijco->nyxo", windows, weight, optimize=True)
        size = np.einsum("nyxcij,ijco->nyxo", abs(windows), abs(weight), optimize=True)
        y += made["bias"]
        size += abs(made["bias"])
        y = np.where(y >= 0, y, y * made["slope"])
        y, size = self._shuffled(y), self._shuffled(size)
        if self.addend:
            crop = self.addend_crop
            rows, columns = (slice(crop, crop + n) for n in (self.dst_height, self.dst_width))
            addend = made["addend"][:, rows, columns, : self.dst_channels]
            y = y + addend
            size = size + abs(addend)
        return y, size

    def _shuffled(self, y):
        n, height, width, channels = y.shape
        f = self.shuffle
        y = y.reshape(n, height, width, channels // f**2, f, f).transpose(0, 1, 4, 2, 5, 3)
        y = y.reshape(n, height * f, width * f, channels // f**2)
        c = self.crop
        return y[:, c : height * f - c, c : width * f - c, : self.dst_channels]

    def check(self, device, seed=0):
        made = self.random(np.random.default_rng(seed))
        got = as_float(self.run(device, made), self.dst_element)
        want, size = self.expected(made)
        assert_close(got[..., : self.dst_channels], want, size, self.dst_element)
        assert not got[..., self.dst_channels :].view(np.uint32).any()


def assert_close(got, want, size, element):
    # Kernels sum in float32 in any order, then round once.
    most = ULP[element] / 2 * abs(want) + 1e-6 * size + LEAST[element]
    error = abs(got - want)
    assert np.isfinite(got).all()
    assert (error <= most).all(), (error / most).max()


LAYERS = [
    # upconv_7
    *((16, 16, 3), (16, 32, 3), (32, 64, 3), (64, 128, 3), (128, 128, 3), (128, 256, 3)),
    # cunet
    *((64, 64, 3), (128, 64, 3), (256, 128, 3)),
    # others: a partial block, several blocks and a partial block, three chunks of 16
    *((32, 48, 3), (48, 16, 2), (48, 80, 3), (64, 144, 2), (64, 80, 1), (96, 16, 1), (32, 32, 4)),
]


@pytest.mark.parametrize(("channels_in", "channels_out", "kernel"), LAYERS)
def test_layers(device_module, channels_in, channels_out, kernel):
    Case(channels_in, channels_out, kernel, src_more=8).check(device_module)


@pytest.mark.parametrize(
    "case",
    [
        Case(16, 16, 3, 20, 35, 2),
        Case(64, 32, 3, 19, 35, 2),
        Case(32, 64, 3, 36, 19),
        Case(64, 128, 3, 19, 21),
        Case(64, 128, 2, 19, 18),
        Case(128, 16, 1, 17, 33, 2),
        Case(16, 16, 4, 18, 38),
        # Also more channels than a block.
        Case(32, 144, 2, 18, 18),
        Case(32, 80, 2, 18, 6, 2),
    ],
    ids=str,
)
def test_patches(device_module, case):
    case.check(device_module)


@pytest.mark.parametrize("order", ["forward", "backward"])
@pytest.mark.parametrize(
    "case",
    [
        Case(32, 16, 3, 36, 35, 2),
        Case(32, 32, 2, 36, 35, 2),
        Case(64, 64, 2, 36, 35),
        Case(64, 64, 1, 36, 50, shuffle=2),
        Case(64, 144, 2, 36, 35),
    ],
    ids=str,
)
def test_no_warp_waits_for_what_no_barrier_orders(device_module, monkeypatch, case, order):
    """Several tiles per block; warps run one after the other as far as barriers allow."""
    monkeypatch.setenv("WAIFU2X_EMULATOR_ORDER", order)
    case.check(device_module)


@pytest.mark.parametrize(
    "case",
    [
        # The last layers of upconv_7, unet1 and unet2.
        Case(256, 16, 2, 7, 8, dst_channels=3, shuffle=2, crop=2, dst_element="float32"),
        Case(64, 16, 2, 20, 21, 2, dst_channels=3, dst_pixel=16, shuffle=2, crop=2),
        Case(
            *(64, 16, 3, 19, 20, 2), dst_channels=3, dst_element="float32", addend="float16",
            addend_crop=2, addend_more=13,
        ),
        Case(64, 16, 3, dst_channels=3, addend="float32", addend_crop=1),
        # Pixel shuffles, also with a skip connection from before the shrink.
        Case(64, 256, 1, 4, 18, shuffle=2, addend="float16", addend_crop=4),
        Case(128, 512, 1, 3, 3, shuffle=2, addend="float16", addend_crop=1, addend_more=8),
        Case(32, 128, 2, 4, 5, shuffle=2, crop=1, dst_element="float32", addend="float32"),
        Case(64, 16, 1, 5, 17, shuffle=2, dst_channels=3, dst_pixel=8),
        Case(32, 80, 2, 4, 5, shuffle=2, dst_pixel=24, addend="float16", addend_more=5),
        # Zero padding after the channels, and channels that are not stored.
        Case(16, 32, 3, dst_channels=20, dst_pixel=40),
        Case(16, 32, 3, dst_channels=20, dst_pixel=27),
        Case(16, 16, 3, dst_channels=9, dst_pixel=640),
        Case(64, 128, 3, dst_channels=7, dst_pixel=8, dst_element="float32"),
        Case(64, 144, 3, dst_channels=70, dst_pixel=72, addend="float32", addend_more=2),
        Case(32, 48, 2, dst_channels=3, shuffle=2, dst_element="float32"),
    ],
    ids=str,
)  # fmt: skip
def test_epilogue(device_module, case):
    case.check(device_module)


@pytest.mark.parametrize(
    "case",
    [
        Case(64, 128, 2, 6, 9, element="bfloat16", dst_element="float32"),
        Case(32, 64, 3, element="bfloat16", addend="bfloat16", addend_crop=3),
        Case(32, 32, 2, element="bfloat16", shuffle=2, crop=1),
        Case(64, 16, 1, element="bfloat16", dst_channels=3, addend="float32"),
        Case(16, 16, 3, element="bfloat16"),
        Case(16, 32, 3, element="bfloat16"),
    ],
    ids=str,
)
def test_bfloat16(device_module, case):
    case.check(device_module)


@pytest.mark.parametrize(
    ("channels_in", "channels_out"), [(16, 16), (16, 32), (64, 16), (64, 32), (64, 64), (64, 128)]
)
def test_a_window_has_the_bytes_of_the_picture(device_module, channels_in, channels_out):
    top, left, height, width = 3, 5, 7, 15
    picture = Case(channels_in, channels_out, 3, 13, 23, batch=2)
    window = Case(channels_in, channels_out, 3, height, width)
    made = picture.random(np.random.default_rng(1))
    whole = picture.run(device_module, made)
    part = made["src"][1:, top : top + height, left : left + width]
    got = window.run(device_module, {**made, "src": part})
    want = whole[1:, top : top + height - 2, left : left + width - 2]
    assert got.tobytes() == want.tobytes()


def test_what_is_not_a_number_goes_where_its_taps_reach(device_module):
    case = Case(32, 32, 3, 19, 20, src_more=8)
    made = case.random(np.random.default_rng(2))
    made["slope"][:] = 0
    clean = case.run(device_module, made)
    assert not np.signbit(clean).any()
    made["src"][0, 9, 4, 7] = np.nan
    got = case.run(device_module, made)
    assert np.isnan(got[:, 7:10, 2:5]).all()
    got[:, 7:10, 2:5] = clean[:, 7:10, 2:5]
    assert got.tobytes() == clean.tobytes()


FINE = {
    "src": 4096, "src_height": 5, "src_width": 7, "src_pixel": 16, "batch": 1,
    "element": "float16", "weight": 4096, "kernel": 3, "channels_in": 16, "channels_out": 16,
    "bias": 4096, "slope": 4096, "dst": 4096, "dst_element": "float16", "dst_height": 3,
    "dst_width": 5, "dst_pixel": 16, "dst_channels": 16, "shuffle": 1, "crop": 0,
    "addend": 0, "addend_element": "float16", "addend_height": 0, "addend_width": 0,
    "addend_pixel": 0, "addend_crop": 0, **STREAM,
}  # fmt: skip
ADDEND = {"addend": 4096, "addend_height": 3, "addend_width": 5, "addend_pixel": 16}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"src": 0}, "src"),
        ({"src": 4104}, "src"),
        ({"weight": 4104}, "weight"),
        ({"bias": 0}, "bias"),
        ({"slope": 4097}, "slope"),
        ({"dst": 4097}, "dst"),
        ({"element": "float32"}, "element"),
        ({"dst_element": "bfloat16"}, "dst_element"),
        ({"kernel": 0}, "kernel"),
        ({"kernel": 5}, "kernel"),
        ({"kernel": 2}, "dst"),
        ({"batch": 0}, "batch"),
        ({"batch": 65536}, "batch"),
        ({"src_height": 2}, "src_height"),
        ({"src_pixel": 20, "channels_in": 16}, "src_pixel"),
        ({"src_pixel": 24, "channels_in": 24}, "channels_in"),
        ({"channels_in": 32}, "channels_in"),
        ({"channels_out": 24}, "channels_out"),
        ({"dst_channels": 17, "dst_pixel": 17}, "dst_channels"),
        ({"dst_pixel": 15}, "dst_pixel"),
        ({"dst_height": 4}, "dst"),
        ({"crop": 1}, "dst"),
        ({"crop": 2}, "crop"),
        ({"crop": -1}, "crop"),
        ({"shuffle": 3}, "shuffle"),
        ({"src_height": 1 << 15, "src_width": 1 << 13, "src_pixel": 1 << 5}, "src"),
        ({**ADDEND, "addend_height": 2}, "addend_height"),
        ({**ADDEND, "addend_crop": 1}, "addend_height"),
        ({**ADDEND, "addend_pixel": 15}, "addend_pixel"),
        ({**ADDEND, "addend_element": "bfloat16"}, "addend_element"),
        ({**ADDEND, "addend": 4097}, "addend"),
        ({"device": -1}, "device"),
    ],
    ids=str,
)
def test_refusals(device_module, changed, named):
    with pytest.raises(ValueError, match=f"^{named}\\b"):
        device_module.module.convolve(**{**FINE, **changed})


@pytest.mark.parametrize("element", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    ("channels", "offset", "parts"),
    [
        (8, 0, ("bias", "slope", "addend")),
        (3, 0, ("bias", "slope", "addend")),
        (16, 4, ("bias", "slope")),
        (24, 0, ("bias",)),
        (64, 0, ("slope", "addend")),
        (8, 0, ()),
    ],
    ids=str,
)
def test_finish(device_module, element, channels, offset, parts):
    rng = np.random.default_rng(3)
    batch, height, width, crop = 2, 3, 50, 2
    data = rounded(rng.standard_normal((batch, height, width, channels)), element)
    bias = rng.standard_normal(channels).astype(np.float32)
    slope = rng.choice([0, 0.1, 1], channels).astype(np.float32)
    addend_shape = (batch, height + 2 * crop, width + 3, channels)
    addend = rounded(rng.standard_normal(addend_shape), element)
    memory = device_module.memory()
    address = memory.put(as_element(data, element), offset=offset)
    device_module.module.finish(
        data=address,
        element=element,
        batch=batch,
        height=height,
        width=width,
        channels=channels,
        bias=memory.put(bias) if "bias" in parts else 0,
        slope=memory.put(slope) if "slope" in parts else 0,
        addend=memory.put(as_element(addend, element)) if "addend" in parts else 0,
        addend_height=addend_shape[1],
        addend_width=addend_shape[2],
        addend_crop=crop,
        **STREAM,
    )
    got = as_float(memory.get(address), element)
    want = data.astype(np.float64)
    size = abs(want)
    if "bias" in parts:
        want, size = want + bias, size + abs(bias)
    if "slope" in parts:
        want = np.where(want >= 0, want, want * slope)
    if "addend" in parts:
        more = addend[:, crop : crop + height, crop : crop + width]
        want, size = want + more, size + abs(more)
    assert_close(got, want, size, element)


@pytest.mark.parametrize("element", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(("channels", "width"), [(8, 5), (64, 70), (5, 7)])
def test_gate(device_module, element, channels, width):
    rng = np.random.default_rng(4)
    data = rounded(rng.standard_normal((2, 3, width, channels)), element)
    gates = rng.random((2, channels)).astype(np.float32)
    memory = device_module.memory()
    address = memory.put(as_element(data, element))
    device_module.module.gate(
        data=address,
        element=element,
        batch=2,
        height=3,
        width=width,
        channels=channels,
        gates=memory.put(gates),
        **STREAM,
    )
    want = as_element(data * gates[:, None, None], element)
    assert memory.get(address).tobytes() == want.tobytes()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"data": 0}, "data"),
        ({"data": 4098}, "data"),
        ({"element": "float64"}, "elements"),
        ({"channels": 0}, "channels"),
        ({"height": 1 << 20, "width": 1 << 12}, "data"),
        ({"gates": 0}, "gates"),
        ({"gates": 4098}, "gates"),
    ],
    ids=str,
)
def test_refusals_of_gate(device_module, changed, named):
    fine = {
        "data": 4096, "element": "float32", "batch": 1, "height": 2, "width": 3, "channels": 4,
        "gates": 4096, **STREAM,
    }  # fmt: skip
    with pytest.raises(ValueError, match=f"^{named}\\b"):
        device_module.module.gate(**{**fine, **changed})


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"bias": 4098}, "bias"),
        ({"slope": 4098}, "slope"),
        ({"addend": 4098}, "addend"),
        ({"addend_height": 1}, "addend_height"),
        ({"addend_crop": 1}, "addend_height"),
        ({"addend_width": 2}, "addend_width"),
        ({"width": 0}, "width"),
    ],
    ids=str,
)
def test_refusals_of_finish(device_module, changed, named):
    fine = {
        "data": 4096, "element": "float32", "batch": 1, "height": 2, "width": 3, "channels": 4,
        "bias": 0, "slope": 0, "addend": 4096, "addend_height": 2, "addend_width": 3,
        "addend_crop": 0, **STREAM,
    }  # fmt: skip
    with pytest.raises(ValueError, match=f"^{named}\\b"):
        device_module.module.finish(**{**fine, **changed})
