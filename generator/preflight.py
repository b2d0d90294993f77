"""Would TensorRT take it? Every ONNX graph through NVIDIA's own parser and, as far as that build can, its builder; no GPU needed.

What the build at hand lacks is cut off first (`preflight_cut.py`): plugins, whose edges are held against our own rules
(`plugin_edges.py`), and then each operator that the parser refuses, so that one look names them all and what is left is compiled.
"""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator import graph, plugin_edges, preflight_cut, preflight_notes, preflight_ranges, preflight_run, tensorrt_remedies
from generator.errors import CheckpointError, RepositoryError
from generator.preflight_verdict import Graph, Refusal, Terms, Verdict
from generator.rules import Problem

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

    from generator.preflight_run import Answer

#: Operators that TensorRT has (onnx-tensorrt, docs/operators.md of 10.1) and TensorRT for RTX 1.7 does not parse.
_UNPARSED = ("NonZero", "RoiAlign", "DeformConv")
#: What it parses and does not build.
_UNBUILT = ("NonMaxSuppression",)
#: How often something more is cut off before the rest stays unjudged.
_ROUNDS = 32
#: TensorRT's names of types -> ONNX's.
_TYPES = {
    "FLOAT": "FLOAT", "HALF": "FLOAT16", "BF16": "BFLOAT16", "INT8": "INT8", "INT32": "INT32", "INT64": "INT64", "BOOL": "BOOL",
    "UINT8": "UINT8", "FP8": "FLOAT8E4M3FN", "INT4": "INT4",
}  # fmt: skip


def judge(one: Graph, terms: Terms) -> Verdict:
    """The verdict; a process that ends or takes too long is one of the problems, not an end."""
    try:
        return _Judging(one, terms).verdict()
    except (CheckpointError, RepositoryError) as error:
        problem = Problem(one.label, error.message, "an ONNX model that can be read", error.remedy)
        return Verdict(one, [("tensorrt/file", problem)])


