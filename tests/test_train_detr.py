"""The views that the small RT-DETR is trained on: the boxes must go where the pixels go."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import train_detr


def photo(label: int, colour: tuple[int, int, int], box: tuple[int, int, int, int]) -> train_detr.View:
    """200 x 160 pixels of black with one filled box."""
    image = Image.new("RGB", (200, 160))
    image.paste(colour, box)
    left, top, right, bottom = box
    return train_detr.View(image, [(label, (left / 200, top / 160, right / 200, bottom / 160))])


PHOTOS = [photo(0, (255, 0, 0), (60, 30, 140, 120)), photo(1, (0, 255, 0), (50, 40, 150, 130))]


@pytest.mark.parametrize("seed", range(40))
def test_a_box_surrounds_its_pixels_in_every_view(seed: int) -> None:
    view = train_detr.drawn(random.Random(seed), PHOTOS)
    image = np.asarray(view.image).astype(int)
    assert image.shape == (train_detr.SIZE, train_detr.SIZE, 3)
    assert view.objects
    for label, box in view.objects:
        left, top, right, bottom = (round(edge * train_detr.SIZE) for edge in box)
        inside = image[top + 2 : bottom - 2, left + 2 : right - 2]
        assert (inside[..., label] > 60).all(), "every pixel in the box is of the object's colour"
    covered = sum((right - left) * (bottom - top) for _, (left, top, right, bottom) in view.objects)
    coloured = (image[..., :2].max(-1) > 60).mean()
    assert coloured - covered < 0.12, "nothing but a small rest of an object is left without a box"


def test_an_object_cut_to_less_than_a_third_is_dropped() -> None:
    whole = [(0, (0.0, 0.0, 0.5, 1.0))]
    assert train_detr._seen(whole, (0.4, 0.0, 1.0, 1.0)) == []
    assert train_detr._seen(whole, (0.25, 0.0, 0.75, 1.0)) == [(0, (0.0, 0.0, 0.5, 1.0))]


def test_the_photos_boxes_lie_in_them() -> None:
    for name, objects in train_detr.PHOTOS.items():
        with Image.open(train_detr.ROOT / "weights" / name) as image:
            width, height = image.size
        for label, (left, top, right, bottom) in objects:
            assert label in train_detr.LABELS
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
