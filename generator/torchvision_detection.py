"""torchvision's detectors for a batch in one tensor: every candidate box with its scores, as many for each picture.

Their own `forward` takes a list of pictures, resizes them, loops over them and gives lists of different lengths. Here the
server's first step resizes and pads, the weights and torchvision's own anchors, box coders and RoIAlign do the work in the
middle, and `nms:` of the spec suppresses. The suppression of region proposals, inside Faster R-CNN, is one operator a level for
the whole batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

#: Boxes whose sides are shorter are none, as in torchvision's `RoIHeads.postprocess_detections`.
_SMALLEST = 1e-2
#: Scores of what is no candidate; probabilities are not below 0.
_NONE = -1.0


def detector(model: nn.Module, height: int, width: int) -> nn.Module:
    """The module that takes FP32 [batch, 3, height, width], normalised, and gives boxes and scores.

    Boxes are corners as fractions of the input, cut at its edge: [batch, boxes, 4], for R-CNNs [batch, boxes, classes, 4];
    scores are probabilities, [batch, boxes, classes]. Raises TypeError for a detector of another kind.
    """
    from torchvision.models.detection import fcos, retinanet, ssd

    if isinstance(model, ssd.SSD | retinanet.RetinaNet | fcos.FCOS):
        return OneStage(model, (height, width))
    if type(model).__name__ == "FasterRCNN":  # Mask R-CNN and Keypoint R-CNN are subclasses: their masks would be lost
        return TwoStage(model, (height, width))
    raise TypeError(type(model).__name__)


class OneStage(nn.Module):
    """SSD, RetinaNet and FCOS: a box for each anchor."""

    anchors: Tensor

    def __init__(self, model: Any, size: tuple[int, int]) -> None:
        super().__init__()
        self.model, self.size, self.softmax = model, size, type(model).__name__ == "SSD"
        self.register_buffer("anchors", _anchors(model.anchor_generator, _features(model, size), size))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes [batch, anchors, 4] and scores [batch, anchors, classes]."""
        found = self.model.head(list(self.model.backbone(image).values()))
        boxes = _decoded(self.model.box_coder, found["bbox_regression"], self.anchors)
        return _fractions(_inside(boxes, self.size), self.size), _probabilities(found, self.softmax)


