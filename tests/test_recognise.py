"""A head may be left out where raw outputs can come from one only; else the answer lists what fits, ready to paste."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from generator import recognise
from generator.cli import run
from generator.load import load
from generator.pipeline import Pipeline
from generator.tensors import Tensor

SPEC = """\
name: thing
checkpoint: {kind: onnx, file: model.onnx}
nms: {kind: onnx, max_detections: 5, pre_nms_top_k: 20}
"""


def tensors(shapes: dict[str, Any]) -> tuple[Tensor, ...]:
    return tuple(Tensor(name, "INT64" if name == "labels" else "FP32", shape) for name, shape in shapes.items())


def found(size: tuple[int, int], shapes: dict[str, Any], classes: int = 0) -> list[str]:
    """The lines, of heads that this file is about."""
    mine = ("boxes", "ssd", "retinanet", "fcos", "centernet", "detr")
    heads = recognise.fitting(Tensor("image", "FP32", (3, *size)), tensors(shapes), classes)
    return [recognise.line(head) for head in heads if head.kind in mine]


def maps(image: int, strides: tuple[int, ...], channels: dict[str, int]) -> dict[str, Any]:
    return {f"{n}{s}": (c, -(-image // s), -(-image // s)) for n, c in channels.items() for s in strides}


P3_P7 = (8, 16, 32, 64, 128)
BLAZEFACE: dict[str, tuple[int, ...]] = {"boxes": (896, 16), "scores": (896, 1)}
#: size, outputs, labels, how many fit of each kind.
TABLE: list[tuple[int, dict[str, Any], int, dict[str, int]]] = [
    (128, BLAZEFACE, 0, {"ssd": 1}),
    (256, BLAZEFACE, 1, {"ssd": 1}),
    (128, BLAZEFACE, 2, {}),
    (640, {"labels": (300,), "boxes": (300, 4), "scores": (300,)}, 80, {"detr": 1}),
    (640, {"labels": (300,), "boxes": (300, 4), "scores": (300,)}, 0, {}),
    (640, {"logits": (300, 80), "pred_boxes": (300, 4)}, 80, {"boxes": 4, "detr": 2}),
    (640, {"logits": (100, 92), "pred_boxes": (100, 4)}, 91, {"detr": 1}),
    (640, {"logits": (100, 92), "pred_boxes": (100, 4)}, 0, {"boxes": 4, "detr": 2}),
    (300, {"conf": (8732, 21), "loc": (8732, 4)}, 0, {"boxes": 4, "ssd": 2}),
    (640, {"loc": (16800, 4), "conf": (16800, 2), "landms": (16800, 10)}, 0, {"ssd": 2}),
    (640, {"b": (76725, 4), "s": (76725, 80)}, 0, {"boxes": 4, "retinanet": 4}),
    (640, maps(640, P3_P7, {"cls": 720, "box": 36}), 80, {"retinanet": 4}),
    (640, maps(640, P3_P7, {"cls": 720, "box": 36}), 81, {}),
    (640, maps(640, P3_P7, {"cls": 80, "box": 4, "ctr": 1}), 0, {"fcos": 4}),
    (640, maps(640, P3_P7[:3], {"cls": 80, "box": 4, "obj": 1}), 0, {}),  # YOLOX
    (512, {"hm": (80, 128, 128), "wh": (2, 128, 128), "reg": (2, 128, 128)}, 0, {"centernet": 4}),
    (640, {"a": (1, 160, 160), "b": (2, 160, 160), "c": (2, 160, 160), "d": (10, 160, 160)}, 0, {"centernet": 2}),
    (640, {"o": (300, 9)}, 0, {"boxes": 8}),
    (640, {"o": (300, 9)}, 5, {"boxes": 4}),
    (640, {"o": (84, 8400)}, 80, {}),  # YOLOv8
    (640, {"o": (25200, 85)}, 80, {}),  # YOLOv5
    (640, {"o": (1000,)}, 0, {}),
    (640, {"o": (-1, 7)}, 0, {}),
    (640, {"m": (32, 160, 160)}, 0, {}),
]


@pytest.mark.parametrize(("size", "shapes", "classes", "kinds"), TABLE)
def test_what_fits(size: int, shapes: dict[str, Any], classes: int, kinds: dict[str, int]) -> None:
    lines = found((size, size), shapes, classes)
    counted: dict[str, int] = {}
    for line in lines:
        kind = yaml.safe_load(line)["head"]["kind"]
        counted[kind] = counted.get(kind, 0) + 1
    assert counted == kinds, "\n".join(lines)
    assert len(set(lines)) == len(lines)


def test_a_line_says_what_differs_from_the_defaults_only() -> None:
    lines = found((640, 640), {"logits": (100, 92), "pred_boxes": (100, 4)})
    assert "head: {kind: detr, classes: 92}" in lines
    assert "head: {kind: detr, classes: 92, activation: sigmoid}" in lines


def detector(folder: Path, shapes: dict[str, tuple[int, ...]], size: int = 128) -> None:
    """A model of that input and those outputs; what it computes does not matter."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, size, size])
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "axis"], ["column"]),
    ]
    weights = [numpy_helper.from_array(np.array(values), name) for name, values in (("axis", [1]), ("axes", [1, 2, 3]))]
    outputs = []
    rng = np.random.default_rng(0)
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        weights += [numpy_helper.from_array(rng.normal(size=(1, count)).astype(np.float32), f"{name}_w")]
        weights += [numpy_helper.from_array(np.array([-1, *shape]), f"{name}_shape")]
        nodes += [helper.make_node("MatMul", ["column", f"{name}_w"], [f"{name}_flat"])]
        nodes += [helper.make_node("Reshape", [f"{name}_flat", f"{name}_shape"], [name])]
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]))
    graph = helper.make_graph(nodes, "g", [image], outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), folder / "model.onnx")


