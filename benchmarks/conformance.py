"""Compares what `waifu2x.codec` decodes with independent decoders, over any folder of files.

    python -m benchmarks.conformance DIR [--json FILE] [--list CLASS,...] [--format FORMAT,...]
                                     [--seconds 60]

Every file below DIR is decoded by us and by up to three decoders that share no code with ours
(`benchmarks.common.independent`): pyvips, ImageMagick, imagecodecs and tifffile, if installed.
Pixels are compared before anything else happens to them: in the depth of the file, upright, alpha
and the color of visible pixels. CMYK and LAB go through our conversion in both. The first frames of
an animation are compared, too. The closest decoder counts.

| class | meaning |
|---|---|
| equal | the same samples |
| close | differences of at most 2 of 255, as between decoders of lossy formats |
| differs | larger differences, or another size |
| disputed | of these classes: one decoder agrees with us and another does not |
| refused | by us only, as damaged or too large |
| unsupported | by us only, and the message names what is not supported |
| both refuse | no decoder reads the file |
| ours only | we read a file that the others refuse |
| alone | no independent decoder of the format is installed |
| escaped | an exception other than `Waifu2xError`, a crash, or no end within the time limit |

Each file has its own time limit and runs in a process that may crash. The exit status is 1 if a
file is in class "escaped".
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import selectors
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from .common.environment import ROOT, describe, environment
from .common.independent import (
    DECODERS,
    MOST_FRAMES,
    Decoder,
    MissingError,
    Reference,
    RefusedError,
)
from .common.parts import write_json
from .common.tables import markdown

CLASSES = (
    "equal", "close", "differs", "refused", "unsupported", "both refuse", "ours only", "alone",
    "escaped",
)  # fmt: skip
LISTED = (*CLASSES, "disputed")
DISTRIBUTIONS = (
    "waifu2x-native", "pillow", "imagecodecs", "tifffile", "pyvips", "pyvips-binary",
    "pillow-jxl-plugin", "numpy",
)  # fmt: skip
SECONDS = 60.0

#: The address space of the process that decodes, in bytes (Linux).
_MEMORY = 6 << 30

Row = dict[str, Any]


# --- in the process that decodes


def examine(path: Path, skip: Sequence[str] = (), note: Any = lambda stage: None) -> Row:
    """Decode a file by us and by independent decoders, and compare.

    skip: decoders that crashed. note: called with the name of each decoder before it starts.

    Returns format, class, verdict of each decoder, and details.
    """
    from waifu2x.codec import sniff
    from waifu2x.codec.formats import FORMATS
    from waifu2x.errors import Waifu2xError
    from waifu2x.picture import Picture

    from .common.agreement import compare

    data = path.read_bytes()
    found = sniff(data[:512]).format
    suffix = path.suffix.lower()
    by_suffix = (
        row
        for row in FORMATS
        if suffix in (*row.extensions, *row.folder_extensions, "." + row.name)
    )
    row = found or next(by_suffix, None)
    if suffix in (".cur",):
        row = next(each for each in FORMATS if each.name == "ico")
    if row is None:
        return {"format": "", "class": "not a picture"}
    result: Row = {"format": row.name, "class": "escaped"}
    pictures: list[Picture] = []
    note("ours")
    if "ours" in skip:
        return {**result, "reason": "the process died or did not end"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pictures = _ours(data)
    except Waifu2xError as error:
        result["message"] = str(error)
    except BaseException as error:
        return {**result, "reason": f"{type(error).__name__}: {error}"}
    references: dict[str, list[Reference]] = {}
    decoders: dict[str, str] = {}
    for name, decoder in DECODERS.get(row.name, {}).items():
        if name in skip:
            decoders[name] = "crashed"
            continue
        note(name)
        try:
            references[name] = _independent(decoder, data, row.name)
        except MissingError as error:
            decoders[name] = f"not run: {error}"
        except RefusedError as error:
            decoders[name] = f"refused: {str(error).splitlines()[0][:160] if str(error) else ''}"
        except Exception as error:
            decoders[name] = f"refused: {type(error).__name__}: {error}"[:160]
    result["decoders"] = decoders
    if not pictures:
        decoders.update(dict.fromkeys(references, "read"))
        if references:
            result["class"] = "unsupported" if _UNSUPPORTED.search(result["message"]) else "refused"
        else:
            result["class"] = "both refuse"
        return result
    first = pictures[0]
    result["ours"] = f"{first.width}x{first.height}x{first.color.shape[2]}"
    result["ours"] += f"{'+alpha' if first.alpha is not None else ''} {first.color.dtype}"
    if len(pictures) > 1:
        result["frames"] = len(pictures)
    agreements = []
    for name, frames in references.items():
        note(f"comparison with {name}")
        try:
            pairs = list(zip(pictures, frames, strict=False))
            each = [
                compare(picture, reference, subsampled=row.name in _SUBSAMPLED)
                for picture, reference in pairs
            ]
        except Exception as error:
            decoders[name] = f"refused: {type(error).__name__}: {error}"[:160]
            continue
        worst = max(each, key=lambda one: (_ORDER[one.verdict], one.worst))
        agreements.append(worst)
        at = each.index(worst)
        where = f" (frame {at + 1})" if len(each) > 1 and worst.detail else ""
        decoders[name] = f"{worst.verdict}: {worst.detail}{where}" if worst.detail else "equal"
    if agreements:
        best = min(agreements, key=lambda one: (_ORDER[one.verdict], one.worst))
        result["class"] = best.verdict
        result["worst"] = round(best.worst, 2)
        result["disputed"] = best.verdict != "differs" and any(
            one.verdict == "differs" for one in agreements
        )
    else:
        missing = all(text.startswith("not run") for text in decoders.values())
        result["class"] = "alone" if missing else "ours only"
    return result


#: Messages that name what is not supported.
_UNSUPPORTED = re.compile(r"not supported|unsupported kind|of \d+ pages|is an animat")

#: Formats that may store chroma at half the size.
_SUBSAMPLED = ("jpeg", "webp", "avif", "jxl", "tiff", "jpeg2000")

_ORDER = {"equal": 0, "close": 1, "differs": 2}


def _ours(data: bytes) -> list[Any]:
    """Decode a still, or the first frames of an animation."""
    from waifu2x import codec
    from waifu2x.codec.animation import open_animation

    if codec.may_be_animation(io.BytesIO(data)):
        animation = open_animation(
            io.BytesIO(data), "the file", max_pixels=codec.DEFAULT_MAX_PIXELS
        )
        if animation is not None:
            return [frame.picture for frame in islice(animation, MOST_FRAMES)]
    return [codec.decode(io.BytesIO(data))]


def _independent(decoder: Decoder, data: bytes, kind: str) -> list[Reference]:
    frames = decoder(data, kind)
    if not frames:
        raise RefusedError("nothing decoded")
    return frames


def serve() -> None:
    """Examine the files that standard input names, a JSON line each; answer with JSON lines."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print to standard output

    def answer(**fields: Any) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    for line in sys.stdin:
        request = json.loads(line)
        row = examine(Path(request["path"]), request["skip"], lambda stage: answer(stage=stage))
        answer(row=row)


