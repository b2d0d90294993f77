"""How the server runs a pipeline: the short forms of what users set daily in config.pbtxt. All else is said in `config:`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from generator.plugin import Model


class DynamicBatching(Model):
    """Triton's dynamic batcher (model_configuration.md, "Dynamic Batcher")."""

    preferred_batch_sizes: Annotated[
        tuple[int, ...], Field(description="Sizes worth waiting for; none: whatever has queued up.")
    ] = ()
    max_queue_delay_us: Annotated[int, Field(ge=0, description="How long a request may wait for others, microseconds.")] = 0


class Instances(Model):
    """How many copies of each step the server runs side by side."""

    preprocess: Annotated[int, Field(ge=1, le=64)] = 1
    model: Annotated[int, Field(ge=1, le=64)] = 1
    postprocess: Annotated[int, Field(ge=1, le=64)] = 1


def _batching(value: Any) -> Any:
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


class Serving(Model):
    """How the server runs the pipeline."""

    version: Annotated[int, Field(ge=1, description="The version folder that is written.")] = 1
    max_batch_size: Annotated[int, Field(ge=1, le=1024, description="Most pictures in one batch.")] = 8
    dynamic_batching: Annotated[
        DynamicBatching | None,
        BeforeValidator(_batching, json_schema_input_type=bool | DynamicBatching | None),
        Field(description="true, false, or its settings."),
    ] = DynamicBatching()
    instances: Instances = Instances()

    @model_validator(mode="after")
    def _preferred_sizes_can_form(self) -> Serving:
        sizes = self.dynamic_batching.preferred_batch_sizes if self.dynamic_batching else ()
        if too_big := [size for size in sizes if not 1 <= size <= self.max_batch_size]:
            raise ValueError(f"preferred batch sizes {too_big} never form: max_batch_size is {self.max_batch_size}")
        return self
