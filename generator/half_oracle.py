"""A graph in half precision as ONNX Runtime's CPU provider can honestly compute it: in FP32, each half number rounded.

That provider has few kernels in half precision. It brings the others to FP32 and drops the rounding in between, even with
optimisation off: a tensor that overflows in FP16 does not overflow there, and BF16 does not run at all. So the oracle says the
rounding itself: after each operator that computes, Cast to the half type and back. Each operator works in FP32 inside and rounds
once, as kernels do that accumulate in FP32; one that accumulates in half is farther off.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnx import ModelProto

    from generator.half_graph import Caster

#: Operators whose float outputs are numbers of their inputs, so need no rounding.
MOVES = frozenset({
    "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "Concat", "Gather", "GatherElements", "GatherND",
    "ScatterElements", "ScatterND", "Expand", "Tile", "Identity", "DepthToSpace", "SpaceToDepth", "Compress", "ReverseSequence",
})  # fmt: skip
_EXACT = MOVES | {
    "Relu", "MaxPool", "GlobalMaxPool", "Max", "Min", "ReduceMax", "ReduceMin", "Neg", "Abs", "Where", "Sign", "TopK",
}  # fmt: skip


def write(graph: Path, kind: str, made: Path) -> Path:
    """Emulate the graph's tensors of type `kind` (FLOAT16 or BFLOAT16); returns `made`."""
    from generator import graph as door

    door.save(emulated(door.checked(door.load(graph), "the oracle"), kind), made)
    return made


def emulated(model: ModelProto, kind: str) -> ModelProto:
    """The same inputs, outputs and weights; nothing computed in half. The model has its shapes inferred."""
    import onnx_ir as ir

    from generator.editing import edited

    return edited(model, lambda inner: _emulate(inner.graph, ir.DataType[kind]))


def _emulate(graph: ir.Graph, half: ir.DataType) -> None:
    from generator.half_graph import Caster

    caster, nodes = Caster(graph), list(graph)
    for value in (*graph.inputs, *graph.initializers.values()):
        if value.dtype == half:
            _widened(caster, value)
    for node in nodes:
        reads = any(use is not None and "half" in use.meta for use in node.inputs)
        for value in node.outputs:
            if value.dtype == half:
                _node(caster, node, value, half, reads)


def _node(caster: Caster, node: ir.Node, value: ir.Value, half: ir.DataType, reads: bool) -> None:
    """An output in half: said by an attribute, it stays and is widened; following the inputs, it is FP32 now and is rounded."""
    import onnx_ir as ir

    if not reads or node.op_type == "Cast":
        _widened(caster, value)
        return
    readers, ends, name = caster.readers(value), value.is_graph_output(), value.name
    value.type = ir.TensorType(ir.DataType.FLOAT)
    rounded = value
    if node.op_type not in _EXACT:
        rounded = caster.cast(caster.cast(value, half), ir.DataType.FLOAT)
        value.name, rounded.name = caster.fresh(f"{name}/exact"), name
    rounded.meta["half"] = True
    for use in readers:
        caster.lead(use, caster.cast(rounded, half) if caster.within(use) else rounded)
    if ends:
        narrow = caster.cast(rounded, half)
        rounded.name, narrow.name = caster.fresh(f"{name}/inner"), name
        caster.give(value, narrow)


def _widened(caster: Caster, value: ir.Value) -> None:
    """Who reads a tensor that stays in half reads it as FP32; subgraphs, which are left alone, as it is."""
    import onnx_ir as ir

    for use in caster.readers(value):
        if not caster.within(use):
            wide = caster.cast(value, ir.DataType.FLOAT)
            wide.meta["half"] = True
            caster.lead(use, wide)
