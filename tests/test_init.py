"""`triton-repo init`: what it writes is a spec; with nothing left to fill in it builds as it is, and serves what is right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import yaml
from onnx import TensorProto, helper
from torch import nn

from generator.answers import Detections
from generator.cli import run
from generator.client import Client
from generator.first_spec import model_name
from generator.load import load


def written(checkpoint: Path, spec: Path, *more: str) -> str:
    """The text that `init` writes."""
    assert run(["init", str(checkpoint), "-o", str(spec), *more]) == 0
    return spec.read_text()


@pytest.fixture(scope="module")
def flagship(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository built from the flagship's weights file and what `init` wrote of it, without an edit."""
    folder = tmp_path_factory.mktemp("flagship")
    assert run(["init", str(root / "weights/yolov4-tiny/yolov4-tiny.weights"), "-o", str(folder / "first.yaml")]) == 0
    assert run(["build", str(folder / "first.yaml"), "-o", str(folder / "repo")]) == 0
    return folder


def test_the_flagships_first_spec_builds_without_an_edit_and_finds_the_bus(
    flagship: Path, root: Path, server: Callable[..., Any]
) -> None:
    with Client(str(server(flagship / "repo").grpc_url), model="first") as client:
        (found,) = client.infer([root / "weights" / "yolov4-tiny" / "bus.jpg"])
    assert isinstance(found, Detections)
    assert sorted(found.labels)[0] == "bus"
    assert list(found.labels).count("person") == 3
    assert found.scores[found.labels.index("bus")] > 0.85


def test_cfg_and_weights_lead_to_the_same_spec(flagship: Path, root: Path, tmp_path: Path) -> None:
    cfg = written(root / "weights/yolov4-tiny/yolov4-tiny.cfg", tmp_path / "first.yaml")
    assert "FILL IN" not in cfg
    other = load(flagship / "first.yaml")
    assert load(tmp_path / "first.yaml") == other
    assert other.nms is not None
    assert other.postprocess is not None
    assert len(other.postprocess.label_names()) == 80
    assert cfg.count("# <- CHECK:") == 1


def test_the_default_name_and_nothing_is_overwritten(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint = str(root / "weights/yolov4-tiny/yolov4-tiny.cfg")
    assert run(["init", checkpoint]) == 0
    assert capsys.readouterr().out == "wrote yolov4_tiny.yaml\nnext: triton-repo build yolov4_tiny.yaml\n"
    (tmp_path / "yolov4_tiny.yaml").write_text("mine")
    assert run(["init", checkpoint]) == 1
    expected = "error: yolov4_tiny.yaml is there already; name another with -o, or overwrite it with --force\n"
    assert capsys.readouterr().err == expected
    assert (tmp_path / "yolov4_tiny.yaml").read_text() == "mine"
    assert run(["init", checkpoint, "--force", "--name", "other"]) == 0
    assert run(["init", checkpoint, "--force"]) == 0
    assert load(tmp_path / "yolov4_tiny.yaml").name == "yolov4_tiny"
    assert load(tmp_path / "other.yaml").name == "other"
    assert run(["init", checkpoint, "-o", "away/first.yaml"]) == 1
    assert capsys.readouterr().err == "error: away is not a folder; make it first\n"


def test_an_onnx_detector_of_a_fixed_batch_gets_its_head_and_its_batch_freed(root: Path, tmp_path: Path) -> None:
    if not (root / "weights/yolov8-doclaynet").is_dir():
        pytest.skip("weights/yolov8-doclaynet is not there")
    text = written(root / "weights/yolov8-doclaynet/yolov8n-doclaynet.onnx", tmp_path / "layout.yaml")
    assert "head: {kind: yolov8, classes: 11}" in text
    assert "set_shape, shapes: {images: [batch, 3, 1024, 1024], output0: [batch, 15, 21504]}" in text
    assert (tmp_path / "layout.labels.txt").read_text().splitlines()[0] == "Caption"
    assert run(["plan", str(tmp_path / "layout.yaml"), "-o", str(tmp_path / "repo")]) == 0
    assert run(["init", str(root / "weights/yolov8-doclaynet/yolov8n-doclaynet.onnx"), "-o", str(tmp_path / "layout.yaml")]) == 1


def _onnx(path: Path, inputs: list[Any], outputs: list[Any]) -> Path:
    def ends(said: list[Any]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in said]

    nodes = [helper.make_node("GlobalAveragePool", [inputs[0][0]], ["pooled"]), helper.make_node("Flatten", ["pooled"], ["y"])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends(inputs), ends(outputs)), opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    )
    onnx.save(model, path)
    return path


