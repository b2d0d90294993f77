"""Small equalities, one function each: what may stand for a node's output without changing any answer. Passes choose among them.

Each takes a node and returns the tensor that can take its place, or None. What is computed in floating point is left alone where
it could round otherwise, except that constants which follow one another are joined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from generator import editing

if TYPE_CHECKING:
    import onnx_ir as ir

Rule = Callable[["ir.Node"], "ir.Value | None"]

#: Every value of the first is one of the second.
_WIDER = {
    ("FLOAT16", "FLOAT"), ("FLOAT16", "DOUBLE"), ("FLOAT", "DOUBLE"), ("BFLOAT16", "FLOAT"), ("BFLOAT16", "DOUBLE"),
    ("INT8", "INT16"), ("INT8", "INT32"), ("INT8", "INT64"), ("INT16", "INT32"), ("INT16", "INT64"), ("INT32", "INT64"),
    ("UINT8", "INT16"), ("UINT8", "INT32"), ("UINT8", "INT64"), ("UINT8", "FLOAT"), ("INT8", "FLOAT"), ("INT32", "DOUBLE"),
}  # fmt: skip


def apply(graph: ir.Graph, rules: Sequence[Rule]) -> int:
    """Use the rules until none fits any more, in subgraphs too; how often one did."""
    total = 0
    while count := sum(_once(node, rules) for node in list(graph.all_nodes())):
        total += count
    return total


def _once(node: ir.Node, rules: Sequence[Rule]) -> bool:
    if node.graph is None or node.domain or not node.outputs:
        return False
    for rule in rules:
        value = rule(node)
        if value is not None and _may_stand_for(node.outputs[0], value):
            editing.exchange(node.outputs[0], value)
            editing.drop([node])
            return True
    return False


def _may_stand_for(old: ir.Value, new: ir.Value) -> bool:
    """A model output must be given by a node, and only once; an Identity in between would gain nothing."""
    if not old.is_graph_output():
        return True
    return new.producer() is not None and not new.is_graph_output() and new.graph is old.graph


def identity(node: ir.Node) -> ir.Value | None:
    """Identity(x) = x"""
    return node.inputs[0] if node.op_type == "Identity" else None


def dropout(node: ir.Node) -> ir.Value | None:
    """Dropout(x) = x outside training, as long as nobody reads the mask"""
    if node.op_type != "Dropout" or any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
        return None
    training = node.inputs[2] if len(node.inputs) > 2 else None
    return node.inputs[0] if training is None or _all(training, False) else None


def cast(node: ir.Node) -> ir.Value | None:
    """Cast to the type that it is; Cast there and back through a type that holds every value"""
    x = node.inputs[0] if node.op_type == "Cast" else None
    if x is None:
        return None
    target = _name(editing.attribute(node, "to"))
    if x.dtype is not None and x.dtype.name == target:
        return x
    before = _made_by(x, "Cast")
    source = before.inputs[0] if before else None
    if source is None or source.dtype is None or x.dtype is None or source.dtype.name != target:
        return None
    return source if (target, x.dtype.name) in _WIDER else None


def reshape(node: ir.Node) -> ir.Value | None:
    """Reshape, Flatten, Squeeze, Unsqueeze, Expand to the shape that it has, where at most one dimension is free"""
    if node.op_type not in ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand"):
        return None
    shape = editing.shape_of(node.inputs[0])
    return node.inputs[0] if shape is not None and editing.same_shape(node.inputs[0], node.outputs[0]) else None


def reshape_twice(node: ir.Node) -> ir.Value | None:
    """Reshape(Reshape(x, a), b) = Reshape(x, b), where b copies nothing from a"""
    before = _made_by(node.inputs[0], "Reshape", "Flatten") if node.op_type == "Reshape" else None
    target = editing.array(node.inputs[1]) if before else None
    if before is None or target is None or not target.all() or before.inputs[0] is None:
        return None
    return _like(node, "Reshape", before.inputs[0], node.inputs[1])


def squeeze_back(node: ir.Node) -> ir.Value | None:
    """Squeeze(Unsqueeze(x, axes), axes) = x, and the other way round"""
    other = {"Squeeze": "Unsqueeze", "Unsqueeze": "Squeeze"}.get(node.op_type)
    before = _made_by(node.inputs[0], other) if other else None
    if before is None or len(node.inputs) < 2 or len(before.inputs) < 2:
        return None
    one, two = editing.array(node.inputs[1]), editing.array(before.inputs[1])
    return before.inputs[0] if one is not None and two is not None and np.array_equal(one, two) else None


def transpose(node: ir.Node) -> ir.Value | None:
    """Transpose that moves nothing"""
    perm = _perm(node)
    return node.inputs[0] if perm is not None and perm == sorted(perm) else None


def transpose_twice(node: ir.Node) -> ir.Value | None:
    """Transpose(Transpose(x)) = Transpose(x) by both at once, or x"""
    before = _made_by(node.inputs[0], "Transpose") if node.op_type == "Transpose" else None
    one, two = (_perm(before), _perm(node)) if before else (None, None)
    if before is None or one is None or two is None or before.inputs[0] is None:
        return None
    joined = [one[axis] for axis in two]
    if joined == sorted(joined):
        return before.inputs[0]
    return _like(node, "Transpose", before.inputs[0], perm=joined)


def neutral(node: ir.Node) -> ir.Value | None:
    """x + 0, 0 + x, x - 0, x * 1, 1 * x, x / 1, x ** 1; also `or False`, `and True`"""
    number: Any = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1, "Pow": 1, "Or": False, "And": True}.get(node.op_type)
    if number is None:
        return None
    a, b = node.inputs[0], node.inputs[1]
    if _all(b, number) and _keeps_shape(a, b, node):
        return a
    return b if node.op_type in ("Add", "Mul", "Or", "And") and _all(a, number) and _keeps_shape(b, a, node) else None


def twice(node: ir.Node) -> ir.Value | None:
    """-(-x) = x, not not x = x; abs, relu, floor, ceil, round, sign, a second time, do nothing"""
    before = _made_by(node.inputs[0], node.op_type) if node.inputs else None
    if before is None:
        return None
    if node.op_type in ("Neg", "Not"):
        return before.inputs[0]
    return node.inputs[0] if node.op_type in ("Abs", "Relu", "Floor", "Ceil", "Round", "Sign") else None


def constants(node: ir.Node) -> ir.Value | None:
    """(x + a) + b = x + (a + b), (x * a) * b = x * (a * b), for constants that broadcast to no more than one of them does"""
    if node.op_type not in ("Add", "Mul"):
        return None
    before = _made_by(node.inputs[0], node.op_type)
    if before is None or len(editing.users(before.outputs[0])) != 1 or before.outputs[0].is_graph_output():
        return None
    a, b = editing.array(before.inputs[1]), editing.array(node.inputs[1])
    if a is None or b is None or before.inputs[0] is None or a.dtype.kind != "f":
        return None
    if np.broadcast_shapes(a.shape, b.shape) not in (a.shape, b.shape) or not editing.same_shape(
        before.inputs[0], node.outputs[0]
    ):
        return None
    joined = (a + b if node.op_type == "Add" else a * b).astype(a.dtype)
    if not np.isfinite(joined).all():
        return None
    return _like(
        node, node.op_type, before.inputs[0], editing.constant(editing.home(node), f"{node.outputs[0].name}_joined", joined)
    )


def single(node: ir.Node) -> ir.Value | None:
    """Concat, Sum, Max, Min, Mean of one; Pad by nothing"""
    if node.op_type in ("Concat", "Sum", "Max", "Min", "Mean") and len(node.inputs) == 1:
        return node.inputs[0]
    return node.inputs[0] if node.op_type == "Pad" and _all(node.inputs[1], 0) else None


def _like(node: ir.Node, op: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
    value = editing.insert(node, op, *inputs, name=node.name or op, **attributes)
    value.type, value.shape = node.outputs[0].type, node.outputs[0].shape
    made = value.producer()
    assert made is not None
    made.metadata_props.update(node.metadata_props)
    return value


def _made_by(value: ir.Value | None, *ops: str | None) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type in ops and not node.domain else None


def _perm(node: ir.Node) -> list[int] | None:
    if node.op_type != "Transpose":
        return None
    said = editing.attribute(node, "perm")
    shape = editing.shape_of(node.inputs[0])
    if said is None:
        return None if shape is None else list(range(len(shape)))[::-1]
    return [int(axis) for axis in said]


def _all(value: ir.Value | None, number: Any) -> bool:
    found: NDArray[Any] | None = editing.array(value)
    return found is not None and found.size > 0 and bool((found == number).all())


def _keeps_shape(x: ir.Value | None, constant: ir.Value | None, node: ir.Node) -> bool:
    """Does the constant not widen x, nor change its type?"""
    if x is None or (node.op_type == "Pow" and x.dtype != node.outputs[0].dtype):
        return False
    found = editing.array(constant)
    return found is not None and (found.ndim == 0 or editing.same_shape(x, node.outputs[0]))


def _name(number: Any) -> str:
    import onnx_ir as ir

    return ir.DataType(number).name
