"""Every variant of every format, compared with its pixels and with independent decoders."""

from __future__ import annotations

import io
import re
from collections import Counter

import pytest
from helpers.variants import Variant, all_variants

from benchmarks.common.agreement import Agreement, compare
from benchmarks.common.independent import DECODERS, MissingError, Reference, RefusedError
from waifu2x import codec
from waifu2x.errors import DecodeError
from waifu2x.picture import Picture, sample_max

SUBSAMPLED = ("jpeg", "webp", "avif", "tiff", "jpeg2000", "jxl")


@pytest.mark.parametrize("name", all_variants())
def test_a_variant_is_read_as_written(name: str, counts: Counter[str]) -> None:
    variant = all_variants()[name]
    refusal = ""
    try:
        picture = codec.decode(io.BytesIO(variant.data))
    except DecodeError as error:
        if not variant.may_refuse:
            raise
        refusal = str(error)
    if refusal:
        assert re.search("not supported|unsupported", refusal)
        assert "damaged" not in refusal
        counts["not supported"] += 1
        return
    if variant.color is not None:
        check(variant, picture)
    verdicts: dict[str, Agreement] = {}
    for decoder, decode in DECODERS.get(variant.kind, {}).items():
        if decoder in variant.unlike:
            continue
        try:
            reference = decode(variant.data, variant.kind)[0]
            verdicts[decoder] = compare(
                picture, reference, subsampled=variant.kind in SUBSAMPLED and variant.lossy
            )
        except MissingError:
            counts[f"{decoder} is missing"] += 1
        except RefusedError:
            counts[f"{decoder} refuses"] += 1
        else:
            counts[decoder] += 1
            if verdicts[decoder].verdict != "differs":
                return
    if not verdicts:
        counts["compared with no decoder"] += 1
        return
    pytest.fail(f"no decoder agrees: {verdicts}")


def check(variant: Variant, picture: Picture) -> None:
    """Compare with the pixels that were written."""
    color, alpha = variant.color, variant.alpha
    assert color is not None
    if color.dtype.kind == "f" or color.dtype.itemsize > 1:
        assert picture.color.dtype == color.dtype
    white = float(sample_max(color.dtype))
    space = "rgb" if color.shape[2] == 3 else "gray"
    found = compare(picture, Reference(color, white, space, alpha))
    # The rounding of floats is no difference.
    assert found.verdict == "equal" or found.worst <= variant.tolerance + 0.01, found
