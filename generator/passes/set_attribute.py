"""set_attribute: other settings of an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from generator import editing
from generator.errors import SurgeryError
from generator.matching import OneNode, demand
from generator.passes import Pass

if TYPE_CHECKING:
    import onnx_ir as ir


class SetAttribute(Pass):
    """Attributes of the nodes that match are set, or removed with `null`."""

    kind: Literal["set_attribute"] = "set_attribute"
    find: Annotated[OneNode, Field(description="`{op: LeakyRelu, name: ..., attributes: {alpha: 0.1}}`")]
    attributes: Annotated[dict[str, Any], Field(min_length=1, description="`name: value`; `null` leaves the operator's default.")]
    count: Annotated[int | None, Field(ge=1, description="How many nodes must match; left out, at least one.")] = None

    def edit(self, model: ir.Model) -> None:
        """In the types of the operator's definition."""
        import onnx_ir as ir

        for match in demand("set_attribute", model.graph, (self.find,), self.count):
            (node,) = match.nodes
            editing.known(model.graph, node.op_type, node.domain, self.attributes)
            given = {key: value for key, value in self.attributes.items() if value is not None}
            for key, value in editing.attributes(model.graph, node.op_type, node.domain, given).items():
                node.attributes[key] = ir.convenience.convert_attribute(key, value)
            for key in self.attributes.keys() - given.keys():
                if node.attributes.pop(key, None) is None:
                    raise SurgeryError(
                        f"set_attribute: {node.name or node.op_type} has no attribute {key!r}",
                        f"it has {', '.join(node.attributes) or 'none'}",
                    )
