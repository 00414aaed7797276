"""Reads the state dict of a PyTorch file without executing anything in the file.

Two layouts: a ZIP archive (torch 1.6 and later) with a pickle and a member per storage, and the
older sequence of pickles followed by the storages. Source: torch/serialization.py. Only tensors,
plain values, OrderedDict and names of data types are read; every other global is an error.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from ...errors import GraphError
from . import tensors as t
from ._zip import MAGIC, Archive
from .unpickler import Call, Name, Reference, Unpickler

_BFLOAT16: Final = "BFloat16Storage"
_STORAGES: Final[Mapping[Name, np.dtype[Any]]] = {
    Name("torch", kind): np.dtype(dtype)
    for kind, dtype in {
        "DoubleStorage": "<f8",
        "FloatStorage": "<f4",
        "HalfStorage": "<f2",
        _BFLOAT16: "<u2",
        "LongStorage": "<i8",
        "IntStorage": "<i4",
        "ShortStorage": "<i2",
        "CharStorage": "i1",
        "ByteStorage": "u1",
        "BoolStorage": "?",
    }.items()
}
_ORDERED_DICT: Final = Name("collections", "OrderedDict")
_REBUILD: Final = Name("torch._utils", "_rebuild_tensor_v2")
_SIZE: Final = Name("torch", "Size")
_DTYPE_NAMES: Final = (
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"
)  # fmt: skip
_ALLOWED: Final = frozenset(
    {_ORDERED_DICT, _REBUILD, _SIZE, *_STORAGES, *(Name("torch", name) for name in _DTYPE_NAMES)}
)

_LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION: Final = 1001
#: The beginning of a file of the older layout, in pickle protocols 2 and later.
_LEGACY_START: Final = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"

#: Where training scripts keep the weights, the best first.
_STATE_KEYS: Final = ("params_ema", "params", "state_dict", "model_state_dict", "model")
_DEEPEST: Final = 3


def is_pytorch(data: bytes) -> bool:
    """Return whether a file begins as a PyTorch file."""
    return data.startswith(MAGIC) or _LEGACY_START in data[:32]


def parse_pytorch(data: bytes) -> t.Tensors:
    """Read the weights of a ``.pth`` or ``.pt`` file; the arrays are read-only views of ``data``.

    The weights are those under "params_ema", "params", "state_dict" or "model", if there are any,
    else the whole dict, with "module." removed. Entries that are neither tensors nor numbers become
    empty arrays.

    Raises `GraphError` for a damaged file, and for a global that is not allowed, by name.
    """
    t.check_file_size(len(data))
    root, storage = _zipped(data) if data.startswith(MAGIC) else _legacy(data)
    state = _state_dict(root)
    t.check_count(len(state))
    made: dict[str, t.Array] = {}
    total = 0
    for name, value in state.items():
        if not isinstance(name, str):
            raise GraphError("PyTorch file: the state dict has a key that is no string")
        made[name] = _value(name, value, storage)
        total += made[name].nbytes
        # Tied weights share a storage; no file of a network has more than a second copy of all.
        if total > 2 * len(data):
            raise GraphError("PyTorch file: the tensors are larger than twice the file")
    return t.without_prefix(made)


def _state_dict(root: Any) -> dict[Any, Any]:
    for _ in range(_DEEPEST):
        if not isinstance(root, dict):
            break
        inner = next((root[key] for key in _STATE_KEYS if isinstance(root.get(key), dict)), None)
        if inner is None:
            if any(_is_tensor(value) for value in root.values()):
                return root
            break
        root = inner
    if isinstance(root, dict) and any(_is_tensor(value) for value in root.values()):
        return root
    raise GraphError("PyTorch file: there is no dict of tensors in it")


def _is_tensor(value: object) -> bool:
    return isinstance(value, Call) and value.function == _REBUILD


#: Returns the bytes of a storage for its type and reference.
_Storages = Callable[[Reference], tuple[Name, memoryview]]


def _value(name: str, value: Any, storage: _Storages) -> t.Array:
    if _is_tensor(value):
        return _tensor(name, value.arguments, storage)
    if isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 1 << 62):
        return np.array(value)
    return np.empty(0, np.float32)


def _tensor(name: str, arguments: tuple[Any, ...], storage: _Storages) -> t.Array:
    """Return a view of a storage; the offset, sizes and strides are counted in elements."""
    where = f"PyTorch file: tensor {t.quoted(name)}"
    if len(arguments) < 4 or not isinstance(arguments[0], Reference):
        raise GraphError(f"{where} has no storage")
    offset, shape, strides = arguments[1], _plain_size(arguments[2]), _plain_size(arguments[3])
    if not (
        _whole_numbers((offset,))
        and _whole_numbers(shape)
        and _whole_numbers(strides)
        and len(shape) == len(strides) <= t.MAX_RANK
    ):
        raise GraphError(f"{where} has no valid offset, size and strides")
    kind, contents = storage(arguments[0])
    dtype = _STORAGES[kind]
    count = len(contents) // dtype.itemsize
    size = 1
    for side in shape:
        size *= side
    last = offset + sum((side - 1) * step for side, step in zip(shape, strides, strict=True))
    if size > count or (size and last >= count):
        raise GraphError(
            f"{where} has the size {'x'.join(map(str, shape)) or 1} at element {offset}; "
            f"the storage has {count} elements"
        )
    array: t.Array = np.ndarray(
        tuple(shape),
        dtype,
        contents,
        offset * dtype.itemsize if size else 0,
        tuple(step * dtype.itemsize for step in strides) if size else None,
    )
    return t.widened(array) if kind.name == _BFLOAT16 else array


def _plain_size(value: Any) -> Any:
    """Return the tuple in a torch.Size."""
    if isinstance(value, Call) and value.function == _SIZE and len(value.arguments) == 1:
        return value.arguments[0]
    return value


def _whole_numbers(values: object) -> bool:
    return isinstance(values, tuple) and all(
        type(number) is int and 0 <= number < 1 << 40 for number in values
    )


def _unpickler(data: bytes) -> Unpickler:
    return Unpickler(data, _ALLOWED, frozenset({_ORDERED_DICT}))


def _parts(reference: Reference) -> tuple[Name, str, int]:
    """Return type, key and number of elements of a storage."""
    match reference.key:
        case ("storage", Name() as kind, str() as key, str(), int() as count, *rest) if (
            kind in _STORAGES and 0 <= count < 1 << 40 and all(view is None for view in rest)
        ):
            return kind, key, count
    raise GraphError("PyTorch file: a tensor refers to no valid storage")


def _zipped(data: bytes) -> tuple[Any, _Storages]:
    """Return the pickled object of a ZIP archive, and the access to the storages."""
    archive = Archive(data)
    pickles = [name for name in archive.names if name.count("/") == 1 and name[-9:] == "/data.pkl"]
    if len(pickles) != 1:
        raise GraphError("PyTorch file: the archive has no data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    order = f"{folder}byteorder"
    if order in archive and bytes(archive.read(order)) != b"little":
        raise GraphError("PyTorch file: only little-endian files are supported")
    read: dict[str, memoryview] = {}

    def storage(reference: Reference) -> tuple[Name, memoryview]:
        kind, key, count = _parts(reference)
        member = f"{folder}data/{key}"
        if member not in archive:
            raise GraphError(f"PyTorch file: storage {t.quoted(key)} is missing")
        if member not in read:
            read[member] = archive.read(member)
        return kind, _exactly(key, read[member], count * _STORAGES[kind].itemsize)

    return _unpickler(bytes(archive.read(pickles[0]))).load(), storage


def _exactly(key: str, contents: memoryview, size: int) -> memoryview:
    if len(contents) != size:
        raise GraphError(
            f"PyTorch file: storage {t.quoted(key)} has {len(contents)} bytes instead of {size}"
        )
    return contents


def _legacy(data: bytes) -> tuple[Any, _Storages]:
    """Return the pickled object of the older layout, and the access to the storages."""
    pickles = _unpickler(data)
    if pickles.load() != _LEGACY_MAGIC:
        raise GraphError("PyTorch file: it begins with neither a ZIP archive nor torch's number")
    if pickles.load() != _LEGACY_VERSION:
        raise GraphError("PyTorch file: the version is not supported")
    system = pickles.load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise GraphError("PyTorch file: only little-endian files are supported")
    root = pickles.load()
    keys = pickles.load()
    if not isinstance(keys, list) or len(keys) > t.MAX_TENSORS:
        raise GraphError("PyTorch file: the list of storages is not valid")
    # A storage is a number of elements and the elements; their type is in the references.
    order = {key: index for index, key in enumerate(keys) if isinstance(key, str)}
    if len(order) != len(keys):
        raise GraphError("PyTorch file: the list of storages is not valid")
    kinds = _storage_kinds(root, set(order))
    at = pickles.at
    found: dict[str, tuple[Name, memoryview]] = {}
    for key in keys:
        if at + 8 > len(data) or key not in kinds:
            raise GraphError(f"PyTorch file: storage {t.quoted(key)} is missing")
        (count,) = struct.unpack_from("<q", data, at)
        size = count * _STORAGES[kinds[key]].itemsize
        if not 0 <= size <= len(data) - at - 8:
            raise GraphError(f"PyTorch file: storage {t.quoted(key)} has no valid size")
        found[key] = kinds[key], memoryview(data)[at + 8 : at + 8 + size]
        at += 8 + size
    if at != len(data):
        raise GraphError(f"PyTorch file: {len(data) - at} bytes follow the last storage")

    def storage(reference: Reference) -> tuple[Name, memoryview]:
        kind, key, count = _parts(reference)
        if key not in found or found[key][0] != kind:
            raise GraphError(f"PyTorch file: storage {t.quoted(key)} is missing")
        return kind, _exactly(key, found[key][1], count * _STORAGES[kind].itemsize)

    return root, storage


def _storage_kinds(root: Any, keys: set[str]) -> dict[str, Name]:
    """Return the types of all storages that an object refers to."""
    kinds: dict[str, Name] = {}
    seen: set[int] = set()
    waiting = [root]
    while waiting and len(kinds) < len(keys):
        value = waiting.pop()
        if id(value) in seen:
            continue
        if isinstance(value, Reference):
            kind, key, _ = _parts(value)
            kinds[key] = kind
        elif isinstance(value, dict):
            seen.add(id(value))
            waiting += value.values()
        elif isinstance(value, list | tuple):
            seen.add(id(value))
            waiting += value
        elif isinstance(value, Call):
            seen.add(id(value))
            waiting += value.arguments
    return kinds
