"""cut: the part of the graph between some tensors and some others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from generator import editing
from generator.errors import SurgeryError
from generator.passes import Arrays, Known, Pass, Run, TensorType

if TYPE_CHECKING:
    import onnx_ir as ir

Ends = dict[str, TensorType | None]


class Cut(Pass):
    """Only the part between `inputs` and `outputs` stays, such as a detector without the head that was exported with it."""

    kind: Literal["cut"] = "cut"
    keeps_results: ClassVar[bool] = True
    inputs: Annotated[Ends, Field(default_factory=dict, description="Tensors that become the inputs; left out, the inputs stay.")]
    outputs: Annotated[
        Ends, Field(default_factory=dict, description="Tensors that become the outputs; left out, the outputs stay.")
    ]

    @model_validator(mode="after")
    def _something(self) -> Cut:
        if not self.inputs and not self.outputs:
            raise ValueError("say inputs, outputs or both: `outputs: {name: }`")
        return self

    def compared(self) -> bool:
        """Inner tensors as inputs leave nothing to compare with."""
        return not self.inputs

    def interface(self, known: Known) -> Known:
        """The ends as said, or as the checkpoint's graph knows them."""
        inputs, outputs = ({name: known.said(name, said) for name, said in ends.items()} for ends in (self.inputs, self.outputs))
        return replace(known, inputs=tuple(inputs.values()) or known.inputs, outputs=tuple(outputs.values()) or known.outputs)

    def edit(self, model: ir.Model) -> None:
        """Every end set, then whatever no output needs goes."""
        from onnx_ir.passes.common import RemoveUnusedNodesPass

        graph = model.graph
        ends = [(editing.find(graph, name), said) for name, said in self.outputs.items()]
        starts = [(editing.find(graph, name), said) for name, said in self.inputs.items()]
        if ends:
            graph.outputs[:] = [_typed(value, said) for value, said in ends]
        if starts:
            former = list(graph.inputs)
            graph.inputs[:] = [_open(graph, value, said) for value, said in starts]
            _closed(graph, [value for value in former if value not in graph.inputs])
        RemoveUnusedNodesPass()(model)

    def probes(self) -> tuple[str, ...]:
        """The tensors at the new ends."""
        return tuple(self.outputs)

    def expected(self, before: Run, feeds: Arrays) -> Arrays:
        """What those tensors were before."""
        return {name: values for name, values in before(feeds).items() if not self.outputs or name in self.outputs}


def _typed(value: ir.Value, said: TensorType | None) -> ir.Value:
    if said is not None:
        editing.typed(value, said)
    return value


def _open(graph: ir.Graph, value: ir.Value, said: TensorType | None) -> ir.Value:
    """An inner tensor cut off from what made it."""
    import onnx_ir as ir

    if value.is_graph_input():
        return _typed(value, said)
    new = ir.val(value.name, type=value.type, shape=value.shape)
    value.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.initializers.pop(value.name or "", None)
    value.name = editing.fresh(graph, f"{new.name}_before")
    return _typed(new, said)


def _closed(graph: ir.Graph, former: list[ir.Value]) -> None:
    """Raises SurgeryError where an output still needs one of the former inputs."""
    for output in graph.outputs:
        seen: set[int] = set()
        stack: list[tuple[ir.Value, ir.Node | None]] = [(output, None)]
        while stack:
            value, reader = stack.pop()
            if value in former:
                raise _dangling(output, value, reader)
            seen.add(id(value))
            node = value.producer()
            if node is not None:
                stack += [(v, node) for v in _read(node) if id(v) not in seen]


def _dangling(output: ir.Value, value: ir.Value, reader: ir.Node | None) -> SurgeryError:
    through = f", through {reader.op_type} {reader.name!r}, which gives {reader.outputs[0].name!r}" if reader else ""
    return SurgeryError(
        f"cut: the output {output.name!r} still needs the input {value.name!r}, which was cut off{through}",
        f"add {value.name!r} to inputs, or a tensor between that node and the output",
    )


def _read(node: ir.Node) -> list[ir.Value]:
    """What a node reads, its subgraphs included."""
    from onnx_ir.traversal import RecursiveGraphIterator

    found = [v for v in node.inputs if v is not None]
    for attribute in node.attributes.values():
        for graph in [attribute.as_graph()] if attribute.type.name == "GRAPH" else []:
            found += [v for inner in RecursiveGraphIterator(graph) for v in inner.inputs if v is not None]
    return found
