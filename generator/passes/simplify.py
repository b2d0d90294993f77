"""simplify: algebra that needs no arithmetic at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from generator import rewrites
from generator.passes import Pass

if TYPE_CHECKING:
    import onnx_ir as ir

_RULES = (rewrites.neutral, rewrites.twice, rewrites.constants, rewrites.single, rewrites.transpose, rewrites.transpose_twice)


class Simplify(Pass):
    """Algebra: x*1, x+0, x/1, x**1, -(-x), transposes in a row, constants that follow one another, Concat of one."""

    kind: Literal["simplify"] = "simplify"
    keeps_results: ClassVar[bool] = True
    looks_for: ClassVar[str] = (
        "x*1, x+0, x/1, x**1, -(-x), transposes in a row, constants in a row, Concat of one, Pad by nothing"
    )

    def edit(self, model: ir.Model) -> None:
        """Until nothing is left."""
        from onnx_ir.passes.common import RemoveUnusedNodesPass

        if rewrites.apply(model.graph, _RULES):
            RemoveUnusedNodesPass()(model)
