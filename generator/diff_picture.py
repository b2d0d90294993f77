"""A difference as a picture, .svg or .png: what was added is green, what was removed red and dashed, what changed amber."""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from generator.diff_layout import Placed, Point, Size, place
from generator.diff_scene import Box, Scene, scene
from generator.errors import ClientError
from generator.onnx_diff import Diff

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

    Fonts = dict[int, ImageFont.FreeTypeFont | ImageFont.ImageFont]

#: status -> line, filling, and how the legend calls it
_LOOKS = {
    "added": ("#1a7f37", "#e6f6ea", "added"),
    "removed": ("#cf222e", "#fdecec", "removed"),
    "changed": ("#b26a00", "#fff6e0", "changed"),
    "same": ("#8a929b", "#ffffff", "unchanged"),
}
_INK, _PALE, _PAPER = "#1f2328", "#656d76", "#ffffff"
_TITLE, _TEXT, _HEAD = 15, 12, 18
_PAD, _LINE, _MARGIN, _GAP = 10, 16, 28, 44
_WIDE, _CHARACTERS = 1500, 44
#: Pixels of a PNG for each of the drawing's; text stays sharp.
_SCALE = 2
_MOST_PIXELS = 60_000_000
_FAMILY = "Helvetica, Arial, sans-serif"


@dataclass(frozen=True)
class Stroke:
    """A smooth line with an arrow at its end, or a straight one without."""

    points: tuple[Point, ...]
    status: str


@dataclass(frozen=True)
class Frame:
    """A box."""

    corner: Point
    size: Size
    status: str
    radius: float


@dataclass(frozen=True)
class Text:
    """A line of text, its baseline at `at`, centred there unless `left`."""

    at: Point
    words: str
    size: int
    colour: str = _INK
    left: bool = False


Shape = Stroke | Frame | Text


def check(path: Path) -> None:
    """Raises ClientError for a kind of picture that cannot be written, before any work."""
    if path.suffix not in (".png", ".svg"):
        raise ClientError(f"{path}: a picture is .png or .svg", "name such a file")


def write(found: Diff, title: str, path: Path) -> None:
    """Draw the changed neighbourhood."""
    shapes, size = drawing(scene(found), title, found.summary())
    try:
        if path.suffix == ".svg":
            path.write_text(_svg(shapes, size), encoding="utf-8")
        else:
            _png(shapes, size, path)
    except OSError as error:
        raise ClientError(f"{path}: {error.strerror or error}", "name a file that can be written") from None


def drawing(what: Scene, title: str, summary: str) -> tuple[list[Shape], Size]:
    """Everything with its place: a head, then the pieces side by side in as many rows as they need."""
    fonts = _fonts(1)
    pieces = [place(piece, lambda box: _measure(box, fonts)) for piece in what.pieces]
    shapes = list(_head(title, summary, what.left_out))
    x, y, row, width = float(_MARGIN), 112.0, 0.0, 640.0
    for placed in pieces:
        if x > _MARGIN and x + placed.width > _WIDE:
            x, y, row = float(_MARGIN), y + row + _GAP, 0.0
        extra = 26 if placed.piece.times > 1 else 0
        if extra:
            shapes.append(Text((x, y + 14), f"{placed.piece.times} times", _TEXT, _PALE, left=True))
        shapes += _moved(placed, x, y + extra)
        width, row = max(width, x + placed.width), max(row, placed.height + extra)
        x += placed.width + _GAP
    return shapes, (width + _MARGIN, y + row + _MARGIN)


def _head(title: str, summary: str, left_out: int) -> Iterator[Shape]:
    yield Text((_MARGIN, 38), title, _HEAD, left=True)
    more = f"; {left_out} more changes are not drawn" if left_out else ""
    yield Text((_MARGIN, 60), summary + more, _TEXT, _PALE, left=True)
    for index, (status, (_, _, words)) in enumerate(_LOOKS.items()):
        x = _MARGIN + index * 108.0
        yield Frame((x, 74), (16, 14), status, 3)
        yield Text((x + 23, 86), words, _TEXT, _PALE, left=True)


