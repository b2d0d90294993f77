"""TensorRT plugin nodes on the CPU: what their documents say they compute, in NumPy, so that a graph with one runs anywhere.

The graph is cut at the node; ONNX Runtime runs what is before and after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

#: The domain under which ONNX Runtime's TensorRT provider knows plugins; NVIDIA's parser goes by the operator's name alone.
DOMAIN = "trt.plugins"
#: Pairs of a picture that EfficientNMS_TRT looks at.
_MOST = 4096
#: Its score threshold below which it takes another way, and the score that it then gives to what is below.
_DENSE, _NONE = 0.007, -32768.0

Arrays = dict[str, NDArray[Any]]


def run(model: onnx.ModelProto, feeds: Arrays) -> Arrays:
    """Outputs by name. Raises KeyError for a plugin that is not described here."""
    from onnx.helper import get_attribute_value

    known = dict(feeds)
    for node in model.graph.node:
        if node.domain == DOMAIN:
            known.update(_piece(model, known, [name for name in node.input if name not in known]))
            attributes = {a.name: get_attribute_value(a) for a in node.attribute}
            known.update(zip(node.output, KINDS[node.op_type]([known[name] for name in node.input], attributes), strict=True))
    outputs = [o.name for o in model.graph.output]
    known.update(_piece(model, known, [name for name in outputs if name not in known]))
    return {name: known[name] for name in outputs}


class Session:
    """Such a graph, asked as an onnxruntime.InferenceSession is."""

    def __init__(self, path: Path) -> None:
        import onnx

        self._model = onnx.load(path)

    def get_outputs(self) -> Sequence[onnx.ValueInfoProto]:
        """What it gives, each with a `name`."""
        return self._model.graph.output

    def run(self, names: Sequence[str], feeds: Arrays) -> list[NDArray[Any]]:
        """The outputs of these names."""
        found = run(self._model, feeds)
        return [found[name] for name in names]


def _piece(model: onnx.ModelProto, known: Arrays, wanted: Sequence[str]) -> Arrays:
    """The part of the graph between tensors that are known and those that are wanted."""
    import onnx_graphsurgeon as gs
    import onnxruntime as ort

    graph = gs.import_onnx(model)
    tensors = graph.tensors()
    constants = {name: tensors[name].values for name in wanted if isinstance(tensors[name], gs.Constant)}
    wanted = [name for name in wanted if name not in constants]
    if not wanted:
        return constants
    graph.outputs = [tensors[name] for name in wanted]
    graph.inputs = [tensors[name] for name in known if isinstance(tensors.get(name), gs.Variable)]
    for tensor in graph.inputs:
        tensor.inputs.clear()
        tensor.dtype = known[tensor.name].dtype
    for tensor in graph.outputs:
        tensor.dtype = tensor.dtype or np.dtype(np.float32)
    graph.cleanup(remove_unused_graph_inputs=True)
    session = ort.InferenceSession(gs.export_onnx(graph).SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(wanted, {i.name: known[i.name] for i in session.get_inputs()})
    return {**constants, **dict(zip(wanted, found, strict=True))}


def efficient_nms(inputs: Sequence[NDArray[Any]], attributes: dict[str, Any]) -> list[NDArray[Any]]:
    """EfficientNMS_TRT as TensorRT's plugin/efficientNMSPlugin/README.md describes it; what that leaves open, as in its sources.

    inputs: boxes [batch, n, 4] or [batch, n, classes, 4]; scores [batch, n, classes]; in fused mode anchors [1 or batch, n, 4].
    Returns num_detections, detection_boxes (corners), detection_scores and detection_classes. From the sources
    (efficientNMSInference.cu): a score or an overlap equal to its threshold counts as above it; with a score threshold below
    0.007 the pairs that are below it, or of the background, stay as the weakest and fill the places that are left. Of equal
    scores, which is open in both, the lower class and then the lower box come first; across classes the lower box.
    """
    boxes, scores, *anchors = (np.asarray(value, np.float32) for value in inputs)
    k = int(attributes["max_output_boxes"])
    counts = np.zeros((len(scores), 1), np.int32)
    found = (
        np.zeros((len(scores), k, 4), np.float32),
        np.zeros((len(scores), k), np.float32),
        np.zeros((len(scores), k), np.int32),
    )
    for picture in range(len(scores)):
        places = anchors[0][min(picture, len(anchors[0]) - 1)] if anchors else None
        for row, (score, label, box) in enumerate(_picture(boxes[picture], scores[picture], places, attributes)):
            found[0][picture, row], found[1][picture, row], found[2][picture, row] = box, score, label
            counts[picture] = row + 1
    return [counts, *found]


def _picture(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], anchors: NDArray[np.float32] | None, attributes: dict[str, Any]
) -> list[tuple[float, int, NDArray[np.float32]]]:
    active = bool(attributes.get("score_activation", 0))
    values = _filtered(scores, attributes, active)
    box, label = np.nonzero(~np.isneginf(values))
    ranked = values[box, label]
    ties = (label, box) if attributes.get("class_agnostic", 0) else (box, label)
    order = np.lexsort((*ties, -np.where(np.isnan(ranked), np.inf, ranked)))  # a radix sort puts NaN first
    kept: list[tuple[float, int, NDArray[np.float32]]] = []
    for n in order[:_MOST]:
        if len(kept) == attributes["max_output_boxes"]:
            break
        raw = boxes[box[n]] if boxes.ndim == 2 else boxes[box[n], label[n]]
        corner = _decoded(raw, None if anchors is None else anchors[box[n]], int(attributes["box_coding"]))
        rivals = [c for _, other, c in kept if attributes.get("class_agnostic", 0) or other == label[n]]
        if not any(_overlap(corner, c) >= np.float32(attributes["iou_threshold"]) for c in rivals):
            value = float(ranked[n])
            kept.append((_sigmoid(value) if active else value, int(label[n]), corner))
    return kept


def _sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-np.float64(max(value, -700.0)))))


def _filtered(scores: NDArray[np.float32], attributes: dict[str, Any], active: bool) -> NDArray[np.float32]:
    """The scores that take part; -inf: gone."""
    limit = float(attributes["score_threshold"])
    dense = limit < _DENSE
    if active:
        limit = float(np.log(limit / (1 - limit))) if 0 < limit < 1 else _NONE if limit <= 0 else np.inf
    below = (scores < np.float32(limit)) if dense else ~(scores >= np.float32(limit))
    below |= np.arange(scores.shape[1]) == attributes["background_class"]
    return np.where(below, _NONE if dense else -np.inf, scores).astype(np.float32)


def _decoded(raw: NDArray[np.float32], anchor: NDArray[np.float32] | None, coding: int) -> NDArray[np.float32]:
    """Corners. Fused: corners are added to the anchor's; of a centre the offset is in anchor sizes, and the size a logarithm."""
    if coding == 0:
        return raw if anchor is None else raw + anchor
    if anchor is not None:
        raw = np.concatenate([raw[:2] * anchor[2:] + anchor[:2], np.exp(raw[2:]) * anchor[2:]])
    return np.concatenate([raw[:2] - raw[2:] / 2, raw[:2] + raw[2:] / 2]).astype(np.float32)


def _overlap(a: NDArray[np.float32], b: NDArray[np.float32]) -> np.float32:
    """Intersection over union, corners put in order first."""
    low, high = np.minimum(a[:2], a[2:]), np.maximum(a[:2], a[2:])
    low2, high2 = np.minimum(b[:2], b[2:]), np.maximum(b[:2], b[2:])
    side = np.minimum(high, high2) - np.maximum(low, low2)
    if not (side > 0).all():
        return np.float32(0)
    inner = side[0] * side[1]
    return np.float32(inner / (np.prod(high - low) + np.prod(high2 - low2) - inner))


#: Plugin -> what it computes.
KINDS = {"EfficientNMS_TRT": efficient_nms}
