"""fold_constants: what does not depend on the input is computed once, and dead code goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from generator.passes import Pass

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnx import ModelProto


class FoldConstants(Pass):
    """Constant folding, identity removal and dead-code removal by onnxscript's optimizer (node metadata kept)."""

    kind: Literal["fold_constants"] = "fold_constants"
    keeps_results: ClassVar[bool] = True
    looks_for: ClassVar[str] = "nodes that read only constants"

    def run(self, model: ModelProto) -> ModelProto:
        """The same function in fewer nodes."""
        import onnx_ir as ir
        import onnxscript.optimizer

        from generator import weight_files

        inner = ir.from_proto(model)
        version = inner.ir_version
        onnxscript.optimizer.optimize(inner)
        _adopted(inner.graph)
        weight_files.settle(inner)
        inner.ir_version = version
        return ir.to_proto(inner)


def _adopted(graph: ir.Graph) -> None:
    """Constants that the optimizer (onnxscript 0.7) made and forgot to put into the graph."""
    for node in graph.all_nodes():
        for value in node.inputs:
            if value is None or value.const_value is None or value.producer() or value.is_graph_input() or value.is_initializer():
                continue
            graph.register_initializer(value)
