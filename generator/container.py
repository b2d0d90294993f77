"""The official container, as a command line: what is printed, and run only when asked for."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from generator import openvino_precision, response_cache
from generator.errors import ToolError

if TYPE_CHECKING:
    from pathlib import Path

#: Server 2.51.0, the version of the wheel that this project is tested with.
BASE_IMAGE = "nvcr.io/nvidia/tritonserver:24.10-py3"
#: What `triton-repo deploy` calls the image it describes: BASE_IMAGE and the packages that the model.py files import.
IMAGE = "triton-repo-server:24.10"
SERVE = ("tritonserver", "--model-repository=/models", "--disable-auto-complete-config")


def serve_command(repository: Path) -> list[str]:
    """What the container runs: the server, with a response cache where a model asks for one."""
    from generator import gpu_serving

    cache = [response_cache.OPTION] if response_cache.wanted(repository) else []
    return [*SERVE, *cache, *gpu_serving.of(repository).server_options()]


def run_command(repository: Path, image: str, host: str, ports: tuple[int, int, int], shm_mib: int) -> list[str]:
    """`docker run` that serves `repository`, read-only, with GPUs and plugin libraries where its models need them.

    `ports` are those of this machine for HTTP, gRPC and metrics.
    """
    from generator import gpu_serving

    published = [f"--publish={host}:{outer}:{inner}" for outer, inner in zip(ports, (8000, 8001, 8002), strict=True)]
    mount = f"--volume={repository.resolve()}:/models:ro"
    said = [f"--env={name}={value}" for name, value in openvino_precision.variables(repository).items()]
    options = [*published, *said, f"--shm-size={shm_mib}m", mount, *gpu_serving.of(repository).docker_options()]
    return ["docker", "run", "--rm", "--init", *options, image, *serve_command(repository)]


def docker_problem() -> tuple[str, str] | None:
    """Why no container can be run here and the remedy, or None."""
    if not shutil.which("docker"):
        return "docker is not installed", "install Docker Engine, or serve without a container"
    try:
        done = subprocess.run(["docker", "info"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "docker does not answer", "start the docker service"
    if done.returncode:
        return "docker is installed, and its daemon cannot be reached", "start the docker service, or join the group docker"
    return None


def run(command: list[str]) -> int:
    """Run the container in the foreground; its exit status. Raises ToolError when docker cannot."""
    if problem := docker_problem():
        raise ToolError(*problem)
    return subprocess.run(command, check=False).returncode
