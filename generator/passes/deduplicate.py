"""deduplicate: what is there twice is kept once."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from generator.passes import Pass

if TYPE_CHECKING:
    import onnx_ir as ir

#: Constant nodes up to this many elements are compared by value.
_CONSTANT_NODES = 4096


class Deduplicate(Pass):
    """Equal constants become one, and so do nodes of the same operator, attributes and inputs (common sub-expressions)."""

    kind: Literal["deduplicate"] = "deduplicate"
    keeps_results: ClassVar[bool] = True
    looks_for: ClassVar[str] = "constants of the same content, and nodes of the same operator, attributes and inputs"

    def edit(self, model: ir.Model) -> None:
        """Constants first: nodes are equal only when what they read is one tensor. Random operators stay apart."""
        from onnx_ir.passes import common

        one = common.DeduplicateHashedInitializersPass()(model)
        two = common.CommonSubexpressionEliminationPass(_CONSTANT_NODES)(model)
        if one.modified or two.modified:
            common.RemoveUnusedNodesPass()(model)
