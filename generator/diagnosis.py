"""What is installed, found and usable: one function a line of `triton-repo doctor`."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from generator import host, install, machine, server
from generator.environment import Environment
from generator.errors import TritonRepoError

MIB = 2**20


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    what: str
    ok: bool
    found: str
    #: What to do about it; empty when it is there.
    remedy: str = ""
    #: Does `make repo` need it?
    required: bool = False


def examine() -> list[Finding]:
    """Every line, in the order of the table."""
    return [
        _interpreter(),
        _libraries(),
        _server(),
        _server_numpy(),
        _backends(),
        _shared_memory(),
        _perf_analyzer(),
        _openvino(),
        _package(
            "TensorRT",
            "tensorrt",
            "pip install tensorrt (needs the vendor's package index and a GPU), or docker for `engines --with container`",
        ),
        _tensorrt_rtx(),
        _gpu(),
        _docker(),
    ]


def _interpreter() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    glibc = ".".join(map(str, host.glibc())) or "none"
    found = f"Python {version}, libpython {host.libpython() or 'none'}, glibc {glibc}"
    message, remedy = host.problem() or ("", "")
    return Finding("Python and system", not message, message or found, remedy, required=True)


def _libraries() -> Finding:
    names = ("libz.so.1", "libstdc++.so.6", "libgcc_s.so.1")  # what the wheel takes from the system
    missing = [name for name in names if not _loads(name)]
    remedy = "install them (Debian: apt install zlib1g libstdc++6 libgcc-s1)" if missing else ""
    found = f"missing: {', '.join(missing)}" if missing else ", ".join(names)
    return Finding("system libraries", not missing, found, remedy, required=True)


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _server() -> Finding:
    try:
        installation = server.find()
    except TritonRepoError as error:
        return Finding("tritonserver", ok=False, found=error.message, remedy=error.remedy, required=True)
    version = f"{install.SERVER_VERSION} from the wheel" if installation.kind == "wheel" else "on PATH"
    return Finding("tritonserver", ok=True, found=f"{version}, {installation.binary}", required=True)


def _server_numpy() -> Finding:
    what = "the server's Python"
    try:
        python = server.find().python
        if python is None:
            return Finding(what, False, "no python3 on PATH", "install Python 3 with numpy<2", required=True)
        return Finding(what, True, f"{python}, numpy {install.check_numpy(python)}", required=True)
    except TritonRepoError as error:
        return Finding(what, ok=False, found=error.message, remedy=error.remedy, required=True)


def _backends() -> Finding:
    try:
        folder = server.find().backends or Path("/opt/tritonserver/backends")
    except TritonRepoError as error:
        return Finding("backends", ok=False, found=error.message, remedy=error.remedy, required=True)
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    shown = [f"{name} (stand-in)" if (folder / name / "model.py").is_file() else name for name in names]
    missing = sorted({"python", "onnxruntime"} - set(names))
    remedy = f"{', '.join(missing)} missing in {folder}; take a server that has it, or run `make server`" if missing else ""
    return Finding("backends", not missing, ", ".join(shown) or "none", remedy, required=True)


def _shared_memory() -> Finding:
    folder = Path("/dev/shm")  # noqa: S108 -- the place of POSIX shared memory
    if not folder.is_dir():
        return Finding("shared memory", False, "no /dev/shm", "mount a tmpfs there: the python backend needs it", required=True)
    free = shutil.disk_usage(folder).free // MIB
    usable = os.access(folder, os.W_OK) and free >= 64
    remedy = "" if usable else "make /dev/shm writable and larger (docker: --shm-size=1g)"
    return Finding("shared memory", usable, f"{folder}, {free:,} MiB free", remedy, required=True)


def _perf_analyzer() -> Finding:
    try:
        from generator import perf_analyzer

        found = perf_analyzer.find()
    except TritonRepoError as error:
        return Finding("perf_analyzer", ok=False, found=error.message, remedy=error.remedy)
    return Finding("perf_analyzer", ok=True, found=f"{found.version}, {found.binary}")


def _openvino() -> Finding:
    """The environment that `target: openvino` converts and is served with here, and what this CPU would round to by itself."""
    made = Environment("openvino")
    pinned = next(line for line in made.pins.read_text(encoding="utf-8").splitlines() if line.startswith("openvino=="))
    if not made.made:
        return Finding("OpenVINO", False, f"no environment with {pinned}", "the first build with `target: openvino` makes it")
    bf16 = "; the CPU has bfloat16 (docs/openvino.md)" if "avx512_bf16" in _cpu_flags() else ""
    return Finding("OpenVINO", True, f"{pinned.replace('==', ' ')}, {made.folder}{bf16}")


def _tensorrt_rtx() -> Finding:
    """The judge of `check --tensorrt`, which lives in an environment of its own."""
    made = Environment("tensorrt_rtx")
    if not made.made:
        return Finding("TensorRT-RTX", False, "no environment yet", "the first `triton-repo check --tensorrt` makes it")
    return Finding("TensorRT-RTX", True, f"for check --tensorrt, {made.folder}")


def _cpu_flags() -> str:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _package(what: str, module: str, remedy: str) -> Finding:
    if importlib.util.find_spec(module) is None:
        return Finding(what, ok=False, found="not installed", remedy=f"only for TensorRT engines: {remedy}")
    owners = importlib.metadata.packages_distributions().get(module, [])
    version = importlib.metadata.version(owners[0]) if owners else "of unknown version"
    return Finding(what, ok=True, found=f"{module} {version}")


def _gpu() -> Finding:
    here = machine.look()
    if not here.gpus:
        remedy = f"only for GPU serving and TensorRT engines: {here.remedy}; everything else runs on the CPU"
        return Finding("GPU", ok=False, found=here.why, remedy=remedy)
    told = "; ".join(f"{gpu}, {gpu.memory:,} MiB" for gpu in here.gpus)
    fine = [major for major in machine.OLDEST_DRIVER if machine.too_old(here.driver, major) is None]
    cuda = f"runs CUDA {max(fine)} and older" if fine else "runs no CUDA that TensorRT 10 knows"
    return Finding(
        "GPU", ok=bool(fine), found=f"{told}; driver {here.driver}, {cuda}", remedy="" if fine else "update the driver"
    )


def _docker() -> Finding:
    from generator.container import docker_problem

    message, remedy = docker_problem() or ("", "")
    return Finding(
        "docker", not message, message or f"daemon {_output(['docker', 'info', '--format', '{{.ServerVersion}}'])}", remedy
    )


def _output(command: list[str]) -> str:
    """What a program prints; empty when it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
