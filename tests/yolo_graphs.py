"""A head alone: its graph over raw outputs, run on ONNX Runtime, its answers as its NumPy reference gives them."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from generator import graph
from generator.builder import Builder
from generator.detection import Answers, Decoded, corners
from generator.heads import Head
from generator.nms import Nms
from generator.tensors import Tensor

Arrays = dict[str, NDArray[Any]]


def tensors(raw: Arrays, batched: bool = True) -> tuple[Tensor, ...]:
    """As a frontend would state them."""
    return tuple(Tensor(name, "FP32", array.shape[1:] if batched else array.shape, batched) for name, array in raw.items())


def _build(head: Head, raw: Arrays, batched: bool) -> Builder:
    first: Any = "batch" if batched else 1
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [first, *a.shape[1:]]) for n, a in raw.items()]
    empty = helper.make_graph([], "head", inputs, [])
    return Builder(helper.make_model(empty, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), f"head/{head.kind}")


def _run(build: Builder, feeds: Arrays) -> Arrays:
    model: onnx.ModelProto = graph.checked(build.model(), "head")
    used = {value.name for value in model.graph.input}
    with tempfile.TemporaryDirectory() as folder:
        graph.save(model, Path(folder) / "head.onnx")
        return graph.run(graph.session(Path(folder) / "head.onnx", threads=1), {n: a for n, a in feeds.items() if n in used})


def decoded(head: Head, image: Tensor, raw: Arrays, batched: bool = True) -> tuple[Decoded, Answers]:
    """What `append` says and what ONNX Runtime makes of it: corners and probabilities."""
    outputs = tensors(raw, batched)
    candidates, build = head.candidates(image, outputs), _build(head, raw, batched)
    said = head.append(build, image, outputs)
    names = {"boxes": said.boxes, "scores": said.scores, **said.extras}
    for key, name in names.items():
        build.output(build("Identity", name), Tensor(f"out_{key}", "FP32", (-1,) * (2 if key in ("boxes", "scores") else 1)))
    _unshaped(build)
    found = {key.removeprefix("out_"): array for key, array in _run(build, raw).items()}
    boxes, scores = found.pop("boxes"), found.pop("scores")
    scores = scores.transpose(0, 2, 1) if said.by_class else scores
    if said.activation == "sigmoid":
        with np.errstate(over="ignore"):
            scores = 1 / (1 + np.exp(-scores))
    assert boxes.shape[1:] == (candidates.boxes, 4)
    assert scores.shape[1:] == (candidates.boxes, candidates.classes)
    for extra in candidates.extras:
        assert found[extra.name].shape[1:] == (candidates.boxes, *extra.shape)
    return said, Answers(corners(boxes) if said.coding == "centre" else boxes, scores, found)


def _unshaped(build: Builder) -> None:
    """Shapes of the outputs are for ONNX to find out here."""
    for output in build.graph.outputs:
        output.shape = None


def kept(head: Head, image: Tensor, raw: Arrays, nms: Nms) -> Arrays:
    """Head and NMS as one graph."""
    outputs = tensors(raw)
    candidates, build = head.candidates(image, outputs), _build(head, raw, batched=True)
    nms.append(build, replace(head.append(build, image, outputs)), candidates)
    return _run(build, raw)
