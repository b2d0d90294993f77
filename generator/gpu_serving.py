"""What a server of this repository needs besides its folder: a GPU, plugin libraries, leave to load version-compatible plans."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from generator import engines, server_tensorrt, shm
from generator.errors import RepositoryError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tritonclient.grpc.model_config_pb2 import ModelConfig

#: The release that an image's tag begins with, behind a registry that may have a port.
_RELEASE = re.compile(r":([0-9]{2}\.[0-9]{2})(?![0-9])[^/]*\Z")
#: Where the container has the repository.
MODELS = "/models"


@dataclass(frozen=True)
class GpuServing:
    """Of one repository."""

    gpu: bool = False
    #: Plugin libraries, by their path in the container; those outside the repository lie there under the same path.
    plugins: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    #: tensorrt_backend, README.md, "Command-line Options": off unless the server is told, as such plans hold code that is run.
    version_compatible: bool = False
    #: Engines that are still to be built, by their path in the repository.
    pending: tuple[str, ...] = ()
    #: Folders in which ONNX Runtime keeps engines from start to start (target onnxruntime, `accelerator:`).
    caches: tuple[str, ...] = ()
    #: Container releases whose server the engines are for.
    releases: tuple[str, ...] = ()

    @property
    def preload(self) -> str:
        """LD_PRELOAD (server, docs/user_guide/custom_operations.md, "TensorRT"); empty where there is no plugin library."""
        return ":".join(self.plugins)

    def unlike(self, image: str) -> str:
        """Why the server in `image` would refuse the engines; empty where it is of their release, or says none."""
        tag = _RELEASE.search(image.partition("@")[0])
        others = [release for release in self.releases if tag and release and release != tag[1]]
        if not others:
            return ""
        return f"the engines are for the server of {others[0]}, and a plan loads in one TensorRT only"

    def server_options(self) -> list[str]:
        """For tritonserver's command line."""
        return ["--backend-config=tensorrt,version-compatible=true"] if self.version_compatible else []

    def docker_options(self) -> list[str]:
        """For `docker run`."""
        mounts = [f"--volume={path}:{path}:ro" for path in self.outside]
        preload = [f"--env=LD_PRELOAD={self.preload}"] if self.plugins else []
        kept = [f"--volume={name}:{path}" for name, path in self.volumes.items()]
        return [*(["--gpus=all"] if self.gpu else []), *mounts, *kept, *preload]

    @property
    def volumes(self) -> dict[str, str]:
        """Named volumes of docker -> where the container has them: without one every start would build its engines again."""
        return {f"triton-repo-engines{number or ''}": path for number, path in enumerate(self.caches)}


def of(repository: Path) -> GpuServing:
    """What the models and the engines of `repository` need. Raises RepositoryError for one that cannot be read."""
    found, configs = engines.wanted(repository), shm.configs(repository)
    libraries = list(dict.fromkeys(_libraries(found)))
    return GpuServing(
        gpu=any(map(_on_gpu, configs)),
        plugins=tuple(inside for _, inside in libraries),
        outside=tuple(inside for path, inside in libraries if path.is_absolute()),
        version_compatible=any(item.request.options.version_compatible for item in found),
        pending=tuple(engines.pending(repository)),
        caches=tuple(sorted({path for config in configs for path in _caches(config)})),
        releases=tuple(sorted({server_tensorrt.release(item.server) for item in found})),
    )


def _libraries(found: Iterable[engines.Wanted]) -> Iterator[tuple[Path, str]]:
    for item in found:
        for library in item.request.plugins:
            path = Path(library.path)
            if any(sign in library.path for sign in ": "):
                raise RepositoryError(
                    f"{item.name}: LD_PRELOAD cannot hold {library.path!r}", "rename it, without space and colon"
                )
            yield path, library.path if path.is_absolute() else f"{MODELS}/{item.model}/{item.folder.name}/{library.path}"


def _caches(config: ModelConfig) -> Iterator[str]:
    """The folder above all that TensorRT's execution provider writes: `engine_cache` of the spec."""
    for one in config.optimization.execution_accelerators.gpu_execution_accelerator:
        if one.name == "tensorrt" and "trt_timing_cache_path" in one.parameters:
            yield str(Path(one.parameters["trt_timing_cache_path"]).parent)


def _on_gpu(config: ModelConfig) -> bool:
    from tritonclient.grpc.model_config_pb2 import ModelInstanceGroup

    groups = [group.kind == ModelInstanceGroup.KIND_GPU for group in config.instance_group]
    return any(groups) or config.platform == "tensorrt_plan" or config.backend == "tensorrt"
