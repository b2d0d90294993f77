"""detections: labelled boxes in the original picture."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from generator.errors import SpecError
from generator.postprocessing import Postprocess
from generator.preprocessing import GEOMETRY
from generator.tensors import Tensor

_CONTRACT = ("num_dets", "det_boxes", "det_scores", "det_classes")


class Detections(Postprocess):
    """Boxes in the original picture's pixels, scores, class ids and labels, with the number of detections."""

    kind: Literal["detections"] = "detections"
    template: ClassVar[str] = "detections"

    def inputs(self, model_outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The EfficientNMS contract and the picture's geometry."""
        if tuple(t.name for t in model_outputs)[:4] != _CONTRACT:
            found = ", ".join(map(str, model_outputs))
            raise SpecError(
                f"postprocess detections takes {', '.join(_CONTRACT)}; the model gives {found}", "add `nms:`, or change it"
            )
        return (*model_outputs, GEOMETRY)

    def outputs(self, model_outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The contract, `det_labels`, and what else follows the boxes."""
        return (*model_outputs, Tensor("det_labels", "BYTES", model_outputs[2].shape))

    def parameters(self) -> dict[str, str]:
        """The labels file beside config.pbtxt."""
        return {"labels": "labels.txt"} if self.named else {}

    def reference(self, outputs: dict[str, NDArray[np.generic]], geometry: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
        """Box by box: off the padding, divided by the scale, cut at the picture's edge."""
        names, answer = self.label_names(), {name: np.zeros_like(values) for name, values in outputs.items()}
        others = [name for name in outputs if name.startswith("det_") and name not in _CONTRACT]
        answer |= {name: values for name, values in outputs.items() if not name.startswith("det_") and name not in _CONTRACT}
        labels = np.full(outputs["det_scores"].shape, b"", dtype=np.object_)
        for b, (sx, sy, ox, oy, width, height) in enumerate(geometry.astype(np.float64)):
            for i in range(int(outputs["num_dets"][b, 0])):
                x1, y1, x2, y2 = outputs["det_boxes"][b, i].astype(np.float64)
                corners = [(x1 - ox) / sx, (y1 - oy) / sy, (x2 - ox) / sx, (y2 - oy) / sy]
                answer["det_boxes"][b, i] = [min(max(v, 0), top) for v, top in zip(corners, (width, height) * 2, strict=True)]
                answer["det_scores"][b, i], number = outputs["det_scores"][b, i], int(outputs["det_classes"][b, i])
                answer["det_classes"][b, i] = number
                for name in others:
                    answer[name][b, i] = outputs[name][b, i]
                if "det_keypoints" in outputs:
                    points = outputs["det_keypoints"][b, i][:, :2].astype(np.float64)
                    answer["det_keypoints"][b, i][:, :2] = [((x - ox) / sx, (y - oy) / sy) for x, y in points]
                labels[b, i] = (names[number] if number < len(names) else f"class {number}" if names else str(number)).encode()
        return {**answer, "num_dets": outputs["num_dets"], "det_labels": labels}
