"""Heads that are not of the YOLO family: the graph, the reference and other people's numbers are the same."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import head_graphs
import numpy as np
import pytest
import test_recognise
from head_graphs import Arrays, image
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from generator import plan, plugin_nodes, recognise
from generator.detection import Answers, corners
from generator.errors import SurgeryError
from generator.heads import Head
from generator.heads.retinanet import Retinanet
from generator.heads.ssd import Ssd
from generator.load import load
from generator.nms import Nms
from generator.pipeline import Pipeline
from generator.plugin import family

FIXTURES = Path(__file__).parent / "fixtures" / "other_heads"
RETINA_LEVELS = [
    {"stride": 8, "sizes": [32, 40, 50]},
    {"stride": 16, "sizes": [64, 80, 101]},
    {"stride": 32, "sizes": [128, 161, 203]},
]
SSD_LEVELS = [
    {"min_sizes": [0.1], "max_sizes": [0.3], "aspect_ratios": [2], "step": 8},
    {"min_sizes": [0.3], "max_sizes": [0.9], "aspect_ratios": [2, 3], "step": 16},
    {"min_sizes": [0.9], "max_sizes": [1.2], "aspect_ratios": [2], "step": 32},
]
LOG = float(np.log(1000 / 16))
TORCHVISION: dict[str, dict[str, Any]] = {
    "ssd": {
        "classes": 5, "levels": SSD_LEVELS, "relative": True, "clip_priors": "sizes", "clip": True, "size_limit": LOG,
    },
    "retinanet": {"classes": 4, "levels": RETINA_LEVELS, "rounded": True, "stride_from_map": True, "clip": True},
    "fcos": {"classes": 4, "strides": [8, 16, 32], "offset": 0, "stride_from_map": True, "clip": True},
}  # fmt: skip
EFFDET: dict[str, Any] = {
    "classes": 2, "coding": "yxhw", "offset": 0.5, "order": "sizes_first", "size_limit": None,
    "aspect_ratios": [[1, 1], [1.4, 0.7], [0.7, 1.4]],
    "levels": [{"stride": s, "sizes": [4 * s * 2 ** (k / 3) for k in range(3)]} for s in (8, 16, 32)],
}  # fmt: skip
RETINAFACE: dict[str, Any] = {
    "classes": 2, "keypoints": 5, "points": "landms", "boxes": "loc", "scores": "conf",
    "levels": [{"min_sizes": [a, 2 * a], "step": s} for a, s in ((16, 8), (64, 16), (256, 32))],
}  # fmt: skip
BLAZEFACE: dict[str, Any] = {
    "classes": 1, "background": None, "activation": "sigmoid", "size_coding": "linear", "keypoints": 6, "relative": True,
    "variances": [1 / 128] * 4, "levels": [{"min_sizes": [1, 1], "step": 8}, {"min_sizes": [1] * 6, "step": 16}],
}  # fmt: skip
CENTERFACE: dict[str, Any] = {
    "classes": 1, "order": "yx", "size_coding": "log", "shift": 0.5, "activation": "none", "peaks": False, "keypoints": 5,
    "clip": True, "size": "scale", "offset": "offset",
}  # fmt: skip
VOC: list[dict[str, Any]] = [
    {"min_sizes": [low], "max_sizes": [high], "aspect_ratios": ratios, "step": step}
    for low, high, ratios, step in (
        (30, 60, [2], 8), (60, 111, [2, 3], 16), (111, 162, [2, 3], 32), (162, 213, [2, 3], 64), (213, 264, [2], 100),
        (264, 315, [2], 300),
    )
]  # fmt: skip


def head(kind: str, **said: Any) -> Head:
    made = TypeAdapter(family("generator.heads")[kind]).validate_python(said)
    assert isinstance(made, Head)
    return made


def nms(kind: str, **said: Any) -> Nms:
    made = TypeAdapter(family("generator.nms")[kind]).validate_python(said)
    assert isinstance(made, Nms)
    return made


def fixture(name: str) -> tuple[Arrays, Arrays]:
    """(raw outputs, what the library makes of them)."""
    with np.load(FIXTURES / f"{name}.npz") as file:
        values = dict(file)
    assert json.loads(str(values.pop("library")))
    raw = {key.removeprefix("raw_"): value for key, value in values.items() if key.startswith("raw_")}
    return raw, {key: value for key, value in values.items() if not key.startswith("raw_")}


def same(a: Answers, b: Answers, rtol: float = 1e-4, atol: float = 1e-3) -> None:
    np.testing.assert_allclose(a.boxes, b.boxes, rtol=rtol, atol=atol)
    np.testing.assert_allclose(a.scores, b.scores, rtol=1e-5, atol=1e-6)
    assert set(a.extras) == set(b.extras)
    for name, values in a.extras.items():
        np.testing.assert_allclose(values, b.extras[name], rtol=rtol, atol=atol)


@dataclass(frozen=True)
class Given:
    """A head and the shapes of its outputs, without batch."""

    kind: str
    said: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    #: Values that are no logits: probabilities, fractions, class numbers.
    kinds: dict[str, str] = field(default_factory=dict)
    picture: tuple[int, int] = (64, 96)

    def raw(self, batch: int, scale: float = 1.0, seed: int = 0) -> Arrays:
        rng = np.random.default_rng(seed)
        made: Arrays = {}
        for name, shape in self.shapes.items():
            match self.kinds.get(name, ""):
                case "unit":
                    made[name] = rng.random((batch, *shape)).astype(np.float32)
                case "number":
                    made[name] = rng.integers(-1, 4, (batch, *shape))
                case _:
                    made[name] = (rng.normal(size=(batch, *shape)) * scale).astype(np.float32)
        return made


def ssd_maps(a: int, b: int, last: bool = False) -> dict[str, tuple[int, ...]]:
    """Maps of SSD_LEVELS, scores of three classes."""
    found: dict[str, tuple[int, ...]] = {}
    for i, (count, (rows, columns)) in enumerate(((4, (8, 12)), (6, (4, 6)), (4, (2, 3)))):
        for name, width in (("b", a), ("s", b)):
            found[f"{name}{i}"] = (rows, columns, count * width) if last else (count * width, rows, columns)
    return found


CASES = {
    "boxes": Given("boxes", {"classes": 3}, {"b": (20, 4), "s": (20, 3)}),
    "boxes, one output": Given("boxes", {"classes": 3, "format": "cxcywh"}, {"o": (20, 7)}),
    "boxes, objectness in between": Given(
        "boxes", {"classes": 3, "objectness": True, "activation": "sigmoid", "format": "cxcywh"}, {"o": (20, 8)}
    ),
    "boxes, two outputs with objectness": Given(
        "boxes", {"classes": 3, "objectness": True, "format": "xywh", "boxes": "b", "scores": "s"}, {"s": (20, 4), "b": (20, 4)}
    ),
    "boxes, objectness apart": Given(
        "boxes", {"classes": 3, "objectness": True, "activation": "softmax"}, {"b": (20, 4), "o": (20, 1), "s": (20, 3)}
    ),
    "boxes, objectness a list": Given("boxes", {"classes": 3, "objectness": True}, {"b": (20, 4), "o": (20,), "s": (20, 3)}),
    "boxes, channels first": Given(
        "boxes", {"classes": 3, "channels_first": True, "format": "xywh", "normalised": True}, {"o": (7, 20)}, {"o": "unit"}
    ),
    "boxes, channels first, objectness, softmax": Given(
        "boxes", {"classes": 3, "channels_first": True, "objectness": True, "activation": "softmax"}, {"o": (8, 20)}
    ),
    "boxes, background first": Given(
        "boxes", {"classes": 3, "background": 0, "activation": "softmax", "normalised": True, "format": "yxyx"},
        {"scores": (20, 3), "boxes": (20, 4)}, {"boxes": "unit"},
    ),
    "boxes, an axis of one": Given("boxes", {"classes": 3, "activation": "sigmoid"}, {"b": (20, 1, 4), "s": (20, 3)}),
    "boxes, per class": Given("boxes", {"classes": 3, "per_class": True}, {"b": (20, 3, 4), "s": (20, 3)}),
    "boxes, per class in a row": Given(
        "boxes", {"classes": 3, "per_class": True, "background": 2, "format": "cxcywh", "normalised": True},
        {"s": (20, 3), "b": (20, 12)}, {"b": "unit"},
    ),
    "boxes, four classes named": Given(
        "boxes", {"classes": 4, "boxes": "x", "scores": "y"}, {"y": (20, 4), "x": (20, 4)}
    ),
    "ssd": Given("ssd", TORCHVISION["ssd"], {"s": (552, 5), "b": (552, 4)}),
    "ssd, maps": Given("ssd", {"classes": 3, "levels": SSD_LEVELS, "relative": True}, ssd_maps(4, 3)),
    "ssd, maps channels last": Given("ssd", {"classes": 3, "levels": SSD_LEVELS, "relative": True}, ssd_maps(4, 3, True)),
    "ssd, flat": Given("ssd", {"classes": 3, "levels": SSD_LEVELS, "relative": True}, {"b": (2208,), "s": (1656,)}),
    "ssd, columns": Given("ssd", {"classes": 3, "levels": SSD_LEVELS, "clip": True}, {"b": (4, 552), "s": (3, 552)}),
    "ssd, Caffe's clip, max last": Given(
        "ssd", {"classes": 3, "levels": SSD_LEVELS, "relative": True, "clip_priors": "corners", "order": "min_ratios_max"},
        {"b": (552, 4), "s": (552, 3)},
    ),
    "ssd, retinaface": Given("ssd", RETINAFACE, {"loc": (252, 4), "conf": (252, 2), "landms": (252, 10)}),
    "ssd, blazeface": Given("ssd", BLAZEFACE, {"b": (896, 16), "s": (896, 1)}, picture=(128, 128)),
    "retinanet": Given(
        "retinanet", {**TORCHVISION["retinanet"], "boxes": "b", "scores": "s"}, {"s": (1134, 4), "b": (1134, 4)}
    ),
    "retinanet, maps": Given(
        "retinanet", {"classes": 3, "levels": RETINA_LEVELS},
        {f"{n}{i}": (9 * w, r, c) for n, w in (("s", 3), ("b", 4)) for i, (r, c) in enumerate(((8, 12), (4, 6), (2, 3)))},
    ),
    "retinanet, efficientdet": Given("retinanet", EFFDET, {"s": (1134, 2), "b": (1134, 4)}),
    "retinanet, one level": Given(
        "retinanet", {"classes": 2, "levels": RETINA_LEVELS[:1], "activation": "softmax", "background": 1,
                      "variances": [0.1, 0.1, 0.2, 0.2]},
        {"b": (36, 8, 12), "s": (18, 8, 12)},
    ),
    "fcos": Given("fcos", {"classes": 3, "strides": [8, 16, 32]}, {"s": (126, 3), "b": (126, 4), "c": (126, 1)}),
    "fcos, maps": Given(
        "fcos", {"classes": 3, "strides": [8, 16], "score": "product", "distances": "exp", "in_strides": False},
        {f"{n}{i}": (w, r, c) for i, (r, c) in enumerate(((8, 12), (4, 6))) for n, w in (("s", 3), ("b", 4), ("c", 1))},
    ),
    "fcos, the class alone": Given(
        "fcos", {"classes": 3, "strides": [8], "score": "class", "distances": "relu", "clip": True},
        {"s": (3, 8, 12), "b": (4, 8, 12)}
    ),
    "fcos, probabilities": Given(
        "fcos", {"classes": 3, "strides": [8], "activation": "none"}, {"s": (3, 8, 12), "b": (4, 8, 12), "c": (1, 8, 12)},
        {"s": "unit", "c": "unit"},
    ),
    "centernet": Given(
        "centernet", {"classes": 3, "size": "wh", "offset": "reg"}, {"hm": (3, 16, 24), "wh": (2, 16, 24), "reg": (2, 16, 24)}
    ),
    "centernet, no offsets, probabilities": Given(
        "centernet", {"classes": 3, "offsets": False, "shift": 0.5, "activation": "none"}, {"hm": (3, 16, 24), "wh": (2, 16, 24)},
        {"hm": "unit"},
    ),
    "centernet, centerface": Given(
        "centernet", CENTERFACE, {"heat": (1, 16, 24), "scale": (2, 16, 24), "offset": (2, 16, 24), "lm": (10, 16, 24)},
        {"heat": "unit"},
    ),
    "detr": Given("detr", {"classes": 6}, {"logits": (30, 6), "pred_boxes": (30, 4)}, {"pred_boxes": "unit"}),
    "detr, sigmoid": Given(
        "detr", {"classes": 6, "activation": "sigmoid"}, {"pred_boxes": (30, 4), "logits": (30, 6)}, {"pred_boxes": "unit"}
    ),
    "detr, post-processed": Given(
        "detr", {"classes": 3, "activation": "none", "postprocessed": True, "format": "xyxy", "normalised": False},
        {"labels": (30,), "boxes": (30, 4), "scores": (30,)}, {"labels": "number", "scores": "unit"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_the_graph_is_the_reference(name: str, batch: int) -> None:
    given = CASES[name]
    made, raw, picture = head(given.kind, **given.said), given.raw(batch), image(*given.picture)
    reference = made.reference(picture, raw)
    same(head_graphs.run(made, picture, raw), reference)
    counted = made.candidates(picture, head_graphs.outputs(raw))
    assert reference.scores.shape == (batch, counted.boxes, counted.classes)
    assert np.ptp(reference.scores) > 0.1
    assert np.ptp(reference.boxes) > 1


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("fcos, probabilities", "detr, post-processed")])
def test_extreme_raw_outputs_do_not_end_in_nonsense(name: str) -> None:
    """Logits of hundreds: scores stay probabilities, boxes may be infinite but where the graph's are, the reference's are."""
    given = CASES[name]
    made, raw, picture = head(given.kind, **given.said), given.raw(2, scale=300, seed=1), image(*given.picture)
    with np.errstate(over="ignore", invalid="ignore"):
        reference = made.reference(picture, raw)
    found = head_graphs.run(made, picture, raw)
    power = 2 if given.kind == "fcos" else 1  # of the root of a product: ONNX Runtime's sigmoid does not go below 1.5e-8
    np.testing.assert_allclose(found.scores**power, reference.scores**power, rtol=1e-5, atol=1e-6)
    finite = np.abs(reference.boxes) < 1e30
    assert finite.any()
    np.testing.assert_allclose(found.boxes[finite], reference.boxes[finite], rtol=1e-3, atol=0.1)
    assert (np.abs(np.nan_to_num(found.boxes[~finite], nan=np.inf)) > 1e25).all()


@pytest.mark.parametrize("kind", ["ssd", "retinanet", "fcos"])
def test_torchvision_decodes_and_keeps_the_same(kind: str) -> None:
    """Boxes and scores of every candidate, and, with NMS in the graph, what the model itself answers."""
    raw, theirs = fixture(f"{kind}_torchvision")
    raw = {"s": raw.pop("cls_logits"), "b": raw.pop("bbox_regression"), **raw}
    if kind != "ssd":
        raw = uneven(raw, {"retinanet": 9, "fcos": 1}[kind])
    made = head(
        kind, **TORCHVISION[kind], boxes=[n for n in raw if n[0] == "b" and "c" not in n], scores=[n for n in raw if n[0] == "s"]
    )
    for answers in (made.reference(image(), raw), head_graphs.run(made, image(), raw)):
        np.testing.assert_allclose(answers.boxes, theirs["decoded"], rtol=1e-5, atol=2e-4)
    limit, iou, k = {"ssd": (0.1, 0.5, 100), "retinanet": (0.2, 0.5, 100), "fcos": (0.3, 0.6, 60)}[kind]
    kept = head_graphs.detect(made, nms("onnx", score_threshold=limit, iou_threshold=iou, max_detections=k), image(), raw)
    for row in range(2):
        agrees(kept, row, theirs, f"_{row}")


def uneven(raw: Arrays, boxes: int) -> Arrays:
    """torchvision's joined rows as a map of each level, [batch, boxes * width, rows, columns]."""
    found, start = {}, 0
    for level, (rows, columns) in enumerate(((8, 12), (4, 6), (3, 5))):
        end = start + rows * columns * boxes
        for name, values in raw.items():
            part = values[:, start:end].reshape(len(values), rows, columns, -1)
            found[f"{name}{level}"] = np.ascontiguousarray(part.transpose(0, 3, 1, 2))
        start = end
    assert start == raw["s"].shape[1]
    return found


