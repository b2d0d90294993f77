"""Weights that lie outside the graph: a model of gigabytes is worked on as a graph of kilobytes.

In memory such a tensor names its file by an absolute path (in a file on disk the name is relative, as ONNX wants it), so shape
inference, onnx_ir, onnxscript, onnx-graphsurgeon and onnx's own converters pass it on unread, and onnx_ir maps it where a pass
asks for its numbers. Small tensors are always inside: shape inference reads them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from numpy.typing import NDArray

from generator.errors import CheckpointError

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

#: Bytes from which on a tensor may lie outside.
SMALL = 64 * 1024
#: Bytes of all those from which on they do; protobuf itself writes nothing above 2 GiB.
LIMIT = 2**30


@dataclass(frozen=True)
class Place:
    """Where the bytes of a tensor lie."""

    path: Path
    offset: int
    length: int


def outside(tensor: TensorProto) -> bool:
    """Are its numbers in another file?"""
    return tensor.data_location == onnx.TensorProto.EXTERNAL and bool(tensor.external_data)


def some(model: ModelProto) -> bool:
    """Does any initialiser lie outside?"""
    return any(outside(init) for init in model.graph.initializer)


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor of a model: initialisers, attributes, those of subgraphs and functions."""
    yield from model.graph.initializer
    yield from _inner(model)


def _inner(model: ModelProto) -> Iterator[TensorProto]:
    """All but the main graph's initialisers."""
    yield from _of_nodes(model.graph.node)
    for function in model.functions:
        yield from _of_nodes(function.node)


def _of_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from [attribute.t] if attribute.HasField("t") else attribute.tensors
            for graph in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from graph.initializer
                yield from _of_nodes(graph.node)


def size(tensor: TensorProto) -> int:
    """Bytes of its numbers, packed; 0 for strings, which always lie inside."""
    import onnx_ir as ir

    if tensor.data_type == onnx.TensorProto.STRING:
        return 0
    return math.ceil(math.prod(tensor.dims) * ir.DataType(tensor.data_type).bitwidth / 8)


def heavy(tensor: TensorProto) -> bool:
    """May it lie outside? Not what is small, nor lists of whole numbers, which shape inference reads."""
    whole = tensor.data_type in (onnx.TensorProto.INT32, onnx.TensorProto.INT64)
    return size(tensor) >= SMALL and not (whole and len(tensor.dims) <= 1)


def total(model: ModelProto) -> int:
    """Bytes of the initialisers that may lie outside."""
    return sum(size(init) for init in model.graph.initializer if heavy(init))


def files(model: ModelProto, path: Path) -> list[Path]:
    """The files beside `path` that a model which was read from there names, as it names them. Raises CheckpointError."""
    names = {entry.value for t in tensors(model) if outside(t) for entry in t.external_data if entry.key == "location"}
    return [_beside(path, name) for name in sorted(names)]


def _beside(path: Path, name: str) -> Path:
    """A name in a file is not to be trusted: it may not lead out of the file's folder."""
    found = (path.parent / name).resolve()
    if path.parent.resolve() not in found.parents:
        raise CheckpointError(f"{path}: its external data lies outside its folder: {name}", "move it beside the model")
    if not found.is_file():
        raise CheckpointError(f"{path}: its external data {name} is missing", "copy it beside the model")
    return found


def refer(model: ModelProto, path: Path) -> None:
    """Let the tensors of a model that was read from `path` name their files absolutely; what is small is read in.

    Raises CheckpointError for a file that is missing, too short or outside the model's folder.
    """
    for init in model.graph.initializer:
        if outside(init):
            found = _checked(init, path)
            if heavy(init):
                point(init, str(found.path), found)
            else:
                _inside(init, found)
    for tensor in _inner(model):
        if outside(tensor):
            _inside(tensor, _checked(tensor, path))


def _checked(tensor: TensorProto, path: Path) -> Place:
    said = {entry.key: entry.value for entry in tensor.external_data}
    wanted = size(tensor)
    name = said.get("location", "")
    try:
        offset, length = int(said.get("offset", 0)), int(said.get("length", wanted))
    except ValueError:
        offset = length = -1
    if length != wanted or offset < 0:
        shape = f"{onnx.TensorProto.DataType.Name(tensor.data_type)}{list(tensor.dims)}"
        raise CheckpointError(
            f"{path}: tensor {tensor.name} {shape} is {wanted} bytes; its entry for {name} says offset {said.get('offset', 0)}, "
            f"length {said.get('length', wanted)}",
            "export it again",
        )
    file = _beside(path, name)
    if offset + length > file.stat().st_size:
        raise CheckpointError(
            f"{path}: its external data {name} is cut short: {file.stat().st_size} bytes, and tensor {tensor.name} ends at "
            f"{offset + length}",
            "copy it again",
        )
    return Place(file, offset, length)


def place(tensor: TensorProto) -> Place:
    """Where a tensor that lies outside lies, in a model as `refer` leaves it."""
    said = {entry.key: entry.value for entry in tensor.external_data}
    return Place(Path(said["location"]), int(said["offset"]), int(said["length"]))


def point(tensor: TensorProto, location: str, at: Place) -> None:
    """Let a tensor name a place outside, under that name."""
    for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "external_data"):
        tensor.ClearField(field)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", at.offset), ("length", at.length)):
        tensor.external_data.add(key=key, value=str(value))


def _inside(tensor: TensorProto, found: Place) -> None:
    with found.path.open("rb") as file:
        file.seek(found.offset)
        tensor.raw_data = file.read(found.length)
    tensor.ClearField("data_location")
    tensor.ClearField("external_data")


def array(tensor: TensorProto) -> NDArray[Any]:
    """A tensor's numbers; of one that lies outside, mapped and not to be written to."""
    import onnx_ir as ir

    return ir.from_proto(tensor).numpy()


def data(tensor: TensorProto) -> bytes | memoryview:
    """A tensor's bytes, packed, as `raw_data` holds them; of one that lies outside, mapped."""
    import numpy as np

    if not outside(tensor):
        return tensor.raw_data or onnx.numpy_helper.to_array(tensor).tobytes()
    at = place(tensor)
    return np.memmap(at.path, np.uint8, "r", at.offset, at.length).data if at.length else b""


def loaded(model: ModelProto) -> ModelProto:
    """A model with everything inside, for code that knows nothing of this: as much memory as it has weights."""
    if some(model):
        copied = onnx.ModelProto()
        copied.CopyFrom(model)
        for init in copied.graph.initializer:
            if outside(init):
                _inside(init, place(init))
        return copied
    return model


def skeleton(model: ModelProto) -> ModelProto:
    """A model whose outer weights are inputs: what the checker accepts without looking for files."""
    if not some(model):
        return model
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    named = {value.name for value in bare.graph.input}
    for init in [init for init in bare.graph.initializer if outside(init)]:
        if init.name not in named:
            bare.graph.input.append(onnx.helper.make_tensor_value_info(init.name, init.data_type, init.dims))
        bare.graph.initializer.remove(init)
    return bare


def rooted(model: ModelProto) -> bytes:
    """A model for ONNX Runtime with the file system's root as its folder: the weights stay where they are."""
    if not some(model):
        return model.SerializeToString()
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    for init in bare.graph.initializer:
        if outside(init):
            at = place(init)
            point(init, str(at.path.resolve().relative_to("/")), at)
    return bare.SerializeToString()
