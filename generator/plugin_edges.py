"""What TensorRT plugin nodes take and give by their documents, held against the graph around them.

NVIDIA's parser asks the plugin itself, which is not there where nothing of TensorRT is installed; these rules are. A plugin that
is not described here is named as such.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from generator.plugin_nodes import DOMAIN

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto

#: Element types by number (onnx.proto, TensorProto.DataType).
_FLOAT, _FLOAT16, _INT32 = 1, 10, 6


@dataclass(frozen=True)
class Edge:
    """A tensor at a plugin node: its ONNX element type (0: unknown) and its dimensions (None: free; shape None: unknown)."""

    name: str
    elem_type: int = 0
    shape: tuple[int | None, ...] | None = None

    def __str__(self) -> str:
        import onnx

        kind = onnx.TensorProto.DataType.Name(self.elem_type) if self.elem_type else "unknown type"
        dims = "?" if self.shape is None else ", ".join("free" if dim is None else str(dim) for dim in self.shape)
        return f"{self.name} {kind}[{dims}]"


#: What is there, and what should be.
Misfit = tuple[str, str]
Check = Callable[[Sequence[Edge], dict[str, Any]], Iterator[Misfit]]
Given = Callable[[Sequence[Edge], dict[str, Any]], list[Edge]]


def is_plugin(node: NodeProto) -> bool:
    """Of the domain for plugins, or called as TensorRT's own are; the parser looks at names alone."""
    return node.domain == DOMAIN or node.op_type in PLUGINS or node.op_type.endswith("_TRT")


def misfits(node: NodeProto, known: Mapping[str, ValueInfoProto]) -> Iterator[Misfit]:
    """What does not fit at a node that is described. Raises KeyError for another."""
    yield from PLUGINS[node.op_type][0]([edge(name, known) for name in node.input], attributes(node))


def give(model: ModelProto, known: dict[str, ValueInfoProto]) -> None:
    """Types that shape inference cannot know: of what described plugins give, and of all that follows from it; into `known`."""
    import onnx

    from generator.preflight_cut import types

    found = []
    for node in model.graph.node:
        if node.op_type in PLUGINS and PLUGINS[node.op_type][1] is not None:
            edges = PLUGINS[node.op_type][1]([edge(name, known) for name in node.input], attributes(node))
            for name, given in zip(node.output, edges, strict=False):
                if name and name not in known:
                    found.append(onnx.helper.make_tensor_value_info(name, given.elem_type, given.shape))
    if found:
        told = onnx.ModelProto()
        told.CopyFrom(model)
        told.graph.value_info.extend(found)
        known.update({name: value for name, value in types(told).items() if name not in known})


def edge(name: str, known: Mapping[str, ValueInfoProto]) -> Edge:
    """What is known of a tensor."""
    if name not in known:
        return Edge(name)
    kind = known[name].type.tensor_type
    return Edge(name, kind.elem_type, tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim))


def attributes(node: NodeProto) -> dict[str, Any]:
    """By name, as Python values."""
    from onnx.helper import get_attribute_value

    return {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}


def _efficient_nms(edges: Sequence[Edge], said: dict[str, Any]) -> Iterator[Misfit]:
    """TensorRT, plugin/efficientNMSPlugin: README ("Structure", "Parameters"), and efficientNMSPlugin.cpp for what it refuses."""
    if len(edges) not in (2, 3):
        yield f"{len(edges)} inputs", "boxes and scores, and in fused mode anchors"
        return
    boxes, scores, *anchors = edges
    for one in edges:
        if one.elem_type not in (0, boxes.elem_type or one.elem_type):
            yield f"{one} beside {boxes}", "one type for boxes, scores and anchors"
        if one.elem_type not in (0, _FLOAT, _FLOAT16):
            yield str(one), "FLOAT or FLOAT16"
    yield from _shapes(boxes, scores, anchors)
    yield from _settings(said)


def _shapes(boxes: Edge, scores: Edge, anchors: Sequence[Edge]) -> Iterator[Misfit]:
    if scores.shape is not None and len(scores.shape) != 3:
        yield str(scores), "scores of [batch, boxes, classes]"
        return
    count, classes = (None, None) if scores.shape is None else scores.shape[1:]
    if boxes.shape is not None:
        middle = boxes.shape[2:-1]
        if len(boxes.shape) not in (3, 4) or boxes.shape[-1] not in (None, 4) or not _same(middle, (classes,), (1,)):
            yield str(boxes), "boxes of [batch, boxes, 4] or [batch, boxes, classes, 4]"
        elif not _same(boxes.shape[1:2], (count,)):
            yield f"{boxes} beside {scores}", "as many boxes as rows of scores"
    for one in anchors:
        if one.shape is not None and (
            len(one.shape) != 3 or not _same(one.shape[2:], (4,)) or not _same(one.shape[1:2], (count,))
        ):
            yield str(one), "anchors of [1 or batch, boxes, 4]"


def _same(dims: Sequence[int | None], *choices: Sequence[int | None]) -> bool:
    """Nothing to hold, or one of the choices as far as both are known."""
    return not dims or any(all(None in pair or pair[0] == pair[1] for pair in zip(dims, each, strict=True)) for each in choices)


#: Without one of them the plugin is not made (EfficientNMSPluginCreator::createPlugin).
_NEEDED = ("score_threshold", "iou_threshold", "max_output_boxes", "background_class", "score_activation", "box_coding")


def _settings(said: dict[str, Any]) -> Iterator[Misfit]:
    if missing := [name for name in _NEEDED if name not in said]:
        yield f"no attribute {', '.join(missing)}", f"all of {', '.join(_NEEDED)}"
    if said.get("max_output_boxes", 1) < 1:
        yield f"max_output_boxes {said['max_output_boxes']}", "at least 1"
    for name in ("box_coding", "score_activation", "class_agnostic"):
        if said.get(name, 0) not in (0, 1):
            yield f"{name} {said[name]}", "0 or 1"
    if said.get("score_threshold", 0) < 0:
        yield f"score_threshold {said['score_threshold']:g}", "at least 0"
    if said.get("iou_threshold", 1) <= 0:
        yield f"iou_threshold {said['iou_threshold']:g}", "above 0"


def _efficient_nms_given(edges: Sequence[Edge], said: dict[str, Any]) -> list[Edge]:
    """num_detections, detection_boxes, detection_scores, detection_classes (README, "Outputs")."""
    shape = edges[1].shape if len(edges) > 1 else None
    batch, kind, k = (shape[0] if shape else None), edges[0].elem_type or _FLOAT, int(said.get("max_output_boxes", 1))
    return [Edge("", _INT32, (batch, 1)), Edge("", kind, (batch, k, 4)), Edge("", kind, (batch, k)), Edge("", _INT32, (batch, k))]


#: Plugin -> its rules, and what it gives. One more plugin is one more line.
PLUGINS: dict[str, tuple[Check, Given]] = {"EfficientNMS_TRT": (_efficient_nms, _efficient_nms_given)}
