"""Draws an answer into its picture: boxes with labels, or a caption with the best classes. Pillow only, with its own font."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from generator.answers import Answer, Classification, Detections
from generator.errors import ClientError

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

#: A picture whose longer side is shorter is enlarged by a whole factor first, so that text on it can be read.
MIN_SIDE = 320
_MIN_FONT = 12
_INK, _PAPER = (20, 20, 20), (255, 255, 255)

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Style:
    """Sizes in pixels that fit the picture."""

    line: int
    font: Font
    pad: int


def load(encoded: bytes, name: str) -> Image.Image:
    """The picture as it is seen: RGB, EXIF orientation applied, 16-bit grey scaled. Raises ClientError for what is no picture."""
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            opened.load()
            turned = ImageOps.exif_transpose(opened)
    except Exception as error:  # Pillow's plug-ins raise OSError, SyntaxError, ValueError, struct.error and more
        raise ClientError(f"{name}: cannot be drawn on: {error}", "name a JPEG or PNG file") from None
    if turned.mode.startswith("I"):  # Pillow's own conversion clips 16 bits to white
        turned = Image.fromarray((np.asarray(turned).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    return turned.convert("RGB")


def draw(picture: Image.Image, answer: Answer) -> Image.Image:
    """A new RGB picture with the answer drawn in.

    Boxes are in pixels of `picture`. Line width and text grow with it; one with a longer side below MIN_SIDE is enlarged.
    """
    factor = -(-MIN_SIDE // max(picture.size)) if max(picture.size) < MIN_SIDE else 1
    canvas = picture.resize((picture.width * factor, picture.height * factor), 0) if factor > 1 else picture.copy()
    if isinstance(answer, Detections):
        _detections(canvas, answer, factor)
        return canvas
    return _classification(canvas, answer)


def colour(number: int) -> Colour:
    """A colour for class `number`, always the same; neighbours lie far apart on the colour circle."""
    hue = number * 0.618033988749895 % 1  # the golden ratio spreads any count of hues evenly
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, (0.95, 0.8)[number // 8 % 2])
    return round(red * 255), round(green * 255), round(blue * 255)


def style(size: tuple[int, int]) -> _Style:
    """Line width, font and padding for a picture of `size`."""
    from PIL import ImageFont

    width, height = size
    reach = (width * height) ** 0.5  # a panorama should not get letters for its length
    text = max(_MIN_FONT, round(reach * 0.024))
    return _Style(line=max(2, round(reach * 0.004)), font=ImageFont.load_default(text), pad=max(2, text // 4))


def _detections(canvas: Image.Image, answer: Detections, factor: int) -> None:
    from PIL import ImageDraw

    pen, look = ImageDraw.Draw(canvas), style(canvas.size)
    boxes = [tuple(float(v) * factor for v in box) for box in answer.boxes]
    order = sorted(range(len(answer)), key=lambda i: float(answer.scores[i]))
    for i in order:  # the strongest last, on top
        _frame(pen, _on_canvas(boxes[i], canvas.size), colour(int(answer.classes[i])), look.line)
        for x, y, *_ in answer.extras["keypoints"][i] if "keypoints" in answer.extras else ():
            _dot(pen, (float(x) * factor, float(y) * factor), colour(int(answer.classes[i])), look.line)
    taken: list[Box] = []
    for i in reversed(order):  # the strongest chooses its place first
        text = _fit(f"{answer.labels[i]} {answer.scores[i]:.2f}", look, canvas.width)
        place = _place(_on_canvas(boxes[i], canvas.size), _label_size(text, look), canvas.size, taken)
        taken.append(place)
        _label(pen, text, place, colour(int(answer.classes[i])), look)


def _dot(pen: ImageDraw.ImageDraw, at: tuple[float, float], ink: Colour, line: int) -> None:
    x, y = at
    pen.ellipse((x - line, y - line, x + line, y + line), fill=ink, outline=_INK)


def _on_canvas(box: Iterable[float], size: tuple[int, int]) -> Box:
    x1, y1, x2, y2 = box
    width, height = size[0] - 1, size[1] - 1
    left, right = sorted((min(max(x1, 0), width), min(max(x2, 0), width)))
    top, bottom = sorted((min(max(y1, 0), height), min(max(y2, 0), height)))
    return left, top, right, bottom


def _frame(pen: ImageDraw.ImageDraw, box: Box, ink: Colour, line: int) -> None:
    """The rectangle with a thin dark edge on either side, which keeps it visible on a ground of its own colour."""
    x1, y1, x2, y2 = box
    pen.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=_INK, width=line + 2)
    pen.rectangle(box, outline=ink, width=line)


def _label_size(text: str, look: _Style) -> tuple[int, int]:
    left, top, right, bottom = look.font.getbbox(text)
    # one height for all labels, whether or not a letter of this one reaches below the line
    low, high = look.font.getbbox("Ág")[1], look.font.getbbox("Ág")[3]
    return round(right - left) + 2 * look.pad, round(max(bottom, high) - min(top, low)) + look.pad


def _fit(text: str, look: _Style, width: int) -> str:
    """The text, cut with an ellipsis where it is wider than the picture."""
    if _label_size(text, look)[0] <= width:
        return text
    while text and _label_size(text + "…", look)[0] > width:
        text = text[:-1]
    return text + "…"


def _place(box: Box, size: tuple[int, int], canvas: tuple[int, int], taken: Sequence[Box]) -> Box:
    """Where the label goes: above, inside or below the box; the first place that covers no other label, or the least of one."""
    x1, y1, x2, y2 = box
    width, height = size
    corners = [(x1, y1 - height), (x1, y1), (x1, y2), (x1, y2 - height), (x2 - width, y1 - height), (x2 - width, y1)]
    corners += [(x2 - width, y2), (x2 - width, y2 - height), *((x1, y1 + step * height) for step in range(1, 6))]
    best: tuple[float, Box] | None = None
    for corner in corners:
        x, y = min(max(corner[0], 0), max(0, canvas[0] - width)), min(max(corner[1], 0), max(0, canvas[1] - height))
        spot = (x, y, x + width, y + height)
        covered = sum(_overlap(spot, other) for other in taken)
        if covered == 0:
            return spot
        if best is None or covered < best[0]:
            best = (covered, spot)
    assert best is not None
    return best[1]


def _overlap(a: Box, b: Box) -> float:
    """The area that two rectangles share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _label(pen: ImageDraw.ImageDraw, text: str, place: Box, ground: Colour, look: _Style) -> None:
    pen.rectangle((place[0], place[1], place[2] - 1, place[3] - 1), fill=ground)
    middle = (place[1] + place[3]) / 2
    pen.text((place[0] + look.pad, middle), text, fill=_readable(ground), font=look.font, anchor="lm")


