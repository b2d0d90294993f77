"""Pieces of graph that NMS strategies are made of. Scores are [batch, classes, boxes] where nothing else is said."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from generator.detection import Activation, Candidates, Decoded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from generator.builder import Builder, Input
    from generator.nms import Nms

#: ONNX element types.
FLOAT, INT32, INT64 = 1, 6, 7
#: The end of a slice that takes everything.
ALL = 2**62
#: Below every score, and the threshold that leaves just these out.
FLOOR, LOWEST = np.float32(-3e38), np.float32(-1e38)


@dataclass(frozen=True)
class Scored:
    """Candidates in the graph, the background's scores gone."""

    #: [batch, boxes, 4] or [batch, boxes, classes, 4].
    boxes: str
    #: [batch, classes, boxes] with `by_class`, else [batch, boxes, classes].
    scores: str
    by_class: bool
    #: The class numbers that are left, in order.
    classes: tuple[int, ...]
    extras: Mapping[str, str]
    decoded: Decoded
    candidates: Candidates


def everything(decoded: Decoded, candidates: Candidates) -> Scored:
    """All classes."""
    return Scored(
        decoded.boxes, decoded.scores, decoded.by_class, tuple(range(candidates.classes)), decoded.extras, decoded,
        candidates,
    )  # fmt: skip


def foreground(build: Builder, decoded: Decoded, candidates: Candidates) -> Scored:
    """Without the background class."""
    classes = tuple(c for c in range(candidates.classes) if c != candidates.background)
    boxes, scores = decoded.boxes, decoded.scores
    if len(classes) < candidates.classes:
        scores = build("Gather", scores, np.array(classes), axis=1 if decoded.by_class else 2)
        if candidates.per_class:
            boxes = build("Gather", boxes, np.array(classes), axis=2)
    return Scored(boxes, scores, decoded.by_class, classes, decoded.extras, decoded, candidates)


def by_class(build: Builder, found: Scored) -> Scored:
    """The same, its scores [batch, classes, boxes]."""
    if found.by_class:
        return found
    return replace(found, scores=build("Transpose", found.scores, perm=[0, 2, 1]), by_class=True)


def by_box(build: Builder, found: Scored) -> Scored:
    """The same, its scores [batch, boxes, classes]."""
    if not found.by_class:
        return found
    return replace(found, scores=build("Transpose", found.scores, perm=[0, 2, 1]), by_class=False)


def threshold(build: Builder, nms: Nms, activation: Activation) -> Input:
    """The score threshold before the activation: a constant, or [batch, 1, 1] from the request."""
    if "score_threshold" not in nms.runtime:
        said = np.float64(nms.score_threshold)
        with np.errstate(divide="ignore"):
            logit = np.clip(np.log(said) - np.log1p(-said), LOWEST, -LOWEST)
        return np.array(logit if activation == "sigmoid" else said, np.float32)
    value = build("Unsqueeze", "score_threshold", np.array([2]))
    return build("Log", build("Div", value, build("Sub", 1.0, value))) if activation == "sigmoid" else value


def activated(build: Builder, scores: str, activation: Activation) -> str:
    """Probabilities."""
    return build("Sigmoid", scores) if activation == "sigmoid" else scores


def only(build: Builder, condition: str, scores: str) -> str:
    """Scores where the condition holds, elsewhere `FLOOR`."""
    return build("Where", condition, scores, FLOOR)


def best_class(build: Builder, scores: str, count: int) -> str:
    """Each box for its best class only (of equal ones the lower); the others at `FLOOR`."""
    best = build("ArgMax", scores, axis=1, keepdims=1)
    return only(build, build("Equal", best, np.arange(count).reshape(1, -1, 1)), scores)


