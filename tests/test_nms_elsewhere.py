"""The NMS graphs outside ONNX Runtime: answers of OpenVINO, and NVIDIA's own ONNX parser, where they can be imported.

Neither is a dependency: `pip install openvino==2026.4.1 tensorrt-rtx-cu12-libs==1.7.1.116 tensorrt-rtx-cu12-bindings==1.7.1.116`
beside numpy, onnx, onnx-graphsurgeon, onnxruntime and pydantic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nms_graphs import Case, model

from generator.detection import Activation, Candidates, Coding, Decoded
from generator.nms import Nms
from generator.nms.none import NoNms
from generator.nms.onnx import OnnxNms

FORMS: list[tuple[Coding, Activation]] = [("corners", "none"), ("centre", "sigmoid")]
#: What TensorRT takes; OpenVINO takes them without `fixed_shapes`, too.
FIXED: list[Nms] = [
    OnnxNms(max_detections=12, fixed_shapes=True),
    OnnxNms(max_detections=12, fixed_shapes=True, class_agnostic=True),
    OnnxNms(max_detections=12, fixed_shapes=True, multi_label=False),
    NoNms(max_detections=12),
]


def case(coding: Coding, activation: Activation) -> Case:
    """No two boxes overlap by the threshold itself, which OpenVINO counts as above it."""
    random = np.random.default_rng(4)
    low, size = random.uniform(0, 32, (3, 20, 2)), random.uniform(4, 24, (3, 20, 2))
    boxes = np.concatenate([low + size / 2, size] if coding == "centre" else [low, low + size], -1)
    scores = random.permutation(300).reshape(3, 20, 5) / 300
    scores = scores * 8 - 4 if activation == "sigmoid" else scores
    return Case(
        Candidates(20, 5), boxes.astype(np.float32), scores.astype(np.float32),
        decoded=Decoded("boxes", "scores", coding, activation),
    )  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("nms", [*FIXED, OnnxNms(max_detections=12), OnnxNms(max_detections=12, class_agnostic=True)])
def test_openvino_answers_the_same(nms: Nms, form: tuple[Coding, Activation]) -> None:
    openvino: Any = pytest.importorskip("openvino", reason="openvino is not installed")
    given = case(*form)
    core = openvino.Core()
    read = core.read_model(model(nms, given).SerializeToString(), b"")
    compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(given.feeds)
    wanted = nms.reference(given.answers, given.candidates)
    for output in compiled.outputs:
        np.testing.assert_allclose(found[output], np.asarray(wanted[output.get_any_name()], np.float64), atol=1e-5)
    assert len(compiled.outputs) == len(wanted)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("nms", FIXED)
def test_nvidias_parser_takes_it_with_the_right_shapes(nms: Nms, form: tuple[Coding, Activation]) -> None:
    trt: Any = pytest.importorskip("tensorrt_rtx_bindings", reason="tensorrt-rtx is not installed")
    log = trt.Logger(trt.Logger.ERROR)
    network = trt.Builder(log).create_network(0)
    parser = trt.OnnxParser(network, log)
    assert parser.parse(model(nms, case(*form)).SerializeToString()), parser.get_error(0).desc()
    outputs = [network.get_output(i) for i in range(network.num_outputs)]
    assert {o.name: tuple(o.shape) for o in outputs} == {
        "num_dets": (-1, 1), "det_boxes": (-1, 12, 4), "det_scores": (-1, 12), "det_classes": (-1, 12)
    }  # fmt: skip
