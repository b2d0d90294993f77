"""What a graph's tensors hold: the largest number of each, measured by ONNX Runtime inside the graph, a scalar a tensor.

Nothing is kept but scalars, so a graph of any size is measured in one run. What comes after a node that ONNX Runtime does not
know (a TensorRT plugin) is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from generator import graph
from generator.errors import SurgeryError

if TYPE_CHECKING:
    from onnx import ModelProto

Arrays = dict[str, NDArray[Any]]
_KNOWN = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
_PREFIX = "probe/"


def runnable(model: ModelProto) -> tuple[list[onnx.NodeProto], list[str]]:
    """The nodes that ONNX Runtime can run, and the tensors where it ends: outputs of the graph, and what feeds the others."""
    domains = {*_KNOWN, *(function.domain for function in model.functions)}
    lost: set[str] = set()
    nodes: list[onnx.NodeProto] = []
    ends: list[str] = []
    for node in model.graph.node:
        if node.domain in domains and not lost.intersection(_reads(node)):
            nodes.append(node)
        else:
            lost.update(node.output)
            ends += node.input
    given = {name for node in nodes for name in node.output}
    wanted = [value.name for value in model.graph.output] + ends
    return nodes, [name for name in dict.fromkeys(wanted) if name in given]


def _reads(node: onnx.NodeProto) -> set[str]:
    """What a node reads, its subgraphs' reads of outer tensors included."""
    found = set(node.input)
    for attribute in node.attribute:
        for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
            found.update(name for child in inner.node for name in _reads(child))
    return found


def ends(model: ModelProto, after: re.Pattern[str]) -> list[str]:
    """Where results are compared: what feeds the nodes named like `after`, which select in no fixed order; else the outputs."""
    nodes, found = runnable(model)
    made = {name: node.name for node in nodes for name in node.output}
    fed = [name for node in nodes if after.match(node.name) for name in node.input if name in made]
    return [name for name in dict.fromkeys(fed) if not after.match(made[name])] or found


def floats(model: ModelProto) -> list[str]:
    """FP32 tensors of the main graph that are computed or given, in order; the model has its shapes inferred.

    Weights that are cast are left out: held until they are measured, they would all lie in memory at once.
    """
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*model.graph.value_info, *model.graph.output, *model.graph.input)}
    constants = {init.name for init in model.graph.initializer}
    nodes = [node for node in runnable(model)[0] if node.op_type != "Cast" or node.input[0] not in constants]
    given = [value.name for value in model.graph.input] + [name for node in nodes for name in node.output]
    return [name for name in dict.fromkeys(given) if kinds.get(name) == TensorProto.FLOAT and name not in constants]


def largest(model: ModelProto, samples: Iterable[Arrays], ends: Sequence[str]) -> tuple[dict[str, float], list[Arrays]]:
    """|x| of each FP32 tensor over all samples (NaN or infinity where it holds one), and the tensors `ends` for each sample."""
    names = floats(model)
    found, answers = dict.fromkeys(names, 0.0), []
    session = graph.session_of(_probed(model, names, ends))
    for sample in samples:
        answer = _run(session, sample)
        for name in names:
            found[name] = _worse(found[name], float(answer.pop(_PREFIX + name)))
        answers.append(answer)
    return found, answers


def _run(session: Any, sample: Arrays) -> Arrays:
    try:
        return graph.run(session, sample)
    except Exception as error:
        given = ", ".join(f"{name} {list(values.shape)}" for name, values in sample.items())
        said = (str(error).splitlines() or [""])[0]
        what = f"ONNX Runtime does not run the graph with {given}, so nothing can be measured: {said[:300]}"
        raise SurgeryError(what, "name real inputs under `verify:` (samples, images), or leave `precision` out") from None


def _worse(a: float, b: float) -> float:
    return a if np.isnan(a) or a >= b else b


def _probed(model: ModelProto, names: Sequence[str], ends: Sequence[str]) -> ModelProto:
    """The part that runs, a scalar more for each name: max |x|, and NaN or infinity where there is one.

    max(|x|, 0) + sum(x - x): a maximum may pass over NaN, a sum does not, and x - x is 0 but for NaN and infinity. The zero is
    for tensors without elements.
    """
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    nodes, _ = runnable(model)
    kinds = {value.name: value for value in (*model.graph.value_info, *model.graph.output)}
    del probed.graph.node[:], probed.graph.output[:]
    probed.graph.node.extend(nodes)
    probed.graph.output.extend(kinds.get(name, onnx.ValueInfoProto(name=name)) for name in ends)
    probed.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(1, np.float32), f"{_PREFIX}zero"))
    probed.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1]), f"{_PREFIX}flat"))
    for name in names:
        probed.graph.node.extend(_probe(name))
        probed.graph.output.append(helper.make_tensor_value_info(_PREFIX + name, TensorProto.FLOAT, []))
    return probed


def _probe(name: str) -> list[onnx.NodeProto]:
    def made(kind: str) -> str:
        return f"{_PREFIX}{kind}/{name}"

    return [
        helper.make_node("Reshape", [name, f"{_PREFIX}flat"], [made("flat")]),
        helper.make_node("Abs", [made("flat")], [made("abs")]),
        helper.make_node("Concat", [made("abs"), f"{_PREFIX}zero"], [made("all")], axis=0),
        helper.make_node("ReduceMax", [made("all")], [made("max")], keepdims=0),
        helper.make_node("Sub", [made("all"), made("all")], [made("none")]),
        helper.make_node("ReduceSum", [made("none")], [made("sum")], keepdims=0),
        helper.make_node("Add", [made("max"), made("sum")], [_PREFIX + name]),
    ]
