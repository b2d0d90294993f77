"""Detector heads told by the names of weights: which head decodes the raw outputs, and how many classes it has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HeadGuess:
    """`kind` is the head's in the spec; `classes` 0 where the shapes do not say; `model` is who has such weights."""

    kind: str
    model: str
    classes: int
    #: The tensor that told it.
    tensor: str

    def __str__(self) -> str:
        counted = f", {self.classes} classes" if self.classes else ""
        return f"{self.kind} ({self.model}{counted}), by {self.tensor}"


@dataclass(frozen=True, slots=True)
class _Sign:
    kind: str
    model: str
    #: The weight (or bias) of the layer that gives the class scores.
    pattern: str
    #: Its shape -> classes.
    classes: Callable[[Shape], int]
    #: Another name that must be there.
    beside: str = ""


def _rows(shape: Shape) -> int:
    return shape[0]


def _less(count: int) -> Callable[[Shape], int]:
    return lambda shape: shape[0] - count


def _three_anchors(shape: Shape) -> int:
    return shape[0] // 3 - 5 if shape[0] % 3 == 0 else 0


def _unknown(_: Shape) -> int:
    return 0


_SIGNS = (
    _Sign("yolov10", "YOLOv10 or YOLO26 of ultralytics", r"model\.\d+\.one2one_cv3\.0\.2\.weight$", _rows),
    _Sign("detr", "RT-DETR of ultralytics, sigmoid", r"model\.\d+\.dec_score_head\.\d+\.weight$", _rows),
    _Sign("yolov8", "YOLOv8 to YOLO12 of ultralytics", r"model\.\d+\.cv3\.0\.2\.weight$", _rows),
    _Sign(
        "yolov5", "YOLOv5 or YOLOv7, three anchors", r"model\.\d+\.m\.0\.weight$", _three_anchors, r"model\.\d+\.m\.2\.weight$"
    ),
    _Sign("yolox", "YOLOX", r"(^|\.)cls_preds\.0\.weight$", _rows, r"obj_preds\.0\."),
    _Sign("nanodet", "NanoDet", r"head\.gfl_cls\.0\.weight$", _unknown),
    _Sign("nanodet", "PicoDet", r"head\.head_cls0\.weight$", _unknown),
    _Sign("yolov8", "RTMDet, distances of one number", r"bbox_head\.rtm_cls\.0\.weight$", _rows),
    _Sign("detr", "RT-DETR or Deformable DETR, sigmoid", r"decoder\.class_embed\.0\.weight$", _rows),
    _Sign("detr", "Deformable DETR or DINO, sigmoid", r"(^|\.)class_embed\.0\.weight$", _rows),
    _Sign("detr", "DETR or YOLOS, softmax with `no object` last", r"class_labels_classifier(\.layers\.2)?\.weight$", _rows),
    _Sign("detr", "DETR, softmax with `no object` last", r"(^|\.)class_embed\.weight$", _rows, r"(bbox_embed|query_embed)\."),
    _Sign("fcos", "FCOS of torchvision", r"head\.classification_head\.cls_logits\.weight$", _rows, r"bbox_ctrness\."),
    _Sign("retinanet", "RetinaNet of torchvision", r"head\.classification_head\.cls_logits\.weight$", _unknown, r"bbox_reg\."),
    _Sign("ssd", "SSD of torchvision", r"head\.classification_head\.module_list\.0(\.1)?\.weight$", _unknown),
    _Sign("retinanet", "EfficientDet", r"class_net\.predict\.", _unknown, r"box_net\.predict\."),
    _Sign("centernet", "CenterNet", r"(^|\.)hm\.\d+\.weight$", _unknown, r"(^|\.)wh\.\d+\."),
)
#: torchvision's two-stage detectors choose their boxes themselves; no head is put behind them.
_WHOLE = r"roi_heads\.box_predictor\.cls_score\.weight$"


def guess(shapes: Mapping[str, Shape]) -> HeadGuess | None:
    """The first sign whose tensors are there; None for what is no detector that is known."""
    for sign in _SIGNS:
        told = next((name for name in shapes if re.search(sign.pattern, name)), None)
        if told and shapes[told] and (not sign.beside or any(re.search(sign.beside, name) for name in shapes)):
            return HeadGuess(sign.kind, sign.model, max(sign.classes(shapes[told]), 0), told)
    return None


def chooses_itself(shapes: Mapping[str, Shape]) -> bool:
    """Is it a two-stage detector, whose own last step is an NMS?"""
    return any(re.search(_WHOLE, name) for name in shapes)
