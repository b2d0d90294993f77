"""`target: pytorch` through the whole generator: built in child processes, verified, served by the stand-in on a real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_detector
import torch
import tritonclient.grpc as triton
import yaml
from PIL import Image

from generator import pbtxt, verify
from generator.build import resolved
from generator.cli import run

NETS = """\
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.head = torch.nn.Conv2d(3, 8, 5, 4), torch.nn.BatchNorm2d(8), torch.nn.Linear(8, 3)
        torch.nn.init.normal_(self.norm.running_mean)

    def forward(self, image):
        return self.head(torch.relu(self.norm(self.conv(image))).amax((2, 3)))

class Flow(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([1.5, 2.5, 3.5]))

    def forward(self, x):
        y = x * self.weight
        if bool(x.mean() > 0):
            y = y - 10.0
        return y, x.sum(1)
"""
TARGET = {"kind": "pytorch", "intra_op_threads": 1}
CLASSIFIER = {
    "name": "classes",
    "checkpoint": {
        "kind": "state_dict", "weights": "net.pt", "factory": "nets.py:Net", "inputs": {"image": ["batch", 3, 32, 32]},
        "outputs": {"logits": ["batch", 3]}, "exporter": "trace",
    },
    "preprocess": {"kind": "center_crop", "resize": 32},
    "postprocess": {"kind": "classification", "top_k": 2, "labels": "labels.txt"},
    "serving": {"warmup": {"images": ["a.png"]}, "max_batch_size": 4},
    "verify": {"images": ["a.png", "b.png"]},
    "target": TARGET,
}  # fmt: skip
FLOW = {
    "name": "flow",
    "checkpoint": {
        "kind": "torchscript", "file": "flow.pt", "inputs": {"x": ["batch", 3]},
        "outputs": {"scores": ["batch", 3], "total": ["batch"]},
    },
    "serving": {"warmup": {"inputs": {"x": "row.npy"}}, "labels": {"scores": "labels.txt"}, "max_batch_size": 4},
    "target": TARGET,
}  # fmt: skip


def write(folder: Path) -> list[Path]:
    """Checkpoints, pictures and specs: the tiny detector, a bare model with control flow, a classifier of pictures (the last)."""
    random = np.random.default_rng(0)
    (folder / "nets.py").write_text(NETS)
    scope: dict[str, Any] = {"__name__": "nets"}
    exec(NETS, scope)
    torch.save(scope["Net"]().state_dict(), folder / "net.pt")
    np.save(folder / "row.npy", np.ones(3, np.float32))
    (folder / "labels.txt").write_text("cat\ndog\nbird\n")
    for name in ("a.png", "b.png"):
        Image.fromarray(random.integers(0, 255, (40, 50, 3), np.uint8)).save(folder / name)
    detector = tiny_detector.write(folder / "tiny", seed=61)
    said = yaml.safe_load(detector.read_text())
    said["checkpoint"]["exporter"] = "trace"
    said["serving"]["warmup"] = {"images": ["wide.png"]}
    detector.write_text(yaml.safe_dump({**said, "target": TARGET, "config": {"head": {"parameters": {"who": "me"}}}}))
    paths = [detector]
    for spec in (FLOW, CLASSIFIER):
        paths.append(folder / f"{spec['name']}.yaml")
        paths[-1].write_text(yaml.safe_dump(spec))
    return paths


def scripted(folder: Path) -> None:
    """flow.pt: TorchScript needs a source file."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("nets_of_pytorch_target", folder / "nets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.jit.script(module.Flow()).save(str(folder / "flow.pt"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[Path]]:
    """Folder, repository and specs."""
    folder = tmp_path_factory.mktemp("pytorch_target")
    *paths, _ = write(folder)
    scripted(folder)
    assert run(["build", *map(str, paths), "-o", str(folder / "repo")]) == 0
    return folder, folder / "repo", paths


Built = tuple[Path, Path, list[Path]]


def test_names_and_places(built: Built) -> None:
    repository = built[1]
    assert {path.name for path in (repository / "tiny_head" / "1").iterdir()} == {"model.onnx"}
    assert {path.name for path in (repository / "tiny_model" / "1").iterdir()} == {"model.pt"}
    config = pbtxt.read(repository / "tiny_model" / "config.pbtxt")
    assert (config.platform, config.backend, config.default_model_filename) == ("pytorch_libtorch", "pytorch", "model.pt")
    assert [tensor.name for tensor in (*config.input, *config.output)] == ["INPUT__0", "OUTPUT__0"]
    assert config.parameters["INTRA_OP_THREAD_COUNT"].string_value == "1"
    head = pbtxt.read(repository / "tiny_head" / "config.pbtxt")
    assert (head.backend, head.parameters["who"].string_value) == ("onnxruntime", "me")
    assert [tensor.name for tensor in head.input] == ["yolo_0"]
    steps = pbtxt.read(repository / "tiny" / "config.pbtxt").ensemble_scheduling.step
    assert [step.model_name for step in steps] == ["tiny_preprocess", "tiny_model", "tiny_head", "tiny_postprocess"]
    assert {path.name for path in (repository / "tiny_model" / "warmup").iterdir()} == {"INPUT__0.0"}
    assert not (repository / "tiny_head" / "warmup").exists(), "what it takes, only the step before it knows"
    assert dict(steps[1].output_map) == {"OUTPUT__0": dict(steps[2].input_map)["yolo_0"]}


def test_names_of_a_bare_model(built: Built) -> None:
    repository = built[1]
    config = pbtxt.read(repository / "flow" / "config.pbtxt")
    assert [tensor.name for tensor in (*config.input, *config.output)] == ["INPUT__0", "OUTPUT__0", "OUTPUT__1"]
    assert config.output[0].label_filename == "labels.scores.txt"
    assert np.frombuffer((repository / "flow" / "warmup" / "INPUT__0.0").read_bytes(), np.float32).tolist() == [1, 1, 1]
    assert dict(config.model_warmup[0].inputs)["INPUT__0"].input_data_file == "INPUT__0.0"
    readme = (repository / "flow" / "README.md").read_text()
    assert "`INPUT__0` is the checkpoint's `x`" in readme
    assert "`OUTPUT__1` is the checkpoint's `total`" in readme


@pytest.mark.full
def test_a_classifier_of_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    *_, spec = map(str, write(tmp_path))
    repository = tmp_path / "repo"
    assert run(["build", spec, "-o", str(repository)]) == 0
    assert {path.name for path in (repository / "classes_model" / "warmup").iterdir()} == {"INPUT__0.0"}
    capsys.readouterr()
    assert run(["verify", spec, "-r", str(repository), "--json"]) == 0
    rungs = json.loads(capsys.readouterr().out)
    assert [rung["name"] for rung in rungs] == ["pixels", "exported ONNX", "after surgery", "served"]
    assert rungs[-1]["result"]["compared"] > 0


def test_the_repository_is_clean_and_fresh(built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    _, repository, paths = built
    assert run(["check", str(repository)]) == 0
    assert "no errors" in capsys.readouterr().out
    assert run(["build", *map(str, paths), "-o", str(repository)]) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.fixture(scope="module")
def client(built: Built, server: Callable[..., Any]) -> Any:
    with triton.InferenceServerClient(server(built[1]).grpc_url) as made:
        yield made


def test_served_equals_trained(built: Built, client: Any) -> None:
    _, repository, paths = built
    for path in paths:
        (pipeline,) = resolved([path])
        rungs = verify.ladder(pipeline, repository, client)  # type: ignore[arg-type]  # no spec of a folder is among them
        assert rungs[-1].name == "served"
        assert all(rung.result.ok for rung in rungs), rungs
        served = rungs[-1].result
        assert served.matched == served.boxes
        assert (served.boxes > 0) == (path.stem == "tiny")


def ask(client: Any, values: Any, classes: int = 0) -> list[Any]:
    """By position, as the names say it."""
    tensor = triton.InferInput("INPUT__0", list(values.shape), "FP32")
    tensor.set_data_from_numpy(values)
    names = ("OUTPUT__0", "OUTPUT__1")
    answer = client.infer("flow", [tensor], outputs=[triton.InferRequestedOutput(name, class_count=classes) for name in names])
    return [answer.as_numpy(name) for name in names]


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_control_flow_is_served_at_every_batch(client: Any, rows: int, sign: float) -> None:
    x = sign * (1 + np.random.default_rng(rows).random((rows, 3), np.float32))
    scores, total = ask(client, x)
    y = x * np.array([1.5, 2.5, 3.5], np.float32)
    assert np.allclose(scores, y - 10 if sign > 0 else y, atol=1e-5)
    assert total.shape == (rows, 1)
    assert np.allclose(total[:, 0], x.sum(1))


def test_labels_of_a_bare_model(client: Any) -> None:
    scores, _ = ask(client, -np.ones((1, 3), np.float32), classes=1)
    assert scores[0][0].decode().split(":")[2] == "cat"


def refusal(folder: Path, capsys: pytest.CaptureFixture[str], text: str) -> str:
    path = folder / "bad.yaml"
    path.write_text(text)
    assert run(["plan", str(path), "-o", str(folder / "bad")]) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize(
    ("base", "change", "line", "reason", "remedy"),
    [
        (FLOW, {"surgery": [{"kind": "fold_constants"}]}, "surgery", "ONNX graph do not reach", "checkpoint.module_passes"),
        (FLOW, {"precision": {"kind": "fp16"}}, "precision", "target pytorch does not run fp16", "say one that it runs: fp32"),
        (FLOW, {"config": {"head": {"parameters": {"a": 1}}}}, "head", "it is served bare", ""),
        (CLASSIFIER, {"config": {"head": {"parameters": {"a": 1}}}}, "head", "head and NMS are in the model's own graph", ""),
        (FLOW, {"nms": {"kind": "onnx"}, "serving": {}}, "nms", "which needs an ensemble", "`preprocess:`"),
    ],
)  # fmt: skip
def test_what_it_cannot_run(
    built: Built,
    capsys: pytest.CaptureFixture[str],
    base: dict[str, Any],
    change: dict[str, Any],
    line: str,
    reason: str,
    remedy: str,
) -> None:
    from generator.plugin import family

    if "precision" in change and change["precision"]["kind"] not in family("generator.precisions"):
        pytest.skip("that precision is not there")
    text = yaml.safe_dump({**base, **change})
    said = refusal(built[0], capsys, text)
    number = next(i for i, each in enumerate(text.splitlines(), 1) if each.strip().startswith((f"{line}:", f"- {line}:")))
    assert f"bad.yaml:{number}" in said or f"bad.yaml:{number + 1}" in said
    assert reason in said
    assert remedy in said


def test_a_checkpoint_without_a_module(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import onnx
    import tiny_models

    onnx.save(tiny_models.identity(), tmp_path / "m.onnx")
    said = refusal(tmp_path, capsys, "name: a\ncheckpoint:\n  kind: onnx\n  file: m.onnx\ntarget: {kind: pytorch}\n")
    assert "bad.yaml:3: checkpoint.kind: target pytorch runs the checkpoint's own PyTorch module, and kind onnx has none" in said
    assert "`target: onnxruntime`" in said


@pytest.mark.full
@pytest.mark.parametrize("path", ["examples/torchscript.yaml", "ensembles/efficientnet_lite0.yaml"])
def test_the_flagships(root: Path, path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "efficientnet" in path:
        pytest.importorskip("efficientnet_lite_pytorch")
    said = yaml.safe_load((root / path).read_text().replace("../weights", str(root / "weights")))
    spec, repository = tmp_path / "spec.yaml", tmp_path / "repo"
    spec.write_text(yaml.safe_dump({"target": {"kind": "pytorch"}, **said}))
    assert run(["build", str(spec), "-o", str(repository)]) == 0
    capsys.readouterr()
    assert run(["verify", str(spec), "-r", str(repository), "--json"]) == 0
    served = json.loads(capsys.readouterr().out)[-1]
    assert (served["name"], served["ok"]) == ("served", True)
    assert served["result"]["compared"] > 0
