"""Boxes on the model's canvas -> labelled boxes in the original picture. A Triton python-backend model; needs NumPy only.

Inputs `num_dets` INT32[batch, 1], `det_boxes` FP32[batch, K, 4] (x1, y1, x2, y2), `det_scores` FP32[batch, K],
`det_classes` INT32[batch, K], `geometry` FP32[batch, 6] (see image/model.py). Outputs the same without `geometry`,
boxes in the original's pixels and inside it, and `det_labels` BYTES[batch, K].
Rows from `num_dets` on are zero, their labels empty. Further inputs `det_NAME` [batch, K, ...] go through; `det_keypoints`
[batch, K, points, 2 or more] come back to the original's pixels, too. Other names are no rows of boxes and stay as they are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

_CONTRACT = ("num_dets", "det_boxes", "det_scores", "det_classes")
_POINTS = "det_keypoints"

Arrays = dict[str, np.ndarray[Any, Any]]


def read_labels(path: Path) -> np.ndarray[Any, Any]:
    """One class name a line, in class order."""
    return np.array(
        [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()], dtype=np.object_
    )


def original(tensors: Arrays, labels: np.ndarray[Any, Any]) -> Arrays:
    """The whole batch at once."""
    place, count = tensors["geometry"].astype(np.float32), tensors["num_dets"]
    valid = np.arange(tensors["det_scores"].shape[1])[None, :] < count
    scale, offset = place[:, None, [0, 1, 0, 1]], place[:, None, [2, 3, 2, 3]]
    size = place[:, None, [4, 5, 4, 5]]
    # chosen, not multiplied by 0: what a model leaves in the unused rows may be NaN
    boxes = np.where(valid[..., None], np.clip((tensors["det_boxes"] - offset) / scale, 0, size), 0)
    classes = np.where(valid, tensors["det_classes"], 0).astype(np.int32)
    more = {name: values for name, values in tensors.items() if name not in (*_CONTRACT, "geometry")}
    if _POINTS in more:
        more[_POINTS] = _points(more[_POINTS], place[:, None, None])
    return {
        **{name: _filled(values, valid) if name.startswith("det_") else values for name, values in more.items()},
        "num_dets": count,
        "det_boxes": boxes.astype(np.float32),
        "det_scores": np.where(valid, tensors["det_scores"], 0).astype(np.float32),
        "det_classes": classes,
        "det_labels": _labelled(classes, valid, labels),
    }


def _filled(values: np.ndarray[Any, Any], valid: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Zero in the rows that are not counted."""
    return np.where(valid.reshape(*valid.shape, *[1] * (values.ndim - 2)), values, 0)


def _points(points: np.ndarray[Any, Any], place: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """x and y moved, what is behind them left; a point may lie outside the picture."""
    moved = (points[..., :2] - place[..., 2:4]) / place[..., :2]
    return np.concatenate([moved, points[..., 2:]], -1).astype(np.float32)


def _labelled(classes: np.ndarray[Any, Any], valid: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    names = np.full(classes.shape, "", dtype=np.object_)
    for at in np.argwhere(valid):
        number = int(classes[tuple(at)])
        known = 0 <= number < len(labels)
        names[tuple(at)] = labels[number] if known else (f"class {number}" if len(labels) else str(number))
    return names


class TritonPythonModel:
    """One vectorised pass over all requests of an execution."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the labels that lie beside config.pbtxt."""
        config = json.loads(args["model_config"])
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]
        name = config.get("parameters", {}).get("labels", {}).get("string_value")
        self.labels = read_labels(Path(args["model_repository"]) / name) if name else np.array([], dtype=np.object_)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request, in order."""
        import triton_python_backend_utils as pb_utils

        rows = [
            {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs} for request in requests
        ]
        joined = original({name: np.concatenate([row[name] for row in rows]) for name in self.inputs}, self.labels)
        responses, start = [], 0
        for row in rows:
            end = start + len(row["num_dets"])
            tensors = [pb_utils.Tensor(name, joined[name][start:end]) for name in self.outputs]
            responses.append(pb_utils.InferenceResponse(tensors))
            start = end
        return responses