def _moved(placed: Placed, x: float, y: float) -> Iterator[Shape]:
    for edge, way in sorted(placed.ways, key=lambda item: item[0].status != "same"):
        yield Stroke(tuple((a + x, b + y) for a, b in way), edge.status)
    for key, box in placed.piece.boxes.items():
        (left, top), size = placed.corners[key], placed.sizes[key]
        yield Frame((left + x, top + y), size, box.status, size[1] / 2 if box.shape == "end" else 7)
        middle = left + x + size[0] / 2
        yield Text((middle, top + y + _PAD + 12), _cut(box.title), _TITLE)
        for number, line in enumerate(box.lines):
            colour = _PALE if number == 0 else _LOOKS[box.status][0]
            yield Text((middle, top + y + _PAD + 12 + (number + 1) * _LINE), _cut(line), _TEXT, colour)


def _measure(box: Box, fonts: Fonts) -> Size:
    widths = [fonts[_TITLE].getlength(_cut(box.title)), *(fonts[_TEXT].getlength(_cut(line)) for line in box.lines)]
    side = 2 * _PAD + (14 if box.shape == "end" else 0)
    return max(96.0, max(widths) * 1.06 + side), 2 * _PAD + 14.0 + _LINE * len(box.lines)


def _cut(text: str) -> str:
    """The end of a name says more than its beginning."""
    if len(text) <= _CHARACTERS:
        return text
    return f"...{text[3 - _CHARACTERS :]}" if "/" in text or "." in text else f"{text[: _CHARACTERS - 3]}..."


def _fonts(scale: int) -> Fonts:
    from PIL import ImageFont

    return {size: ImageFont.load_default(size * scale) for size in (_TITLE, _TEXT, _HEAD)}


def _curve(points: Sequence[Point]) -> list[tuple[Point, Point, Point, Point]]:
    """Cubic Bezier curves through the points, upright at each."""
    found = []
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        middle = (y0 + y1) / 2
        found.append(((x0, y0), (x0, middle), (x1, middle), (x1, y1)))
    return found


def _svg(shapes: Sequence[Shape], size: Size) -> str:
    body = "\n".join(_element(shape) for shape in shapes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]:.0f}" height="{size[1]:.0f}" '
        f'viewBox="0 0 {size[0]:.0f} {size[1]:.0f}" font-family="{_FAMILY}">\n'
        f'<rect width="100%" height="100%" fill="{_PAPER}"/>\n{body}\n</svg>\n'
    )


def _element(shape: Shape) -> str:
    if isinstance(shape, Text):
        anchor = "start" if shape.left else "middle"
        x, y = shape.at
        words = html.escape(shape.words)
        return (
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{shape.size}" fill="{shape.colour}" text-anchor="{anchor}">{words}</text>'
        )
    line, filling, _ = _LOOKS[shape.status]
    dashes = ' stroke-dasharray="6 4"' if shape.status == "removed" else ""
    if isinstance(shape, Frame):
        (x, y), (width, height) = shape.corner, shape.size
        return (
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{shape.radius:.1f}" '
            f'fill="{filling}" stroke="{line}" stroke-width="1.5"{dashes}/>'
        )
    curves = "".join(
        f" C{b[0]:.1f} {b[1]:.1f} {c[0]:.1f} {c[1]:.1f} {d[0]:.1f} {d[1]:.1f}" for _, b, c, d in _curve(shape.points)
    )
    (x, y), tip = shape.points[0], " ".join(f"{a:.1f},{b:.1f}" for a, b in _tip(shape.points[-1]))
    return (
        f'<path d="M{x:.1f} {y:.1f}{curves}" fill="none" stroke="{line}" stroke-width="1.5"{dashes}/>'
        f'<polygon points="{tip}" fill="{line}"/>'
    )


def _tip(end: Point) -> list[Point]:
    x, y = end
    return [(x, y), (x - 4, y - 8), (x + 4, y - 8)]


