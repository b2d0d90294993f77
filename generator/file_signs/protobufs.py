"""Formats that are protobuf messages: ONNX, TensorFlow, PaddlePaddle, Core ML; told by which fields the top message has.

Nothing is descended into further than two levels, and no more than the first fields are looked at.
"""

from __future__ import annotations

from itertools import islice

from generator.file_kind import FileKind, Opened
from generator.onnx_signature import Span, fields

ORDER = 40

#: No more top-level fields are looked at (a frozen TensorFlow graph has one a node).
_MOST = 2000
#: Core ML: specificationVersion 1, description 2, then one of 200 and above (Model.proto).
_COREML_FIRST = 200


def tell(opened: Opened) -> FileKind | None:
    """ONNX: ir_version (1) and graph (7). Others: see below."""
    view = memoryview(opened.data)
    try:
        found = list(islice(fields(view, (0, opened.size)), _MOST))
        return _message(view, dict(reversed(found)))
    except (ValueError, IndexError):
        return _cut_off(opened, view)
    finally:
        view.release()


def _message(view: memoryview, first: dict[int, int | Span]) -> FileKind | None:
    version = first.get(1)
    if isinstance(version, int) and 1 <= version <= 50:
        if isinstance(first.get(7), tuple) and 8 in first:
            return FileKind("an ONNX model", "onnx")
        if max(first) >= _COREML_FIRST:
            return FileKind("a Core ML model", remedy="use the model that it was converted from")
        if set(first) == {1, 2}:
            return FileKind("the graph of a TensorFlow SavedModel", "tensorflow", field="path: the folder it lies in")
    if isinstance(version, tuple):
        inner = dict(islice(fields(view, version), 8))
        if inner.get(1) == 0 and isinstance(inner.get(2), int) and 3 in inner:  # BlockDesc: idx, parent_idx, vars
            return FileKind("a PaddlePaddle inference model", "paddle")
        if isinstance(inner.get(1), tuple) and isinstance(inner.get(2), tuple):  # NodeDef: name, op
            remedy = "save the model as a SavedModel"
            return FileKind("a frozen TensorFlow graph", remedy=remedy) if set(first) <= {1, 2, 3, 4} else None
    return None


def _cut_off(opened: Opened, view: memoryview) -> FileKind | None:
    """An ONNX file whose end is missing: its first fields are right, and a later one is longer than the file."""
    seen: set[int] = set()
    try:
        for number, value in islice(fields(view, (0, opened.size)), _MOST):
            if number == 1 and not (isinstance(value, int) and 1 <= value <= 50):
                return None
            seen.add(number)
    except (ValueError, IndexError):
        pass
    texts = seen & {2, 3}  # producer name and version
    if 1 in seen and texts and opened.path.suffix == ".onnx":
        return FileKind("an ONNX model that is cut off", remedy="fetch it again")
    return None
