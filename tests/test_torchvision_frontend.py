"""torchvision: classifiers, segmentation and detectors, from a builder's name and weights; detections as torchvision's own.

torchvision is an extra. To run these: an environment with torch and torchvision
(`/work/shared/tools/torchvision_cpu_stub.sh` where only wheels with CUDA are to be had).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from generator import compare, graph, pbtxt
from generator.bounds import Bounds
from generator.cli import run
from generator.errors import CheckpointError
from generator.frontends.torchvision import Torchvision
from generator.preprocess_hint import parsed
from generator.preprocessing.torchvision_classification import TorchvisionClassification as Preset

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")

#: Detectors, small: name, arguments, side, and what their own post-processing says.
DETECTORS: dict[str, tuple[dict[str, Any], int]] = {
    "ssdlite320_mobilenet_v3_large": ({"score_thresh": 0.7, "topk_candidates": 5000}, 320),
    "ssd300_vgg16": ({"score_thresh": 0.7, "topk_candidates": 9000}, 300),
    "retinanet_resnet50_fpn": ({"score_thresh": 0.3}, 160),
    "fcos_resnet50_fpn": ({"score_thresh": 0.3}, 160),
    "fasterrcnn_mobilenet_v3_large_320_fpn": ({"box_score_thresh": 0.2, "rpn_score_thresh": 0.05}, 160),
}


def lively(model: Any, size: int, channels: int = 3) -> Any:
    """Layers scaled to outputs of variance 1 on seeded values, one after the other: answers that depend on the input."""

    def scale(module: Any, _: Any, output: torch.Tensor) -> torch.Tensor:
        found = float(output.std()) or 1.0
        if not getattr(module, "scaled", False):
            module.weight.div_(found)
            if module.bias is not None:
                module.bias.div_(found)
            module.scaled = True
            return output / found
        return output

    hooks = [m.register_forward_hook(scale) for m in model.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    with torch.no_grad():
        model([*pictures(2, size).sigmoid()] if hasattr(model, "backbone") and hasattr(model, "transform") else pictures(2, size))
    for hook in hooks:
        hook.remove()
    return model


def pictures(rows: int, size: int, seed: int = 0) -> torch.Tensor:
    """Patches and noise."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.nn.functional.interpolate(torch.randn(rows, 3, 6, 6, generator=random), (size, size), mode="bilinear")
    return coarse + 0.2 * torch.randn(rows, 3, size, size, generator=random)


def frontend(folder: Path, saved: Any, model: str, **said: Any) -> Torchvision:
    torch.save(saved, folder / "w.pth")
    return Torchvision.model_validate({"model": model, "weights": "w.pth", **said}, context={"base": folder})


def built(folder: Path, state: Mapping[str, Any], checkpoint: Mapping[str, Any], **more: Any) -> Any:
    torch.save(state, folder / "w.pth")
    said = {"name": "net", "checkpoint": {"kind": "torchvision", "weights": "w.pth", **checkpoint}, **more}
    (folder / "s.yaml").write_text(yaml.safe_dump(said))
    assert run(["build", str(folder / "s.yaml"), "-o", str(folder / "repo")]) == 0
    return graph.session(folder / "repo" / "net" / "1" / "model.onnx")


def test_a_classifier_by_its_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = lively(torchvision.models.shufflenet_v2_x0_5(num_classes=5).eval(), 224)
    session = built(tmp_path, model.state_dict(), {"model": "shufflenet_v2_x0_5", "arguments": {"num_classes": 5}})
    for rows in (1, 3):
        x = pictures(rows, 224, seed=rows)
        wanted = model(x).detach().numpy()
        np.testing.assert_allclose(graph.run(session, {"image": x.numpy()})["logits"], wanted, rtol=1e-4, atol=1e-5)
    assert np.ptp(wanted, axis=0).max() > 1e-2


