"""set_opset: the graph in a later version of ONNX's operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from generator.errors import SurgeryError
from generator.passes import Pass

if TYPE_CHECKING:
    from onnx import ModelProto


class SetOpset(Pass):
    """Operators in a later version (onnx.version_converter), for graphs that are older than what head and NMS are made of."""

    kind: Literal["set_opset"] = "set_opset"
    keeps_results: ClassVar[bool] = True
    version: Annotated[int, Field(ge=7, le=21, description="Opset of ONNX's own domain.")]

    def run(self, model: ModelProto) -> ModelProto:
        """The same function. Raises SurgeryError where the graph is later already, or an operator has no later form."""
        import onnx

        found = opset(model)
        if found >= self.version:
            raise SurgeryError(
                f"set_opset: the graph has opset {found} already", f"say a later one than {found}, or leave the pass out"
            )
        inputs = {value.name for value in model.graph.initializer}
        kept = [value for value in model.graph.input if value.name not in inputs]
        del model.graph.input[:]
        model.graph.input.extend(kept)  # initialisers that are listed as inputs, too, are what the converter stumbles over
        model.ir_version = max(model.ir_version, 8)
        try:
            converted: ModelProto = onnx.version_converter.convert_version(model, self.version)
        except Exception as error:
            said = str(error).splitlines()
            raise SurgeryError(
                f"set_opset: onnx cannot bring the graph from opset {found} to {self.version}: {said[0] if said else error}",
                "export the model again, with a later opset",
            ) from None
        return converted


def opset(model: ModelProto) -> int:
    """The version of ONNX's own operators."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
