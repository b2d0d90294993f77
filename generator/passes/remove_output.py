"""remove_output: outputs that nobody wants, and what only they needed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from generator.errors import SurgeryError
from generator.nearest import missing
from generator.passes import Arrays, Known, Pass, Run

if TYPE_CHECKING:
    import onnx_ir as ir


class RemoveOutput(Pass):
    """Outputs go, and with them the nodes and constants that only they needed."""

    kind: Literal["remove_output"] = "remove_output"
    keeps_results: ClassVar[bool] = True
    names: Annotated[tuple[str, ...], Field(min_length=1, description="The outputs to remove; at least one has to stay.")]

    def interface(self, known: Known) -> Known:
        """The others."""
        there = [t.name for t in known.outputs]
        for name in self.names:
            if name not in there:
                raise missing("output", name, there)
        kept = tuple(t for t in known.outputs if t.name not in self.names)
        if not kept:
            raise SurgeryError("no output would be left", "leave one")
        return replace(known, outputs=kept)

    def edit(self, model: ir.Model) -> None:
        """Then dead code goes; inputs stay, so that the model is called as before."""
        from onnx_ir.passes.common import RemoveUnusedNodesPass

        for name in self.names:
            value = next((v for v in model.graph.outputs if v.name == name), None)
            if value is None:
                raise missing("output", name, [v.name or "" for v in model.graph.outputs])
            model.graph.outputs.remove(value)
        RemoveUnusedNodesPass()(model)

    def expected(self, before: Run, feeds: Arrays) -> Arrays:
        """The outputs that stay."""
        return {name: values for name, values in before(feeds).items() if name not in self.names}
