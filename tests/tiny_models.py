"""Tiny ONNX models and repositories for tests that need a server but no trained model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto, helper

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def identity(elem: int = TensorProto.FLOAT, shape: Sequence[int | str] = ("N", 4)) -> onnx.ModelProto:
    """One Identity node from `x` to `y`."""
    return model([helper.make_node("Identity", ["x"], ["y"])], {"x": (elem, shape)}, {"y": (elem, shape)})


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, tuple[int, Sequence[int | str]]],
    outputs: dict[str, tuple[int, Sequence[int | str]]],
    constants: Sequence[onnx.TensorProto] = (),
) -> onnx.ModelProto:
    """A checked model of opset 17."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, elem, shape) for name, (elem, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, elem, shape) for name, (elem, shape) in outputs.items()],
        initializer=constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made


def write(repository: Path, name: str, made: onnx.ModelProto, config: str, file: str = "model.onnx") -> Path:
    """Put a model and its config into `repository`; returns the repository."""
    version = repository / name / "1"
    version.mkdir(parents=True)
    onnx.save(made, version / file)
    (repository / name / "config.pbtxt").write_text(f'name: "{name}"\nplatform: "onnxruntime_onnx"\n{config}')
    return repository


def tensors(x: str = "TYPE_FP32", y: str = "TYPE_FP32", dims: str = "4") -> str:
    """The input and output part of a config for a model from `x` to `y`."""
    return (
        f'input [{{ name: "x" data_type: {x} dims: [{dims}] }}]\n'
        f'output [{{ name: "y" data_type: {y} dims: [{dims}] }}]\n'
        "instance_group [{ kind: KIND_CPU count: 1 }]\n"
    )