def test_an_onnx_classifier_and_a_bare_model_build(tmp_path: Path) -> None:
    classifier = _onnx(tmp_path / "classes.onnx", [("image", ["n", 3, 32, 32])], [("y", ["n", 3])])
    assert "  kind: classification\n  top_k: 3\n" in written(classifier, tmp_path / "classes.yaml")
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n")
    assert "  labels: labels.txt" in written(classifier, tmp_path / "classes.yaml", "--force").splitlines()
    bare = _onnx(tmp_path / "bare.onnx", [("signal", ["n", 8, 32])], [("y", ["n", 8])])
    assert "Served bare" in written(bare, tmp_path / "bare.yaml")
    assert run(["build", str(tmp_path / "classes.yaml"), str(tmp_path / "bare.yaml"), "-o", str(tmp_path / "repo")]) == 0
    assert (tmp_path / "repo" / "classes" / "config.pbtxt").is_file()
    assert "max_batch_size: 8" in (tmp_path / "repo" / "bare" / "config.pbtxt").read_text()


def test_torchscript_builds_once_its_shape_is_filled_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU()).eval()
    torch.jit.script(net).save(str(tmp_path / "net.pt"))  # type: ignore[no-untyped-call]
    text = written(tmp_path / "net.pt", tmp_path / "net.yaml")
    assert "complete, marked FILL IN: 1 line; then: triton-repo build" in capsys.readouterr().out
    (line,) = [line for line in text.splitlines() if "# <- FILL IN" in line]
    assert line.startswith("    input: [batch, 3, 224, 224]  # <- FILL IN:")
    (tmp_path / "net.yaml").write_text(text.replace(line, "    input: [batch, 3, 16, 16]"))
    assert run(["build", str(tmp_path / "net.yaml"), "-o", str(tmp_path / "repo")]) == 0
    model = onnx.load(tmp_path / "repo" / "net" / "1" / "model.onnx")
    assert [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim][1:] == [4, 7, 7]


def test_a_state_dict_says_what_is_known_and_marks_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = nn.Sequential(nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 2))
    torch.save({"epoch": 1, "net": nn.DataParallel(net).state_dict()}, tmp_path / "net.pth")
    text = written(tmp_path / "net.pth", tmp_path / "net.yaml")
    said = yaml.safe_load(text)["checkpoint"]
    assert (said["kind"], said["weights"], said["key"], said["prefix"]) == ("state_dict", "net.pth", "net", "module.")
    assert said["inputs"] == {"image": ["batch", 12]}
    assert text.count("# <- FILL IN:") == 2
    capsys.readouterr()
    assert run(["build", str(tmp_path / "net.yaml"), "-o", str(tmp_path / "repo")]) == 1
    assert "net.yaml:" in capsys.readouterr().err
    (tmp_path / "model.py").write_text(
        "from torch import nn\n\ndef build():\n    return nn.Sequential(nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 2))\n"
    )
    assert run(["build", str(tmp_path / "net.yaml"), "-o", str(tmp_path / "repo")]) == 0
    assert (tmp_path / "repo" / "net" / "1" / "model.onnx").is_file()


def test_names_from_the_file_stay_comments_and_values(tmp_path: Path) -> None:
    path = tmp_path / "a: b # c\n- d.pt"
    evil = "x\x1b[2J\nname: other\n# <- FILL IN"
    torch.save({"module": nn.Linear(2, 2).state_dict(), evil: {"w.v": torch.zeros(2, 2)}, "names": {0: evil, 1: "ok"}}, path)
    text = written(path, tmp_path / "spec.yaml")
    said = yaml.safe_load(text)
    assert said["name"] == "spec"
    assert said["checkpoint"]["weights"] == "a: b # c\n- d.pt"
    assert set(said) <= {"name", "checkpoint", "serving", "verify"}
    assert not (tmp_path / "spec.labels.txt").exists()  # such a label would be two lines
    assert text.count("FILL IN:") == 3


@pytest.mark.parametrize(
    ("file", "name"),
    [("yolov4-tiny.weights", "yolov4_tiny"), ("my model v1.2.onnx", "my_model_v1"), ("..pt", "model"), ("épée.pt", "p_e")],
)
def test_names_of_models(file: str, name: str) -> None:
    assert model_name(Path(file)) == name


def test_a_known_architecture_needs_no_hand(tmp_path: Path) -> None:
    from test_inspect import resnet18

    torch.save({name: torch.zeros(1).expand(shape) for name, shape in resnet18(7).items()}, tmp_path / "flowers.pth")
    text = written(tmp_path / "flowers.pth", tmp_path / "flowers.yaml")
    assert "FILL IN" not in text
    said = yaml.safe_load(text)
    expected = {"kind": "torchvision", "model": "resnet18", "weights": "flowers.pth", "arguments": {"num_classes": 7}}
    assert said["checkpoint"] == expected
    assert said["preprocess"]["kind"] == "torchvision_classification"
    assert load(tmp_path / "flowers.yaml").name == "flowers"
