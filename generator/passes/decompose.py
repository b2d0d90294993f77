"""decompose: operators that the target lacks, written out in simpler ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from generator.errors import SurgeryError
from generator.nearest import missing
from generator.passes import Pass

if TYPE_CHECKING:
    from onnx import ModelProto


class Decompose(Pass):
    """Operators that ONNX defines as functions (HardSwish, Mish, Gelu, Softplus, LayerNormalization, ...) are written out."""

    kind: Literal["decompose"] = "decompose"
    keeps_results: ClassVar[bool] = True
    operators: Annotated[
        tuple[str, ...], Field(min_length=1, description="`[HardSwish, Mish, LayerNormalization]`; all nodes of each.")
    ]

    def run(self, model: ModelProto) -> ModelProto:
        """By ONNX's own definitions (onnx.inliner); what they use in turn stays, so name it too where it must go."""
        import onnx
        from onnx import inliner

        there = {node.op_type for node in model.graph.node if not node.domain}
        opset = next((o.version for o in model.opset_import if not o.domain), 1)
        for name in self.operators:
            if name not in there:
                raise missing("operator in the graph called", name, there)
            schema: Any = onnx.defs.get_schema(name, opset)
            if not schema.has_function and not schema.has_context_dependent_function:
                raise SurgeryError(f"decompose: ONNX defines {name} by no simpler operators", "write a pass of kind python")
        _typed(model)
        ids = [("", name) for name in self.operators]
        try:
            written = inliner.inline_selected_functions(model, ids, inline_schema_functions=True)
        except RuntimeError as error:
            raise SurgeryError(
                f"decompose: ONNX cannot write it out: {str(error).splitlines()[0]}", "write a pass of kind python"
            ) from None
        left = {node.op_type for node in written.graph.node if not node.domain} & set(self.operators)
        if left:
            raise SurgeryError(
                f"decompose: {', '.join(sorted(left))} is still there: ONNX {opset} needs to know more of its inputs",
                "export with a later `opset:`, or write a pass of kind python",
            )
        return written


def _typed(model: ModelProto) -> None:
    """The inliner wants to know the type of every tensor, constants included."""
    import onnx

    known = {v.name for v in (*model.graph.value_info, *model.graph.input)}
    for init in model.graph.initializer:
        if init.name not in known:
            model.graph.value_info.append(onnx.helper.make_tensor_value_info(init.name, init.data_type, init.dims))
