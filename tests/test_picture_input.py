"""Models that take pictures in other ways: channels last, levels, half precision, a size that is free; and what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from PIL import Image

from generator import pbtxt
from generator.cli import run
from generator.passes.image_input import ImageInput

SPEC = """\
name: colours
checkpoint: {kind: onnx, file: m.onnx}
preprocess: {kind: KIND}
postprocess: {kind: classification, top_k: 2, labels: labels.txt}
verify: {images: [red.png, blue.png]}
"""
TYPES = {"FP32": TensorProto.FLOAT, "FP16": TensorProto.FLOAT16, "UINT8": TensorProto.UINT8}


def colours(folder: Path, shape: list[Any], dtype: str = "FP32") -> None:
    """The mean of each channel, as three logits; a model of FP16 or UINT8 makes FP32 of it itself."""
    x = helper.make_tensor_value_info("x", TYPES[dtype], ["n", *shape])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    nodes = [helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("ReduceMean", ["f"], ["y"], axes=[2, 3] if shape[0] == 3 else [1, 2], keepdims=0))
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "m.onnx")
    (folder / "labels.txt").write_text("red\ngreen\nblue\n")
    Image.new("RGB", (40, 30), (200, 10, 20)).save(folder / "red.png")
    Image.new("RGB", (7, 90), (10, 20, 220)).save(folder / "blue.png")


def spec(folder: Path, preprocess: str) -> Path:
    (folder / "s.yaml").write_text(SPEC.replace("KIND", preprocess))
    return folder / "s.yaml"


@pytest.mark.parametrize(
    ("shape", "dtype", "preprocess"),
    [
        ([16, 24, 3], "FP32", "stretch"),
        ([3, 16, 24], "FP16", "keras_tf"),
        ([16, 24, 3], "UINT8", "keras_tf"),
        ([3, "h", "w"], "FP32", "yolox, size: [32, 64]"),
    ],
)
def test_it_is_built_served_and_verified(
    tmp_path: Path, shape: list[Any], dtype: str, preprocess: str, capsys: pytest.CaptureFixture[str]
) -> None:
    colours(tmp_path, shape, dtype)
    path = spec(tmp_path, preprocess)
    assert run(["build", str(path), "-o", str(tmp_path / "repo")]) == 0, capsys.readouterr().err
    config = pbtxt.read(tmp_path / "repo" / "colours_model" / "config.pbtxt")
    assert list(config.input[0].dims) == [32, 64, 3] if "size" in preprocess else [16, 24, 3]
    assert run(["verify", str(path), "-r", str(tmp_path / "repo")]) == 0, capsys.readouterr().err
    assert "verified: colours" in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["FP32", "FP16", "UINT8"])
def test_the_graph_normalises_as_the_formula(layout: Any, dtype: str) -> None:
    shape: list[Any] = ["n", 3, 4, 5] if layout == "NCHW" else ["n", 4, 5, 3]
    x, y = (helper.make_tensor_value_info(name, TYPES[dtype], shape) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    mean, std = (1.0, 2.0, 3.0), (2.0, 4.0, 8.0)
    made = ImageInput(input="x", size=(4, 5), model_layout=layout, scale=0.5, mean=mean, std=std).run(model)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), np.uint8)
    (found,) = ort.InferenceSession(made.SerializeToString()).run(None, {"pixels": pixels})
    wanted = pixels if dtype == "UINT8" else (pixels * 0.5 - np.array(mean)) / np.array(std)
    wanted = wanted.transpose(0, 3, 1, 2) if layout == "NCHW" else wanted
    assert found == pytest.approx(wanted, abs={"FP32": 1e-6, "FP16": 0.05, "UINT8": 0}[dtype])


@pytest.mark.parametrize(
    ("shape", "dtype", "preprocess", "message"),
    [
        ([3, "h", "w"], "FP32", "stretch", ":3: preprocess: the model takes x FP32[batch, 3, ?, ?]: its size is free"),
        (
            [3, 16, 24],
            "FP32",
            "stretch, size: [16, 32]",
            ":3: preprocess.size: size is [16, 32]; the model takes x FP32",
        ),
        ([3, 16, 24], "FP32", "ultralytics", ":3: preprocess.stride: the canvas is 16 x 24; its sides must be multiples of 32"),
        ([3, 64, 96], "FP32", "ultralytics, stride: 64", "use a model of 64 x 128"),
        ([3, 64, 96], "FP32", "detr", ":3: preprocess.longest: longest is 1333, the canvas 64 x 96"),
        ([3, 96, 96], "FP32", "detr, shortest: 90, longest: 80", ":3: preprocess.shortest: shortest is 90, longest 80"),
        ([3, 64, 96], "FP32", "rtmdet", "rtmdet needs a square canvas, found 64 x 96"),
        ([3, 64, 96], "FP32", "timm", "timm needs a square canvas, found 64 x 96"),
        (
            [16, 24, 3],
            "UINT8",
            "stretch, scale: 2",
            ":3: preprocess.scale: scale is 2.0; the model takes x UINT8[batch, 16, 24, 3]",
        ),
        ([4, 16, 24], "FP32", "stretch", "a picture needs one input [batch, 3, height, width] or [batch, height, width, 3]"),
        ([3, 16, 24], "FP32", "darknet, antialias: true", "antialias goes with coordinates: half_pixel only"),
        ([3, 16, 24], "FP32", "darknet, interpolation: cubic", "align_corners goes with interpolation: linear only"),
        ([3, 16, 24], "FP32", "darknet, scale_up: false", "rounding: integer always enlarges"),
        ([3, 16, 24], "FP32", "letterbox, pad_value: 256", "pad_value"),
        ([3, 16, 24], "FP32", "yolo_x", "yolox"),
    ],
)
def test_what_does_not_fit_is_said_with_its_line(
    tmp_path: Path, shape: list[Any], dtype: str, preprocess: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    colours(tmp_path, shape, dtype)
    assert run(["plan", str(spec(tmp_path, preprocess))]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert message in said
    assert "Traceback" not in said


def test_the_shapes_of_a_free_size_follow_from_it(tmp_path: Path) -> None:
    """A head can count the boxes of a model whose input and output are free: shape inference at that size."""
    from generator import sized
    from generator.tensors import Tensor

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, "a", "b"])
    pool = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[8, 8], strides=[8, 8])
    model = helper.make_model(helper.make_graph([pool], "g", [x], [y]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "m.onnx")
    found = (Tensor("y", "FP32", (3, -1, -1)),)
    assert sized.outputs(tmp_path / "m.onnx", Tensor("x", "FP32", (3, 64, 96)), found) == (Tensor("y", "FP32", (3, 8, 12)),)
