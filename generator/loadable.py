"""Which models of a repository the server of this machine can load, and why it cannot load the others.

An engine that is still to be built, a backend that this server does not have, instances on a GPU where there is none: the
repository may be right, and is for another machine. Everything else is left for the server, or the checker, to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator import engines, machine, server
from generator.errors import RepositoryError, ServerError
from generator.rules.instances import gpus as gpu_instances

if TYPE_CHECKING:
    from generator.machine import Machine
    from generator.rules import Model, World

#: Their C++ backends are absent from the wheel's server, and have no stand-in.
_GPU_BACKENDS = ("tensorrt",)


@dataclass(frozen=True)
class Loadable:
    """The models of a repository, by name: those to load, and of each other one why not and what to do."""

    load: tuple[str, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)

    def server_options(self) -> dict[str, Any]:
        """For `server.Server`: everything, or the models that can be loaded by name."""
        return {"model_control": "explicit", "load": self.load} if self.left_out else {}

    def check(self, repository: Path) -> None:
        """Raise ServerError where nothing is left to load."""
        if self.left_out and not self.load:
            raise ServerError(f"{repository}: nothing of it can be served here: {self.reasons()}", "")

    def reasons(self) -> str:
        """One sentence for all that is left out; models with one reason together."""
        by_reason: dict[str, list[str]] = {}
        for name, why in self.left_out.items():
            by_reason.setdefault(why, []).append(name)
        return "; ".join(f"{', '.join(names)}: {why}" for why, names in by_reason.items())


def of(repository: Path) -> Loadable:
    """What the server of this machine can load of `repository`. Raises ToolError where there is no server."""
    from generator import check

    try:
        # strict: no model file is read, which only the completion of configs needs
        world, _ = check.read(repository, gpus=0, strict=True)
    except RepositoryError:
        return Loadable()  # the server's own message is as good
    here = machine.look()
    world = replace(world, gpus=len(here.gpus))
    found = {name: why for name, model in world.models.items() if (why := _why(repository / name, model, world, here))}
    found |= _ensembles(world.models, found)
    return Loadable(tuple(sorted({*world.models, *world.broken} - set(found))), found)


def _why(folder: Path, model: Model, world: World, here: Machine) -> str:
    for version in model.served:
        if pending := _pending(folder / str(version), here):
            return pending
    backend = model.config.backend
    if backend in _GPU_BACKENDS and not _has(backend):
        return f"this server has no {backend} backend: the official container has it (triton-repo serve --container print)"
    if world.gpus == 0 and any(problem.field.endswith(".kind") for problem in gpu_instances.find(model, world)):
        return "its instances are on a GPU, and this machine has none"
    device = model.config.parameters["TARGET_DEVICE"].string_value if "TARGET_DEVICE" in model.config.parameters else "CPU"
    if backend == "openvino" and not device.startswith(("CPU", "AUTO")):
        return f"it is for {device}: serve it where the OpenVINO backend has that device"
    return ""


def _pending(folder: Path, here: Machine) -> str:
    """Engines that this machine needs (every one, where it has no GPU) and that are not there."""
    items = engines.of_folder(folder)
    needed = [item for item in items if not here.gpus or here.gpu(item.engine.compute_capability)]
    if items and not needed:
        return f"none of its engines is for a GPU that is here ({here})"
    missing = [item.engine.filename for item in needed if not item.plan.is_file()]
    if not missing:
        return ""
    what = "engine" if len(missing) == 1 else "engines"
    return f"{what} {', '.join(missing)} still to be built: {engines.COMMAND} on the GPU host"


def _has(backend: str) -> bool:
    """Has the server that would be started this backend?"""
    installed = server.find().backends or Path("/opt/tritonserver/backends")
    return (installed / backend).is_dir()


def _ensembles(models: Mapping[str, Model], found: Mapping[str, str]) -> dict[str, str]:
    """Ensembles of which a step is left out, and the ensembles of those."""
    told = dict(found)
    while True:
        new = {
            name: f"its step {step} is left out: {told[step]}"
            for name, model in models.items()
            if name not in told
            for step in [next((s.model_name for s in model.config.ensemble_scheduling.step if s.model_name in told), "")]
            if step
        }
        if not new:
            return told
        told |= new
