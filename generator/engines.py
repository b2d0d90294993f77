"""The engines that a repository asks for (`engine.json` in a version folder), and which of them are still to be built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from generator import engine_request, lock, plan_file, provenance, server_tensorrt
from generator.engine_request import Engine, EngineRequest
from generator.errors import RepositoryError
from generator.machine import Machine
from generator.server_version import DEFAULT_SERVER, Version

#: How the command is called in remedies.
COMMAND = "triton-repo engines"


@dataclass(frozen=True)
class Wanted:
    """One plan that a model folder asks for, and the server that must load it."""

    model: str
    #: The version folder.
    folder: Path
    request: EngineRequest
    engine: Engine
    server: Version = DEFAULT_SERVER

    @property
    def plan(self) -> Path:
        """Where the plan belongs."""
        return self.folder / self.engine.filename

    @property
    def name(self) -> str:
        """Its path in the repository."""
        return f"{self.model}/{self.folder.name}/{self.engine.filename}"

    @property
    def files(self) -> tuple[str, ...]:
        """The names of what is built, in the version folder: the plan without weights, the plan; behind each its provenance."""
        plans = filter(None, (self.stripped, self.engine.filename))
        return tuple(name for plan in plans for name in (plan, f"{plan}.json"))

    @property
    def stripped(self) -> str | None:
        """The name of the plan without weights, where one is asked for."""
        return self.engine.stripped if self.request.options.strip_plan else None


def wanted(repository: Path, models: Iterable[str] = ()) -> list[Wanted]:
    """Every engine that `repository` asks for, by model; of these models only, where some are named.

    Raises RepositoryError for a request that cannot be read, and for a model that asks for none.
    """
    if not repository.is_dir():
        raise RepositoryError(f"no such model repository: {repository}", "run triton-repo build first, or correct the path")
    servers = lock.servers(repository)
    found = [
        Wanted(folder.parent.name, folder, request, engine, servers.get(folder.parent.name, DEFAULT_SERVER))
        for folder in _folders(repository)
        for request in [EngineRequest.read(folder)]
        for engine in request.engines
    ]
    names = {item.model for item in found}
    for name in models:
        if name not in names:
            known = f"those that do: {', '.join(sorted(names))}" if names else "no model of it does"
            raise RepositoryError(f"{repository}: {name} asks for no engine", known)
    return [item for item in found if not models or item.model in models]


def pending(repository: Path) -> list[str]:
    """The paths of the engines that are not there."""
    return [item.name for item in wanted(repository) if not item.plan.is_file()]


def of_folder(folder: Path) -> list[Wanted]:
    """The engines that one version folder asks for; none where it has no request, or one that cannot be read."""
    try:
        request = EngineRequest.read(folder) if (folder / engine_request.NAME).is_file() else None
    except RepositoryError:
        return []
    return [Wanted(folder.parent.name, folder, request, engine) for engine in request.engines] if request else []


def _folders(repository: Path) -> list[Path]:
    found = (path.parent for path in repository.glob(f"*/*/{engine_request.NAME}"))
    return sorted(folder for folder in found if folder.name.isdecimal() and not folder.parent.name.startswith("."))


def stale(item: Wanted, machine: Machine | None = None) -> str:
    """Why the engine must be built, in words; empty where it is there and fits. `machine` None: GPUs are not judged."""
    if not item.plan.is_file():
        return "not built yet"
    try:
        found = provenance.read(item.plan)
        plan_file.read(item.plan)
    except RepositoryError as error:
        return error.message
    if found is None:
        return f"{item.plan.name}.json, which says what built it, is missing"
    return next(_reasons(item, found, machine), "")


def _reasons(item: Wanted, found: provenance.Provenance, machine: Machine | None) -> Iterator[str]:
    yield from (misfit.what for misfit in provenance.of_request(item.plan, found, item.request, item.engine))
    if item.stripped and not (item.folder / item.stripped).is_file():
        yield f"{item.stripped}, the plan without weights, is missing"
    judged = machine if item.engine.compute_capability is None else None
    version, release = server_tensorrt.tensorrt(item.server), server_tensorrt.release(item.server)
    yield from (misfit.what for misfit in provenance.misfits(found, judged, version, release))
