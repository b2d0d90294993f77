"""Which nodes stay in FP32, and why: one rule after the other, the first that speaks decides.

By the spec, by name (what head and NMS appended), by operator, by ONNX's types, by what a tensor is for (shapes, indices, sums),
and by numbers: tensors measured on samples, and weights.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from generator.half_oracle import MOVES
from generator.half_slots import Slots, single, slots, standard
from generator.nearest import missing

if TYPE_CHECKING:
    import onnx_ir as ir

#: Operators by which order or selection is decided, control flow (whole, with what its subgraphs read), and sequences of numbers.
_SELECT = {"NonMaxSuppression", "TopK", "EfficientNMS_TRT"}
_CONTROL = {"If", "Loop", "Scan", "SequenceMap"}
#: Sums over many numbers. A kernel may add them up in half: from 2048 on, adding one to an FP16 number changes nothing.
_SUMS = {
    "ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd",
    "CumSum", "LpNormalization", "MeanVarianceNormalization",
}  # fmt: skip
#: Between a sum and its use: (mean + epsilon) ** -0.5 and the like.
_AFTER_SUM = {"Add", "Sqrt", "Reciprocal", "Pow", "Max", "Clip", "Log"}
_SQUARES = {"Pow", "Mul"}
#: Arithmetic on positions, which ends as whole numbers.
_POSITIONS = MOVES | {"Add", "Sub", "Mul", "Div", "Floor", "Ceil", "Round", "Clip", "Min", "Max", "Neg", "Abs", "Mod", "Where"}
#: The share of its L2 norm that a weight may lose, in units of the format's rounding: beyond it, numbers have vanished.
_LOST = 8


@dataclass(frozen=True)
class Format:
    """A half type in numbers."""

    name: str  # as onnx.defs calls it
    largest: float
    #: Rounding changes a number by at most this share of it, as long as it is not subnormal.
    rounding: float
    #: Operators that ONNX has in it, and TensorRT has not.
    refused: frozenset[str] = frozenset()


@dataclass
class Choice:
    """What decides; `choose` fills `kept`."""

    graph: ir.Graph
    form: Format
    opset: int
    #: max |x| of each tensor.
    measured: Mapping[str, float]
    #: From here on a tensor is too large to be held in half.
    limit: float
    kept: dict[ir.Node, str] = field(default_factory=dict)
    _slots: dict[ir.Node, Slots] = field(default_factory=dict)

    def slots(self, node: ir.Node) -> Slots:
        """What of a node can become half; of control flow nothing."""
        if node not in self._slots:
            self._slots[node] = slots(node, self.opset, self.form.name)
        return self._slots[node]

    def choose(self, patterns: Sequence[str]) -> dict[ir.Node, str]:
        """node -> why it stays in FP32. Raises SurgeryError for a pattern that fits no node."""
        _fits(patterns, self.graph)
        nodes = [node for node in self.graph if self._floats(node)]
        data, positions = _from_inputs(self.graph), _positions(nodes)
        sums = _sums(nodes)
        for node in nodes:
            why = (
                _said(patterns, node)
                or _operator(node)
                or self.slots(node).why
                or self._refused(node)
                or ("" if node in data else "it computes from shapes alone")
                or ("indices are made of it" if node in positions else "")
                or ("sums" if node in sums else "")
                or self._numbers(node)
            )
            if why:
                self.kept[node] = why
        self._carry([node for node in nodes if node.op_type in MOVES and standard(node)])
        return self.kept

    def _carry(self, moves: Sequence[ir.Node]) -> None:
        """Keep what only moves numbers behind nodes that are kept, and between inputs and such nodes: no Cast down and up."""
        why, wide = "it only moves what is in FP32", set()
        for node in moves:
            data = [value for value in node.inputs if value is not None and single(value) and not value.is_initializer()]
            sources = [value.producer() for value in data]
            if node not in self.kept and sources and all(source in self.kept for source in sources):
                self.kept[node] = why
            if sources and all(source is None or source in self.kept or source in wide for source in sources):
                wide.add(node)
        for node in reversed(moves):
            readers = [use.node for value in node.outputs for use in value.uses()]
            if node in wide and readers and all(reader in self.kept for reader in readers):
                self.kept.setdefault(node, why)

    def _floats(self, node: ir.Node) -> bool:
        """Has it anything in FP32? Control flow may read such inside."""
        found = self.slots(node)
        return bool(found.inputs or found.outputs or found.why) or node.op_type in _CONTROL

    def _refused(self, node: ir.Node) -> str:
        """What NVIDIA's parser refuses: an LSTM whose rows have lengths mixes its own FP32 with the half type of the data."""
        lengths = node.op_type == "LSTM" and len(node.inputs) > 4 and node.inputs[4] is not None
        return f"TensorRT has no {self.form.name} for it" if lengths or node.op_type in self.form.refused else ""

    def _numbers(self, node: ir.Node) -> str:
        """What is too large for half, or vanishes in it, among what a node reads and gives."""
        for index in self.slots(node).inputs:
            value = node.inputs[index]
            if value is not None and (why := self._weight(value, _vanishing_hurts(node, index))):
                return why
        touched = [node.inputs[i] for i in self.slots(node).inputs] + [node.outputs[i] for i in self.slots(node).outputs]
        for value in touched:
            size = self.measured.get(value.name or "", 0.0) if value is not None else 0.0
            if value is not None and not size <= self.limit:
                reaches = f"|{value.name}| reaches {size:.3g}" if isfinite(size) else f"{value.name} holds NaN or infinity"
                return f"overflow: {reaches}"
        return ""

    def _weight(self, value: ir.Value, all_of_it: bool) -> str:
        if value.const_value is None or value.is_graph_input():
            return ""
        return _judged(value, self.form, all_of_it)


