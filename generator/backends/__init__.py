"""Serving backends. One file a backend: the artefact it loads and its part of config.pbtxt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from generator.plugin import Plugin

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    from generator.frontends import Frontend
    from generator.picture import Normalisation
    from generator.tensors import Tensor


@dataclass(frozen=True)
class Order:
    """What a target is to make its model from."""

    #: The final graph: head, NMS and precision in it; its weights beside it where it has a file of them.
    graph: Path
    #: What the target's model takes and gives, under its own names, and `max_batch_size` of the model's config.pbtxt (0: the
    #: first axis is no batch).
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
    #: How the first input, pixels, becomes the checkpoint's own; None: what it takes is the checkpoint's own.
    picture: Normalisation | None = None


#: A place in the YAML below `target:`.
Loc = tuple[int | str, ...]


class Unfit(Exception):  # noqa: N818 -- what becomes an error once pipeline.py has added the line of the YAML
    """Something under `target:` does not go with the model: where (below `target:`), what was found, what to do."""

    def __init__(self, loc: Loc, what: str, remedy: str) -> None:
        super().__init__(what)
        self.loc, self.what, self.remedy = loc, what, remedy


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
    #: Does it run the checkpoint's own PyTorch module? Then head and NMS are a model of their own, an ONNX graph behind it.
    runs_module: ClassVar[bool] = False
    #: Distributions whose versions decide what `convert` makes.
    libraries: ClassVar[tuple[str, ...]] = ()

    @property
    def runs_on(self) -> Literal["cpu", "gpu"]:
        """`device`, unless the spec's own settings decide otherwise."""
        return self.device

    def files(self) -> tuple[Path, ...]:
        """The user's files that it puts beside the model."""
        return ()

    def names(self) -> tuple[str, ...]:
        """What `artefact` puts into the version folder."""
        return (self.filename, *(path.name for path in self.files()))

    def judge(self, order: Order) -> None:
        """Raise Unfit for what of the model it cannot run; asked before anything is built, without `graph` and `made`."""

    def called(self, side: str, index: int, tensor: Tensor) -> str:
        """The name on the server of an input or output (`side`), the `index`-th of its model."""
        return tensor.name

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

    def complete(self, config: ModelConfig, order: Order) -> None:
        """Set what goes with the instances, or follows from the order; `graph` and `made` are not there yet."""

    def seal(self, config: ModelConfig, order: Order) -> None:
        """Set what depends on the finished graph."""

    def graph(self, version_folder: Path) -> Path | None:
        """The final graph where it lies in the repository, too; verification takes it from there."""
        return None
