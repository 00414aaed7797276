"""Records behave as frozen dataclasses with slots do."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace
from typing import Any

import pytest

from waifu2x._record import record


@record
class Place:
    """A point with a name."""

    x: int
    y: int = 2
    names: list[str] = field(default_factory=list, compare=False)
    secret: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x is below 0")


@record
class Far(Place):
    z: int = 3


@record(kw_only=True)
class Named:
    first: int = field(default=1, kw_only=False)
    second: int = 2


@record(eq=False)
class Same:
    x: int = 0


@record
class Empty:
    """No fields."""


@record
class Own:
    x: int

    def __repr__(self) -> str:
        return "mine"

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 7


@dataclass(frozen=True, slots=True)
class Plain:
    x: int
    y: int = 2


def test_values() -> None:
    one = Place(1, names=["a"])
    assert (one.x, one.y, one.names, one.secret) == (1, 2, ["a"], "")
    assert Place(1).names is not Place(1).names
    assert asdict(one) == {"x": 1, "y": 2, "names": ["a"], "secret": ""}
    assert replace(one, y=5) == Place(1, 5)
    assert [each.name for each in fields(Far)] == ["x", "y", "names", "secret", "z"]
    assert Far(1, z=9).z == 9
    with pytest.raises(ValueError, match="below 0"):
        Far(-1)
    assert not hasattr(one, "__dict__")


def test_comparison() -> None:
    assert Place(1, names=["a"]) == Place(1)
    assert hash(Place(1, names=["a"])) == hash(Place(1))
    assert Place(1) != Place(2)
    assert Place(1) != Far(1)
    assert Place(1) != (1, 2, [], "")
    assert Empty() == Empty()
    assert Same() != Same()
    assert {Same(), Same()}
    assert (repr(Own(1)), Own(1) == Own(2), hash(Own(1))) == ("mine", True, 7)


def test_text() -> None:
    assert repr(Far(1, names=["a"], secret="s")) == "Far(x=1, y=2, names=['a'], z=3)"
    assert repr(Empty()) == "Empty()"


@pytest.mark.parametrize("name", ["x", "other"])
def test_records_are_frozen(name: str) -> None:
    with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
        setattr(Place(1), name, 2)
    with pytest.raises(FrozenInstanceError, match=f"cannot delete field '{name}'"):
        delattr(Place(1), name)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies(copied: Callable[[Any], Any]) -> None:
    one = Far(1, names=["a"], secret="s", z=8)
    made = copied(one)
    assert (made, made.names, type(made)) == (one, ["a"], Far)


def test_signature() -> None:
    assert str(inspect.signature(Plain)) == "(x: 'int', y: 'int' = 2) -> None"
    assert str(inspect.signature(Same)) == "(x: 'int' = 0) -> None"
    assert str(inspect.signature(Named)) == "(first: 'int' = 1, *, second: 'int' = 2) -> None"
    with pytest.raises(TypeError, match=r"Named.__init__\(\) takes from 1 to 2 positional"):
        Named(1, 2)  # type: ignore[misc]
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'w'"):
        Place(1, w=2)  # type: ignore[call-arg]


def test_patterns() -> None:
    match Place(1, 5):
        case Place(1, y):
            assert y == 5
        case _:
            pytest.fail("no match")
