"""What passes need of onnx_ir: find tensors and nodes, read and add constants, exchange one tensor for another.

onnx_ir keeps what onnx-graphsurgeon drops (metadata of nodes, 4-bit constants) and leaves external data where they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from generator.errors import SurgeryError
from generator.nearest import missing
from generator.tensors import numpy_dtype, onnx_dtype

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnx import ModelProto

    from generator.passes import TensorType


def edited(model: ModelProto, edit: Callable[[ir.Model], None]) -> ModelProto:
    """`edit` applied to a model: dead code removed, nodes in order, everything else kept."""
    import onnx_ir as ir

    from generator import weight_files

    inner = ir.from_proto(model)
    edit(inner)
    weight_files.settle(inner)
    inner.graph.sort()
    return ir.to_proto(inner)


def tensors(graph: ir.Graph) -> dict[str, ir.Value]:
    """Every named tensor of the main graph: inputs, initialisers and what nodes give."""
    found = {v.name: v for v in (*graph.inputs, *graph.initializers.values()) if v.name}
    found.update({v.name: v for node in graph for v in node.outputs if v.name})
    return found


def find(graph: ir.Graph, name: str) -> ir.Value:
    """A tensor by name. Raises SurgeryError with the nearest names."""
    there = tensors(graph)
    if name not in there:
        raise missing("tensor", name, there)
    return there[name]


def array(value: ir.Value | None) -> NDArray[Any] | None:
    """The numbers of a constant (initialiser or Constant node); None for what is computed or may be overwritten as an input."""
    import onnx_ir as ir

    if value is None or value.is_graph_input():
        return None
    found = ir.convenience.get_const_tensor(value)
    return None if found is None else found.numpy()


def constant(graph: ir.Graph, name: str, values: NDArray[Any]) -> ir.Value:
    """A new initialiser, named `name` or nearly so."""
    import onnx_ir as ir

    from generator import weight_files

    chosen = fresh(graph, name)
    value = ir.val(chosen, const_value=weight_files.held(graph, ir.tensor(values, name=chosen)))
    graph.register_initializer(value)
    return value


def fresh(graph: ir.Graph, name: str) -> str:
    """A name that no tensor of the model, subgraphs included, bears: `name`, else `name_1`, `name_2`, ..."""
    taken = {v.name for node in graph.all_nodes() for v in (*node.outputs, *node.inputs) if v}
    taken |= {v.name for v in (*graph.inputs, *graph.outputs)} | set(graph.initializers)
    return next(n for n in (name, *(f"{name}_{i}" for i in range(1, len(taken) + 2))) if n not in taken)


def exchange(old: ir.Value, new: ir.Value) -> None:
    """Let everything that reads `old` read `new`; a graph output keeps its name, type and shape."""
    if not old.is_graph_output():
        old.replace_all_uses_with(new)
        return
    if new.is_graph_input() or new.is_initializer() or new.is_graph_output():
        new = _copied(new)
    name, new.type, new.shape = old.name, old.type or new.type, old.shape or new.shape
    graph = old.graph
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    old.name = fresh(graph, f"{name}_before") if graph is not None else f"{name}_before"
    new.name = name


def _copied(value: ir.Value) -> ir.Value:
    import onnx_ir as ir

    node = ir.node("Identity", [value], num_outputs=1)
    graph = value.graph
    assert graph is not None
    graph.append(node)
    return node.outputs[0]


def drop(nodes: Iterable[ir.Node]) -> None:
    """Remove nodes whose outputs nothing reads any more."""
    for node in nodes:
        if node.graph is not None and not any(v.uses() or v.is_graph_output() for v in node.outputs):
            node.graph.remove(node, safe=True)


def insert(before: ir.Node, op: str, *inputs: ir.Value | None, name: str = "", **attributes: Any) -> ir.Value:
    """A standard node with one output, put before another; returns the output."""
    import onnx_ir as ir

    graph = home(before)
    node = ir.node(op, inputs, attributes=attributes or None, num_outputs=1, name=fresh(graph, name or op))
    node.outputs[0].name = node.name
    graph.insert_before(before, node)
    return node.outputs[0]


def home(node: ir.Node) -> ir.Graph:
    """The graph that a node lies in."""
    import onnx_ir as ir

    graph = node.graph
    assert isinstance(graph, ir.Graph)
    return graph


def attribute(node: ir.Node, name: str, default: Any = None) -> Any:
    """The value of an attribute, else `default`."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def shape_of(value: ir.Value | None) -> list[int | str | None] | None:
    """Dimensions: numbers, names, or None where one is not known; None where nothing is."""
    if value is None or value.shape is None:
        return None
    return [dim if isinstance(dim, int) else dim.value for dim in value.shape]


