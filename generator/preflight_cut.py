"""A graph without some of its nodes: what stays keeps names and metadata, and weights that lie outside stay there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

    Types = dict[str, ValueInfoProto]


def named(model: ModelProto) -> None:
    """Every node gets a name of its own, those inside If, Loop and Scan too, so that what is said of it can be found again."""
    _named(model.graph, "", set())


def _named(graph: GraphProto, outer: str, taken: set[str]) -> None:
    for index, node in enumerate(graph.node):
        if not node.name or node.name in taken:
            node.name = f"{outer}{node.name or node.op_type}#{index}"
        taken.add(node.name)
        for body in subgraphs(node):
            _named(body, f"{node.name}/", taken)


def types(model: ModelProto) -> Types:
    """Tensor -> what shape inference knows of it, where it knows its type and rank."""
    import onnx

    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError):
        graph = model.graph
    found = {value.name: value for value in (*graph.value_info, *graph.output, *graph.input)}
    kinds = {name: value.type.tensor_type for name, value in found.items()}
    return {name: value for name, value in found.items() if kinds[name].elem_type and kinds[name].HasField("shape")}


def without(model: ModelProto, gone: Collection[str], known: Types) -> tuple[ModelProto, list[str]]:
    """The graph without the nodes of these names: what they gave comes from outside, what they took goes there.

    Returns the graph and the tensors that would have to come from outside but are of unknown type or rank.
    """
    cut = [node for node in model.graph.node if node.name in gone]
    kept = [node for node in model.graph.node if node.name not in gone]
    given = {name for node in cut for name in node.output if name}
    read = {name for node in kept for name in reads(node)}
    made = {name for node in kept for name in node.output}
    outputs = [value for value in model.graph.output if value.name not in given]
    wanted = dict.fromkeys(name for node in cut for name in reads(node) if name in made)
    more = [known[name] for name in wanted if name in known and all(name != value.name for value in outputs)]
    inputs = [known[name] for name in sorted(given & read) if name in known]
    return _part(model, kept, inputs, [*outputs, *more]), sorted(given & read - set(known))


def before(model: ModelProto, ends: Collection[str], known: Types) -> ModelProto | None:
    """What stands before the nodes of these names, and beside them: all that needs none of them. None where that is nothing."""
    after: set[str] = set()
    kept, wanted = [], dict[str, None]()
    for node in model.graph.node:
        names = reads(node)
        if node.name in ends:
            wanted.update(dict.fromkeys(names))
        if node.name in ends or after.intersection(names):
            after.update(node.output)
        else:
            kept.append(node)
    made = {name for node in kept for name in node.output}
    outputs = [value for value in model.graph.output if value.name in made]
    more = [known[name] for name in wanted if name in made & known.keys() and all(name != value.name for value in outputs)]
    return _part(model, kept, [], [*outputs, *more]) if kept and (outputs or more) else None


def reads(node: NodeProto) -> list[str]:
    """What a node reads, from its subgraphs too (their own tensors among them)."""
    found = [name for name in node.input if name]
    for graph in subgraphs(node):
        for inner in graph.node:
            found += reads(inner)
        found += [value.name for value in graph.output]
    return found


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The bodies of If, Loop and Scan."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _part(
    model: ModelProto, nodes: list[NodeProto], inputs: Iterable[ValueInfoProto], outputs: Iterable[ValueInfoProto]
) -> ModelProto:
    """The part that the outputs need, with what it reads."""
    import onnx

    found, ends = onnx.ModelProto(), list(outputs)
    for name in ("ir_version", "producer_name", "domain"):
        setattr(found, name, getattr(model, name))
    found.opset_import.extend(model.opset_import)
    found.functions.extend(model.functions)
    found.graph.name = model.graph.name
    found.graph.node.extend(_needed(nodes, {value.name for value in ends}))
    read = {name for node in found.graph.node for name in reads(node)} | {value.name for value in ends}
    found.graph.initializer.extend(init for init in model.graph.initializer if init.name in read)
    found.graph.sparse_initializer.extend(init for init in model.graph.sparse_initializer if init.values.name in read)
    taken = {value.name: value for value in (*model.graph.input, *inputs) if value.name in read}
    found.graph.input.extend(taken.values())
    found.graph.output.extend(ends)
    return found


def _needed(nodes: list[NodeProto], wanted: set[str]) -> list[NodeProto]:
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(reads(node))
    return kept[::-1]
