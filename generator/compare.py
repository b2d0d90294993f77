"""Two answers to the same input: how far apart are they, and how wide a tolerance would have been needed? Pure NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generator.bounds import Bounds

#: Two boxes are the same box from here on.
SAME_BOX_IOU = 0.9
#: Pixels between the corners of boxes so small that their overlap says nothing.
SAME_CORNERS = 0.01

#: Pixels that a key point of a box that matches may move.
_CORNERS = 0.1
_KNOWN = {"num_dets", "det_boxes", "det_scores", "det_classes", "det_labels"}

Arrays = Mapping[str, NDArray[Any]]


@dataclass
class Comparison:
    """What one rung found. `compared` counts values; a rung that compared none has failed, whatever else it says."""

    compared: int = 0
    max_abs: float = 0.0
    max_rel: float = 0.0
    boxes: int = 0
    matched: int = 0
    missed: int = 0
    score: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Within every bound, and something was compared."""
        return self.compared > 0 and not self.problems

    def add(self, other: Comparison) -> None:
        """Take the worse of both."""
        self.compared += other.compared
        self.max_abs, self.max_rel = max(self.max_abs, other.max_abs), max(self.max_rel, other.max_rel)
        self.boxes, self.matched, self.missed = self.boxes + other.boxes, self.matched + other.matched, self.missed + other.missed
        self.score = max(self.score, other.score)
        self.problems += other.problems


def tensors(expected: Arrays, found: Arrays, absolute: float, relative: float, of_largest: float = 0.0) -> Comparison:
    """Every expected tensor: present, same shape, numbers within `absolute + relative * |expected|`, all else equal.

    `of_largest` times the largest finite |expected| of a tensor is added to `absolute`.
    """
    result = Comparison()
    for name, a in expected.items():
        if name not in found:
            result.problems.append(f"{name} is missing; there are {', '.join(found) or 'no tensors'}")
        elif (b := found[name]).shape != a.shape:
            result.problems.append(f"{name} has shape {list(b.shape)}, expected {list(a.shape)}")
        elif np.issubdtype(a.dtype, np.floating):
            size = float(np.abs(a[np.isfinite(a)]).max(initial=0.0))
            result.add(_floats(name, a.astype(np.float64), b.astype(np.float64), absolute + of_largest * size, relative))
        else:
            result.add(_equal(name, a, b))
    return result


def _floats(name: str, a: NDArray[np.float64], b: NDArray[np.float64], absolute: float, relative: float) -> Comparison:
    if not (np.isfinite(a) == np.isfinite(b)).all():
        return Comparison(compared=a.size, problems=[f"{name}: NaN or infinity on one side only"])
    finite = np.isfinite(a)
    distance, size = np.abs(a - b)[finite], np.abs(a)[finite]
    result = Comparison(compared=a.size, max_abs=float(distance.max(initial=0.0)))
    large = size > max(absolute, 1e-12)
    result.max_rel = float((distance[large] / size[large]).max(initial=0.0))
    needed = float((distance - relative * size).max(initial=0.0))
    if needed > absolute:
        result.problems.append(
            f"{name} differs by {result.max_abs:.3g}; the absolute bound is {absolute:.3g}, it would need {needed:.3g}"
        )
    return result


def _equal(name: str, a: NDArray[Any], b: NDArray[Any]) -> Comparison:
    a, b = _texts(a), _texts(b)
    wrong = np.argwhere(a != b)
    problems = []
    if len(wrong):
        at = tuple(int(i) for i in wrong[0])
        problems.append(f"{name}: {len(wrong)} of {a.size} values differ, first at {list(at)}: {b[at]!r}, expected {a[at]!r}")
    return Comparison(compared=a.size, max_abs=0.0, problems=problems)


def _texts(values: NDArray[Any]) -> NDArray[Any]:
    """A BYTES tensor's elements as bytes: the server gives those, ONNX Runtime and frameworks give texts."""
    if values.dtype != np.dtype(object):
        return values
    plain = [item.encode() if isinstance(item, str) else item for item in values.reshape(-1)]
    found = np.empty(len(plain), dtype=object)
    found[:] = plain
    return found.reshape(values.shape)


