"""remove_leftovers: what training and exporters left in the graph and does nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from generator import rewrites
from generator.passes import Pass

if TYPE_CHECKING:
    import onnx_ir as ir

_RULES = (
    rewrites.identity, rewrites.dropout, rewrites.cast, rewrites.reshape, rewrites.reshape_twice, rewrites.squeeze_back,
    rewrites.transpose, rewrites.transpose_twice,
)  # fmt: skip


class RemoveLeftovers(Pass):
    """Dropout, Identity, and Cast, Reshape, Transpose, Squeeze that do nothing or undo one another."""

    kind: Literal["remove_leftovers"] = "remove_leftovers"
    keeps_results: ClassVar[bool] = True
    looks_for: ClassVar[str] = "Dropout, Identity, and Cast, Reshape, Transpose, Squeeze without effect"

    def edit(self, model: ir.Model) -> None:
        """Until nothing is left."""
        from onnx_ir.passes.common import RemoveUnusedNodesPass

        if rewrites.apply(model.graph, _RULES):
            RemoveUnusedNodesPass()(model)
