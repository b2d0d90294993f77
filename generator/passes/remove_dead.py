"""remove_dead: what no output needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from generator.passes import Pass

if TYPE_CHECKING:
    import onnx_ir as ir


class RemoveDead(Pass):
    """Nodes, constants, functions and opset imports that no output needs; inputs stay."""

    kind: Literal["remove_dead"] = "remove_dead"
    keeps_results: ClassVar[bool] = True
    looks_for: ClassVar[str] = "nodes, constants, functions and opset imports that no output needs"

    def edit(self, model: ir.Model) -> None:
        """Subgraphs included."""
        from onnx_ir.passes import common

        common.RemoveUnusedNodesPass()(model)
        common.RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
        common.RemoveUnusedOpsetsPass()(model)
