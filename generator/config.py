"""A pipeline -> the ModelConfig messages of its models, complete: they load with --disable-auto-complete-config."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from generator import config_merge, config_serving, model_config, warmup
from generator.config_serving import said
from generator.draft import MODEL, Draft, Origin
from generator.tensors import config_dtype

if TYPE_CHECKING:
    from generator.pipeline import Part, Pipeline


def drafts(pipeline: Pipeline) -> dict[str, Draft]:
    """Model name -> config, in the order of the data, the ensemble last."""
    made = {part.name: part_config(pipeline, part) for part in pipeline.parts}
    if pipeline.spec.preprocess is not None:
        made[pipeline.spec.name] = ensemble_config(pipeline)
    return made


def part_config(pipeline: Pipeline, part: Part) -> Draft:
    """A step's config."""
    draft, spec = _tensors(pipeline, part), pipeline.spec
    config = draft.config
    own = part.backend or spec.target
    config_serving.instances(draft, spec.serving, part.role, "cpu" if part.template else own.runs_on)
    if part.template is None:
        own.configure(config)
        origin = said(spec, "target")
    else:
        config.backend = "python"
        config.default_model_filename = "model.py"
        origin = Origin("spec", (part.role,))
    for path in ("platform", "backend", "default_model_filename", "cc_model_filenames", "optimization", "parameters"):
        draft.note(path, origin)
    for key, value in part.parameters.items():
        config.parameters[key].string_value = value
    if part is pipeline.network:
        spec.target.complete(config, pipeline.order(Path(), Path()))
    config_serving.batching(draft, spec.serving)
    warmup.configure(pipeline, part, draft)
    if part is pipeline.served:
        config_serving.answers(draft, spec.serving, part)
    config_merge.merge(pipeline, part, draft)
    return draft


def ensemble_config(pipeline: Pipeline) -> Draft:
    """The ensemble's config: its steps and the tensors between them."""
    draft = _tensors(pipeline, pipeline.served)
    draft.config.platform = "ensemble"
    for part in pipeline.parts:
        step = draft.config.ensemble_scheduling.step.add(model_name=part.name, model_version=-1)
        for edge in pipeline.edges:
            if edge.target == part.name:
                step.input_map[edge.consumed.name] = edge.key
            if edge.source == part.name:
                step.output_map[edge.produced.name] = edge.key
    for key, value in pipeline.served.parameters.items():
        draft.config.parameters[key].string_value = value
        draft.note(f"parameters[{key}]", Origin("spec", ("nms", key)))
    draft.note("platform", Origin("spec", ("preprocess",)))
    draft.note("ensemble_scheduling", MODEL)
    config_serving.answers(draft, pipeline.spec.serving, pipeline.served)
    config_merge.merge(pipeline, pipeline.served, draft)
    return draft


def _tensors(pipeline: Pipeline, part: Part) -> Draft:
    size = pipeline.batch_size(part.role)
    draft = Draft(model_config.new(name=part.name, max_batch_size=size))
    draft.note("name", Origin("spec", ("name",)))
    draft.note("max_batch_size", said(pipeline.spec.serving, "max_batch_size", ("serving",)))
    config_serving.versions(draft, pipeline.spec.serving)
    for name, tensors in (("input", part.inputs), ("output", part.outputs)):
        draft.note(
            name, MODEL if part.role in ("model", "head") else Origin("spec", (part.role,) if part.template else ("preprocess",))
        )
        for tensor in tensors:
            dims = tensor.dims(size)
            added = getattr(draft.config, name).add(name=tensor.name, data_type=config_dtype(tensor.dtype), dims=dims)
            if tensor.single(size):  # the server wants a dimension (model_configuration.md, "Reshape")
                added.reshape.SetInParent()
    return draft
