"""Which files the inputs select, in which order, and the messages if there are none."""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import socket
import sys
import tempfile
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waifu2x.batch.inputs import Found, Listing, find, parse_shard, picture_suffixes, shard
from waifu2x.errors import ArgumentError, DecodeError, Waifu2xError

reproducible = settings(derandomize=True, deadline=None, print_blob=True, max_examples=200)

posix = pytest.mark.skipif(os.name != "posix", reason="needs the file systems of POSIX")
#: macOS refuses names that are not UTF-8.
any_bytes = pytest.mark.skipif(sys.platform != "linux", reason="needs names of any bytes")
not_root = pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 0)() == 0, reason="nothing is unreadable for root"
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run each test in an empty current directory; tests use relative names."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def kept(listing: Listing) -> list[str]:
    return [str(one.relative) for one in listing.found]


def sources(listing: Listing) -> list[str]:
    return [one.source.as_posix() for one in listing.found]


def refusal(*inputs: str, error: type[Waifu2xError] = DecodeError, **options: object) -> str:
    with pytest.raises(error) as caught:
        find(inputs, **options)  # type: ignore[arg-type]
    assert str(caught.value).isprintable()
    return str(caught.value)


# --- files ------------------------------------------------------------------------------------


def test_files_are_taken_in_the_order_given_whatever_they_are_called() -> None:
    make("b/2.png", "a/1.dat", "c.zip")
    listing = find(["b/2.png", "a/1.dat", Path("c.zip")])
    assert kept(listing) == ["2.png", "1.dat", "c.zip"]
    assert sources(listing) == ["b/2.png", "a/1.dat", "c.zip"]
    assert (listing.ignored, listing.unreadable) == (0, ())


def test_a_file_that_does_not_exist_fails_later_and_alone() -> None:
    make("a.png")
    assert kept(find(["a.png", "nowhere/b.png", "c[1.png"])) == ["a.png", "b.png", "c[1.png"]


@pytest.mark.parametrize("name", ["nowhere/", "no*/", "nowhere/..", "a.png/"])
def test_a_directory_that_does_not_exist_is_refused(name: str) -> None:
    make("a.png")
    assert f"input {name}" in refusal(name)


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_what_is_no_path_is_refused(name: str) -> None:
    assert "is not a path" in refusal(name, error=ArgumentError)


def test_no_input_is_refused() -> None:
    assert "there is no input" in refusal(error=ArgumentError)


def test_include_and_exclude_leave_named_files_alone() -> None:
    make("a.dat", ".hidden.png")
    listing = find(["a.dat", ".hidden.png"], include=["*.png"], exclude=["*"])
    assert kept(listing) == ["a.dat", ".hidden.png"]


def test_a_file_is_taken_once_and_the_first_place_wins(here: Path) -> None:
    make("in/a.png", "in/b.png")
    listing = find(["in/b.png", "./in/../in/b.png", str(here / "in"), "in/*.png"])
    assert sources(listing) == ["in/b.png", (here / "in/a.png").as_posix()]
    assert kept(listing) == ["b.png", "a.png"]
    assert kept(find(["gone.png", "./gone.png"])) == ["gone.png"]


# --- directories ------------------------------------------------------------------------------


def test_a_directory_gives_the_pictures_in_it() -> None:
    make("in/a.png", "in/b.JPG", "in/notes.txt", "in/png", "in/c.cbz", "in/d.zip", "in/sub/e.png")
    listing = find(["in"])
    assert kept(listing) == ["a.png", "b.JPG", "c.cbz"]
    assert listing.ignored == 3
    assert sources(listing) == ["in/a.png", "in/b.JPG", "in/c.cbz"]


def test_every_extension_of_a_picture_is_taken_in_any_case() -> None:
    names = sorted([f"a{suffix}" for suffix in picture_suffixes()])
    make(*(f"lower/{name}" for name in names), *(f"upper/{name.upper()}" for name in names))
    assert sorted(kept(find(["lower"]))) == names
    assert sorted(kept(find(["upper"]))) == sorted(name.upper() for name in names)


