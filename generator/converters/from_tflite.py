"""TFLite models, float and 8-bit. Converted by tf2onnx; pictures stay [batch, height, width, channels], as TFLite has them."""

from __future__ import annotations

import functools
from typing import Any

from child import Refused, read, rename, serve, short, write


@functools.cache
def _load(path: str) -> Any:
    import tensorflow as tf

    try:
        found = tf.lite.Interpreter(path, experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF)
        found.allocate_tensors()
    except Exception as error:
        raise Refused(f"{path}: TFLite does not load it: {short(error)}", "is it whole, and without custom operators?") from None
    return found


def _names(path: str) -> tuple[dict[str, str], dict[str, str]]:
    """Tensors inside -> names of inputs, and of outputs: those of its signature, else its own without `:0` and the like."""
    found = _load(path)
    inputs, outputs = (
        {one["name"]: _safe(one["name"]) for one in side} for side in (found.get_input_details(), found.get_output_details())
    )
    signatures = found.get_signature_list()
    if len(signatures) == 1:
        runner = found.get_signature_runner(next(iter(signatures)))
        inputs |= {one["name"]: key for key, one in runner.get_input_details().items()}
        outputs |= {one["name"]: key for key, one in runner.get_output_details().items() if one["name"] in outputs}
    return inputs, outputs


def _safe(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter == "_" else "_" for letter in name.removesuffix(":0"))


def export(said: dict[str, Any], opset: int, output: str) -> dict[str, str]:
    """Inputs and outputs by their names in the signature."""
    import onnx
    import tf2onnx

    inputs, outputs = _names(said["file"])
    model, _ = tf2onnx.convert.from_tflite(said["file"], opset=min(opset, 18))
    taken = [value.name for value in model.graph.input]
    rename(model, [inputs.get(n, n) for n in taken], [outputs.get(value.name, value.name) for value in model.graph.output])
    onnx.save(model, output)
    return {"exporter": f"tf2onnx {tf2onnx.__version__}"}


def answer(said: dict[str, Any], feeds: str, output: str) -> dict[str, str]:
    """TFLite's own interpreter, with its reference kernels."""
    import tensorflow as tf

    found, (inputs, outputs), given = _load(said["file"]), _names(said["file"]), read(feeds)
    for one in found.get_input_details():
        found.resize_tensor_input(one["index"], list(given[inputs[one["name"]]].shape))
    found.allocate_tensors()
    for one in found.get_input_details():
        found.set_tensor(one["index"], given[inputs[one["name"]]])
    found.invoke()
    write(output, {outputs[one["name"]]: found.get_tensor(one["index"]) for one in found.get_output_details()})
    return {"by": f"TFLite of TensorFlow {tf.__version__}"}


if __name__ == "__main__":
    serve(export=export, answer=answer)
