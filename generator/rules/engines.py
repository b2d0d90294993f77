"""TensorRT plans and the requests for them: what the tensorrt backend refuses when it loads a plan, and what it cannot see."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from generator import plan_file
from generator.errors import RepositoryError
from generator.rules import Model, Problem, World, rule

if TYPE_CHECKING:
    from generator.engine_request import Engine, EngineRequest
    from generator.machine import Machine
    from generator.provenance import Misfit, Provenance

_BACKEND = "tensorrt_backend, src/loader.cc, LoadPlan"
_NAMES = "tensorrt_backend, src/model_state.cc, CreateEngine and AutoCompleteConfig"
_PORTABLE = "https://docs.nvidia.com/deeplearning/tensorrt/latest/getting-started/support-matrix.html, Engine Portability"
_MATRIX = "https://docs.nvidia.com/deeplearning/frameworks/support-matrix/index.html"
_PROVENANCE = "triton-repo, docs/engines.md"
_BUILD = "triton-repo engines"
#: As `generator.engine_request.NAME`, which this file does not import: pydantic takes its time.
_REQUEST = "engine.json"


def _named(model: Model) -> dict[str, str]:
    """Plan files that the config names: file -> the field."""
    found = {name: f"cc_model_filenames[{capability}]" for capability, name in sorted(model.config.cc_model_filenames.items())}
    default = model.config.default_model_filename or "model.plan"
    return found if found else {default: "default_model_filename"}


@functools.cache
def _read(path: Path, _changed: int) -> EngineRequest | None:
    from generator.engine_request import EngineRequest

    try:
        return EngineRequest.read(path.parent)
    except RepositoryError:
        return None


def _request(model: Model, version: int) -> EngineRequest | None:
    """What the version folder asks for; None where it asks for nothing, or it cannot be read."""
    path = model.files.get(f"{version}/{_REQUEST}")
    return _read(path, path.stat().st_mtime_ns) if path else None


def _engines(model: Model, version: int) -> dict[str, Engine]:
    request = _request(model, version)
    return {engine.filename: engine for engine in request.engines} if request else {}


def _versions(model: Model) -> list[int]:
    """Those that are served and lie in the folder: what a build will write is not there to be judged."""
    if model.config.backend != "tensorrt":
        return []
    real = {name.split("/")[0] for name, path in model.files.items() if path} | set(model.folders - _planned(model))
    return [version for version in model.served if str(version) in real]


def _planned(model: Model) -> set[str]:
    return {name.split("/")[0] for name, path in model.files.items() if path is None}


def _plans(model: Model) -> Iterator[tuple[int, str, str, Path]]:
    """Version, file name, field and place of every plan that is there."""
    for version in _versions(model):
        for name, field in _named(model).items():
            if path := model.files.get(f"{version}/{name}"):
                yield version, name, field, path


def _known(model: Model) -> Iterator[tuple[int, str, Path, Provenance]]:
    """Plans that say what built them."""
    from generator import provenance

    for version, name, _, path in _plans(model):
        try:
            found = provenance.read(path)
        except RepositoryError:
            continue  # rule engine/provenance says so
        if found is not None:
            yield version, name, path, found


@rule("engine/file", source=_NAMES)
def file(model: Model, world: World) -> Iterator[Problem]:
    """Each version that is served has the plan that the config names, or asks for it."""
    for version in _versions(model):
        asked = _engines(model, version)
        for name, field in _named(model).items():
            if f"{version}/{name}" not in model.files and name not in asked:
                yield Problem(field, f"no file {version}/{name}", "a TensorRT plan", "add it, or correct the name")


@rule("engine/pending", level="warning", source=_PROVENANCE)
def pending(model: Model, world: World) -> Iterator[Problem]:
    """The engines that a version asks for are built."""
    for version in _versions(model):
        for name, engine in _engines(model, version).items():
            if f"{version}/{name}" not in model.files:
                where = f" with compute capability {engine.compute_capability}" if engine.compute_capability else ""
                remedy = f"{_BUILD} on a GPU host{where}; until then the server does not load it"
                yield Problem("", f"no {version}/{name} yet", "the engine that engine.json asks for", remedy)


@rule("engine/request", level="warning", source=_PROVENANCE)
def request(model: Model, world: World) -> Iterator[Problem]:
    """What asks for engines can be read."""
    for version in _versions(model):
        path = model.files.get(f"{version}/{_REQUEST}")
        try:
            if path:
                from generator.engine_request import EngineRequest

                EngineRequest.read(path.parent)
        except RepositoryError as error:
            yield Problem("", error.message, "a request that triton-repo build wrote", error.remedy)


@rule("engine/plan", source=_BACKEND)
def plan(model: Model, world: World) -> Iterator[Problem]:
    """A plan is one, of TensorRT itself, and whole."""
    from generator import provenance

    bad: set[Path] = set()
    for version, name, field, path in _plans(model):
        try:
            plan_file.read(path)
        except RepositoryError as error:
            bad.add(path)
            what = error.message.removeprefix(f"{path}: ")
            yield Problem(field, f"{version}/{name}: {what}", "a TensorRT plan", error.remedy)
    for version, name, path, found in _known(model):
        for misfit in provenance.damaged(path, found) if path not in bad else ():
            yield _problem(version, name, misfit, "the plan that its provenance tells of")


@rule("engine/version", source=_MATRIX)
def tensorrt_version(model: Model, world: World) -> Iterator[Problem]:
    """A plan was built by the TensorRT of the server, or by one that it may take plans from."""
    from generator import provenance, server_tensorrt

    server = world.server or world.servers.get(model.name, ())
    wanted = server_tensorrt.tensorrt(server)
    known = {path: found for _, _, path, found in _known(model)}
    for version, name, field, path in _plans(model) if wanted else ():
        if found := known.get(path):
            for misfit in provenance.misfits(found, None, wanted, server_tensorrt.release(server)):
                yield _problem(version, name, misfit, f"TensorRT {wanted}")
            continue
        built = _header(path)
        if built and not provenance.fits_version(built, wanted, compatible=False):
            what = f"{version}/{name} of TensorRT {built}"
            yield Problem(field, what, f"TensorRT {wanted}, which this server has", "build it again in the server's container")


@rule("engine/provenance", level="warning", source=_PROVENANCE)
def told(model: Model, world: World) -> Iterator[Problem]:
    """A plan says what built it, for which GPU and from which graph."""
    from generator import provenance

    for version, name, _, path in _plans(model):
        expected = f"{name}.json beside it"
        try:
            if provenance.read(path) is None:
                yield Problem("", f"{version}/{name}: nothing says what built it", expected, f"build it with {_BUILD}")
        except RepositoryError as error:
            yield Problem("", error.message, expected, error.remedy)


@rule("engine/stale", level="warning", source=_PROVENANCE)
def stale(model: Model, world: World) -> Iterator[Problem]:
    """A plan was built from the graph and with the options that lie beside it."""
    from generator import provenance

    for version, name, path, found in _known(model):
        asked = _request(model, version)
        engine = _engines(model, version).get(name)
        if asked is None or engine is None:
            continue
        for misfit in provenance.of_request(path, found, asked, engine):
            if misfit.kind == "request":
                yield _problem(version, name, misfit, "what engine.json asks for")


@rule("engine/onnx", level="warning", source=_PROVENANCE)
def onnx(model: Model, world: World) -> Iterator[Problem]:
    """The graph beside an engine is the one that the request, and so the plan, was made for."""
    from generator.download import sha256

    for version in _versions(model):
        asked = _request(model, version)
        for name, digest in asked.files.items() if asked else ():
            path = model.files.get(f"{version}/{name}")
            if path is None or sha256(path) != digest:
                what = f"{version}/{name} was changed" if path else f"no {version}/{name}"
                yield Problem("", what, f"the file with sha256 {digest[:16]}, as engine.json says", "triton-repo build")


@rule("engine/gpu", source=_PORTABLE)
def gpu(model: Model, world: World) -> Iterator[Problem]:
    """Where GPUs are here: a plan for one of them is there."""
    if world.machine is None or not world.machine.gpus:
        return
    for version in _versions(model):
        mine = [(name, found) for number, name, _, found in _known(model) if number == version]
        misfits = [(name, misfit) for name, found in mine for misfit in _gpu(found, world.machine)]
        if mine and len(misfits) == len(mine):
            yield _problem(version, misfits[0][0], misfits[0][1], f"a plan for {world.machine.gpus[0]}")


@rule("engine/gpu_model", level="warning", source=_PORTABLE)
def gpu_model(model: Model, world: World) -> Iterator[Problem]:
    """Where GPUs are here: a plan was built on one of them, or for all of its compute capability."""
    here = {gpu.name for gpu in world.machine.gpus} if world.machine else set()
    for version, name, _, found in _known(model) if here else ():
        alike = found.compute_capability in (world.machine.capabilities if world.machine else ())
        if alike and found.gpu not in here and found.options.hardware_compatibility == "none":
            what = f"{version}/{name}: built on {found.gpu}; here is {', '.join(sorted(here))}"
            remedy = f"{_BUILD} --force here, or `hardware_compatibility: same_compute_capability` in the target"
            yield Problem("", what, "a plan built on this model of GPU: on another it may be slow, or fail", remedy)


@rule("engine/plugins", source=_BACKEND)
def plugins(model: Model, world: World) -> Iterator[Problem]:
    """Plugin libraries that an engine needs are where the request says."""
    for version in _versions(model):
        asked = _request(model, version)
        for library in asked.plugins if asked else ():
            here = f"{version}/{library.path}" in model.files
            elsewhere = Path(library.path).is_absolute() and (world.machine is None or Path(library.path).is_file())
            if not (here or elsewhere):
                expected = "the plugin library, which the server must load before the plan"
                yield Problem("", f"no {library.path}", expected, "copy it there, or correct `plugin_libraries:` of the target")


def _gpu(found: Provenance, machine: Machine) -> list[Misfit]:
    from generator import provenance

    return [misfit for misfit in provenance.misfits(found, machine) if misfit.kind == "gpu"]


def _header(path: Path) -> str:
    try:
        return plan_file.read(path).tensorrt
    except RepositoryError:
        return ""  # rule engine/plan says so


def _problem(version: int, name: str, misfit: Misfit, expected: str) -> Problem:
    return Problem("", f"{version}/{name}: {misfit.what}", expected, misfit.remedy)
