"""Which inputs and outputs of a node may be held in half precision: ONNX's own type constraints (onnx.defs), for any operator.

An operator's schema gives each input and output a type of its own or one that it shares with others ("T"). A float tensor may
become half where the schema of the graph's opset lists that type. An output follows an input of the same type; one that follows
none (a mean in FP32 beside the result of LayerNormalization) stays as it is.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx_ir as ir

#: Operators that read any type and give whole numbers, or the type that an attribute says: they take a tensor as it lies.
ANY = frozenset({"Shape", "Size", "Cast", "IsNaN", "IsInf"})
#: Inputs that are settings rather than data, though the schema would allow them in half.
_SETTINGS = {("Resize", 1), ("Resize", 2)}


@dataclass(frozen=True)
class Slots:
    """Positions of a node's float tensors that become half with it; where `why` says something, it cannot be."""

    inputs: frozenset[int] = frozenset()
    outputs: frozenset[int] = frozenset()
    why: str = ""


def single(value: ir.Value | None) -> bool:
    """Is it a tensor in FP32? Sequences and optionals of such are none."""
    import onnx_ir as ir

    return value is not None and isinstance(value.type, ir.TensorType) and value.dtype == ir.DataType.FLOAT


def standard(node: ir.Node) -> bool:
    """Is it an operator of ONNX's own domain?"""
    return node.domain in ("", "ai.onnx")


def slots(node: ir.Node, opset: int, half: str) -> Slots:
    """Of one node, for `half` as the schemas call it: float16 or bfloat16. No slot and no `why`: it has no float tensor."""
    import onnx_ir as ir

    if not any(single(value) for value in (*node.inputs, *node.outputs)) or (node.op_type in ANY and standard(node)):
        return Slots()
    schema = _schema(node.op_type, opset) if standard(node) else None
    if schema is None:
        return Slots(why="its types are not known")
    if node.op_type.startswith(("Optional", "Sequence")):
        return Slots(why="it holds sequences or optionals")
    if any(value.type is None or not isinstance(value.type, ir.TensorType) for value in node.outputs if _used(value)):
        return Slots(why="it gives what is no tensor, or of a type that is not known")
    kind = f"tensor({half})"
    inputs = {
        index: formal.type_str
        for index, value in enumerate(node.inputs)
        if single(value) and kind in (formal := _formal(schema.inputs, index)).types and (node.op_type, index) not in _SETTINGS
    }
    outputs = [
        index
        for index, value in enumerate(node.outputs)
        if single(value) and (formal := _formal(schema.outputs, index)).type_str in inputs.values() and kind in formal.types
    ]
    return Slots(frozenset(inputs), frozenset(outputs), "" if inputs else f"ONNX has no {half} for it in opset {opset}")


def _used(value: ir.Value) -> bool:
    return bool(value.name) and bool(value.uses() or value.is_graph_output())


def _formal(formals: Sequence[Any], index: int) -> Any:
    """The formal parameter of an actual one; the last may stand for many."""
    return formals[min(index, len(formals) - 1)]


@functools.cache
def _schema(op: str, opset: int) -> Any:
    import onnx

    return onnx.defs.get_schema(op, opset) if onnx.defs.has(op, opset) else None
