"""The report on the votes: a table for each kind of content, and a plot of the intervals."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from typing import Final

from PIL import Image, ImageDraw

from .._record import record
from .._text import plural, shown
from .content import KINDS
from .drawing import FAINT, INK, LINE, PAPER, text_width, write
from .ranking import LEAST_CLUSTERS, Rank, rank
from .votes import FACES, Vote, consistency

#: The name of all kinds together.
ALL: Final = "all"

#: Sizes of the plot in pixels: the axis, the margins, and the space above a kind.
_AXIS: Final = 480
_MARGIN: Final = 20
_SPACE: Final = 12
_BAR: Final = (40, 90, 170)
_GRID: Final = (226, 226, 230)


@record
class Section:
    """The ranking by the votes on one kind of content."""

    kind: str
    votes: int
    ranks: tuple[Rank, ...]


def sections(votes: Sequence[Vote]) -> list[Section]:
    """Rank the methods by all votes and by each kind that has votes."""
    found = []
    for kind in (ALL, *KINDS, FACES):
        chosen = [vote for vote in votes if kind in (ALL, *vote.kinds)]
        names = sorted({name for vote in chosen for name in vote.methods})
        if chosen:
            ranks = rank(names, [vote.comparison() for vote in chosen])
            found.append(Section(kind, len(chosen), tuple(ranks)))
    return found


def table(votes: Sequence[Vote], found: Sequence[Section]) -> Iterator[str]:
    """Yield the lines of the report; ``found`` is from `sections`."""
    ranks = [each for section in found for each in section.ranks]
    for section in found:
        yield f"{section.kind}: {plural(section.votes, 'vote')}"
        yield "  strength  95% interval     won  same  lost"
        for each in section.ranks:
            interval = "unknown"
            if math.isfinite(each.low):
                interval = f"{_signed(each.low)} to {_signed(each.high)}"
            counts = f"{each.wins:>4}  {each.ties:>4}  {each.losses:>4}"
            yield f"  {_signed(each.strength):>8}  {interval:<15}  {counts}  {shown(each.name)}"
        yield ""
    if not all(math.isfinite(each.low) for each in ranks):
        yield f"an interval needs votes on {LEAST_CLUSTERS} crops or more"
    sure = consistency(votes)
    if sure.repeats:
        share = 100 * sure.agreed / sure.repeats
        yield (
            f"same answer to {sure.agreed} of {plural(sure.repeats, 'repeated pair')} "
            f"({share:.0f}%)"
        )
    if sure.left + sure.right:
        share = 100 * sure.left / (sure.left + sure.right)
        yield f"the left side won {share:.0f}% of {plural(sure.left + sure.right, 'decided vote')}"


def _signed(value: float) -> str:
    """Format a strength; zero has a plus, however small its error."""
    return f"{round(value, 2) + 0.0:+.2f}"


def plot(found: Sequence[Section]) -> bytes:
    """Draw the strengths with their intervals, PNG."""
    ranks = [each for section in found for each in section.ranks]
    left = _MARGIN + max(text_width(shown(each.name)) for each in ranks) + 16
    known = [
        value
        for each in ranks
        for value in (each.low, each.strength, each.high)
        if math.isfinite(value)
    ]
    low, high = min(*known, -0.5) - 0.1, max(*known, 0.5) + 0.1
    tall = 2 * _MARGIN + len(ranks) * LINE + len(found) * (LINE + _SPACE) + 2 * LINE
    canvas = Image.new("RGB", (left + _AXIS + _MARGIN, tall), PAPER)
    draw = ImageDraw.Draw(canvas)

    def place(value: float) -> int:
        return left + round((value - low) / (high - low) * _AXIS)

    bottom = tall - _MARGIN - 2 * LINE
    step = next(each for each in (0.25, 0.5, 1, 2, 5, 10) if (high - low) / each <= 10)
    for tick in range(round(low / step), round(high / step) + 1):
        x = place(tick * step)
        if left <= x <= left + _AXIS:
            draw.line((x, _MARGIN, x, bottom), fill=FAINT if tick == 0 else _GRID)
            label = f"{tick * step:+g}" if tick else "0"
            write(canvas, (x - text_width(label) // 2, bottom + 2), label, color=FAINT)
    label = "strength, logarithm of odds, with 95% intervals"
    write(canvas, (left + (_AXIS - text_width(label)) // 2, bottom + LINE), label, color=FAINT)
    y = _MARGIN
    for section in found:
        title = f"{section.kind}, {plural(section.votes, 'vote')}"
        write(canvas, (_MARGIN, y), title, color=FAINT)
        y += LINE
        for each in section.ranks:
            write(canvas, (_MARGIN, y), each.name, color=INK)
            middle = y + LINE // 2
            ends = [place(end) for end in (each.low, each.high) if math.isfinite(end)]
            if ends:
                draw.line((ends[0], middle, ends[1], middle), fill=_BAR, width=2)
            for end in ends:
                draw.line((end, middle - 4, end, middle + 4), fill=_BAR, width=2)
            x = place(each.strength)
            draw.ellipse((x - 4, middle - 4, x + 4, middle + 4), fill=_BAR)
            y += LINE
        y += _SPACE
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()
