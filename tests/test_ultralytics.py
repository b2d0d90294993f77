"""Checkpoints of ultralytics: what is read from them without it, here and there; and, where it is installed, what they answer."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from ultralytics_models import SIDE, save

from generator import graph
from generator.build import plan
from generator.cli import run
from generator.client import Client
from generator.compare import iou
from generator.errors import CheckpointError
from generator.frontends.ultralytics import Ultralytics
from generator.heads.detr import Detr
from generator.heads.yolov8 import Yolov8
from generator.heads.yolov10 import Yolov10
from generator.pipeline import Pipeline
from generator.preprocess_hint import parsed
from generator.rows import aligned

INSTALLED = find_spec("ultralytics") is not None
needs_ultralytics = pytest.mark.skipif(not INSTALLED, reason="needs the package ultralytics")
PHOTO = "weights/yolov4-tiny/bus.jpg"


class Layer(torch.nn.Module):
    """A module that is pickled under another name."""

    def __init__(self, said: dict[str, Any]) -> None:
        super().__init__()
        for name, value in said.items():
            setattr(self, name, value)


@pytest.fixture
def pt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`pt(layer, {attributes of the last layer}, ...)`: a file with the shape of one of ultralytics'."""

    def make(layer: str, said: dict[str, Any], top: dict[str, Any] | None = None, **model: Any) -> Path:
        made: Any = _named(monkeypatch, model.pop("cls", "ultralytics.nn.tasks.DetectionModel"))(model)
        made.model = torch.nn.Sequential(torch.nn.Identity(), _named(monkeypatch, f"ultralytics.nn.modules.head.{layer}")(said))
        path = tmp_path / "m.pt"
        torch.save({"ema": None, "model": made, "train_args": {"imgsz": 320}, **(top or {})}, path)
        return path

    return make