def test_segmentation_of_any_size_and_its_auxiliary_part(tmp_path: Path) -> None:
    torch.manual_seed(0)
    arguments = {"num_classes": 4, "weights": None, "weights_backbone": None}
    model = lively(torchvision.models.segmentation.fcn_resnet50(aux_loss=True, **arguments).eval(), 64)
    checkpoint = {
        "model": "fcn_resnet50", "arguments": {"num_classes": 4}, "inputs": {"image": ["batch", 3, "height", "width"]},
        "axes": {"height": [32, 256], "width": [32, 256]},
    }  # fmt: skip
    session = built(tmp_path, model.state_dict(), checkpoint)
    x = pictures(2, 96, seed=1)[..., :72]
    found = graph.run(session, {"image": x.numpy()})
    assert list(found) == ["out"]  # what is trained with beside it is not served
    np.testing.assert_allclose(found["out"], model(x)["out"].detach().numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("aux", [True, False])
def test_weights_with_and_without_auxiliary_parts_fit(tmp_path: Path, aux: bool) -> None:
    model = torchvision.models.googlenet(num_classes=3, aux_logits=aux, init_weights=False)
    one = frontend(tmp_path, model.state_dict(), "googlenet", arguments={"num_classes": 3})
    assert any(name.startswith("aux1.") for name in one.module().state_dict()) == aux


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_detections_are_torchvisions_own(tmp_path: Path, name: str) -> None:
    """Boxes and scores of the module, then head and NMS of the project, against the model's own forward over a list."""
    from generator.nms.onnx import OnnxNms
    from generator.tensors import Tensor

    arguments, side = DETECTORS[name]
    own = {} if name.startswith("ssd") else {"min_size": side, "max_size": side}
    torch.manual_seed(0)
    classes = {"num_classes": 6, **arguments, **own}
    model = lively(torchvision.models.get_model(name, weights=None, weights_backbone=None, **classes).eval(), side)
    if name.startswith(
        ("fcos", "retinanet")
    ):  # a fresh one finds next to nothing: its bias is that of one object in a hundred boxes
        torch.nn.init.zeros_(model.head.classification_head.cls_logits.bias)
    one = frontend(tmp_path, model.state_dict(), name, arguments=classes, inputs={"image": ["batch", 3, side, side]})
    x = pictures(3, side, seed=3).sigmoid()
    with torch.no_grad():
        wanted = model([*x])
        boxes, scores = one.module()(torch.stack([model.transform.normalize(picture) for picture in x]))
    head = one.head()
    assert head is not None
    raw = {"boxes": boxes.numpy(), "scores": scores.numpy()}
    image = Tensor("image", "FP32", (3, side, side))
    tensors = tuple(Tensor(key, "FP32", value.shape[1:]) for key, value in raw.items())
    settings = model.roi_heads if hasattr(model, "roi_heads") else model
    nms = OnnxNms(
        score_threshold=settings.score_thresh, iou_threshold=settings.nms_thresh, max_detections=settings.detections_per_img
    )
    found = nms.reference(head.reference(image, raw), head.candidates(image, tensors))
    expected = contract(wanted, settings.detections_per_img)
    assert expected["num_dets"].min() > 3
    result = compare.detections(expected, found, Bounds(), settings.score_thresh)
    assert result.ok, result.problems
    assert result.matched == result.boxes


def contract(wanted: list[dict[str, torch.Tensor]], count: int) -> dict[str, Any]:
    """Lists of dictionaries as the four tensors of the NMS contract."""
    found = {
        "num_dets": np.zeros((len(wanted), 1), np.int32),
        "det_boxes": np.zeros((len(wanted), count, 4), np.float32),
        "det_scores": np.zeros((len(wanted), count), np.float32),
        "det_classes": np.zeros((len(wanted), count), np.int32),
    }
    for row, one in enumerate(wanted):
        number = len(one["scores"])
        found["num_dets"][row] = number
        for key, values in (("det_boxes", one["boxes"]), ("det_scores", one["scores"]), ("det_classes", one["labels"])):
            found[key][row, :number] = values.numpy()
    return found


@pytest.mark.full
def test_a_faster_rcnn_is_built_and_verified_with_its_nms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two batch sizes of one graph, against torch, up to the contract's outputs."""
    name, side = "fasterrcnn_mobilenet_v3_large_320_fpn", 160
    arguments = {"num_classes": 6, "min_size": side, "max_size": side, "box_score_thresh": 0.2, "rpn_score_thresh": 0.05}
    torch.manual_seed(0)
    model = lively(torchvision.models.get_model(name, weights=None, weights_backbone=None, **arguments).eval(), side)
    checkpoint = {"model": name, "arguments": arguments, "inputs": {"image": ["batch", 3, side, side]}}
    nms = {"kind": "onnx", "score_threshold": 0.2, "iou_threshold": 0.5}
    session = built(tmp_path, model.state_dict(), checkpoint, nms=nms)
    config = pbtxt.read(tmp_path / "repo" / "net" / "config.pbtxt")
    assert [output.name for output in config.output] == ["num_dets", "det_boxes", "det_scores", "det_classes"]
    for rows in (1, 3):
        x = pictures(rows, side, seed=rows).sigmoid()
        with torch.no_grad():
            wanted = contract(model([*x]), 100)
        values = torch.stack([model.transform.normalize(picture) for picture in x]).numpy()
        result = compare.detections(wanted, graph.run(session, {"image": values}), Bounds(), 0.2)
        assert wanted["num_dets"].min() > 3
        assert result.ok, result.problems


@pytest.mark.parametrize(
    ("model", "said", "message"),
    [
        ("resnet81", {}, "no torchvision model 'resnet81'; did you mean 'resnet"),
        ("shufflenet_v2_x0_5", {}, r"wrong shape \(2\): fc.weight is \[5, 1024\], expected \[1000, 1024\]"),
        ("shufflenet_v2_x0_5", {"arguments": {"classes": 5}}, "its builder raised TypeError: .*classes"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, model: str, said: dict[str, Any], message: str) -> None:
    state = torchvision.models.shufflenet_v2_x0_5(num_classes=5).state_dict()
    with pytest.raises(CheckpointError, match=message):
        frontend(tmp_path, state, model, **said).module()


def test_masks_are_refused_with_the_way_to_its_boxes(tmp_path: Path) -> None:
    arguments = {"num_classes": 3}
    built = torchvision.models.get_model("maskrcnn_resnet50_fpn", weights=None, weights_backbone=None, **arguments)
    with pytest.raises(CheckpointError, match=r"masks and key points.* `model: fasterrcnn_resnet50_fpn` with `ignore:"):
        frontend(tmp_path, built.state_dict(), "maskrcnn_resnet50_fpn", arguments=arguments).module()
    one = frontend(
        tmp_path, built.state_dict(), "fasterrcnn_resnet50_fpn", arguments=arguments, ignore=["roi_heads.mask_*"],
        inputs={"image": ["batch", 3, 128, 128]},
    )  # fmt: skip
    boxes, scores = one.module()(torch.rand(2, 3, 128, 128))
    assert boxes.shape[0] == scores.shape[0] == 2


def test_a_detector_of_no_fixed_size_is_refused(tmp_path: Path) -> None:
    name = "ssdlite320_mobilenet_v3_large"
    state = torchvision.models.get_model(name, weights=None, weights_backbone=None).state_dict()
    one = frontend(tmp_path, state, name, inputs={"image": ["batch", 3, "height", "width"]})
    with pytest.raises(CheckpointError, match=r"is a detector: .*; expected one of a fixed size"):
        one.module()


@pytest.mark.parametrize("name", ["resnet18", "inception_v3", "maxvit_t", "swin_v2_t"])
def test_the_table_says_torchvisions_own_transform(tmp_path: Path, name: str) -> None:
    """Held against the library: the table is read without it."""
    said = parsed(frontend(tmp_path, {}, name).preprocessing())
    transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    assert isinstance(said, Preset)
    assert [said.resize] == transform.resize_size
    assert {"cubic": "bicubic", "linear": "bilinear"}[said.interpolation] == transform.interpolation.value
    assert (list(said.mean), list(said.std)) == (transform.mean, transform.std)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("resnet18", (3, 224, 224)), ("inception_v3", (3, 299, 299)), ("lraspp_mobilenet_v3_large", (3, 520, 520)),
        ("ssd300_vgg16", (3, 300, 300)), ("retinanet_resnet50_fpn", (3, 800, 800)), ("r3d_18", (3, 16, 112, 112)),
    ],
)  # fmt: skip
def test_the_size_is_torchvisions_own(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    (one,) = frontend(tmp_path, {}, name).taken().values()
    assert one.shape == ("batch", *shape)
