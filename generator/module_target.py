"""Targets that run the checkpoint's own PyTorch module: what they cannot take, and the ONNX model with head and NMS behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from generator.parts import Part
from generator.plugin import family
from generator.scalars import lifted

if TYPE_CHECKING:
    from generator.backends import Backend
    from generator.pipeline import Pipeline

_ELSE = "or say `target: onnxruntime` or `target: openvino`"


def network(pipeline: Pipeline) -> Part:
    """The module as it is served: pixels or its own inputs in, its raw outputs out."""
    if pipeline.head is None:
        return pipeline.model
    assert pipeline.spec.nms is not None
    thresholds = {tensor.name for tensor in pipeline.spec.nms.inputs()}
    inputs = tuple(tensor for tensor in pipeline.model.inputs if tensor.name not in thresholds)
    return Part(pipeline.spec.model_name, "model", inputs, tuple(map(lifted, pipeline.raw.outputs)))


def head(pipeline: Pipeline) -> tuple[Part, ...]:
    """NAME_head: raw outputs and thresholds in, what NMS gives out; none without NMS. What only goes through passes by it."""
    spec = pipeline.spec
    if spec.nms is None or pipeline.candidates is None:
        return ()
    passed = {tensor.name for tensor in pipeline.candidates.passed}
    inputs = tuple(lifted(tensor) for tensor in pipeline.raw.outputs if tensor.name not in passed)
    outputs = spec.nms.outputs(pipeline.candidates)
    return (Part(f"{spec.name}_head", "head", (*inputs, *spec.nms.inputs()), outputs, backend=_onnxruntime()),)


def _onnxruntime() -> Backend:
    return family("generator.backends")["onnxruntime"]()  # type: ignore[return-value]  # the family's base class is Backend


def fits(pipeline: Pipeline) -> None:
    """Raise SpecError where a spec asks for what such a target cannot run."""
    from generator.torch_frontend import TorchFrontend

    spec = pipeline.spec
    target = f"target {spec.target.kind} runs the checkpoint's own PyTorch module"
    if not isinstance(spec.checkpoint, TorchFrontend):
        what = f"{target}, and kind {spec.checkpoint.kind} has none"
        raise pipeline.error(("checkpoint", "kind"), what, f"name the PyTorch checkpoint, {_ELSE}")
    if spec.surgery:
        what = f"{target}, which passes of the ONNX graph do not reach"
        raise pipeline.error(("surgery", 0), what, f"change the module with `checkpoint.module_passes`, {_ELSE}")
    if spec.nms is not None and spec.preprocess is None:
        what = f"{target}; head and NMS are a step of their own behind it, which needs an ensemble"
        raise pipeline.error(("nms",), what, f"say `preprocess:` and `postprocess:`, leave nms out, {_ELSE}")
