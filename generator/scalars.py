"""Scalars at the border of the graph: Triton's tensors have at least one dimension, so each becomes a tensor of one element."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from generator.tensors import Tensor

if TYPE_CHECKING:
    from onnx import ModelProto


def lifted(tensor: Tensor) -> Tensor:
    """As it is served: `[]` becomes `[1]`."""
    return tensor if tensor.batched or tensor.shape else dataclasses.replace(tensor, shape=(1,))


def lift(model: ModelProto) -> ModelProto:
    """The graph with such inputs and outputs; the same one where there is no scalar."""
    from generator.builder import Builder
    from generator.graph import interface

    inputs, outputs = ([t for t in side if lifted(t) != t] for side in interface(model))
    if not inputs and not outputs:
        return model
    build = Builder(model, "scalar")
    kept = [output.name for output in build.graph.outputs]
    for tensor in inputs:
        build.rename(tensor.name, inner := f"{tensor.name}/scalar")
        build.replace_input(inner, lifted(tensor))
        build.feed(inner, build("Reshape", tensor.name, np.zeros(0, np.int64)))
    for tensor in outputs:
        build.rename(tensor.name, inner := f"{tensor.name}/scalar")
        build.graph.outputs = [output for output in build.graph.outputs if output.name != inner]
        build.output(build("Reshape", inner, np.ones(1, np.int64)), lifted(tensor))
    build.graph.outputs.sort(key=lambda output: kept.index(output.name))
    return build.model()
