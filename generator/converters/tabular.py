"""What models of tables have in common: where their trees split, and how their graphs end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

#: Names of what they give.
CLASSIFIER = ("label", "probabilities")
REGRESSOR = ("prediction",)


def spans(splits: Iterable[tuple[int, float]], features: int) -> list[list[float]]:
    """For each feature the values between which trees decide, and a quarter more. `splits`: (feature, value)."""
    found: list[list[float]] = [[] for _ in range(features)]
    for feature, value in splits:
        found[int(feature)].append(float(value))
    return [_span(values) if values else [0.0, 1.0] for values in found]


def _span(values: list[float]) -> list[float]:
    low, high = min(values), max(values)
    more = (high - low) / 4 or abs(high) / 4 or 1.0
    return [low - more, high + more]


def finish(model: Any, path: str, inputs: list[str], outputs: list[str]) -> None:
    """Write the graph with these names; one value a row is [batch, 1], whichever of both forms a converter chose."""
    import onnx
    from child import rename

    for output in [one for one in model.graph.output if len(one.type.tensor_type.shape.dim) < 2]:
        inner, shape = f"{output.name}/flat", f"{output.name}/column"
        for node in model.graph.node:
            node.output[:] = [inner if name == output.name else name for name in node.output]
        model.graph.initializer.append(onnx.numpy_helper.from_array(_column(), shape))
        model.graph.node.append(onnx.helper.make_node("Reshape", [inner, shape], [output.name], name=f"column/{output.name}"))
        dims = output.type.tensor_type.shape.dim
        del dims[:]
        dims.add(), dims.add(dim_value=1)
    if not any(not opset.domain for opset in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("", 17))
    rename(model, inputs, outputs)
    onnx.save(model, path)


def _column() -> Any:
    import numpy as np

    return np.array([-1, 1], np.int64)


def boosted(predicted: Any, classifies: bool) -> dict[str, Any]:
    """What a booster predicts, under the names of its graph's outputs.

    Of a classifier the likeliest class, INT64 [batch, 1], and each one's probability, FP32 [batch, classes]: `predicted` has
    those, or of two classes that of the second alone. Of others FP32 [batch, 1].
    """
    import numpy as np

    if not classifies:
        return {"prediction": predicted.reshape(-1, 1)}
    shares = np.stack([1 - predicted, predicted], axis=1) if predicted.ndim == 1 else predicted
    labels = np.argmax(shares, axis=1).astype(np.int64)
    return {"label": labels.reshape(-1, 1), "probabilities": np.asarray(shares, np.float32)}
