"""A pickle machine that builds plain values and executes nothing.

Opcodes: https://github.com/python/cpython/blob/main/Lib/pickletools.py. Names of Python objects
(globals) stay names: calling one records the call as a `Call`, and only calls of an allow-list are
recorded. Any other global, opcode or call raises `GraphError`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from ..._record import record
from ..._text import AGAIN
from ...errors import GraphError
from .tensors import quoted

#: RRDB with 23 blocks takes 28,000 opcodes.
MAX_OPCODES: Final = 200_000
#: Deepest stack: values that wait for the opcode that consumes them.
MAX_STACK: Final = 50_000
MAX_MEMO: Final = 200_000
#: Most bytes of the pickles of a file, storages left out.
MAX_BYTES: Final = 1 << 24

_LONGEST_INTEGER: Final = 32


@record
class Name:
    """A global of the allow-list, such as ``torch.FloatStorage``."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@record(eq=False)
class Call:
    """A recorded call of a global; it is not executed."""

    function: Name
    arguments: tuple[Any, ...]


@record(eq=False)
class Reference:
    """A persistent id: in PyTorch files, a reference to a storage."""

    key: Any


class _Mark:
    pass


_MARK: Final = _Mark()


class Unpickler:
    """Reads one pickle of ``data`` at a time.

    allowed: the globals that may appear.
    empty_dicts: the globals whose calls without arguments make a dict.
    """

    def __init__(self, data: bytes, allowed: frozenset[Name], empty_dicts: frozenset[Name]) -> None:
        self._data = data
        self._allowed = allowed
        self._empty_dicts = empty_dicts
        self._opcodes = 0
        self._bytes = 0
        #: Offset of the next unread byte.
        self.at = 0

    def load(self) -> Any:
        """Read the next pickle; `at` is then the offset after it."""
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        while True:
            self._opcodes += 1
            if self._opcodes > MAX_OPCODES:
                raise _error(f"more than {MAX_OPCODES} opcodes")
            code = self._take(1)[0]
            if code == _STOP:
                result = self._pop()
                if self._stack:
                    raise _error("the stack is not empty at the end")
                return result
            step = _OPCODES.get(code)
            if step is None:
                raise _error(f"opcode 0x{code:02X} at byte {self.at - 1} is not supported")
            step(self)
            if len(self._stack) > MAX_STACK or len(self._memo) > MAX_MEMO:
                raise _error("too many values at once")

    # --- bytes --------------------------------------------------------------------------------

    def _take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self._data):
            raise _error("the data ends early")
        self._bytes += count
        if self._bytes > MAX_BYTES:
            raise _error(f"more than {MAX_BYTES} bytes")
        taken = self._data[self.at : end]
        self.at = end
        return taken

    def _number(self, layout: str) -> Any:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

    def _text(self, count: int, encoding: str = "utf-8") -> str:
        try:
            return self._take(count).decode(encoding)
        except UnicodeDecodeError:
            raise _error("a string is not UTF-8") from None

    def _line(self) -> str:
        end = self._data.find(b"\n", self.at, self.at + 1024)
        if end < 0:
            raise _error("a name without an end")
        text = self._text(end - self.at)
        self.at = end + 1
        return text

    # --- stack --------------------------------------------------------------------------------

    def _pop(self) -> Any:
        if not self._stack or self._stack[-1] is _MARK:
            raise _error("an opcode finds no value on the stack")
        return self._stack.pop()

    def _pops(self, count: int) -> list[Any]:
        return [self._pop() for _ in range(count)][::-1]

    def _marked(self) -> list[Any]:
        """Pop the values down to the last mark, and the mark."""
        for index in range(len(self._stack) - 1, -1, -1):
            if self._stack[index] is _MARK:
                values = self._stack[index + 1 :]
                del self._stack[index:]
                return values
        raise _error("an opcode finds no mark on the stack")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    # --- opcodes ------------------------------------------------------------------------------

    def _integer(self, count: int) -> None:
        if not 0 <= count <= _LONGEST_INTEGER:
            raise _error(f"an integer of {count} bytes")
        self._push(int.from_bytes(self._take(count), "little", signed=True))

    def _put(self, index: int) -> None:
        value = self._pop()
        self._memo[index] = value
        self._push(value)

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise _error(f"memo {index} is empty")
        self._push(self._memo[index])

    def _global(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise _error("the name of a global is not a string")
        found = Name(module, name)
        if found not in self._allowed:
            raise GraphError(
                f"the pickle names the global {quoted(str(found))}, which is not allowed; "
                "nothing was executed"
            )
        self._push(found)

    def _stack_global(self) -> None:
        self._global(*self._pops(2))

    def _instance(self) -> None:
        name = self._line(), self._line()
        self._global(*name)
        raise _error(f"an instance of {'.'.join(name)}")

    def _reduce(self) -> None:
        function, arguments = self._pops(2)
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise _error("a call of something that is no global")
        if function in self._empty_dicts and not arguments:
            self._push({})
        else:
            self._push(Call(function, arguments))

    def _build(self) -> None:
        # Attributes, such as the versions in OrderedDict._metadata, are dropped.
        target, state = self._pops(2)
        if not isinstance(target, dict) or not isinstance(state, dict):
            raise _error("attributes of something that is no dict")
        self._push(target)

    def _extend(self, values: list[Any]) -> None:
        target = self._pop()
        if not isinstance(target, list):
            raise _error("an append to something that is no list")
        target.extend(values)
        self._push(target)

    def _fill(self, items: list[Any]) -> None:
        target = self._pop()
        if not isinstance(target, dict):
            raise _error("an item of something that is no dict")
        self._push(self._with_items(target, items))

    @staticmethod
    def _with_items(target: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
        if len(items) % 2:
            raise _error("a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # No tuples: hashing nested ones that share their parts takes exponential time.
            if not isinstance(key, str | int | float | None):
                raise _error("a key that is neither a string nor a number")
            if key in target:
                raise _error(f"the key {quoted(str(key))} twice")
            target[key] = value
        return target


def _error(what: str) -> GraphError:
    return GraphError(f"the pickle is damaged: {what}{AGAIN}")


_STOP: Final = ord(".")

_OPCODES: Final[Mapping[int, Callable[[Unpickler], object]]] = {
    0x80: lambda p: p._take(1),  # PROTO
    0x95: lambda p: p._take(8),  # FRAME: a hint for buffering
    ord("("): lambda p: p._push(_MARK),
    ord("0"): lambda p: p._pop(),
    ord("1"): lambda p: p._marked(),
    ord("N"): lambda p: p._push(None),
    0x88: lambda p: p._push(True),
    0x89: lambda p: p._push(False),
    ord("J"): lambda p: p._push(p._number("<i")),
    ord("K"): lambda p: p._push(p._number("<B")),
    ord("M"): lambda p: p._push(p._number("<H")),
    0x8A: lambda p: p._integer(p._number("<B")),  # LONG1
    0x8B: lambda p: p._integer(p._number("<i")),  # LONG4
    ord("G"): lambda p: p._push(p._number(">d")),
    # Strings of Python 2; bytes, too, are read as text.
    ord("T"): lambda p: p._push(p._text(p._number("<I"), "latin-1")),
    ord("U"): lambda p: p._push(p._text(p._number("<B"), "latin-1")),
    ord("B"): lambda p: p._push(p._text(p._number("<I"), "latin-1")),
    ord("C"): lambda p: p._push(p._text(p._number("<B"), "latin-1")),
    ord("X"): lambda p: p._push(p._text(p._number("<I"))),
    0x8C: lambda p: p._push(p._text(p._number("<B"))),  # SHORT_BINUNICODE
    0x8D: lambda p: p._push(p._text(p._number("<Q"))),  # BINUNICODE8
    ord("]"): lambda p: p._push([]),
    ord("l"): lambda p: p._push(p._marked()),
    ord("a"): lambda p: p._extend([p._pop()]),
    ord("e"): lambda p: p._extend(p._marked()),
    ord(")"): lambda p: p._push(()),
    ord("t"): lambda p: p._push(tuple(p._marked())),
    0x85: lambda p: p._push(tuple(p._pops(1))),
    0x86: lambda p: p._push(tuple(p._pops(2))),
    0x87: lambda p: p._push(tuple(p._pops(3))),
    ord("}"): lambda p: p._push({}),
    ord("d"): lambda p: p._push(p._with_items({}, p._marked())),
    ord("s"): lambda p: p._fill(p._pops(2)),
    ord("u"): lambda p: p._fill(p._marked()),
    ord("c"): lambda p: p._global(p._line(), p._line()),
    0x93: lambda p: p._stack_global(),
    ord("i"): lambda p: p._instance(),
    ord("R"): lambda p: p._reduce(),
    ord("b"): lambda p: p._build(),
    ord("Q"): lambda p: p._push(Reference(p._pop())),
    ord("q"): lambda p: p._put(p._number("<B")),
    ord("r"): lambda p: p._put(p._number("<I")),
    0x94: lambda p: p._put(len(p._memo)),  # MEMOIZE
    ord("h"): lambda p: p._get(p._number("<B")),
    ord("j"): lambda p: p._get(p._number("<I")),
}
