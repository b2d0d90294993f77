"""Builds engines from requests: a child process each, whose progress is heard, whose crash has a name, and which ends with us."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import generator
from generator import environment, errors, paths
from generator.download import sha256
from generator.engine_request import Engine, EngineRequest
from generator.environment import Environment
from generator.errors import RepositoryError, ToolError
from generator.install import clean_environment

#: This package comes last on the path: an environment that has TensorRT alone keeps its own packages.
_START = """
import json, sys
sys.path.append(sys.argv[1])
from generator.engine_build import main
sys.exit(main(json.load(sys.stdin)))
"""


@dataclass(frozen=True)
class TensorRT:
    """Which one builds: the module, and the interpreter that has it."""

    library: str = "tensorrt"
    python: str = sys.executable
    #: The GPU that builds, by its number in nvidia-smi; None: the first.
    gpu: int | None = None


@dataclass(frozen=True)
class Phase:
    """What TensorRT is doing: a phase, the one it is part of, and how many of its steps are done."""

    name: str
    inside: str
    step: int
    of: int
    finished: bool = False


def rtx() -> TensorRT:
    """TensorRT-RTX from the environment of that name, made where it is missing: it compiles without a GPU, but not for Triton.

    Raises ToolError.
    """
    return TensorRT("tensorrt_rtx_bindings", str(environment.ensure(Environment("tensorrt_rtx"))))


def build(
    folder: Path,
    request: EngineRequest,
    engine: Engine,
    into: Path,
    told: Callable[[Phase], None] = lambda _: None,
    *,
    tensorrt: TensorRT = TensorRT(),
    capability: str | None = None,
) -> dict[str, str]:
    """Build `engine` of the request that lies in `folder`; its plan, and that without weights, come to lie in the folder `into`.

    `capability` is the GPU type to build for where the engine names none (TensorRT-RTX must be told). What was done, in words.
    Raises RepositoryError for files that are not those of the request, SurgeryError for a graph that TensorRT refuses, ToolError
    where TensorRT, a GPU or a plugin library is missing.
    """
    hold(folder, request)
    task: dict[str, Any] = {
        "do": "build", "library": tensorrt.library, "onnx": str(folder / request.onnx), "plugins": libraries(folder, request),
        "options": request.options.model_dump(mode="json"), "timing_cache": str(paths.cache() / "timing"),
        "profiles": [{name: one.model_dump(mode="json") for name, one in profile.items()} for profile in request.profiles],
        "compute_capability": engine.compute_capability or capability, "plan": str(into / engine.filename),
    }  # fmt: skip
    if not request.options.strip_plan:
        return _run(tensorrt, task, told)
    assert engine.stripped is not None
    stripped = str(into / engine.stripped)
    facts = _run(tensorrt, {**task, "plan": stripped}, told)
    return {**facts, **_run(tensorrt, {**task, **_refitting(request, Path(stripped))}, told)}


def refit(folder: Path, request: EngineRequest, engine: Engine, into: Path, *, tensorrt: TensorRT = TensorRT()) -> dict[str, str]:
    """The plan of `engine` from the one without weights that lies in `folder` and the ONNX file; raises what `build` does."""
    hold(folder, request)
    assert engine.stripped is not None
    task = {
        "library": tensorrt.library, "onnx": str(folder / request.onnx), "plugins": libraries(folder, request),
        "plan": str(into / engine.filename), **_refitting(request, folder / engine.stripped),
    }  # fmt: skip
    return _run(tensorrt, task, lambda _: None)


def _refitting(request: EngineRequest, stripped: Path) -> dict[str, Any]:
    return {"do": "refit", "stripped": str(stripped), "host_code": request.options.version_compatible}


def hold(folder: Path, request: EngineRequest) -> None:
    """Raise RepositoryError where a file in `folder` is missing, or not the one that the request was written for."""
    own = {library.path: library.sha256 for library in request.plugins if library.sha256}
    for name, wanted in {**request.files, **own}.items():
        path = folder / name
        try:
            found = sha256(path)
        except OSError as error:
            raise RepositoryError(f"{path}: {error.strerror}", "build the repository again: triton-repo build") from None
        if found != wanted:
            what = f"{path} has sha256 {found[:16]}; the request beside it was written for {wanted[:16]}"
            raise RepositoryError(what, "it was changed after the build: triton-repo build")


def libraries(folder: Path, request: EngineRequest) -> list[str]:
    """Where the plugin libraries lie on this machine."""
    return [str(folder / library.path) if library.sha256 else library.path for library in request.plugins]


def _run(tensorrt: TensorRT, task: dict[str, Any], told: Callable[[Phase], None]) -> dict[str, str]:
    root = str(Path(generator.__file__).parent.parent)
    with tempfile.TemporaryFile("w+") as log:
        process = _started([tensorrt.python, "-I", "-c", _START, root], _environment(tensorrt), log)
        with _ended(process):
            last, phase = _listen(process, task, told)
            code = process.wait()
        if "done" in last:
            found: dict[str, str] = last["done"]
            return found
        if "error" in last:
            raise errors.from_name(last["error"], f"{task['onnx']}: {last['message']}", last["remedy"])
        log.seek(0)
        raise _crashed(task, code, phase, log.read())


def _started(command: list[str], variables: dict[str, str], log: Any) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=variables)
    except OSError as error:
        raise ToolError(f"{command[0]}: {error.strerror}", "name an interpreter that has TensorRT") from None


def _environment(tensorrt: TensorRT) -> dict[str, str]:
    own = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}  # as nvidia-smi counts
    if tensorrt.gpu is not None:
        own["CUDA_VISIBLE_DEVICES"] = str(tensorrt.gpu)
    return {**clean_environment(), **own}


@contextlib.contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever ends the waiting ends the child."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _listen(process: subprocess.Popen[str], task: dict[str, Any], told: Callable[[Phase], None]) -> tuple[dict[str, Any], str]:
    """Its last word, and the phase that it was in before."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
        json.dump(task, stdin)
    last: dict[str, Any] = {}
    phase, inside = "its start", dict[str, str]()
    for line in process.stdout:
        last = json.loads(line)
        if "phase" in last:
            phase = last["phase"]
            inside.setdefault(phase, last.get("inside", ""))
            told(Phase(phase, inside[phase], last["step"], last["of"], last.get("finished", False)))
    return last, phase


def _crashed(task: dict[str, Any], code: int, phase: str, log: str) -> ToolError:
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    words = [line for line in log.splitlines() if line.strip()]
    telling = [line for line in words if "rror" in line or "ssert" in line] or words
    said = f": {' / '.join(telling[-2:])[:500]}" if telling else ""
    remedy = "if the machine was short of memory (dmesg), give it more" if code == -signal.SIGKILL else ""
    return ToolError(
        f"{task['onnx']}: the process of {task['library']} {how} in {phase}{said}",
        remedy or "TensorRT failed on this graph without a message: `triton-repo check --tensorrt` may name the node",
    )
