"""ONNX models as text, for tables: `graph("float[b, 4] x => float[b, 4] y", "y = Relu(x)")`."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from generator import graph as door
from generator.change import all_nodes


def model(signature: str, body: str, opset: int = 18, **constants: Any) -> onnx.ModelProto:
    """A model in ONNX's own text syntax, with constants as arrays."""
    given, _, wanted = signature.partition("=>")
    imports = f'"" : {opset}' + (', "my" : 1' if "my." in body else "")
    text = f"<ir_version: 8, opset_import: [{imports}]> g ({given}) => ({wanted}) {{ {body} }}"
    made = onnx.parser.parse_model(text)
    made.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    for index, node in enumerate(made.graph.node):
        node.name = node.name or f"{node.op_type.lower()}_{index}"
        entry = node.metadata_props.add()
        entry.key, entry.value = "from", node.name
    return made


def ops(made: onnx.ModelProto) -> list[str]:
    """The operators, subgraphs included, sorted."""
    return sorted(node.op_type for node in all_nodes(made.graph))


def ends(made: onnx.ModelProto) -> str:
    """`x FP32[batch, 4] => y FP32[batch, 4]`"""
    inputs, outputs = door.interface(made)
    return f"{', '.join(map(str, inputs))} => {', '.join(map(str, outputs))}"


def constants(made: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """Initialisers by name."""
    return {init.name: numpy_helper.to_array(init) for init in made.graph.initializer}
