from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.weight_files import torch_bytes

from waifu2x.errors import GraphError
from waifu2x.network.readers.pytorch import is_pytorch, parse_pytorch

LAYOUTS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
WEIGHT = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)


def message(data: bytes) -> str:
    with pytest.raises(GraphError) as caught:
        parse_pytorch(data)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
    return str(caught.value)


@LAYOUTS
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "dtype",
    [
        "float64",
        "float32",
        "float16",
        "bfloat16",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint8",
        "bool",
    ],
)
def test_every_type_and_protocol(dtype: str, protocol: int, legacy: bool) -> None:
    tensor = WEIGHT.to(getattr(torch, dtype))
    data = torch_bytes(OrderedDict(a=tensor), legacy=legacy, protocol=protocol)
    assert is_pytorch(data)
    expected = tensor.float().numpy() if dtype == "bfloat16" else tensor.numpy()
    read = parse_pytorch(data)["a"]
    assert read.dtype == expected.dtype
    np.testing.assert_array_equal(read, expected)


@LAYOUTS
def test_the_state_of_a_module_is_read_with_its_metadata(legacy: bool) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.PReLU(4))
    state = module.state_dict()
    assert state._metadata
    read = parse_pytorch(torch_bytes(state, legacy=legacy))
    assert list(read) == list(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(read[name], tensor.numpy())


@LAYOUTS
def test_views_share_a_storage(legacy: bool) -> None:
    views = {
        "whole": WEIGHT,
        "transposed": WEIGHT.permute(2, 0, 1),
        "part": WEIGHT[1, 1:, ::2],
        "scalar": WEIGHT[1, 2, 3],
        "empty": WEIGHT[:0],
    }
    read = parse_pytorch(torch_bytes(views, legacy=legacy))
    for name, view in views.items():
        np.testing.assert_array_equal(read[name], view.numpy())
        assert not read[name].flags.writeable
    assert np.shares_memory(read["whole"], read["transposed"])


@LAYOUTS
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state, other: {"params": other, "params_ema": state},
        lambda state, other: {"params": state, "iter": 5, "loss": [0.5, None]},
        lambda state, other: {"state_dict": state, "optimizer": {"state": {0: other}}},
        lambda state, other: {"nunif_model": 1, "name": "x", "kwargs": {}, "state_dict": state},
        lambda state, other: {"model": state, "epoch": 3},
        lambda state, other: {"model": {"state_dict": state}},
        lambda state, other: state,
        lambda state, other: {f"module.{name}": tensor for name, tensor in state.items()},
    ],
)
def test_the_state_dict_is_found(wrap: Any, legacy: bool) -> None:
    state, other = {"a.weight": WEIGHT, "b": WEIGHT + 1}, {"z": WEIGHT}
    read = parse_pytorch(torch_bytes(wrap(state, other), legacy=legacy))
    assert set(read) == {"a.weight", "b"}


def test_entries_that_are_no_tensors_become_numbers_or_empty_arrays() -> None:
    read = parse_pytorch(torch_bytes({"a": WEIGHT, "pro": True, "n": 7, "x": 0.5, "s": "text"}))
    assert read["pro"].shape == ()
    assert bool(read["pro"])
    assert int(read["n"]) == 7
    assert float(read["x"]) == 0.5
    assert read["s"].size == 0


# --- what is refused ----------------------------------------------------------------------------


