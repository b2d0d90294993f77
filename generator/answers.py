"""What a served ensemble answers, as typed results. Pure NumPy: no connection, no pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generator.errors import ClientError

#: Output names by which a kind of answer is recognised; `det_labels` and `class_labels` may be absent.
DETECTION_OUTPUTS = ("num_dets", "det_boxes", "det_scores", "det_classes")
CLASSIFICATION_OUTPUTS = ("class_scores", "class_ids")

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Detections:
    """The boxes found in one picture, in the order of the server (strongest first for our NMS)."""

    #: FP32 [n, 4]: x1, y1, x2, y2 in pixels of the picture as it is seen (EXIF orientation applied).
    boxes: NDArray[np.float32]
    #: FP32 [n], 0 to 1.
    scores: NDArray[np.float32]
    #: INT32 [n], class numbers of the training.
    classes: NDArray[np.int32]
    #: n names; the class number as text where the model serves no labels.
    labels: tuple[str, ...]
    #: What else the model says of each box, [n, ...] each; `keypoints` [n, points, 2 or more] in the picture's pixels.
    extras: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.scores)

    def to_dict(self) -> dict[str, Any]:
        """`{"detections": [{"label", "class", "score", "box": [x1, y1, x2, y2]}, ...]}` and the extras, plain JSON types."""
        rows = enumerate(zip(self.labels, self.classes, self.scores, self.boxes, strict=True))
        return {
            "detections": [
                {"label": label, "class": int(number), "score": _plain(score), "box": [_plain(v) for v in box]}
                | {name: values[i].tolist() for name, values in self.extras.items()}
                for i, (label, number, score, box) in rows
            ]
        }


@dataclass(frozen=True, eq=False)
class Classification:
    """The best classes of one picture, best first."""

    #: FP32 [k].
    scores: NDArray[np.float32]
    #: INT32 [k], class numbers of the training.
    classes: NDArray[np.int32]
    #: k names; the class number as text where the model serves no labels.
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.scores)

    def to_dict(self) -> dict[str, Any]:
        """`{"classes": [{"label", "class", "score"}, ...]}`, plain JSON types."""
        rows = zip(self.labels, self.classes, self.scores, strict=True)
        return {"classes": [{"label": label, "class": int(number), "score": _plain(score)} for label, number, score in rows]}


Answer = Detections | Classification


def kind(outputs: frozenset[str]) -> type[Detections] | type[Classification] | None:
    """Which result a model with these outputs gives; None for one that is neither."""
    if outputs.issuperset(DETECTION_OUTPUTS):
        return Detections
    if outputs.issuperset(CLASSIFICATION_OUTPUTS):
        return Classification
    return None


def answer(model: str, arrays: Arrays) -> Answer:
    """The result of one picture from its rows of the outputs (no batch axis).

    Raises ClientError when the model is neither a detector nor a classifier, or counts more boxes than it sent.
    """
    found = kind(frozenset(arrays))
    if found is Detections:
        return _detections(model, arrays)
    if found is Classification:
        classes = arrays["class_ids"]
        return Classification(arrays["class_scores"], classes, _labels(arrays.get("class_labels"), classes))
    raise ClientError(
        f"model {model!r} answers with {', '.join(sorted(arrays)) or 'nothing'}, neither detections nor classes",
        "use Client.raw(), which gives the arrays as they are",
    )


def _detections(model: str, arrays: Arrays) -> Detections:
    count, sent = int(arrays["num_dets"].reshape(-1)[0]), len(arrays["det_scores"])
    if not 0 <= count <= sent:
        raise ClientError(f"model {model!r} counts {count} boxes and sent {sent} rows", "build and verify the repository again")
    # the rows behind the first `count` only fill the fixed size
    boxes, scores, classes = (arrays[name][:count] for name in DETECTION_OUTPUTS[1:])
    labels = arrays.get("det_labels")
    known = {*DETECTION_OUTPUTS, "det_labels", *(name for name in arrays if not name.startswith("det_"))}
    extras = {name.removeprefix("det_"): values[:count] for name, values in arrays.items() if name not in known}
    return Detections(boxes, scores, classes, _labels(labels if labels is None else labels[:count], classes), extras)


def _labels(labels: NDArray[Any] | None, classes: NDArray[Any]) -> tuple[str, ...]:
    if labels is None:
        return tuple(str(int(number)) for number in classes)
    return tuple(text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in labels)


def _plain(value: np.floating[Any]) -> float:
    """A float as the shortest text of its own precision: 0.9 rather than 0.8999999761581421."""
    return float(str(value))
