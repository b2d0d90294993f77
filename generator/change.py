"""A model after a pass: made ready for inference and the checker, and held against the one before in words.

What inference writes, documentation and encodings say nothing: a pass that changes only these has done nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import onnx

from generator import weights

if TYPE_CHECKING:
    from onnx import ModelProto


def tidy(model: ModelProto) -> ModelProto:
    """Declare every domain that is used; forget shapes that inference finds again, so that only custom operators' stay."""
    declared = {o.domain for o in model.opset_import} | {f.domain for f in model.functions}
    nodes = list(all_nodes(model.graph))
    for domain in dict.fromkeys(n.domain for n in nodes if n.domain and n.domain not in declared):
        model.opset_import.add(domain=domain, version=1)
    unknown = {name for node in nodes if is_custom(node, model) for name in node.output}
    kept = [value for value in model.graph.value_info if value.name in unknown]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)
    return model


def is_custom(node: onnx.NodeProto, model: ModelProto) -> bool:
    """An operator that neither ONNX nor the model's own functions define."""
    if any((f.domain, f.name) == (node.domain, node.op_type) for f in model.functions):
        return False
    return not onnx.defs.has(node.op_type, domain=node.domain)


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of subgraphs included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else list(attribute.graphs):
                yield from all_nodes(inner)


def there(model: ModelProto) -> str:
    """`Conv 12, Relu 11, ...`: what the graph is made of."""
    return ", ".join(f"{op} {count}" for op, count in Counter(n.op_type for n in all_nodes(model.graph)).most_common(12))


def difference(before: ModelProto, after: ModelProto) -> str:
    """`12 -> 10 nodes (Identity -2), 5 -> 4 constants`."""
    one, two = (Counter(n.op_type for n in all_nodes(m.graph)) for m in (before, after))
    changed = [f"{op} {two[op] - one[op]:+d}" for op in sorted({*one, *two}) if one[op] != two[op]]
    constants = [len(m.graph.initializer) for m in (before, after)]
    said = f"{one.total()} -> {two.total()} nodes" + (f" ({', '.join(changed)})" if changed else "")
    return said + (f", {constants[0]} -> {constants[1]} constants" if constants[0] != constants[1] else "")


def same(one: ModelProto, two: ModelProto) -> bool:
    """Do both say the same, apart from documentation and the shapes of inner tensors?"""
    return _essence(one) == _essence(two) and _weights_same(one, two)


def _essence(model: ModelProto) -> bytes:
    """All but the weights, in onnx_ir's way of writing, where what is empty is not there; nodes in order."""
    import onnx_ir

    inner = onnx_ir.from_proto(weights.skeleton(model))
    inner.graph.sort()
    essence = onnx_ir.to_proto(inner)
    for field in ("producer_name", "producer_version", "doc_string", "metadata_props"):
        essence.ClearField(field)
    essence.graph.ClearField("initializer")
    outer = {init.name for init in model.graph.initializer}
    for value in [value for value in essence.graph.input if value.name in outer]:
        essence.graph.input.remove(value)
    _bare(essence.graph, top=True)
    opsets = sorted((o.domain, o.version) for o in essence.opset_import)
    essence.ClearField("opset_import")
    return essence.SerializeToString(deterministic=True) + repr(opsets).encode()


def _weights_same(one: ModelProto, two: ModelProto) -> bool:
    """Initialisers by name, in whatever encoding and wherever they lie; their order says nothing."""
    a, b = ({init.name: init for init in model.graph.initializer} for model in (one, two))
    return a.keys() == b.keys() and all(_alike(a[name], b[name]) for name in a)


def _alike(a: onnx.TensorProto, b: onnx.TensorProto) -> bool:
    if a.data_type != b.data_type or list(a.dims) != list(b.dims):
        return False
    if a.data_type == onnx.TensorProto.STRING:
        return list(a.string_data) == list(b.string_data)
    if weights.outside(a) and weights.outside(b) and weights.place(a) == weights.place(b):
        return True
    return weights.data(a) == weights.data(b)


def _bare(graph: onnx.GraphProto, top: bool) -> None:
    """Without what inference writes (inner shapes, names for sizes that have none), documentation, the order of attributes."""
    for field in ("value_info", "doc_string", "name"):
        graph.ClearField(field)
    for value in (*graph.input, *graph.output):
        value.ClearField("doc_string")
        if not top:
            value.ClearField("type")
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param.startswith("unk__"):
                dim.ClearField("dim_param")
    for node in graph.node:
        node.ClearField("doc_string")
        for attribute in node.attribute:
            if attribute.HasField("t"):
                attribute.t.ClearField("name")
            for inside in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                _bare(inside, top=False)
        texts = [a.SerializeToString(deterministic=True) for a in sorted(node.attribute, key=lambda a: a.name)]
        del node.attribute[:]
        for text in texts:
            node.attribute.add().ParseFromString(text)
