"""Raw outputs of detectors and what their own code decodes them to: the truth that tests/test_heads_yolo.py holds heads against.

    PYTHON scripts/head_fixtures.py LIBRARY [SOURCE]

PYTHON is an interpreter that has the library, SOURCE its source folder where it is not installed. The libraries are run, with
random weights, and nothing of them is kept but numbers. What is in tests/fixtures/heads/ was made with
ultralytics 8.4.190; yolov5 at 5081342f0, yolov7 at a207844, YOLOv6 at e86a483 and nanodet at be9b4a9 of their repositories;
YOLOX 0.3.0; and rapid-layout 1.2.1 for PicoDet.

Each file holds the raw outputs (`raw/NAME`), what the library makes of them before suppression (`boxes` as corners, `scores` by
box, `extra/NAME`) or after it (`kept`: x1, y1, x2, y2, score, class, extras), and `meta`: the head's fields, the input's size,
the library, and the suppression's settings.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TARGET = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "heads"
HEIGHT, WIDTH, CLASSES = 64, 96, 3
GRIDS = [(8, 12), (4, 6), (2, 3)]
ANCHORS = [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]]
LEVELS = [list(zip(flat[::2], flat[1::2], strict=True)) for flat in ANCHORS]


def save(name: str, library: str, head: dict[str, Any], raw: dict[str, Any], truth: dict[str, Any], **settings: Any) -> None:
    """One file; numbers as float32."""
    meta = {"library": library, "head": {"classes": CLASSES, **head}, "size": [HEIGHT, WIDTH], **settings}
    arrays = {**{f"raw/{key}": value for key, value in raw.items()}, **truth}
    TARGET.mkdir(parents=True, exist_ok=True)
    path = TARGET / f"{name}.npz"
    np.savez_compressed(path, meta=json.dumps(meta), **{key: np.asarray(value, np.float32) for key, value in arrays.items()})
    print(f"{name}: {path.stat().st_size} bytes, {', '.join(f'{k}{list(np.shape(v))}' for k, v in arrays.items())}")


def split(values: Any) -> list[Any]:
    """[batch, channels, boxes] -> [batch, channels, rows, columns] of each grid."""
    edges = np.cumsum([rows * columns for rows, columns in GRIDS])[:-1]
    parts = np.split(np.asarray(values), edges, axis=2)
    return [part.reshape(*part.shape[:2], *grid) for part, grid in zip(parts, GRIDS, strict=True)]


def corners(boxes: Any) -> Any:
    """Centre and size [..., 4] -> corners."""
    boxes = np.asarray(boxes)
    return np.concatenate([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)


def shaken(module: Any, spread: float = 3.0) -> Any:
    """Weights and biases of the convolutions that end in predictions, so that answers differ; batch norm untouched."""
    import torch

    for part in module.modules():
        if isinstance(part, torch.nn.Conv2d) and part.bias is not None and part.weight.requires_grad:
            torch.nn.init.normal_(part.weight, std=spread / part.weight[0].numel() ** 0.5)
            torch.nn.init.normal_(part.bias, std=0.5)
    return module.eval()


def spread(module: Any, run: Callable[[], Any]) -> None:
    """Scale the convolutions that end in predictions to answers about as far apart as trained ones."""
    import torch

    last = [part for part in module.modules() if isinstance(part, torch.nn.Conv2d) and part.bias is not None]
    hooks = [part.register_forward_hook(_scaled) for part in last if part.weight.requires_grad]
    run()
    for hook in hooks:
        hook.remove()


def _scaled(part: Any, _: Any, found: Any) -> Any:
    factor = 2.5 / found.std()
    part.weight.data *= factor
    part.bias.data *= factor
    return found * factor


def ultralytics(_: Path | None) -> None:
    """YOLOv8, v9, 11, 12 raw and decoded; pose, segment and OBB; v10 and 26 end to end."""
    import torch

    library, tasks = importlib.import_module("ultralytics"), importlib.import_module("ultralytics.nn.tasks")
    non_max_suppression = importlib.import_module("ultralytics.utils.nms").non_max_suppression
    torch.manual_seed(4)
    said, image = f"ultralytics {library.__version__}", torch.rand(1, 3, HEIGHT, WIDTH)

    def ran(kind: str, config: str, end2end: bool = False) -> Any:
        model = getattr(tasks, kind)(config, ch=3, nc=CLASSES, verbose=False).eval()
        model.model[-1].end2end = end2end
        for part in model.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.momentum = 1.0
        with torch.no_grad():
            model.train()(image)  # batch norm learns what random weights make of the picture, so that cells differ
            spread(shaken(model.model[-1]), lambda: model.eval()(image))
            return model.eval()(image)

    for name in ("yolov8n", "yolov9t", "yolo11n", "yolo12n"):
        decoded, raw = ran("DetectionModel", f"{name}.yaml")
        boxes, scores = split(raw["boxes"]), split(raw["scores"])
        joined = {f"level_{i}": np.concatenate(pair, 1) for i, pair in enumerate(zip(boxes, scores, strict=True))}
        truth = {"boxes": corners(decoded[:, :4].transpose(1, 2)), "scores": decoded[:, 4:].transpose(1, 2)}
        save(name, said, {"kind": "yolov8"}, joined, truth)
        if name == "yolov8n":
            apart = {f"{kind}_{i}": t for kind, ts in (("box", boxes), ("class", scores)) for i, t in enumerate(ts)}
            last = {key: value.transpose(0, 2, 3, 1) for key, value in reversed(apart.items())}
            save("yolov8n_apart_last", said, {"kind": "yolov8"}, last, truth)
            save("yolov8n_joined", said, {"kind": "yolov8"}, {"all": np.concatenate([raw["boxes"], raw["scores"]], 1)}, truth)
    decoded, raw = ran("DetectionModel", "yolo26n.yaml")
    many = raw["one2many"]
    joined = {
        f"level_{i}": np.concatenate(p, 1) for i, p in enumerate(zip(split(many["boxes"]), split(many["scores"]), strict=True))
    }
    truth = {"boxes": corners(decoded[:, :4].transpose(1, 2)), "scores": decoded[:, 4:].transpose(1, 2)}
    save("yolo26n_raw", said, {"kind": "yolov8", "reg_max": 1}, joined, truth)

    behind: list[tuple[str, str, str, dict[str, Any]]] = [
        ("yolov8n_decoded", "DetectionModel", "yolov8n.yaml", {}),
        ("yolov8n_seg", "SegmentationModel", "yolov8n-seg.yaml", {"masks": 32}),
        ("yolo11n_pose", "PoseModel", "yolo11n-pose.yaml", {"keypoints": [17, 3]}),
    ]
    suppress = {"score_threshold": 0.3, "iou_threshold": 0.45, "multi_label": False, "max_detections": 30}
    for name, kind, config, extras in behind:
        decoded = first(ran(kind, config)[0])
        (kept,) = non_max_suppression(decoded.clone(), 0.3, 0.45, max_det=30, nc=CLASSES)
        save(name, said, {"kind": "yolov8", **extras}, {"output0": decoded}, {"kept": kept}, nms=suppress)
    decoded = ran("OBBModel", "yolo11n-obb.yaml")[0]
    truth = {"boxes": corners(decoded[:, :4].transpose(1, 2)), "scores": decoded[:, 4 : 4 + CLASSES].transpose(1, 2)}
    save("yolo11n_obb", said, {"kind": "yolov8", "angle": True}, {"output0": decoded}, truth | {"extra/angle": decoded[:, -1]})
    ends: list[tuple[str, str, dict[str, Any]]] = [
        ("yolov10n", "DetectionModel", {}),
        ("yolo26n", "DetectionModel", {}),
        ("yolo26n-seg", "SegmentationModel", {"masks": 32}),
        ("yolo26n-pose", "PoseModel", {"keypoints": [17, 3]}),
        ("yolo26n-obb", "OBBModel", {"angle": True}),
    ]
    for name, kind, extras in ends:
        given = first(ran(kind, f"{name}.yaml", end2end=True)[0])
        (kept,) = non_max_suppression(given.clone(), 0.3, nc=CLASSES, max_det=30, end2end=True)
        if "angle" in extras:  # its boxes stay centre and size
            kept = np.concatenate([corners(kept[:, :4]), kept[:, 4:]], 1)
        nms = {"kind": "none", "score_threshold": 0.3, "max_detections": 30}
        save(name.replace("-", "_"), said, {"kind": "yolov10", **extras}, {"output0": given}, {"kept": kept}, nms=nms)


def first(found: Any) -> Any:
    """The predictions of a model that gives prototypes, too."""
    return found[0] if isinstance(found, (tuple, list)) else found


def yolov5(source: Path | None) -> None:
    """YOLOv5's Detect: raw levels of five axes, and its decoded output."""
    detect = _detect(source, "models.yolo", "Detect")
    raw, decoded = _anchored(detect)
    _save_anchored("yolov5", "ultralytics/yolov5 5081342f0", raw, decoded)


