"""insert: a node of the user's own choice, plug-in or standard."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from generator import editing
from generator.errors import SurgeryError
from generator.passes import Known, Pass, TensorType

if TYPE_CHECKING:
    import onnx_ir as ir


class Insert(Pass):
    """A custom, plug-in or standard node: into a connection, as a new output, or in place of all outputs (an NMS plug-in)."""

    kind: Literal["insert"] = "insert"
    op: Annotated[str, Field(description="The operator.")]
    domain: Annotated[str, Field(description="Its domain, such as `trt.plugins`; empty for ONNX's own.")] = ""
    version: Annotated[int, Field(ge=1, description="Version of that domain.")] = 1
    name: Annotated[str | None, Field(description="The node's name; left out, it is made from the operator.")] = None
    attributes: Annotated[dict[str, Any], Field(default_factory=dict, description="Its attributes.")]
    inputs: Annotated[
        tuple[str, ...], Field(description="The tensors that it reads; an empty name for an optional one left out.")
    ] = ()
    outputs: Annotated[
        dict[str, TensorType | None],
        Field(
            min_length=1,
            description="What it gives, each with `{dtype, shape}`; a standard operator's are inferred where they are left out.",
        ),
    ]
    instead_of: Annotated[
        str | None, Field(description="What read this tensor reads the node's first output; a model output keeps its name.")
    ] = None
    graph_outputs: Annotated[
        Literal["keep", "add", "replace"], Field(description="Are its outputs added to the model's, or all that the model gives?")
    ] = "keep"

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Insert:
        if self.domain and None in self.outputs.values():
            raise ValueError(f"{self.op} is no standard operator, so each of its outputs needs `{{dtype, shape}}`")
        if self.instead_of is None and self.graph_outputs == "keep":
            raise ValueError("nothing would read it: say `instead_of: tensor`, or `graph_outputs: add` or `replace`")
        if self.instead_of is not None and self.graph_outputs == "replace":
            raise ValueError("`instead_of` and `graph_outputs: replace` exclude each other")
        return self

    def interface(self, known: Known) -> Known:
        """Its outputs where they become the model's; the type of an output that it stands in for."""
        outputs = known.outputs
        first = next(iter(self.outputs.values()))
        if self.instead_of in [t.name for t in outputs] and first is not None:
            outputs = tuple(first.tensor(t.name) if t.name == self.instead_of else t for t in outputs)
        if self.graph_outputs == "keep":
            return replace(known, outputs=outputs)
        new = tuple(known.said(name, said) for name, said in self.outputs.items())
        added = new[1:] if self.instead_of in [t.name for t in outputs] else new
        return replace(known, outputs=new if self.graph_outputs == "replace" else (*outputs, *added))

    def edit(self, model: ir.Model) -> None:
        """The node goes to the end; its place follows from what it reads."""
        import onnx_ir as ir
        from onnx_ir.passes.common import RemoveUnusedNodesPass

        graph = model.graph
        if self.domain:
            graph.opset_imports.setdefault(self.domain, self.version)
        self._names_free(graph)
        said = editing.attributes(graph, self.op, self.domain, self.attributes)
        inputs = [editing.find(graph, name) if name else None for name in self.inputs]
        name = self.name or editing.fresh(graph, f"insert/{self.op}")
        node = ir.node(self.op, inputs, attributes=said or None, domain=self.domain, num_outputs=len(self.outputs), name=name)
        for value, (output, kind) in zip(node.outputs, self.outputs.items(), strict=True):
            value.name = output
            if kind is not None:
                editing.typed(value, kind)
        graph.append(node)
        self._wired(graph, node)
        RemoveUnusedNodesPass()(model)

    def _names_free(self, graph: ir.Graph) -> None:
        taken = editing.tensors(graph)
        for name in self.outputs:
            if name in taken:
                raise SurgeryError(f"insert: there is a tensor {name!r} already", "choose another name for the output")
        if self.name in [node.name for node in graph]:
            raise SurgeryError(f"insert: there is a node {self.name!r} already", "choose another name")

    def _wired(self, graph: ir.Graph, node: ir.Node) -> None:
        if self.instead_of is not None:
            _stand_in(graph, node, editing.find(graph, self.instead_of))
        if self.graph_outputs == "replace":
            graph.outputs.clear()
        if self.graph_outputs != "keep":
            graph.outputs.extend(v for v in node.outputs if not v.is_graph_output())


def _stand_in(graph: ir.Graph, node: ir.Node, old: ir.Value) -> None:
    """Readers of `old`, the node itself left out, read its first output; a model output hands its name on."""
    new = node.outputs[0]
    others = [use for use in old.uses() if use.node is not node]
    if not others and not old.is_graph_output():
        raise SurgeryError(f"insert: nothing else reads {old.name!r}", "name a tensor that a node reads in instead_of")
    for use in others:
        use.node.replace_input_with(use.idx, new)
    if old.is_graph_output():
        name = old.name
        graph.outputs[:] = [new if v is old else v for v in graph.outputs]
        old.name = editing.fresh(graph, f"{name}_before")
        new.name = name
