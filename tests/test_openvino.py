"""target: openvino, from the spec to the served answer; what it refuses, and what the checker reads of its files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import openvino_models
import pytest
import tiny_detector
from onnx import TensorProto, helper, numpy_helper
from test_picture_input import SPEC as COLOURS
from test_picture_input import colours
from tiny_models import model, tensors

from generator import check, container, openvino_precision, openvino_signature, pbtxt
from generator.backends.openvino import OpenVino
from generator.cli import run
from generator.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable

TARGET = "target: {kind: openvino}\n"


def conv(folder: Path) -> Path:
    """A small network over a picture, and its spec: no ensemble."""
    random = np.random.default_rng(7)
    w = numpy_helper.from_array(random.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32), "w")
    v = numpy_helper.from_array(random.normal(0, 0.3, (8, 5)).astype(np.float32), "v")
    b = numpy_helper.from_array(random.normal(0, 0.3, 5).astype(np.float32), "b")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]), helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "v", "b"], ["y"]), helper.make_node("Identity", ["y"], ["z"]),
    ]  # fmt: skip
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 5]) for name in "yz"]
    graph = helper.make_graph(nodes, "g", [x], outputs, [w, v, b])
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "m.onnx")
    (folder / "s.yaml").write_text(f"name: conv\ncheckpoint: {{kind: onnx, file: m.onnx}}\n{TARGET}")
    return folder / "s.yaml"


def proven(path: Path, repository: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Built and verified; what the commands printed."""
    assert run(["build", str(path), "-o", str(repository)]) == 0, capsys.readouterr().err
    assert run(["check", str(repository)]) == 0, capsys.readouterr().out
    assert run(["verify", str(path), "-r", str(repository)]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_a_bare_network_takes_any_number_of_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = conv(tmp_path)
    path.write_text(f"{path.read_text()}serving: {{instances: {{model: 2}}}}\n")
    assert "verified: conv" in proven(path, tmp_path / "repo", capsys)
    config = pbtxt.read(tmp_path / "repo" / "conv" / "config.pbtxt")
    assert (config.backend, config.max_batch_size, list(config.input[0].dims)) == ("openvino", 0, [-1, 3, 16, 16])
    assert not config.HasField("dynamic_batching")
    assert {key: value.string_value for key, value in config.parameters.items()} == {"NUM_STREAMS": "2"}
    found = openvino_signature.read(tmp_path / "repo" / "conv" / "1" / "model.xml")
    assert [str(t) for t in (*found.signature.inputs, *found.signature.outputs)] == [
        "x FP32[batch, 3, 16, 16]", "y FP32[batch, 5]", "z FP32[batch, 5]"
    ]  # fmt: skip
    assert found.opset <= 15, "what the OpenVINO of the oldest server reads"


@pytest.mark.full
def test_a_classifier_in_an_ensemble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    colours(tmp_path, [3, 16, 24], "FP16")
    (tmp_path / "s.yaml").write_text(COLOURS.replace("KIND", "stretch") + TARGET)
    assert "verified: colours" in proven(tmp_path / "s.yaml", tmp_path / "repo", capsys)
    sizes = [pbtxt.read(tmp_path / "repo" / name / "config.pbtxt").max_batch_size for name in ("colours", "colours_model")]
    assert sizes == [8, 0]


def test_a_detector_with_thresholds_in_the_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """NMS with a threshold for each picture is a loop, which OpenVINO takes, too; pictures come one and two at once."""
    path = thresholds(tmp_path)
    assert "verified: tiny" in proven(path, tmp_path / "repo", capsys)


def thresholds(folder: Path) -> Path:
    path = tiny_detector.write(folder / "specs", seed=61)
    runtime = "score_threshold: 0.2\n  runtime: [score_threshold, iou_threshold]\n"
    path.write_text(path.read_text().replace("score_threshold: 0.2\n", runtime) + TARGET)
    return path


@pytest.mark.full
def test_pictures_of_one_request_are_answered_as_alone(
    tmp_path: Path, server: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    path = thresholds(tmp_path)
    assert run(["build", str(path), "-o", str(tmp_path / "repo")]) == 0, capsys.readouterr().err
    pictures = [path.with_name("wide.png"), path.with_name("tall.jpg")]
    url = server(tmp_path / "repo").grpc_url
    for rows in (1, 2, 3, 4):
        with Client(url, "tiny") as client:
            answers = client.infer([pictures[row % 2] for row in range(rows)])
        with Client(url, "tiny") as client:
            alone = [client.infer([pictures[row % 2]])[0] for row in range(rows)]
        assert [len(answer.scores) for answer in answers] == [len(answer.scores) for answer in alone]
        assert all(np.allclose(a.scores, b.scores, atol=1e-5) for a, b in zip(answers, alone, strict=True))
    with Client(url, "tiny", thresholds={"iou_threshold": 0.0}) as client:
        assert 0 < len(client.infer(pictures[:1])[0].scores) < len(alone[0].scores)


def test_padding_is_said_and_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = conv(tmp_path)
    path.write_text(path.read_text().replace("openvino}", "openvino, batch_padding: true, num_streams: auto}"))
    assert run(["build", str(path), "-o", str(tmp_path / "repo")]) == 0, capsys.readouterr().err
    said = capsys.readouterr()
    assert "8 with ENABLE_BATCH_PADDING: after a smaller batch, those of 8 rows fail" in said.out + said.err
    config = pbtxt.read(tmp_path / "repo" / "conv" / "config.pbtxt")
    assert (config.max_batch_size, list(config.input[0].dims)) == (8, [3, 16, 16])
    assert {k: v.string_value for k, v in config.parameters.items()} == {"ENABLE_BATCH_PADDING": "YES", "NUM_STREAMS": "AUTO"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (TARGET, "target: {kind: openvino, num_streams: 0}\n", "num_streams"),
        (TARGET, "target: {kind: openvino, inference_precision: f64}\n", "inference_precision"),
        (TARGET, "target: {kind: openvino, target_device: gpu}\n", "target_device"),
    ],
)
def test_a_field_that_cannot_be(tmp_path: Path, old: str, new: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = conv(tmp_path)
    path.write_text(path.read_text().replace(old, new))
    assert run(["plan", str(path), "-o", str(tmp_path / "repo")]) == 1
    assert f"s.yaml:3: target.openvino.{message}" in (error := capsys.readouterr().err) or f"s.yaml:3: target.{message}" in error


def test_the_plugin_for_tensorrt_is_refused_at_plan_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tiny_detector.write(tmp_path, seed=61)
    path.write_text(path.read_text().replace("kind: onnx\n", "kind: efficient_nms_trt\n") + TARGET)
    assert run(["plan", str(path), "-o", str(tmp_path / "repo")]) == 1
    error = capsys.readouterr().err
    assert "EfficientNMS_TRT is a TensorRT plugin, which target openvino does not run; say `nms: {kind: onnx}`" in error


def test_an_operator_that_openvino_lacks_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = model([helper.make_node("Det", ["x"], ["y"], "middle")], {"x": (1, ("n", 4, 4))}, {"y": (1, ("n",))})
    onnx.save(made, tmp_path / "m.onnx")
    (tmp_path / "s.yaml").write_text(f"name: lacks\ncheckpoint: {{kind: onnx, file: m.onnx}}\n{TARGET}")
    assert run(["build", str(tmp_path / "s.yaml"), "-o", str(tmp_path / "repo")]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error == (
        "error: lacks: target openvino: OpenVINO does not convert Det; take Det out of the graph (`surgery:`, docs/surgery.md),"
        " or say `target: {kind: onnxruntime}`"
    )


def test_texts_are_refused_at_plan_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = model([helper.make_node("Identity", ["x"], ["y"])], {"x": (8, ("n", 4))}, {"y": (8, ("n", 4))})
    onnx.save(made, tmp_path / "m.onnx")
    (tmp_path / "s.yaml").write_text(f"name: texts\ncheckpoint: {{kind: onnx, file: m.onnx}}\n{TARGET}")
    assert run(["plan", str(tmp_path / "s.yaml"), "-o", str(tmp_path / "repo")]) == 1
    assert "TYPE_STRING; expected one of TYPE_BOOL" in capsys.readouterr().err.replace("found ", "")


IO = "max_batch_size: 0\n" + tensors(dims="-1, 4")


def weighted() -> onnx.ModelProto:
    w = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    return model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": (1, ("n", 4))}, {"y": (1, ("n", 4))}, [w])


@pytest.mark.parametrize(
    ("rule", "found", "spoil"),
    [
        ("openvino/file", "not OpenVINO IR: its root is <svg>", lambda f: (f / "model.xml").write_text("<svg/>")),
        ("openvino/file", "not OpenVINO IR: ", lambda f: (f / "model.xml").write_bytes((f / "model.xml").read_bytes()[:900])),
        ("openvino/file", "IR of version 7", lambda f: edit(f, 'version="11"', 'version="7"')),
        ("openvino/weights", "no file 1/model.bin", lambda f: (f / "model.bin").unlink()),
        ("openvino/weights", "1/model.bin of 63 bytes", lambda f: (f / "model.bin").write_bytes(bytes(63))),
        ("openvino/newer", "opset99", lambda f: edit(f, 'type="MatMul" version="opset1"', 'type="MatMul" version="opset99"')),
    ],
)  # fmt: skip
def test_the_checker_reads_the_files(tmp_path: Path, rule: str, found: str, spoil: Callable[[Path], Any]) -> None:
    folder = openvino_models.write(tmp_path, "m", weighted(), IO)
    assert check.check(check.read(tmp_path, server=(2, 51))[0]) == []
    spoil(folder / "1")
    findings = check.check(check.read(tmp_path, server=(2, 51))[0])
    assert [f.rule for f in findings] == [rule]
    assert found in str(findings[0])


def edit(folder: Path, old: str, new: str) -> None:
    text = (folder / "model.xml").read_text()
    assert old in text
    (folder / "model.xml").write_text(text.replace(old, new, 1))


def test_float32_is_asked_for_where_a_model_wants_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    openvino_models.ir(weighted(), tmp_path / "repo" / "m" / "1", precise=False)
    (tmp_path / "repo" / "m" / "config.pbtxt").write_text(f'backend: "openvino"\n{IO}')
    assert openvino_precision.variables(tmp_path / "repo") == {}
    openvino_models.write(tmp_path / "repo", "n", weighted(), IO)
    assert openvino_precision.variables(tmp_path / "repo") == openvino_precision.VARIABLES
    command = container.run_command(tmp_path / "repo", "image", "127.0.0.1", (1, 2, 3), 64)
    assert "--env=OV_CPU_MAX_ISA=AVX512_CORE_VNNI" in command
    assert run(["deploy", str(tmp_path / "repo"), "-o", str(tmp_path / "deploy")]) == 0, capsys.readouterr().err
    assert (
        "ENV ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI OV_CPU_MAX_ISA=AVX512_CORE_VNNI\n"
        in (tmp_path / "deploy" / "Dockerfile").read_text()
    )
    shutil.rmtree(tmp_path / "repo" / "n")
    assert run(["deploy", str(tmp_path / "repo"), "-o", str(tmp_path / "deploy")]) == 0, capsys.readouterr().err
    assert "MAX_CPU_ISA" not in (tmp_path / "deploy" / "Dockerfile").read_text()


@pytest.mark.full
def test_the_flagship_answers_as_it_was_trained(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (root / "ensembles" / "yolov4_tiny.yaml").read_text().replace("../weights", str(root / "weights"))
    (tmp_path / "s.yaml").write_text(text + TARGET)
    assert "verified: yolov4_tiny" in proven(tmp_path / "s.yaml", tmp_path / "repo", capsys)


@pytest.mark.full
def test_the_example(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "verified: efficientnet_lite0_streams" in proven(root / "examples" / "openvino.yaml", tmp_path / "repo", capsys)
    config = pbtxt.read(tmp_path / "repo" / "efficientnet_lite0_streams_model" / "config.pbtxt")
    assert config.parameters["NUM_STREAMS"].string_value == "2"


def test_the_page_names_every_field(root: Path) -> None:
    text = (root / "docs" / "openvino.md").read_text()
    assert [name for name in OpenVino.model_fields if f"{name}:" not in text] == []
