"""The exported graph -> the served one: uint8 pixels in, head decoded, NMS appended, constants folded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from generator.errors import SurgeryError
from generator.graph import checked, empty, interface, load, save
from generator.passes.fold_constants import FoldConstants
from generator.passes.image_input import ImageInput
from generator.passes.set_opset import SetOpset, opset
from generator.scalars import lift
from generator.tensors import Tensor

if TYPE_CHECKING:
    from onnx import ModelProto

    from generator.pipeline import Pipeline


#: The opset of what heads and NMS append.
_OPSET = 18


def edit(pipeline: Pipeline, exported: Path, edited: Path) -> dict[str, str]:
    """The spec's own passes, in order; what each did, in words. Raises SurgeryError with the line of the pass that failed."""
    from generator.proof import Prover

    model, facts = checked(load(exported), "export"), {}
    same("the exported graph's outputs", interface(model)[1], pipeline.source.outputs)
    prover = Prover(pipeline.spec.verify.bounds)
    for index, step in enumerate(pipeline.spec.surgery):
        try:
            model, facts[f"{index + 1} {step.kind}:"] = prover.apply(step, model)
        except SurgeryError as error:
            said = pipeline.error(("surgery", index), error.message, error.remedy)
            raise SurgeryError(said.message, said.remedy) from None
    inputs, outputs = interface(model)
    same("the inputs after surgery", inputs, pipeline.operated.inputs)
    same("the outputs after surgery", outputs, pipeline.operated.outputs)
    save(model, edited, pipeline.spec.external_data_from * 2**20)
    return facts


def operate(pipeline: Pipeline, exported: Path, final: Path) -> None:
    """Write the final graph. Raises SurgeryError naming the step whose result is not valid, or not what the plan promised."""
    model = load(exported)
    same("the exported graph's outputs", interface(model)[1], pipeline.raw.outputs)
    if pipeline.spec.preprocess is not None:
        model = checked(image_input(pipeline, model), "image_input")
    if pipeline.head is not None:
        model = recent(pipeline, model)
        model = checked(_detector(pipeline, model), f"head {pipeline.head.kind} and nms")
    model = checked(lift(model), "scalars")
    model = checked(FoldConstants().run(model), "fold_constants")
    inputs, outputs = interface(model)
    same("the final graph's inputs", inputs, pipeline.fp32.inputs)
    same("the final graph's outputs", outputs, pipeline.fp32.outputs)
    save(model, final, pipeline.spec.external_data_from * 2**20)


def head_alone(pipeline: Pipeline, path: Path) -> None:
    """Head and NMS as a graph of their own, from raw outputs on. Raises SurgeryError where it is not what the plan promised."""
    part = next(part for part in pipeline.parts if part.role == "head")
    thresholds = {tensor.name for tensor in pipeline.spec.nms.inputs()} if pipeline.spec.nms else set()
    model = empty(tuple(tensor for tensor in part.inputs if tensor.name not in thresholds), _OPSET)
    model = checked(_detector(pipeline, model, alone=True), "head and nms alone")
    model = checked(FoldConstants().run(model), "fold_constants")
    inputs, outputs = interface(model)
    same("the inputs of head and NMS", inputs, part.inputs)
    same("the outputs of head and NMS", outputs, part.outputs)
    save(model, path)


def recent(pipeline: Pipeline, model: ModelProto) -> ModelProto:
    """With operators of the version that heads and NMS are made of; proven where it had to be brought there."""
    from generator.proof import Prover

    if opset(model) >= _OPSET:
        return model
    return Prover(pipeline.spec.verify.bounds).apply(SetOpset(version=_OPSET), model)[0]


def image_input(pipeline: Pipeline, model: ModelProto) -> ModelProto:
    """The model taking `pixels` UINT8 [batch, height, width, 3], normalised as the spec's preprocess says."""
    preprocess, picture = pipeline.spec.preprocess, pipeline.picture
    assert preprocess is not None
    height, width = picture.size
    return ImageInput(
        input=picture.tensor.name, size=(height, width), model_layout=picture.layout,
        scale=preprocess.scale, mean=preprocess.mean, std=preprocess.std,
    ).run(model)  # fmt: skip


def _detector(pipeline: Pipeline, model: ModelProto, alone: bool = False) -> ModelProto:
    """Head and NMS appended; `alone`, what only goes through does not go through this graph."""
    from generator.builder import Builder

    head, nms = pipeline.head, pipeline.spec.nms
    assert head is not None
    assert nms is not None
    assert pipeline.candidates is not None
    image, outputs = pipeline.image, pipeline.raw.outputs
    build = Builder(model, f"head/{head.kind}")
    build.graph.outputs = []
    decoded = head.append(build, image, outputs)
    build.prefix = f"nms/{nms.kind}"
    for tensor in nms.inputs():
        build.input(tensor)
    nms.append(build, decoded, pipeline.candidates)
    build.keep(tensor.name for tensor in pipeline.candidates.passed if not alone)
    return build.model()


def same(what: str, found: tuple[Tensor, ...], planned: tuple[Tensor, ...]) -> None:
    """Raise SurgeryError where a graph does not take or give what the plan promised."""
    pairs = zip(planned, found, strict=False)
    fits = len(found) == len(planned) and all(p.name == f.name and p.whole().accepts(f.whole()) for p, f in pairs)
    if not fits:
        raise SurgeryError(
            f"{what} are {', '.join(map(str, found))}; expected {', '.join(map(str, planned))}",
            "correct the spec's inputs and outputs",
        )
