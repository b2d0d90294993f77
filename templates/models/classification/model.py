"""Logits -> the likeliest classes with their names. A Triton python-backend model; needs NumPy only.

Input: the config's only one, FP32[batch, C]. Outputs `class_scores` FP32[batch, k], `class_ids` INT32[batch, k] and
`class_labels` BYTES[batch, k], best first; of equal logits the lower class first.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

_OUTPUTS = ("class_scores", "class_ids", "class_labels")


def read_labels(path: Path) -> np.ndarray[Any, Any]:
    """One class name a line, in class order."""
    return np.array(
        [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()], dtype=np.object_
    )


def activate(logits: np.ndarray[Any, Any], activation: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """softmax over the last axis, sigmoid, or none; computed in double precision."""
    values = logits.astype(np.float64)
    if activation == "softmax":
        exponent = np.exp(values - values.max(axis=-1, keepdims=True))
        values = exponent / exponent.sum(axis=-1, keepdims=True)
    elif activation == "sigmoid":
        values = 0.5 * (1 + np.tanh(values / 2))
    return values.astype(np.float32)


def best(
    logits: np.ndarray[Any, Any], activation: str, top_k: int, labels: np.ndarray[Any, Any]
) -> dict[str, np.ndarray[Any, Any]]:
    """The `top_k` best of each row, ranked by logit: scores of a sure model round to the same 0 or 1."""
    scores = activate(logits, activation)
    ids = np.argsort(-logits, axis=-1, kind="stable")[:, :top_k].astype(np.int32)
    names = labels[ids] if len(labels) else ids.astype(str).astype(np.object_)
    return {"class_scores": np.take_along_axis(scores, ids, axis=-1), "class_ids": ids, "class_labels": names}


class TritonPythonModel:
    """One vectorised pass over all requests of an execution."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read parameters, and the labels that lie beside config.pbtxt."""
        config = json.loads(args["model_config"])
        given = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        self.input = config["input"][0]["name"]
        self.top_k, self.activation = int(given["top_k"]), given["activation"]
        name = given.get("labels")
        self.labels = read_labels(Path(args["model_repository"]) / name) if name else np.array([], dtype=np.object_)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request, in order."""
        import triton_python_backend_utils as pb_utils

        rows = [pb_utils.get_input_tensor_by_name(request, self.input).as_numpy() for request in requests]
        joined = best(np.concatenate(rows), self.activation, self.top_k, self.labels)
        responses, start = [], 0
        for row in rows:
            end = start + len(row)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor(name, joined[name][start:end]) for name in _OUTPUTS]))
            start = end
        return responses
