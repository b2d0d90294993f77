"""classification: the likeliest classes with their names."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generator.errors import SpecError
from generator.postprocessing import Postprocess
from generator.tensors import Tensor


class Classification(Postprocess):
    """The top-k classes of one logits tensor: scores, class ids and labels, best first."""

    kind: Literal["classification"] = "classification"
    template: ClassVar[str] = "classification"
    top_k: Annotated[int, Field(ge=1, description="How many classes are answered.")] = 5
    activation: Annotated[Literal["softmax", "sigmoid", "none"], Field(description="How logits become scores.")] = "softmax"

    def inputs(self, model_outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The model's only output, FP32[batch, classes]."""
        found = ", ".join(map(str, model_outputs))
        if (
            len(model_outputs) != 1
            or model_outputs[0].dtype != "FP32"
            or len(model_outputs[0].shape) != 1
            or model_outputs[0].shape[0] < 1
        ):
            raise SpecError(
                f"postprocess classification takes one FP32[batch, classes]; the model gives {found}", "change postprocess"
            )
        classes, names = model_outputs[0].shape[0], self.label_names()
        if names and len(names) != classes:
            raise SpecError(
                f"{self.names_from} has {len(names)} labels, the model has {classes} classes", "use the list of its training"
            )
        if self.top_k > classes:
            raise SpecError(f"top_k is {self.top_k}, the model has {classes} classes", f"say at most {classes}")
        return model_outputs

    def outputs(self, model_outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """`class_scores`, `class_ids`, `class_labels`."""
        k = (self.top_k,)
        return Tensor("class_scores", "FP32", k), Tensor("class_ids", "INT32", k), Tensor("class_labels", "BYTES", k)

    def parameters(self) -> dict[str, str]:
        """top_k, activation, and the labels file beside config.pbtxt."""
        said = {"top_k": str(self.top_k), "activation": self.activation}
        return {**said, "labels": "labels.txt"} if self.named else said

    def reference(self, outputs: dict[str, NDArray[np.generic]], geometry: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
        """Row by row, class by class, ranked by logit; of equal logits the lower class first."""
        (logits,), names = outputs.values(), self.label_names()
        rows = []
        for row in logits.astype(np.float64):
            scores = row
            if self.activation == "softmax":
                scores = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
            elif self.activation == "sigmoid":
                scores = np.exp(-np.logaddexp(0, -row))
            ranked = sorted(range(len(row)), key=lambda number: (-row[number], number))
            rows.append([(scores[number], number) for number in ranked[: self.top_k]])
        return {
            "class_scores": np.array([[s for s, _ in row] for row in rows], np.float32),
            "class_ids": np.array([[n for _, n in row] for row in rows], np.int32),
            "class_labels": np.array([[(names[n] if names else str(n)).encode() for _, n in row] for row in rows], np.object_),
        }
