"""Clients of other programs, written from the public documentation of each API."""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from helpers.server import client, idle, opened, picture, running, wait_for
from PIL import Image

from waifu2x import Upscaler
from waifu2x.server.work import Workshop

MODELS = ("upconv_7", "upconv_7_photo")


def expected(data: bytes, model: str = "upconv_7", **options: Any) -> np.ndarray:
    return np.asarray(Upscaler(model).upscale(data, **options))


def same(data: bytes, array: np.ndarray) -> bool:
    return np.array_equal(np.asarray(opened(data)), array)


# --- nunif: https://github.com/nagadomi/nunif, waifu2x/web/server.py


def nunif(http: httpx.Client, data: bytes, **fields: str) -> httpx.Response:
    return http.post("/api", files={"file": ("my face.png", data)}, data=fields)


@pytest.mark.parametrize(
    ("fields", "options", "method"),
    [
        ({"style": "art", "noise": "-1", "scale": "2"}, {"scale": 2}, "art_scale"),
        (
            {"style": "art", "noise": "3", "scale": "2"},
            {"scale": 2, "noise": 3},
            "art_noise3_scale",
        ),
        (
            {"style": "art", "noise": "0", "scale": "1"},
            {"scale": 1.6, "noise": 0},
            "art_noise0_scale",
        ),
        ({"style": "photo", "scale": "2"}, {"model": MODELS[1], "scale": 2}, "photo_scale"),
        ({"noise": "1", "scale": "2"}, {"model": MODELS[1], "noise": 1}, "photo_noise1_scale"),
        ({}, {"model": MODELS[1], "scale": 1}, "none"),
    ],
)
def test_nunif(
    http: httpx.Client, fields: dict[str, str], options: dict[str, Any], method: str
) -> None:
    data = picture(30, 20)
    for format, kind in (("0", "png"), ("1", "webp")):
        answer = nunif(http, data, format=format, **fields)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == f"image/{kind}"
        name = f"my%20face_waifu2x_{method}.{kind}"
        assert answer.headers["content-disposition"] == f"inline; filename*=utf-8''{name}"
        assert same(answer.content, expected(data, **{"noise": None, **options}))


@pytest.mark.parametrize(
    "fields",
    [
        {"style": "art_scan"},
        {"scale": "3"},
        {"noise": "4"},
        {"format": "2"},
        {"noise": "none"},
        {"url": "http://127.0.0.1/"},
        {"skale": "2"},
    ],
)
def test_nunif_refuses_what_it_does_not_have(http: httpx.Client, fields: dict[str, str]) -> None:
    assert nunif(http, picture(), **fields).status_code == 422


def test_nunif_takes_the_form_of_the_page(http: httpx.Client) -> None:
    fields = {"url": "", "recap": "", "style": "art", "noise": "1", "scale": "2"}
    assert nunif(http, picture(), **fields).status_code == 200
    # Its second button also has a name.
    assert nunif(http, picture(), **fields, download="Download").status_code == 200


# --- AUTOMATIC1111: /docs of a running stable-diffusion-webui, modules/api/models.py


def text_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def single(http: httpx.Client, data: bytes, **fields: Any) -> httpx.Response:
    return http.post("/sdapi/v1/extra-single-image", json={"image": text_of(data), **fields})


def images_of(answer: httpx.Response) -> list[bytes]:
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["html_info"].startswith("<p>")
    texts = found["images"] if "images" in found else [found["image"]]
    return [base64.b64decode(each) for each in texts]


def test_upscalers(http: httpx.Client) -> None:
    found = http.get("/sdapi/v1/upscalers").json()
    fields = {"name", "model_name", "model_path", "model_url", "scale"}
    assert all(set(each) == fields for each in found)
    names = [each["name"] for each in found]
    assert names[:2] == ["None", "Lanczos"]
    assert {"upconv_7", "upconv_7 noise 3", "upconv_7_photo"} <= set(names)
    assert all(each["model_path"] is None for each in found)


def test_one_picture(http: httpx.Client) -> None:
    data = picture(30, 20)
    (made,) = images_of(single(http, data, upscaler_1="upconv_7"))
    assert made.startswith(b"\x89PNG")
    assert same(made, expected(data, noise=None))
    (made,) = images_of(
        single(http, data, upscaler_1="upconv_7 noise 2", upscaling_resize=3, resize_mode=0)
    )
    assert same(made, expected(data, scale=3, noise=2))
    (made,) = images_of(single(http, data, upscaler_1="Lanczos"))
    assert same(made, expected(data, noise=None, strength=0))


