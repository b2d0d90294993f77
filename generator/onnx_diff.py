"""Two ONNX graphs compared: nodes, initialisers, inputs and outputs that were added, removed or changed.

Nodes are matched by name and operator first, then by what they compute (operator, attributes and everything above them), then by
what reads them, then by their neighbours; so that a graph whose names all changed is still recognised. Documentation, metadata
and the shapes of inner tensors say nothing.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx

from generator.diff_ends import Entry, constants, content, ends, opsets, shape

Node = onnx.NodeProto
#: Where a tensor comes from: (node index, output index), or the name of an input or constant.
Source = tuple[int, int] | str

_SHOWN = 60


@dataclass
class Side:
    """One of both graphs, with what is looked up again and again."""

    model: onnx.ModelProto
    nodes: list[Node] = field(init=False)
    constants: dict[str, onnx.TensorProto] = field(init=False)
    inputs: dict[str, onnx.ValueInfoProto] = field(init=False)
    made: dict[str, Source] = field(init=False)
    read: dict[int, list[int]] = field(init=False)

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.constants = {init.name: init for init in graph.initializer}
        self.nodes = list(graph.node)
        self.inputs = {value.name: value for value in graph.input if value.name not in self.constants}
        self.made = {name: (i, k) for i, node in enumerate(self.nodes) for k, name in enumerate(node.output) if name}
        self.read = defaultdict(list)
        for index, node in enumerate(self.nodes):
            for name in reads(node):
                if isinstance(source := self.made.get(name), tuple):
                    self.read[source[0]].append(index)

    def above(self, index: int) -> list[int]:
        """The nodes that a node reads from."""
        return [s[0] for name in reads(self.nodes[index]) if isinstance(s := self.made.get(name), tuple)]


@dataclass
class Diff:
    """What differs, and which node of the first graph is which of the second."""

    before: Side
    after: Side
    pairs: dict[int, int]
    #: Inputs and constants of the first graph by their names in the second.
    same: dict[str, str]
    entries: list[Entry]

    @property
    def equal(self) -> bool:
        """Nothing differs, names included."""
        return not self.entries

    def summary(self) -> str:
        """`nodes: 2 added, 1 changed; inputs: 1 renamed`"""
        counts = Counter((entry.kind, entry.status) for entry in self.entries)
        kinds = dict.fromkeys(entry.kind for entry in self.entries)
        order = ("added", "removed", "changed", "renamed")
        said = {kind: ", ".join(f"{counts[kind, s]} {s}" for s in order if counts[kind, s]) for kind in kinds}
        return "; ".join(f"{kind}s: {text}" for kind, text in said.items()) or "equal"


def reads(node: Node) -> list[str]:
    """The tensors that a node reads, those that its subgraphs take from outside included."""
    return [*node.input, *(name for a in node.attribute for g in ([a.g] if a.HasField("g") else a.graphs) for name in _outer(g))]


def _outer(graph: onnx.GraphProto) -> Iterator[str]:
    own = {v.name for v in graph.input} | {i.name for i in graph.initializer} | {o for n in graph.node for o in n.output}
    for node in graph.node:
        yield from (name for name in reads(node) if name and name not in own)


def diff(one: onnx.ModelProto, two: onnx.ModelProto) -> Diff:
    """Compare two models; external data must be loaded for their values to count."""
    before, after = Side(one), Side(two)
    inputs, found_inputs = ends("input", before.inputs, after.inputs)
    same_constants, found_constants = constants(before, after)
    same = {**inputs, **same_constants}
    pairs = _matched(before, after, same)
    entries = [*opsets(one, two), *found_inputs]
    entries += ends("output", {o.name: o for o in one.graph.output}, {o.name: o for o in two.graph.output})[1]
    entries += [*_nodes(before, after, pairs, same), *found_constants]
    return Diff(before, after, pairs, same, entries)


def attributes(node: Node) -> dict[str, Any]:
    """Attributes by name; tensors and graphs by a digest."""
    return {a.name: _attribute(a) for a in node.attribute}


def _attribute(attribute: onnx.AttributeProto) -> Any:
    if attribute.type in (onnx.AttributeProto.TENSOR, onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
        if attribute.HasField("t"):
            return f"{shape(attribute.t)} {content(attribute.t)[2]!s:.8}"
        return f"graph {hashlib.sha256(attribute.SerializeToString(deterministic=True)).hexdigest():.8}"
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return tuple(value) if not isinstance(value, int | float | str) else value


def _own(node: Node) -> Hashable:
    return (node.domain, node.op_type, len(node.output), tuple(sorted((k, repr(v)) for k, v in attributes(node).items())))


def _matched(before: Side, after: Side, same: Mapping[str, str]) -> dict[int, int]:
    """Index in the first graph -> index in the second."""
    pairs: dict[int, int] = {}
    back = {b: a for a, b in same.items()}
    up, down = _above(before, {}), _above(after, back)
    by_name: list[Callable[[Side, int], Hashable | None]] = [
        lambda side, i: (side.nodes[i].name, side.nodes[i].op_type) if side.nodes[i].name else None,
        lambda side, i: (side.nodes[i].op_type, tuple(side.nodes[i].output)),
    ]
    for key in by_name:
        _pair(before, after, pairs, lambda i, k=key: k(before, i), lambda i, k=key: k(after, i))  # type: ignore[misc]
    _pair(before, after, pairs, up.get, down.get)
    while _neighbours(before, after, pairs):
        pass
    _pair(before, after, pairs, lambda i: before.nodes[i].name or None, lambda i: after.nodes[i].name or None)
    return pairs


def _above(side: Side, names: Mapping[str, str]) -> dict[int, Hashable]:
    """For each node a digest of all that leads to it; inputs and constants by their name in the first graph."""
    found: dict[int, Hashable] = {}
    for index, node in enumerate(side.nodes):
        sources = []
        for name in reads(node):
            source = side.made.get(name)
            known = isinstance(source, tuple) and source[0] in found
            sources.append((found[source[0]], source[1]) if known and isinstance(source, tuple) else names.get(name, name))
        found[index] = hashlib.sha256(repr((_own(node), sources)).encode()).hexdigest()
    return found


def _pair(
    before: Side, after: Side, pairs: dict[int, int], one: Callable[[int], Hashable | None], two: Callable[[int], Hashable | None]
) -> int:
    """Pair the nodes left over that agree in a key; where several do, in their order."""
    taken, waiting = set(pairs.values()), defaultdict(list)
    for index in range(len(after.nodes)):
        if index not in taken and (key := two(index)) is not None:
            waiting[key].append(index)
    count = 0
    for index in range(len(before.nodes)):
        key = None if index in pairs else one(index)
        if key is not None and waiting.get(key):
            pairs[index] = waiting[key].pop(0)
            count += 1
    return count


def _neighbours(before: Side, after: Side, pairs: dict[int, int]) -> int:
    """Pair nodes of one operator that stand beside the same partners."""
    back = {b: a for a, b in pairs.items()}

    def reader(side: Side, index: int, partner: Callable[[int], int | None]) -> Hashable | None:
        near = [p for n in side.read[index] if (p := partner(n)) is not None]
        return (side.nodes[index].op_type, "read by", min(near)) if near else None

    def source(side: Side, index: int, partner: Callable[[int], int | None]) -> Hashable | None:
        near = [p for n in side.above(index) if (p := partner(n)) is not None]
        return (side.nodes[index].op_type, "reads", max(near)) if near else None

    for key in (source, reader):
        found = _pair(
            before, after, pairs,
            lambda i, k=key: k(before, i, lambda n: n if n in pairs else None),  # type: ignore[misc]
            lambda i, k=key: k(after, i, back.get),  # type: ignore[misc]
        )  # fmt: skip
        if found:
            return found
    return 0


def _nodes(before: Side, after: Side, pairs: Mapping[int, int], same: Mapping[str, str]) -> Iterator[Entry]:
    taken = set(pairs.values())
    for index, node in enumerate(before.nodes):
        if index not in pairs:
            yield Entry("node", "removed", label(node), node.op_type)
        else:
            yield from _changed(before, after, (index, pairs[index]), pairs, same)
    for index, node in enumerate(after.nodes):
        if index not in taken:
            yield Entry("node", "added", label(node), node.op_type)


def label(node: Node) -> str:
    """The node's name, or its first output where it has none."""
    return node.name or f"({next(iter(node.output), '')})"