def yolov7(source: Path | None) -> None:
    """YOLOv7's Detect: the same by another hand; raw levels here of four axes."""
    detect = _detect(source, "models.yolo", "Detect")
    raw, decoded = _anchored(detect)
    flat = [level.transpose(0, 1, 4, 2, 3).reshape(1, -1, *level.shape[2:4]) for level in raw]
    _save_anchored("yolov7", "WongKinYiu/yolov7 a207844", flat, decoded)


def _detect(source: Path | None, module: str, name: str) -> Any:
    sys.path.insert(0, str(source))
    return getattr(importlib.import_module(module), name)


def _anchored(detect: Any) -> tuple[list[Any], Any]:
    import torch

    torch.manual_seed(5)
    head = detect(CLASSES, ANCHORS, (8, 8, 8))
    head.stride = torch.tensor([8.0, 16.0, 32.0])
    head.anchors /= head.stride.view(-1, 1, 1)  # YOLOv5 keeps them in cells; YOLOv7 reads anchor_grid
    with torch.no_grad():
        decoded, raw = shaken(head)([torch.randn(1, 8, *grid) for grid in GRIDS])
    return [level.numpy() for level in raw], decoded.numpy()


def _save_anchored(name: str, library: str, raw: list[Any], decoded: Any) -> None:
    truth = {"boxes": corners(decoded[..., :4]), "scores": decoded[..., 4:5] * decoded[..., 5:]}
    save(name, library, {"kind": "yolov5", "anchors": LEVELS}, {f"level_{i}": t for i, t in enumerate(raw)}, truth)
    save(f"{name}_decoded", library, {"kind": "yolov5"}, {"output": decoded}, truth)


