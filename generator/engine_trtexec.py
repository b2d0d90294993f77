"""The command lines that build engines in NVIDIA's official container: docker and trtexec, with documented options only.

`generator/trtexec_options.json` has every option that trtexec's help tells of, from TensorRT 10.0 to 11.1, with its line
(made by `scripts/trtexec_options.py` from NVIDIA's sources); an option that is not in it is never used.
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

from generator import server_tensorrt
from generator.engine_request import EngineOptions, Profile
from generator.engines import Wanted
from generator.errors import SurgeryError, ToolError
from generator.machine import Gpu

_DOCKER = "https://docs.docker.com/reference/cli/docker/container/run/"
#: Every option of `docker run` that is used -> the document that has it.
DOCKER_OPTIONS = dict.fromkeys(("--rm", "--init", "--name", "--gpus", "--user", "--volume", "--workdir"), _DOCKER)
#: Tactic sources that trtexec knew in 10.x and no longer in 11.x.
_GONE_IN_11 = ("cublas", "cublas_lt", "cudnn")
_SOURCES = ("cublas", "cublas_lt", "cudnn", "edge_mask_convolutions", "jit_convolutions")
_COMPATIBILITY = {"ampere_plus": "ampere+", "same_compute_capability": "sameComputeCapability"}
#: The release whose trtexec first had that level (10.9).
_SAME_CAPABILITY_SINCE = "25.03"
_IN, _OUT, _CACHE, _PLUGINS = "/in", "/out", "/cache", "/plugins"


@functools.cache
def documented() -> dict[str, str]:
    """Option of trtexec -> the address of its help text."""
    table = json.loads(Path(__file__).with_name("trtexec_options.json").read_text(encoding="utf-8"))
    source: str = table["source"]
    return {name: f"{source.format(version=entry['last'])}#L{entry['line']}" for name, entry in table["options"].items()}


def commands(item: Wanted, gpu: Gpu, into: Path, cache: Path) -> list[list[str]]:
    """What to run, in order, to have the plans of `item` in the folder `into`; the first one makes the plan that is served.

    `cache` is the folder of timing caches. Raises SurgeryError or ToolError for what trtexec cannot.
    """
    image = server_tensorrt.image(item.server)
    if not image:
        known = server_tensorrt.release(item.server) or ".".join(map(str, item.server))
        raise ToolError(
            f"{item.name}: the server's release {known} has no TensorRT 10, and strongly typed networks need it",
            f"say `serving.server: {server_tensorrt.FIRST}` or a newer release",
        )
    _fits(item)
    outer = _docker(item, gpu, into, cache)
    # the timing cache of the first run spares the second its measurements
    runs = [[*outer, image, *_trtexec(item, gpu, item.engine.filename)]]
    return runs + ([[*outer, image, *_trtexec(item, gpu, item.stripped), "--stripWeights"]] if item.stripped else [])


def container_name() -> str:
    """What the container is called while it runs, so that it can be stopped by name."""
    return f"triton-repo-engines-{os.getpid()}"


def _docker(item: Wanted, gpu: Gpu, into: Path, cache: Path) -> list[str]:
    """Sources are mounted to be read only; what is written belongs to the user who runs this."""
    mounts = [f"{item.folder.resolve()}:{_IN}:ro", f"{into.resolve()}:{_OUT}"]
    if item.request.options.timing_cache:
        mounts.append(f"{cache.resolve()}:{_CACHE}")
    mounts += [f"{Path(path).resolve()}:{_plugin(path)}:ro" for path in _outside(item)]
    return [
        "docker", "run", "--rm", "--init", f"--name={container_name()}", f"--gpus=device={gpu.index}",
        f"--user={os.getuid()}:{os.getgid()}", f"--workdir={_OUT}", *(f"--volume={mount}" for mount in mounts),
    ]  # fmt: skip


def _trtexec(item: Wanted, gpu: Gpu, filename: str) -> list[str]:
    request = item.request
    return [
        "trtexec", f"--onnx={_IN}/{request.onnx}", f"--saveEngine={_OUT}/{filename}", "--stronglyTyped", "--skipInference",
        *_profiles(request.profiles), *_options(request.options, _major(item)), *_timing(item, gpu),
        *(f"--staticPlugins={_plugin(library.path)}" for library in request.plugins),
    ]  # fmt: skip


def _outside(item: Wanted) -> list[str]:
    return [library.path for library in item.request.plugins if Path(library.path).is_absolute()]


def _plugin(path: str) -> str:
    """Where a plugin library lies in the container."""
    return f"{_PLUGINS}{path}" if Path(path).is_absolute() else f"{_IN}/{path}"


def _profiles(profiles: tuple[Profile, ...]) -> list[str]:
    """`--profile=0 --minShapes=x:1x3 ... --profile=1 ...`; values of shape inputs are written as shapes are."""
    said = []
    for index, profile in enumerate(profiles):
        said += [f"--profile={index}"] if profile else []
        for word in ("min", "opt", "max") if profile else ():
            shapes = (f"{name}:{'x'.join(map(str, getattr(range_, word))) or 'scalar'}" for name, range_ in profile.items())
            said.append(f"--{word}Shapes={','.join(shapes)}")
    return said


def _options(options: EngineOptions, major: int) -> list[str]:
    said = [
        *([f"--memPoolSize=workspace:{options.workspace}M"] if options.workspace is not None else []),
        *(["--versionCompatible"] if options.version_compatible else []),
        *(["--allowWeightStreaming"] if options.weight_streaming else []),
        *([] if options.tf32 else ["--noTF32"]),
        f"--profilingVerbosity={options.profiling_verbosity}",
    ]
    if options.builder_optimization_level is not None:
        said.append(f"--builderOptimizationLevel={options.builder_optimization_level}")
    if options.hardware_compatibility != "none":
        said.append(f"--hardwareCompatibilityLevel={_COMPATIBILITY[options.hardware_compatibility]}")
    if options.tactic_sources is not None:
        known = [name for name in _SOURCES if major < 11 or name not in _GONE_IN_11]
        signs = (f"{'+' if name in options.tactic_sources else '-'}{name.upper()}" for name in known)
        said.append(f"--tacticSources={','.join(signs)}")
    return said


def _timing(item: Wanted, gpu: Gpu) -> list[str]:
    """One file for each release and GPU type: measurements of one do not hold for another."""
    if not item.request.options.timing_cache:
        return ["--noBuilderCache"]
    return [f"--timingCacheFile={_CACHE}/trtexec-{server_tensorrt.release(item.server)}-{gpu.capability}.timing"]


def _major(item: Wanted) -> int:
    """TensorRT's major version in the container; where the table ends, by the date: 11 came in June 2026."""
    version = server_tensorrt.tensorrt(item.server)
    return int(version.partition(".")[0]) if version else 11 if server_tensorrt.release(item.server) >= "26.06" else 10


def _fits(item: Wanted) -> None:
    """What the request asks for and trtexec of that release has no word for."""
    options, release = item.request.options, server_tensorrt.release(item.server)
    for name in (name for profile in item.request.profiles for name in profile):
        if set(name) & set(":,'\""):
            raise SurgeryError(
                f"{item.name}: trtexec cannot be given shapes of an input named {name!r}",
                "rename it with `surgery: [{kind: rename}]`, or build with the package: --with package",
            )
    if options.hardware_compatibility == "same_compute_capability" and release < _SAME_CAPABILITY_SINCE:
        raise ToolError(
            f"{item.name}: trtexec of {release} has no hardware compatibility level for one compute capability",
            f"say `serving.server: {_SAME_CAPABILITY_SINCE}` or newer, or leave `hardware_compatibility` out",
        )
    gone = [name for name in options.tactic_sources or () if name in _GONE_IN_11]
    if gone and _major(item) >= 11:
        raise ToolError(f"{item.name}: TensorRT 11 has no tactic source {gone[0]}", "leave it out of `tactic_sources`")
