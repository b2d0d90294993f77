"""Patterns of operators, said in YAML: a chain in which each node reads what the one before gives."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from generator import editing
from generator.errors import SurgeryError
from generator.nearest import listed, missing
from generator.plugin import Model

if TYPE_CHECKING:
    import onnx_ir as ir

#: Attributes are told apart from this relative distance on: 0.1 in YAML is not 0.1 in float32.
_CLOSE = 1e-6


class OneNode(Model):
    """What a node has to be like."""

    op: Annotated[str, Field(description="The operator, such as `Add`; `*` for any.")] = "*"
    domain: Annotated[str, Field(description="Its domain; empty for ONNX's own.")] = ""
    name: Annotated[str, Field(description="The node's name; `*` and `?` stand for any characters.")] = "*"
    attributes: Annotated[
        dict[str, Any], Field(default_factory=dict, description="Attributes and the values that they must have.")
    ]

    def fits(self, node: ir.Node) -> bool:
        """Is it like that?"""
        return (
            self.op in ("*", node.op_type)
            and node.domain == self.domain
            and fnmatch.fnmatchcase(node.name or "", self.name)
            and all(_equal(editing.attribute(node, key), value) for key, value in self.attributes.items())
        )

    def __str__(self) -> str:
        conditions = [f"{key}={value}" for key, value in self.attributes.items()]
        name = [] if self.name == "*" else [repr(self.name)]
        return f"{self.domain and self.domain + '::'}{self.op}" + (
            f"({', '.join([*name, *conditions])})" if name or conditions else ""
        )


def _equal(found: Any, wanted: Any) -> bool:
    if found is None or isinstance(wanted, str) or isinstance(found, str):
        return bool(found == wanted)
    try:
        return np.shape(found) == np.shape(wanted) and bool(np.allclose(found, wanted, rtol=_CLOSE, atol=0))
    except (TypeError, ValueError):
        return False


@dataclass(frozen=True)
class Match:
    """The nodes of a chain, and what they read from outside in that order."""

    nodes: tuple[ir.Node, ...]

    @property
    def inputs(self) -> list[ir.Value | None]:
        """What the chain's nodes read, without what they hand to each other."""
        inner = {id(v) for node in self.nodes[:-1] for v in node.outputs}
        return [value for node in self.nodes for value in node.inputs if value is None or id(value) not in inner]


def chains(graph: ir.Graph, pattern: tuple[OneNode, ...]) -> list[Match]:
    """Every place where the pattern lies, none overlapping; what is handed on inside must be read by nothing else."""
    taken: set[int] = set()
    found = []
    for node in list(graph.all_nodes()):
        for chain in _from(node, pattern):
            if not taken & {id(n) for n in chain}:
                taken |= {id(n) for n in chain}
                found.append(Match(chain))
                break
    return found


def _from(node: ir.Node, pattern: tuple[OneNode, ...]) -> Iterator[tuple[ir.Node, ...]]:
    if not pattern[0].fits(node):
        return
    if len(pattern) == 1:
        yield (node,)
        return
    readers = [user for value in node.outputs for user in editing.users(value)]
    if len({id(user) for user in readers}) == 1 and not any(v.is_graph_output() for v in node.outputs):
        for rest in _from(readers[0], pattern[1:]) if readers[0].graph is node.graph else ():
            yield (node, *rest)


def demand(kind: str, graph: ir.Graph, pattern: tuple[OneNode, ...], count: int | None) -> list[Match]:
    """The matches. Raises SurgeryError where there is none, or not as many as the user said."""
    found = chains(graph, pattern)
    text = " -> ".join(map(str, pattern))
    if not found:
        raise _none(kind, graph, pattern, text)
    if count is not None and len(found) != count:
        places = listed(_place(match) for match in found)
        raise SurgeryError(
            f"{kind}: {text} matches {len(found)} times, count is {count}: {places}",
            "narrow it with name or attributes, or correct count",
        )
    return found


def _place(match: Match) -> str:
    node = match.nodes[-1]
    return node.name or f"{node.op_type} (output {node.outputs[0].name})"


def _none(kind: str, graph: ir.Graph, pattern: tuple[OneNode, ...], text: str) -> SurgeryError:
    nodes = list(graph.all_nodes())
    for one in pattern:
        same_op = [node for node in nodes if one.op in ("*", node.op_type) and node.domain == one.domain]
        if not same_op:
            error = missing("operator", one.op, [node.op_type for node in nodes])
            return SurgeryError(f"{kind}: {error.message} in the graph", f"{error.remedy}; it has {editing.there(nodes)}")
        if not any(one.fits(node) for node in same_op):
            there = listed(f"{node.name or node.outputs[0].name}{_said(node, one.attributes)}" for node in same_op)
            return SurgeryError(f"{kind}: nothing is like {one}", f"the nodes of that operator are {there}")
    return SurgeryError(
        f"{kind}: {text} is nowhere in the graph, though its operators are",
        "each node must read what the one before gives, and nothing else may read it",
    )


def _said(node: ir.Node, wanted: Mapping[str, Any]) -> str:
    said = [f"{key}={editing.attribute(node, key)}" for key in wanted]
    return f" ({', '.join(said)})" if said else ""
