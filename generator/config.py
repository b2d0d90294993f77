"""A pipeline -> the ModelConfig messages of its models, complete: they load with --disable-auto-complete-config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from generator.tensors import Tensor, config_dtype

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    from generator.pipeline import Part, Pipeline


def part_config(pipeline: Pipeline, part: Part) -> ModelConfig:
    """A step's config."""
    config = _tensors(part.name, pipeline.max_batch_size, part)
    if part.template is None:
        pipeline.spec.target.configure(config)
    else:
        config.backend = "python"
        config.default_model_filename = "model.py"
    for key, value in part.parameters.items():
        config.parameters[key].string_value = value
    config.instance_group.add(count=part.instances, kind="KIND_CPU")
    batching = pipeline.spec.serving.dynamic_batching
    if batching is not None and pipeline.max_batch_size > 0:
        config.dynamic_batching.SetInParent()
        config.dynamic_batching.preferred_batch_size.extend(batching.preferred_batch_sizes)
        config.dynamic_batching.max_queue_delay_microseconds = batching.max_queue_delay_us
    return config


def ensemble_config(pipeline: Pipeline) -> ModelConfig:
    """The ensemble's config: its steps and the tensors between them."""
    config = _tensors(pipeline.spec.name, pipeline.max_batch_size, pipeline.served)
    config.platform = "ensemble"
    for part in pipeline.parts:
        step = config.ensemble_scheduling.step.add(model_name=part.name, model_version=-1)
        for edge in pipeline.edges:
            if edge.target == part.name:
                step.input_map[edge.consumed.name] = edge.key
            if edge.source == part.name:
                step.output_map[edge.produced.name] = edge.key
    return config


def _tensors(name: str, max_batch_size: int, part: Part) -> ModelConfig:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    config = ModelConfig(name=name, max_batch_size=max_batch_size)
    for target, tensors in ((config.input, part.inputs), (config.output, part.outputs)):
        for tensor in tensors:
            target.add(name=tensor.name, data_type=config_dtype(tensor.dtype), dims=_dims(tensor, max_batch_size))
    return config


def _dims(tensor: Tensor, max_batch_size: int) -> list[int]:
    """Triton counts the batch axis only where `max_batch_size` is 0."""
    return [-1, *tensor.shape] if tensor.batched and not max_batch_size else list(tensor.shape)