def _changed(
    before: Side, after: Side, pair: tuple[int, int], pairs: Mapping[int, int], same: Mapping[str, str]
) -> Iterator[Entry]:
    a, b = before.nodes[pair[0]], after.nodes[pair[1]]
    details = changes(before, after, pair, pairs, same)
    if details:
        yield Entry("node", "changed", label(b), b.op_type, tuple(details))
    elif a.name != b.name or list(a.output) != list(b.output):
        what = f"was {label(a)}" if a.name != b.name else f"gives {', '.join(b.output)}, was {', '.join(a.output)}"
        yield Entry("node", "renamed", label(b), b.op_type, (what,))


def changes(before: Side, after: Side, pair: tuple[int, int], pairs: Mapping[int, int], same: Mapping[str, str]) -> list[str]:
    """What differs between two nodes that belong together, in words; names alone are no change."""
    a, b = before.nodes[pair[0]], after.nodes[pair[1]]
    found = [f"was {a.op_type}"] if (a.domain, a.op_type) != (b.domain, b.op_type) else []
    one, two = attributes(a), attributes(b)
    for key in sorted(one.keys() | two.keys()):
        if one.get(key) != two.get(key):
            found.append(f"{key}: {_short(one.get(key))} -> {_short(two.get(key))}")
    for index in range(max(len(a.input), len(b.input))):
        name, other = (list(n.input)[index] if index < len(n.input) else "" for n in (a, b))
        if _mapped(before.made.get(name, name), pairs, same) != after.made.get(other, other):
            found.append(f"input {index}: {name or '(none)'} -> {other or '(none)'}")
    return found


def _mapped(source: Source, pairs: Mapping[int, int], same: Mapping[str, str]) -> Any:
    if isinstance(source, str):
        return same.get(source, source)
    return (pairs.get(source[0], ("removed", source[0])), source[1])


def _short(value: Any) -> str:
    if value is None:
        return "(none)"
    text = str(list(value)) if isinstance(value, tuple) else f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def rows(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """As JSON."""
    return [{"kind": e.kind, "status": e.status, "name": e.name, "op": e.op, "details": list(e.details)} for e in entries]
