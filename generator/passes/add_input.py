"""add_input: what was a constant, or was computed, comes from outside."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from generator import editing
from generator.errors import SurgeryError
from generator.passes import Known, Pass, TensorType

if TYPE_CHECKING:
    import onnx_ir as ir


class AddInput(Pass):
    """A constant or an inner tensor becomes an input of the model, such as a threshold that is chosen at run time."""

    kind: Literal["add_input"] = "add_input"
    tensors: Annotated[
        dict[str, TensorType | None],
        Field(min_length=1, description="`name:`, or with `{dtype, shape}` where they cannot be read beforehand or become free."),
    ]

    def interface(self, known: Known) -> Known:
        """The inputs of before, and these."""
        for name in self.tensors:
            if name in [t.name for t in (*known.inputs, *known.outputs)]:
                raise SurgeryError(f"{name!r} is an input or output already", "leave it out")
        new = tuple(known.said(name, said) for name, said in self.tensors.items())
        return replace(known, inputs=(*known.inputs, *new))

    def edit(self, model: ir.Model) -> None:
        """The constant or the nodes that made the tensor go, where nothing else needs them."""
        from onnx_ir.passes.common import RemoveUnusedNodesPass

        for name, said in self.tensors.items():
            old = editing.find(model.graph, name)
            if old.is_graph_input():
                raise SurgeryError(f"add_input: {name!r} is an input already", "leave it out")
            _taken_over(model.graph, old, said)
        RemoveUnusedNodesPass()(model)


def _taken_over(graph: ir.Graph, old: ir.Value, said: TensorType | None) -> None:
    import onnx_ir as ir

    name, constant = old.name or "", old.const_value
    new = ir.val(name, type=old.type, shape=old.shape)
    if constant is not None:
        new.type, new.shape = ir.TensorType(constant.dtype), ir.Shape(constant.numpy().shape)
    old.replace_all_uses_with(new)
    graph.initializers.pop(name, None)
    old.name = editing.fresh(graph, f"{name}_before")
    if said is not None:
        editing.typed(new, said)
    graph.inputs.append(new)
