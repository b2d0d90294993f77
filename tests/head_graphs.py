"""Raw outputs straight into a detector head: the graph, its run on ONNX Runtime, and what the head's reference says."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from generator import graph
from generator.builder import Builder
from generator.detection import Answers, corners
from generator.heads import Head
from generator.nms import Nms
from generator.tensors import Tensor, onnx_dtype

Arrays = dict[str, NDArray[Any]]
TYPES = {"float32": "FP32", "int64": "INT64", "int32": "INT32"}


def image(height: int = 64, width: int = 96) -> Tensor:
    return Tensor("image", "FP32", (3, height, width))


def outputs(raw: Arrays) -> tuple[Tensor, ...]:
    return tuple(Tensor(name, TYPES[str(values.dtype)], values.shape[1:]) for name, values in raw.items())


def _build(raw: Arrays) -> Builder:
    inputs = [helper.make_tensor_value_info(t.name, onnx_dtype(t.dtype), ["batch", *t.shape]) for t in outputs(raw)]
    empty = helper.make_graph([], "head", inputs, [])
    return Builder(helper.make_model(empty, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), "head")


def _run(model: onnx.ModelProto, raw: Arrays) -> Arrays:
    with tempfile.TemporaryDirectory() as folder:
        graph.save(graph.checked(model, "head"), Path(folder) / "head.onnx")
        session = graph.session(Path(folder) / "head.onnx", threads=1)
    return graph.run(session, {name: values for name, values in raw.items() if name in {i.name for i in session.get_inputs()}})


def run(head: Head, picture: Tensor, raw: Arrays) -> Answers:
    """The graph's boxes and scores, brought to corners and probabilities [batch, boxes, classes]."""
    build, given = _build(raw), outputs(raw)
    decoded, candidates = head.append(build, picture, given), head.candidates(picture, given)
    n, c = candidates.boxes, candidates.classes
    build.output(build("Identity", decoded.boxes), Tensor("decoded_boxes", "FP32", (n, c, 4) if candidates.per_class else (n, 4)))
    build.output(build("Identity", decoded.scores), Tensor("decoded_scores", "FP32", (c, n) if decoded.by_class else (n, c)))
    assert set(decoded.extras) == {extra.name for extra in candidates.extras}
    for extra in candidates.extras:
        build.output(build("Identity", decoded.extras[extra.name]), Tensor(f"extra_{extra.name}", extra.dtype, (n, *extra.shape)))
    found = _run(build.model(), raw)
    assert found["decoded_boxes"].shape[1:] == ((n, c, 4) if candidates.per_class else (n, 4))
    assert found["decoded_scores"].shape[1:] == ((c, n) if decoded.by_class else (n, c))
    with np.errstate(over="ignore", invalid="ignore"):
        boxes = corners(found["decoded_boxes"]) if decoded.coding == "centre" else found["decoded_boxes"]
        scores = found["decoded_scores"].transpose(0, 2, 1) if decoded.by_class else found["decoded_scores"]
        if decoded.activation == "sigmoid":
            scores = (1 / (1 + np.exp(-scores.astype(np.float64)))).astype(np.float32)
    return Answers(boxes, scores, {name[6:]: values for name, values in found.items() if name.startswith("extra_")})


def model(head: Head, nms: Nms, raw: Arrays, picture: Tensor) -> onnx.ModelProto:
    """Head and NMS in one graph."""
    build, given = _build(raw), outputs(raw)
    nms.append(build, head.append(build, picture, given), head.candidates(picture, given))
    return build.model()


def detect(head: Head, nms: Nms, picture: Tensor, raw: Arrays) -> Arrays:
    """What it answers."""
    return _run(model(head, nms, raw, picture), raw)


def fused(head: Head, picture: Tensor, raw: Arrays) -> NDArray[np.float32]:
    """The deltas that EfficientNMS_TRT's fused decoder would get, decoded as its README says, as corners."""
    build = _build(raw)
    decoded = head.append(build, picture, outputs(raw))
    assert decoded.deltas is not None
    name, anchors = decoded.deltas
    build.output(build("Identity", name), Tensor("decoded_deltas", "FP32", anchors.shape[1:]))
    deltas = _run(build.model(), raw)["decoded_deltas"]
    centre = deltas[..., :2] * anchors[..., 2:] + anchors[..., :2]
    return corners(np.concatenate([centre, np.exp(deltas[..., 2:]) * anchors[..., 2:]], -1))
