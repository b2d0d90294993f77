"""replace: an operator, or a chain of them, becomes another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from generator import editing
from generator.errors import SurgeryError
from generator.matching import Match, OneNode, demand
from generator.passes import Pass
from generator.plugin import Model

if TYPE_CHECKING:
    import onnx_ir as ir


class Value(Model):
    """A constant that a new node reads."""

    value: Annotated[Any, Field(description="A number, or nested lists.")]
    dtype: Annotated[str, Field(description="FP32, INT64, ...")] = "FP32"


class NewNode(Model):
    """A node of the replacement."""

    op: Annotated[str, Field(description="The operator.")]
    domain: Annotated[str, Field(description="Its domain; empty for ONNX's own.")] = ""
    attributes: Annotated[
        dict[str, Any], Field(default_factory=dict, description="`$0.alpha` copies an attribute of the first matched node.")
    ]
    inputs: Annotated[
        tuple[int | Literal["previous"] | Value, ...] | None,
        Field(
            description="Numbers count what the matched nodes read, `previous` is what the node before gives, "
            "`{value: 0.5}` is a constant. Left out: for the first node all that was read, for the others `previous`."
        ),
    ] = None


class Replace(Pass):
    """A node, or a chain in which each reads the one before, becomes another chain; conditions on names and attributes."""

    kind: Literal["replace"] = "replace"
    find: Annotated[
        tuple[OneNode, ...], Field(min_length=1, description="`[{op: Conv}, {op: Relu, name: ..., attributes: {...}}]`")
    ]
    by: Annotated[tuple[NewNode, ...], Field(min_length=1, description="`[{op: LeakyRelu, attributes: {alpha: 0.02}}]`")]
    count: Annotated[
        int | None, Field(ge=1, description="How many places must match; left out, at least one, and all are replaced.")
    ] = None
    same_results: Annotated[bool, Field(description="Hold the answers against those of before.")] = False

    def compared(self) -> bool:
        """As the user says."""
        return self.same_results

    def edit(self, model: ir.Model) -> None:
        """The last output keeps its name, type and shape."""
        for match in demand("replace", model.graph, self.find, self.count):
            value = self._made(model.graph, match)
            editing.exchange(match.nodes[-1].outputs[0], value)
            editing.drop(reversed(match.nodes))

    def _made(self, root: ir.Graph, match: Match) -> ir.Value:
        import onnx_ir as ir

        last, previous = match.nodes[-1], None
        graph = last.graph
        assert graph is not None
        if len(last.outputs) > 1 and any(v.uses() or v.is_graph_output() for v in last.outputs[1:]):
            raise SurgeryError(f"replace: {last.name!r} has further outputs that are read", "replace nodes of one output")
        for index, new in enumerate(self.by):
            name = editing.fresh(root, f"{last.name or last.op_type}/{new.op}")
            inputs = self._inputs(root, match, new, previous, name)
            said = editing.attributes(root, new.op, new.domain, _attributes(match, new))
            node = ir.node(new.op, inputs, attributes=said or None, domain=new.domain, num_outputs=1, name=name)
            node.outputs[0].name = name
            node.metadata_props.update(last.metadata_props)
            graph.insert_before(last, node)
            previous = node.outputs[0]
            if index == len(self.by) - 1:
                previous.type, previous.shape = last.outputs[0].type, last.outputs[0].shape
        assert previous is not None
        return previous

    def _inputs(self, root: ir.Graph, match: Match, new: NewNode, previous: ir.Value | None, name: str) -> list[ir.Value | None]:
        if new.inputs is None:
            return match.inputs if previous is None else [previous]
        found: list[ir.Value | None] = []
        for said in new.inputs:
            if isinstance(said, Value):
                found.append(editing.constant(root, f"{name}/value", editing.cast(said.value, said.dtype)))
            elif said == "previous":
                if previous is None:
                    raise SurgeryError(f"replace: nothing comes before {new.op}, the first new node", "say a number")
                found.append(previous)
            elif not 0 <= said < len(match.inputs):
                there = ", ".join(f"{i} {v.name if v else '(none)'}" for i, v in enumerate(match.inputs))
                raise SurgeryError(f"replace: {new.op} takes input {said}; the matched nodes read {there}", "correct by.inputs")
            else:
                found.append(match.inputs[said])
        return found


def _attributes(match: Match, new: NewNode) -> dict[str, Any]:
    return {key: _copied(match, value) for key, value in new.attributes.items()}


def _copied(match: Match, value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith("$"):
        return value
    index, _, key = value[1:].partition(".")
    if not index.isdigit() or int(index) >= len(match.nodes):
        raise SurgeryError(f"replace: {value!r} names no matched node", f"`$0.name` to `${len(match.nodes) - 1}.name`")
    node = match.nodes[int(index)]
    if key not in node.attributes:
        raise SurgeryError(
            f"replace: {node.name or node.op_type} has no attribute {key!r}", f"it has {', '.join(node.attributes) or 'none'}"
        )
    found = node.attributes[key].value
    return found.tolist() if isinstance(found, np.ndarray) else found