class Runs:
    """Calls ``function`` when it is unpickled by pickle."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


@LAYOUTS
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("place", ["value", "beside", "key"])
def test_a_call_is_named_and_not_executed(
    place: str, protocol: int, legacy: bool, tmp_path: Path
) -> None:
    import os

    canary = tmp_path / "canary"
    for function, argument, name in (
        (os.system, f"touch {canary}", f"'{os.system.__module__}.system'"),
        (eval, f"open({str(canary)!r}, 'w')", ".eval'"),
        (exec, f"open({str(canary)!r}, 'w')", ".exec'"),
        (getattr, "", ".getattr'"),
    ):
        call = Runs(function, argument) if argument else Runs(function, WEIGHT, "numpy")
        state = {
            "value": {"a": call},
            "beside": {"params": {"a": WEIGHT}, "extra": [(call,)]},
            "key": OrderedDict([(("a",), WEIGHT), ("b", call)]),
        }[place]
        text = message(torch_bytes(state, legacy=legacy, protocol=protocol))
        if place != "key":
            assert name in text
            assert "nothing was executed" in text
        assert not canary.exists()


@LAYOUTS
def test_objects_of_other_classes_are_named(legacy: bool) -> None:
    assert "'pathlib" in message(torch_bytes({"a": WEIGHT, "p": Path("x")}, legacy=legacy))
    assert "'numpy." in message(torch_bytes({"a": WEIGHT, "n": np.float64(1)}, legacy=legacy))
    module = torch.nn.ReLU()
    assert "torch.nn.modules.activation.ReLU" in message(
        torch_bytes({"a": WEIGHT, "m": module}, legacy=legacy)
    )


@LAYOUTS
@pytest.mark.parametrize("value", [{}, [], {"a": 1}, {"params": {"a": 3}}, WEIGHT, 5])
def test_a_file_without_a_dict_of_tensors(value: object, legacy: bool) -> None:
    assert "no dict of tensors" in message(torch_bytes(value, legacy=legacy))


@LAYOUTS
def test_a_truncated_file(legacy: bool) -> None:
    data = torch_bytes({"a": WEIGHT, "b": WEIGHT.half()}, legacy=legacy)
    for end in range(0, len(data), 7):
        message(data[:end])


def zipped(pickled: bytes, storages: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, contents in storages.items():
            archive.writestr(f"archive/data/{key}", contents)
    return file.getvalue()


def rebuild(
    offset: object = 0,
    size: object = (2, 3),
    strides: object = (3, 1),
    *,
    reference: object = None,
) -> bytes:
    """Return the pickle of {"a": tensor}, in protocol 2, with any arguments."""

    class Storage:
        pass

    class Writer(pickle.Pickler):
        def persistent_id(self, obj: object) -> object:
            default = ("storage", torch.FloatStorage, "0", "cpu", 6)
            return (reference or default) if isinstance(obj, Storage) else None

    call = Runs(torch._utils._rebuild_tensor_v2, Storage(), offset, size, strides, False, {})
    file = io.BytesIO()
    Writer(file, 2).dump({"a": call})
    return file.getvalue()


STORAGE = {"0": np.arange(6, dtype=np.float32).tobytes()}


def test_a_tensor_written_by_hand() -> None:
    read = parse_pytorch(zipped(rebuild(), STORAGE))["a"]
    np.testing.assert_array_equal(read, np.arange(6).reshape(2, 3))


@pytest.mark.parametrize(
    "arguments",
    [
        (1, (2, 3), (3, 1)),
        (6, (1,), (1,)),
        (0, (2, 3), (4, 1)),
        (0, (2, 3), (3, 2)),
        (0, (1 << 39, 1 << 39), (0, 0)),
        (0, (7,), (0,)),
        (0, (1 << 39,) * 8, (1,) * 8),
        (0, (1,) * 9, (1,) * 9),
        (0, (2, 3), (3,)),
        (-1, (2, 3), (3, 1)),
        (0, (2, -3), (3, 1)),
        (0, (2, 3), (-3, 1)),
        (0.5, (2, 3), (3, 1)),
        (0, [2, 3], (3, 1)),
        (0, (2, True), (3, 1)),
        (1 << 200, (2, 3), (3, 1)),
    ],
)
def test_a_view_outside_its_storage(arguments: tuple[Any, Any, Any]) -> None:
    assert "tensor 'a' has" in message(zipped(rebuild(*arguments), STORAGE))


@pytest.mark.parametrize(
    "reference",
    [
        ("storage", torch.FloatStorage, "0", "cpu", 7),
        ("storage", torch.DoubleStorage, "0", "cpu", 6),
        ("storage", torch.FloatStorage, "1", "cpu", 6),
        ("storage", torch.FloatStorage, "../data.pkl", "cpu", 6),
        ("storage", torch.FloatStorage, "0", "cpu", -6),
        ("storage", torch.float32, "0", "cpu", 6),
        ("module", torch.FloatStorage, "0", "cpu", 6),
        ("storage",),
        "storage",
        7,
    ],
)
def test_a_reference_to_no_storage(reference: object) -> None:
    assert "stor" in message(zipped(rebuild(reference=reference), STORAGE))


def test_tied_weights_are_read_but_not_a_thousand_of_them() -> None:
    tensor = torch.zeros(10_000)
    assert len(parse_pytorch(torch_bytes({"a": tensor, "b": tensor}))) == 2
    assert "twice the file" in message(torch_bytes({str(i): tensor for i in range(1000)}))


def test_a_compressed_archive_is_refused() -> None:
    assert "compressed" in message(zipped(rebuild(), STORAGE, zipfile.ZIP_DEFLATED))


def test_an_archive_with_two_members_of_one_name() -> None:
    file = io.BytesIO(zipped(rebuild(), STORAGE))
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("archive/data/0", STORAGE["0"])
    assert "two members" in message(file.getvalue())


def test_a_wrong_checksum() -> None:
    data = bytearray(torch_bytes({"a": WEIGHT}))
    at = data.find(WEIGHT.numpy().tobytes())
    data[at + 5] ^= 1
    assert "wrong checksum" in message(bytes(data))


def test_a_big_endian_file() -> None:
    file = io.BytesIO(zipped(rebuild(), STORAGE))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("archive/byteorder", "big")
    assert "little-endian" in message(file.getvalue())


# --- pickles by hand ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pickled", "expected"),
    [
        (b"", "ends early"),
        (b"\x80\x02.", "no value on the stack"),
        (b"\x80\x02NN.", "not empty"),
        (b"\x80\x02)u.", "no mark"),
        (b"\x80\x02(0.", "no value on the stack"),
        (b"\x80\x02h\x00.", "memo 0 is empty"),
        (b"\x80\x02}NNs.", "no dict of tensors"),
        (b"\x80\x02})Ns.", "a key that is neither"),
        (b"\x80\x02}(K\x01NK\x01Nu.", "the key '1' twice"),
        (b"\x80\x02}(NNNu.", "a key without a value"),
        (b"\x80\x02]NNs.", "no dict"),
        (b"\x80\x02}Na.", "no list"),
        (b"\x80\x02N)R.", "no global"),
        (b"\x80\x02NNb.", "no dict"),
        (b"\x80\x02\x8b\xff\xff\xff\xff.", "an integer of -1 bytes"),
        (b"\x80\x02\x8b\xff\xff\xff\x7f.", "an integer of 2147483647 bytes"),
        (b"\x80\x02X\xff\xff\xff\xff.", "ends early"),
        (b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "ends early"),
        (b"\x80\x02X\x01\x00\x00\x00\xff.", "not UTF-8"),
        (b"\x80\x02cos\nsystem\n.", "'os.system'"),
        (b"\x80\x02(X\x02\x00\x00\x00idios\nsystem\n.", "'os.system'"),
        (b"\x80\x02(ctorch\nSize\nitorch\nSize\n.", "an instance of torch.Size"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "'os.system'"),
        (b"\x80\x04NN\x93.", "not a string"),
        (b"\x80\x02c" + b"x" * 2000, "without an end"),
        (b"\x80\x02\x82\x01.", "opcode 0x82"),
        (b"\x80\x02)\x81.", "opcode 0x81"),
        (b"I7\n.", "opcode 0x49"),
        (b"\x80\x02" + b"N" * 60_000 + b".", "too many values"),
        (b"\x80\x02" + b"N0" * 300_000 + b".", "opcodes"),
    ],
)
def test_a_damaged_pickle(pickled: bytes, expected: str) -> None:
    assert expected in message(zipped(pickled, {}))


def test_nested_tuples_that_share_their_parts_cost_no_time() -> None:
    """As a key, this tuple would take 2**1000 steps to hash."""
    nested = b")q\x00" + b"0h\x00h\x00\x86q\x00" * 1000
    assert "a key that is neither" in message(zipped(b"\x80\x02}" + nested + b"Ns.", {}))
    assert "no dict of tensors" in message(zipped(b"\x80\x02" + nested + b".", {}))


def test_a_list_that_contains_itself() -> None:
    data = b"\x80\x02}X\x05\x00\x00\x00modelq\x00]q\x01h\x01as."
    assert "no dict of tensors" in message(zipped(data, {}))
    itself = b"\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s."
    assert "no dict of tensors" in message(zipped(itself, {}))


def legacy(*, keys: bytes = b"]X\x01\x00\x00\x000a.", count: int = 6, tail: bytes = b"") -> bytes:
    head = b"".join(
        pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    )
    body = struct.pack("<q", count) + STORAGE["0"]
    return head + rebuild() + b"\x80\x02" + keys + body + tail


def test_the_older_layout_by_hand() -> None:
    np.testing.assert_array_equal(parse_pytorch(legacy())["a"], np.arange(6).reshape(2, 3))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (legacy(count=7), "no valid size"),
        (legacy(count=-1), "no valid size"),
        (legacy(count=1 << 62), "no valid size"),
        (legacy(count=5), "bytes follow"),
        (legacy(tail=b"x"), "1 bytes follow"),
        (legacy(keys=b"]."), "bytes follow"),
        (legacy(keys=b"}."), "list of storages"),
        (legacy(keys=b"]K\x00a."), "list of storages"),
        (legacy(keys=b"](X\x01\x00\x00\x000X\x01\x00\x00\x000e."), "list of storages"),
        (legacy(keys=b"](X\x01\x00\x00\x000X\x01\x00\x00\x001e."), "'1' is missing"),
        (pickle.dumps(7, 2), "begins with neither"),
        (pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(7, 2), "version"),
    ],
)
def test_a_damaged_file_of_the_older_layout(data: bytes, expected: str) -> None:
    assert expected in message(data)


def test_the_checksums_of_a_real_archive_are_those_of_zip() -> None:
    """Guards the comparison in `test_a_wrong_checksum`: torch writes real checksums."""
    with zipfile.ZipFile(io.BytesIO(torch_bytes({"a": WEIGHT}))) as archive:
        for info in archive.infolist():
            assert zlib.crc32(archive.read(info)) == info.CRC
