"""Non-maximum suppression. One file a strategy, all with the four outputs of the EfficientNMS contract.

`num_dets [batch, 1] INT32`, `det_boxes [batch, K, 4] FP32` (x1, y1, x2, y2 in input pixels), `det_scores [batch, K] FP32`,
`det_classes [batch, K] INT32`; rows from `num_dets` on are zero (TensorRT plugin/efficientNMSPlugin/README.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from numpy.typing import NDArray
from pydantic import Field

from generator.plugin import Plugin
from generator.tensors import Tensor

if TYPE_CHECKING:
    import numpy as np

    from generator.builder import Builder


class Nms(Plugin):
    """What every strategy takes: thresholds, and K, the most boxes a picture keeps."""

    score_threshold: Annotated[float, Field(ge=0, le=1, description="Boxes at or below this score are dropped.")] = 0.25
    iou_threshold: Annotated[
        float, Field(ge=0, le=1, description="Of two boxes of one class that overlap by more, the weaker goes.")
    ] = 0.45
    max_detections: Annotated[int, Field(ge=1, description="K: rows in the fixed-size outputs.")] = 100

    def outputs(self) -> tuple[Tensor, ...]:
        """The contract's four tensors."""
        k = self.max_detections
        return (
            Tensor("num_dets", "INT32", (1,)),
            Tensor("det_boxes", "FP32", (k, 4)),
            Tensor("det_scores", "FP32", (k,)),
            Tensor("det_classes", "INT32", (k,)),
        )

    def append(self, build: Builder, boxes: str, scores: str, candidates: tuple[int, int]) -> None:
        """Add the strategy to the graph and make its four outputs the graph's."""
        raise NotImplementedError

    def reference(self, boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
        """The same in plain NumPy, from boxes [batch, N, 4] and scores [batch, N, C]."""
        raise NotImplementedError
