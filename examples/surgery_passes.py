"""A pass of one's own, for surgery.yaml: takes a graph, changes it; the build infers shapes, checks, and compares if told to."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs


def temperature(graph: gs.Graph, value: float) -> None:
    """Divide the logits by a temperature: the same order of classes, softer scores."""
    (logits,) = graph.outputs
    name, logits.name = logits.name, f"{logits.name}_sharp"
    softer = gs.Variable(name, logits.dtype, logits.shape)
    divisor = gs.Constant("temperature", np.array(value, np.float32))
    graph.nodes.append(gs.Node("Div", "temperature", inputs=[logits, divisor], outputs=[softer]))
    graph.outputs = [softer]