class _Judging:
    def __init__(self, one: Graph, terms: Terms) -> None:
        self.one, self.terms = one, terms
        self.model = graph.load(one.path)
        preflight_cut.named(self.model)
        self.known = preflight_cut.types(self.model)
        plugin_edges.give(self.model, self.known)
        #: Names of nodes that are cut off for the parser, and those that end what is compiled.
        self.gone: set[str] = set()
        self.ends: set[str] = set()
        self.found = Verdict(one)

    @cached_property
    def nodes(self) -> dict[str, NodeProto]:
        return {node.name: node for node in self.model.graph.node}

    def verdict(self) -> Verdict:
        self._plugins()
        self.ends |= {node.name for node in self.model.graph.node if self._unbuilt(node)}
        for _ in range(_ROUNDS):
            if not self._round():
                break
        self._doubles()
        left = [node.name for node in self.model.graph.node if node.name not in self.gone]
        self.found.parsed = self.found.parsed and bool(left)
        return self.found

    def _round(self) -> bool:
        """Parse and compile once; is something more cut off, so that another round tells more?"""
        part, untyped = preflight_cut.without(self.model, self.gone, self.known)
        if not part.graph.node:
            return False
        if untyped:
            what = f"what follows {', '.join(untyped[:3])}, of unknown type or rank"
            self._say("tensorrt/not_judged", "", what, "types that shape inference knows", "judge it on a machine with TensorRT")
            return False
        with tempfile.TemporaryDirectory(prefix="triton-repo-") as scratch:
            whole = _written(part, Path(scratch) / "parsed.onnx")
            rest = part if not self.ends - self.gone and self._bounded(part) else self._before()
            ready = "" if rest is None else whole if rest is part else _written(rest, Path(scratch) / "compiled.onnx")
            answer = preflight_run.ask(self.terms.by, self._task(whole, ready, rest), self.terms.seconds)
        return self._parsed(answer) or self._compiled(answer, rest)

    def _before(self) -> ModelProto | None:
        return preflight_cut.before(self.model, self.gone | self.ends, self.known)

    def _bounded(self, part: ModelProto) -> bool:
        """Has every tensor that now comes from outside free axes only where its batch is? Then all of it can be compiled."""
        own = {value.name for value in self.model.graph.input}
        shapes = [value.type.tensor_type.shape.dim for value in part.graph.input if value.name not in own]
        return all(dim.HasField("dim_value") for dims in shapes for dim in dims[1:])

    def _task(self, whole: str, ready: str, rest: ModelProto | None) -> preflight_run.Task:
        said = self.one.said or preflight_ranges.requested(self.one.path.parent)
        ranges = preflight_ranges.attempts(rest, self.one.most, said, self.one.fixed) if rest is not None else []
        return preflight_run.Task(whole, ready, self.terms.capabilities, ranges, self.terms.plugins)

    def _parsed(self, answer: Answer) -> bool:
        errors = answer.found.get("errors")
        if errors is None:
            self._ended(answer)
            return False
        if not errors:
            self.found.parsed, self.found.layers = True, answer.found["layers"]
            self._io_types(answer.found)
            return False
        new = set()
        for error in errors:
            node = self._node(error)
            if node is None:
                self._refused(error["op"], error["reason"], error["op"] or self._strange(), [])
            elif node.name not in self.gone:
                self._refused(node.op_type, error["reason"], preflight_notes.described(node), [node.name])
                new.add(node.name)
        self.gone |= new
        self.ends |= new
        return bool(new)

    def _compiled(self, answer: Answer, rest: ModelProto | None) -> bool:
        if not self.found.parsed:
            return False
        if answer.ended:
            self._ended(answer)
            return False
        for capability, result in answer.found["compiled"].items():
            if "refused" in result:
                return self._unbuildable(capability, result["refused"])
            self.found.compiled[capability] = result["seconds"]
            assert rest is not None
            ranges = self._task("", "", rest).ranges[result["attempt"]]
            self.found.sizes = preflight_ranges.words(rest, ranges)
        return False

    def _unbuildable(self, capability: str, messages: list[str]) -> bool:
        """One problem; where its nodes are known they are cut off, and the rest is compiled without them."""
        left = {name: node for name, node in self.nodes.items() if name not in self.ends}
        names = (preflight_notes.mentioned(messages, left) or preflight_notes.of_operators(messages, left))[:1]
        reason = " / ".join(messages)
        if not names:
            self._say("tensorrt/compile", "", preflight_notes.short(reason), f"a graph that compiles for {capability}",
                      tensorrt_remedies.find("", reason).text)  # fmt: skip
            return False
        node = self.nodes[names[0]]
        if self.terms.by.rtx and "has no runners" in reason:
            self._unjudged(node, "TensorRT for RTX has no implementation of it")
        else:
            self._refused(node.op_type, reason, preflight_notes.described(node), names, f"what compiles for {capability}")
        self.ends |= set(names)
        return True

    def _plugins(self) -> None:
        """Hold their edges; cut off those that the parser at hand does not have."""
        for node in self.model.graph.node:
            if not plugin_edges.is_plugin(node):
                continue
            if node.op_type in plugin_edges.PLUGINS:
                for found, expected in plugin_edges.misfits(node, self.known):
                    self._say(
                        "tensorrt/plugin", node.name, f"{node.op_type} with {found}", expected, "correct what stands before it"
                    )
                self.found.unjudged += [] if node.op_type in self.found.unjudged else [node.op_type]
            else:
                self._unjudged(node, "a plugin that is not described here")
            if self.terms.by.rtx:
                self.gone.add(node.name)

    def _unjudged(self, node: NodeProto, why: str) -> None:
        if node.op_type not in self.found.unjudged:
            self.found.unjudged.append(node.op_type)
            remedy = "judge it where TensorRT is installed with a GPU, or build its engine there"
            self._say(
                "tensorrt/not_judged", node.name, preflight_notes.described(node), f"what this parser can judge: {why}", remedy
            )

    def _unbuilt(self, node: NodeProto) -> bool:
        """Does it, or something inside it, parse and not build? Only said as a fact."""
        if not self.terms.by.rtx:
            return False
        inside = any(self._unbuilt(inner) for body in preflight_cut.subgraphs(node) for inner in body.node)
        if node.op_type in _UNBUILT and f"{node.op_type} (parsed only)" not in self.found.unjudged:
            self.found.unjudged.append(f"{node.op_type} (parsed only)")
        return inside or node.op_type in _UNBUILT

    def _node(self, error: dict[str, Any]) -> NodeProto | None:
        """The outer node of that name; where a name is of a node inside a body, the one that holds it."""
        if error["name"] in self.nodes:
            return self.nodes[error["name"]]
        holders = (n for n in self.nodes.values() if any(error["name"] in _names(b) for b in preflight_cut.subgraphs(n)))
        return next(holders, None) if error["name"] else None

    def _refused(
        self, operator: str, reason: str, what: str, names: list[str], expected: str = "what TensorRT's parser takes"
    ) -> None:
        node = self.nodes[names[0]] if names else None
        if node is not None and operator in _UNPARSED and self.terms.by.rtx:
            self._unjudged(node, "TensorRT for RTX lacks it, TensorRT has it")
            return
        for name in names:
            reason = reason.replace(f"{name}: ", "")  # one reason, however many nodes
        said = preflight_notes.short(reason)
        remedy = tensorrt_remedies.find(operator, reason if names else f"{what}: {reason}")
        for one in self.found.refused:
            if (one.operator, one.reason) == (operator, said):
                one.nodes += names
                return
        self.found.refused.append(Refusal(operator, said, list(names), remedy))
        self._say("tensorrt/operator", names[0] if names else "", f"{what}: {said}", expected, remedy.text)

    def _io_types(self, said: dict[str, Any]) -> None:
        """An engine that takes or gives another type than the graph is not what config.pbtxt promises."""
        import onnx

        for value in (*self.model.graph.input, *self.model.graph.output):
            own = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
            entry = said["inputs"].get(value.name) or said["outputs"].get(value.name)
            if entry and _TYPES.get(entry[0], own) != own:
                found = f"{value.name} is {own}; the network's is {entry[0]}"
                remedy = f"cast it in the graph: an engine's {value.name} is {_TYPES[entry[0]]}"
                self._say("tensorrt/type", "", found, f"{own}, as in the graph", remedy)

    def _strange(self) -> str:
        """Inputs and outputs of a type that TensorRT has not, of which the parser gives no name."""
        import onnx

        ends = [("input", value) for value in self.model.graph.input] + [("output", value) for value in self.model.graph.output]
        kinds = [(side, value.name, onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)) for side, value in ends]
        found = [f"{side} {name} of {kind}" for side, name, kind in kinds if kind not in (*_TYPES.values(), "DOUBLE")]
        return ", ".join(found) or "the graph"

    def _doubles(self) -> None:
        ends = {value.name for value in (*self.model.graph.input, *self.model.graph.output)}
        for node in self.model.graph.node:
            if any(name in self.known and name not in ends and _double(self.known[name]) for name in node.output):
                what = f"{preflight_notes.described(node)} computes in DOUBLE"
                self._say(
                    "tensorrt/double", node.name, what, "FLOAT: TensorRT holds DOUBLE as FLOAT", "see that verify's bounds hold"
                )
                return

    def _ended(self, answer: Answer) -> None:
        words = f": {answer.words}" if answer.words else ""
        late = answer.ended.startswith("took longer")
        remedy = (
            "say more with --timeout" if late else "cut the graph (pass `cut`) to find the part that does it, and tell NVIDIA"
        )
        self._say("tensorrt/crash", "", f"the process {answer.ended}{words}", "an answer", remedy)

    def _say(self, rule: str, node: str, found: str, expected: str, remedy: str) -> None:
        place = f"{self.one.label}: node {node}" if node else self.one.label
        self.found.problems.append((rule, Problem(place, found, expected, remedy)))


def _written(model: ModelProto, path: Path) -> str:
    graph.save(model, path)
    return str(path)


def _names(body: Any) -> set[str]:
    inner = {name for node in body.node for each in preflight_cut.subgraphs(node) for name in _names(each)}
    return {node.name for node in body.node} | inner


def _double(value: Any) -> bool:
    return bool(value.type.tensor_type.elem_type == 11)
