"""`model.plan.json`: what made the plan beside it, and why another machine, server or graph must refuse it.

Plans are bound to the TensorRT version and the GPU that built them, unless they were asked to be compatible
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html, "Version Compatibility" and "Hardware
Compatibility"), and to the graph, the options and the profiles that went in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from generator import plan_file
from generator.download import sha256
from generator.engine_request import Engine, EngineOptions, EngineRequest, PluginLibrary, Profile
from generator.errors import RepositoryError
from generator.machine import Machine
from generator.plugin import Model

_AGAIN = "build it again: triton-repo engines"


class Provenance(Model):
    """The file."""

    format: Literal[1] = 1
    #: The TensorRT that wrote the plan, as the plan's own header says, such as 10.5.0.18.
    tensorrt: str
    compute_capability: str
    gpu: str
    driver: str
    #: `EngineRequest.digest` of what was built; the fields below are what it is of, for people.
    request: str
    #: The ONNX file and its weights: name -> sha256.
    onnx: dict[str, str]
    precision: str
    max_batch_size: int
    profiles: tuple[Profile, ...]
    options: EngineOptions
    plugins: tuple[PluginLibrary, ...]
    #: Of the plan itself: sha256, hexadecimal, and bytes.
    sha256: str
    size: int
    #: "package", or the container's image.
    built_by: str
    #: UTC, ISO 8601.
    built_at: str
    #: The version of triton-repo.
    generator: str

    def write(self, plan: Path) -> None:
        """Beside `plan`."""
        path_of(plan).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Misfit:
    """Why a plan must not be served here: a short name, what is wrong in words, and what to do."""

    kind: Literal["request", "damaged", "gpu", "version", "driver"]
    what: str
    remedy: str


def path_of(plan: Path) -> Path:
    """Where the provenance of `plan` lies."""
    return plan.with_name(f"{plan.name}.json")


def read(plan: Path) -> Provenance | None:
    """The provenance of `plan`; None where there is none. Raises RepositoryError for a file that is none."""
    path = path_of(plan)
    try:
        return Provenance.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RepositoryError(f"{path}: {error.strerror}", "make it readable") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise RepositoryError(f"{path}: not the provenance of a plan: {where}: {first['msg']}", _AGAIN) from None


def of_request(plan: Path, found: Provenance, request: EngineRequest, engine: Engine) -> Iterator[Misfit]:
    """Was the plan built from something else than is asked for now, or changed since?"""
    if found.request != request.digest():
        changed = [name for name, old, new in _parts(found, request) if old != new] or ["the request"]
        yield Misfit("request", f"it was built from another {', '.join(changed)} than engine.json says now", _AGAIN)
    wanted = engine.compute_capability
    if wanted and wanted != found.compute_capability and not _runs_on(found, wanted):
        yield Misfit("request", f"it was built for compute capability {found.compute_capability}, not {wanted}", _AGAIN)
    yield from damaged(plan, found)


def damaged(plan: Path, found: Provenance) -> Iterator[Misfit]:
    """Is the plan whole, and the one that was built?"""
    size = plan.stat().st_size
    if size < found.size:
        yield Misfit("damaged", f"it is cut short: {size:,} of {found.size:,} bytes", f"copy it again, or {_AGAIN}")
    elif size != found.size or sha256(plan) != found.sha256:
        yield Misfit("damaged", "it is not the file that was built: its digest is another", _AGAIN)


def misfits(found: Provenance, machine: Machine | None, tensorrt: str = "", release: str = "") -> list[Misfit]:
    """What keeps the plan from being loaded on `machine` (None: not judged) by a server with that TensorRT.

    `tensorrt` is as exact as it is known: 10.5 or 10.5.0.18, or empty. A plan out of the container of the server's own `release`
    fits its TensorRT.
    """
    same_release = bool(release) and f":{release}-" in found.built_by
    problems = [] if same_release else list(_version(found, tensorrt))
    if machine is not None and machine.gpus:
        problems += _gpu(found, machine)
    return problems


def _parts(found: Provenance, request: EngineRequest) -> list[tuple[str, object, object]]:
    return [
        ("graph", found.onnx, request.files),
        ("precision", found.precision, request.precision),
        ("max_batch_size", found.max_batch_size, request.max_batch_size),
        ("profiles", found.profiles, request.profiles),
        ("options", found.options, request.options),
        ("plugins", found.plugins, request.plugins),
    ]


def _version(found: Provenance, tensorrt: str) -> Iterator[Misfit]:
    if not tensorrt or fits_version(found.tensorrt, tensorrt, compatible=found.options.version_compatible):
        return
    also = " or newer of that major version" if found.options.version_compatible else ""
    what = f"it was built by TensorRT {found.tensorrt}, which loads in that version{also} only; the server has {tensorrt}"
    yield Misfit("version", what, "build it in the container of the server's release: triton-repo engines --with container")


def fits_version(built: str, server: str, *, compatible: bool) -> bool:
    """Does a plan of TensorRT `built` load in `server`? Numbers that `server` leaves open are not compared."""
    one, other = ([int(part) for part in text.split(".") if part.isdecimal()] for text in (built, server))
    shared = min(len(one), len(other))
    if compatible:
        return one[:1] == other[:1] and one[:shared] <= other[:shared]
    return one[:shared] == other[:shared]


def _gpu(found: Provenance, machine: Machine) -> Iterator[Misfit]:
    if not any(_runs_on(found, capability) for capability in machine.capabilities):
        here = ", ".join(map(str, machine.gpus))
        what = f"it was built for {found.gpu} (compute capability {found.compute_capability}); here is {here}"
        yield Misfit("gpu", what, "build it on this GPU type: triton-repo engines")


def _runs_on(found: Provenance, capability: str) -> bool:
    """On a GPU of that compute capability? (enum HardwareCompatibilityLevel: AMPERE_PLUS is 8.0 and newer.)"""
    if found.options.hardware_compatibility == "ampere_plus":
        return _number(capability) >= (8, 0)
    return capability == found.compute_capability


def _number(capability: str) -> tuple[int, ...]:
    return tuple(int(part) for part in capability.split(".") if part.isdecimal())


def made(plan: Path, request: EngineRequest, *, built_by: str, built_at: str, machine: Machine, capability: str) -> Provenance:
    """Of a plan that was built just now on `machine`. Raises RepositoryError where it is no plan."""
    import generator

    header = plan_file.header(plan)
    gpu = machine.gpu(capability)
    return Provenance(
        tensorrt=header.tensorrt, compute_capability=capability, gpu=gpu.name if gpu else "", driver=machine.driver,
        request=request.digest(), onnx=request.files, precision=request.precision, max_batch_size=request.max_batch_size,
        profiles=request.profiles, options=request.options, plugins=request.plugins, sha256=sha256(plan), size=header.size,
        built_by=built_by, built_at=built_at, generator=generator.__version__,
    )  # fmt: skip
