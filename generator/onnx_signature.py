"""Inputs and outputs of an ONNX file, without its weights: protobuf's wire format, scanned over a memory map.

Every field of a message says its length, so nodes and initialisers are stepped over: a file of gigabytes takes as long as one of
kilobytes (https://protobuf.dev/programming-guides/encoding; field numbers from onnx/onnx.proto).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from generator.errors import CheckpointError
from generator.rules import Signature
from generator.tensors import Tensor, from_onnx_dtype

# ModelProto
_IR_VERSION, _GRAPH, _OPSETS = 1, 7, 8
# GraphProto
_INITIALIZER, _INPUT, _OUTPUT = 5, 11, 12
# TensorProto
_TENSOR_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Span = tuple[int, int]


@dataclass(frozen=True)
class External:
    """An initialiser whose numbers lie in another file; `length` is None where it is not said."""

    name: str
    location: str
    offset: int = 0
    length: int | None = None

    @property
    def end(self) -> int:
        """Bytes that the file has to have."""
        return self.offset + (self.length or 0)


@dataclass(frozen=True)
class OnnxFile:
    """What the file says of itself. `opset` is that of the default domain."""

    ir_version: int
    opset: int
    signature: Signature
    external: tuple[External, ...] = ()


def read(path: Path) -> OnnxFile:
    """Scan the file. Raises CheckpointError for one that is cut off or no ONNX at all."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _model(memoryview(data))
    except (OSError, ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is cut off, or another kind of file"
        raise CheckpointError(f"{path}: not an ONNX model: {reason}", "export it again") from None


def _model(data: memoryview) -> OnnxFile:
    try:
        ir_version = opset = 0
        graph: Span | None = None
        for number, value in fields(data, (0, len(data))):
            if number == _IR_VERSION and isinstance(value, int):
                ir_version = value
            elif number == _OPSETS and isinstance(value, tuple):
                opset = _opset(data, value) or opset
            elif number == _GRAPH and isinstance(value, tuple):
                graph = value
        if graph is None or not ir_version:
            raise ValueError("no graph")
        return OnnxFile(ir_version, opset, *_graph(data, graph))
    finally:
        data.release()


def _opset(data: memoryview, span: Span) -> int:
    domain, version = "", 0
    for number, value in fields(data, span):
        if number == 1 and isinstance(value, tuple):
            domain = _text(data, value)
        elif number == 2 and isinstance(value, int):
            version = value
    return version if domain in ("", "ai.onnx") else 0


def _graph(data: memoryview, span: Span) -> tuple[Signature, tuple[External, ...]]:
    constants: set[str] = set()
    external: list[External] = []
    found: dict[int, list[tuple[str, int, list[int]]]] = {_INPUT: [], _OUTPUT: []}
    for number, value in fields(data, span):
        if number == _INITIALIZER and isinstance(value, tuple):
            name, outside = _initialiser(data, value)
            constants.add(name)
            external += [outside] if outside else []
        elif number in found and isinstance(value, tuple):
            found[number].append(_value_info(data, value))
    inputs = [entry for entry in found[_INPUT] if entry[0] not in constants]
    return Signature(tuple(map(_tensor, inputs)), tuple(map(_tensor, found[_OUTPUT]))), tuple(external)


def _tensor(entry: tuple[str, int, list[int]]) -> Tensor:
    """The first axis counts as a batch where it is free, as the onnxruntime backend takes it."""
    name, dtype, shape = entry
    batched = bool(shape) and shape[0] == -1
    return Tensor(name, from_onnx_dtype(dtype), tuple(shape[1:] if batched else shape), batched)


def _initialiser(data: memoryview, span: Span) -> tuple[str, External | None]:
    """TensorProto: its name, and its external_data where data_location says EXTERNAL; the data themselves are stepped over."""
    name, elsewhere = "", False
    said: dict[str, str] = {}
    for number, value in fields(data, span):
        if number == _TENSOR_NAME and isinstance(value, tuple):
            name = _text(data, value)
        elif number == _EXTERNAL_DATA and isinstance(value, tuple):
            entry = {n: _text(data, v) for n, v in fields(data, value) if isinstance(v, tuple)}
            said[entry.get(1, "")] = entry.get(2, "")
        elif number == _DATA_LOCATION:
            elsewhere = value == 1
    if not elsewhere:
        return name, None
    length = int(said["length"]) if "length" in said else None
    return name, External(name, said.get("location", ""), int(said.get("offset", 0)), length)


def _value_info(data: memoryview, span: Span) -> tuple[str, int, list[int]]:
    """ValueInfoProto: name, then type.tensor_type with element type and shape."""
    name, dtype = "", 0
    shape: list[int] = []
    for number, value in fields(data, span):
        if number == 1 and isinstance(value, tuple):
            name = _text(data, value)
        elif number == 2 and isinstance(value, tuple):
            for kind, tensor in fields(data, value):
                if kind == 1 and isinstance(tensor, tuple):
                    dtype, shape = _tensor_type(data, tensor)
    return name, dtype, shape


def _tensor_type(data: memoryview, span: Span) -> tuple[int, list[int]]:
    dtype = 0
    shape: list[int] = []
    for number, value in fields(data, span):
        if number == 1 and isinstance(value, int):
            dtype = value
        elif number == 2 and isinstance(value, tuple):
            shape = [_dim(data, dim) for n, dim in fields(data, value) if n == 1 and isinstance(dim, tuple)]
    return dtype, shape


def _dim(data: memoryview, span: Span) -> int:
    value = next((v for n, v in fields(data, span) if n == 1 and isinstance(v, int)), -1)
    return value if 0 <= value < 1 << 62 else -1


def _text(data: memoryview, span: Span) -> str:
    return bytes(data[span[0] : span[1]]).decode("utf-8")


def fields(data: memoryview, span: Span) -> Iterator[tuple[int, int | Span]]:
    """Number and value of each field: a whole number, or where its bytes lie."""
    at, end = span
    while at < end:
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
        elif kind == _BYTES:
            length, at = _varint(data, at)
            if at + length > end:
                raise ValueError("cut off")
            yield number, (at, at + length)
            at += length
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("no protobuf")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("no varint")


def packed(data: memoryview, span: Span) -> list[int]:
    """A packed repeated field of varints, such as TensorProto.dims."""
    at, found = span[0], []
    while at < span[1]:
        value, at = _varint(data, at)
        found.append(value)
    return found
