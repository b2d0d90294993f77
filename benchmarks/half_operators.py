"""Which operators NVIDIA's builder takes in half: ONNX's own tests of its operators, each as one graph, in fp32, fp16 and bf16.

`python benchmarks/half_operators.py [--all]`: one test an operator, or all. An operator that compiles in fp32 and not in half is
printed; those in bf16 belong to `Bf16.refused`. TensorRT for RTX lies in an environment of its own (generator/environments).
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from generator import graph, preflight, preflight_run
from generator.errors import TritonRepoError
from generator.half import Half
from generator.precisions.bf16 import Bf16
from generator.precisions.fp16 import Fp16
from generator.preflight_verdict import Graph, Terms

_OPSET = 22
#: Whose other inputs are weights or settings.
_WEIGHTS = {
    "BatchNormalization", "Clip", "Conv", "ConvTranspose", "GRU", "Gemm", "GroupNormalization", "InstanceNormalization", "LSTM",
    "LayerNormalization", "OneHot", "PRelu", "Pad", "RNN", "Range", "Resize",
}  # fmt: skip


def cases(every: bool) -> Iterator[tuple[str, onnx.ModelProto, dict[str, Any]]]:
    """Operator, graph and inputs of tests with floating-point tensors."""
    from onnx.backend.test.case.node import collect_testcases

    seen: set[str] = set()
    for case in collect_testcases(None):
        model, sets = case.model, case.data_sets
        if (
            model is None
            or not sets
            or not model.graph.input
            or len(model.graph.node) != 1
            or model.graph.node[0].domain
            or model.functions
        ):
            continue
        op = model.graph.node[0].op_type
        values = (*model.graph.input, *model.graph.output)
        known = all(value.type.HasField("tensor_type") for value in values)
        if not known or not any(value.type.tensor_type.elem_type == 1 for value in values) or (op in seen and not every):
            continue
        feeds = {value.name: np.asarray(array) for value, array in zip(model.graph.input, sets[0][0], strict=False)}
        if _prepared(model, feeds):
            seen.add(op)
            yield op, model, feeds


def _prepared(model: onnx.ModelProto, feeds: dict[str, Any]) -> bool:
    """Bring it to the opset, and let weights and settings be constants; False where that cannot be."""
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", _OPSET))
    model.ir_version = 10
    first, op = model.graph.input[0].name, model.graph.node[0].op_type
    for value in list(model.graph.input):
        small = feeds[value.name].dtype.kind in "iub" and feeds[value.name].size <= 8
        if value.name != first and (small or op in _WEIGHTS):
            model.graph.initializer.append(numpy_helper.from_array(feeds.pop(value.name), value.name))
            model.graph.input.remove(value)
    try:
        graph.checked(model, "a test of ONNX")
        return True
    except (TritonRepoError, onnx.checker.ValidationError):
        return False


def main(every: bool) -> None:
    """Print what does not compile in half, and the counts."""
    terms, counts = Terms(preflight_run.parser()), Counter[str]()
    for op, model, feeds in cases(every):
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "fp32.onnx"
            onnx.save(model, path)
            if not _compiles(op, path, terms):
                continue
            counts["fp32"] += 1
            for precision in (Fp16(), Bf16()):
                counts.update(_tried(op, path, feeds, precision, terms))
    print(dict(counts))


def _tried(op: str, path: Path, feeds: dict[str, Any], precision: Half, terms: Terms) -> list[str]:
    made = path.with_name(f"{precision.kind}.onnx")
    try:
        precision.apply(path, made, [feeds])
    except TritonRepoError:
        return [f"{precision.kind} stays in fp32"]
    if _compiles(op, made, terms):
        return [precision.kind]
    print(f"{op}: not in {precision.kind}", flush=True)
    return [f"{precision.kind} refused"]


def _compiles(op: str, path: Path, terms: Terms) -> bool:
    verdict = preflight.judge(Graph(op, path.stem, path), terms)
    return bool(verdict.compiled) and not verdict.problems


if __name__ == "__main__":
    said = argparse.ArgumentParser(description=__doc__)
    said.add_argument("--all", action="store_true", help="every test of every operator")
    main(said.parse_args().all)
