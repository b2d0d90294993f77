"""The one door to ONNX files: their inputs and outputs, their validity, and ONNX Runtime as the oracle."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from numpy.typing import NDArray

from generator import weight_files
from generator import weights as outer
from generator.errors import CheckpointError, SurgeryError
from generator.file_kind import unreadable
from generator.tensors import BATCH, Tensor, from_onnx_dtype, onnx_dtype

if TYPE_CHECKING:
    from onnx import ModelProto


#: What onnxruntime 1.19, that of the 24.10 container, reads.
_IR_VERSION = 10


def load(path: Path, weights: bool = True) -> ModelProto:
    """Read a model; external data stay where they are (generator/weights.py), and without `weights` are not looked for either.

    Raises CheckpointError where the file is not ONNX, or its external data are missing, cut short or outside its folder.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        if weights:
            outer.refer(model, path)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}", "name a readable ONNX file") from None
    except Exception as error:
        raise unreadable(path, "an ONNX model", error) from None
    if not model.graph.output:
        raise CheckpointError(f"{path}: not an ONNX model: it has no outputs", "is this the right file?")
    return model


def save(model: ModelProto, path: Path, limit: int = outer.LIMIT) -> None:
    """Write a model; weights of `limit` bytes or more go to `<name>.data` beside it. Raises SurgeryError where it is full."""
    size = outer.total(model)
    if size and size >= limit:
        weight_files.write(model, path)
    else:
        onnx.save(outer.loaded(model), path)


def empty(inputs: Sequence[Tensor], opset: int) -> ModelProto:
    """A graph with these inputs and nothing else yet; a free axis is named after its tensor."""
    values = [
        onnx.helper.make_tensor_value_info(
            tensor.name,
            onnx_dtype(tensor.dtype),
            [
                *(["batch"] if tensor.batched else []),
                *(d if d >= 0 else f"{tensor.name}_{i}" for i, d in enumerate(tensor.shape)),
            ],
        )
        for tensor in inputs
    ]
    graph = onnx.helper.make_graph([], "graph", values, [])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=_IR_VERSION)


def settled(path: Path, limit: int = outer.LIMIT) -> ModelProto:
    """The model that an exporter wrote, its weights inside or in one file beside it, as for `save`; its other files are removed.

    Raises CheckpointError where they are missing or cut short.
    """
    before = outer.files(load(path, weights=False), path)
    model = load(path)
    if before or outer.total(model) >= limit:
        save(model, path, limit)
        model = load(path)
    kept = {outer.place(init).path for init in model.graph.initializer if outer.outside(init)}
    for file in before:
        if file not in kept:
            file.unlink()
    return model


def interface(model: ModelProto, named: bool = False) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Inputs (initialisers left out) and outputs; the first axis is the batch where it is not a fixed number.

    With `named`, only a first axis of the name `batch` is one: what our exporters write says which it is.
    """
    constants = {init.name for init in model.graph.initializer}
    taken = [value for value in model.graph.input if value.name not in constants]
    inputs, outputs = (tuple(_tensor(value, named) for value in each) for each in (taken, model.graph.output))
    return inputs, outputs


def inner(model: ModelProto) -> dict[str, Tensor]:
    """Every tensor whose type and shape are known once shapes are inferred, as far as they can be."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    found = {}
    for init in model.graph.initializer:
        with contextlib.suppress(SurgeryError):
            found[init.name] = _tensor(onnx.helper.make_tensor_value_info(init.name, init.data_type, init.dims))
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        with contextlib.suppress(SurgeryError):
            if value.type.tensor_type.HasField("shape"):
                found[value.name] = _tensor(value)
    return found


def _tensor(value: onnx.ValueInfoProto, named: bool = False) -> Tensor:
    kind = value.type.tensor_type
    try:
        dtype = from_onnx_dtype(kind.elem_type)
    except KeyError:
        name = onnx.TensorProto.DataType.Name(kind.elem_type)
        raise SurgeryError(f"tensor {value.name}: type {name} cannot travel through Triton", "cast it in the model") from None
    dims = [d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim]
    batched = bool(dims) and dims[0] < 0 and (not named or kind.shape.dim[0].dim_param == BATCH)
    return Tensor(value.name, dtype, tuple(dims[1:] if batched else dims), batched)


def checked(model: ModelProto, after: str) -> ModelProto:
    """The model with shapes inferred and the checker passed, heavy weights put outside.

    Raises SurgeryError naming what was done before.
    """
    model = weight_files.light(model)
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        onnx.checker.check_model(outer.skeleton(inferred))
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, ValueError) as error:
        raise SurgeryError(
            f"{after}: the graph is no longer valid: {_named(model) or error}", "this is a mistake in the surgery or its settings"
        ) from None
    return inferred


def _named(model: ModelProto) -> str:
    """What shape inference says first, of a copy in which every node has a name: the outputs of those that have none."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    for node in copied.graph.node:
        node.name = node.name or f"(output {', '.join(node.output)})"
    try:
        onnx.shape_inference.infer_shapes(copied, check_type=True, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        return re.sub(r"\[\w+\] |Inference error\(s\): ", "", lines[0])
    except ValueError:
        return ""
    return ""


def session(path: Path, optimise: bool = True, threads: int = 0) -> Any:
    """An ONNX Runtime CPU session; without optimisation it is the oracle that surgery is held against."""
    options = _options(optimise, threads)
    if _has_outer(path):
        options.add_session_config_entry(*_MAPPED)
    try:
        return _session(str(path), options, str(path))
    except SurgeryError as error:
        from generator import plugin_nodes

        if plugin_nodes.DOMAIN in error.message:  # a node that TensorRT alone has
            return plugin_nodes.Session(path)
        raise


def _has_outer(path: Path) -> bool:
    """Does the file name others? Read without its weights; what cannot be read, ONNX Runtime says better."""
    from generator.onnx_signature import read

    try:
        return bool(read(path).external)
    except CheckpointError:
        return False


def session_of(model: ModelProto, threads: int = 0) -> Any:
    """A session of a graph in memory, not optimised; weights that lie outside are mapped."""
    options = _options(False, threads)
    if outer.some(model):
        options.add_session_config_entry(*_MAPPED)
        options.add_session_config_entry(*_ROOTED)
    return _session(outer.rooted(model), options, "the graph")


#: Weights are packed anew for speed, a copy of them all, unless this is said (onnxruntime_session_options_config_keys.h).
_MAPPED = ("session.disable_prepacking", "1")
#: Where files that a model in memory names are looked for; `weights.rooted` names them from the root on (same header).
_ROOTED = ("session.model_external_initializers_file_folder_path", "/")


def _options(optimise: bool, threads: int) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


def _session(what: str | bytes, options: Any, where: str) -> Any:
    import onnxruntime as ort

    try:
        return ort.InferenceSession(what, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise SurgeryError(f"{where}: ONNX Runtime does not load it: {error}", "see the operator it names") from None


def run(sess: Any, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """One run; outputs by name."""
    names: Sequence[str] = [output.name for output in sess.get_outputs()]
    return dict(zip(names, sess.run(names, feeds), strict=True))
