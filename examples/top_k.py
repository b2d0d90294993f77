"""A step behind a classifier, written by hand: logits to the likeliest classes. The factory of examples/top_k.yaml.

The same graph three ways: onnx.helper, onnx-graphsurgeon, onnxscript; `reference` says in NumPy what it has to answer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper
from onnxscript import FLOAT, INT64, opset18, script


def with_helper(classes: int = 1000, k: int = 5) -> ModelProto:
    """logits FP32 [batch, classes] -> scores FP32 [batch, k], the highest first, and labels INT64 [batch, k]."""
    nodes = [
        helper.make_node("Softmax", ["logits"], ["probabilities"], name="softmax", axis=1),
        helper.make_node("TopK", ["probabilities", "k"], ["scores", "labels"], name="top_k", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "top_k",
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", k]),
            helper.make_tensor_value_info("labels", TensorProto.INT64, ["batch", k]),
        ],
        initializer=[helper.make_tensor("k", TensorProto.INT64, [1], [k])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def with_graphsurgeon(classes: int = 1000, k: int = 5) -> gs.Graph:
    """The same."""
    logits = gs.Variable("logits", np.float32, ["batch", classes])
    probabilities = gs.Variable("probabilities", np.float32)
    scores, labels = gs.Variable("scores", np.float32, ["batch", k]), gs.Variable("labels", np.int64, ["batch", k])
    nodes = [
        gs.Node("Softmax", "softmax", {"axis": 1}, [logits], [probabilities]),
        gs.Node("TopK", "top_k", {"axis": 1}, [probabilities, gs.Constant("k", np.array([k]))], [scores, labels]),
    ]
    return gs.Graph(nodes, [logits], [scores, labels], name="top_k", opset=18)


#: An onnxscript function has its types in its signature.
LOGITS: Any = FLOAT["batch", 1000]  # type: ignore[misc]
SCORES: Any = FLOAT["batch", 5]  # type: ignore[misc]
LABELS: Any = INT64["batch", 5]  # type: ignore[misc]
#: Its operators' stubs take no results of other operators.
op: Any = opset18


@script(default_opset=opset18)
def with_onnxscript(logits: LOGITS) -> tuple[SCORES, LABELS]:
    """The same for 1,000 classes and five of them."""
    scores, labels = op.TopK(op.Softmax(logits, axis=1), op.Constant(value_ints=[5]), axis=1)
    return scores, labels


def reference(logits: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Five of the classes; of equal ones the first comes first (ONNX, TopK)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    labels = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    return np.take_along_axis(probabilities, labels, axis=1), labels.astype(np.int64)
