"""Thresholds that come with the request: from the spec through ensemble, client, parity ladder, warm-up and benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_detector

from generator import bench, contract, graph, model_config, plugin_nodes
from generator.cli import run
from generator.client import Client
from generator.errors import ClientError
from generator.server import Server


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tiny_detector.write(tmp_path_factory.mktemp("thresholds"), seed=5)
    text = path.read_text().replace(
        "score_threshold: 0.2\n", "score_threshold: 0.4\n  runtime: [score_threshold, iou_threshold]\n"
    )
    path.write_text(text.replace("max_batch_size: 4", "max_batch_size: 4\n  warmup: {images: [wide.png]}"))
    return path


@pytest.fixture(scope="module")
def repository(spec: Path) -> Path:
    repository = spec.parent / "repo"
    assert run(["build", str(spec), "-o", str(repository)]) == 0
    return repository


@pytest.fixture(scope="module")
def url(repository: Path, server: Callable[..., Server]) -> str:
    return server(repository).grpc_url


def count(url: str, picture: Path, **thresholds: float) -> int:
    with Client(url, "tiny", thresholds=thresholds) as client:
        (answer,) = client.infer([picture])
    return len(answer.scores)


def test_the_ladder_holds(spec: Path, repository: Path) -> None:
    assert run(["verify", str(spec), "-r", str(repository)]) == 0


def test_each_request_has_its_own(url: str, spec: Path) -> None:
    picture = spec.with_name("wide.png")
    usual, overlapping = count(url, picture), count(url, picture, iou_threshold=1.0)
    assert count(url, picture, score_threshold=0.4, iou_threshold=0.45) == usual
    assert 0 == count(url, picture, score_threshold=0.999) < usual < overlapping < count(url, picture, score_threshold=0.0)


def test_infer_says_them(url: str, spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["infer", str(spec.with_name("wide.png")), "--url", url, "--json", "--no-draw", "--score-threshold", "0.999"]
    assert run(arguments) == 0
    assert json.loads(capsys.readouterr().out)["images"][0]["detections"] == []
    assert run([*arguments[:-1], "1.5"]) == 1


def test_the_benchmark_sends_the_specs(url: str) -> None:
    with Client(url, "tiny") as client:
        rows = json.loads(bench.inputs(client.contract(), [b"picture"]))["data"]
    assert rows[0]["score_threshold"] == {"content": [0.4], "shape": [1]}


def test_a_threshold_that_is_built_in_is_not_taken(url: str, tmp_path: Path) -> None:
    with Client(url, "tiny", thresholds={"nms": 0.5}) as client, pytest.raises(ClientError) as error:
        client.contract()
    assert "does not take nms from a request; it takes score_threshold, iou_threshold" in str(error.value)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            "kind: onnx\n  fixed_shapes: true\n  runtime: [iou_threshold]",
            "nms: NonMaxSuppression takes one IoU threshold a batch",
        ),
        ("kind: none\n  runtime: [iou_threshold]", "nms kind none has no iou_threshold"),
        ("kind: onnx\n  runtime: [max_detections]", "runtime"),
        ("kind: onnx\n  score_threshold: 1.2", "score_threshold"),
        ("kind: efficient_nms_trt", "which target onnxruntime does not run"),
    ],
)
def test_what_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str], said: str, message: str) -> None:
    path = tiny_detector.write(tmp_path, seed=5)
    path.write_text(path.read_text().replace("kind: onnx\n  score_threshold: 0.2", said))
    assert run(["plan", str(path), "-o", str(tmp_path / "repo")]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "tiny.yaml:" in error
    assert "Traceback" not in error


def test_the_graph_for_tensorrt_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tiny_detector.write(tmp_path, seed=5)
    path.write_text(path.read_text().replace("kind: onnx", "kind: efficient_nms_trt"))
    assert run(["onnx", str(path), "-o", str(tmp_path / "tiny.onnx")]) == 0
    assert "num_dets INT32[batch, 1]" in capsys.readouterr().out
    made = graph.load(tmp_path / "tiny.onnx")
    (node,) = [node for node in made.graph.node if node.domain]
    assert (node.op_type, node.domain) == ("EfficientNMS_TRT", plugin_nodes.DOMAIN)
    random = np.random.default_rng(0)
    found = plugin_nodes.run(made, {"pixels": random.integers(0, 255, (2, 64, 64, 3), np.uint8)})
    assert found["num_dets"].min() > 0
    assert run(["onnx", str(path), "-o", str(tmp_path / "gone" / "tiny.onnx")]) == 1


def test_a_bare_detector_with_its_own_thresholds_is_verified(tmp_path: Path) -> None:
    path = tiny_detector.write(tmp_path, seed=5)
    text = path.read_text().replace("score_threshold: 0.2\n", "score_threshold: 0.01\n  runtime: [score_threshold]\n")
    bare = text.split("preprocess:")[0] + "serving:\n  max_batch_size: 4\n"
    path.write_text(bare)
    assert run(["build", str(path), "-o", str(tmp_path / "repo")]) == 0
    assert run(["verify", str(path), "-r", str(tmp_path / "repo")]) == 0


def test_photos_on_which_nothing_is_found_prove_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tiny_detector.write(tmp_path, seed=5)
    path.write_text(path.read_text().replace("score_threshold: 0.2", "score_threshold: 0.999"))
    assert run(["build", str(path), "-o", str(tmp_path / "repo")]) == 0
    assert run(["verify", str(path), "-r", str(tmp_path / "repo")]) == 1
    assert "on none of the 2 the checkpoint finds anything; no box was compared" in capsys.readouterr().err


def test_a_foreign_model_with_a_word_where_a_number_is_expected_is_no_detector_of_ours() -> None:
    tensors = [
        {"name": "image", "data_type": "TYPE_STRING", "dims": [1]},
        {"name": "mode", "data_type": "TYPE_FP32", "dims": [1]},
    ]
    config = model_config.new(name="m", input=tensors, parameters={"mode": {"string_value": "fast"}})
    assert not contract.takes_pictures(config)
    config.parameters["mode"].string_value = "0.5"
    assert contract.takes_pictures(config)


def test_the_readme_of_the_ensemble_sends_the_specs_values(repository: Path) -> None:
    assert "data = np.full([1, 1], 0.4, dtype=np.float32)" in (repository / "tiny" / "README.md").read_text()
