"""Serving backends. One file a backend: the artefact it loads and its part of config.pbtxt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from generator.plugin import Plugin

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig


class Backend(Plugin):
    """What loads the model in the server."""

    #: The name of the model file inside the version folder.
    filename: ClassVar[str]
    #: TensorRT plugin nodes that it runs.
    plugins: ClassVar[tuple[str, ...]] = ()

    def artefact(self, onnx: Path, version_folder: Path) -> None:
        """Put the model into `version_folder`."""
        raise NotImplementedError

    def configure(self, config: ModelConfig) -> None:
        """Set platform or backend, file name, optimisation and parameters."""
        raise NotImplementedError
