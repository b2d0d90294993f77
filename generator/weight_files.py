"""Weights written outside the graph: beside a file that is saved, and into scratch files of this process."""

from __future__ import annotations

import functools
import itertools
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import onnx

from generator import paths
from generator.errors import SurgeryError
from generator.weights import LIMIT, SMALL, Place, heavy, outside, place, point, size, some

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnx import ModelProto, TensorProto

#: Where a tensor begins in its file: a multiple of this, so that it can be mapped (onnx, docs/ExternalData.md).
_ALIGNED = 4096
#: A file is linked rather than written again where at least this part of it is still used.
_WORTH = 0.9
_ABANDONED_SECONDS = 24 * 3600
_COUNT = itertools.count()


def light(model: ModelProto, limit: int = LIMIT) -> ModelProto:
    """A model with its weights outside, where it has some there already or more than `limit` bytes; else itself."""
    inside = [init for init in model.graph.initializer if not outside(init) and heavy(init)]
    if not inside or (not some(model) and sum(map(size, inside)) < limit):
        return model
    with _scratch_file() as file:
        for init in inside:
            point(init, file.name, _written(file, _tensor(init)))
    copied = onnx.ModelProto()
    copied.CopyFrom(model)  # protobuf gives memory back with the whole message only
    return copied


def _full(path: Path, error: OSError) -> SurgeryError:
    return SurgeryError(f"{path}: {error.strerror}", "make room there, or name another place (TRITON_REPO_CACHE, -o)")


def lazy(graph: ir.Graph) -> bool:
    """Does any constant of the graph lie outside? Then new ones go there too."""
    import onnx_ir as ir

    return any(isinstance(value.const_value, ir.ExternalTensor) for value in graph.initializers.values())


def held(graph: ir.Graph, tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """A new constant, put outside where those of the graph are and it is not small."""
    import onnx_ir as ir

    whole = tensor.dtype in (ir.DataType.INT32, ir.DataType.INT64) and len(tensor.shape) <= 1  # as `weights.heavy`
    if tensor.nbytes < SMALL or whole or isinstance(tensor, ir.ExternalTensor) or not lazy(graph):
        return tensor
    with _scratch_file() as file:
        at = _written(file, tensor)
    shape = ir.Shape(tensor.shape.numpy())
    return ir.ExternalTensor(str(at.path), at.offset, at.length, tensor.dtype, shape=shape, name=tensor.name or "")


def settle(model: ir.Model) -> None:
    """Put outside what code that knows nothing of this has added."""
    if lazy(model.graph):
        for value in model.graph.initializers.values():
            if value.const_value is not None:
                value.const_value = held(model.graph, value.const_value)


def write(model: ModelProto, path: Path) -> None:
    """The graph to `path`, the weights to `<name>.data` beside it: linked where both files are our own, else copied.

    Raises SurgeryError where the disk is full.
    """
    bare = light(model, 0)
    if bare is model:
        bare = onnx.ModelProto()
        bare.CopyFrom(model)
    data = path.with_name(f"{path.name}.data")
    try:
        _data(bare, data)
        path.write_bytes(bare.SerializeToString())
    except OSError as error:
        raise _full(data, error) from None


def _data(bare: ModelProto, data: Path) -> None:
    inits = [init for init in bare.graph.initializer if outside(init)]
    places = [place(init) for init in inits]
    if not _linked(places, data):
        staged = data.with_name(f".{data.name}.new")
        try:
            with staged.open("wb") as file:
                known: dict[Place, Place] = {}
                for init, at in zip(inits, places, strict=True):
                    known[at] = known[at] if at in known else _written(file, _tensor(init))
            staged.replace(data)
        finally:
            staged.unlink(missing_ok=True)
        places = [known[at] for at in places]
    for init, at in zip(inits, places, strict=True):
        point(init, data.name, at)


def _linked(places: list[Place], data: Path) -> bool:
    """One file of our own cache, nearly all of it used, becomes a second name of itself: in the cache nothing is edited."""
    sources = {at.path for at in places}
    if len(sources) != 1:
        return False
    source = sources.pop()
    if sum(at.length for at in set(places)) < _WORTH * source.stat().st_size:
        return False
    if data.exists() and source.samefile(data):
        return True
    if not all(paths.cache().resolve() in path.resolve().parents for path in (source, data)):
        return False
    try:
        data.unlink(missing_ok=True)
        os.link(source, data)
    except OSError:
        return False
    return True


def _tensor(tensor: TensorProto) -> ir.TensorProtocol:
    import onnx_ir as ir

    return ir.from_proto(tensor)


def _written(file: BinaryIO, tensor: ir.TensorProtocol) -> Place:
    """Append the numbers of a tensor to an open file, from one file to another by the kernel."""
    import onnx_ir as ir

    file.seek(math.ceil(file.tell() / _ALIGNED) * _ALIGNED)
    start = file.tell()
    try:
        if isinstance(tensor, ir.ExternalTensor):
            tensor.tofile(file)
        else:
            file.write(tensor.tobytes())
    except OSError as error:
        raise _full(Path(file.name), error) from None
    return Place(Path(file.name), start, file.tell() - start)


def _scratch_file() -> BinaryIO:
    return (scratch() / f"{next(_COUNT)}.data").open("xb")


@functools.cache
def scratch() -> Path:
    """A folder of this process in the cache, on the same disk as the results of steps; gone when the process ends."""
    import atexit

    root = paths.cache() / "scratch"
    root.mkdir(parents=True, exist_ok=True)
    paths.forget(root.iterdir(), _ABANDONED_SECONDS)
    made = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=root))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made
