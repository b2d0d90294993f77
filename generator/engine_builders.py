"""The two ways to build an engine: TensorRT's Python package, or trtexec in NVIDIA's container; and how each is refused."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from generator import container, engine_child, engine_trtexec, machine, paths, plan_file, provenance, server_tensorrt
from generator.engine_child import TensorRT
from generator.engines import Wanted
from generator.errors import RepositoryError, SurgeryError, ToolError
from generator.machine import Gpu, Machine

#: Told what is happening, in a few words.
Told = Callable[[str], None]
_PACKAGE = 'install the package (pip install "triton-repo-generator[tensorrt]", of the server\'s TensorRT version)'
_BOTH = f"{_PACKAGE}, or docker with the NVIDIA container toolkit, for --with container"


@dataclass(frozen=True)
class Package:
    """TensorRT's Python package, in this interpreter or another."""

    tensorrt: TensorRT = field(default_factory=TensorRT)

    def check(self, item: Wanted, here: Machine) -> None:
        """Raise ToolError where the package, the driver or its version is not what `item` needs."""
        _plugins(item)
        version, cuda = _installed()
        if cuda and (problem := machine.too_old(here.driver, cuda)):
            raise ToolError(*problem)
        server = server_tensorrt.tensorrt(item.server)
        compatible = item.request.options.version_compatible
        if version and server and not provenance.fits_version(version, server, compatible=compatible):
            release = server_tensorrt.release(item.server)
            raise ToolError(
                f"{item.name}: TensorRT {version} is installed here, whose plans the server's {server} ({release}) does not load",
                f"pip install 'tensorrt=={server}.*', or --with container",
            )

    def build(self, item: Wanted, gpu: Gpu, into: Path, told: Told) -> str:
        """The plans into the folder `into`; what built them. Raises what `engine_child.build` does."""
        tensorrt = replace(self.tensorrt, gpu=gpu.index)

        def heard(phase: engine_child.Phase) -> None:
            told(f"{phase.name} {phase.step}/{phase.of}" if phase.of else phase.name)

        engine_child.build(item.folder, item.request, item.engine, into, heard, tensorrt=tensorrt, capability=gpu.capability)
        return f"package {self.tensorrt.library}"

    def refit(self, item: Wanted, gpu: Gpu, into: Path) -> str:
        """The same from the plan without weights, which came with the repository; seconds in place of minutes."""
        engine_child.refit(item.folder, item.request, item.engine, into, tensorrt=replace(self.tensorrt, gpu=gpu.index))
        return f"package {self.tensorrt.library}, refitted"


@dataclass(frozen=True)
class Container:
    """trtexec in the official container of the server's release."""

    def check(self, item: Wanted, here: Machine) -> None:
        """Raise ToolError or SurgeryError where docker does not answer, or trtexec has no word for what `item` asks for."""
        _plugins(item)  # docker would make a folder in the place of a file that it cannot mount
        engine_trtexec.commands(item, here.gpus[0], item.folder, paths.cache())
        if problem := container.docker_problem():
            raise ToolError(problem[0], _BOTH if "not installed" in problem[0] else f"{problem[1]}; or {_PACKAGE}")

    def build(self, item: Wanted, gpu: Gpu, into: Path, told: Told) -> str:
        """The plans into the folder `into`; what built them. Raises ToolError with trtexec's own words."""
        engine_child.hold(item.folder, item.request)
        cache = paths.cache() / "timing"
        cache.mkdir(parents=True, exist_ok=True)
        for command in engine_trtexec.commands(item, gpu, into, cache):
            _run(item, command, told)
        return server_tensorrt.image(item.server)


def choose(way: str | None) -> Package | Container:
    """As the user said; the package where it is installed, else the container where there is docker. Raises ToolError."""
    package = importlib.util.find_spec("tensorrt") is not None
    if way == "package" and not package:
        raise ToolError("the package `tensorrt` is not installed here", _BOTH)
    if way == "package" or (way is None and package):
        return Package()
    if way is None and not shutil.which("docker"):
        raise ToolError("there is no TensorRT here: neither the package `tensorrt` nor docker for its container", _BOTH)
    return Container()


