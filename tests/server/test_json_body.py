"""JSON whose long strings stay on disk."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waifu2x.server import json_body
from waifu2x.server.json_body import JsonBody
from waifu2x.server.problems import Problem


def parsed(folder: Path, data: bytes) -> JsonBody:
    path = folder / "body"
    path.write_bytes(data)
    return JsonBody(path)


def whole(body: JsonBody, value: Any) -> Any:
    """``value`` with all strings from the file."""
    if isinstance(value, str):
        return "".join(body.pieces(value))
    if isinstance(value, list):
        return [whole(body, each) for each in value]
    if isinstance(value, dict):
        return {key: whole(body, each) for key, each in value.items()}
    return value


TEXTS = st.text(st.sampled_from('ab"\\/\n\x7f\u00e9\u20ac\U0001f600'), max_size=60)


@pytest.mark.parametrize("piece", [40, 41, 64])
@pytest.mark.parametrize("ascii", [False, True])
def test_every_string_comes_back(
    piece: int, ascii: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_body, "_PIECE", piece)
    monkeypatch.setattr(json_body, "_LONG", 8)

    @given(st.lists(TEXTS))
    def check(texts: list[str]) -> None:
        value = {"a": texts, "n": [1, None, True, {"b": "x"}]}
        body = parsed(tmp_path, json.dumps(value, ensure_ascii=ascii).encode())
        found = json.dumps(whole(body, body.value))
        # A pair of surrogates may be divided.
        assert json.loads(found) == value

    check()


@pytest.mark.parametrize("length", [0, 1, 1023, 1024, 1025, 65535, 65536, 200_000])
def test_pictures_stay_in_the_file(length: int, tmp_path: Path) -> None:
    text = "A/+9" * (length // 4) + "B" * (length % 4)
    data = json.dumps({"image": text, "other": 1}).replace("/", "\\/").encode()
    body = parsed(tmp_path, data)
    assert whole(body, body.value) == {"image": text, "other": 1}
    assert len(json.dumps(body.value)) < 3000


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b'{"a": "b}', b'{"a": 1}\\', b"[" * 100_000, b'{"a\\', b'"' + b"x" * 9000, b"\xff"],
)
def test_what_is_no_json(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(Problem, match="not JSON"):
        parsed(tmp_path, data)


@pytest.mark.parametrize(
    ("begin", "unit"),
    [(b"[", b"[],"), (b"[", b'"",'), (b"{", b'"a":0,'), (b"[", b'"' + b"x" * 1030 + b'",')],
)
def test_much_around_the_pictures_is_refused_in_little_memory(
    begin: bytes, unit: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "body"
    path.write_bytes(begin + unit * (20_000_000 // len(unit)))
    tracemalloc.start()
    with pytest.raises(Problem, match="around the pictures is too long") as found:
        JsonBody(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.value.status == 413
    assert peak < 8_000_000


def test_a_picture_of_many_bytes_needs_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(b'{"image": "' + b"QUJD" * 5_000_000 + b'"}')
    tracemalloc.start()
    body = JsonBody(path)
    length = sum(map(len, body.pieces(body.value["image"])))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert length == 20_000_000
    assert peak < 2_000_000
