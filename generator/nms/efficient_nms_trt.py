"""efficient_nms_trt: TensorRT's own NMS plugin."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from generator import selection
from generator.detection import Candidates, Decoded
from generator.errors import SurgeryError
from generator.plugin_nodes import DOMAIN
from generator.selection import INT32, LOWEST
from generator.suppression import Suppressing

if TYPE_CHECKING:
    from generator.builder import Builder

#: Pairs of a picture that the plugin looks at (README, "Process Description").
MOST = 4096
#: A logit whose probability is 0 in float32.
_NO_LOGIT = -1e4
#: Below this score threshold the plugin lets pass what is not a number.
_DENSE = 0.007


class EfficientNms(Suppressing):
    """TensorRT's EfficientNMS_TRT plugin: for TensorRT engines only; it looks at the 4096 highest scores of a picture.

    Its order of equal scores is not documented. It gives no indices, so that extras are found again by their boxes.
    """

    kind: Literal["efficient_nms_trt"] = "efficient_nms_trt"
    plugin: ClassVar[str] = "EfficientNMS_TRT"

    fused_decoder: Annotated[
        bool,
        Field(description="Hand the plugin anchors and deltas, of which it decodes only the best; for heads that have them."),
    ] = False

    def check(self, candidates: Candidates) -> None:
        """Its IoU threshold is an attribute, and extras need one box for all classes."""
        super().check(candidates)
        if "iou_threshold" in self.runtime:
            raise SurgeryError(
                "efficient_nms_trt: the plugin's iou_threshold is an attribute, not an input",
                "take iou_threshold out of `runtime`, or use nms kind onnx",
            )
        if self.pre_nms_top_k and self.pre_nms_top_k > MOST:
            raise SurgeryError(
                f"efficient_nms_trt: pre_nms_top_k is {self.pre_nms_top_k}, the plugin looks at {MOST} pairs",
                f"say at most {MOST}",
            )
        if candidates.extras and (candidates.per_class or self.fused_decoder):
            raise SurgeryError(
                "efficient_nms_trt: extras are found again by their boxes, which here are not the plugin's input",
                "use nms kind onnx",
            )

    def append(self, build: Builder, decoded: Decoded, candidates: Candidates) -> None:
        """The plugin node, and behind it the contract: the plugin counts rows at the threshold, and below 0.007 under it, too."""
        self.check(candidates)
        boxes, anchors, coding = self._boxes(build, decoded, candidates)
        limit, scores = self._scores(build, decoded, candidates)
        overlap = np.nextafter(np.float32(self.iou_threshold), np.float32(2))  # to the plugin, equal is above
        _, found, top, label = build.many(
            "EfficientNMS_TRT", boxes, scores, *anchors, outputs=4, domain=DOMAIN, plugin_version="1",
            background_class=-1 if candidates.background is None else candidates.background, box_coding=int(coding == "centre"),
            class_agnostic=int(self.class_agnostic), iou_threshold=float(overlap),
            max_output_boxes=self.max_detections, score_activation=int(decoded.activation == "sigmoid"), score_threshold=limit,
        )  # fmt: skip
        outputs = self.outputs(candidates)
        own = "score_threshold" in self.runtime
        valid = build("Greater", top, "score_threshold" if own else np.float32(self.score_threshold))
        index = _index(build, found, boxes) if candidates.extras else ""
        build.output(build("ReduceSum", build("Cast", valid, to=INT32), np.array([1]), keepdims=1), outputs[0])
        build.output(selection.where(build, valid, found, 1), outputs[1])
        build.output(build("Where", valid, top, 0.0), outputs[2])
        build.output(build("Where", valid, label, np.array(0, np.int32)), outputs[3])
        for extra, tensor in zip(candidates.extras, outputs[4:], strict=True):
            values = selection.rows(build, decoded.extras[extra.name], index)
            build.output(selection.where(build, valid, values, len(extra.shape)), tensor)

    def _boxes(self, build: Builder, decoded: Decoded, candidates: Candidates) -> tuple[str, list[Any], str]:
        if self.fused_decoder:
            if decoded.deltas is None:
                raise SurgeryError(
                    "efficient_nms_trt: fused_decoder needs a head of anchors without variances", "leave fused_decoder out"
                )
            return decoded.deltas[0], [decoded.deltas[1]], "centre"
        if candidates.extras and decoded.coding == "centre":
            return selection.as_corners(build, decoded.boxes), [], "corners"
        return decoded.boxes, [], decoded.coding

    def _scores(self, build: Builder, decoded: Decoded, candidates: Candidates) -> tuple[float, str]:
        """The threshold attribute and scores [batch, boxes, classes]; what the plugin cannot do itself is masked beforehand."""
        own = "score_threshold" in self.runtime
        if not (own or self.pre_nms_top_k or self.best_only or self.score_threshold < _DENSE):
            return self.score_threshold, selection.by_box(build, selection.everything(decoded, candidates)).scores
        found = selection.by_class(build, selection.everything(decoded, candidates))
        limit = selection.threshold(build, self, decoded.activation)
        scores = selection.only(build, build("Greater", found.scores, limit), found.scores)
        if candidates.background is not None:
            others = np.arange(candidates.classes).reshape(1, -1, 1) != candidates.background
            scores = selection.only(build, build("And", others, build("Greater", scores, LOWEST)), scores)
        if self.best_only and candidates.classes > 1:
            scores = selection.best_class(build, scores, candidates.classes)
        if self.pre_nms_top_k:
            scores = selection.strongest(build, scores, self.pre_nms_top_k)
        nothing = np.float32(_NO_LOGIT if decoded.activation == "sigmoid" else 0)
        masked = replace(found, scores=build("Max", scores, nothing))
        return (0.0 if own else self.score_threshold), selection.by_box(build, masked).scores


def _index(build: Builder, found: str, boxes: str) -> str:
    """[batch, K]: the first candidate whose four corners are those that were found, which the plugin copies."""
    same = build("Equal", build("Unsqueeze", found, np.array([2])), build("Unsqueeze", boxes, np.array([1])))
    return build("ArgMax", build("ReduceMin", build("Cast", same, to=INT32), np.array([3]), keepdims=0), axis=2, keepdims=0)
