"""Instance groups, after the server has settled kinds and counts (core, src/model_config_utils.cc, ValidateInstanceGroup)."""

from __future__ import annotations

from collections.abc import Iterator

from generator.rules import Model, Problem, World, rule
from generator.rules.io import PLAN

_SOURCE = "core, src/model_config_utils.cc, ValidateInstanceGroup"
_LIMITER = "core, src/rate_limiter.cc, ResourceManager"


def _kind(kind: int, gpus: int | None, listed: bool) -> str:
    """KIND_AUTO is GPU where there are GPUs; not known where nobody said how many there are."""
    names = ("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL")
    if names[kind] != "KIND_AUTO":
        return names[kind]
    if gpus == 0:
        return "KIND_CPU"
    return "KIND_GPU" if gpus or listed else "KIND_AUTO"


@rule("instances/gpus", source=_SOURCE)
def gpus(model: Model, world: World) -> Iterator[Problem]:
    """Only GPU instances list GPUs, and only GPUs that the server has."""
    if model.config.HasField("ensemble_scheduling"):
        return
    for index, group in enumerate(model.config.instance_group):
        path = f"instance_group[{index}]"
        kind = _kind(group.kind, world.gpus, bool(group.gpus))
        if kind in ("KIND_CPU", "KIND_MODEL") and group.gpus:
            yield Problem(f"{path}.gpus", f"{list(group.gpus)} on {kind}", "none", "remove gpus, or say KIND_GPU")
        elif kind == "KIND_GPU" and world.gpus == 0:
            yield Problem(f"{path}.kind", "KIND_GPU, and the server has no GPU", "KIND_CPU", "say KIND_CPU or KIND_AUTO")
        elif kind == "KIND_GPU":
            for place, number in enumerate(group.gpus):
                if number < 0 or (world.gpus is not None and number >= world.gpus):
                    top = f"0 to {world.gpus - 1}" if world.gpus else "0 or more"
                    yield Problem(f"{path}.gpus[{place}]", str(number), top, "name a GPU that the server has")


@rule("instances/profile", source=_SOURCE)
def profile(model: Model, world: World) -> Iterator[Problem]:
    """Optimisation profiles are for TensorRT plans, and are numbers."""
    if model.config.HasField("ensemble_scheduling"):
        return
    for index, group in enumerate(model.config.instance_group):
        for place, name in enumerate(group.profile):
            field = f"instance_group[{index}].profile[{place}]"
            if model.config.platform != PLAN:
                yield Problem(
                    field, f"{name!r} on platform {model.config.platform!r}", f"platform {PLAN!r}", "remove the profile"
                )
            elif not name.isdigit():
                yield Problem(field, repr(name), "the profile's number, such as '0'", "correct it")


@rule("instances/resources", level="warning", source=f"{_LIMITER}, ValidateMaxResources")
def resources(model: Model, world: World) -> Iterator[Problem]:
    """A resource is global everywhere or nowhere: refused with --rate-limit=execution_count, passed over without."""
    seen: dict[str, bool] = {}
    for index, group in enumerate(model.config.instance_group):
        for place, resource in enumerate(group.rate_limiter.resources):
            if seen.setdefault(resource.name, getattr(resource, "global")) != getattr(resource, "global"):
                field = f"instance_group[{index}].rate_limiter.resources[{place}].global"
                yield Problem(field, f"{resource.name!r} both global and not", "one of the two", "make them equal")
