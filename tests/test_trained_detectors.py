"""Trained detectors of several families, built from `examples/detectors/`, served, and held against their own packages' boxes.

tests/fixtures/detectors.json holds what the packages' own code says of the photos (scripts/detector_boxes.py). Detectors whose
weights `make` does not fetch are skipped: `python scripts/fetch_weights.py weights --all`, `python scripts/train_detr.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
from PIL import Image

from generator.answers import Detections
from generator.build import build, plan
from generator.client import Client
from generator.compare import iou
from generator.errors import SpecError
from generator.server import Server

ROOT = Path(__file__).resolve().parent.parent
FIXTURE = json.loads((ROOT / "tests" / "fixtures" / "detectors.json").read_text(encoding="utf-8"))
#: What it may differ by from its own pipeline: score, and pixels of the photo.
BOUNDS = {
    "centerface": (1e-5, 0.05),
    "retinaface": (1e-5, 0.05),
    "picodet_layout": (1e-4, 0.1),
    "yolov8_doclaynet": (1e-4, 0.5),
    "rtdetr_photos": (1e-4, 0.05),
}
HEAVY = {"yolov8_doclaynet", "rtdetr_photos"}


def pictures() -> dict[str, Path]:
    photos, data = ROOT / "weights" / "photos", Path(skimage.__file__).parent / "data"
    first = {name: ROOT / "weights" / "yolov4-tiny" / f"{name}.jpg" for name in ("bus", "zidane")}
    return (
        first
        | {n: photos / f"{n}.png" for n in ("astronaut", "chelsea", "coffee")}
        | {n: data / f"{n}.png" for n in ("page", "text")}
    )


@dataclass
class Found:
    """One detector at one batch size."""

    boxes: int = 0
    matched: int = 0
    extra: int = 0
    score: float = 0.0
    pixels: float = 0.0
    missing: list[str] = field(default_factory=list)

    def add(self, name: str, expected: list[list[Any]], answer: Detections) -> None:
        self.boxes += len(expected)
        self.extra += len(answer) - len(expected)
        free = set(range(len(answer)))
        for label, score, *box in expected:
            overlap = iou(np.array([box]), answer.boxes)[0] if len(answer) else np.zeros(0)
            at = max((i for i in free if answer.labels[i] == label), key=lambda i: float(overlap[i]), default=None)
            if at is None or overlap[at] < 0.9:
                self.missing.append(f"{name}: {label} {score} {box}")
                continue
            free.discard(at)
            self.matched += 1
            self.score = max(self.score, abs(score - float(answer.scores[at])))
            self.pixels = max(self.pixels, float(np.abs(np.array(box) - answer.boxes[at]).max()))


def compared(client: Client, name: str, batch: int) -> Found:
    """Every picture of the fixture, `batch` in each request; what they lack is filled up with the first ones again."""
    expected, found = FIXTURE[name]["pictures"], Found()
    names = [*expected, *list(expected) * batch][: max(batch, len(expected))]
    for start in range(0, len(names), batch):
        part = names[start : start + batch]
        for picture, answer in zip(part, client.infer([pictures()[p] for p in part]), strict=True):
            assert isinstance(answer, Detections)
            found.add(picture, [within(row, picture) for row in expected[picture]], answer)
    return found


def within(row: list[Any], name: str) -> list[Any]:
    """Ours are cut at the picture's edge, which not every package does."""
    with Image.open(pictures()[name]) as picture:
        width, height = picture.size
    return [*row[:2], *(min(max(v, 0), top) for v, top in zip(row[2:], (width, height) * 2, strict=True))]


def marked() -> list[Any]:
    return [pytest.param(name, marks=[pytest.mark.full] if name in HEAVY else []) for name in sorted(FIXTURE)]


@pytest.mark.parametrize("name", marked())
def test_the_same_boxes_as_the_detectors_own_code(name: str, tmp_path: Path) -> None:
    spec = ROOT / "examples" / "detectors" / f"{name}.yaml"
    try:
        planned = plan([spec], tmp_path / "repo")
    except SpecError as error:
        if "no such file" not in error.message:
            raise
        pytest.skip(f"its weights are not there: {error.message}")
    build(planned, tmp_path / "repo", lambda _step, _said: None)
    score, pixels = BOUNDS[name]
    with Server(tmp_path / "repo", timeout=120) as server, Client(server.grpc_url, name) as client:
        for batch in (1, 8):
            found = compared(client, name, batch)
            print(
                f"{name}, batch {batch}: {found.matched} of {found.boxes} boxes, {found.extra} more, largest difference: "
                f"score {found.score:.1e}, {found.pixels:.3f} pixels"
            )
            assert found.missing == []
            assert found.extra == 0
            assert found.matched == found.boxes > 0
            assert found.score <= score
            assert found.pixels <= pixels


def test_an_example_for_each() -> None:
    examples = {path.stem for path in (ROOT / "examples" / "detectors").glob("*.yaml")}
    assert examples == set(FIXTURE) == set(BOUNDS)
