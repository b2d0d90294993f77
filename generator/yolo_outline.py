"""What an ultralytics checkpoint says of its model: task, head, classes and sizes, from its outline, without ultralytics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from generator.heads import Head
from generator.heads.detr import Detr
from generator.heads.yolov8 import Yolov8
from generator.heads.yolov10 import Yolov10
from generator.pickle_outline import Outline, Thing, shape
from generator.tensors import Tensor

#: What is taken where a file says nothing.
_SIZES = {"classify": 224}
_SIZE = 640


@dataclass(frozen=True)
class Raw:
    """The model's raw outputs, in order, and the head that takes them; no head where there are no boxes."""

    outputs: tuple[Tensor, ...]
    head: Head | None = None


@dataclass(frozen=True)
class YoloOutline:
    """One of the two models that a checkpoint may hold."""

    outline: Outline
    #: `ema` or `model`.
    which: str
    model: Thing

    @property
    def layer(self) -> Thing | None:
        """The last layer, which ultralytics calls the head."""
        held = self.model.get("model")
        return list(held.modules())[-1] if isinstance(held, Thing) and list(held.modules()) else None

    @property
    def layer_name(self) -> str:
        """Its class, such as `Detect`."""
        return self.layer.name.rpartition(".")[2] if self.layer else "no layers"

    @property
    def is_transformer(self) -> bool:
        """An RT-DETR, whose boxes come from queries."""
        return self.layer_name == "RTDETRDecoder"

    @property
    def task(self) -> str:
        """detect, segment, pose, obb, classify or another that ultralytics knows; '' where the file says nothing."""
        return str(self.model.get("task") or "")

    @property
    def channels(self) -> int:
        """Of the input."""
        said = self.model.get("yaml")
        found = (said.get("channels") or said.get("ch")) if isinstance(said, Mapping) else None
        return found if isinstance(found, int) else 3

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that it was trained with."""
        for held in (self.outline.top, self.model.state):
            said = held.get("train_args") or held.get("args")
            found = said.get("imgsz") if isinstance(said, Mapping | Thing) else None
            if isinstance(found, int):
                return found, found
            if isinstance(found, list | tuple) and len(found) == 2 and all(isinstance(side, int) for side in found):
                return found[0], found[1]
        side = _SIZES.get(self.task, _SIZE)
        return side, side

    @property
    def names(self) -> tuple[str, ...]:
        """The classes in order; none where they are only numbered."""
        said = self.model.get("names")
        found = dict(enumerate(said)) if isinstance(said, list | tuple) else said
        if not isinstance(found, dict) or sorted(found) != list(range(len(found))):
            return ()
        names = tuple(str(found[number]) for number in range(len(found)))
        return () if names in {tuple(map(str, range(len(names)))), tuple(f"class{n}" for n in range(len(names)))} else names

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels between the cells of each grid; none where there are no grids."""
        layer = self.layer
        return tuple(int(value) for value in self.outline.values(layer.get("stride"))) if layer else ()

    @property
    def paired(self) -> bool:
        """Has it a one-to-one branch, whose boxes need no suppression?"""
        return self.layer is not None and self.layer.get("one2one_cv2") is not None

    def raw(self, size: tuple[int, int], end2end: bool, most: int) -> Raw | None:
        """Outputs at a size of the input; None for a last layer that is not known here. `most` boxes end to end."""
        layer = self.layer
        make = _LAYERS.get(self.layer_name.removesuffix("26"))
        if layer is None or make is None:
            return None
        cells = sum(math.ceil(size[0] / stride) * math.ceil(size[1] / stride) for stride in self.strides)
        return make(layer, _Asked(size, cells, min(most, cells) if end2end else 0))


@dataclass(frozen=True)
class _Asked:
    """Height and width, cells of all grids, and boxes end to end (0: not end to end)."""

    size: tuple[int, int]
    cells: int
    most: int


def _boxes(layer: Thing, asked: _Asked, behind: int = 0, **said: Any) -> Raw:
    classes = int(layer.get("nc"))
    if asked.most:
        head: Head = Yolov10(classes=classes, output="output0", **said)
        return Raw((Tensor("output0", "FP32", (asked.most, 6 + behind)),), head)
    head = Yolov8(classes=classes, decoded=True, outputs=("output0",), **said)
    return Raw((Tensor("output0", "FP32", (4 + classes + behind, asked.cells)),), head)


def _segment(layer: Thing, asked: _Asked) -> Raw:
    masks = int(layer.get("nm"))
    found = _boxes(layer, asked, masks, masks=masks, prototypes="output1")
    return Raw((*found.outputs, Tensor("output1", "FP32", (masks, asked.size[0] // 4, asked.size[1] // 4))), found.head)


def _pose(layer: Thing, asked: _Asked) -> Raw:
    points, values = layer.get("kpt_shape")
    return _boxes(layer, asked, points * values, keypoints=(points, values))


def _turned(layer: Thing, asked: _Asked) -> Raw:
    return _boxes(layer, asked, 1, angle=True)


def _classes(layer: Thing, asked: _Asked) -> Raw:
    return Raw((Tensor("output0", "FP32", shape(layer.get("linear").get("weight"))[:1]),))


def _queries(layer: Thing, asked: _Asked) -> Raw:
    queries, classes = int(layer.get("num_queries")), int(layer.get("nc"))
    tensors = Tensor("boxes", "FP32", (queries, 4)), Tensor("scores", "FP32", (queries, classes))
    return Raw(tensors, Detr(classes=classes, activation="sigmoid", boxes=("boxes",), scores=("scores",)))


#: Class of the last layer -> what it gives.
_LAYERS: dict[str, Callable[[Thing, _Asked], Raw]] = {
    "Detect": _boxes, "v10Detect": _boxes, "WorldDetect": _boxes, "Segment": _segment, "Pose": _pose, "OBB": _turned,
    "Classify": _classes, "RTDETRDecoder": _queries,
}  # fmt: skip
