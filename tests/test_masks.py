"""A segmentation model's outputs, from the graph to the client: coefficients follow their boxes, prototypes go through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from generator.answers import Detections
from generator.cli import run
from generator.client import Client
from generator.server import Server

SPEC = """\
name: segments
checkpoint: {kind: onnx, file: segments.onnx}
head: {kind: yolov8, classes: 2, masks: 4, prototypes: PROTOTYPES}
nms: {kind: onnx, score_threshold: 0.2, max_detections: 5}
preprocess: {kind: ultralytics}
postprocess: {kind: detections}
verify: {images: [wide.png]}
"""


def written(folder: Path, prototypes: str = "protos") -> Path:
    """A model of 64 x 64 pixels: its 84 boxes and their coefficients depend on the picture, as do the prototypes."""
    random = np.random.default_rng(0)
    boxes = np.concatenate([random.uniform(5, 60, (2, 84)), random.uniform(4, 20, (2, 84)), random.random((6, 84))])
    base = numpy_helper.from_array(boxes[None].astype(np.float32), "base")
    kernel = numpy_helper.from_array(random.normal(0, 0.1, (3, 3, 4, 4)).astype(np.float32), "kernel")
    picture: Any = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 64, 64])
    ends = [
        helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["n", 10, 84]),
        helper.make_tensor_value_info("protos", TensorProto.FLOAT, ["n", 3, 16, 16]),
    ]
    axes = numpy_helper.from_array(np.array([1, 2, 3]), "axes")
    flat = numpy_helper.from_array(np.array([-1, 1, 1]), "flat")
    nodes = [
        helper.make_node("Conv", ["images", "kernel"], ["protos"], strides=[4, 4]),
        helper.make_node("ReduceMean", ["images", "axes"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "flat"], ["brightness"]),
        helper.make_node("Mul", ["base", "brightness"], ["output0"]),
    ]
    graph = helper.make_graph(nodes, "g", [picture], ends, [base, kernel, axes, flat])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "segments.onnx")
    Image.fromarray(random.integers(150, 255, (60, 100, 3), np.uint8)).save(folder / "wide.png")
    path = folder / "segments.yaml"
    path.write_text(SPEC.replace("PROTOTYPES", prototypes))
    return path


def test_masks_can_be_made_of_what_is_served(tmp_path: Path, server: Callable[..., Server]) -> None:
    spec = written(tmp_path)
    assert run(["build", str(spec), "-o", str(tmp_path / "repo")]) == 0
    assert run(["verify", str(spec), "-r", str(tmp_path / "repo")]) == 0
    with Client(server(tmp_path / "repo").grpc_url, "segments") as client:
        (answer,) = client.infer([tmp_path / "wide.png"])
        raw = client.raw([tmp_path / "wide.png"])
    assert isinstance(answer, Detections)
    assert len(answer) > 0
    assert answer.extras["masks"].shape == (len(answer), 4)
    assert raw["protos"].shape == (1, 3, 16, 16)
    assert np.abs(raw["protos"]).max() > 0


def test_a_name_that_no_output_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", str(written(tmp_path, "proto")), "-o", str(tmp_path / "repo")]) == 1
    assert "segments.yaml:3: head: head yolov8: found outputs" in (error := capsys.readouterr().err)
    assert "one called 'proto' (prototypes)" in error