def agrees(kept: Arrays, row: int, theirs: Arrays, suffix: str) -> None:
    """The same detections; neighbours in the list may change places where scores differ in the last digits only."""
    count = len(theirs[f"scores{suffix}"])
    assert kept["num_dets"][row, 0] == count > 5
    np.testing.assert_allclose(kept["det_scores"][row, :count], theirs[f"scores{suffix}"], rtol=1e-5, atol=1e-6)
    ours = table(kept["det_boxes"][row, :count], kept["det_classes"][row, :count])
    assert np.abs(ours[:, None] - table(theirs[f"boxes{suffix}"], theirs[f"labels{suffix}"])[None]).max(2).min(1).max() < 1e-3


def table(boxes: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(np.concatenate([boxes, labels[:, None]], 1), np.float64)


@pytest.mark.parametrize("kind", ["softmax", "deformable", "rtdetr"])
def test_transformers_keeps_the_same_queries(kind: str) -> None:
    raw, theirs = fixture("detr_transformers")
    softmax = kind == "softmax"
    made = head("detr", classes=7, activation="softmax" if softmax else "sigmoid")
    kept = head_graphs.detect(made, nms("none", score_threshold=0.3, max_detections=30 if softmax or kind == "rtdetr" else 100,
                                        multi_label=not softmax), image(), raw)  # fmt: skip
    for row in range(2):
        order = np.argsort(-theirs[f"{kind}_scores_{row}"], kind="stable")
        sorted_ = {f"{key}_{row}": theirs[f"{kind}_{key}_{row}"][order] for key in ("boxes", "scores", "labels")}
        agrees(kept, row, sorted_, f"_{row}")


def test_effdet_decodes_the_same() -> None:
    raw, theirs = fixture("retinanet_effdet")
    made = head("retinanet", **EFFDET)
    for answers in (made.reference(image(), raw), head_graphs.run(made, image(), raw)):
        np.testing.assert_allclose(answers.boxes, theirs["decoded"], rtol=1e-5, atol=1e-3)


def test_retinaface_decodes_the_same_boxes_and_points() -> None:
    raw, theirs = fixture("ssd_retinaface")
    made = head("ssd", **RETINAFACE)
    for answers in (made.reference(image(), raw), head_graphs.run(made, image(), raw)):
        np.testing.assert_allclose(answers.boxes, theirs["decoded"], rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(answers.extras["keypoints"].reshape(2, -1, 10), theirs["points"], rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(answers.scores, theirs["scores"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("of", ["levels", "a file"])
def test_blazeface_decodes_the_same(of: str, tmp_path: Path) -> None:
    raw, theirs = fixture("ssd_blazeface")
    raw["s"] = np.zeros((1, 896, 1), np.float32)
    np.save(tmp_path / "priors.npy", theirs["priors"])
    said = {**BLAZEFACE, **({"levels": [], "priors": tmp_path / "priors.npy"} if of == "a file" else {})}
    made = head("ssd", **said)
    for answers in (made.reference(image(128, 128), raw), head_graphs.run(made, image(128, 128), raw)):
        ymin, xmin, ymax, xmax = np.moveaxis(theirs["decoded"][..., :4], -1, 0)
        np.testing.assert_allclose(answers.boxes, np.stack([xmin, ymin, xmax, ymax], -1), rtol=1e-4, atol=1e-3)
        points = theirs["decoded"][..., 4:].reshape(1, 896, 6, 2)
        np.testing.assert_allclose(answers.extras["keypoints"], points, rtol=1e-4, atol=1e-3)


def test_the_priors_of_ssd300_are_those_of_ssd_pytorch() -> None:
    made = head("ssd", classes=21, levels=VOC)
    assert isinstance(made, Ssd)
    _, theirs = fixture("ssd_pytorch")
    ours = made.anchors(image(300, 300), [grid for _, grid in made.levels_of(image(300, 300))])
    assert len(ours) == 8732
    np.testing.assert_allclose(ours[::7] / 300, theirs["priors"], rtol=1e-5)


def test_published_heads_are_recognised_with_their_published_numbers() -> None:
    """What recognition fills in, against the same numbers of other people's code."""
    raw, theirs = fixture("ssd_retinaface")
    softmax, _ = recognise.fitting(image(), head_graphs.outputs(raw))
    np.testing.assert_allclose(softmax.reference(image(), raw).boxes, theirs["decoded"], rtol=1e-5, atol=1e-3)
    raw, theirs = fixture("ssd_blazeface")
    raw["s"] = np.zeros((1, 896, 1), np.float32)
    (blaze,) = recognise.fitting(image(128, 128), head_graphs.outputs(raw))
    ymin, xmin = np.moveaxis(theirs["decoded"][..., :2], -1, 0)
    np.testing.assert_allclose(
        blaze.reference(image(128, 128), raw).boxes[..., :2], np.stack([xmin, ymin], -1), rtol=1e-4, atol=1e-3
    )
    ssd300 = Given("", {}, {"loc": (8732, 4), "conf": (8732, 21)}).raw(1)
    fitting = recognise.fitting(image(300, 300), head_graphs.outputs(ssd300))
    coco, voc = (made for made in fitting if isinstance(made, Ssd))
    assert voc == head("ssd", classes=21, levels=VOC)
    assert [level.min_sizes[0] / 300 for level in coco.levels] == pytest.approx([0.07, 0.15, 0.33, 0.51, 0.69, 0.87])


def test_published_anchors_are_recognised_with_their_published_numbers() -> None:
    """torchvision's sizes (`_default_anchorgen` of its RetinaNet) and EfficientDet's, of the first three levels."""
    known: dict[str, tuple[int, ...]] = {
        f"{n}{s}": (9 * w, 640 // s, 640 // s) for s in (8, 16, 32, 64, 128) for n, w in (("c", 3), ("b", 4))
    }
    fitting = recognise.fitting(image(640, 640), head_graphs.outputs(Given("", {}, known).raw(1)))
    _, _, torchvision, efficientdet = (made for made in fitting if isinstance(made, Retinanet))
    wanted = head("retinanet", **{**TORCHVISION["retinanet"], "classes": 3})
    assert isinstance(wanted, Retinanet)
    assert [level.sizes for level in torchvision.levels[:3]] == [level.sizes for level in wanted.levels]
    assert (torchvision.rounded, torchvision.stride_from_map, torchvision.clip) == (True, True, True)
    wanted = head("retinanet", **{**EFFDET, "classes": 3})
    assert efficientdet.model_copy(update={"levels": efficientdet.levels[:3]}) == wanted


@pytest.mark.parametrize("clip", [False, True])
def test_priors_are_those_of_opencvs_caffe_layer(clip: bool) -> None:
    layer = f"""
        input: "map" input_shape {{ dim: 1 dim: 1 dim: 4 dim: 6 }}
        input: "data" input_shape {{ dim: 1 dim: 3 dim: 64 dim: 96 }}
        layer {{ name: "priors" type: "PriorBox" bottom: "map" bottom: "data" top: "priors"
          prior_box_param {{ min_size: 30 max_size: 60 aspect_ratio: 2 aspect_ratio: 3 flip: true step: 16 offset: 0.5
            clip: {str(clip).lower()} variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 }} }}"""
    net = cv2.dnn.readNetFromCaffe(np.frombuffer(layer.encode(), np.uint8))
    net.setInput(np.zeros((1, 1, 4, 6), np.float32), "map")
    net.setInput(np.zeros((1, 3, 64, 96), np.float32), "data")
    theirs = net.forward()[0, 0].reshape(-1, 4) * (96, 64, 96, 64)
    level = {"min_sizes": [30], "max_sizes": [60], "aspect_ratios": [2, 3], "step": 16}
    made = head("ssd", classes=2, levels=[level], clip_priors="corners" if clip else "no")
    assert isinstance(made, Ssd)
    assert (theirs.min() < 0) is not clip
    np.testing.assert_allclose(corners(made.anchors(image(), [(4, 6)]).astype(np.float32)), theirs, atol=1e-4)


def test_a_head_that_cuts_boxes_has_none_for_the_fused_decoder() -> None:
    given = CASES["ssd"]
    made, raw = head("ssd", **given.said), given.raw(1)
    with pytest.raises(SurgeryError, match="needs a head of anchors"):
        head_graphs.model(made, nms("efficient_nms_trt", fused_decoder=True), raw, image())


@pytest.mark.parametrize("offsets", [True, False])
def test_centernet_finds_the_same_peaks(offsets: bool) -> None:
    raw, theirs = fixture(f"centernet_{'with' if offsets else 'without'}_offsets")
    if not offsets:
        del raw["reg"]
    made = head("centernet", classes=3, size="wh", offsets=offsets, shift=0 if offsets else 0.5)
    kept = head_graphs.detect(made, nms("none", score_threshold=0, max_detections=40), image(), raw)
    for row in range(2):
        values = theirs["decoded"][row]
        agrees(kept, row, {"boxes": values[:, :4] * 4, "scores": values[:, 4], "labels": values[:, 5]}, "")


def test_centerface_finds_the_same_faces_and_points() -> None:
    raw, theirs = fixture("centernet_centerface")
    made = head("centernet", **CENTERFACE)
    kept = head_graphs.detect(made, nms("onnx", score_threshold=0.02, iou_threshold=0.3, max_detections=20), image(128, 160), raw)
    count = len(theirs["boxes"])
    assert kept["num_dets"][0, 0] == count
    order = np.argsort(-theirs["boxes"][:, 4])
    np.testing.assert_allclose(kept["det_boxes"][0, :count], theirs["boxes"][order, :4], rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(kept["det_scores"][0, :count], theirs["boxes"][order, 4], rtol=1e-5)
    np.testing.assert_allclose(kept["det_keypoints"][0, :count].reshape(-1, 10), theirs["points"][order], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("form", ["xyxy", "xywh", "cxcywh", "yxyx"])
@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_plain_boxes_are_torchvisions(form: str, activation: str) -> None:
    raw, theirs = fixture("boxes_torchvision")
    wanted = theirs.get(f"from_{form}")
    if wanted is None:  # torchvision does not know it
        wanted = raw["boxes"][..., [1, 0, 3, 2]]
    made = head("boxes", classes=3, format=form, activation=activation, normalised=True)
    for answers in (made.reference(image(), raw), head_graphs.run(made, image(), raw)):
        np.testing.assert_allclose(answers.boxes, wanted * np.array([96, 64, 96, 64], np.float32), rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(answers.scores, theirs[activation], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["ssd, maps", "ssd, retinaface", "retinanet, maps", "retinanet, efficientdet", "retinanet, one level"]
)
def test_the_fused_decoder_gets_deltas_that_it_decodes_to_the_same_boxes(name: str) -> None:
    given = CASES[name]
    made, raw = head(given.kind, **given.said), given.raw(2)
    np.testing.assert_allclose(head_graphs.fused(made, image(), raw), made.reference(image(), raw).boxes, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("name", ["ssd, maps", "retinanet, efficientdet"])
def test_the_plugins_fused_decoder_keeps_the_same_boxes(name: str) -> None:
    given = CASES[name]
    made, raw = head(given.kind, **given.said), given.raw(2)
    strategy = nms("efficient_nms_trt", score_threshold=0.6, max_detections=12, fused_decoder=True)
    found = plugin_nodes.run(head_graphs.model(made, strategy, raw, image()), raw)
    wanted = strategy.reference(made.reference(image(), raw), made.candidates(image(), head_graphs.outputs(raw)))
    assert found["num_dets"].min() > 3
    for key, values in wanted.items():
        np.testing.assert_allclose(found[key], np.asarray(values, float), rtol=1e-4, atol=1e-2, err_msg=key)


@pytest.mark.parametrize("name", ["retinanet, maps", "centernet", "detr", "boxes, channels first", "ssd, blazeface"])
@pytest.mark.parametrize("kind", ["onnx", "none"])
def test_an_nms_takes_what_the_head_gives(name: str, kind: str) -> None:
    given = CASES[name]
    made, raw, picture = head(given.kind, **given.said), given.raw(2), image(*given.picture)
    strategy = nms(kind, score_threshold=0.6, max_detections=12)
    found = head_graphs.detect(made, strategy, picture, raw)
    wanted = strategy.reference(made.reference(picture, raw), made.candidates(picture, head_graphs.outputs(raw)))
    assert found["num_dets"].min() > 0
    assert set(found) == set(wanted)
    for key, values in wanted.items():
        np.testing.assert_allclose(found[key], np.asarray(values, float), rtol=1e-4, atol=1e-2, err_msg=key)


MISFITS: list[tuple[str, dict[str, Any], dict[str, tuple[int, ...]], list[str]]] = [
    (
        "boxes",
        {"classes": 3},
        {"b": (20, 5), "s": (20, 3)},
        ["b FP32[batch, 20, 5]", "[batch, boxes, 7], or [batch, boxes, 4] and"],
    ),
    ("boxes", {"classes": 3}, {"b": (20, 4), "s": (21, 3)}, ["head boxes: found outputs b", "[batch, boxes, 3]"]),
    ("boxes", {"classes": 4}, {"b": (20, 4), "s": (20, 4)}, ["may be boxes or scores", "boxes: NAME, scores: NAME"]),
    (
        "boxes",
        {"classes": 3, "boxes": "x"},
        {"b": (20, 4), "s": (20, 3)},
        ["boxes: no output is called 'x'", "b FP32", "correct"],
    ),
    ("boxes", {"classes": 3, "channels_first": True}, {"o": (20, 7)}, ["o FP32[batch, 20, 7]", "[batch, 7, boxes]"]),
    (
        "ssd",
        {"classes": 3, "levels": SSD_LEVELS},
        {"b": (553, 4), "s": (552, 3)},
        ["b FP32[batch, 553, 4]", "boxes [batch, 552, 4]"],
    ),
    (
        "ssd",
        {"classes": 3, "levels": SSD_LEVELS},
        {"b": (552, 4)},
        ["scores [batch, 552, 3] or a map [batch, 12 or 18, rows, columns]"],
    ),
    ("ssd", {"classes": 4, "levels": SSD_LEVELS}, ssd_maps(4, 4), ["may be boxes or scores"]),
    ("retinanet", {"classes": 3}, {"b": (36, 8, 12), "s": (27, 8, 12)}, ["for each of 5 levels"]),
    ("fcos", {"classes": 3, "strides": [8]}, {"b": (96, 4), "s": (96, 3)}, ["centreness [batch, 96, 1]"]),
    ("fcos", {"classes": 1, "strides": [8]}, {"b": (96, 4), "s": (96, 1), "c": (96, 1)}, ["may be scores or centreness"]),
    ("centernet", {"classes": 3}, {"h": (3, 8, 8), "a": (2, 8, 8), "b": (2, 8, 8)}, ["may be size or offset"]),
    (
        "centernet",
        {"classes": 3, "offsets": False},
        {"h": (3, 8, 8), "a": (2, 8, 9)},
        ["heat [batch, 3, rows, columns]", "of one size"],
    ),
    ("detr", {"classes": 3}, {"b": (30, 4), "s": (29, 3)}, ["scores [batch, queries, 3]"]),
    ("detr", {"classes": 3, "postprocessed": True}, {"boxes": (30, 4), "scores": (30,)}, ["labels [batch, K] INT64"]),
]


@pytest.mark.parametrize(("kind", "said", "shapes", "words"), MISFITS)
def test_outputs_that_do_not_fit(kind: str, said: dict[str, Any], shapes: dict[str, tuple[int, ...]], words: list[str]) -> None:
    raw = Given(kind, said, shapes).raw(1)
    with pytest.raises(SurgeryError) as caught:
        head(kind, **said).candidates(image(), head_graphs.outputs(raw))
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("kind", "said", "words"),
    [
        ("boxes", {"classes": 3, "background": 3}, "`classes: 3` counts it, so say at most 2"),
        ("boxes", {"classes": 3, "per_class": True, "objectness": True}, "without objectness"),
        ("ssd", {"classes": 3, "background": 5, "levels": SSD_LEVELS}, "say at most 2"),
        ("ssd", {"classes": 3}, "either `levels:` or a file of `priors:`"),
        ("ssd", {"classes": 3, "levels": [{"min_sizes": [1, 2], "max_sizes": [3], "step": 8}]}, "2 min_sizes and 1 max_sizes"),
        ("ssd", {"classes": 3, "levels": [{"min_sizes": [1]}]}, "`map: [rows, columns]`"),
        ("ssd", {"classes": 3, "levels": SSD_LEVELS, "points": "p"}, "points without keypoints"),
        ("ssd", {"classes": 3, "priors": "missing.npy"}, "no such file"),
    ],
)  # fmt: skip
def test_fields_that_contradict_each_other(kind: str, said: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words.replace("`", ".").replace("[", r"\[")):
        head(kind, **said)


def test_other_priors_in_the_same_file_make_the_surgery_stale(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.full((20, 4), 0.5))
    test_recognise.detector(tmp_path, {"b": (20, 4), "s": (20, 3)})
    path = tmp_path / "thing.yaml"
    path.write_text(test_recognise.SPEC + "head: {kind: ssd, classes: 3, priors: p.npy}\n")
    keys = [plan.steps(Pipeline(path, load(path)))[1].key for _ in range(2)]
    np.save(tmp_path / "p.npy", np.full((20, 4), 0.4))
    assert keys[0] == keys[1] != plan.steps(Pipeline(path, load(path)))[1].key


@pytest.mark.parametrize(
    ("values", "words"),
    [(b"no array", "is not a .npy file"), (np.zeros((3, 5)), r"float64\[3, 5\]; expected"), (np.full((3, 4), np.nan), "finite")],
)
def test_a_file_of_priors_that_is_none(values: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "priors.npy"
    if isinstance(values, bytes):
        path.write_bytes(values)
    else:
        np.save(path, values)
    raw = Given("ssd", {}, {"b": (3, 4), "s": (3, 2)}).raw(1)
    with pytest.raises(SurgeryError, match=words):
        head("ssd", classes=2, priors=path).candidates(image(), head_graphs.outputs(raw))