def test_a_tree_is_kept_below_its_directory(here: Path) -> None:
    make("in/b.png", "in/a/2.png", "in/a/10.png", "in/c/d/e.png")
    expected = ["a/2.png", "a/10.png", "b.png", "c/d/e.png"]
    for name in ("in", "in/", "./in", str(here / "in"), "in/a/.."):
        assert kept(find([name], recursive=True)) == expected
    os.chdir("in")
    listing = find(["."], recursive=True)
    assert kept(listing) == expected
    assert sources(listing) == expected


def test_several_directories_keep_their_names() -> None:
    make("x/a/1.png", "x/b/1.png", "x/b/c/1.png", "2.png")
    listing = find(["x/b/", "2.png", "x/a", "x/*/c/*.png"], recursive=True)
    assert kept(listing) == ["b/1.png", "b/c/1.png", "2.png", "a/1.png"]
    # Duplicates count once.
    assert kept(find(["x/a", "./x/a/"])) == ["1.png"]
    os.chdir("x/a")
    assert kept(find([".", "../b"])) == ["a/1.png", "b/1.png"]


def test_natural_order() -> None:
    numbers = list(range(1, 301))
    random.Random(5).shuffle(numbers)
    make(*(f"in/Page {n}.png" for n in numbers), "in/page 2/1.png", "in/cover.png", "in/Z.png")
    assert kept(find(["in"], recursive=True)) == [
        "cover.png",
        "Page 1.png",
        "page 2/1.png",
        *(f"Page {n}.png" for n in range(2, 301)),
        "Z.png",
    ]


def by_numbers(path: str) -> list[tuple[list[tuple[bool, int, str]], str]]:
    """Sort key: numbers first and by value, then letters ignoring case, then the exact name."""
    return [
        (
            [
                (
                    not run.isdigit(),
                    int(run) if run.isdigit() else 0,
                    run.lower().strip("0123456789"),
                )
                for run in re.findall(r"\d+|\D+", part)
            ],
            part,
        )
        for part in path.split("/")
    ]


