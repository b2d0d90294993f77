"""fold_constants: what does not depend on the input is computed once, and dead code goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from generator.passes import Pass

if TYPE_CHECKING:
    from onnx import ModelProto


class FoldConstants(Pass):
    """Constant folding, identity removal and dead-code removal by onnxscript's optimizer (node metadata kept)."""

    kind: Literal["fold_constants"] = "fold_constants"
    keeps_results: ClassVar[bool] = True
    looks_for: ClassVar[str] = "nodes that read only constants"

    def run(self, model: ModelProto) -> ModelProto:
        """The same function in fewer nodes."""
        import onnxscript.optimizer

        version = model.ir_version
        folded: ModelProto = onnxscript.optimizer.optimize(model)
        folded.ir_version = version
        return folded
