"""Names of results are distinct and reproducible, and never replace an input."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waifu2x.batch.inputs import Found
from waifu2x.batch.naming import Item, NameTemplate, Targets, name_targets
from waifu2x.errors import ArgumentError, OutputExistsError

reproducible = settings(derandomize=True, deadline=None, print_blob=True, max_examples=400)

IN, OUT = Path("in"), Path("out")


def template(
    text: str = "{stem}{ext}",
    *,
    scale: float | None = 2,
    model: str = "cunet",
    noise: float | str | None = None,
) -> NameTemplate:
    return NameTemplate.parse(text, scale=scale, model=model, noise=noise)


def as_found(relative: Iterable[str], directory: Path = IN) -> list[Found]:
    return [Found(directory / one, PurePosixPath(one)) for one in relative]


def named(
    *relative: str, name: str = "{stem}{ext}", out: Path = OUT, ext: str = ".png"
) -> dict[str, str]:
    """Map files in "in" to their targets below ``out``."""
    targets = name_targets(as_found(relative), out, template(name), lambda source: ext)
    return {str(item.relative): item.target.relative_to(out).as_posix() for item in targets.items}


def checksum(relative: str, digits: int = 8) -> str:
    return hashlib.sha256(relative.encode("utf-8", "surrogatepass")).hexdigest()[:digits]


# --- templates --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{stem}{ext}", "a.b.png"),
        ("{stem}_{scale}x{ext}", "a.b_2x.png"),
        ("{model}-{noise}_{stem}{ext}", "cunet-none_a.b.png"),
        ("{parent} {stem}{ext}", "vol 1 a.b.png"),
        ("{{{stem}}}{ext}", "{a.b}.png"),
        ("{stem}.{scale}.{scale}{ext}", "a.b.2.2.png"),
        ("{stem:}大{ext}", "a.b大.png"),
    ],
)
def test_templates(text: str, expected: str) -> None:
    assert template(text).name("a.b", ".png", parent="vol 1") == expected
    assert template(text).text == text


@pytest.mark.parametrize(
    ("scale", "expected"),
    [(2, "2"), (2.0, "2"), (1.5, "1.5"), (0.5, "0.5"), (16.0, "16"), (4 / 3, "1.333333333")],
)
def test_scales_are_written_as_short_as_they_are(scale: float, expected: str) -> None:
    assert template("{stem}{scale}{ext}", scale=scale).name("", ".png") == f"{expected}.png"


@pytest.mark.parametrize(
    ("noise", "expected"),
    [(None, "none"), ("auto", "auto"), (0, "0"), (3, "3"), (1.5, "1.5"), (0.1 + 0.2, "0.3")],
)
def test_noise(noise: float | str | None, expected: str) -> None:
    assert template("{stem}{noise}{ext}", noise=noise).name("", ".png") == f"{expected}.png"


def test_a_model_cannot_lead_out_of_the_directory() -> None:
    assert template("{stem}{model}{ext}", model="../a").name("", ".png") == ".._a.png"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "must hold {stem} and {ext} once"),
        ("{ext}", "must hold {stem}"),
        ("cover{ext}", "must hold {stem}"),
        ("{stem}", "must hold {stem} and {ext} once"),
        ("{stem}{stem}{ext}", "must hold {stem} and {ext} once"),
        ("{parent}{parent}{stem}{ext}", "{parent} at most once"),
        ("{stem}{ext}{ext}", "must hold {stem} and {ext} once"),
        ("{ext}{stem}", "must end with {ext}"),
        ("{stem}{ext} ", "must end with {ext}"),
        ("{stem}{ext}}}", "must end with {ext}"),
        ("{stem}.png", "must hold {stem} and {ext} once"),
        ("{Stem}{ext}", "field {Stem} is unknown; use {stem}, {ext}, {scale}, {model}, {noise}"),
        ("{}{ext}", "field {} is unknown"),
        ("{0}{ext}", "field {0} is unknown"),
        ("{stem.__class__}{ext}", "field {stem.__class__} is unknown"),
        ("{stem[0]}{ext}", "field {stem[0]} is unknown"),
        ("{ stem }{ext}", "field { stem } is unknown"),
        ("{a\nb}{ext}", "field {a\\nb} is unknown"),
        ("{stem!r}{ext}", "field {stem} takes no format"),
        ("{stem:>9999999}{ext}", "field {stem} takes no format"),
        ("{scale:.1f}{stem}{ext}", "field {scale} takes no format"),
        ("{stem:{ext}}{ext}", "field {stem} takes no format"),
        ("{stem{ext}", "has a brace outside a field"),
        ("{stem}}{ext}", "has a brace outside a field"),
        ("{stem}{ext", "has a brace outside a field"),
        ("a/{stem}{ext}", "holds '/'"),
        ("a\\{stem}{ext}", "holds '\\\\'"),
        ("C:{stem}{ext}", "holds ':'"),
        ("{stem}*{ext}", "holds '*'"),
        ("..{stem}{ext}", "holds '..'"),
        ("{stem}...{ext}", "holds '..'"),
        ("{stem}\n{ext}", "holds a control character"),
        ("\0{stem}{ext}", "holds a control character"),
        ("{stem}" + "a" * 97 + "{ext}", "has 97 bytes"),
        ("{stem}" + "大" * 33 + "{ext}", "has 99 bytes"),
    ],
)
def test_templates_that_cannot_be_are_refused(text: str, part: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        template(text)
    message = str(caught.value)
    assert message.startswith("name ")
    assert part in message
    assert message.isprintable()


def test_a_scale_is_refused_where_a_size_is_asked_for() -> None:
    assert template(scale=None).name("a", ".png") == "a.png"
    with pytest.raises(ArgumentError, match="a width or height is given"):
        template("{stem}_{scale}x{ext}", scale=None)


# --- names ------------------------------------------------------------------------------------


def test_results_keep_the_tree() -> None:
    assert named(
        "a.jpg", "b/c.tar.gz", "b/d/.e", "b/d/f.", "b/d/g", name="{stem}_{parent}{ext}"
    ) == {
        "a.jpg": "a_.png",
        "b/c.tar.gz": "b/c.tar_b.png",
        "b/d/.e": "b/d/.e_d.png",
        "b/d/f.": "b/d/f._d.png",
        "b/d/g": "b/d/g_d.png",
    }


def test_items_are_in_the_order_of_the_files_and_extensions_are_asked_for_once() -> None:
    found = as_found(["b.png", "x/a.gif", "a.png", "a.jpg"])
    asked = []

    def extension(source: Path) -> str:
        asked.append(source)
        return source.suffix

    targets = name_targets(iter(found), OUT, template(), extension)
    assert asked == [one.source for one in found]
    assert targets == Targets(
        items=tuple(Item(one.source, one.relative, OUT / str(one.relative)) for one in found),
        results=(),
    )
    assert targets.items is targets[0]
    assert name_targets([], OUT, template(), extension) == ((), ())


@pytest.mark.parametrize("ext", ["", "png", ".", ".p/g", ".png ", ".." + "a", "." + "a" * 17])
def test_extensions_that_are_none_are_refused(ext: str) -> None:
    with pytest.raises(ArgumentError, match="is not a dot with letters and digits"):
        named("a.png", ext=ext)


# --- collisions -------------------------------------------------------------------------------


def test_all_that_collide_are_renamed() -> None:
    expected = {"a.png": "a_png.png", "a.jpg": "a_jpg.png", "b.gif": "b.png"}
    assert named("a.png", "a.jpg", "b.gif") == expected
    assert named("b.gif", "a.jpg", "a.png") == expected
    # Names in different folders do not collide.
    assert named("a.png", "x/a.jpg") == {"a.png": "a.png", "x/a.jpg": "x/a.png"}
    assert named("a.png", "a.jpg", name="{stem}_{scale}x{ext}") == {
        "a.png": "a_png_2x.png",
        "a.jpg": "a_jpg_2x.png",
    }


def test_names_compare_as_where_case_does_not_count() -> None:
    assert named("A.png", "a.jpg") == {"A.png": "A_png.png", "a.jpg": "a_jpg.png"}
    assert named("X/a.png", "x/A.jpg") == {"X/a.png": "X/a_png.png", "x/A.jpg": "x/A_jpg.png"}
    assert named("straße.png", "STRASSE.jpg") == {
        "straße.png": "straße_png.png",
        "STRASSE.jpg": "STRASSE_jpg.png",
    }
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    names = named(f"{composed}.png", f"{decomposed}.png")
    assert names == {
        f"{each}.png": f"{each}_png~{checksum(f'{each}.png')}.png"
        for each in (composed, decomposed)
    }


def test_a_checksum_where_the_extension_is_not_enough() -> None:
    assert named("a.png", "A.PNG") == {
        "a.png": f"a_png~{checksum('a.png')}.png",
        "A.PNG": f"A_PNG~{checksum('A.PNG')}.png",
    }
    # A missing or unusual extension cannot distinguish the names.
    assert named("a", "a.png", "a.日本") == {
        "a": f"a~{checksum('a')}.png",
        "a.png": "a_png.png",
        "a.日本": f"a~{checksum('a.日本')}.png",
    }


def test_a_new_name_that_is_taken() -> None:
    assert named("a.png", "a.jpg", "a_png.png", "A.PNG") == {
        "a.png": f"a_png~{checksum('a.png')}.png",
        "a.jpg": "a_jpg.png",
        "a_png.png": "a_png_png.png",
        "A.PNG": f"A_PNG~{checksum('A.PNG')}.png",
    }


def test_a_name_that_two_wanted_is_nobodys() -> None:
    """Otherwise a later run would accept b_png.png as the result of the wrong file."""
    names = named("b_png.png", "b_png.jpg", "b.png", "b.gif")
    assert names == {
        "b_png.png": "b_png_png.png",
        "b_png.jpg": "b_png_jpg.png",
        "b.png": f"b_png~{checksum('b.png')}.png",
        "b.gif": "b_gif.png",
    }


def test_a_result_is_not_called_like_a_directory_of_others() -> None:
    assert named("x/a.jpg", "x/A.PNG/b.jpg", "X/c.png/d/e.png", "x/c.gif") == {
        "x/a.jpg": "x/a_jpg.png",
        "x/A.PNG/b.jpg": "x/A.PNG/b.png",
        "X/c.png/d/e.png": "X/c.png/d/e.png",
        "x/c.gif": "x/c_gif.png",
    }


def test_directories_called_like_checksums_do_not_go_on_for_ever() -> None:
    taken = ["a.png", "a_jpg.png"]
    taken += [f"a_jpg~{checksum('a.jpg', digits)}.png" for digits in (8, 16, 32, 64)]
    taken += [f"a_jpg~{checksum('a.jpg' + chr(0) * more, 64)}.png" for more in range(1, 9)]
    names = named("a.jpg", *(f"{directory}/b.png" for directory in taken))
    assert re.fullmatch(r"a_jpg~[0-9a-f]{64}\.png", names["a.jpg"])
    assert names["a.jpg"] not in taken


def test_files_of_the_same_relative_path() -> None:
    found = [Found(Path(one, "a.png"), PurePosixPath("a.png")) for one in ("x", "y", "z/..")]
    first = name_targets(found, OUT, template(), lambda source: ".png").items
    again = name_targets(found[::-1], OUT, template(), lambda source: ".png").items
    assert first == again[::-1]
    assert len({item.target for item in first}) == 3
    for item in first:
        assert re.fullmatch(r"a_png~[0-9a-f]{8}\.png", item.target.name)


def test_the_same_file_twice_is_one() -> None:
    found = [
        *as_found(["a.png"]),
        *as_found(["a.png"]),
        Found(Path("in/x/../a.png"), PurePosixPath("b")),
    ]
    assert len(name_targets(found, OUT, template(), lambda source: ".png").items) == 1


# Few characters, so that names collide, including suffixes that the rules add.
adversarial = st.lists(
    st.one_of(
        st.builds(
            "{}{}{}".format,
            st.sampled_from(["", "x/", "X/", "a.png/", "a_png.png/", "A.JPG/", "x/a.png/"]),
            st.sampled_from(
                [
                    *("a", "A", "a_png", "a_PNG", "a_jpg", "a_png_png", "é", "e\u0301", "É"),
                    *("\u017f", "S", "K", "k", "\u212a", "İ", "i\u0307", "ß", "ss", "\u1e9e"),
                    *("\udcff", "a" * 250, "A" * 251),
                    *("a_png~" + checksum("a.png"), "a~" + checksum("a")),
                ]
            ),
            st.sampled_from(["", ".", ".png", ".PNG", ".jpg", ".JPG", ".日本", ".\udcff"]),
        ),
        st.text("aA._-~ép\u0301", min_size=1, max_size=4).filter(lambda name: name.strip(".")),
    ),
    unique=True,
    max_size=14,
)
TEMPLATES = [
    "{stem}{ext}",
    "{stem}_{scale}x{ext}",
    "{parent}{stem}\u0301{ext}",
    "_png{stem}_png{ext}",
]


def folds(path: str) -> set[str]:
    """The forms of ``path`` that file systems may compare."""
    nfc, nfd = (unicodedata.normalize(form, path) for form in ("NFC", "NFD"))
    return {
        unicodedata.normalize("NFC", nfc.casefold()),
        unicodedata.normalize("NFD", nfd.casefold()),
        nfc.upper(),
        path,
    }


def check_distinct(items: Iterable[Item]) -> None:
    seen: set[str] = set()
    directories: set[str] = set()
    for item in items:
        forms = folds(item.target.as_posix())
        assert not forms & seen, item
        seen |= forms
        for parent in item.target.parents:
            directories |= folds(parent.as_posix())
    assert not seen & directories


@reproducible
@given(adversarial, st.sampled_from(TEMPLATES), st.sampled_from([".png", ".webp"]), st.randoms())
def test_no_two_results_share_a_name_in_any_order(
    relative: list[str], text: str, ext: str, random: object
) -> None:
    found = as_found(relative)
    targets = name_targets(found, OUT, template(text), lambda source: ext)
    assert targets.results == ()
    assert [item.source for item in targets.items] == [one.source for one in found]
    check_distinct(targets.items)
    for item in targets.items:
        assert item.target.parent == OUT / item.relative.parent
        assert item.target.name.endswith(ext)
        assert 0 < len(os.fsencode(item.target.name)) <= 255 or sys.platform == "win32"
    shuffled = list(found)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = name_targets(shuffled, OUT, template(text), lambda source: ext)
    assert set(again.items) == set(targets.items)
    # Other directories, as on another machine, do not change the names.
    moved = as_found(relative, Path("elsewhere"))
    others = name_targets(moved, Path("o"), template(text), lambda source: ext)
    assert [item.target.name for item in others.items] == [
        item.target.name for item in targets.items
    ]


@reproducible
@given(adversarial, st.sampled_from(TEMPLATES))
def test_files_that_meet_no_other_keep_their_plain_name(relative: list[str], text: str) -> None:
    plain = template(text)
    for one in as_found(relative):
        (item,) = name_targets([one], OUT, plain, lambda source: ".png").items
        alone = item.target
        everything = name_targets(as_found(relative), OUT, plain, lambda source: ".png").items
        together = next(item.target for item in everything if item.source == one.source)
        others = [item for item in everything if item.source != one.source]
        if together != alone:
            # After a collision, no file gets the plain name.
            assert not any(folds(item.target.as_posix()) & folds(str(alone)) for item in others)


# --- long names -------------------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["a", "é", "大", "🎨", "\udcff"])
@pytest.mark.parametrize("text", ["{stem}{ext}", "{parent}_{stem}_{scale}x{ext}"])
@pytest.mark.parametrize("mark", ["", "_png~" + "0" * 64])
def test_long_names_are_shortened_between_characters(letter: str, text: str, mark: str) -> None:
    plain = template(text)
    for length in (1, 30, 60, 63, 64, 80, 120, 200, 250, 251, 255, 300):
        for parent in ("", letter * 3, letter * length):
            name = plain.name(letter * length, ".png", parent=parent, mark=mark)
            size = len(name.encode("utf-8", "surrogateescape"))
            assert size <= 255
            assert name == plain.name(letter * length, ".png", parent=parent, mark=mark)
            full = "".join(plain._filled(letter * length + mark, ".png", parent))
            if len(full.encode("utf-8", "surrogateescape")) <= 255:
                assert name == full
                continue
            assert mark in name
            assert re.search(letter + r"~[0-9a-f]{8}", name)
            # Names are not cut shorter than necessary.
            assert size > 255 - 4 or len(parent) > 3


def test_long_names_stay_distinct() -> None:
    names = ["大" * 84 + f"{n}.jpg" for n in range(3)] + ["大" * 84 + "0.png"]
    targets = named(*names, name="{stem}_{scale}x{ext}")
    assert len(set(targets.values())) == 4
    # Other files do not change the name, because a checksum replaces the cut part.
    assert named(names[1], name="{stem}_{scale}x{ext}")[names[1]] == targets[names[1]]


def test_the_longest_of_everything_fits() -> None:
    plain = template("{parent}" + "x" * 96 + "{stem}{ext}")
    name = plain.name(
        "s" * 255, "." + "e" * 16, parent="p" * 255, mark="_" + "m" * 16 + "~" + "0" * 64
    )
    assert len(name) == 255


# --- results among the inputs --------------------------------------------------------------------


def in_place(*relative: str, name: str = "{stem}_{scale}x{ext}") -> tuple[list[str], list[str]]:
    """Return remaining inputs and recognized results if input and output share a directory."""
    targets = name_targets(as_found(relative), IN, template(name), lambda source: ".png")
    check_distinct(targets.items)
    sources = {item.source for item in targets.items}
    assert not any(item.target in sources for item in targets.items)
    return [str(item.relative) for item in targets.items], [
        str(one.relative) for one in targets.results
    ]


@pytest.mark.parametrize("name", ["a.png", "A.PNG", "b/a.png"])
def test_a_result_never_replaces_its_input(name: str) -> None:
    with pytest.raises(OutputExistsError) as caught:
        in_place("c.gif", name, name="{stem}{ext}")
    assert str(caught.value) == (
        f"the result of {Path('in', name)} would replace it, and an input is never replaced; "
        "choose another output directory, or `name='{stem}_waifu2x{ext}'`"
    )


def test_the_input_is_known_by_its_absolute_path() -> None:
    found = as_found(["a.png"], Path("x/../in"))
    with pytest.raises(OutputExistsError, match="would replace it"):
        name_targets(found, Path("in").resolve(), template(), lambda source: ".png")


def test_its_plain_name_counts_even_where_another_would_change_it() -> None:
    with pytest.raises(OutputExistsError, match=r"a\.png would replace it"):
        in_place("a.jpg", "a.png", name="{stem}{ext}")


def test_other_formats_may_lie_beside_their_inputs() -> None:
    assert in_place("a.jpg", "b/a.gif", name="{stem}{ext}") == (["a.jpg", "b/a.gif"], [])


def test_results_of_an_earlier_run_are_no_inputs() -> None:
    assert in_place("a.png", "a_2x.png") == (["a.png"], ["a_2x.png"])
    assert in_place("a_2x.png", "a.png") == (["a.png"], ["a_2x.png"])
    assert in_place("x/a.png", "a_2x.png") == (["x/a.png", "a_2x.png"], [])
    assert in_place("a_2x.png") == (["a_2x.png"], [])
    found = as_found(["a.png", "a_2x.png"])
    targets = name_targets(found, IN, template("{stem}_{scale}x{ext}"), lambda source: ".png")
    assert targets.results == (found[1],)


def test_a_chain_of_results() -> None:
    chain = ["a.png", "a_2x.png", "a_2x_2x.png", "a_2x_2x_2x.png", "b.png"]
    for files in (chain, chain[::-1]):
        left, results = in_place(*files)
        assert sorted(left) == ["a.png", "a_2x_2x.png", "b.png"]
        assert sorted(results) == ["a_2x.png", "a_2x_2x_2x.png"]


def test_results_do_not_change_the_names_of_others() -> None:
    """A second run must recognize the first results, or the directory grows on every run."""
    originals = ["x.png", "x_2x.jpg", "y.png", "y.jpg"]
    plain = template("{stem}_{scale}x{ext}")
    first = name_targets(as_found(originals), IN, plain, lambda source: ".png").items
    made = [item.target.relative_to(IN).as_posix() for item in first]
    again = name_targets(as_found([*made, *originals]), IN, plain, lambda source: ".png")
    assert again.items == first
    assert sorted(str(one.relative) for one in again.results) == sorted(made)


def by_rule(*relative: str, out: Path) -> tuple[list[str], list[str]]:
    """The names below ``out`` without a template, and the files recognized as results."""
    targets = name_targets(as_found(relative), out, None, lambda source: ".png")
    check_distinct(targets.items)
    return [item.target.relative_to(out).as_posix() for item in targets.items], [
        str(one.relative) for one in targets.results
    ]


def test_without_a_template_only_results_next_to_their_inputs_are_marked() -> None:
    assert by_rule("a.png", "b/c.jpg", out=OUT) == (["a.png", "b/c.png"], [])
    assert by_rule("a.png", "b/c.jpg", out=IN) == (["a_waifu2x.png", "b/c_waifu2x.png"], [])
    assert by_rule("a.png", "b/c.jpg", out=Path("x/../in")) == (
        ["a_waifu2x.png", "b/c_waifu2x.png"],
        [],
    )
    assert by_rule("a.png", "a.jpg", out=IN) == (["a_png_waifu2x.png", "a_jpg_waifu2x.png"], [])


def test_without_a_template_a_second_run_takes_no_results() -> None:
    first, _ = by_rule("a.png", "b/a.png", "b/a.jpg", out=IN)
    again, results = by_rule("a.png", "b/a.png", "b/a.jpg", *first, out=IN)
    assert (again, sorted(results)) == (first, sorted(first))


def test_a_link_to_the_folder_of_an_input_is_that_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to("in")
    found = as_found(["a.png"], tmp_path / "in")
    (item,) = name_targets(found, tmp_path / "link", None, lambda source: ".png").items
    assert item.target == tmp_path / "link/a_waifu2x.png"
    found += as_found(["a_waifu2x.png"], tmp_path / "in")
    again = name_targets(found, tmp_path / "link", None, lambda source: ".png")
    assert again == ((item,), (found[1],))


def test_a_circle_of_results() -> None:
    """Files found in directories cannot form a cycle, but the algorithm must terminate."""
    found = [Found(Path(f"in/{n}/a.png"), PurePosixPath(f"{(n + 1) % 3}/a.png")) for n in range(3)]
    first = name_targets(found, IN, template(), lambda source: ".png")
    again = name_targets(found[::-1], IN, template(), lambda source: ".png")
    assert set(first.items) == set(again.items)
    sources = {item.source for item in first.items}
    assert first.items
    assert not any(item.target in sources for item in first.items)


@reproducible
@given(
    st.lists(
        st.builds(
            "{}{}{}".format,
            st.sampled_from(["a", "A", "b", "a_png", "a_jpg"]),
            st.sampled_from(["", "_2x", "_2x_2x", "_png_2x", "_jpg_2x", "_2x_png_2x"]),
            st.sampled_from([".png", ".jpg"]),
        ),
        unique=True,
        max_size=12,
    ),
    st.randoms(),
)
def test_work_in_place_never_touches_an_input(relative: list[str], random: object) -> None:
    left, results = in_place(*relative)
    assert sorted([*left, *results]) == sorted(relative)
    assert not relative or left
    shuffled = list(relative)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = in_place(*shuffled)
    assert (set(again[0]), set(again[1])) == (set(left), set(results))


@reproducible
@given(
    st.lists(
        st.builds(
            "{}{}".format,
            st.sampled_from(["a", "A", "b", "a_png", "a_jpg", "a_2y", "b_2y"]),
            st.sampled_from([".png", ".jpg"]),
        ),
        unique=True,
        max_size=10,
    )
)
def test_a_second_run_finds_what_the_first_has_made(relative: list[str]) -> None:
    plain = template("{stem}_{scale}x{ext}")
    first = name_targets(as_found(relative), IN, plain, lambda source: ".png")
    made = [item.target.relative_to(IN).as_posix() for item in first.items]
    again = name_targets(as_found({*relative, *made}), IN, plain, lambda source: ".png")
    assert set(again.items) == set(first.items)


@pytest.mark.skipif(sys.platform != "linux", reason="needs names of any bytes")
def test_names_that_are_not_utf8() -> None:
    name = os.fsdecode(b"\x83\x41")
    names = named(f"{name}.png", f"{name}.jpg", f"{name}.JPG")
    assert os.fsencode(names[f"{name}.png"]) == b"\x83\x41_png.png"
    assert os.fsencode(names[f"{name}.jpg"]).startswith(b"\x83\x41_jpg~")