# --- in the process that counts


class Examiner:
    """Runs `examine` in a process that is replaced when it dies or does not answer in time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Examiner:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def examine(self, path: Path) -> Row:
        skip: list[str] = []
        while True:
            row, stage = self._try(path, skip)
            if row is not None:
                return row
            if stage in skip or not stage:
                return {"format": "", "class": "escaped", "reason": f"the process died ({stage})"}
            skip.append(stage.removeprefix("comparison with "))

    def _try(self, path: Path, skip: Sequence[str]) -> tuple[Row | None, str]:
        """Return the row, or None and the stage at which the process died or was stopped."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.conformance", "--serve"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                cwd=ROOT, env={**os.environ, "VIPS_CONCURRENCY": "1"},
            )  # fmt: skip
            assert self._process.stdout is not None
            os.set_blocking(self._process.stdout.fileno(), False)
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        stage, rest = "", b""
        with contextlib.suppress(BrokenPipeError):
            request = {"path": str(path.resolve()), "skip": list(skip)}
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            # The first file also pays for the imports.
            end = time.monotonic() + self._seconds
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                while (left := end - time.monotonic()) > 0 and selector.select(left):
                    block = process.stdout.read()
                    if not block:
                        break
                    *lines, rest = (rest + block).split(b"\n")
                    for answer in map(json.loads, lines):
                        if "row" in answer:
                            return answer["row"], ""
                        stage = answer["stage"]
        self._stop()
        return None, stage

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def files_below(folder: Path) -> Iterator[Path]:
    """Regular files below ``folder``, in the order of their names."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path


def counts_table(rows: Sequence[Row]) -> str:
    """Count classes by format."""
    formats = sorted({row["format"] for row in rows})
    table = []
    for name in [*formats, "all"]:
        chosen = [row for row in rows if name in ("all", row["format"])]
        counts = Counter(row["class"] for row in chosen)
        disputed = sum(bool(row.get("disputed")) for row in chosen)
        table.append(
            [name, str(len(chosen)), *(str(counts[each] or "") for each in CLASSES),
             str(disputed or "")]
        )  # fmt: skip
    return markdown(["format", "files", *LISTED], table)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.conformance", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write all rows to this file"
    )
    parser.add_argument("--list", default="", metavar="CLASS,...",
                        help=f"print the files of these classes: {', '.join(LISTED)}")  # fmt: skip
    parser.add_argument("--format", default="", metavar="FORMAT,...",
                        help="report only these formats")  # fmt: skip
    parser.add_argument("--seconds", type=float, default=SECONDS,
                        help=f"time limit of a file (default {SECONDS:g})")  # fmt: skip
    options = parser.parse_args(arguments)
    listed = [each for each in options.list.split(",") if each]
    for each in listed:
        if each not in LISTED:
            parser.error(f"class {each!r} is unknown; allowed are {', '.join(LISTED)}")
    if not options.folder.is_dir():
        parser.error(f"{options.folder} is not a directory")
    formats = [each for each in options.format.split(",") if each]
    facts = environment(threads=None, distributions=DISTRIBUTIONS)
    print(describe(facts))
    rows: list[Row] = []
    others = 0
    with Examiner(options.seconds) as examiner:
        for path in files_below(options.folder):
            row = examiner.examine(path)
            if row["class"] == "not a picture":
                others += 1
            elif not formats or row["format"] in formats:
                rows.append({"file": path.relative_to(options.folder).as_posix(), **row})
    print(f"\n{len(rows)} pictures, {others} other files\n\n{counts_table(rows)}")
    for each in [*listed, *(() if "escaped" in listed else ("escaped",))]:
        chosen = [
            row for row in rows if row["class"] == each or (each == "disputed" and row.get(each))
        ]
        if chosen:
            print(f"\n{each}")
        for row in chosen:
            told = [row.get("message") or row.get("reason") or row.get("ours", "")]
            told += [f"{name} {text}" for name, text in row.get("decoders", {}).items()]
            print("  " + "\n      ".join([row["file"], *filter(None, told)]))
    if options.json:
        write_json(options.json, {"environment": facts, "rows": rows})
    return 1 if any(row["class"] == "escaped" for row in rows) else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        sys.exit(main())