SIZE = {"resize_mode": 1, "upscaling_resize_w": 100, "upscaling_resize_h": 60}


def test_none_leaves_the_picture_as_it_is(http: httpx.Client) -> None:
    data = picture(30, 20)
    for fields in (
        {},
        {"upscaler_1": "None"},
        {"upscaling_resize": 4},
        SIZE,
        {**SIZE, "upscaling_resize_w": 9, "upscaling_resize_h": 9},
    ):
        answer = single(http, data, **fields)
        (made,) = images_of(answer)
        assert same(made, np.asarray(opened(data)))
        assert answer.json()["html_info"] == "<p></p>"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "upscale by: 2"),
        ({"upscaling_resize": 1.5}, "upscale by: 1.5"),
        (SIZE, "upscale to: 100x60, Postprocess crop to: 100x60"),
        ({**SIZE, "upscaling_crop": False}, "upscale to: 100x60"),
    ],
)
def test_the_description_of_the_work(http: httpx.Client, fields: dict[str, Any], text: str) -> None:
    answer = single(http, picture(30, 20), upscaler_1="upconv_7", **fields)
    expected = f"<p>Postprocess {text}, Postprocess upscaler: upconv_7</p>"
    assert answer.json()["html_info"] == expected


def test_values_as_pydantic_takes_them(http: httpx.Client) -> None:
    data = picture(30, 20)
    for scale in ("3", " 3.0 ", "30e-1", 3.0):
        (made,) = images_of(single(http, data, upscaler_1="upconv_7", upscaling_resize=scale))
        assert opened(made).size == (90, 60)
    fields = {"resize_mode": "1", "upscaling_resize_w": 100.0, "upscaling_resize_h": "60"}
    for crop, size in ((1, (100, 60)), ("true", (100, 60)), ("False", (100, 67)), (0, (100, 67))):
        answer = single(http, data, upscaler_1="upconv_7", upscaling_crop=crop, **fields)
        assert opened(images_of(answer)[0]).size == size


@pytest.mark.parametrize(
    "encode",
    [
        base64.encodebytes,
        lambda data: b" \t\r\n\f\v".join(
            base64.b64encode(data)[at : at + 76] for at in range(0, 100_000, 76)
        ),
    ],
)
def test_base64_with_line_ends(http: httpx.Client, encode: Callable[[bytes], bytes]) -> None:
    data = picture(30, 20)
    text = encode(data).decode()
    assert "\n" in text
    for image in (text, f" \n{text}", f"data:image/png;base64,\r\n{text}"):
        answer = http.post("/sdapi/v1/extra-single-image", json={"image": image})
        assert same(images_of(answer)[0], np.asarray(opened(data)))


#: Values of JSON that are too large, of the wrong kind, or break what formats them.
ODD = (
    *(None, True, -1, -0.0, 1e308, 10**400, 10**4000, float("nan"), float("inf"), "", " ", "1e999"),
    *("9" * 5000, "\ud800", "\0", "<b>", "x" * 20_000, "http://x", "data:", "data:,", [], {}, [[]]),
    *({"a": {}}, [None], [1, "2"], {"data": 1}, [{"data": "\ud800", "name": "\ud800"}], "None"),
    *([{"data": "eA==", "name": ["\ud800"]}], "nan", "\u0661", "=" * 9),
)


@pytest.mark.parametrize(
    "field",
    [
        *("image", "imageList", "upscaler_1", "upscaler_2", "resize_mode", "upscaling_resize"),
        *("upscaling_resize_w", "upscaling_resize_h", "upscaling_crop", "gfpgan_visibility"),
        *("codeformer_visibility", "extras_upscaler_2_visibility", "another", "\ud800"),
    ],
)
def test_no_value_is_a_defect(http: httpx.Client, field: str) -> None:
    fields = {"upscaler_1": "Lanczos", "resize_mode": 1, "upscaler_2": "Lanczos"}
    fields |= {"extras_upscaler_2_visibility": 0}
    text = text_of(b"no picture")
    for value in ODD:
        for path, pictures in (
            ("extra-single-image", {"image": text}),
            ("extra-batch-images", {"imageList": [{"data": text, "name": "x"}]}),
        ):
            body = json.dumps({**fields, **pictures, field: value})
            answer = http.post(f"/sdapi/v1/{path}", content=body)
            assert answer.status_code in (413, 415, 422), (field, value, answer.text)
            assert answer.json()["detail"]