def _png(shapes: Sequence[Shape], size: Size, path: Path) -> None:
    """Painted larger and made smaller, which smooths the lines; a very large picture is painted as it is."""
    from PIL import Image, ImageDraw

    fine = 2 if size[0] * size[1] * (2 * _SCALE) ** 2 < _MOST_PIXELS else 1
    scale = _SCALE * fine
    picture = Image.new("RGB", (round(size[0] * scale), round(size[1] * scale)), _PAPER)
    pen, fonts = _Pen(ImageDraw.Draw(picture), scale), _fonts(scale)
    for shape in shapes:
        pen.paint(shape, fonts)
    (picture if fine == 1 else picture.reduce(fine)).save(path)


class _Pen:
    """Paints shapes on a picture of some scale."""

    def __init__(self, pen: ImageDraw.ImageDraw, scale: int) -> None:
        self._pen, self._scale, self._width = pen, scale, round(1.5 * scale)

    def paint(self, shape: Shape, fonts: Fonts) -> None:
        """One of them."""
        if isinstance(shape, Text):
            anchor = "ls" if shape.left else "ms"
            self._pen.text(self._large(shape.at), shape.words, shape.colour, font=fonts[shape.size], anchor=anchor)
            return
        line, filling, _ = _LOOKS[shape.status]
        if isinstance(shape, Stroke):
            self._line([self._large(point) for point in _samples(shape.points)], line, dashed=shape.status == "removed")
            self._pen.polygon([self._large(point) for point in _tip(shape.points[-1])], fill=line)
            return
        (x, y), (width, height) = shape.corner, shape.size
        corners = (*self._large((x, y)), *self._large((x + width, y + height)))
        self._pen.rounded_rectangle(corners, shape.radius * self._scale, fill=filling, outline=line, width=self._width)
        if shape.status == "removed":
            self._gaps(corners, shape.radius * self._scale, filling)

    def _large(self, point: Point) -> Point:
        return (point[0] * self._scale, point[1] * self._scale)

    def _line(self, points: Sequence[Point], colour: str, dashed: bool) -> None:
        if not dashed:
            self._pen.line(points, fill=colour, width=self._width, joint="curve")
            return
        travelled = 0.0
        for a, b in itertools.pairwise(_fine(points, self._scale)):
            if travelled % (10 * self._scale) < 6 * self._scale:
                self._pen.line((a, b), fill=colour, width=self._width)
            travelled += math.dist(a, b)

    def _gaps(self, corners: tuple[float, float, float, float], radius: float, filling: str) -> None:
        """Make the straight parts of an outline dashed by painting over it."""
        left, top, right, bottom = corners
        gap, width = 4 * self._scale, self._width
        for start in self._steps(left + radius, right - radius):
            for y in (top, bottom - width + 1):
                self._pen.rectangle((start, y, start + gap, y + width - 1), fill=filling)
        for start in self._steps(top + radius, bottom - radius):
            for x in (left, right - width + 1):
                self._pen.rectangle((x, start, x + width - 1, start + gap), fill=filling)

    def _steps(self, start: float, end: float) -> Iterator[float]:
        while start + 4 * self._scale < end:
            yield start
            start += 10 * self._scale


def _fine(points: Sequence[Point], step: float) -> Iterator[Point]:
    """The same line in steps no longer than `step`, so that dashes come out even."""
    yield points[0]
    for a, b in itertools.pairwise(points):
        count = max(1, math.ceil(math.dist(a, b) / step))
        yield from ((a[0] + (b[0] - a[0]) * i / count, a[1] + (b[1] - a[1]) * i / count) for i in range(1, count + 1))


def _samples(points: Sequence[Point], count: int = 48) -> list[Point]:
    found = [points[0]]
    for a, b, c, d in _curve(points):
        if a[0] == d[0]:
            found.append(d)
            continue
        for i in range(1, count + 1):
            t = i / count
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
            found.append((sum(w * p[0] for w, p in zip(weights, (a, b, c, d), strict=True)),
                          sum(w * p[1] for w, p in zip(weights, (a, b, c, d), strict=True))))  # fmt: skip
    return found
