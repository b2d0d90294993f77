"""Names, folders, versions, and which backend a model goes to."""

from __future__ import annotations

from collections.abc import Iterator

from generator.completion import KNOWN, SINCE_2_67
from generator.rules import NO_VERSIONS, Model, Problem, World, listed, rule, version_of

_UTILS = "core, src/model_config_utils.cc"
_MANAGER = "core, src/model_repository_manager/model_repository_manager.cc"
_LIFECYCLE = "core, src/model_repository_manager/model_lifecycle.cc"
_LARGEST = 2**63 - 1


@rule("names/folder", source=f"{_MANAGER}, InitializeModelInfo")
def folder(model: Model, world: World) -> Iterator[Problem]:
    """The name in a config is the name of its folder."""
    if model.config.name != model.name:
        yield Problem("name", repr(model.config.name), repr(model.name), "rename the folder, or leave the name out")


@rule("names/config", source=f"{_MANAGER}, InitializeModelInfo")
def config(model: Model, world: World) -> Iterator[Problem]:
    """There is a config.pbtxt where the server may not complete one."""
    if not model.written and world.strict:
        yield Problem("", "no config.pbtxt", "one, as --disable-auto-complete-config is on", "write it, or leave that option out")


@rule("names/backend", source=f"{_UTILS}, ValidateModelConfig and AutoCompleteBackendFields")
def backend(model: Model, world: World) -> Iterator[Problem]:
    """The backend is said, or follows from the platform or the model file; an ensemble has none."""
    found = model.config
    if found.backend and found.platform == "ensemble":
        yield Problem("backend", repr(found.backend), 'none, as the platform is "ensemble"', "remove the backend")
    elif not found.backend and found.platform and found.platform != "ensemble":
        known = ", ".join(known.platform for known in KNOWN if known.platform)
        yield Problem(
            "platform",
            f"{found.platform!r} and no backend",
            f"one of ensemble, {known}",
            "correct the platform, or say `backend`",
        )
    elif not found.backend and not found.platform:
        names = ", ".join(dict.fromkeys(known.filename for known in KNOWN))
        yield Problem(
            "backend", "none, and no model file that tells", f"a backend, or one of {names} in the version folder",
            'say `backend`, or `platform: "ensemble"` for an ensemble',
        )  # fmt: skip


@rule("names/platform", source=f"{_UTILS}, ValidateModelConfig")
def platform(model: Model, world: World) -> Iterator[Problem]:
    """Platform and backend name the same thing where the server knows the backend."""
    found = model.config
    older = bool(world.server) and world.server < (2, 67)
    known = [known.platform for known in KNOWN if known.backend == found.backend and known.platform]
    wanted = [name for name in known if not (older and name in SINCE_2_67)]
    if wanted and found.platform not in wanted:
        what = f"{found.platform!r} with backend {found.backend!r}"
        yield Problem("platform", what, " or ".join(map(repr, wanted)), "remove one of the two, or correct it")


@rule("versions/none", source=f"{_LIFECYCLE}, VersionsToLoad and AsyncLoad")
def versions(model: Model, world: World) -> Iterator[Problem]:
    """At least one version folder is there that the version policy lets the server load."""
    if model.served:
        return
    names = sorted(name for name in model.folders if "/" not in name and name not in NO_VERSIONS)
    if not model.versions:
        what = f"no version folder (only {', '.join(names[:5])})" if names else "no version folder"
        yield Problem("", what, "a folder named 1, or another whole number", "make the folder 1 and put the model there")
    else:
        what = f"versions {', '.join(map(str, model.versions))}, none of which the policy allows"
        yield Problem("version_policy", what, "a policy that allows one of them", "correct the policy, or add the version")


@rule("versions/negative", source=f"{_LIFECYCLE}, VersionsToLoad; seen: server 2.51 loads it for ever")
def negative(model: Model, world: World) -> Iterator[Problem]:
    """A version that is served is not below 0: the server would take such a folder, and never end loading it."""
    for version in model.served:
        if version < 0:
            yield Problem("", f"version folder {version}", "a whole number above 0", "rename the folder")


@rule("versions/number", source=f"{_LIFECYCLE}, VersionsToLoad (std::stoll)")
def numbers(model: Model, world: World) -> Iterator[Problem]:
    """A version fits into 64 bits; a larger one ends the server."""
    for name in sorted(model.folders):
        number = version_of(name)
        if number is not None and abs(number) > _LARGEST:
            yield Problem("", f"version folder {name}", f"a number up to {_LARGEST}", "rename the folder")


@rule("agents/none", source="core, src/repo_agent.cc, CreateAgentModelListWithLoadAction; seen: server 2.51 ends")
def agents(model: Model, world: World) -> Iterator[Problem]:
    """Repository agents, where they are said at all, are at least one."""
    if model.config.HasField("model_repository_agents") and not model.config.model_repository_agents.agents:
        yield Problem("model_repository_agents", "no agents", "at least one", "name an agent, or remove the field")


@rule("names/backend_known", source="core, src/backend_model.cc, GetBackendLibraryProperties")
def backend_known(model: Model, world: World) -> Iterator[Problem]:
    """The server has the backend, where it is known which ones it has, or the model brings its library along."""
    name = model.config.backend
    if (
        not name
        or world.backends is None
        or name in world.backends
        or any(f"libtriton_{name}.so" in path for path in model.files)
    ):
        return
    yield Problem("backend", repr(name), listed(world.backends), "correct it, or add the backend to the server")
