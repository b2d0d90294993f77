"""Casts written into a graph: every node computes in half precision but those that are kept, and Casts stand at the borders only.

A tensor is cast once for all that read it so, weights become half themselves (once, shared), and a Cast of the graph's own is led
past rather than followed by another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from generator.half_slots import Slots, single

if TYPE_CHECKING:
    import onnx_ir as ir

    #: A node, and which of its inputs.
    Use = tuple[ir.Node, int]

#: The key of a node's metadata that says why it was kept in FP32.
KEPT = "kept in FP32"


class Caster:
    """Adds Cast nodes to the main graph, one for each tensor and type, behind what gives the tensor."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self._names = {v.name for node in graph.all_nodes() for v in (*node.outputs, *node.inputs) if v is not None}
        self._names |= {node.name for node in graph.all_nodes()} | {v.name for v in (*graph.inputs, *graph.outputs)}
        self._names |= set(graph.initializers)
        self._made: dict[tuple[int, ir.DataType], ir.Value] = {}

    def fresh(self, name: str) -> str:
        """`name`, or with a number behind it where it is taken."""
        chosen, count = name, 0
        while chosen in self._names:
            count += 1
            chosen = f"{name}_{count}"
        self._names.add(chosen)
        return chosen

    def cast(self, value: ir.Value, to: ir.DataType) -> ir.Value:
        """`value` in that type."""
        if (id(value), to) not in self._made:
            self._made[id(value), to] = self._cast(value, to)
        return self._made[id(value), to]

    def _cast(self, value: ir.Value, to: ir.DataType) -> ir.Value:
        import onnx_ir as ir

        name = self.fresh(f"{value.name}/{to.short_name()}")
        node = ir.node("Cast", [value], attributes={"to": int(to)}, num_outputs=1, name=name)
        made = node.outputs[0]
        made.name, made.type, made.shape = name, ir.TensorType(to), value.shape
        source = value.producer()
        if source is not None:
            self.graph.insert_after(source, node)
        else:
            self.graph.insert_before(self.graph[0], node)
        return made

    def readers(self, value: ir.Value) -> list[Use]:
        """Who reads it, subgraphs included."""
        return [(use.node, use.idx) for use in value.uses()]

    def within(self, use: Use) -> bool:
        """Does the reader lie in a subgraph?"""
        return use[0].graph is not self.graph

    def lead(self, use: Use, new: ir.Value) -> None:
        """Let a reader read another tensor."""
        use[0].replace_input_with(use[1], new)

    def give(self, old: ir.Value, new: ir.Value) -> None:
        """Let the graph's output be another tensor."""
        for index, value in enumerate(self.graph.outputs):
            if value is old:
                self.graph.outputs[index] = new


class Converter:
    """Brings the main graph into `half`: `kept` says why a node stays, `slots` what of the others changes."""

    def __init__(
        self, graph: ir.Graph, half: ir.DataType, kept: Mapping[ir.Node, str], slots: Callable[[ir.Node], Slots]
    ) -> None:
        self.caster = Caster(graph)
        self._graph, self._half, self._kept, self._slots = graph, half, kept, slots
        self._weights: dict[int, ir.Value] = {}

    def run(self, inputs: Collection[str], outputs: Collection[str]) -> None:
        """Change the graph; those of its inputs and outputs that are named become half."""
        import onnx_ir as ir

        nodes = list(self._graph)
        wants = {node: self._wanted(node) for node in nodes}
        held = [value for value in self._graph.inputs if value.name in inputs]
        held += [node.outputs[i] for node in nodes if node not in self._kept for i in self._slots(node).outputs]
        originals = [v for v in (*self._graph.inputs, *self._graph.initializers.values()) if single(v)]
        originals += [value for node in nodes for value in node.outputs if single(value)]
        for value in held:
            value.type = ir.TensorType(self._half)
        for value in originals:
            self._lead(value, wants)
        for value in list(self._graph.outputs):
            self._end(value, originals, value.name in outputs)
        for node, why in self._kept.items():
            node.metadata_props[KEPT] = why
        self._tidy()

    def _wanted(self, node: ir.Node) -> frozenset[int]:
        return frozenset() if node in self._kept else self._slots(node).inputs

    def _lead(self, value: ir.Value, wants: Mapping[ir.Node, frozenset[int]]) -> None:
        """Each reader of a tensor gets it in the type that it reads."""
        import onnx_ir as ir

        for use in self.caster.readers(value):
            if not self.caster.within(use) and use[1] in wants.get(use[0], ()):
                self.caster.lead(use, self._in_half(value))
            elif value.dtype == self._half and not self._takes_any(use):
                self.caster.lead(use, self.caster.cast(value, ir.DataType.FLOAT))

    def _takes_any(self, use: Use) -> bool:
        from generator.half_slots import ANY, standard

        return use[0].op_type in ANY and standard(use[0]) and not self.caster.within(use)

    def _in_half(self, value: ir.Value) -> ir.Value:
        if value.dtype == self._half:
            return value
        if value.is_initializer() and not value.is_graph_input():
            return self._weight(value)
        source = value.producer()
        if source is not None and source.op_type == "Cast" and source.inputs[0] is not None:
            before = source.inputs[0]  # its own Cast: half comes from what that reads
            return before if before.dtype == self._half else self.caster.cast(before, self._half)
        return self.caster.cast(value, self._half)

    def _weight(self, value: ir.Value) -> ir.Value:
        """The same numbers in half; written outside at once where the graph's weights lie there."""
        import onnx_ir as ir

        from generator import weight_files

        if id(value) not in self._weights:
            assert value.const_value is not None
            name = self.caster.fresh(f"{value.name}/{self._half.short_name()}")
            numbers = value.const_value.numpy().astype(self._half.numpy())
            tensor = weight_files.held(self._graph, ir.Tensor(numbers, dtype=self._half, name=name))
            made = ir.Value(name=name, type=ir.TensorType(self._half), shape=value.shape, const_value=tensor)
            self._graph.register_initializer(made)
            self._weights[id(value)] = made
        return self._weights[id(value)]

    def _end(self, value: ir.Value, originals: list[ir.Value], half: bool) -> None:
        import onnx_ir as ir

        if not any(value is other for other in originals):
            return
        if half == (value.dtype == self._half):
            return
        new = self.caster.cast(value, self._half if half else ir.DataType.FLOAT)
        name, value.name = value.name, self.caster.fresh(f"{value.name}/inner")
        new.name = name
        self.caster.give(value, new)

    def _tidy(self) -> None:
        """Remove what nothing reads any more: weights in FP32 that are in half now, Casts that were led past."""
        for node in reversed(list(self._graph)):
            if node.op_type == "Cast" and not (node.outputs[0].uses() or node.outputs[0].is_graph_output()):
                self._graph.remove(node, safe=True)
        for name, value in list(self._graph.initializers.items()):
            if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
                del self._graph.initializers[name]


def named(graph: ir.Graph) -> None:
    """Give a name to every node that has none, from its first output."""
    for node in graph.all_nodes():
        if not node.name:
            first: Any = node.outputs[0].name if node.outputs else ""
            node.name = f"{node.op_type}({first})"