def build(item: Wanted, builder: Package | Container, here: Machine, into: Path, told: Told) -> provenance.Provenance:
    """Build `item` into the folder `into`: plans and provenance. `here` has a GPU for it.

    Raises RepositoryError for sources that were changed and for a plan that the server would refuse, and what the builder raises.
    """
    gpu = here.gpu(item.engine.compute_capability)
    assert gpu is not None, "who asks has looked"
    by = _refitted(item, builder, here, into, told) or builder.build(item, gpu, into, told)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    for plan in (into / name for name in (item.stripped, item.engine.filename) if name):
        found = provenance.made(plan, item.request, built_by=by, built_at=now, machine=here, capability=gpu.capability)
        found.write(plan)
    _serves(item, plan, found, here)
    return found


def _refitted(item: Wanted, builder: Package | Container, here: Machine, into: Path, told: Told) -> str:
    """What made the plan out of the one without weights; nothing where there is none that fits, or TensorRT refuses it.

    Where TensorRT dies of it, too: to build is the way out, and fails by itself where TensorRT or the GPU is to blame.
    """
    gpu = here.gpu(item.engine.compute_capability)
    if not isinstance(builder, Package) or gpu is None or item.stripped is None or item.plan.is_file() or not _fits(item, here):
        return ""
    try:
        by = builder.refit(item, gpu, into)
    except (SurgeryError, ToolError) as error:
        told(f"built anew, as it was not refitted: {error.message}")
        return ""
    shutil.copyfile(item.folder / item.stripped, into / item.stripped)
    return by


def _fits(item: Wanted, here: Machine) -> bool:
    """Is the plan without weights that of the request, and for this machine and the server?"""
    stripped = item.folder / (item.stripped or "")
    version, release = server_tensorrt.tensorrt(item.server), server_tensorrt.release(item.server)
    try:
        found = provenance.read(stripped) if stripped.is_file() else None
    except RepositoryError:
        return False
    if found is None or any(provenance.of_request(stripped, found, item.request, item.engine)):
        return False
    return not provenance.misfits(found, here, version, release)


def _serves(item: Wanted, plan: Path, found: provenance.Provenance, here: Machine) -> None:
    """Better no engine than one that the server refuses."""
    try:
        plan_file.read(plan)
    except RepositoryError as error:
        raise RepositoryError(f"{item.name}: {error.message.partition(': ')[2]}", error.remedy) from None
    version, release = server_tensorrt.tensorrt(item.server), server_tensorrt.release(item.server)
    for misfit in provenance.misfits(found, here, version, release):
        raise RepositoryError(f"{item.name}: {misfit.what}", misfit.remedy)


def _plugins(item: Wanted) -> None:
    """Raise ToolError for a library that the spec says is on this machine, and is not."""
    for library in item.request.plugins:
        if library.sha256 is None and not Path(library.path).is_file():
            raise ToolError(
                f"{item.name}: no plugin library {library.path} on this machine",
                "put it there, or correct `plugin_libraries:` of the target",
            )


def _installed() -> tuple[str, int]:
    """Version of the package `tensorrt`, and the major version of its CUDA; what is not known is empty or 0."""
    owners = importlib.metadata.packages_distributions().get("tensorrt", [])
    version = next((importlib.metadata.version(name) for name in owners), "")
    names = [str(each.metadata["Name"]) for each in importlib.metadata.distributions()]
    majors = [found[1] for name in names if (found := re.fullmatch(r"tensorrt[-_]cu(\d+)(?:[-_](?:libs|bindings))?", name))]
    return version, int(majors[0]) if majors else 0


def _run(item: Wanted, command: list[str], told: Told) -> None:
    """One container; whatever ends the waiting ends it, too."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    assert process.stdout is not None
    lines: list[str] = []
    try:
        for line in process.stdout:
            lines.append(line.rstrip())
            told(lines[-1][:100])
        code = process.wait()
    finally:
        if process.poll() is None:
            _stop(process)
    if code:
        raise _failed(item, lines, code)


def _stop(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        name = engine_trtexec.container_name()
        subprocess.run(["docker", "kill", name], capture_output=True, timeout=20, check=False)
    process.kill()
    process.wait()


def _failed(item: Wanted, lines: list[str], code: int) -> ToolError:
    """trtexec marks errors with [E]; docker says what it cannot itself."""
    errors = [line for line in lines if "[E]" in line or line.startswith(("docker:", "Error", "error"))]
    said = " / ".join((errors or [line for line in lines if line.strip()] or [f"code {code}"])[:3])
    driver = machine.look().driver
    problem = machine.too_old(driver, server_tensorrt.cuda(item.server)) if driver else None
    remedy = "; ".join(problem) if problem else "see `triton-repo engines --dry-run` for its command line"
    return ToolError(f"{item.name}: the container did not build it: {said[:600]}", remedy)