def _readable(ground: Colour) -> Colour:
    """Dark text on a bright ground, bright on a dark one."""
    red, green, blue = ground
    return _INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else _PAPER


def _classification(picture: Image.Image, answer: Classification) -> Image.Image:
    """The picture with a strip beneath: a line a class, its bar as long as its score."""
    from PIL import Image, ImageDraw

    look = style((max(picture.width, MIN_SIDE), max(picture.height, MIN_SIDE)))
    width = max(picture.width, MIN_SIDE)
    lines = [_fit(f"{score:.2f}  {label}", look, width) for label, score in zip(answer.labels, answer.scores, strict=True)]
    row = max((_label_size(line, look)[1] for line in lines), default=0) + look.pad
    canvas = Image.new("RGB", (width, picture.height + row * len(lines)), _PAPER)
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    pen = ImageDraw.Draw(canvas)
    for i, line in enumerate(lines):
        top = picture.height + i * row
        bar = round(width * min(max(float(answer.scores[i]), 0.0), 1.0))
        tint = tuple(255 - (255 - part) * 2 // 5 for part in colour(int(answer.classes[i])))
        if bar:
            pen.rectangle((0, top, bar - 1, top + row - 1), fill=tint)
        pen.text((look.pad, top + row / 2), line, fill=_INK, font=look.font, anchor="lm")
    return canvas