def _judged(value: ir.Value, form: Format, all_of_it: bool) -> str:
    known: str | None = value.meta.get(f"judged {form.name} {all_of_it}")
    if known is None:
        assert value.const_value is not None
        why = judge(value.const_value.numpy(), form, all_of_it)
        known = f"weight: {value.name} {why}" if why else ""
        value.meta[f"judged {form.name} {all_of_it}"] = known
    return known


def judge(numbers: NDArray[Any], form: Format, all_of_it: bool) -> str:
    """What is wrong with a constant in half; nothing where it may be. `all_of_it`: no number may become zero."""
    import ml_dtypes
    from numpy import errstate

    if not numbers.size:
        return ""
    size = float(np.abs(numbers).max())
    if not size <= form.largest:
        return f"overflows: it reaches {size:.3g}"
    with errstate(over="ignore", under="ignore"):
        half = numbers.astype(np.float16 if form.name == "float16" else ml_dtypes.bfloat16).astype(np.float32)
    if (all_of_it or numbers.size == 1) and bool(((half == 0) & (numbers != 0)).any()):
        return f"vanishes: {float(np.abs(numbers[numbers != 0]).min()):.3g} would be 0"
    norm = float(np.linalg.norm(numbers.reshape(-1)))
    lost = float(np.linalg.norm((numbers - half).reshape(-1))) / norm if norm else 0.0
    return f"loses {lost:.1%} of its norm: its numbers are too small" if lost > _LOST * form.rounding else ""


def _vanishing_hurts(node: ir.Node, index: int) -> bool:
    """Divisors and variances."""
    return (node.op_type, index) in {("Div", 1), ("BatchNormalization", 4)}


def _fits(patterns: Iterable[str], graph: ir.Graph) -> None:
    nodes = list(graph)
    for pattern in patterns:
        if not any(_match(pattern, node) for node in nodes):
            kinds = sorted({node.op_type for node in nodes})
            raise missing("operator type or node for `keep` like", pattern, [*kinds, *(node.name or "" for node in nodes)])


def _match(pattern: str, node: ir.Node) -> bool:
    return pattern in (node.op_type, node.name) or fnmatch.fnmatchcase(node.name or "", pattern)


def _said(patterns: Iterable[str], node: ir.Node) -> str:
    return next((f"keep: {pattern}" for pattern in patterns if _match(pattern, node)), "")


def _operator(node: ir.Node) -> str:
    if appended().match(node.name or ""):
        return "head and NMS"
    if node.op_type in _SELECT:
        return "it selects by score"
    if node.op_type in _CONTROL:
        return "control flow"
    return "positions are counted" if node.op_type == "Range" else ""


@functools.cache
def appended() -> re.Pattern[str]:
    """The names of nodes that heads and NMS strategies append (`Builder`: head/yolov8/Mul_3)."""
    from generator.plugin import family

    kinds = [*(f"head/{kind}" for kind in family("generator.heads")), *(f"nms/{kind}" for kind in family("generator.nms"))]
    return re.compile(f"({'|'.join(map(re.escape, kinds))})/")


def _reads(node: ir.Node) -> Iterator[ir.Value]:
    """What a node reads, its subgraphs' reads of outer tensors included."""
    yield from (value for value in node.inputs if value is not None)
    for attribute in node.attributes.values():
        held: Any = attribute.value
        for inner in {"GRAPH": [held], "GRAPHS": held}.get(attribute.type.name, []):
            for child in inner.all_nodes():
                yield from (value for value in child.inputs if value is not None)


def _from_inputs(graph: ir.Graph) -> set[ir.Node]:
    """Nodes that compute from the numbers of inputs, not from shapes and constants alone."""
    given, found = {id(value) for value in graph.inputs}, set()
    for node in graph:
        if node.op_type in ("Shape", "Size") and standard(node):
            continue
        random = node.op_type.startswith(("Random", "Bernoulli", "Multinomial"))
        if random or any(id(value) in given for value in _reads(node)):
            found.add(node)
            given.update(id(value) for value in node.outputs)
    return found


def _positions(nodes: Sequence[ir.Node]) -> set[ir.Node]:
    """Arithmetic whose result becomes a whole number, from there back to what is no arithmetic."""
    todo = [value for node in nodes for value in node.outputs if any(_counts(use.node) for use in value.uses())]
    found: set[ir.Node] = set()
    while todo:
        node = todo.pop().producer()
        if node is not None and node not in found and node.op_type in _POSITIONS:
            found.add(node)
            todo += [value for value in node.inputs if value is not None and single(value)]
    return found


def _counts(node: ir.Node) -> bool:
    import onnx_ir as ir

    to: Any = node.attributes.get("to")
    return node.op_type == "Cast" and ir.DataType(to.value).is_integer()


def _sums(nodes: Sequence[ir.Node]) -> set[ir.Node]:
    """Sums, the squares that go into them, and what stands between them and their use."""
    found = {node for node in nodes if node.op_type in _SUMS and standard(node)}
    for node in list(found):
        source = node.inputs[0].producer() if node.inputs[0] is not None else None
        if source is not None and _square(source):
            found.add(source)
    for node in nodes:
        others = [value for value in node.inputs if value is not None and not value.is_initializer()]
        if node.op_type in _AFTER_SUM and others and all(value.producer() in found for value in others):
            found.add(node)
    return found


def _square(node: ir.Node) -> bool:
    return node.op_type == "Pow" or (node.op_type in _SQUARES and len(node.inputs) == 2 and node.inputs[0] is node.inputs[1])