def strongest(build: Builder, scores: str, count: int) -> str:
    """The `count` highest scores a picture; the others at `FLOOR`."""
    shape = build("Shape", scores)
    flat = build("Flatten", scores, axis=1)
    size = build("Gather", build("Shape", flat), np.array([1]), axis=0)
    top, index = build.many("TopK", flat, build("Min", size, np.array([count])), outputs=2, axis=1)
    empty = build("Expand", FLOOR, build("Shape", flat))
    return build("Reshape", build("ScatterElements", empty, index, top, axis=1), shape)


def as_corners(build: Builder, boxes: str) -> str:
    """Centre boxes [..., 4] -> corner boxes."""
    centre, size = build.many("Split", boxes, np.array([2, 2]), outputs=2, axis=-1)
    half = build("Mul", size, 0.5)
    return build("Concat", build("Sub", centre, half), build("Add", centre, half), axis=-1)


def named(build: Builder, number: str, classes: tuple[int, ...]) -> str:
    """The class numbers behind positions in `classes`."""
    return number if classes == tuple(range(len(classes))) else build("Gather", np.array(classes), number, axis=0)


@dataclass(frozen=True)
class Chosen:
    """K places a picture, each [batch, K]: score before the activation, whether it is one, box, position of the class."""

    scores: str
    valid: str
    box: str
    label: str


def top_pairs(build: Builder, nms: Nms, found: Scored, box_first: bool = False) -> None:
    """The K best pairs (others at `FLOOR`) as the contract's outputs; all shapes are fixed.

    Of equal scores the lower class comes first, or the lower box with `box_first`.
    """
    boxes, classes = found.candidates.boxes, len(found.classes)
    scores = build("Transpose", found.scores, perm=[0, 2, 1]) if box_first else found.scores
    flat = build("Reshape", scores, np.array([0, classes * boxes]))
    top, index = build.many("TopK", flat, np.array([nms.max_detections]), outputs=2, axis=1)
    inner = np.array(classes if box_first else boxes)
    outer, rest = build("Div", index, inner), build("Mod", index, inner)
    box, label = (outer, rest) if box_first else (rest, outer)
    contract(build, nms, found, Chosen(top, build("Greater", top, LOWEST), box, label))


def contract(build: Builder, nms: Nms, found: Scored, chosen: Chosen) -> None:
    """Make the contract's outputs, and the extras, the graph's."""
    candidates, decoded = found.candidates, found.decoded
    valid, outputs = chosen.valid, nms.outputs(candidates)
    boxes = rows(build, found.boxes, chosen.box)
    if candidates.per_class:
        boxes = rows(build, boxes, chosen.label, axes=2)
    boxes = as_corners(build, boxes) if decoded.coding == "centre" else boxes
    numbers = build("Cast", named(build, chosen.label, found.classes), to=INT32)
    build.output(build("ReduceSum", build("Cast", valid, to=INT32), np.array([1]), keepdims=1), outputs[0])
    build.output(where(build, valid, boxes, 1), outputs[1])
    build.output(build("Where", valid, activated(build, chosen.scores, decoded.activation), 0.0), outputs[2])
    build.output(build("Where", valid, numbers, np.array(0, np.int32)), outputs[3])
    for extra, tensor in zip(candidates.extras, outputs[4:], strict=True):
        build.output(where(build, valid, rows(build, found.extras[extra.name], chosen.box), len(extra.shape)), tensor)


def rows(build: Builder, values: str, index: str, axes: int = 1) -> str:
    """values [batch, n, ...] at index [batch, k] -> [batch, k, ...]; with two `axes` values [batch, k, n, ...], one of n each."""
    return build("GatherND", values, build("Unsqueeze", index, np.array([2])), batch_dims=axes)


def where(build: Builder, valid: str, values: str, axes: int) -> str:
    """Values [batch, k, ...] where valid [batch, k], elsewhere 0; `axes` are those behind k."""
    mask = build("Unsqueeze", valid, np.arange(2, 2 + axes)) if axes else valid
    return build("Where", mask, values, 0.0)