def test_the_only_head_that_fits_need_not_be_said(tmp_path: Path) -> None:
    detector(tmp_path, BLAZEFACE)
    path = tmp_path / "thing.yaml"
    path.write_text(SPEC)
    assert run(["build", str(path), "-o", str(tmp_path / "repo")]) == 0
    pipeline = Pipeline(path, load(path))
    assert pipeline.head is not None
    assert [t.name for t in pipeline.model.outputs] == ["num_dets", "det_boxes", "det_scores", "det_classes", "det_keypoints"]
    assert run(["verify", str(path), "-r", str(tmp_path / "repo")]) == 0


def test_of_several_each_line_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    detector(tmp_path, {"scores": (20, 3), "boxes": (20, 4)})
    path = tmp_path / "thing.yaml"
    path.write_text(SPEC)
    assert run(["plan", str(path)]) == 1
    error = capsys.readouterr().err
    assert (
        f"{path}:3: nms: nms needs a head, and checkpoint kind onnx does not state one; 6 fit scores FP32[batch, 20, 3]" in error
    )
    lines = [line.strip() for line in error.splitlines() if line.strip().startswith("head: {")]
    assert len(lines) == 6
    for line in lines:
        path.write_text(SPEC + line + "\n")
        assert run(["plan", str(path)]) == 0, line


def test_where_none_fits_the_shapes_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    detector(tmp_path, {"o": (7,)})
    path = tmp_path / "thing.yaml"
    path.write_text(SPEC)
    assert run(["plan", str(path)]) == 1
    error = capsys.readouterr().err
    assert "by its shapes none is known for o FP32[batch, 7]; add `head:`; docs/heads.md lists what each takes" in error


@pytest.mark.parametrize(
    ("shapes", "classes", "found"),
    [
        ([(84, 8400)], 80, [("yolov8", {"classes": 80})]),
        ([(84, 8400)], 0, [("yolov8", {"classes": 80})]),
        ([(25200, 85)], 0, [("yolov5", {"classes": 80})]),
        ([(8400, 85)], 80, [("yolov5", {"classes": 80}), ("yolox", {"decoded": False}), ("yolox", {"decoded": True})]),
        ([(144, 80, 80), (144, 40, 40), (144, 20, 20)], 80, [("yolov8", {"activated": False}), ("yolov8", {"activated": True})]),
        ([(3, 80, 80, 85), (3, 40, 40, 85), (3, 20, 20, 85)], 80, [("yolov5", {"classes": 80}), ("yolov5", {"classes": 80})]),
        ([(84, 8400)], 20, []),
    ],
)
def test_the_yolos_offer_themselves(shapes: list[tuple[int, ...]], classes: int, found: list[tuple[str, dict[str, Any]]]) -> None:
    outputs = tuple(Tensor(f"o{i}", "FP32", shape) for i, shape in enumerate(shapes))
    heads = recognise.fitting(Tensor("images", "FP32", (3, 640, 640)), outputs, classes)
    heads = [head for head in heads if head.kind.startswith("yolo")]
    assert [head.kind for head in heads] == [kind for kind, _ in found]
    for head, (_, fields) in zip(heads, found, strict=True):
        assert {name: getattr(head, name) for name in fields} == fields
