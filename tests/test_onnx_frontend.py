"""ONNX as it is: bare models, ensembles around them, external data, and files that cannot be served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from generator import pbtxt
from generator.cli import run

BARE = "name: mlp\ncheckpoint: {kind: onnx, file: m.onnx}\n"
PICTURES = """\
name: colours
checkpoint: {kind: onnx, file: m.onnx}
preprocess: {kind: stretch, scale: 1/255}
postprocess: {kind: classification, top_k: 2, labels: labels.txt}
verify: {images: [red.png, blue.png]}
"""


def linear(folder: Path, batch: Any = "batch", inputs: int = 4, external: bool = False, ir_version: int = 8) -> Path:
    weights = numpy_helper.from_array(np.random.default_rng(0).normal(size=(inputs, 3)).astype(np.float32), "w")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, inputs])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=ir_version)
    location = "weights.bin" if external else None
    onnx.save(model, folder / "m.onnx", save_as_external_data=external, location=location, size_threshold=0)
    return folder / "m.onnx"


def colours(folder: Path) -> None:
    """The mean of each channel, as three logits."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 24])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)
    model = helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "m.onnx")
    (folder / "labels.txt").write_text("red\ngreen\nblue\n")
    Image.new("RGB", (40, 30), (200, 10, 20)).save(folder / "red.png")
    Image.new("RGB", (7, 90), (10, 20, 220)).save(folder / "blue.png")


def spec(folder: Path, text: str) -> Path:
    (folder / "s.yaml").write_text(text)
    return folder / "s.yaml"


@pytest.mark.parametrize("external", [False, True])
def test_a_bare_model_is_built_served_and_verified(tmp_path: Path, external: bool, capsys: pytest.CaptureFixture[str]) -> None:
    linear(tmp_path, external=external)
    path = spec(tmp_path, BARE)
    assert run(["build", str(path), "-o", str(tmp_path / "repo")]) == 0
    config = pbtxt.read(tmp_path / "repo" / "mlp" / "config.pbtxt")
    assert (config.max_batch_size, list(config.input[0].dims), list(config.output[0].dims)) == (8, [4], [3])
    assert run(["verify", str(path), "-r", str(tmp_path / "repo")]) == 0
    assert "verified: mlp" in capsys.readouterr().out


def test_a_bare_model_of_fixed_batch_is_served_without_batching(tmp_path: Path) -> None:
    linear(tmp_path, batch=1)
    path = spec(tmp_path, BARE)
    assert run(["build", str(path), "-o", str(tmp_path / "repo")]) == 0
    text = (tmp_path / "repo" / "mlp" / "config.pbtxt").read_text()
    assert "max_batch_size: 0" in text
    config = pbtxt.read(tmp_path / "repo" / "mlp" / "config.pbtxt")
    assert list(config.input[0].dims) == [1, 4]
    assert not config.HasField("dynamic_batching")
    assert run(["verify", str(path), "-r", str(tmp_path / "repo")]) == 0


@pytest.mark.parametrize(("said", "batcher"), [("", False), (", dynamic_batching: true", True)])
def test_batches_of_one_row_need_no_batcher(tmp_path: Path, said: str, batcher: bool) -> None:
    """`check` regrets one there, so it is no default."""
    linear(tmp_path)
    path = spec(tmp_path, f"{BARE}serving: {{max_batch_size: 1{said}}}\n")
    assert run(["build", str(path), "-o", str(tmp_path / "repo")]) == 0
    config = pbtxt.read(tmp_path / "repo" / "mlp" / "config.pbtxt")
    assert (config.max_batch_size, config.HasField("dynamic_batching")) == (1, batcher)


def test_an_ensemble_around_an_onnx_model(tmp_path: Path) -> None:
    colours(tmp_path)
    path = spec(tmp_path, PICTURES)
    assert run(["build", str(path), "-o", str(tmp_path / "repo")]) == 0
    assert run(["verify", str(path), "-r", str(tmp_path / "repo")]) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("stretch, scale: 1/255", "stretch, scale: 1/255, fold: 1"), "unknown key 'fold'"),
        (("top_k: 2", "top_k: 5"), "s.yaml:4: postprocess: top_k is 5, the model has 3 classes"),
        (("{kind: classification, top_k: 2, labels: labels.txt}", "{kind: detections}"), "postprocess detections takes num_dets"),
        (("checkpoint", "nms: {kind: onnx}\ncheckpoint"), "s.yaml:2: nms: nms needs a head, and checkpoint kind onnx does not"),
        (
            ("checkpoint", "nms: {kind: onnx}\nhead: {kind: yolov4, classes: 2, levels: [{anchors: [[3, 4]]}]}\ncheckpoint"),
            "s.yaml:3: head: head yolov4: found outputs y FP32[batch, 3]; expected [batch, 7, rows, columns]",
        ),
    ],
)
def test_a_spec_that_does_not_fit_the_model(
    tmp_path: Path, change: tuple[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    colours(tmp_path)
    assert run(["plan", str(spec(tmp_path, PICTURES.replace(*change)))]) == 1
    assert message in capsys.readouterr().err


def test_a_picture_model_of_fixed_batch_is_refused_before_anything_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    colours(tmp_path)
    model = onnx.load(tmp_path / "m.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, tmp_path / "m.onnx")
    assert run(["build", str(spec(tmp_path, PICTURES)), "-o", str(tmp_path / "repo")]) == 1
    error = capsys.readouterr().err
    assert "the model takes x FP32[1, 3, 16, 24]; a picture needs one input [batch, 3, height, width]" in error
    assert not (tmp_path / "repo").exists()


@pytest.mark.parametrize("content", [b"", b"hello, this is no model", b"\x80\x02}q\x00.", None])
def test_a_file_that_is_not_onnx(tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]) -> None:
    whole = linear(tmp_path).read_bytes()
    (tmp_path / "m.onnx").write_bytes(whole[: len(whole) // 2] if content is None else content)
    assert run(["build", str(spec(tmp_path, BARE)), "-o", str(tmp_path / "repo")]) == 1
    error = capsys.readouterr().err
    assert "m.onnx: not an ONNX model" in error
    assert "Traceback" not in error


def test_external_data_that_is_missing_or_outside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    linear(tmp_path, external=True)
    (tmp_path / "weights.bin").rename(tmp_path / "elsewhere.bin")
    assert run(["build", str(spec(tmp_path, BARE)), "-o", str(tmp_path / "repo")]) == 1
    assert "its external data weights.bin is missing" in capsys.readouterr().err
    model = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../../etc/passwd"
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert run(["build", str(spec(tmp_path, BARE)), "-o", str(tmp_path / "repo")]) == 1
    assert "lies outside its folder" in capsys.readouterr().err