def detections(expected: Arrays, found: Arrays, bounds: Bounds, threshold: float) -> Comparison:
    """Batches of the EfficientNMS contract, picture by picture: boxes matched by class and IoU >= 0.9.

    A box without a partner is no miss where its score lies within `bounds.score` of the threshold: the threshold decided.
    """
    missing = [name for name in ("num_dets", "det_boxes", "det_scores", "det_classes") if name not in found]
    if missing:
        return Comparison(problems=[f"{', '.join(missing)} missing; there are {', '.join(found) or 'no tensors'}"])
    if len(expected["num_dets"]) != len(found["num_dets"]):
        return Comparison(problems=[f"{len(found['num_dets'])} pictures answered, expected {len(expected['num_dets'])}"])
    result = Comparison()
    for picture in range(len(expected["num_dets"])):
        result.add(_picture(_valid(expected, picture), _valid(found, picture), bounds, threshold))
    return result


def _valid(arrays: Arrays, picture: int) -> dict[str, NDArray[Any]]:
    count = int(np.ravel(arrays["num_dets"][picture])[0])
    return {name: values[picture][:count] for name, values in arrays.items() if name != "num_dets"}


def _picture(a: dict[str, NDArray[Any]], b: dict[str, NDArray[Any]], bounds: Bounds, threshold: float) -> Comparison:
    pairs = _pairs(a, b)
    result = Comparison(compared=1 + len(pairs), boxes=len(a["det_scores"]), matched=len(pairs))
    for i, j in pairs:
        result.max_abs = max(result.max_abs, float(np.abs(a["det_boxes"][i] - b["det_boxes"][j]).max()))
        result.score = max(result.score, abs(float(a["det_scores"][i]) - float(b["det_scores"][j])))
        for name in sorted(name for name in set(a) - _KNOWN if name.startswith("det_")):
            problem = _extra(name, a[name][i], b[name][j] if name in b else None, bounds)
            result.problems += [problem] if problem else []
        if "det_labels" in a and a["det_labels"][i] != b["det_labels"][j]:
            result.problems.append(f"label {b['det_labels'][j]!r}, expected {a['det_labels'][i]!r}")
    alone = [a["det_scores"][i] for i in range(len(a["det_scores"])) if i not in {p for p, _ in pairs}]
    alone += [b["det_scores"][j] for j in range(len(b["det_scores"])) if j not in {q for _, q in pairs}]
    result.missed = sum(abs(float(score) - threshold) > bounds.score for score in alone)
    if result.missed > bounds.unmatched:
        result.problems.append(
            f"{result.missed} boxes found no partner of their class at IoU >= {SAME_BOX_IOU}; {bounds.unmatched} may"
        )
    if result.score > bounds.score:
        result.problems.append(f"scores differ by {result.score:.3g}; the bound is {bounds.score:.3g}")
    return result


def _extra(name: str, a: NDArray[Any], b: NDArray[Any] | None, bounds: Bounds) -> str:
    """What is wrong with an extra of two boxes that match."""
    if b is None:
        return f"{name} is missing"
    distance = float(np.abs(a.astype(np.float64) - b).max(initial=0.0))
    size = float(np.abs(a).max(initial=0.0))
    limit = (_CORNERS if name == "det_keypoints" else bounds.absolute + bounds.relative * size) + bounds.of_largest * size
    return "" if distance <= limit else f"{name} differs by {distance:.3g}; the bound is {limit:.3g}"


def _pairs(a: dict[str, NDArray[Any]], b: dict[str, NDArray[Any]]) -> list[tuple[int, int]]:
    """Greedy: the best overlapping pair of one class first. A box without area (cut at an edge) matches by its corners."""
    same = np.abs(a["det_boxes"][:, None, :] - b["det_boxes"][None, :, :]).max(-1, initial=0.0) < SAME_CORNERS
    overlap = np.maximum(iou(a["det_boxes"], b["det_boxes"]), same) * (a["det_classes"][:, None] == b["det_classes"][None, :])
    pairs = []
    while overlap.size and overlap.max() >= SAME_BOX_IOU:
        i, j = np.unravel_index(int(overlap.argmax()), overlap.shape)
        pairs.append((int(i), int(j)))
        overlap[i, :], overlap[:, j] = -1, -1
    return pairs


def iou(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Intersection over union of corner boxes [n, 4] and [m, 4] -> [n, m]."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    inner = np.clip(high - low, 0, None).prod(-1)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(-1), (b[:, 2:] - b[:, :2]).prod(-1)
    return np.asarray(inner / np.maximum(area_a[:, None] + area_b[None, :] - inner, 1e-12))