def same_shape(a: ir.Value | None, b: ir.Value | None) -> bool:
    """Are both shapes known, and equal in numbers and names?"""
    one = shape_of(a)
    return one is not None and None not in one and one == shape_of(b)


def typed(value: ir.Value, said: TensorType) -> None:
    """Give a tensor type and shape."""
    import onnx_ir as ir

    value.type = ir.TensorType(ir.DataType(onnx_dtype(said.dtype)))
    value.shape = ir.Shape(said.shape)


def cast(values: Any, dtype: str) -> NDArray[Any]:
    """What YAML gives, as an array of `FP32`, `INT64`, ..."""
    try:
        return np.asarray(values, dtype=numpy_dtype(dtype))
    except (ValueError, TypeError, OverflowError) as error:
        raise SurgeryError(f"{values!r} cannot be {dtype}: {error}", "write numbers of that type") from None


def users(value: ir.Value) -> list[ir.Node]:
    """The nodes that read a tensor, subgraphs included."""
    return [use.node for use in value.uses()]


def only_user(value: ir.Value, op: str) -> ir.Node | None:
    """The node that alone reads `value`, where it is an `op` of the same graph and nothing else sees the tensor."""
    readers = users(value)
    if len(readers) != 1 or value.is_graph_output() or readers[0].op_type != op or readers[0].domain:
        return None
    return readers[0] if readers[0].graph is value.graph else None


def standard(graph: ir.Graph, *ops: str) -> Iterator[ir.Node]:
    """The nodes of those standard operators, subgraphs included; nodes removed meanwhile are passed over."""
    for node in list(graph.all_nodes()):
        if node.op_type in ops and not node.domain and node.graph is not None:
            yield node


def there(nodes: Iterable[ir.Node]) -> str:
    """`Conv 12, Relu 11, ...`: what a graph is made of, most frequent first."""
    counts: Mapping[str, int] = Counter(node.op_type for node in nodes)
    return ", ".join(f"{op} {count}" for op, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:12])


def attributes(graph: ir.Graph, op: str, domain: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """What YAML says, in the types that the operator wants; anything goes where nothing is known of it. Raises SurgeryError."""
    kinds = known(graph, op, domain, said)
    return {key: _floats(value) if kinds.get(key) in ("FLOAT", "FLOATS") else value for key, value in said.items()}


def known(graph: ir.Graph, op: str, domain: str, names: Iterable[str]) -> dict[str, str]:
    """Attribute -> type, of a standard operator. Raises SurgeryError for an operator or an attribute that there is not."""
    import onnx

    version = graph.opset_imports.get(domain, 1)
    if not onnx.defs.has(op, version, domain=domain):
        if domain:
            return {}
        standard_ops = {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}
        if op in standard_ops:
            raise SurgeryError(f"{op} is not in opset {version}", "export with a later `opset:`")
        raise missing("ONNX operator", op, standard_ops)
    schema = onnx.defs.get_schema(op, version, domain)
    for key in names:
        if key not in schema.attributes:
            raise missing(f"attribute of {op} called", key, schema.attributes)
    return {key: str(schema.attributes[key].type).rpartition(".")[2] for key in names}


def _floats(value: Any) -> Any:
    return [float(v) for v in value] if isinstance(value, list | tuple) else float(value)
