"""add_output: inner tensors become outputs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from generator import editing
from generator.errors import SurgeryError
from generator.passes import Known, Pass, TensorType

if TYPE_CHECKING:
    import onnx_ir as ir


class AddOutput(Pass):
    """Inner tensors become outputs of the model, behind those that are there."""

    kind: Literal["add_output"] = "add_output"
    keeps_results: ClassVar[bool] = True
    tensors: Annotated[
        dict[str, TensorType | None],
        Field(
            min_length=1,
            description="`name:`, or `name: {dtype: FP32, shape: [batch, 8]}` where the type cannot be read beforehand.",
        ),
    ]

    def interface(self, known: Known) -> Known:
        """The outputs of before, and these."""
        for name in self.tensors:
            if name in [t.name for t in known.outputs]:
                raise SurgeryError(f"{name!r} is an output already", "leave it out")
        new = tuple(known.said(name, said) for name, said in self.tensors.items())
        return replace(known, outputs=(*known.outputs, *new))

    def edit(self, model: ir.Model) -> None:
        """Appended in the order of the list."""
        for name, said in self.tensors.items():
            value = editing.find(model.graph, name)
            if value.producer() is None:
                raise SurgeryError(f"add_output: {name!r} is an input or a constant", "name a tensor that a node gives")
            if said is not None:
                editing.typed(value, said)
            model.graph.outputs.append(value)

    def probes(self) -> tuple[str, ...]:
        """The new outputs are what these tensors were before."""
        return tuple(self.tensors)
