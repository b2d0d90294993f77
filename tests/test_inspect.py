"""`triton-repo inspect`: what it says of real checkpoints is what the frameworks themselves find in them; nothing is run."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from payload import Payload
from torch import nn

from generator import architectures, head_names
from generator.cli import run
from generator.inspection.report import report

Shapes = dict[str, tuple[int, ...]]


def said(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `inspect --json` prints."""
    assert run(["inspect", str(path), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def listed(group: Mapping[str, Any]) -> Shapes:
    return {tensor["name"]: tuple(tensor["shape"]) for tensor in group["tensors"]}


class Net(nn.Module):
    """Two convolutions, a buffer, a tied weight and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, 5)
        self.register_buffer("mean", torch.zeros(3, dtype=torch.float64))
        self.tied = self.head

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.body(image - self.mean[:, None, None].float()).mean((2, 3))  # type: ignore[index]
        result: torch.Tensor = self.head(features)
        return result


def own(module: nn.Module) -> Shapes:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_dict_is_read_as_torch_reads_it(zipped: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.pth"
    torch.save(Net().state_dict(), path, _use_new_zipfile_serialization=zipped)
    found = said(path, capsys)
    assert found["kind"] == "state_dict"
    assert found["loading_runs_code"] is False
    (group,) = found["weights"]
    assert listed(group) == own(Net())
    types = {tensor["name"]: tensor["dtype"] for tensor in group["tensors"]}
    assert types["mean"] == "FP64"
    assert types["body.1.num_batches_tracked"] == "INT64"
    assert types["head.weight"] == "FP32"
    parameters = {value.data_ptr(): value.numel() for value in Net().state_dict().values()}
    assert found["parameters"] == sum(parameters.values())  # the tied layer counts once


def test_where_weights_lie_which_are_averaged_and_what_wrappers_put_in_front(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "last.ckpt"
    model, average = nn.DataParallel(Net()), Net()
    content = {
        "epoch": 12, "state_dict": model.state_dict(), "model_ema": {"module": average.state_dict()},
        "optimizer": torch.optim.SGD(model.parameters(), 0.1).state_dict(),
    }  # fmt: skip
    torch.save(content, path)
    found = said(path, capsys)
    assert [(g["path"], g["prefix"], g["averaged"], g["served"]) for g in found["weights"]] == [
        ("state_dict", "module.", False, False),
        ("model_ema.module", "", True, True),
    ]
    assert listed(found["weights"][1]) == own(average)
    assert found["facts"]["epoch"] == "12"


def test_a_whole_module_is_described_not_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": Net(), "epoch": 1}, tmp_path / "whole.pt")
    found = said(tmp_path / "whole.pt", capsys)
    assert found["kind"] == "pickled"
    (group,) = found["weights"]
    assert (group["path"], group["module"]) == ("model", f"{Net.__module__}.Net")
    assert listed(group) == own(Net())
    assert found["loading_runs_code"] is True
    assert f"{Net.__module__}.Net" in found["foreign_names"]
    assert "torch._utils._rebuild_tensor_v2" not in found["foreign_names"]


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_inspect_and_init_run_no_code(protocol: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark, path = tmp_path / "was_run", tmp_path / "evil.pt"
    content = {"model": Net().state_dict(), "extra": Payload(mark)}
    torch.save(content, path, pickle_protocol=max(protocol, 1))
    found = said(path, capsys)
    assert found["foreign_names"] == ["posix.system"]
    assert found["loading_runs_code"] is True
    assert run(["inspect", str(path)]) == 0
    assert "would run code: it names posix.system" in capsys.readouterr().out
    assert run(["init", str(path), "-o", str(tmp_path / "evil.yaml")]) == 0
    capsys.readouterr()
    torch.save(content, path, _use_new_zipfile_serialization=False)
    assert said(path, capsys)["foreign_names"] == ["posix.system"]
    path.write_bytes(pickle.dumps(content, protocol))
    run(["inspect", str(path)])
    assert not mark.exists()
    pickle.loads(path.read_bytes())  # it is a real payload
    assert mark.exists()


def test_torchscript_and_exported_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, image = Net().eval(), torch.zeros(2, 3, 16, 16)
    torch.jit.script(net).save(str(tmp_path / "script.pt"))  # type: ignore[no-untyped-call]
    found = said(tmp_path / "script.pt", capsys)
    assert found["kind"] == "torchscript"
    assert found["facts"]["forward takes"] == "image"
    assert found["facts"]["forward gives"] == "1 tensor"
    assert listed(found["weights"][0]).items() >= {"body.0.weight": (8, 3, 3, 3), "head.bias": (5,), "mean": (3,)}.items()
    program = torch.export.export(net, (image,), dynamic_shapes={"image": {0: torch.export.Dim("batch")}})
    torch.export.save(program, tmp_path / "program.pt2")
    found = said(tmp_path / "program.pt2", capsys)
    assert found["kind"] == "torch_export"
    assert listed(found["weights"][0]).items() >= {"body.0.weight": (8, 3, 3, 3), "mean": (3,)}.items()
    assert [(t["name"], t["shape"]) for t in found["inputs"]] == [("image", ["batch", 3, 16, 16])]


def test_safetensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "a.weight": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]},
        "a.bias": {"dtype": "I64", "shape": [], "data_offsets": [12, 20]},
    }
    text = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(20))
    found = said(path, capsys)
    assert found["weights"][0]["tensors"] == [
        {"name": "a.weight", "dtype": "FP16", "shape": [2, 3]},
        {"name": "a.bias", "dtype": "INT64", "shape": []},
    ]
    assert found["parameters"] == 7
    path.write_bytes(path.read_bytes()[:-1])
    assert run(["inspect", str(path)]) == 1
    assert "it is cut off: tensor 'a.bias' ends behind it; fetch it again" in capsys.readouterr().err


def test_an_onnx_detector_its_weights_and_its_head(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnx

    path = root / "weights" / "yolov8-doclaynet" / "yolov8n-doclaynet.onnx"
    if not path.is_file():
        pytest.skip("weights/yolov8-doclaynet is not there")
    found = said(path, capsys)
    model = onnx.load(path)
    assert listed(found["weights"][0]) == {each.name: tuple(each.dims) for each in model.graph.initializer}
    assert found["inputs"] == [{"name": "images", "dtype": "FP32", "shape": [1, 3, 1024, 1024]}]
    assert found["heads"] == ["head: {kind: yolov8, classes: 11}"]
    assert len(found["labels"]) == 11
    assert found["labels"][:2] == ["Caption", "Footnote"]
    assert found["facts"]["opset"] == "12, IR version 7"


def test_the_flagship_by_either_of_its_files(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("yolov4-tiny.weights", "yolov4-tiny.cfg"):
        found = said(root / "weights" / "yolov4-tiny" / name, capsys)
        assert found["kind"] == "darknet"
        assert found["parameters"] == 6_062_814
        assert "6,062,814 FP32, the cfg takes 6,062,814" in found["facts"]["numbers"]
        assert found["inputs"] == [{"name": "images", "dtype": "FP32", "shape": ["batch", 3, 416, 416]}]
        assert [tensor["shape"][1:] for tensor in found["outputs"]] == [[255, 13, 13], [255, 26, 26]]
        assert found["heads"][0].startswith("head: {kind: yolov4, classes: 80, levels:")
        assert found["labels"][:2] == ["person", "bicycle"]


FORMATS = Path(__file__).parent / "fixtures" / "formats"


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("sklearn.joblib", {"class": "sklearn.linear_model._logistic.LogisticRegression", "n_features_in_": "4"}),
        ("sklearn_packed.joblib", {"class": "sklearn.linear_model._logistic.LogisticRegression", "n_features_in_": "4"}),
        ("sklearn.skops", {"class": "sklearn.linear_model._logistic.LogisticRegression", "n_features_in_": "4"}),
        ("xgboost.json", {"num_feature": "4", "objective": "reg:squarederror"}),
        ("xgboost.ubj", {"objective": "reg:squarederror"}),
        ("lightgbm.txt", {"objective": "regression", "max_feature_idx": "3"}),
        ("keras.keras", {"class": "Sequential", "layers": "InputLayer, Dense, Dense"}),
    ],
)
def test_other_frameworks(name: str, facts: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    found = said(FORMATS / name, capsys)
    assert found["facts"].items() >= facts.items()


def test_a_saved_models_signature(capsys: pytest.CaptureFixture[str]) -> None:
    found = said(FORMATS / "saved_model.pb", capsys)
    assert [(t["dtype"], t["shape"]) for t in found["inputs"]] == [("FP32", ["batch", 4])]
    assert [(t["dtype"], t["shape"]) for t in found["outputs"]] == [("FP32", ["batch", 1])]


def resnet18(classes: int) -> Shapes:
    """Its names and shapes by Table 1 of arXiv:1512.03385, as torchvision calls them."""
    shapes: Shapes = {"conv1.weight": (64, 3, 7, 7)}

    def norm(name: str, width: int) -> None:
        shapes.update({f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")})

    norm("bn1", 64)
    before = 64
    for stage, width in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            at = f"layer{stage}.{block}"
            shapes[f"{at}.conv1.weight"] = (width, before, 3, 3)
            norm(f"{at}.bn1", width)
            shapes[f"{at}.conv2.weight"] = (width, width, 3, 3)
            norm(f"{at}.bn2", width)
            if before != width:
                shapes[f"{at}.downsample.0.weight"] = (width, before, 1, 1)
                norm(f"{at}.downsample.1", width)
            before = width
    return {**shapes, "fc.weight": (classes, 512), "fc.bias": (classes,)}


def test_a_known_architecture_is_named_with_its_classes_and_without_prefix(tmp_path: Path) -> None:
    for prefix in ("", "module.", "model.", "module.backbone."):
        path = tmp_path / "model.pth"
        torch.save({f"{prefix}{name}": torch.zeros(1).expand(shape) for name, shape in resnet18(7).items()}, path)
        (judged,) = report(path).judged
        assert judged.prefix == prefix
        assert judged.sure is not None
        assert (judged.sure.name, judged.sure.library, judged.sure.classes) == ("resnet18", "torchvision", 7)
    other = resnet18(7) | {"layer1.0.conv1.weight": (65, 64, 3, 3)}
    assert [guess.sure for guess in architectures.guess(other)] == [False]
    assert str(architectures.guess(other)[0]) == "a ResNet, 2 blocks in its third stage, 7 classes"


@pytest.mark.parametrize(
    ("shapes", "kind", "classes"),
    [
        ({"model.22.cv3.0.2.weight": (80, 80, 1, 1), "model.22.dfl.conv.weight": (1, 16, 1, 1)}, "yolov8", 80),
        ({"model.24.m.0.weight": (255, 128, 1, 1), "model.24.m.2.weight": (255, 512, 1, 1)}, "yolov5", 80),
        ({"model.23.cv3.0.2.weight": (3, 80, 1, 1), "model.23.one2one_cv3.0.2.weight": (3, 80, 1, 1)}, "yolov10", 3),
        ({"head.cls_preds.0.weight": (80, 96, 1, 1), "head.obj_preds.0.weight": (1, 96, 1, 1)}, "yolox", 80),
        (
            {"class_embed.weight": (92, 256), "bbox_embed.layers.0.weight": (256, 256), "query_embed.weight": (100, 256)},
            "detr",
            92,
        ),
        ({"model.decoder.class_embed.0.weight": (4, 96)}, "detr", 4),
        ({"head.classification_head.module_list.0.weight": (364, 512, 3, 3)}, "ssd", 0),
    ],
)
def test_heads_by_the_names_of_weights(shapes: Shapes, kind: str, classes: int) -> None:
    found = head_names.guess(shapes)
    assert found is not None
    assert (found.kind, found.classes) == (kind, classes)


def test_no_head_where_there_is_none() -> None:
    assert head_names.guess(resnet18(10)) is None
    assert head_names.guess({"model.22.cv3.0.2.weight": ()}) is None


def test_it_answers_without_heavy_libraries(root: Path, tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    files = [root / "weights" / "yolov4-tiny" / "yolov4-tiny.weights", tmp_path / "a.safetensors"]
    for path in [*files, root / "examples" / "super_resolution.pt", FORMATS / "sklearn.joblib", FORMATS / "keras.keras"]:
        code = (
            f"import sys; from generator.cli import run; assert run(['inspect', {str(path)!r}]) == 0\n"
            "heavy = {'torch', 'onnx', 'onnxruntime', 'cv2', 'sklearn', 'tensorflow', 'transformers'} & set(sys.modules)\n"
            "assert not heavy, heavy"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_table_is_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.pth"
    torch.save({"a\x1b[2J.weight": torch.zeros(2, 3), **{f"layer.{i}.weight": torch.zeros(2) for i in range(20)}}, path)
    assert run(["inspect", str(path)]) == 0
    out = capsys.readouterr().out
    assert "first 10; --all for 11 more" in out
    assert "a?[2J.weight" in out
    assert "\x1b[2J" not in out
    assert "layer.19.weight" not in out
    assert run(["inspect", str(path), "--all"]) == 0
    assert "layer.19.weight" in capsys.readouterr().out


#: What is named, and what is said of it.
BAD: dict[str, tuple[bytes | None, str]] = {
    "missing.pt": (None, "No such file or directory; name a readable checkpoint"),
    "empty.pt": (b"", "it looks like an empty file; fetch or save it again"),
    "page.pt": (b"<!DOCTYPE html><html>", "an HTML page, such as a download's error page; fetch the file itself again"),
    "pointer.onnx": (
        b"version https://git-lfs.github.com/spec/v1\n",
        "a Git LFS pointer, not the file it points to; run `git lfs",
    ),
    "model.plan": (b"ftrt" + bytes(40), "a TensorRT plan, built for one GPU type and one TensorRT version; start from"),
    "words.txt": (b"person\n", "no format that is known; known are the kinds darknet, "),
    "cut.pt": (
        b"PK\x03\x04" + bytes(26) + b"archive/data.pkl",
        "a PyTorch checkpoint that is cut off or damaged; fetch it again",
    ),
    "wrong.cfg": (b"[net]\nwidth=416\nheight=416\n[strange]\n", "this layer is not supported"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("verb", ["inspect", "init"])
def test_what_is_no_checkpoint_is_one_message(
    name: str, verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content, message = BAD[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert run([verb, name]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {name}")
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("*.yaml"))


@pytest.mark.parametrize(
    ("shapes", "classes"),
    [
        ({"classifier.0.weight": (4096, 512), "classifier.6.weight": (10, 4096), "classifier.6.bias": (10,)}, 10),
        ({"roi_heads.box_predictor.cls_score.weight": (4, 1024), "roi_heads.box_predictor.bbox_pred.weight": (16, 1024)}, 4),
        (
            {
                "head.classification_head.cls_logits.weight": (9 * 5, 256, 3, 3),
                "head.regression_head.bbox_reg.weight": (9 * 4, 256, 3, 3),
            },
            5,
        ),
        ({"classifier.low_classifier.weight": (5, 40, 1, 1), "classifier.high_classifier.weight": (5, 128, 1, 1)}, 5),
        ({"encoder.weight": (3, 3)}, 0),
    ],
)
def test_classes_are_counted_where_libraries_put_them(shapes: Shapes, classes: int) -> None:
    assert architectures.classes(shapes) == classes
