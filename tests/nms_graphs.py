"""Candidates straight into an NMS strategy: the graph, its runs on ONNX Runtime, and random candidates."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from generator import graph
from generator.builder import Builder
from generator.detection import Answers, Candidates, Decoded, corners
from generator.nms import Nms

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Case:
    """Candidates as a head could give them. `boxes` and `scores` are in the layout of `decoded`."""

    candidates: Candidates
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    extras: Arrays = field(default_factory=dict)
    decoded: Decoded = field(default_factory=lambda: Decoded("boxes", "scores"))

    @property
    def answers(self) -> Answers:
        """What a head's reference gives: corners, probabilities, boxes before classes."""
        boxes = corners(self.boxes) if self.decoded.coding == "centre" else self.boxes
        scores = self.scores.transpose(0, 2, 1) if self.decoded.by_class else self.scores
        if self.decoded.activation == "sigmoid":
            scores = (1 / (1 + np.exp(-scores.astype(np.float32)))).astype(np.float32)
        return Answers(boxes, scores, self.extras)

    @property
    def feeds(self) -> Arrays:
        """Inputs of the graph."""
        return {"boxes": self.boxes, "scores": self.scores, **self.extras}


def model(nms: Nms, case: Case) -> onnx.ModelProto:
    """The strategy alone."""
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *values.shape[1:]])
        for name, values in case.feeds.items()
    ]
    empty = helper.make_model(
        helper.make_graph([], "nms", inputs, []), opset_imports=[helper.make_opsetid("", 18)], ir_version=10
    )
    build = Builder(empty, "nms")
    for tensor in nms.inputs():
        build.input(tensor)
    nms.append(build, replace(case.decoded, extras={name: name for name in case.extras}), case.candidates)
    return graph.checked(build.model(), "nms")


_sessions: dict[Any, Any] = {}


def run(nms: Nms, case: Case, thresholds: Arrays | None = None) -> Arrays:
    """The answer of ONNX Runtime."""
    key = (nms, case.candidates, str(case.decoded), tuple(case.extras))
    if key not in _sessions:
        with tempfile.TemporaryDirectory() as folder:
            graph.save(model(nms, case), Path(folder) / "nms.onnx")
            _sessions[key] = graph.session(Path(folder) / "nms.onnx", threads=1)
    return graph.run(_sessions[key], {**case.feeds, **(thresholds or {})})
