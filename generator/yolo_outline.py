"""What an ultralytics checkpoint says of its model: task, head, classes and sizes, from its pickle described, not loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from generator import archives
from generator.errors import CheckpointError
from generator.file_kind import looks_like, unreadable
from generator.heads import Head
from generator.heads.detr import Detr
from generator.heads.yolov8 import Yolov8
from generator.heads.yolov10 import Yolov10
from generator.pickle_notes import Array, Made, members
from generator.tensors import Tensor, numpy_dtype
from generator.torch_pickle import plain

#: What is taken where a file says nothing.
_SIZES = {"classify": 224}
_SIZE = 640
#: More values than strides have.
_SMALL = 64


@dataclass(frozen=True)
class Raw:
    """The model's raw outputs, in order, and the head that takes them; no head where there are no boxes."""

    outputs: tuple[Tensor, ...]
    head: Head | None = None


@dataclass(frozen=True)
class YoloOutline:
    """One of the two models that a checkpoint may hold, described."""

    path: Path
    #: The whole checkpoint.
    top: Mapping[str, Any]
    #: `ema` or `model`.
    which: str

    @property
    def model(self) -> Mapping[str, Any]:
        """Attributes of the module."""
        return members(self.top[self.which])

    @property
    def layer(self) -> Mapping[str, Any]:
        """Attributes of the last layer, which ultralytics calls the head."""
        return members(self._layer)

    @property
    def _layer(self) -> Any:
        layers = members(inner(inner(self.top[self.which], "model"), "_modules"))
        return list(layers.values())[-1] if layers else None

    @property
    def layer_name(self) -> str:
        """Its class, such as `Detect`."""
        return self._layer.name.rpartition(".")[2] if isinstance(self._layer, Made) else "no layers"

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
        said = members(self.model.get("yaml"))
        found = said.get("channels") or said.get("ch")
        return found if isinstance(found, int) else 3

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that it was trained with."""
        for held in (self.top, self.model):
            found = members(held.get("train_args") or held.get("args")).get("imgsz")
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
        return tuple(int(value) for value in _numbers(self.path, self.layer.get("stride")))

    @property
    def paired(self) -> bool:
        """Has it a one-to-one branch, whose boxes need no suppression?"""
        return inner(self._layer, "one2one_cv2") is not None

    def raw(self, size: tuple[int, int], end2end: bool, most: int) -> Raw | None:
        """Outputs at a size of the input; None for a last layer that is not known here. `most` boxes end to end."""
        make = _LAYERS.get(self.layer_name.removesuffix("26"))
        if make is None:
            return None
        cells = sum(math.ceil(size[0] / stride) * math.ceil(size[1] / stride) for stride in self.strides)
        return make(self._layer, _Asked(size, cells, min(most, cells) if end2end else 0))


def read(path: Path) -> Mapping[str, Any]:
    """What the checkpoint holds, described. Raises CheckpointError where it is no file of torch.save, or is cut short."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            raise unreadable(path, "a file of torch.save", "it is no zip archive")
    name = next((name for name in archives.names(path) if name.endswith("/data.pkl")), None)
    if name is None:
        raise unreadable(path, "a file of torch.save", "it holds no data.pkl")
    found = plain(archives.read(path, name))
    if found.broken:
        raise CheckpointError(f"{path}: its pickle is damaged: {found.broken}", "fetch it again")
    return members(found.value)


def other(path: Path) -> str:
    """What to do about a file of another format."""
    looks = looks_like(path)
    return f"it looks like {looks}" if looks else "name a .pt of ultralytics"


def inner(module: Any, name: str) -> Any:
    """A submodule, parameter, buffer or plain attribute of a described module; None where it has none of that name."""
    held = members(module)
    for group in (held, *(members(held.get(key)) for key in ("_modules", "_parameters", "_buffers"))):
        if name in group:
            return group[name]
    return None


def _numbers(path: Path, tensor: Any) -> list[float]:
    """The values of a small tensor that has a storage of its own, flat; none where `tensor` is not one."""
    if not isinstance(tensor, Array) or not tensor.dtype.startswith(("FP", "INT")) or tensor.size > _SMALL:
        return []
    name = next((name for name in archives.names(path) if name.endswith(f"/data/{tensor.storage}")), None)
    data = archives.read(path, name) if name else b""
    return [float(value) for value in np.frombuffer(data, numpy_dtype(tensor.dtype))[: tensor.size]]


@dataclass(frozen=True)
class _Asked:
    """Height and width, cells of all grids, and boxes end to end (0: not end to end)."""

    size: tuple[int, int]
    cells: int
    most: int


def _boxes(layer: Made, asked: _Asked, behind: int = 0, **said: Any) -> Raw:
    classes = int(inner(layer, "nc"))
    if asked.most:
        head: Head = Yolov10(classes=classes, output="output0", **said)
        return Raw((Tensor("output0", "FP32", (asked.most, 6 + behind)),), head)
    head = Yolov8(classes=classes, decoded=True, outputs=("output0",), **said)
    return Raw((Tensor("output0", "FP32", (4 + classes + behind, asked.cells)),), head)


def _segment(layer: Made, asked: _Asked) -> Raw:
    masks = int(inner(layer, "nm"))
    found = _boxes(layer, asked, masks, masks=masks, prototypes="output1")
    return Raw((*found.outputs, Tensor("output1", "FP32", (masks, asked.size[0] // 4, asked.size[1] // 4))), found.head)


def _pose(layer: Made, asked: _Asked) -> Raw:
    points, values = inner(layer, "kpt_shape")
    return _boxes(layer, asked, points * values, keypoints=(points, values))


def _turned(layer: Made, asked: _Asked) -> Raw:
    return _boxes(layer, asked, 1, angle=True)


def _classes(layer: Made, _: _Asked) -> Raw:
    return Raw((Tensor("output0", "FP32", inner(inner(layer, "linear"), "weight").shape[:1]),))


def _queries(layer: Made, _: _Asked) -> Raw:
    queries, classes = int(inner(layer, "num_queries")), int(inner(layer, "nc"))
    tensors = Tensor("boxes", "FP32", (queries, 4)), Tensor("scores", "FP32", (queries, classes))
    return Raw(tensors, Detr(classes=classes, activation="sigmoid", boxes=("boxes",), scores=("scores",)))


#: Class of the last layer -> what it gives.
_LAYERS: dict[str, Callable[[Made, _Asked], Raw]] = {
    "Detect": _boxes, "v10Detect": _boxes, "WorldDetect": _boxes, "Segment": _segment, "Pose": _pose, "OBB": _turned,
    "Classify": _classes, "RTDETRDecoder": _queries,
}  # fmt: skip
