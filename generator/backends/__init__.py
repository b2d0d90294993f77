"""Serving backends. One file a backend: the artefact it loads and its part of config.pbtxt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from generator.plugin import Plugin

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    from generator.frontends import Frontend
    from generator.tensors import Tensor


@dataclass(frozen=True)
class Order:
    """What a target is to make its model from."""

    #: The final graph: head, NMS and precision in it; its weights beside it where it has a file of them.
    graph: Path
    #: What it takes and gives, and `max_batch_size` of the model's config.pbtxt (0: the first axis is no batch).
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    max_batch_size: int
    #: Sizes that the dynamic batcher prefers.
    preferred: tuple[int, ...]
    checkpoint: Frontend
    #: The kind of precision that the graph is in.
    precision: str
    #: The folder that `convert` filled; where a target converts nothing, that of the graph.
    made: Path


class Backend(Plugin):
    """What loads the model in the server."""

    #: The name of the model file inside the version folder.
    filename: ClassVar[str]
    #: TensorRT plugin nodes that it runs.
    plugins: ClassVar[tuple[str, ...]] = ()
    #: Precisions (their kinds) that it runs.
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    #: Where its instances run unless the spec says.
    device: ClassVar[Literal["cpu", "gpu"]] = "cpu"
    #: Is its model converted from the graph, in a step of its own that is remembered?
    converts: ClassVar[bool] = False
    #: Distributions whose versions decide what `convert` makes.
    libraries: ClassVar[tuple[str, ...]] = ()

    def batch_size(self, wanted: int) -> int:
        """`max_batch_size` of its model where `wanted` rows may come at once; 0 where the batch is an axis like others."""
        return wanted

    def prepare(self) -> None:
        """Before the child process that converts: environments are made here. Raises ToolError."""

    def convert(self, order: Order) -> dict[str, str]:
        """Fill `order.made` (in a child process); what was done, in words. Raises SurgeryError, ExportError or ToolError."""
        raise NotImplementedError

    def artefact(self, order: Order, version_folder: Path) -> None:
        """Put the model into `version_folder`."""
        raise NotImplementedError

    def configure(self, config: ModelConfig) -> None:
        """Set platform or backend, file name, optimisation and parameters. Tensors and instances are in `config` already."""
        raise NotImplementedError

    def graph(self, version_folder: Path) -> Path | None:
        """The final graph where it lies in the repository, too; verification takes it from there."""
        return None

    def pending(self, version_folder: Path) -> str:
        """Why the model there cannot be loaded here, and what makes it loadable; nothing where it can."""
        return ""
