"""ONNX: initialisers, operators and metadata, scanned from the protobuf without the weights (numbers of onnx/onnx.proto)."""

from __future__ import annotations

import ast
import mmap
from collections import Counter
from pathlib import Path

from generator import onnx_signature
from generator.errors import CheckpointError
from generator.inspection import Contents, Group
from generator.onnx_signature import Span, fields
from generator.pickle_notes import Array
from generator.tensors import from_onnx_dtype

KINDS = ("onnx",)

#: Metadata are shown so far.
_LONGEST = 160

# ModelProto
_PRODUCER, _VERSION, _GRAPH, _METADATA = 2, 3, 7, 14
# GraphProto
_NODE, _INITIALIZER = 1, 5
# NodeProto
_OP_TYPE, _DOMAIN = 4, 7
# TensorProto
_DIMS, _DATA_TYPE, _NAME = 1, 2, 8


def read(path: Path) -> Contents:
    """Inputs, outputs, initialisers; opset, producer, operators, metadata. Raises CheckpointError."""
    said = onnx_signature.read(path)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
            model = list(fields(view, (0, len(data))))
            graph = next(value for number, value in model if number == _GRAPH and isinstance(value, tuple))
            operators, held = _graph(view, graph)
            facts = _facts(view, model)
    except (OSError, ValueError, IndexError, KeyError, StopIteration) as error:
        raise CheckpointError(f"{path}: not an ONNX model: {error}", "export it again") from None
    facts |= {"opset": f"{said.opset}, IR version {said.ir_version}", "operators": _listed(operators)}
    labels = _labels(facts.get("names", ""))
    facts = {name: _short(text) for name, text in facts.items() if not (labels and name == "names")}
    signature = said.signature
    return Contents((Group("", held),), tuple(signature.inputs), tuple(signature.outputs), facts, labels=labels)


def _facts(view: memoryview, model: list[tuple[int, int | Span]]) -> dict[str, str]:
    texts = {
        number: _text(view, value) for number, value in model if number in (_PRODUCER, _VERSION) and isinstance(value, tuple)
    }
    facts = {"producer": f"{texts.get(_PRODUCER, '')} {texts.get(_VERSION, '')}".strip()}
    for number, value in model:
        if number == _METADATA and isinstance(value, tuple):
            entry = {key: _text(view, span) for key, span in fields(view, value) if isinstance(span, tuple)}
            facts[entry.get(1, "")] = entry.get(2, "")
    return facts


def _graph(view: memoryview, span: Span) -> tuple[Counter[str], dict[str, Array]]:
    operators: Counter[str] = Counter()
    held: dict[str, Array] = {}
    for number, value in fields(view, span):
        if number == _NODE and isinstance(value, tuple):
            texts = {n: _text(view, v) for n, v in fields(view, value) if n in (_OP_TYPE, _DOMAIN) and isinstance(v, tuple)}
            domain = texts.get(_DOMAIN, "")
            operators[f"{domain}::{texts.get(_OP_TYPE, '')}" if domain else texts.get(_OP_TYPE, "")] += 1
        elif number == _INITIALIZER and isinstance(value, tuple):
            name, array = _tensor(view, value)
            held[name] = array
    return operators, held


def _tensor(view: memoryview, span: Span) -> tuple[str, Array]:
    """Dims come one by one, or packed."""
    name, dtype, dims = "", 0, []
    for number, value in fields(view, span):
        if number == _DIMS:
            dims += [value] if isinstance(value, int) else onnx_signature.packed(view, value)
        elif number == _DATA_TYPE and isinstance(value, int):
            dtype = value
        elif number == _NAME and isinstance(value, tuple):
            name = _text(view, value)
    try:
        said = from_onnx_dtype(dtype)
    except (KeyError, CheckpointError):
        said = f"ONNX type {dtype}"
    return name, Array(said, tuple(dims))


def _text(view: memoryview, span: Span) -> str:
    return bytes(view[span[0] : span[1]]).decode("utf-8", "replace")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _listed(operators: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in operators.most_common(12)) + (", ..." if len(operators) > 12 else "")


def _labels(said: str) -> tuple[str, ...]:
    """`names` as ultralytics writes them: the text of a Python dict."""
    try:
        found = ast.literal_eval(said) if 0 < len(said) < 100_000 else {}
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ()
    if not isinstance(found, dict) or not all(isinstance(key, int) for key in found):
        return ()
    return tuple(str(found[key]) for key in sorted(found))
