from __future__ import annotations

import struct

import numpy as np
import pytest
from helpers.weight_files import safetensors_bytes, safetensors_file

from waifu2x.errors import GraphError
from waifu2x.network.readers.safetensors import parse_safetensors

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "dtype",
    [
        "float64",
        "float32",
        "float16",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint64",
        "uint32",
        "uint16",
        "uint8",
        "bool",
    ],
)
def test_every_type_is_read_as_it_was_written(dtype: str) -> None:
    array = (np.arange(24).reshape(2, 3, 4) % 2).astype(dtype)
    read = parse_safetensors(safetensors_bytes({"a": array, "b": array[0]}))
    assert list(read) == ["a", "b"]
    assert read["a"].dtype == array.dtype
    np.testing.assert_array_equal(read["a"], array)
    np.testing.assert_array_equal(read["b"], array[0])


def test_bfloat16_becomes_float32() -> None:
    values = np.array([1.0, -2.5, 3e38, 0.0], np.float32)
    bits = (values.view(np.uint32) >> 16).astype("<u2")
    header = {"a": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}}
    read = parse_safetensors(safetensors_file(header, bits.tobytes()))["a"]
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, (bits.astype(np.uint32) << 16).view(np.float32))


def test_metadata_scalars_and_empty_tensors_are_read() -> None:
    tensors = {"a": np.array(3.0), "b": np.zeros((0, 3), np.float32)}
    read = parse_safetensors(safetensors_bytes(tensors, metadata={"format": "pt"}))
    assert read["a"].shape == ()
    assert read["b"].shape == (0, 3)
    assert set(read) == {"a", "b"}


def test_tensors_are_views_of_the_file_and_read_only() -> None:
    read = parse_safetensors(safetensors_bytes({"a": np.ones(4, np.float32)}))["a"]
    assert not read.flags.owndata
    assert not read.flags.writeable


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes are no safetensors file"),
        (struct.pack("<Q", 1 << 40) + b"{}", "the header has 1099511627776 bytes"),
        (struct.pack("<Q", 9) + b"{}", "the header has 9 bytes; allowed are 2"),
        (struct.pack("<Q", 2) + b"[]", "must begin with {"),
        (struct.pack("<Q", 2) + b"{\xff", "malformed header"),
        (struct.pack("<Q", 100_001) + b"{" + b"[" * 100_000, "malformed header"),
        (struct.pack("<Q", 9) + b'{"a":NaN}', "NaN is not JSON"),
        (struct.pack("<Q", 6011) + b'{"a":' + b"1" * 6005 + b"}", "malformed header"),
        (struct.pack("<Q", 13) + b'{"a":1,"a":2}', "'a' twice"),
        (safetensors_file({"a": []}, b""), "must have dtype, shape and data_offsets"),
        (safetensors_file({"a": {**F32, "x": 1}}, bytes(8)), "must have dtype"),
        (safetensors_file({"a": {**F32, "dtype": "F8_E4M3"}}, bytes(8)), "unknown type 'F8_E4M3'"),
        (safetensors_file({"a": {**F32, "dtype": 7}}, bytes(8)), "unknown type '7'"),
        (safetensors_file({"a": {**F32, "shape": [True, 2]}}, bytes(8)), "no valid shape"),
        (safetensors_file({"a": {**F32, "shape": [-2]}}, bytes(8)), "no valid shape"),
        (safetensors_file({"a": {**F32, "shape": [1] * 9}}, bytes(8)), "no valid shape"),
        (safetensors_file({"a": {**F32, "shape": [1 << 40] * 5}}, bytes(8)), "offsets span 8"),
        (safetensors_file({"a": {**F32, "data_offsets": [8]}}, bytes(8)), "no valid offsets"),
        (safetensors_file({"a": {**F32, "data_offsets": [8, 0]}}, bytes(8)), "offsets span -8"),
        (safetensors_file({"a": {**F32, "data_offsets": [8, 16]}}, bytes(16)), "instead of 0"),
        (safetensors_file({"a": F32, "b": F32}, bytes(8)), "'b' begins at byte 0 instead of 8"),
        (safetensors_file({"a": F32}, bytes(7)), "ends at byte 8; the file has 7"),
        (safetensors_file({"a": F32}, bytes(9)), "1 bytes of the file belong to no tensor"),
    ],
)
def test_a_malformed_file_is_refused_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(GraphError) as caught:
        parse_safetensors(data)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


def test_names_with_control_characters_are_printable_in_messages() -> None:
    with pytest.raises(GraphError) as caught:
        parse_safetensors(safetensors_file({"a\nb" + "x" * 500: {}}, b""))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200