@pytest.mark.parametrize("width", [1, 2, 10, 65_536, 1_000_000])
@pytest.mark.parametrize("height", [1, 1_000_000])
def test_extreme_sizes(http: httpx.Client, width: int, height: int) -> None:
    fields = {"resize_mode": 1, "upscaling_resize_w": width, "upscaling_resize_h": height}
    answer = single(http, picture(30, 20), upscaler_1="Lanczos", **fields)
    if width * height > 1000:
        assert answer.status_code in (413, 422)
    else:
        assert opened(images_of(answer)[0]).size == (width, height)


def test_a_data_url(http: httpx.Client) -> None:
    data = picture(format="JPEG", quality=60)
    image = f"data:image/jpeg;base64,{text_of(data)}"
    answer = http.post(
        "/sdapi/v1/extra-single-image", json={"image": image, "upscaler_1": "upconv_7"}
    )
    assert same(images_of(answer)[0], expected(data))


@pytest.mark.parametrize("size", [(90, 50), (50, 90), (64, 64), (60, 40)])
def test_a_size(http: httpx.Client, size: tuple[int, int]) -> None:
    """The picture covers the size; the middle is cut out, or all of it is kept."""
    data = picture(30, 20)
    fields = {
        "resize_mode": 1,
        "upscaling_resize_w": size[0],
        "upscaling_resize_h": size[1],
        "upscaler_1": "upconv_7",
    }
    (whole,) = images_of(single(http, data, **fields, upscaling_crop=False))
    (cut,) = images_of(single(http, data, **fields))
    width, height = opened(whole).size
    assert width >= size[0]
    assert height >= size[1]
    assert size[0] == width or size[1] == height
    left, top = width // 2 - size[0] // 2, height // 2 - size[1] // 2
    pixels = np.asarray(opened(whole))[top : top + size[1], left : left + size[0]]
    assert same(cut, pixels)


def test_several_pictures(http: httpx.Client) -> None:
    pictures = [picture(20 + size, 20) for size in range(3)]
    files = [{"data": text_of(each), "name": f"{i}.png"} for i, each in enumerate(pictures)]
    answer = http.post(
        "/sdapi/v1/extra-batch-images", json={"imageList": files, "upscaler_1": "upconv_7"}
    )
    made = images_of(answer)
    assert len(made) == 3
    for data, result in zip(pictures, made, strict=True):
        assert same(result, expected(data, noise=None))
    files[1]["data"] = text_of(b"text")
    answer = http.post(
        "/sdapi/v1/extra-batch-images", json={"imageList": files, "upscaler_1": "upconv_7"}
    )
    assert answer.status_code == 415
    assert answer.json()["detail"].startswith("1.png is not a picture")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"upscaler_1": "R-ESRGAN 4x+"}, "upscaler_1 'R-ESRGAN 4x+' is unknown"),
        ({"upscaler_1": 3}, "name of an upscaler"),
        ({"upscaler_2": "x"}, "upscaler_2 'x' is unknown"),
        ({"upscaler_2": "Lanczos", "extras_upscaler_2_visibility": 0.5}, "one upscaler"),
        ({"gfpgan_visibility": 1}, "restores no faces"),
        ({"codeformer_visibility": 0.1}, "restores no faces"),
        ({"upscaling_resize": 0}, "above 0"),
        ({"upscaling_resize": "two"}, "must be a number"),
        ({"upscaling_resize": "1_0"}, "must be a number"),
        ({"upscaling_resize": True}, "must be a number"),
        ({"upscaling_resize": 1_000_001}, "from 0 to 1000000"),
        ({"upscaling_resize": int("1" + "0" * 400)}, "from 0 to 1000000"),
        ({"upscaling_resize": "1e400"}, "from 0 to 1000000"),
        ({"upscaling_resize_w": int("1" + "0" * 400)}, "from 0 to 1000000"),
        ({"upscaling_resize_w": 512.5}, "whole number of pixels"),
        ({"upscaling_crop": "perhaps"}, "must be true or false"),
        ({"upscaling_crop": None}, "must be true or false"),
        ({"resize_mode": 2}, "resize_mode must be 0"),
        ({"upscaling_resize_w": 0}, "at least 1"),
        ({"image": ""}, "image is missing"),
        ({"image": "%%%"}, "not base64"),
        ({"image": "http://127.0.0.1/in.png"}, "fetches nothing"),
    ],
)
def test_what_cannot_be_done_is_an_error(
    http: httpx.Client, fields: dict[str, Any], text: str
) -> None:
    answer = single(http, picture(), **{"upscaler_1": "upconv_7", **fields})
    assert answer.status_code == 422
    assert text in answer.json()["detail"]


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b"[" * 100_000, b"\xff"])
def test_a_body_that_is_not_an_object(http: httpx.Client, body: bytes) -> None:
    for path in ("extra-single-image", "extra-batch-images"):
        assert http.post(f"/sdapi/v1/{path}", content=body).status_code == 422