def _named(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    """A class that is pickled under that name."""
    module, _, last = name.rpartition(".")
    made = type(last, (Layer,), {"__module__": module, "__qualname__": last})
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module(module)
    parts = module.split(".")
    for whole in (".".join(parts[:end]) for end in range(1, len(parts) + 1)):
        if whole not in sys.modules:
            monkeypatch.setitem(sys.modules, whole, ModuleType(whole))
    monkeypatch.setattr(sys.modules[module], last, made, raising=False)
    return made


def frontend(path: Path, **said: Any) -> Ultralytics:
    return Ultralytics.model_validate({"file": path, **said})


GRIDS = {"stride": torch.tensor([8.0, 16.0, 32.0]), "nc": 7}
PAIRED = {**GRIDS, "one2one_cv2": torch.nn.Identity()}


@pytest.mark.parametrize(
    ("layer", "said", "task", "outputs", "head"),
    [
        ("Detect", GRIDS, "detect", ["output0 FP32[batch, 11, 2100]"], Yolov8(classes=7, decoded=True, outputs=("output0",))),
        (
            "Segment", {**GRIDS, "nm": 32}, "segment", ["output0 FP32[batch, 43, 2100]", "output1 FP32[batch, 32, 80, 80]"],
            Yolov8(classes=7, decoded=True, outputs=("output0",), masks=32, prototypes="output1"),
        ),
        (
            "Pose", {**GRIDS, "kpt_shape": [17, 3]}, "pose", ["output0 FP32[batch, 62, 2100]"],
            Yolov8(classes=7, decoded=True, outputs=("output0",), keypoints=(17, 3)),
        ),
        (
            "OBB", GRIDS, "obb", ["output0 FP32[batch, 12, 2100]"],
            Yolov8(classes=7, decoded=True, outputs=("output0",), angle=True),
        ),
        ("v10Detect", PAIRED, "detect", ["output0 FP32[batch, 300, 6]"], Yolov10(classes=7, output="output0")),
        (
            "Pose26", {**PAIRED, "kpt_shape": [5, 2]}, "pose", ["output0 FP32[batch, 300, 16]"],
            Yolov10(classes=7, output="output0", keypoints=(5, 2)),
        ),
        ("Classify", {"linear": torch.nn.Linear(4, 9)}, "classify", ["output0 FP32[batch, 9]"], None),
        (
            "RTDETRDecoder", {"nc": 7, "num_queries": 300}, "detect",
            ["boxes FP32[batch, 300, 4]", "scores FP32[batch, 300, 7]"],
            Detr(classes=7, activation="sigmoid", boxes=("boxes",), scores=("scores",)),
        ),
    ],
)  # fmt: skip
def test_head_and_outputs_are_read_from_the_file(
    pt: Callable[..., Path], layer: str, said: dict[str, Any], task: str, outputs: list[str], head: Any
) -> None:
    found = frontend(pt(layer, said, task=task)).interface()
    assert found is not None
    assert [str(tensor) for tensor in found.inputs] == ["images FP32[batch, 3, 320, 320]"]
    assert [str(tensor) for tensor in found.outputs] == outputs
    assert found.head == head


def test_a_last_layer_that_is_not_known_is_learned_from_the_export(pt: Callable[..., Path]) -> None:
    assert frontend(pt("Unheard", GRIDS)).interface() is None


def test_pairs_may_be_left_to_nms(pt: Callable[..., Path]) -> None:
    path = pt("Detect", PAIRED)
    assert frontend(path).unordered() == (("output0",),)
    assert frontend(path, max_detections=20).interface() == frontend(path, max_detections=20).interface()
    few, all_ = frontend(path, max_detections=20).interface(), frontend(path, end2end=False).interface()
    assert few is not None
    assert all_ is not None
    assert few.outputs[0].shape == (20, 6)
    assert all_.outputs[0].shape == (11, 2100)
    assert frontend(path, end2end=False).unordered() == ()


def test_classes_size_and_channels(pt: Callable[..., Path]) -> None:
    path = pt("Detect", GRIDS, names={0: "cat", 1: "dog"}, yaml={"channels": 1})
    assert frontend(path).labels() == ("cat", "dog")
    assert frontend(path, size=[64, 96]).taken()["images"].shape == ("batch", 1, 64, 96)
    assert frontend(path, size=64).taken()["images"].shape == ("batch", 1, 64, 64)
    assert frontend(pt("Detect", GRIDS, names={0: "0", 1: "1"})).labels() == ()


def test_the_moving_average_comes_first(pt: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    average = _named(monkeypatch, "ultralytics.nn.tasks.Averaged")({"names": ["average"]})
    path = pt("Detect", GRIDS, {"ema": average}, names=["model"])
    assert frontend(path).labels() == ("average",)
    assert frontend(path, weights="ema").labels() == ("average",)
    assert frontend(path, weights="model").labels() == ("model",)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"weights": "ema"}, "it has no 'ema', only model; correct checkpoint.weights"),
        ({"size": [100, 320]}, r"size is \[100, 320\]; its sides must be multiples of 32; say `size: \[128, 320\]`"),
        ({"end2end": True}, r"no one-to-one branch \(Detect\), so it is not end to end; leave end2end out"),
    ],
)
def test_what_the_file_cannot_do_is_said(pt: Callable[..., Path], said: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        frontend(pt("Detect", GRIDS), **said).interface()


def test_another_repositorys_yolov5_is_named(pt: Callable[..., Path]) -> None:
    with pytest.raises(CheckpointError, match=r"its model is a models\.yolo\.DetectionModel.*kind: onnx.*kind: yolov5"):
        frontend(pt("Detect", GRIDS, cls="models.yolo.DetectionModel")).interface()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda path: torch.save({"a": torch.zeros(2)}, path), "it holds no model of ultralytics; it looks like"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100)), "it looks like"),
        (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(50)), "cut off or damaged"),
    ],
)
def test_other_files_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Callable[[Path], None], words: str
) -> None:
    content(tmp_path / "m.pt")
    (tmp_path / "s.yaml").write_text("name: s\ncheckpoint: {kind: ultralytics, file: m.pt}\n")
    assert run(["plan", str(tmp_path / "s.yaml"), "-o", str(tmp_path / "repo")]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert "m.pt" in said
    assert "Traceback" not in said


@pytest.mark.skipif(INSTALLED, reason="ultralytics is installed here")
def test_without_ultralytics_the_line_that_installs_it(pt: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = pt("Detect", GRIDS)
    (path.parent / "s.yaml").write_text("name: s\ncheckpoint: {kind: ultralytics, file: m.pt}\n")
    assert run(["build", str(path.parent / "s.yaml"), "-o", str(path.parent / "repo")]) == 1
    said = capsys.readouterr().err
    assert "checkpoint kind ultralytics needs the package ultralytics; pip install triton-repo-generator[ultralytics]" in said


ENSEMBLE = """\
name: yolo
checkpoint: {{kind: ultralytics, file: {file}}}
nms: {{kind: onnx, score_threshold: {score}, iou_threshold: 0.7, max_detections: 300, multi_label: false}}
preprocess: {{kind: {preprocess}}}
postprocess: {{kind: detections}}
verify: {{images: [{photo}]}}
"""


def spec(folder: Path, root: Path, **said: Any) -> Path:
    text = {"file": "m.pt", "score": 0.25, "preprocess": "ultralytics", "photo": root / PHOTO} | said
    (folder / "yolo.yaml").write_text(ENSEMBLE.format(**text))
    return folder / "yolo.yaml"


def test_the_checkpoints_classes_are_served(pt: Callable[..., Path], root: Path) -> None:
    path = pt("Detect", {**GRIDS, "nc": 2}, names={0: "cat", 1: "dog"}, task="detect")
    (planned,) = plan([spec(path.parent, root)], path.parent / "repo")
    assert not planned.warnings
    assert isinstance(planned.pipeline, Pipeline)
    assert planned.pipeline.parts[-1].parameters == {"labels": "labels.txt"}
    assert planned.pipeline.spec.postprocess is not None
    assert planned.pipeline.spec.postprocess.label_names() == ["cat", "dog"]


def test_another_preprocess_than_its_own_is_a_warning(pt: Callable[..., Path], root: Path) -> None:
    path = pt("Detect", {**GRIDS, "nc": 2}, task="detect")
    (planned,) = plan([spec(path.parent, root, preprocess="stretch")], path.parent / "repo")
    (warning,) = planned.warnings
    assert warning.rule == "preprocess/unlike_training"
    assert "found preprocess: {kind: stretch}; expected preprocess: {kind: ultralytics}" in str(warning)
    assert "yolo.yaml:4: warning" in str(warning)


@needs_ultralytics
@pytest.mark.parametrize(
    "name",
    [
        "yolov5n", "yolov8n", "yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n", "yolov8n-seg", "yolo26n-seg",
        "yolov8n-pose", "yolo26n-pose", "yolov8n-obb", "yolo26n-obb", "yolov8n-cls", "yolo26n-sem", "rtdetr-l",
    ],
)  # fmt: skip
def test_every_family_answers_as_ultralytics_does(tmp_path: Path, name: str) -> None:
    """Built by the generator, against the library's own forward of the saved model, as it is loaded there."""
    path = save(name, tmp_path)
    (tmp_path / "s.yaml").write_text(f"name: s\ncheckpoint: {{kind: ultralytics, file: {path}}}\n")
    assert run(["build", str(tmp_path / "s.yaml"), "-o", str(tmp_path / "repo")]) == 0
    session = graph.session(tmp_path / "repo" / "s" / "1" / "model.onnx")
    random = np.random.default_rng(1)
    for batch in (1, 3):
        images = random.random((batch, 3, SIDE, SIDE)).astype(np.float32)
        expected = own(path, images)
        found = aligned(expected, graph.run(session, {"images": images}), frontend(path).unordered())
        assert list(found) == list(expected)
        for key, values in expected.items():
            assert values.shape == found[key].shape
            np.testing.assert_allclose(found[key], values, atol=1e-4 * np.abs(values).max(), rtol=1e-4)


def own(path: Path, images: np.ndarray[Any, Any]) -> dict[str, Any]:
    """What ultralytics' own model gives, not fused and not in export mode."""
    library: Any = pytest.importorskip("ultralytics")
    model = (library.RTDETR if "rtdetr" in path.name else library.YOLO)(path).model.float().eval()
    layer = model.model[-1]
    if getattr(layer, "one2one_cv2", None) is not None:
        model.end2end = True
    with torch.no_grad():
        found = model(torch.from_numpy(images))
    if "rtdetr" in path.name:
        return {"boxes": found[1][0][-1].numpy(), "scores": found[1][1][-1].numpy()}
    if type(layer).__name__ == "SemanticSegment":
        upsampled = torch.nn.functional.interpolate(found, scale_factor=8, mode="bilinear", align_corners=False)
        return {"output": upsampled.numpy()}
    found = found[0] if isinstance(found, tuple | list) else found
    leaves = found if isinstance(found, tuple | list) else [found]
    return {f"output{number}": leaf.numpy() for number, leaf in enumerate(leaves)}


@needs_ultralytics
def test_served_boxes_are_those_of_predict(tmp_path: Path, root: Path, server: Callable[..., Any]) -> None:
    """A photo through the served ensemble, against ultralytics' own predict: letterbox, NMS, boxes in the picture."""
    library: Any = pytest.importorskip("ultralytics")
    photo = small(root, tmp_path)
    path = save("yolov8n", tmp_path, names=tuple(f"thing {n}" for n in range(80)), pictures=pictures(photo))
    written = spec(tmp_path, root, file=path, score=SCORE, photo=photo)
    assert run(["build", str(written), "-o", str(tmp_path / "repo")]) == 0
    assert run(["verify", str(written), "-r", str(tmp_path / "repo")]) == 0
    (wanted,) = library.YOLO(path).predict(photo, imgsz=SIDE, conf=SCORE, iou=0.7, max_det=300, rect=False, verbose=False)
    with Client(str(server(tmp_path / "repo").grpc_url), model="yolo") as client:
        (found,) = client.infer([photo])
    boxes, classes = wanted.boxes.xyxy.numpy(), wanted.boxes.cls.numpy().astype(int)
    assert len(boxes) >= 3
    assert len(found.boxes) == len(boxes)  # type: ignore[union-attr]
    overlap = iou(boxes, found.boxes)  # type: ignore[union-attr]
    for row, number in enumerate(classes):
        best = int(np.argmax(np.where(np.array(found.classes) == number, overlap[row], -1)))
        assert overlap[row, best] > 0.99
        assert found.scores[best] == pytest.approx(float(wanted.boxes.conf[row]), abs=1e-3)
        assert found.labels[best] == f"thing {number}"


SCORE = 0.3


def small(root: Path, folder: Path) -> Path:
    """The photo so small that it is padded only: random weights make much of the level that two resizes may differ by."""
    from PIL import Image

    Image.open(root / PHOTO).convert("RGB").resize((96, SIDE)).save(folder / "small.png")
    return folder / "small.png"


def pictures(photo: Path) -> torch.Tensor:
    """The photo as the model gets it, and turned: what random weights are calibrated on."""
    from PIL import Image

    preprocess = parsed({"kind": "ultralytics"})
    image, _ = preprocess.reference(np.asarray(Image.open(photo).convert("RGB")), SIDE, SIDE)
    return torch.from_numpy(preprocess.normalise(np.stack([np.rot90(image, times) for times in range(4)])))


@needs_ultralytics
def test_the_moving_average_is_what_is_exported(tmp_path: Path) -> None:
    path = save("yolov8n-cls", tmp_path, ema=True)
    images = torch.rand(2, 3, SIDE, SIDE)
    with torch.no_grad():
        average, trained = (frontend(path, weights=name).module()(images) for name in ("ema", "model"))
        default = frontend(path).module()(images)
    torch.testing.assert_close(default, average)
    assert not torch.allclose(average, trained)


@needs_ultralytics
def test_classes_of_the_file_need_the_word_of_trust(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save("yolov8n-cls", tmp_path)
    (tmp_path / "mine.py").write_text("import torch\n\nclass Mine(torch.nn.Identity):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    mine: Any = __import__("mine")
    held = torch.load(path, weights_only=False)
    held["model"].model[0].more = mine.Mine()
    torch.save(held, path)
    text = f"name: s\ncheckpoint: {{kind: ultralytics, file: {path}}}\n"
    (tmp_path / "s.yaml").write_text(text)
    assert run(["build", str(tmp_path / "s.yaml"), "-o", str(tmp_path / "repo")]) == 1
    assert "loading it runs code from the file (it names mine.Mine); if you trust" in capsys.readouterr().err
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), str(root))))
    (tmp_path / "s.yaml").write_text(text.replace("}", ", trust_checkpoint: true}"))
    assert run(["build", str(tmp_path / "s.yaml"), "-o", str(tmp_path / "repo")]) == 0
