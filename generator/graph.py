"""The one door to ONNX files: their inputs and outputs, their validity, and ONNX Runtime as the oracle."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from numpy.typing import NDArray

from generator.errors import CheckpointError, SurgeryError
from generator.tensors import BATCH, Tensor, from_onnx_dtype

if TYPE_CHECKING:
    from onnx import ModelProto

#: Above this protobuf itself refuses to write one file.
PROTOBUF_LIMIT = 2**31 - 2**24


def load(path: Path, weights: bool = True) -> ModelProto:
    """Read a model; without `weights` external data is not followed. Raises CheckpointError where the file is not ONNX."""
    try:
        model = onnx.load(path, load_external_data=False)
        if weights:
            _load_external(model, path)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}", "name a readable ONNX file") from None
    except Exception as error:
        raise CheckpointError(f"{path}: not an ONNX model or cut short: {error}", "export it again") from None
    if not model.graph.output:
        raise CheckpointError(f"{path}: not an ONNX model: it has no outputs", "is this the right file?")
    return model


def _load_external(model: ModelProto, path: Path) -> None:
    size = sum(int(entry.value) for init in model.graph.initializer for entry in init.external_data if entry.key == "length")
    if size > PROTOBUF_LIMIT:
        raise CheckpointError(f"{path}: {size / 2**30:.1f} GiB of weights", "models above 2 GiB are not supported yet")
    onnx.load_external_data_for_model(model, str(path.parent))


def save(model: ModelProto, path: Path) -> None:
    """Write a model; weights beyond protobuf's 2 GiB go to `<name>.data` beside it."""
    large = model.ByteSize() > PROTOBUF_LIMIT
    onnx.save(model, path, save_as_external_data=large, location=f"{path.name}.data" if large else None)


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
    """The model with shapes inferred and the checker passed. Raises SurgeryError naming what was done before."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        onnx.checker.check_model(inferred)
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
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise SurgeryError(f"{path}: ONNX Runtime does not load it: {error}", "see the operator it names") from None


def run(sess: Any, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """One run; outputs by name."""
    names: Sequence[str] = [output.name for output in sess.get_outputs()]
    return dict(zip(names, sess.run(names, feeds), strict=True))