def test_an_archive_is_no_picture(http: httpx.Client) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("1.png", picture())
    assert single(http, stream.getvalue(), upscaler_1="upconv_7").status_code == 415


# --- Suwayomi: https://github.com/Suwayomi/Suwayomi-Server, ConversionUtil.kt


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_page_keeps_its_format(http: httpx.Client, format: str) -> None:
    data = picture(30, 20, format=format)
    bare = http.post("/page", content=data, headers={"Content-Type": f"image/{format.lower()}"})
    form = http.post("/page", files={"image": ("conversion123.jpg", data, "image/jpeg")})
    for answer in (bare, form):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == f"image/{format.lower()}"
        assert opened(answer.content).format == format
        assert opened(answer.content).size == (60, 40)
    assert bare.content == form.content


def test_the_target_in_the_documentation(http: httpx.Client) -> None:
    """Post as ConversionUtil.kt does, to the target of docs/server.md."""
    page = (Path(__file__).parents[2] / "docs" / "server.md").read_text("utf-8")
    (target,) = re.findall(r'target = "http://127\.0\.0\.1:8760(\S+)"', page)
    data = picture(30, 20, format="WEBP")
    name = "conversion8412345678901234567.webp"
    answer = http.post(target, files={"image": (name, data, "image/webp")})
    assert answer.status_code == 200
    assert opened(answer.content).format == "WEBP"


def test_options_of_pages_are_in_the_query(http: httpx.Client) -> None:
    data = picture(30, 20)
    answer = http.post("/page?scale=3&noise=1", content=data)
    assert same(answer.content, expected(data, scale=3, noise=1))
    assert http.post("/page?scale=no", content=data).status_code == 422
    answer = http.post("/page", files={"image": data}, data={"scale": "3"})
    assert answer.status_code == 422
    for body in (b"", b"text"):
        assert http.post("/page", content=body).status_code in (415, 422)


def test_a_page_that_takes_too_long_is_status_503() -> None:
    with running(page_seconds=0.3) as server, client(server.url) as http:
        answer = http.post("/page?tta=true", content=picture(600, 500))
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        wait_for(lambda: idle(server))
        assert http.post("/page", content=picture(16, 16)).status_code in (200, 503)


@pytest.mark.parametrize("escaped", [False, True])
def test_a_long_picture_in_json(http: httpx.Client, escaped: bool) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    text = json.dumps({"image": base64.b64encode(stream.getvalue()).decode(), "upscaler_1": "None"})
    if escaped:
        text = text.replace("/", "\\/")
    answer = http.post("/sdapi/v1/extra-single-image", content=text)
    # Nothing is done by the upscaler None.
    assert same(base64.b64decode(answer.json()["image"]), noise)
    broken = text[:2000] + "=" + text[2000:]
    answer = http.post("/sdapi/v1/extra-single-image", content=broken)
    assert answer.status_code == 422
    assert "image is not base64" in answer.json()["detail"]


def test_a_page_that_waits_too_long_is_status_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Workshop, "start", lambda self: None)  # every job stays in the queue
    with running(page_seconds=0.5) as server, client(server.url) as http:
        answer = http.post("/page", content=picture())
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "5"
        assert answer.json()["detail"] == (
            "the picture takes longer than 0.5 seconds; try again later"
        )
        wait_for(lambda: idle(server))


def test_an_image_of_sixteen_bits_stays_so(http: httpx.Client) -> None:
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((24, 20)).convert("I;16").save(stream, "PNG")
    answer = http.post("/page", content=stream.getvalue())
    assert answer.content[24] == 16