@reproducible
@given(st.sets(st.text("aA0129 .", min_size=1, max_size=4).filter(str.strip), max_size=12))
def test_order_is_that_of_the_parts(names: set[str]) -> None:
    """The order of a directory walk equals a sort of the whole paths."""
    with tempfile.TemporaryDirectory() as directory:
        for name in names:
            for part in ("1", "10/x", "a"):
                path = Path(directory, f"b{name}", f"{part}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            Path(directory, f"b{name}.png").touch()
        if names:
            order = kept(find([directory], recursive=True))
            assert order == sorted(order, key=by_numbers)
            assert len(order) == len(set(order)) == 4 * len(names)


@posix
def test_order_is_total_where_names_differ_in_case_or_zeros() -> None:
    make("in/1.png", "in/01.png", "in/001.png")
    assert kept(find(["in"])) == ["001.png", "01.png", "1.png"]


def test_hidden_files_and_directories_are_passed_over() -> None:
    make("in/a.png", "in/._a.png", "in/.b.png", "in/.cache/c.png", "in/.waifu2x-01.tmp")
    listing = find(["in"], recursive=True)
    assert kept(listing) == ["a.png"]
    assert listing.ignored == 0
    assert kept(find(["in"], recursive=True, include=["*"])) == ["a.png"]
    assert kept(find(["in/**"])) == ["a.png"]
    # As in a shell, a pattern with a dot matches hidden names; explicit names work, too.
    assert kept(find(["in/.*/*.png"])) == [".cache/c.png"]
    assert kept(find(["in/.cache"])) == ["c.png"]


def test_a_directory_that_stands_for_nothing_is_refused() -> None:
    Path("in/sub").mkdir(parents=True)
    assert refusal("in") == (
        "directory in holds no picture; the directories in it are only searched with "
        "`recursive=True`"
    )
    assert refusal("in", recursive=True) == "directory in holds no picture"
    make("in/sub/a.txt")
    assert "it has 1 other file; `include=`" in refusal("in", recursive=True)
    make("in/sub/a.png")
    assert "that include and exclude let through" in refusal("in/sub", exclude=["*.png"])


# --- special files and links -------------------------------------------------------------------


@posix
def test_pipes_and_sockets_are_not_opened() -> None:
    make("in/a.png")
    os.mkfifo("in/b.png")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("in/c.png")
        assert kept(find(["in"])) == ["a.png"]
        assert kept(find(["in"], include=["*"])) == ["a.png"]
        assert kept(find(["in/b.png", "in"])) == ["b.png", "a.png"]


@posix
def test_links_to_files_are_followed_and_links_to_directories_are_not() -> None:
    make("in/a.png", "other/b.png")
    Path("in/c.png").symlink_to("../other/b.png")
    Path("in/loop").symlink_to(".")
    Path("in/other").symlink_to("../other")
    Path("in/d.png").symlink_to("../other")
    listing = find(["in"], recursive=True)
    assert kept(listing) == ["a.png", "c.png"]
    assert listing.unreadable == ()
    assert kept(find(["in/**/*.png"])) == ["a.png", "c.png"]
    # The input itself may be a link.
    assert kept(find(["in/other"])) == ["b.png"]
    assert kept(find(["in/loop/*.png"])) == ["a.png", "c.png"]


@posix
def test_links_that_lead_nowhere_are_told() -> None:
    make("in/a.png")
    Path("in/b.png").symlink_to("gone.png")
    Path("in/c.png").symlink_to("c.png")
    Path("in/d.txt").symlink_to("gone.txt")
    for include in ([], ["*.png"]):
        listing = find(["in"], include=include)
        assert kept(listing) == ["a.png"]
        assert sorted(path.name for path, _ in listing.unreadable) == ["b.png", "c.png"]
        assert dict(listing.unreadable)[Path("in/b.png")] == "No such file or directory"
    # A named broken link counts as a file, which fails later.
    assert kept(find(["in/b.png"])) == ["b.png"]


@posix
@not_root
def test_directories_that_cannot_be_read_are_told() -> None:
    make("in/a.png", "in/closed/b.png", "in/z.png", "list.txt")
    Path("list.txt").write_text("in/a.png\nin/closed\n")
    closed = Path("in/closed")
    closed.chmod(0)
    try:
        listing = find(["in"], recursive=True)
        assert kept(listing) == ["a.png", "z.png"]
        assert listing.unreadable == ((closed, "Permission denied"),)
        assert find(["in"], recursive=True, exclude=["closed"]).unreadable == ()
        assert find(["in"]).unreadable == ()
        assert "directory in/closed cannot be read: Permission denied" in refusal("in/closed")
        assert "in/closed cannot be read: Permission denied" in refusal("in/closed/*.png")
        assert find(["@list.txt"]).unreadable == ((closed, "Permission denied"),)
        Path("in/a.png").unlink()
        Path("in/z.png").unlink()
        assert "in/closed cannot be read: Perm" in refusal("in", recursive=True)
    finally:
        closed.chmod(0o755)


def test_a_directory_that_vanishes_or_is_closed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeats the test above for runs as root."""
    make("in/a.png", "in/closed/b.png")
    scan = os.scandir

    def scandir(path: str) -> object:
        if "closed" in path:
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    listing = find(["in"], recursive=True)
    assert kept(listing) == ["a.png"]
    assert listing.unreadable == ((Path("in/closed"), "Permission denied"),)
    assert "directory in/closed cannot be read: Permission denied" in refusal("in/closed")
    Path("in/a.png").unlink()
    assert refusal("in", recursive=True) == (
        "directory in holds no picture; in/closed cannot be read: Permission denied"
    )


@posix
def test_newlines_and_other_characters_in_names() -> None:
    names = ["a\nb.png", "c\\d.png", "e\t.png", "é.png", "日本.png", " f .png", "-.png", "~.png"]
    make(*(f"in/x\ny/{name}" for name in names))
    assert set(kept(find(["in"], recursive=True))) == {f"x\ny/{name}" for name in names}
    assert kept(find(["in/x*/a*.png"])) == ["x\ny/a\nb.png"]
    assert "x\\ny" in refusal("in/x\ny", exclude=["*"])


@any_bytes
def test_names_that_are_not_utf8() -> None:
    directory, name = os.fsdecode(b"d\x82\xa0"), os.fsdecode(b"\x83\x41.png")
    make(f"in/{directory}/{name}")
    Path("list.txt").write_bytes(b"in/d\x82\xa0/\x83\x41.png\n")
    for inputs in (["in"], ["in/**/*.png"], ["in/*/*"]):
        (found,) = find(inputs, recursive=True).found
        assert os.fsencode(found.source) == b"in/d\x82\xa0/\x83\x41.png"
        assert str(found.relative) == f"{directory}/{name}"
    (listed,) = find(["@list.txt"]).found
    assert os.fsencode(listed.source) == b"in/d\x82\xa0/\x83\x41.png"
    assert listed.source.exists()
    assert len(shard([listed], 1, 1)) == 1


def test_a_tree_deeper_than_the_stack() -> None:
    depth = 0
    try:
        # The operating system may limit the depth.
        with contextlib.suppress(OSError):
            while depth < 1200:
                Path("d").mkdir()
                os.chdir("d")
                depth += 1
        make("a.png")
        for _ in range(depth):
            os.chdir("..")
        listing = find(["."], recursive=True)
        assert kept(listing) == ["d/" * depth + "a.png"]
    finally:
        # pytest cannot remove such a deep tree.
        while Path("d").is_dir():
            os.chdir("d")
        Path("a.png").unlink(missing_ok=True)
        for _ in range(depth):
            os.chdir("..")
            Path("d").rmdir()


# --- the output directory -----------------------------------------------------------------------


def test_nothing_is_found_in_the_output_directory(here: Path) -> None:
    make("in/a.png", "in/out/a.png", "in/out/deep/b.png", "in/sub/out/c.png")
    expected = ["a.png", "sub/out/c.png"]
    for out in (Path("in/out"), here / "in/out", Path("in/sub/../out")):
        assert kept(find(["in"], recursive=True, leave_out=out)) == expected
        assert kept(find(["in/**/*.png"], leave_out=out)) == expected
    assert len(find(["in"], recursive=True, leave_out=Path("in/nowhere")).found) == 4
    assert kept(find(["in/out/a.png"], leave_out=Path("in/out"))) == ["a.png"]


def test_the_output_directory_may_be_the_input_or_around_it() -> None:
    make("in/a.png", "in/sub/b.png")
    out = Path("in")
    assert kept(find(["in"], recursive=True, leave_out=out)) == ["a.png", "sub/b.png"]
    assert kept(find(["in/*.png"], leave_out=out)) == ["a.png"]
    assert kept(find(["in/sub"], leave_out=out)) == ["b.png"]


def test_the_output_directory_among_the_inputs_is_left_out() -> None:
    """A shell may expand `waifu2x * out` so."""
    make("a.png", "b/c.png", "out/a.png")
    assert kept(find(["a.png", "b", "out"], leave_out=Path("out"))) == ["a.png", "c.png"]
    assert kept(find(["out", "out/"], leave_out=Path("out"))) == ["a.png"]


@posix
def test_the_output_directory_is_known_by_any_name() -> None:
    make("real/a.png", "real/out/b.png")
    Path("in").symlink_to("real")
    Path("there").symlink_to("real/out")
    assert kept(find(["in"], recursive=True, leave_out=Path("real/out"))) == ["a.png"]
    assert kept(find(["in"], recursive=True, leave_out=Path("there"))) == ["a.png"]


# --- include and exclude ------------------------------------------------------------------------

TREE = (
    *("in/1.png", "in/2.JPG", "in/notes.txt", "in/book.zip", "in/drafts/3.png"),
    *("in/drafts/old/4.png", "in/sub/drafts/5.png", "in/sub/6.jpg"),
)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["*.jpg"], "2.JPG sub/6.jpg"),
        (["*.JPG", "1*"], "1.png 2.JPG sub/6.jpg"),
        (["*.zip", "*.TXT"], "book.zip notes.txt"),
        (["[!0-3]*.png"], "drafts/old/4.png sub/drafts/5.png"),
        (["drafts/*"], "drafts/3.png"),
        (["drafts/**"], "drafts/3.png drafts/old/4.png"),
        (["Drafts/"], "drafts/3.png drafts/old/4.png"),
        (["**/drafts/*"], "drafts/3.png sub/drafts/5.png"),
        (["./*.png"], "1.png"),
        (["/*.png"], "1.png"),
        (["**/*.png"], "1.png drafts/3.png drafts/old/4.png sub/drafts/5.png"),
        (["*/*/?.png"], "drafts/old/4.png sub/drafts/5.png"),
        (["drafts/**/4.png"], "drafts/old/4.png"),
        (["drafts/**/3.png"], "drafts/3.png"),
    ],
)
def test_include(patterns: list[str], expected: str) -> None:
    make(*TREE)
    assert kept(find(["in"], recursive=True, include=patterns)) == expected.split()
    assert kept(find(["in/**"], include=patterns)) == expected.split()


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["*.PNG"], "2.JPG sub/6.jpg"),
        (["drafts"], "1.png 2.JPG sub/6.jpg"),
        (["drafts/**"], "1.png 2.JPG sub/6.jpg sub/drafts/5.png"),
        (["drafts/"], "1.png 2.JPG sub/6.jpg sub/drafts/5.png"),
        (["**/drafts/**"], "1.png 2.JPG sub/6.jpg"),
        (["drafts/*"], "1.png 2.JPG sub/6.jpg sub/drafts/5.png"),
        (["drafts/*.png"], "1.png 2.JPG drafts/old/4.png sub/6.jpg sub/drafts/5.png"),
        (["sub/*"], "1.png 2.JPG drafts/3.png drafts/old/4.png"),
        (["*/old/**", "?.jpg"], "1.png drafts/3.png sub/drafts/5.png"),
    ],
)
def test_exclude(patterns: list[str], expected: str) -> None:
    make(*TREE)
    listing = find(["in"], recursive=True, exclude=patterns)
    assert sorted(kept(listing)) == sorted(expected.split())
    assert kept(find(["in/**"], exclude=patterns)) == kept(listing)


@pytest.mark.parametrize("pattern", ["drafts", "drafts/**", "drafts/", "**/drafts/**", "drafts/*"])
def test_excluded_directories_are_not_walked(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make(*TREE)
    scan, seen = os.scandir, []

    def scandir(path: str) -> object:
        seen.append(path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    find(["in"], recursive=True, exclude=[pattern])
    assert "in/drafts/old/" not in seen
    assert ("in/drafts/" in seen) == (pattern == "drafts/*")


def test_patterns_mean_the_same_beside_another_directory() -> None:
    make(*TREE, "other/drafts/9.png", "other/8.png")
    both = ["in", "other"]
    listing = find(both, recursive=True, exclude=["drafts/**"])
    of_in = ["in/1.png", "in/2.JPG", "in/sub/6.jpg", "in/sub/drafts/5.png"]
    assert kept(listing) == [*of_in, "other/8.png"]
    # A pattern may name one of the directories.
    listing = find(both, recursive=True, include=["*.png"], exclude=["other/drafts/**", "in/sub/"])
    assert kept(listing) == ["in/1.png", "in/drafts/3.png", "in/drafts/old/4.png", "other/8.png"]
    assert "holds no picture that include and exclude" in refusal(*both, exclude=["in/**"])


def test_patterns_know_no_case_and_no_decomposition() -> None:
    make(f"in/{unicodedata.normalize('NFD', 'Élan')}.png", "in/STRASSE.png", "in/b.png")
    pattern = unicodedata.normalize("NFC", "élan*")
    assert kept(find(["in"], exclude=[pattern, "straße*"])) == ["b.png"]


def test_include_counts_nothing_as_ignored() -> None:
    make(*TREE)
    assert find(["in"], include=["*.png"]).ignored == 0
    assert find(["in"], exclude=["*.txt"]).ignored == 1
    assert find(["in", "in/notes.txt"]).ignored == 1


@pytest.mark.parametrize("pattern", ["", ".", "/", "./"])
@pytest.mark.parametrize("what", ["include", "exclude"])
def test_patterns_that_mean_nothing_are_refused(what: str, pattern: str) -> None:
    make("in/a.png")
    said = refusal("in", error=ArgumentError, **{what: [pattern]})
    assert f"{what} {pattern!r} matches no name" in said


@pytest.mark.parametrize("address", ["https://example.com/a.png", "file:///a.png", "s3://b/*.png"])
def test_addresses_on_the_network_are_refused(address: str) -> None:
    make("a.png")
    for inputs in ([address], ["a.png", address]):
        assert refusal(*inputs) == f"{address} is an address on the network; download it first"
    Path("list.txt").write_text(f"a.png\n{address}\n")
    assert refusal("@list.txt") == f"{address} is an address on the network; download it first"
    make("ht:/tp.png")
    assert sources(find(["ht:/tp.png"])) == ["ht:/tp.png"]


# --- patterns as inputs ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("in/*.png", "1.png"),
        ("in/*", "1.png 2.JPG"),
        ("in/*.*", "1.png 2.JPG"),
        ("in/*.zip", "book.zip"),
        ("in/?.png", "1.png"),
        ("in/[0-9].*", "1.png 2.JPG"),
        ("in/[!1].*", "2.JPG"),
        ("in/**", "1.png 2.JPG drafts/3.png drafts/old/4.png sub/6.jpg sub/drafts/5.png"),
        ("in/**/*.jpg", "sub/6.jpg"),
        ("in/**/**/*.jpg", "sub/6.jpg"),
        ("in/*/*", "drafts/3.png sub/6.jpg"),
        ("in/**/drafts/**", "drafts/3.png drafts/old/4.png sub/drafts/5.png"),
        ("*/sub/*.jpg", "in/sub/6.jpg"),
        ("i*/./sub//*.jpg", "in/sub/6.jpg"),
        ("./in/s*/drafts/5.png", "sub/drafts/5.png"),
        ("in/sub/../*.png", "1.png"),
        ("in/**/6.jpg", "sub/6.jpg"),
    ],
)
@pytest.mark.parametrize("absolute", [False, True])
def test_patterns(pattern: str, expected: str, absolute: bool, here: Path) -> None:
    make(*TREE)
    listing = find([f"{here}/{pattern}" if absolute else pattern])
    assert kept(listing) == expected.split()
    assert all(one.source.exists() for one in listing.found)


def test_patterns_agree_with_glob() -> None:
    make(*TREE, "in/sub/deep/er/7.png", "in/sub/deep/er/8.jpg")
    for pattern in ("in/*.png", "in/*/*.png", "in/**/*.png", "in/s*/**/*.png", "in/**/d*/**/*.png"):
        expected = {path.as_posix() for path in Path().glob(pattern)}
        assert set(sources(find([pattern]))) == expected
        assert expected


def test_a_file_of_exactly_that_name_is_no_pattern() -> None:
    make("a[1].png", "a1.png", "[Group] Title/01.png", "[Group] Title/02.txt", "G Title/01.png")
    assert kept(find(["a[1].png"])) == ["a[1].png"]
    assert kept(find(["[Group] Title"])) == ["01.png"]
    assert sources(find(["[Group] Title/*"])) == ["[Group] Title/01.png"]
    assert sources(find(["[G]*/*.png"])) == ["G Title/01.png"]
    # A missing file that is not a pattern fails later.
    assert kept(find(["[Group] Title/03.png"])) == ["03.png"]


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    make(*TREE)
    assert refusal("in/*.gif") == "pattern in/*.gif matches no picture"
    assert refusal("in/n*") == (
        "pattern in/n* matches no picture (it has 1 other file; "
        "`include=` takes files by other names)"
    )
    assert "pattern nowhere/*.png: directory nowhere cannot be read" in refusal("nowhere/*.png")
    assert "pattern in/1.png/*: directory in/1.png cannot be read" in refusal("in/1.png/*")
    assert "matches no picture" in refusal("in/**/*.jpg", exclude=["sub"])
    assert "matches no picture" in refusal("*/../*.png")


# --- lists ------------------------------------------------------------------------------------


def listed(text: bytes, **options: object) -> Listing:
    """The files of a list on standard input, checked against the same list in a file."""
    Path("list.txt").write_bytes(text)
    piped = find(["@-"], stdin=io.BytesIO(text), **options)  # type: ignore[arg-type]
    assert find(["@list.txt"], **options) == piped  # type: ignore[arg-type]
    return piped


def test_a_list_keeps_its_order_and_its_tree(here: Path) -> None:
    make("b/2.png", "a/1.txt")
    outside = here.as_posix().lstrip("/")
    listing = listed(f"b/2.png\na/1.txt\n./b/./3.png\n{here}/c.png\n../up/../../x/y.png\n".encode())
    assert kept(listing)[:3] == ["b/2.png", "a/1.txt", "b/3.png"]
    if os.name == "posix":
        assert kept(listing)[3] == f"{outside}/c.png"
    assert kept(listing)[4] == "x/y.png"
    assert sources(listing)[4] == "../up/../../x/y.png"


def test_oddities_of_lists() -> None:
    text = (
        b"\xef\xbb\xbfa.png\r\n"
        b"\r\n   \n# a comment\n#another.png\n"
        b" b c .png\n./#d.png\n./@e.png\n@f.png\n*.png\n"
        b"g\xe2\x80\xa8h\x0bi.png\na.png\n"
        b"\xe6\x97\xa5.png"
    )
    assert kept(listed(text)) == [
        *("a.png", " b c .png", "#d.png", "@e.png", "@f.png", "*.png"),
        *("g\u2028h\x0bi.png", "日.png"),
    ]


def test_directories_in_a_list() -> None:
    make("in/2.png", "in/10.png", "in/a.txt", "in/sub/3.png", "z.png", "empty/a.txt")
    listing = listed(b"z.png\nin\nempty\n")
    assert kept(listing) == ["z.png", "in/2.png", "in/10.png"]
    assert listing.ignored == 2
    assert kept(listed(b"in/sub/..\nin/\n", recursive=True)) == ["2.png", "10.png", "sub/3.png"]
    assert kept(listed(b"in\n", recursive=True, exclude=["in/1*", "sub"])) == ["in/2.png"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (b"", "names no files"),
        (b"# nothing\n\n", "names no files"),
        (b"a.png\nnowhere/\n", "line 2: directory nowhere/ does not exist"),
        (b"nowhere/..\n", "line 1: directory nowhere/.. does not exist"),
        (b"empty\n", "names only directories"),
        ("a.png\n".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        ("a.png\n".encode("utf-16-le"), "holds NUL characters"),
        (b"a.png\0b.png\0", "holds NUL characters"),
    ],
)
def test_lists_that_cannot_be_are_refused(text: bytes, part: str) -> None:
    Path("empty").mkdir()
    Path("list.txt").write_bytes(text)
    message = refusal("@list.txt")
    assert message.startswith("list @list.txt")
    assert part in message
    assert part in refusal("@-", stdin=io.BytesIO(text))


def test_lists_that_cannot_be_read_are_refused() -> None:
    Path("in").mkdir()
    assert "list @gone.txt cannot be read: No such file" in refusal("@gone.txt")
    assert "list @in cannot be read" in refusal("@in")
    assert "list @ cannot be read" in refusal("@")
    assert "there is no standard input here" in refusal("@-")


def test_a_file_whose_name_begins_as_a_list() -> None:
    make("@x", "@a.png")
    assert kept(find(["./@x"])) == ["@x"]
    assert kept(find([Path("./@x")])) == ["@x"]
    assert kept(find(["./@*.png"])) == ["@a.png"]
    assert kept(find(["."])) == ["@a.png"]


# --- shards -----------------------------------------------------------------------------------

names = st.text(st.characters(exclude_characters="/\0"), min_size=1).filter(
    lambda name: name not in (".", "..")
)
paths = st.lists(st.lists(names, min_size=1, max_size=3).map("/".join), unique=True)


def as_found(relative: Iterable[str]) -> list[Found]:
    return [Found(Path("in") / one, PurePosixPath(one)) for one in relative]


@reproducible
@given(paths, st.integers(1, 20))
def test_shards_are_a_partition_in_order(relative: list[str], count: int) -> None:
    files = as_found(relative)
    parts = [shard(files, index, count) for index in range(1, count + 1)]
    assert sorted(one.source for part in parts for one in part) == sorted(
        one.source for one in files
    )
    for part in parts:
        assert part == [one for one in files if one in part]


@reproducible
@given(paths, paths, st.integers(1, 20), st.data())
def test_a_file_stays_in_its_shard(
    some: list[str], more: list[str], count: int, data: st.DataObject
) -> None:
    index = data.draw(st.integers(1, count))
    together = as_found(data.draw(st.permutations(sorted({*some, *more}))))
    alone = as_found(some)
    chosen = shard(together, index, count)
    assert [one in chosen for one in alone] == [one in shard(alone, index, count) for one in alone]


def test_shards_are_the_same_on_all_machines() -> None:
    composed, decomposed = (unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD"))
    files = as_found([composed, decomposed])
    assert [len(shard(files, index, 7)) for index in range(1, 8)].count(2) == 1
    # The assignment must never change: finished shards would be computed again.
    relative = ["a.png", "b/c.png", "日本.png", "\udcff.png"]
    assert [
        next(index for index in range(1, 17) if shard(as_found([one]), index, 16))
        for one in relative
    ] == [9, 16, 14, 16]


def test_shards_are_about_equal() -> None:
    files = as_found(f"page {n}.png" for n in range(4000))
    assert all(150 < len(shard(files, index, 16)) < 350 for index in range(1, 17))


def test_parse_shard() -> None:
    assert parse_shard("3/16") == (3, 16)
    assert parse_shard("1/1") == (1, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "0/4",
        "5/4",
        "-1/4",
        "1/0",
        "1/2/3",
        "a/b",
        " 1/2",
        "1/2\n",
        "\u0661/\u0662",
        "9" * 5000,
    ],
)
def test_shards_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"it must be K/N.*for example 3/16"):
        parse_shard(text)


@pytest.mark.parametrize(("index", "count"), [(0, 4), (5, 4), (1, 0), (-1, -1)])
def test_numbers_of_shards_that_cannot_be_are_refused(index: int, count: int) -> None:
    with pytest.raises(ArgumentError, match=f"shard is {index}/{count}; it must be K/N"):
        shard([], index, count)
