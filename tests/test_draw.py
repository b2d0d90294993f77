"""What is drawn: seen by pixels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from generator import draw
from generator.answers import Classification, Detections
from generator.errors import ClientError

GREY = (128, 128, 128)


def detections(*boxes: tuple[float, float, float, float], classes: tuple[int, ...] = ()) -> Detections:
    numbers = np.array(classes or range(len(boxes)), np.int32)
    scores = np.linspace(0.9, 0.5, len(boxes)).astype(np.float32)
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), scores, numbers, tuple(f"thing {n}" for n in numbers))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def changed(before: Image.Image, after: Image.Image) -> np.ndarray[Any, Any]:
    """Where pixels differ, [height, width]."""
    differ: np.ndarray[Any, Any] = (np.asarray(before) != np.asarray(after)).any(axis=2)
    return differ


def test_the_frame_lies_on_the_box_and_has_the_colour_of_its_class() -> None:
    picture = Image.new("RGB", (800, 600), GREY)
    drawn = draw.draw(picture, detections((200, 150, 500, 450), classes=(3,)))
    assert drawn.getpixel((200, 300)) == draw.colour(3)  # left edge
    assert drawn.getpixel((500, 300)) == draw.colour(3)  # right
    assert drawn.getpixel((350, 450)) == draw.colour(3)  # bottom
    assert drawn.getpixel((350, 300)) == GREY  # inside
    assert drawn.getpixel((700, 300)) == GREY  # outside
    assert picture.getpixel((200, 300)) == GREY  # the original is not touched


def test_the_label_stands_above_the_box_on_a_ground_of_its_colour() -> None:
    picture = Image.new("RGB", (800, 600), GREY)
    drawn = draw.draw(picture, detections((200, 150, 500, 450), classes=(3,)))
    above = np.asarray(drawn)[120:148, 200:300].reshape(-1, 3)
    ground = (above == draw.colour(3)).all(axis=1).mean()
    assert 0.3 < ground < 0.98  # ground, and letters on it


@pytest.mark.parametrize("box", [(0, 0, 799, 599), (760, -50, 900, 40), (-30, 560, 20, 700), (790, 590, 799, 599)])
def test_labels_stay_inside_the_picture(box: tuple[float, float, float, float]) -> None:
    look = draw.style((800, 600))
    size = draw._label_size("thing 0 0.90", look)
    x1, y1, x2, y2 = draw._place(draw._on_canvas(box, (800, 600)), size, (800, 600), [])
    assert 0 <= x1 < x2 <= 800
    assert 0 <= y1 < y2 <= 600


def test_labels_of_boxes_on_one_spot_do_not_cover_each_other() -> None:
    taken: list[draw.Box] = []
    for _ in range(6):
        place = draw._place((300, 200, 500, 400), (100, 24), (800, 600), taken)
        assert all(draw._overlap(place, other) == 0 for other in taken)
        taken.append(place)


def test_lines_and_letters_grow_with_the_picture() -> None:
    box = (0.25, 0.25, 0.75, 0.75)
    shares = []
    for side in (500, 1000, 4000):
        picture = Image.new("RGB", (side, side), GREY)
        share = changed(picture, draw.draw(picture, detections(tuple(v * side for v in box)))).mean()  # type: ignore[arg-type]
        shares.append(share)
    assert max(shares) / min(shares) < 1.6  # the same share of the picture at any size


def test_a_small_picture_is_enlarged_and_its_boxes_with_it() -> None:
    picture = Image.new("RGB", (32, 24), GREY)
    drawn = draw.draw(picture, detections((8, 10, 24, 20), classes=(3,)))
    assert drawn.size == (320, 240)
    assert drawn.getpixel((80, 150)) == draw.colour(3)
    assert drawn.getpixel((160, 150)) == GREY


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (20, 20)])
def test_no_size_is_too_odd(size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, GREY)
    assert changed(
        picture.resize(draw.draw(picture, detections((0, 0, *size))).size), draw.draw(picture, detections((0, 0, *size)))
    ).any()
    answer = Classification(np.array([1.0], np.float32), np.array([0], np.int32), ("a",))
    assert draw.draw(picture, answer).height > size[1]


def test_nothing_found_changes_nothing() -> None:
    picture = Image.new("RGB", (400, 400), GREY)
    assert not changed(picture, draw.draw(picture, detections())).any()


def test_classes_stand_below_the_picture_with_bars_as_long_as_their_scores() -> None:
    picture = Image.new("RGB", (600, 400), GREY)
    answer = Classification(np.array([0.75, 0.25], np.float32), np.array([4, 9], np.int32), ("espresso", "cup"))
    drawn = draw.draw(picture, answer)
    assert drawn.width == 600
    pixels = np.asarray(drawn)
    assert (pixels[:400] == GREY).all()
    strip = pixels[400:]
    for part, score in zip(np.array_split(strip, 2), (0.75, 0.25), strict=True):
        bar = (part[2] != 255).any(axis=1)  # a row above the letters
        assert bar.sum() == pytest.approx(600 * score, abs=1)


def test_a_long_label_is_cut_to_the_picture() -> None:
    look = draw.style((400, 400))
    text = draw._fit("a label that nobody could ever read on so narrow a picture " * 3, look, 400)
    assert text.endswith("…")
    assert draw._label_size(text, look)[0] <= 400


def test_the_picture_is_loaded_as_it_is_seen() -> None:
    image = Image.new("RGB", (40, 20), GREY)
    image.paste((255, 0, 0), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: shown 90 degrees clockwise
    seen = draw.load(encoded(image, exif=exif), "turned.png")
    assert seen.size == (20, 40)
    assert seen.getpixel((10, 5)) == (255, 0, 0)


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    deep = Image.fromarray(np.full((4, 4), 0x8000, np.uint16))
    assert draw.load(encoded(deep), "deep.png").getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_other_modes_become_rgb(mode: str) -> None:
    image = Image.new("RGB", (8, 8), (255, 255, 255)).convert(mode)
    seen = draw.load(encoded(image, "JPEG" if mode == "CMYK" else "PNG"), mode)
    assert (seen.mode, seen.getpixel((0, 0))) == ("RGB", (255, 255, 255))


@pytest.mark.parametrize("data", [b"", b"text", encoded(Image.new("RGB", (64, 64)), "JPEG")[:200]])
def test_what_is_no_picture_is_named(data: bytes) -> None:
    with pytest.raises(ClientError, match=r"x\.jpg: cannot be drawn on"):
        draw.load(data, "x.jpg")


def test_neighbouring_classes_have_distant_colours() -> None:
    colours = np.array([draw.colour(n) for n in range(12)], float)
    gaps = np.abs(colours[1:] - colours[:-1]).sum(axis=1)
    assert gaps.min() > 150
    assert len({draw.colour(n) for n in range(80)}) == 80
