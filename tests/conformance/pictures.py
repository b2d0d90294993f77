"""The pictures and canvases that every preset is held against, and the fixture files.

A fixture is an .npz: `tensors` is what the library hands to its model, of every case [3, rows, width], flat, a 16-bit number a
value between the `low` and `high` of its channel (half a hundredth of a level at most); `boxes` is BOX, carried back by it.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "preprocessing"
#: A box of the canvas, whose corners every library takes back to the picture.
BOX = (20.25, 18.5, 38.75, 41.0)


@dataclass(frozen=True)
class Case:
    """A picture for a canvas; `said` is what the preset and the library are told beyond their defaults."""

    picture: str
    height: int = 64
    width: int = 64
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> list[int]:
        """The rows that are stored: all of a small canvas, first, last and a few between of a large one."""
        few = [0, 1, self.height // 3, self.height // 2, self.height - 2, self.height - 1]
        return list(range(self.height)) if self.height <= 64 else few


#: Every shape that matters: the picture's name, its canvas.
CASES = (
    Case("tall"),
    Case("wide"),
    Case("tall", 32, 96),
    Case("wide", 96, 32),
    Case("tiny"),
    Case("pixel"),
    Case("exact"),
    Case("odd", 32, 64),
    Case("ramp"),
    Case("photo", 320, 416),
)
#: The same without canvases that are not square.
SQUARE = (*(case for case in CASES if case.height == case.width), Case("photo", 320, 320), Case("odd", 96, 96))


@functools.cache
def picture(name: str) -> NDArray[np.uint8]:
    """RGB [h, w, 3]: two photos that scikit-image carries, and patterns made of whole numbers only."""
    from skimage import data

    patterns = {"tiny": (3, 5), "pixel": (1, 1), "exact": (64, 64), "odd": (108, 81)}
    if name in patterns:
        return _noise(*patterns[name])
    if name == "ramp":
        rows, columns = np.mgrid[0:59, 0:37]
        ramp: NDArray[np.uint8] = np.stack([rows * 4, columns * 6, (rows + columns) * 2], axis=-1).astype(np.uint8)
        return ramp
    cut = {"tall": ("chelsea", 20, 100, 211, 97), "wide": ("coffee", 150, 120, 101, 333), "photo": ("coffee", 0, 0, 400, 600)}
    source, y, x, h, w = cut[name]
    return np.ascontiguousarray(getattr(data, source)()[y : y + h, x : x + w])


def _noise(height: int, width: int) -> NDArray[np.uint8]:
    """Levels by a multiplicative hash of their place: the same on every machine and version."""
    place = np.arange(height * width * 3, dtype=np.uint64)
    levels = (place * np.uint64(2654435761) % np.uint64(2**32)) >> np.uint64(24)
    result: NDArray[np.uint8] = levels.astype(np.uint8).reshape(height, width, 3)
    return result


def save(kind: str, version: str, results: list[tuple[Case, NDArray[np.float32], tuple[float, ...]]]) -> Path:
    """Write the fixture of a kind: each case with its tensor [3, height, width] and the box carried back."""
    bounds, values = [], []
    for case, tensor, _ in results:
        kept = tensor[:, case.rows].astype(np.float64)
        low, high = kept.min(axis=(1, 2)), np.maximum(kept.max(axis=(1, 2)), kept.min(axis=(1, 2)) + 1e-6)
        bounds.append([low, high])
        values.append(np.rint((kept - low[:, None, None]) / (high - low)[:, None, None] * 65535).astype(np.uint16).ravel())
    cases = [[case.picture, case.height, case.width, case.said] for case, _, _ in results]
    FIXTURES.mkdir(parents=True, exist_ok=True)
    tensors, boxes = np.concatenate(values), np.array([box for _, _, box in results])
    path = FIXTURES / f"{kind}.npz"
    np.savez_compressed(path, version=version, cases=json.dumps(cases), bounds=np.array(bounds), tensors=tensors, boxes=boxes)
    return path


def load(kind: str) -> tuple[str, list[tuple[Case, NDArray[np.float64], NDArray[np.float64]]]]:
    """The library's version, and of each case: the stored rows [3, rows, width] and the box."""
    with np.load(FIXTURES / f"{kind}.npz") as file:
        cases = [Case(*entry) for entry in json.loads(str(file["cases"]))]
        result, start = [], 0
        for case, (low, high), box in zip(cases, file["bounds"], file["boxes"], strict=True):
            shape = (3, len(case.rows), case.width)
            flat = file["tensors"][start : (start := start + int(np.prod(shape)))].reshape(shape) / 65535
            result.append((case, flat * (high - low)[:, None, None] + low[:, None, None], box))
        return str(file["version"]), result


def moved(box: tuple[float, ...], scale: tuple[float, float], offset: tuple[float, float]) -> tuple[float, ...]:
    """A box of the canvas on the picture, where canvas = picture * scale + offset."""
    return tuple((value - offset[i % 2]) / scale[i % 2] for i, value in enumerate(box))
