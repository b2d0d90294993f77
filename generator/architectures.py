"""Which known architecture named tensors belong to: by a table of torchvision's and timm's, else by patterns."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

#: Made by scripts/architecture_table.py: fingerprint -> names, such as ["torchvision:resnet50", "timm:resnet50"].
TABLE = Path(__file__).with_name("architectures.json")

#: The last layer of classifiers, whose width is the number of classes.
_CLASSIFIER = re.compile(
    r"((head_?dist|heads?|fc|classifier|last_linear|logits|output|aux\d|AuxLogits)"
    r"(\.(fc|fc2|l|head|head_dist|classifier|mlp|\d|fc\.fc2|classifier_fc|m|low_classifier|high_classifier))?)\.(weight|bias|l\.weight|l\.bias)"
)
#: The layers of torchvision's detectors and segmenters whose width follows from the number of classes.
_BY_CLASSES = re.compile(
    r"(roi_heads\.(box_predictor\.(cls_score|bbox_pred)|mask_predictor\.mask_fcn_logits)|aux_classifier\.4"
    r"|head\.classification_head\.(cls_logits|module_list\.\d+(\.1)?))\.(weight|bias)"
)
_SCORES = re.compile(
    r"roi_heads\.box_predictor\.cls_score\.weight|head\.classification_head\.(cls_logits|module_list\.0(\.1)?)\.weight"
)
_BOXES = re.compile(r"head\.regression_head\.(bbox_reg|module_list\.0(\.1)?)\.weight")
#: Written by newer versions of torch only, or made anew when the module is made.
_PASSING = re.compile(r"(.*\.)?(num_batches_tracked|relative_position_index|position_ids|attn_mask|relative_coords_table)")

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Guess:
    """What tensors look like. `sure`: every name and shape but the last layer's agrees with one library's model."""

    name: str
    library: str = ""
    sure: bool = False
    classes: int = 0
    #: Other models with the same tensors.
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        known = f"{self.library}'s {self.name}" if self.library else self.name
        also = f" (the same tensors: {', '.join(self.others)})" if self.others else ""
        return f"{known}{f', {self.classes} classes' if self.classes else ''}{also}"


def fingerprint(shapes: Shapes) -> str:
    """A short digest of names and shapes, without the last layer of a classifier and what only some versions write."""
    lines = sorted(
        f"{name}:{list(shape)}"
        for name, shape in shapes.items()
        if not any(pattern.fullmatch(name) for pattern in (_CLASSIFIER, _PASSING, _BY_CLASSES))
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def classes(shapes: Shapes) -> int:
    """Rows of the last layer of a classifier (`classifier.6` comes after `classifier.3`); 0 where several differ."""
    scores = next((shape for name, shape in shapes.items() if _SCORES.fullmatch(name) and shape), None)
    if scores:  # of a detector: as many for each anchor as there are classes, four numbers for its box
        boxes = next((shape for name, shape in shapes.items() if _BOXES.fullmatch(name) and shape), (4,))
        return scores[0] // max(boxes[0] // 4, 1)
    found = {name: shape[0] for name, shape in shapes.items() if _CLASSIFIER.fullmatch(name) and len(shape) in (1, 2, 4)}
    last = max((_number(name) for name in found), default=-1)
    rows = {count for name, count in found.items() if _number(name) == last}
    return rows.pop() if len(rows) == 1 else 0


def _number(name: str) -> int:
    return max((int(part) for part in name.split(".") if part.isdigit()), default=0)


@functools.cache
def _table() -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads(TABLE.read_text(encoding="utf-8"))
    return found


def guess(shapes: Shapes) -> list[Guess]:
    """What it is: from the table where names and shapes agree, else every pattern that fits; nothing where none does."""
    known = _table().get(fingerprint(shapes), [])
    if known:
        library, _, name = known[0].partition(":")
        return [Guess(name, library, sure=True, classes=classes(shapes), others=tuple(known[1:4]))]
    return [Guess(text, classes=classes(shapes)) for text in _by_pattern(shapes)]


def _by_pattern(shapes: Shapes) -> list[str]:
    return [_filled(text, shapes) for text, patterns in _PATTERNS if all(_has(pattern, shapes) for pattern in patterns)][:3]


def _has(pattern: str, shapes: Shapes) -> bool:
    return any(re.search(pattern, name) for name in shapes)


def _filled(text: str, shapes: Shapes) -> str:
    """`{layers:pattern}` becomes how many different numbers the pattern's group has, `{width:pattern}` a tensor's last extent."""

    def value(match: re.Match[str]) -> str:
        what, pattern = match[1], match[2]
        if what == "layers":
            return str(len({found[1] for name in shapes if (found := re.search(pattern, name))}))
        return str(next((shape[-1] for name, shape in shapes.items() if shape and re.search(pattern, name)), "?"))

    return re.sub(r"\{(layers|width):((?:[^{}])*)\}", value, text)


#: What to call it, and patterns that each must be found in some name; the more special first.
_PATTERNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("YOLOv10, or another end-to-end YOLO of ultralytics", (r"model\.\d+\.one2one_cv3\.",)),
    ("YOLOv8 to YOLO11 of ultralytics", (r"model\.\d+\.cv3\.\d+\.\d+", r"model\.\d+\.dfl\.conv\.weight")),
    ("RT-DETR of ultralytics", (r"model\.\d+\.dec_score_head\.",)),
    ("YOLOv5 or YOLOv7", (r"model\.\d+\.m\.\d+\.weight$", r"model\.\d+\.(anchors|cv1\.conv\.weight)$")),
    ("YOLOX", (r"head\.cls_preds\.\d+\.", r"head\.obj_preds\.\d+\.")),
    ("NanoDet", (r"head\.gfl_cls\.\d+\.", r"fpn\.")),
    ("RTMDet of mmdetection", (r"bbox_head\.rtm_cls\.\d+\.",)),
    ("RT-DETR of transformers", (r"model\.decoder\.class_embed\.\d+\.", r"enc_score_head\.")),
    ("Deformable DETR or DINO", (r"transformer\.decoder\..*sampling_offsets", r"class_embed\.\d+\.")),
    ("DETR", (r"(^|\.)(class_embed|class_labels_classifier)\.weight", r"(query_embed|query_position_embeddings)\.weight")),
    ("Mask R-CNN of torchvision", (r"roi_heads\.mask_predictor\.", r"rpn\.head\.")),
    ("Keypoint R-CNN of torchvision", (r"roi_heads\.keypoint_predictor\.", r"rpn\.head\.")),
    ("Faster R-CNN of torchvision", (r"roi_heads\.box_predictor\.cls_score\.", r"rpn\.head\.")),
    ("FCOS of torchvision", (r"head\.classification_head\.cls_logits\.", r"head\.regression_head\.bbox_ctrness\.")),
    ("RetinaNet of torchvision", (r"head\.classification_head\.cls_logits\.", r"head\.regression_head\.bbox_reg\.")),
    ("SSD of torchvision", (r"head\.classification_head\.module_list\.\d+\.", r"head\.regression_head\.module_list\.\d+\.")),
    ("CenterNet", (r"(^|\.)hm\.\d+\.", r"(^|\.)wh\.\d+\.", r"(^|\.)reg\.\d+\.")),
    ("EfficientDet", (r"class_net\.predict\.", r"box_net\.predict\.")),
    ("DeepLabV3 of torchvision", (r"classifier\.0\.convs\.\d+\.", r"backbone\.")),
    ("FCN of torchvision", (r"classifier\.4\.weight", r"backbone\.layer4\.")),
    ("SegFormer of transformers", (r"segformer\.encoder\.", r"decode_head\.")),
    ("a U-Net of segmentation_models_pytorch", (r"encoder\.", r"decoder\.blocks\.\d+\.", r"segmentation_head\.")),
    ("a U-Net", (r"(^|\.)(inc|down1|downs?\.0)\.", r"(^|\.)(up1|ups?\.0)\.")),
    (
        "BERT-like, {layers:encoder\\.layer\\.(\\d+)\\.} layers of width {width:layer\\.0\\.attention\\.self\\.query\\.weight}",
        (r"encoder\.layer\.\d+\.attention\.self\.query\.", r"embeddings\.word_embeddings\."),
    ),
    ("DistilBERT, {layers:transformer\\.layer\\.(\\d+)\\.} layers", (r"transformer\.layer\.\d+\.attention\.q_lin\.",)),
    ("GPT-2, {layers:h\\.(\\d+)\\.attn} layers of width {width:wte\\.weight}", (r"h\.\d+\.attn\.c_attn\.", r"wte\.weight")),
    ("a LLaMA-like language model, {layers:layers\\.(\\d+)\\.} layers", (r"layers\.\d+\.self_attn\.q_proj\.", r"embed_tokens\.")),
    ("T5", (r"encoder\.block\.\d+\.layer\.0\.SelfAttention\.",)),
    ("Whisper", (r"encoder\.conv1\.weight", r"decoder\.layers\.\d+\.encoder_attn\.")),
    ("CLIP", (r"(text_model|transformer)\.", r"(vision_model|visual)\.", r"logit_scale")),
    ("wav2vec 2.0 or HuBERT", (r"feature_extractor\.conv_layers\.\d+\.", r"encoder\.layers\.\d+\.attention\.")),
    (
        "a vision transformer of transformers, {layers:encoder\\.layer\\.(\\d+)\\.} layers",
        (r"embeddings\.patch_embeddings\.", r"encoder\.layer\.\d+\."),
    ),
    ("a Swin transformer", (r"layers\.\d+\.blocks\.\d+\.attn\.relative_position_bias_table",)),
    (
        "a vision transformer of timm, {layers:blocks\\.(\\d+)\\.attn} blocks of width {width:blocks\\.0\\.attn\\.proj\\.weight}",
        (r"patch_embed\.proj\.", r"blocks\.\d+\.attn\.(qkv|q)\."),
    ),
    ("a vision transformer of torchvision", (r"conv_proj\.", r"encoder\.layers\.encoder_layer_\d+\.")),
    ("a ConvNeXt", (r"stages\.\d+\.blocks\.\d+\.(conv_dw|dwconv)\.",)),
    ("an EfficientNet of lukemelas' package", (r"_conv_stem\.", r"_blocks\.\d+\._depthwise_conv\.")),
    ("an EfficientNet or MobileNetV3 of timm", (r"conv_stem\.", r"blocks\.\d+\.\d+\.conv_(pw|dw|pwl)\.")),
    ("an EfficientNet of torchvision", (r"features\.\d+\.\d+\.block\.\d+\.fc1\.", r"features\.0\.0\.")),
    ("a MobileNetV2 of torchvision", (r"features\.\d+\.conv\.\d+\.", r"features\.0\.0\.")),
    ("a MobileNetV3 of torchvision", (r"features\.\d+\.block\.\d+\.", r"features\.0\.0\.")),
    ("a DenseNet", (r"features\.denseblock\d+\.denselayer\d+\.",)),
    ("an Inception v3", (r"Mixed_5b\.",)),
    ("a RegNet of torchvision", (r"trunk_output\.block\d+\.",)),
    ("a ResNet with bottlenecks, {layers:layer3\\.(\\d+)\\.} blocks in its third stage", (r"layer4\.\d+\.conv3\.",)),
    ("a ResNet, {layers:layer3\\.(\\d+)\\.} blocks in its third stage", (r"layer1\.0\.conv1\.", r"layer4\.\d+\.conv2\.")),
    ("a VGG or AlexNet of torchvision", (r"^features\.0\.weight", r"^classifier\.\d+\.weight")),
    ("an LSTM or GRU", (r"weight_ih_l0", r"weight_hh_l0")),
    ("a transformer encoder of torch.nn", (r"layers\.\d+\.self_attn\.in_proj_weight",)),
)
