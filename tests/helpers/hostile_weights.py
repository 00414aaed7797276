"""Weights files made to crash, hang, fill the memory or run code, and a child to read them.

``python hostile_weights.py FOLDER FUNCTION`` reads the files that FOLDER/list.json lists, with
`read_file` or `read_model`. A JSON line for each has its name, the outcome, the seconds and the
peak memory of the process so far.
"""

from __future__ import annotations

import builtins
import faulthandler
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from waifu2x.engines.model_file import read_model
from waifu2x.errors import EngineError, GraphError, WeightsError
from waifu2x.network.readers.file import read_file

#: Files that code in a weights file would make, in the working folder.
CANARY = "canary"

#: Timeout of a file in seconds; a slower one ends the process with a traceback.
SECONDS = 20

#: Memory that the files may take together with Python and NumPy, in MiB.
MEBIBYTES = 512


# --- PyTorch --------------------------------------------------------------------------------------


class Calls:
    """A value that calls ``function`` when pickle reads it."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def zipped(pickled: bytes, *more: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of members with one name
        for name, data in (("data.pkl", pickled), ("byteorder", b"little"), *more):
            archive.writestr(f"archive/{name}", data)
    return file.getvalue()


def legacy(pickled: bytes) -> bytes:
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True, "protocol_version": 1001})
    return b"".join(pickle.dumps(part, 2) for part in head) + pickled + pickle.dumps([], 2)


def pickles() -> Iterator[tuple[str, bytes]]:
    touch = f"touch {CANARY}"
    write = f"open({CANARY!r}, 'w')"
    calls = {
        "system": Calls(os.system, touch),
        "eval": Calls(builtins.eval, write),
        "exec": Calls(builtins.exec, write),
        "popen": Calls(subprocess.Popen, ["touch", CANARY]),
        "open": Calls(builtins.open, CANARY, "w"),
        "import": Calls(builtins.__import__, "antigravity"),
        "getattr": Calls(builtins.getattr, "", "format"),
    }
    for name, call in calls.items():
        for protocol in (0, 2, 4, 5):
            yield f"{name}-{protocol}", pickle.dumps({"params": {"a": call}}, protocol)
    yield "inst", b"(S'" + touch.encode() + b"'\nios\nsystem\n."
    yield "inst-binary", b"\x80\x02(U\x0c" + touch.encode() + b"ios\nsystem\n."
    yield "obj", b"\x80\x02(cos\nsystem\nU\x0c" + touch.encode() + b"o."
    yield "newobj", b"\x80\x02cos\nsystem\nU\x0c" + touch.encode() + b"\x85\x81."
    yield "stack-global", b"\x80\x04\x8c\x02os\x8c\x06system\x93U\x0c" + touch.encode() + b"\x85R."
    yield "dotted", b"\x80\x04\x8c\x05torch\x8c\x0f_utils.os.system\x93)R."
    yield "load", b"\x80\x02ctorch\nload\nU\x01x\x85R."
    yield "build", b"\x80\x02ccollections\nOrderedDict\n)R}U\x09__class__cos\nsystem\nsb."
    yield "extension", b"\x80\x02\x82\x01)R."
    yield "persistent", b"\x80\x02cos\nsystem\nQ."
    shared = b")q\x00" + b"0h\x00h\x00\x86q\x00" * 5000
    yield "shared-tuples", b"\x80\x02" + shared + b"."
    yield "shared-key", b"\x80\x02}" + shared + b"Ns."
    lists = b"]q\x00" + b"0](h\x00h\x00h\x00h\x00eq\x00" * 5000
    yield "shared-lists", b"\x80\x02}U\x06params" + lists + b"s."
    yield "cycle", b"\x80\x02}q\x00U\x06paramsh\x00s."
    yield "deep", b"\x80\x02" + b"(" * 200_000
    yield "nested", b"\x80\x02)" + b"\x85" * 400_000 + b"."
    yield "many", b"\x80\x02(" + b"}" * 400_000
    yield "memo", b"\x80\x02}" + b"".join(b"r" + struct.pack("<I", i) for i in range(400_000))
    yield "integer", b"\x80\x02\x8b\xff\xff\xff\x7f" + b"1" * 1000
    yield "string", b"\x80\x02X\xff\xff\xff\x7f" + b"1" * 1000
    yield "long-string", b"\x80\x02X\x00\x00\x00\x03" + b"\xf0\x9f\x98\x80" * (3 << 22)
    yield "frame", b"\x80\x04\x95" + b"\xff" * 8 + b"."


def tensor(size: tuple[int, ...], strides: tuple[int, ...], count: int) -> bytes:
    """Return the pickle of a dict with a tensor on the storage "0"."""

    def number(value: int) -> bytes:
        return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpu" + number(count) + b"tQ"
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(0) + numbers(size)
    return b"\x80\x02}U\x0dbody.0.weight" + call + numbers(strides) + b"\x89}tRs."


def pytorch_files() -> Iterator[tuple[str, bytes]]:
    for name, pickled in pickles():
        yield f"zip-{name}.pth", zipped(pickled)
        yield f"legacy-{name}.pth", legacy(pickled)
    zeros = ("data/0", bytes(24))
    huge = 1 << 39
    yield "expanded.pth", zipped(tensor((huge, huge), (0, 0), 6), zeros)
    yield "absurd-shape.pth", zipped(tensor((huge,) * 8, (1,) * 8, 6), zeros)
    yield "absurd-storage.pth", zipped(tensor((2, 3), (3, 1), huge), zeros)
    yield "negative.pth", zipped(tensor((2, 3), (-3, 1), 6), zeros)
    yield "zip-bomb.pth", zipped(bytes(1 << 26), method=zipfile.ZIP_DEFLATED)
    yield "two-members.pth", zipped(tensor((6,), (1,), 6), zeros, zeros)
    yield "many-members.pth", zipped(b"N.", *((f"data/{i}", b"") for i in range(60_000)))
    good = zipped(tensor((2, 3), (3, 1), 6), zeros)
    yield "truncated.pth", good[: len(good) // 2]
    yield "no-directory.pth", good[:-22]
    yield "lying-directory.pth", good[:-12] + struct.pack("<2LH", 0xFFFFFFF0, 0xFFFFFFF0, 0)
    yield "lying-size.pth", good.replace(struct.pack("<2L", 24, 24), struct.pack("<2L", 9, 1 << 31))
    yield "traversal.pth", good.replace(b"archive/data/0", b"../../../data0")


# --- safetensors ----------------------------------------------------------------------------------


def safetensors_files() -> Iterator[tuple[str, bytes]]:
    def file(header: bytes, body: bytes = b"") -> bytes:
        return struct.pack("<Q", len(header)) + header + body

    def entry(shape: list[int], begin: int, end: int) -> dict[str, Any]:
        return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}

    def dumped(header: dict[str, Any], body: int) -> bytes:
        return file(json.dumps(header).encode(), bytes(body))

    yield "overlap", dumped({"a": entry([4], 0, 16), "b": entry([4], 8, 24)}, 24)
    yield "same", dumped({str(i): entry([4], 0, 16) for i in range(1000)}, 16)
    yield "hole", dumped({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, 12)
    yield "outside", dumped({"a": entry([1 << 28], 0, 1 << 30)}, 16)
    yield "absurd", dumped({"a": entry([1 << 40] * 8, 0, 16)}, 16)
    yield "negative", dumped({"a": entry([-4], 16, 0)}, 16)
    yield "many", dumped({str(i): entry([0], 0, 0) for i in range(70_000)}, 0)
    yield "oversized", struct.pack("<Q", (1 << 64) - 1) + b"{}"
    yield "oversized-2", struct.pack("<Q", 1 << 27) + b"{" + b" " * 1000
    yield "twice", file(b'{"a":1,"a":2}')
    yield "deep", file(b'{"a":' + b"[" * 1_000_000)
    yield "wide", file(b'{"a":[' + b"[]," * 690_000 + b"1]}")
    yield "objects", file(b'{"a":[' + b"{}," * 690_000 + b"1]}")
    yield "digits", file(b'{"a":' + b"9" * 2_000_000 + b"}")
    yield "names", file(b'{"' + b"n" * 2_000_000 + b'":1}')
    yield "binary", file(b"{" + bytes(range(256)) * 100)


# --- ONNX -----------------------------------------------------------------------------------------


def field(number: int, data: bytes | int) -> bytes:
    """Return a field of a protobuf message."""

    def varint(value: int) -> bytes:
        made = bytearray()
        while value > 0x7F:
            made.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*made, value])

    if isinstance(data, int):
        return varint(number << 3) + varint(data)
    return varint(number << 3 | 2) + varint(len(data)) + data


def operator(kind: str, *inputs: str, output: str = "y", attributes: bytes = b"") -> bytes:
    names = b"".join(field(1, name.encode()) for name in inputs)
    return field(1, names + field(2, output.encode()) + field(4, kind.encode()) + attributes)


def weight(shape: tuple[int, ...], data: bytes, more: bytes = b"") -> bytes:
    dims = b"".join(field(1, side) for side in shape)
    return field(5, dims + field(2, 1) + field(8, b"w") + more + (field(9, data) if data else b""))


def onnx_model(*parts: bytes, channels: int = 3) -> bytes:
    """Return a model of pictures of any size."""
    sides = b"".join(
        field(1, field(1, side) if side else field(2, b"n")) for side in (1, channels, 0, 0)
    )
    kind = field(1, field(1, 1) + field(2, sides))
    graph = b"".join(parts) + field(11, field(1, b"x") + field(2, kind)) + field(12, field(1, b"y"))
    return field(1, 8) + field(7, graph) + field(8, field(2, 17))


def onnx_files() -> Iterator[tuple[str, bytes]]:
    def external(location: str) -> bytes:
        entry = field(13, field(1, b"location") + field(2, location.encode()))
        return onnx_model(
            weight((3, 3, 1, 1), b"", entry + field(14, 1)), operator("Conv", "x", "w")
        )

    for index, location in enumerate(
        ("/etc/passwd", "../outside.bin", "sub/../../outside.bin", "link.bin", "C:\\x", "/dev/zero")
    ):
        yield f"external-{index}", external(location)
    huge = (1 << 39,) * 8
    yield "absurd", onnx_model(weight(huge, bytes(36)), operator("Conv", "x", "w"))
    yield "lying", onnx_model(weight((3, 3, 3, 3), bytes(36)), operator("Conv", "x", "w"))
    yield "empty-nodes", onnx_model(field(1, b"") * 600_000)
    yield "cycle", onnx_model(operator("Relu", "b", output="a"), operator("Relu", "a", output="b"))
    yield "itself", onnx_model(operator("Relu", "y"))
    yield "twice", onnx_model(operator("Relu", "x"), operator("Relu", "x"))
    chain = [operator("Relu", f"v{i}" if i else "x", output=f"v{i + 1}") for i in range(9990)]
    yield "long", onnx_model(*chain)
    yield "longer", onnx_model(*chain, *chain)
    block = field(5, field(1, b"blocksize") + field(3, 16))
    ups = [
        operator("SpaceToDepth", f"v{i}" if i else "x", output=f"v{i + 1}", attributes=block)
        for i in range(2000)
    ]
    yield "unshuffles", onnx_model(*ups)
    same = [operator("SpaceToDepth", "x", output=f"v{i}", attributes=block) for i in range(2000)]
    yield "permutations", onnx_model(*same)
    doubled = [
        operator("Concat", *[f"v{i}" if i else "x"] * 2, output=f"v{i + 1}") for i in range(2000)
    ]
    yield "doubling", onnx_model(*doubled, operator("Identity", "v2000"))
    resize = operator("Resize", "x", "", "s", output="y")
    scale = field(
        5, field(1, 4) + field(2, 1) + field(8, b"s") + field(9, struct.pack("<4f", 1, 1, 16, 16))
    )
    ups = [
        operator("Resize", f"v{i}" if i else "x", "", "s", output=f"v{i + 1}") for i in range(9000)
    ]
    yield "enlarging", onnx_model(scale, *ups, operator("Identity", "v9000"))
    yield "enlarging-by-nan", onnx_model(scale.replace(struct.pack("<f", 16), b"\xff" * 4), resize)
    shared = weight((1000, 1000, 1, 1), bytes(4_000_000))
    convs = [operator("Conv", "x", "w", output=f"v{i}") for i in range(20_000)]
    yield "shared-weights", onnx_model(shared, *convs, channels=1000)
    shape = field(
        5, field(1, 1) + field(2, 7) + field(8, b"s") + field(9, struct.pack("<q", 1 << 50))
    )
    yield "filled", onnx_model(shape, operator("ConstantOfShape", "s"))
    yield from onnx_files_for_onnxruntime()
    nested = b""
    for _ in range(10_000):
        nested = field(5, field(1, b"body") + field(6, field(1, nested)))
    yield "nested", onnx_model(operator("If", "x", attributes=nested))
    yield "varint", b"\x08" + b"\xff" * 1_000_000
    yield "fields", b"\x08\x00" * 4_000_000
    yield "length", b"\x3a" + b"\xff" * 8 + b"\x7f"
    yield "truncated", onnx_model(shared, operator("Conv", "x", "w"), channels=1000)[:-3_000_000]


def onnx_files_for_onnxruntime() -> Iterator[tuple[str, bytes]]:
    """Yield valid models with operators that the graph does not have."""

    def integers(*values: int) -> bytes:
        dims = field(1, len(values)) if len(values) > 1 else b""
        data = struct.pack(f"<{len(values)}q", *values)
        return field(5, dims + field(2, 7) + field(8, b"s") + field(9, data))

    def added(kind: str, *inputs: str, attributes: bytes = b"") -> tuple[bytes, ...]:
        most = operator("ReduceMax", "a", output="b", attributes=integer("keepdims", 0))
        made = operator(kind, *inputs, output="a", attributes=attributes)
        return made, most, operator("Add", "x", "b")

    def integer(name: str, *values: int) -> bytes:
        number, kind = (3, 2) if name == "keepdims" else (8, 7)
        numbers = b"".join(field(number, value) for value in values)
        return field(5, field(1, name.encode()) + numbers + field(20, kind))

    sin = operator("Sin", "v")
    shape = field(
        5, field(1, 1) + field(2, 7) + field(8, b"s") + field(9, struct.pack("<q", 1 << 33))
    )
    yield "constant", onnx_model(shape, *added("ConstantOfShape", "s"))
    yield "random", onnx_model(*added("RandomNormal", attributes=integer("shape", 1 << 33)))
    large = integers(1 << 24, 3, 1, 1)
    yield "expanding", onnx_model(large, operator("Expand", "x", "s", output="v"), sin)
    yield "tiling", onnx_model(large, operator("Tile", "x", "s", output="v"), sin)
    pads = integers(0, 0, 1 << 16, 1 << 16, 0, 0, 1 << 16, 1 << 16)
    yield "padding", onnx_model(pads, operator("Pad", "x", "s", output="v"), sin)
    body = field(1, operator("Sin", "x", output="b")[2:])
    loop = field(5, field(1, b"body") + field(6, body) + field(20, 5))
    yield "loop", onnx_model(integers(1 << 60), operator("Loop", "s", "", attributes=loop))
    sins = [operator("Sin", f"v{i}" if i else "x", output=f"v{i + 1}") for i in range(30_000)]
    yield "many-operators", onnx_model(*sins, operator("Sin", "v30000"))


# --- the older formats, ncnn ----------------------------------------------------------------------


def json_files() -> Iterator[tuple[str, bytes]]:
    yield "deep", b"[" * 500_000
    yield "wide", b"[" + b"[]," * 500_000 + b"1]"
    yield "numbers", b"[" + b"1.5," * 3_000_000 + b"1]"
    yield "digits", b"[" + b"9" * 12_000_000 + b"]"
    yield "strings", b"[" + b'"ab",' * 3_000_000 + b"1]"
    yield "exponent", b'[{"class_name":"nn.SpatialConvolutionMM","kW":1e999}, 1]'
    layer = {"class_name": "nn.SpatialConvolutionMM", "kW": 3, "kH": 3, "dW": 1, "dH": 1}
    layer |= {"padW": 0, "padH": 0, "nInputPlane": 1 << 40, "nOutputPlane": 1 << 40}
    yield "absurd", json.dumps([layer | {"weight": [], "bias": []}] * 2).encode()


def npz_files() -> Iterator[tuple[str, bytes]]:
    def npy(text: str, body: bytes = b"") -> bytes:
        return (
            b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n" + body
        )

    def npz(data: bytes, method: int = zipfile.ZIP_DEFLATED, copies: int = 1) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(copies):
                archive.writestr("conv1/W.npy", data)
        return file.getvalue()

    evil = pickle.dumps([Calls(os.system, f"touch {CANARY}")])
    header = "{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}"
    yield "objects", npz(npy(header.format("|O", "1,"), evil))
    yield "code", npz(npy(f"__import__('os').system('touch {CANARY}')"))
    yield "absurd", npz(npy(header.format("<f4", "999999999, " * 8)))
    yield "bomb", npz(bytes(1 << 26))
    yield "nested-bomb", npz(npz(bytes(1 << 26)))
    yield "twice", npz(npy(header.format("<f4", "0,")), copies=2)
    good = bytearray(
        npz(npy(header.format("<f4", "1000000,"), bytes(4_000_000)), zipfile.ZIP_STORED)
    )
    yield "truncated", bytes(good[:2_000_000])


def ncnn_files() -> Iterator[tuple[str, bytes]]:
    def param(*lines: str, counts: tuple[int, int] | None = None) -> bytes:
        lines = ("Input data 0 1 data 2=3", *lines)
        found = counts or (len(lines), sum(int(line.split()[3]) for line in lines))
        return "\n".join(["7767517", f"{found[0]} {found[1]}", *lines, ""]).encode()

    yield "counts", param(counts=(1 << 60, 1 << 60))
    yield "absurd", param("Convolution c 1 1 data y 0=1000000000 1=3 6=27000000000")
    yield "exponent", param("Convolution c 1 1 data y 0=1e30 1=1e30 6=1e300")
    yield "cycle", param("ReLU a 1 1 y x", "ReLU b 1 1 x y")
    yield "twice", param("ReLU a 1 1 data y", "ReLU b 1 1 data y")
    names = ["data", *(f"v{i}" for i in range(20_000))]
    pairs = list(pairwise(names))
    doubling = [f"Concat {made} 2 1 {read} {read} {made}" for read, made in pairs[:2000]]
    yield "doubling", param(*doubling)
    for factor, count in ((1e9, 5000), (4, 12_000)):
        ups = [f"Interp {made} 1 1 {read} {made} 0=1 1={factor} 2={factor}" for read, made in pairs]
        yield f"enlarging-by-{factor:g}", param(*ups[:count])
    yield "digits", param("ReLU a 1 1 data y 0=" + "9" * 500_000)
    yield "name", param("Nothing " + "n" * 500_000 + " 1 1 data y")
    yield "array", param("Crop a 2 1 data data y -23309=" + ",".join(["9"] * 300_000))
    yield "large", param(*[f"ReLU r{i} 1 1 data v{i}" for i in range(100_000)])
    yield "binary", b"7767517\n\xff\xfe"


def corpus() -> Iterator[tuple[str, bytes]]:
    """Return file name and contents of every case."""
    for suffix, files in (
        ("", pytorch_files()),
        (".safetensors", safetensors_files()),
        (".onnx", onnx_files()),
        (".json", json_files()),
        (".npz", npz_files()),
        (".param", ncnn_files()),
    ):
        for name, data in files:
            yield name + suffix, data
    yield "empty.pth", b""
    yield "text.txt", b"hello"
    yield "picture.png", b"\x89PNG\r\n\x1a\n"


def write(folder: Path) -> list[Path]:
    """Write the corpus; ncnn files get weights without bytes."""
    paths = []
    for name, data in corpus():
        path = folder / name
        path.write_bytes(data)
        if path.suffix == ".param":
            path.with_suffix(".bin").write_bytes(b"")
        paths.append(path)
    (folder / "link.bin").symlink_to(folder.parent / "outside.bin")
    (folder / "sub").mkdir()
    (folder.parent / "outside.bin").write_bytes(bytes(36))
    return paths


def peak_mebibytes() -> int:
    """Return the peak memory of this process (Linux). ru_maxrss has that of the parent as well."""
    (line,) = (
        line
        for line in Path("/proc/self/status").read_text("ascii").splitlines()
        if line.startswith("VmHWM:")
    )
    return int(line.split()[1]) >> 10


def main(folder: Path, function: str) -> None:
    """Read every file of the corpus, in a process that writes nothing else to stdout."""
    most = MEBIBYTES << 20
    read = {"read_file": read_file, "read_model": read_model}[function]
    sys.modules["spandrel"] = None  # type: ignore[assignment]  # as if it were not installed
    for path in json.loads((folder / "list.json").read_text()):
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        start = time.perf_counter()
        try:
            outcome = f"read: {len(read(path).nodes)} nodes"
        except (EngineError, GraphError, WeightsError) as error:
            outcome = str(error)
        seconds = time.perf_counter() - start
        faulthandler.cancel_dump_traceback_later()
        peak = peak_mebibytes()
        name = Path(path).name
        print(json.dumps({"name": name, "outcome": outcome, "seconds": seconds, "peak": peak}))
        if peak << 20 > most:
            sys.exit(f"{name} took the process to {peak} MiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