def yolov6(source: Path | None) -> None:
    """YOLOv6's Detect: its decoded output, and its export (classes before distances) with and without distributions."""
    import torch

    detect, build = (_detect(source, "yolov6.models.effidehead", name) for name in ("Detect", "build_effidehead_layer"))
    library = "meituan/YOLOv6 e86a483"
    for bins in (0, 16):
        torch.manual_seed(6)
        layers = build([8] * 12, 1, CLASSES, reg_max=bins, num_layers=3)
        head = detect(CLASSES, 3, head_layers=layers, use_dfl=bins > 0, reg_max=bins)
        head.initialize_biases()
        for part in (*head.cls_preds, *head.reg_preds):
            shaken(torch.nn.Sequential(part))
        head.eval()
        feats = [torch.randn(1, 8, *grid) for grid in GRIDS]
        with torch.no_grad():
            decoded = head([f.clone() for f in feats]).numpy()
            head.export = not bins  # with distributions its levels cannot be joined
            raw = head([f.clone() for f in feats])
        truth = {"boxes": corners(decoded[..., :4]), "scores": decoded[..., 5:]}
        if not bins:
            fields = {"kind": "yolov8", "reg_max": 1, "activated": True, "scores_first": True}
            save("yolov6_export", library, fields, {f"level_{i}": t for i, t in enumerate(raw)}, truth)
        else:
            save("yolov6_decoded", library, {"kind": "yolov5"}, {"outputs": decoded}, truth)


def yolox(source: Path | None) -> None:
    """YOLOX's head: its export, and decoded."""
    import torch

    torch.manual_seed(7)
    head = _detect(source, "yolox.models.yolo_head", "YOLOXHead")(CLASSES, width=0.03125, in_channels=[256, 256, 256])
    feats = [torch.randn(1, 8, *grid) for grid in GRIDS]
    with torch.no_grad():
        spread(shaken(head), lambda: head(feats))
    with torch.no_grad():
        head.decode_in_inference = False
        raw = head(feats).numpy().copy()
        head.decode_in_inference = True
        decoded = head(feats).numpy().copy()
    truth = {"boxes": corners(decoded[..., :4]), "scores": decoded[..., 4:5] * decoded[..., 5:]}
    save("yolox", "yolox 0.3.0", {"kind": "yolox"}, {"output": raw}, truth)
    save("yolox_decoded", "yolox 0.3.0", {"kind": "yolox", "decoded": True}, {"output": decoded}, truth)


