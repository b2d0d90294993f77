"""What a picture of a difference shows: the nodes that changed, those beside them, and how they hang together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

from generator.diff_ends import tensor
from generator.onnx_diff import Diff, Side, changes, label, reads

#: A picture shows at most so many boxes; one with more says how many changes it leaves out.
MAX_BOXES = 150
_DETAILS = 4


@dataclass
class Box:
    """A node, an input or an output. `status`: added, removed, changed or same."""

    key: str
    title: str
    lines: tuple[str, ...]
    status: str
    shape: str = "node"  # or "end", for inputs and outputs of the model


@dataclass(frozen=True)
class Edge:
    """A tensor between two boxes."""

    source: str
    target: str
    status: str


@dataclass
class Piece:
    """Boxes that hang together; `times` where the same picture would be drawn again and again."""

    boxes: dict[str, Box] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    times: int = 1

    @property
    def changed(self) -> int:
        """How many of the boxes are not the same on both sides."""
        return sum(box.status != "same" for box in self.boxes.values())


@dataclass
class Scene:
    """All pieces in the order of the graph, and how many changed boxes there was no room for."""

    pieces: list[Piece]
    left_out: int


def scene(found: Diff) -> Scene:
    """The changed neighbourhood of both graphs in one."""
    boxes, edges = _from_inputs(*_union(found))
    pieces, room, left_out = [], MAX_BOXES, 0
    for piece in _once(_pieces(boxes, edges)):
        shown = _cut(piece, room)
        left_out += piece.times * piece.changed - shown.times * shown.changed
        room -= len(shown.boxes)
        pieces += [shown] if shown.boxes else []
    return Scene(pieces, left_out)


def _from_inputs(boxes: dict[str, Box], edges: list[Edge]) -> tuple[dict[str, Box], list[Edge]]:
    """Without constants, and what is computed from them alone: the table has them, a picture would drown in them."""
    readers: dict[str, list[str]] = {}
    for edge in edges:
        readers.setdefault(edge.source, []).append(edge.target)
    waiting = [key for key in boxes if key.startswith("in ")]
    alive = set(waiting) | {key for key in boxes if key.startswith("out ")}
    while waiting:
        fresh = [key for key in readers.get(waiting.pop(), []) if key not in alive]
        alive |= set(fresh)
        waiting += fresh
    return {k: box for k, box in boxes.items() if k in alive}, [e for e in edges if {e.source, e.target} <= alive]


def _cut(piece: Piece, room: int) -> Piece:
    kept = dict(list(piece.boxes.items())[:room]) if room > 0 else {}
    return Piece(kept, [e for e in piece.edges if {e.source, e.target} <= kept.keys()], piece.times)


def _union(found: Diff) -> tuple[dict[str, Box], list[Edge]]:
    """Both graphs as one: a pair is one box, what only one of both has is coloured."""
    boxes: dict[str, Box] = {}
    back = {b: a for a, b in found.pairs.items()}
    for index, node in enumerate(found.after.nodes):
        old = back.get(index)
        said = changes(found.before, found.after, (old, index), found.pairs, found.same) if old is not None else []
        said = [line for line in said if not line.startswith("input ")]  # what it reads, the lines say
        status = "added" if old is None else "changed" if said else "same"
        boxes[f"b{index}"] = Box(f"b{index}", node.op_type, (label(node), *said[:_DETAILS], *_weights(found, old, index)), status)
    for index, node in enumerate(found.before.nodes):
        if index not in found.pairs:
            boxes[f"a{index}"] = Box(f"a{index}", node.op_type, (label(node),), "removed")
    new = _edges(found.after, lambda index: f"b{index}")
    old_edges = _edges(found.before, lambda index: f"b{found.pairs[index]}" if index in found.pairs else f"a{index}")
    _ends(found, boxes, old_edges)
    edges = [Edge(s, t, "same" if (s, t) in old_edges else "added") for s, t in new]
    return boxes, edges + [Edge(s, t, "removed") for s, t in old_edges if (s, t) not in new]


def _weights(found: Diff, old: int | None, index: int) -> list[str]:
    """Constants of the same place whose shape or values changed."""
    lines = []
    for name in found.after.nodes[index].input if old is not None else ():
        for entry in found.entries:
            if entry.kind == "initialiser" and entry.status == "changed" and entry.name == name:
                lines.append(f"{name}: {entry.details[0]}")
    return lines[:2]


def _edges(side: Side, key: Callable[[int], str]) -> dict[tuple[str, str], None]:
    found: dict[tuple[str, str], None] = {}
    for index, node in enumerate(side.nodes):
        for name in reads(node):
            source = side.made.get(name)
            if isinstance(source, tuple):
                found[key(source[0]), key(index)] = None
            elif name in side.inputs:
                found[f"in {name}", key(index)] = None
    for output in side.model.graph.output:
        source = side.made.get(output.name)
        if isinstance(source, tuple):
            found[key(source[0]), f"out {output.name}"] = None
    return found


def _ends(found: Diff, boxes: dict[str, Box], old: dict[tuple[str, str], None]) -> None:
    """Boxes for inputs and outputs; one that was renamed is one box, and its old edges lead to it."""
    said = {(e.kind, e.name): e for e in found.entries if e.kind in ("input", "output")}
    for kind, prefix, side in (
        ("input", "in", found.after),
        ("output", "out", found.after),
        ("input", "in", found.before),
        ("output", "out", found.before),
    ):
        values = side.inputs.values() if kind == "input" else side.model.graph.output
        for value in values:
            entry = said.get((kind, value.name))
            key = f"{prefix} {value.name}"
            if key in boxes or (side is found.before and _renamed(found, kind, value.name)):
                continue
            status = entry.status if entry else "same"
            lines = (tensor(value), *(entry.details if entry else ()))
            boxes[key] = Box(key, value.name, lines, "changed" if status == "renamed" else status, "end")
    for kind, prefix in (("input", "in"), ("output", "out")):
        for entry in found.entries:
            if entry.kind == kind and entry.status == "renamed":
                _redirect(old, f"{prefix} {entry.details[0].removeprefix('was ')}", f"{prefix} {entry.name}")


def _renamed(found: Diff, kind: str, name: str) -> bool:
    return any(e.kind == kind and e.status == "renamed" and e.details[0] == f"was {name}" for e in found.entries)


def _redirect(edges: dict[tuple[str, str], None], old: str, new: str) -> None:
    for source, target in [edge for edge in edges if old in edge]:
        del edges[source, target]
        edges[new if source == old else source, new if target == old else target] = None


def _pieces(boxes: dict[str, Box], edges: list[Edge]) -> list[Piece]:
    """What changed together, each with the unchanged boxes around it, in the order of the graph.

    Changes belong together where they touch, and where one unchanged box feeds both or is fed by both.
    """
    group = {key: key for key, box in boxes.items() if box.status != "same"}

    def root(key: str) -> str:
        while group[key] != key:
            key = group[key]
        return key

    beside: dict[tuple[str, str], str] = {}
    for edge in edges:
        for one, other, side in ((edge.source, edge.target, "feeds"), (edge.target, edge.source, "is fed")):
            if other in group and one in group:
                group[root(one)] = root(other)
            elif other in group:
                group[root(other)] = root(beside.setdefault((one, side), other))
    members: dict[str, set[str]] = {}
    for key in group:
        members.setdefault(root(key), set()).add(key)
    parts = [part | _around(part, edges) for part in members.values()]
    rewired = [e for e in edges if e.status != "same" and not any({e.source, e.target} <= part for part in parts)]
    parts += [{edge.source, edge.target} for edge in rewired]
    return [
        Piece({k: box for k, box in boxes.items() if k in part}, [e for e in edges if {e.source, e.target} <= part])
        for part in parts
    ]


def _around(part: set[str], edges: Iterable[Edge]) -> set[str]:
    return {end for edge in edges if {edge.source, edge.target} & part for end in (edge.source, edge.target)}


def _once(pieces: list[Piece]) -> list[Piece]:
    """Pieces that look alike, names aside, become one with a count."""
    found: dict[Hashable, Piece] = {}
    for piece in pieces:
        number = {key: i for i, key in enumerate(piece.boxes)}
        looks = (
            tuple((b.title, b.status, b.shape, b.lines[1:]) for b in piece.boxes.values()),
            tuple(sorted((number[e.source], number[e.target], e.status) for e in piece.edges)),
        )
        if looks in found:
            found[looks].times += 1
        else:
            found[looks] = piece
    return list(found.values())