class TwoStage(nn.Module):
    """Faster R-CNN: as many proposals for each picture, those that are none with scores of 0."""

    anchors: Tensor

    def __init__(self, model: Any, size: tuple[int, int]) -> None:
        from torchvision.ops import poolers

        super().__init__()
        features, pool = _features(model, size), model.roi_heads.box_roi_pool
        self.model, self.size = model, size
        self.register_buffer("anchors", _anchors(model.rpn.anchor_generator, features, size))
        self.levels = [name for name in features if name in pool.featmap_names]
        maps = [features[name] for name in self.levels]
        self.scales, self.mapper = poolers._setup_scales(maps, [size], pool.canonical_scale, pool.canonical_level)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes [batch, proposals, classes, 4] and scores [batch, proposals, classes]; class 0 is the background."""
        features, heads = self.model.backbone(image), self.model.roi_heads
        proposals, valid = self._proposals(list(features.values()))
        batch, count = proposals.shape[:2]
        pooled = self._pooled(features, proposals)
        logits, deltas = heads.box_predictor(heads.box_head(pooled))
        boxes = heads.box_coder.decode_single(deltas, proposals.flatten(0, 1))
        boxes = _inside(boxes.reshape(batch, count, -1, 4), self.size)
        large = ((boxes[..., 2:] - boxes[..., :2]) >= _SMALLEST).all(-1)
        scores = torch.softmax(logits, -1).reshape(batch, count, -1)
        return _fractions(boxes, self.size), scores * (large & valid[..., None])

    def _proposals(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """[batch, proposals, 4] in the order of their anchors, and which of them are some (RegionProposalNetwork's own steps)."""
        from torchvision.models.detection.rpn import concat_box_prediction_layers

        rpn = self.model.rpn
        objectness, deltas = rpn.head(features)
        batch = objectness[0].shape[0]
        counts = [int(level.shape[1] * level.shape[2] * level.shape[3]) for level in objectness]
        flat, codes = concat_box_prediction_layers(objectness, deltas)
        boxes = _inside(_decoded(rpn.box_coder, codes.reshape(batch, -1, 4), self.anchors), self.size)
        scores = torch.sigmoid(flat.reshape(batch, -1))
        levels = zip(torch.split(boxes, counts, 1), torch.split(scores, counts, 1), strict=True)
        kept = [self._suppressed(*level) for level in levels]
        boxes, scores = torch.cat([b for b, _ in kept], 1), torch.cat([s for _, s in kept], 1)
        boxes, scores = _best(boxes, scores, rpn.post_nms_top_n())
        return boxes, scores > _NONE / 2

    def _suppressed(self, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Of one level: the best before suppression; what it takes away scores `_NONE`."""
        rpn = self.model.rpn
        boxes, scores = _best(boxes, scores, rpn.pre_nms_top_n())
        large = ((boxes[..., 2:] - boxes[..., :2]) >= rpn.min_size).all(-1)
        scores = torch.where(large & (scores >= rpn.score_thresh), scores, _NONE)
        return boxes, torch.where(nms_mask(boxes, scores, rpn.nms_thresh), scores, _NONE)

    def _pooled(self, features: Mapping[str, Tensor], proposals: Tensor) -> Tensor:
        """Each proposal from its own level of the pyramid: [batch * proposals, channels, 7, 7]."""
        from torchvision.ops import roi_align

        pool = self.model.roi_heads.box_roi_pool
        batch, count = proposals.shape[:2]
        picture = torch.arange(batch, dtype=proposals.dtype).reshape(-1, 1, 1).expand(batch, count, 1)
        regions = torch.cat([picture, proposals], 2).flatten(0, 1)
        level, result = self.mapper([proposals.flatten(0, 1)]).reshape(-1, 1, 1, 1), torch.zeros(())
        for index, (name, scale) in enumerate(zip(self.levels, self.scales, strict=True)):
            found = roi_align(features[name], regions, pool.output_size, scale, pool.sampling_ratio)
            result = torch.where(level == index, found, result) if index else found
        return result


@torch.library.custom_op("triton_repo::nms_mask", mutates_args=())
def nms_mask(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Which of boxes [batch, n, 4] with scores [batch, n] are kept, BOOL [batch, n], by torchvision's `nms`; below 0 none is."""
    from torchvision.ops import nms

    kept = torch.zeros_like(scores, dtype=torch.bool)
    for picture in range(boxes.shape[0]):
        index = torch.nonzero(scores[picture] > _NONE / 2).squeeze(1)
        kept[picture, index[nms(boxes[picture, index], scores[picture, index], iou_threshold)]] = True
    return kept


@nms_mask.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:  # noqa: ARG001 -- only the shape counts
    return torch.empty_like(scores, dtype=torch.bool)


def translations() -> dict[Any, Any]:
    """`nms_mask` in ONNX: NonMaxSuppression for the whole batch, its triples scattered into a mask."""
    from onnxscript import opset18

    op: Any = opset18

    def translated(boxes: Any, scores: Any, iou_threshold: float) -> Any:
        kept = op.NonMaxSuppression(boxes, op.Unsqueeze(scores, [1]), [2**31], [iou_threshold], [_NONE / 2])
        places = op.Gather(kept, [0, 2], axis=1)
        ones = op.Expand([1.0], op.Shape(kept, start=0, end=1))
        mask = op.ScatterND(op.Expand([0.0], op.Shape(scores)), places, ones)
        return op.Greater(mask, [0.5])

    return {torch.ops.triton_repo.nms_mask.default: translated}


def _features(model: Any, size: tuple[int, int]) -> dict[str, Tensor]:
    """Maps of this size, to see their shapes."""
    with torch.no_grad():
        return dict(model.backbone(torch.zeros(1, 3, *size)))


def _anchors(generator: Any, features: Mapping[str, Tensor], size: tuple[int, int]) -> Tensor:
    """Of one picture, the same for all: [anchors, 4], corners."""
    from torchvision.models.detection.image_list import ImageList

    found: Tensor = generator(ImageList(torch.zeros(1, 3, *size), [size]), list(features.values()))[0]
    return found


def _decoded(coder: Any, codes: Tensor, anchors: Tensor) -> Tensor:
    """Codes [batch, anchors, 4] -> corners, by torchvision's own coder."""
    if not hasattr(coder, "decode_single"):  # FCOS: distances
        return torch.as_tensor(coder.decode(codes, anchors))
    flat = anchors.expand(codes.shape[0], -1, -1).reshape(-1, 4)
    return torch.as_tensor(coder.decode_single(codes.reshape(-1, 4), flat)).reshape(codes.shape)


def _probabilities(found: Mapping[str, Tensor], softmax: bool) -> Tensor:
    """As each family's `postprocess_detections` makes them."""
    logits = found["cls_logits"]
    if "bbox_ctrness" in found:
        # sqrt(sigmoid(a) * sigmoid(b)) by logarithms: ONNX Runtime's Sigmoid is off by 1e-7 near 0, of which the root makes 3e-4
        unlikely = nn.functional.softplus(-logits) + nn.functional.softplus(-found["bbox_ctrness"])
        return torch.exp(-unlikely / 2)
    return torch.softmax(logits, -1) if softmax else torch.sigmoid(logits)


def _inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    from torchvision.ops import clip_boxes_to_image

    return torch.as_tensor(clip_boxes_to_image(boxes, size))


def _fractions(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """As fractions of the input, as precise as scores are: one bound fits both where they are compared."""
    return boxes / torch.tensor([size[1], size[0], size[1], size[0]], dtype=boxes.dtype)


def _best(boxes: Tensor, scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` with the highest scores, in their old order: equal scores then change nothing but which of them stay."""
    if scores.shape[1] <= count:
        return boxes, scores
    index = scores.topk(count, dim=1, sorted=False).indices.sort(dim=1).values
    return boxes.gather(1, index[..., None].expand(-1, -1, 4)), scores.gather(1, index)
