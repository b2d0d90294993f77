"""How the server runs a pipeline: the short forms of what users set daily in config.pbtxt. All else is said in `config:`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from generator.fields import SpecFile
from generator.plugin import Model
from generator.server_version import DEFAULT_SERVER, ServerVersion
from generator.warmup import Warmup

_INT32, _UINT32, _INT64, _UINT64 = 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1

_POLICIES = "expected one of `latest: N`, `all`, `specific: [N, ...]`"

#: A time in microseconds, as the uint64 fields of model_config.proto hold it.
Microseconds = Annotated[int, Field(ge=0, le=_UINT64)]


class QueuePolicy(Model):
    """How long requests may queue (model_configuration.md, "Queue Policy")."""

    action: Annotated[Literal["reject", "delay"], Field(description="What becomes of a request that waited too long.")] = "reject"
    timeout_us: Annotated[Microseconds, Field(description="How long a request may queue, microseconds; 0: for ever.")] = 0
    allow_timeout_override: Annotated[bool, Field(description="May a request ask for a shorter time?")] = False
    max_queue_size: Annotated[int, Field(ge=0, le=_UINT32, description="A request more is refused; 0: no limit.")] = 0


class DynamicBatching(Model):
    """Triton's dynamic batcher (model_configuration.md, "Dynamic Batcher")."""

    preferred_batch_sizes: Annotated[
        tuple[int, ...], Field(description="Sizes worth waiting for; none: whatever has queued up.")
    ] = ()
    max_queue_delay_us: Annotated[Microseconds, Field(description="How long a request may wait for others, microseconds.")] = 0
    preserve_ordering: Annotated[bool, Field(description="Answer in the order in which the requests came.")] = False
    priority_levels: Annotated[int, Field(ge=0, le=_UINT64, description="Levels of priority, 1 the highest; 0: none.")] = 0
    default_priority_level: Annotated[
        int, Field(ge=0, le=_UINT64, description="The level of a request that names none; needs `priority_levels`.")
    ] = 0
    default_queue_policy: Annotated[
        QueuePolicy | None, Field(description="How long requests may queue; left out, without limit.")
    ] = None


class VersionPolicy(Model):
    """Which version folders the server loads (model_configuration.md, "Version Policy"): exactly one of the three."""

    latest: Annotated[int | None, Field(ge=1, le=_UINT32, description="So many, the highest first.")] = None
    all: Annotated[Literal[True] | None, Field(description="Every one; `version_policy: all` says the same.")] = None
    specific: Annotated[tuple[Annotated[int, Field(ge=1, le=_INT64)], ...] | None, Field(min_length=1, description="These.")] = (
        None
    )

    @model_validator(mode="after")
    def _one(self) -> VersionPolicy:
        if len(self.said) != 1:
            raise ValueError(f"found {' and '.join(self.said) or 'nothing'}; {_POLICIES}")
        return self

    @property
    def said(self) -> list[str]:
        """Which of the three."""
        return [name for name in ("latest", "all", "specific") if getattr(self, name) is not None]

    @property
    def choice(self) -> str:
        """latest, all or specific."""
        return self.said[0]


class InstanceGroup(Model):
    """Copies of one step (model_configuration.md, "Instance Groups")."""

    count: Annotated[int, Field(ge=1, le=64, description="How many; with `kind: gpu`, on each GPU.")] = 1
    kind: Annotated[
        Literal["cpu", "gpu", "auto"] | None,
        Field(description="Where; auto: a GPU if there is one. Left out, where the target runs; other steps on the CPU."),
    ] = None
    gpus: Annotated[
        tuple[Annotated[int, Field(ge=0, le=_INT32)], ...], Field(description="Which GPUs; none: all that the server sees.")
    ] = ()
    host_policy: Annotated[
        str | None, Field(min_length=1, description="The server's --host-policy of that name decides NUMA node and cores.")
    ] = None


def _group(value: Any) -> Any:
    return {"count": value} if isinstance(value, int) and not isinstance(value, bool) else value


Group = Annotated[InstanceGroup, BeforeValidator(_group, json_schema_input_type=int | InstanceGroup)]


class Instances(Model):
    """How many copies of each step the server runs side by side: a number, or where they run."""

    preprocess: Group = InstanceGroup()
    model: Group = InstanceGroup()
    head: Group = InstanceGroup()
    postprocess: Group = InstanceGroup()


def _batching(value: Any) -> Any:
    return {True: {}, False: None}[value] if isinstance(value, bool) else value


def _policy(value: Any) -> Any:
    if isinstance(value, str) and value != "all":
        raise ValueError(f"found {value!r}; {_POLICIES}")
    return {"all": True} if value == "all" else value


class Serving(Model):
    """How the server runs the pipeline."""

    server: Annotated[
        ServerVersion, Field(description="The oldest tritonserver that must load it, such as 2.51 or its container 24.10.")
    ] = DEFAULT_SERVER
    version: Annotated[
        int, Field(ge=1, le=_INT64, description="The version folder that is written; later ones are taken away, see `keep`.")
    ] = 1
    keep: Annotated[
        Literal["all"] | Annotated[int, Field(ge=0, le=_INT32)],
        Field(description="How many earlier versions stay beside it: all, or the latest N."),
    ] = "all"
    version_policy: Annotated[
        VersionPolicy | None,
        BeforeValidator(_policy, json_schema_input_type=Literal["all"] | VersionPolicy | None),
        Field(description="Which versions are served: `latest: N`, `all` or `specific: [N, ...]`; left out, the latest one."),
    ] = None
    max_batch_size: Annotated[int, Field(ge=1, le=1024, description="Most pictures in one batch.")] = 8
    dynamic_batching: Annotated[
        DynamicBatching | None,
        BeforeValidator(_batching, json_schema_input_type=bool | DynamicBatching | None),
        Field(description="true, false, or its settings."),
    ] = DynamicBatching()
    instances: Annotated[Instances, Field(description="How many copies of each step run side by side, and where.")] = Instances()

    warmup: Annotated[Warmup | None, Field(description="What each instance runs before its model is ready.")] = None
    response_cache: Annotated[
        bool, Field(description="Answer a request that was answered before from the server's cache, without running anything.")
    ] = False
    labels: Annotated[
        dict[str, SpecFile],
        Field(description="Of a bare model: output -> text file, a class a line; clients may then ask for the top classes."),
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _preferred_sizes_can_form(self) -> Serving:
        sizes = self.dynamic_batching.preferred_batch_sizes if self.dynamic_batching else ()
        if too_big := [size for size in sizes if not 1 <= size <= self.max_batch_size]:
            raise ValueError(f"preferred batch sizes {too_big} never form: max_batch_size is {self.max_batch_size}")
        return self