def nanodet(source: Path | None) -> None:
    """NanoDet's and NanoDet-Plus's heads."""
    sys.path.insert(0, str(source))
    _nanodet("nanodet", "nanodet_head", "NanoDetHead", [8, 16, 32])
    _nanodet("nanodet-plus", "nanodet_plus_head", "NanoDetPlusHead", [8, 16, 32, 64])


def _nanodet(name: str, module: str, kind: str, strides: list[int]) -> None:
    """What the head hands to its own NMS, which is listened to: boxes cut at the edge, and scores."""
    import torch

    file = importlib.import_module(f"nanodet.model.head.{module}")
    owner: Any = file if hasattr(file, "multiclass_nms") else importlib.import_module("nanodet.model.head.gfl_head")
    torch.manual_seed(8)
    losses = types.SimpleNamespace(loss_qfl=_Loss(), loss_dfl=_Loss(), loss_bbox=_Loss())
    head = getattr(file, kind)(CLASSES, losses, 8, feat_channels=8, strides=strides, norm_cfg={"type": "BN"}, reg_max=7)
    feats = [torch.randn(1, 8, -(-HEIGHT // s), -(-WIDTH // s)) for s in strides]
    seen: list[Any] = []

    def listen(boxes: Any, scores: Any, **_: Any) -> Any:
        seen.append((boxes, scores))
        return seen[-1]

    owner.multiclass_nms = listen
    with torch.no_grad():
        spread(shaken(head), lambda: head(feats))
        raw = head(feats)
        classes, sides = raw.split([CLASSES, 32], dim=-1)
        head.get_bboxes(classes, sides, {"img": torch.zeros(1, 3, HEIGHT, WIDTH)})
    ((boxes, scores),) = seen
    truth = {"boxes": boxes[None], "scores": scores[None, :, :CLASSES]}
    fields = {"kind": "nanodet", "variant": name, "activated": False}
    save(name.replace("-", "_"), "RangiLyu/nanodet be9b4a9", fields, {"output": raw}, truth)


class _Loss:
    """What the heads ask of a loss before training."""

    def __init__(self) -> None:
        self.use_sigmoid, self.beta, self.loss_weight, self.name = True, 2.0, 1.0, "GIoULoss"

    def __getattr__(self, name: str) -> Any:
        return 1.0


def picodet(source: Path | None) -> None:
    """rapid-layout's post-processing of PicoDet's outputs: boxes that survive its own NMS."""
    module = _detect(source, "post_process", "PPPostProcess")
    random = np.random.default_rng(9)
    grids = [(-(-HEIGHT // s), -(-WIDTH // s)) for s in (8, 16, 32, 64)]
    scores = [random.random((1, rows * columns, CLASSES)).astype(np.float32) for rows, columns in grids]
    sides = [random.normal(0, 2, (1, rows * columns, 32)).astype(np.float32) for rows, columns in grids]
    labels = [str(i) for i in range(CLASSES)]
    boxes, found, names = module(labels, 0.7, 0.5)((HEIGHT, WIDTH), np.zeros((1, 3, HEIGHT, WIDTH)), [*scores, *sides])
    kept = [[*box, score, int(name)] for box, score, name in zip(boxes, found, names, strict=True)]
    raw = {f"t{i}": t for i, t in enumerate([*scores, *sides])}
    nms = {"score_threshold": 0.7, "iou_threshold": 0.5, "max_detections": 200}
    save("picodet", "rapid-layout 1.2.1", {"kind": "nanodet", "variant": "picodet"}, raw, {"kept": kept}, nms=nms, cut=True)


LIBRARIES: dict[str, Callable[[Path | None], None]] = {
    "ultralytics": ultralytics, "yolov5": yolov5, "yolov7": yolov7, "yolov6": yolov6, "yolox": yolox, "nanodet": nanodet,
    "picodet": picodet,
}  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("library", choices=LIBRARIES)
    parser.add_argument("source", type=Path, nargs="?")
    said = parser.parse_args()
    LIBRARIES[said.library](said.source)
