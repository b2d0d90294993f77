"""TensorFlow SavedModels and Keras models (.keras, .h5). Converted by tf2onnx from the function that they are."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from child import Refused, read, rename, serve, short, write

#: Operators of a graph that reach beyond it: Python of the process, and files.
_REACHING = {
    "PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile", "MatchingFiles", "PrintV2", "DebugIdentity",
    "DebugIdentityV2", "DebugIdentityV3", "SaveDataset", "SaveDatasetV2", "LoadDataset",
}  # fmt: skip
_TRUST = "if you trust whoever made it, say `trust_checkpoint: true`"


@dataclass
class Loaded:
    """A model as a function of tensors in the order of `inputs`."""

    call: Callable[..., list[Any]]
    #: Names and `tf.TensorSpec`s of what it takes.
    inputs: dict[str, Any]
    outputs: list[str]
    #: Keeps its variables alive.
    owner: Any


@functools.cache
def _load(path: str, signature: str, trust: bool) -> Loaded:
    return _saved_model(path, signature, trust) if Path(path).is_dir() else _keras(path, trust)


def _keras(path: str, trust: bool) -> Loaded:
    import keras
    import tensorflow as tf

    try:
        model = keras.models.load_model(path, compile=False, safe_mode=not trust)
    except Exception as error:
        if "safe_mode" in str(error):
            raise Refused(f"{path}: loading it runs code from the file (a Lambda layer)", _TRUST) from None
        if "custom_objects" in str(error) or "register_keras_serializable" in str(error):
            remedy = "save it where its classes are: model.export(folder), and name that folder"
            raise Refused(f"{path}: it has layers of its own classes: {short(error)}", remedy) from None
        raise Refused(f"{path}: Keras does not load it: {short(error)}", "is it whole, and saved by model.save?") from None
    if not getattr(model, "inputs", None):
        raise Refused(f"{path}: a model without declared inputs", "save it as a SavedModel: model.export(folder)")
    specs = {_safe(t.name): tf.TensorSpec(t.shape, t.dtype, name=_safe(t.name)) for t in model.inputs}
    names = list(getattr(model, "output_names", None) or []) or _last(model)

    def call(*values: Any) -> list[Any]:
        given = values[0] if len(values) == 1 else keras.tree.pack_sequence_as(model.input, list(values))
        return list(keras.tree.flatten(model(given, training=False)))

    return Loaded(call, specs, _distinct(names), model)


def _last(model: Any) -> list[str]:
    """Of a Sequential model: its last layer."""
    return [model.layers[-1].name] if len(model.outputs) == 1 else [f"output_{i}" for i in range(len(model.outputs))]


def _saved_model(path: str, signature: str, trust: bool) -> Loaded:
    import tensorflow as tf

    reaching = sorted(_operators(path) & _REACHING)
    if reaching and not trust:
        raise Refused(f"{path}: running it reaches beyond its graph ({', '.join(reaching)})", _TRUST)
    try:
        model = tf.saved_model.load(path)
    except Exception as error:
        raise Refused(
            f"{path}: TensorFlow does not load it: {short(error)}", "is the whole folder there, variables/ too?"
        ) from None
    signatures = dict(model.signatures)
    if signature not in signatures:
        found = ", ".join(signatures) or "none"
        fix = "say one of them in `signature:`" if signatures else "save it with model.export(folder), or with signatures="
        raise Refused(f"{path}: no signature {signature!r}; it has {found}", fix)
    one = signatures[signature]
    specs, outputs = dict(one.structured_input_signature[1]), sorted(one.structured_outputs)

    def call(*values: Any) -> list[Any]:
        answer = one(**dict(zip(specs, values, strict=True)))
        return [answer[name] for name in outputs]

    return Loaded(call, specs, _distinct(outputs), model)


def _operators(path: str) -> set[str]:
    """Of all its graphs and functions, without loading it."""
    from tensorflow.core.protobuf import saved_model_pb2

    found = saved_model_pb2.SavedModel()
    try:
        found.ParseFromString((Path(path) / "saved_model.pb").read_bytes())
    except Exception as error:
        raise Refused(f"{path}: not a SavedModel, or cut short: {short(error)}", "save it again: model.export(folder)") from None
    graphs = [graph.graph_def for graph in found.meta_graphs]
    nodes = [graph.node for graph in graphs] + [one.node_def for graph in graphs for one in graph.library.function]
    return {node.op for some in nodes for node in some}


def _safe(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter == "_" else "_" for letter in name)


def _distinct(names: list[str]) -> list[str]:
    return [_safe(name) if names.count(name) == 1 else f"{_safe(name)}_{index}" for index, name in enumerate(names)]


def _of(said: dict[str, Any]) -> Loaded:
    return _load(said["path"], said["signature"], said["trust_checkpoint"])


def export(said: dict[str, Any], opset: int, output: str) -> dict[str, str]:
    """Inputs and outputs by their names in the model."""
    import onnx
    import tensorflow as tf
    import tf2onnx

    model = _of(said)
    specs = tuple(model.inputs.values())
    traced = tf.function(model.call, input_signature=specs)
    made, _ = tf2onnx.convert.from_function(traced, input_signature=specs, opset=min(opset, 18))
    by_name = {_safe(value.name.partition(":")[0]): value for value in made.graph.input}
    if missing := [name for name in model.inputs if name not in by_name]:
        raise Refused(
            f"{said['path']}: the converter left out the input {', '.join(missing)}", "nothing depends on it: save it without"
        )
    in_order = [by_name[name] for name in model.inputs]
    del made.graph.input[:]
    made.graph.input.extend(in_order)
    rename(made, list(model.inputs), model.outputs)
    onnx.save(made, output)
    return {"exporter": f"tf2onnx {tf2onnx.__version__}"}


def answer(said: dict[str, Any], feeds: str, output: str) -> dict[str, str]:
    """TensorFlow's own, eagerly."""
    import tensorflow as tf

    model, given = _of(said), read(feeds)
    values = [tf.constant(given[name], dtype=spec.dtype) for name, spec in model.inputs.items()]
    found = model.call(*values)
    write(output, {name: value.numpy() for name, value in zip(model.outputs, found, strict=True)})
    return {"by": f"TensorFlow {tf.__version__}"}


if __name__ == "__main__":
    serve(export=export, answer=answer)
