"""The onnx strategy against torchvision's own `batched_nms`, where torchvision can be imported.

torchvision is no dependency. To run this: an environment with torch, torchvision, onnxruntime and this project
(`/work/shared/tools/torchvision_cpu_stub.sh` where only wheels with CUDA are to be had).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nms_graphs import Case, run

from generator.detection import Candidates
from generator.nms.onnx import OnnxNms

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")


@pytest.mark.parametrize("seed", range(40))
def test_the_same_boxes_as_batched_nms(seed: int) -> None:
    import torch

    random = np.random.default_rng(seed)
    n, classes, iou = 200, 6, float(random.choice([0.3, 0.5, 0.7]))
    low, size = random.uniform(0, 300, (1, n, 2)), random.uniform(1, 120, (1, n, 2))
    boxes, scores = np.concatenate([low, low + size], -1).astype(np.float32), random.random((1, n, classes)).astype(np.float32)
    nms = OnnxNms(max_detections=n * classes, iou_threshold=iou, score_threshold=0.3)
    found: dict[str, Any] = run(nms, Case(Candidates(n, classes), boxes, scores))
    box, label = np.nonzero(scores[0] > np.float32(0.3))
    values = torch.from_numpy(scores[0, box, label])
    kept = torchvision.ops.batched_nms(torch.from_numpy(boxes[0, box]), values, torch.from_numpy(label), iou).numpy()
    count = int(found["num_dets"][0, 0])
    assert count == len(kept)
    np.testing.assert_array_equal(found["det_scores"][0, :count], scores[0, box, label][kept])
    np.testing.assert_array_equal(found["det_classes"][0, :count], label[kept])
    np.testing.assert_array_equal(found["det_boxes"][0, :count], boxes[0, box[kept]])
