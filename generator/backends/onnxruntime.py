"""onnxruntime: the ONNX file itself, on Triton's onnxruntime backend."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from generator.accelerators import Accelerator
from generator.backends import Backend, Order
from generator.plugin import Choice

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig


class OnnxRuntime(Backend):
    """ONNX Runtime on the CPU, or on a GPU with an accelerator; without, the local stand-in loads the same folder."""

    kind: Literal["onnxruntime"] = "onnxruntime"
    filename: ClassVar[str] = "model.onnx"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16")

    intra_op_threads: Annotated[int, Field(ge=0, description="Threads inside an operator; 0: one a core.")] = 0
    inter_op_threads: Annotated[int, Field(ge=0, description="Threads across operators; 0: ONNX Runtime's choice.")] = 0
    graph_optimization_level: Annotated[
        Literal[-1, 1, 2] | None, Field(description="optimization.graph.level: -1 basic, 1 extended.")
    ] = None

    accelerator: Annotated[
        Annotated[Accelerator, Choice("generator.accelerators")] | None,
        Field(description="What takes parts of the graph over on a GPU; left out, ONNX Runtime runs it on the CPU."),
    ] = None

    @property
    def runs_on(self) -> Literal["cpu", "gpu"]:
        """Where the accelerator does."""
        return self.accelerator.device if self.accelerator else self.device

    def judge(self, order: Order) -> None:
        """What the accelerator cannot run."""
        if self.accelerator:
            self.accelerator.judge(order)

    def complete(self, config: ModelConfig, order: Order) -> None:
        """The accelerator."""
        if self.accelerator:
            self.accelerator.configure(config, order)

    def seal(self, config: ModelConfig, order: Order) -> None:
        """What of the accelerator depends on the graph."""
        if self.accelerator:
            self.accelerator.seal(config, order)

    def artefact(self, order: Order, version_folder: Path) -> None:
        """The graph, and its weights file where it has one. Copied: through a link, who edits what is served edits the cache."""
        for source in (order.graph, order.graph.with_name(order.graph.name + ".data")):
            if source.exists():
                shutil.copyfile(source, version_folder / source.name.replace(order.graph.name, self.filename))

    def graph(self, version_folder: Path) -> Path | None:
        """What is served is the graph."""
        return version_folder / self.filename

    def configure(self, config: ModelConfig) -> None:
        """platform, file name, threads and graph level (onnxruntime_backend, README, "Model Config Options")."""
        config.platform = "onnxruntime_onnx"
        config.backend = "onnxruntime"
        config.default_model_filename = self.filename
        if self.graph_optimization_level is not None:
            config.optimization.graph.level = self.graph_optimization_level
        for key, value in (("intra_op_thread_count", self.intra_op_threads), ("inter_op_thread_count", self.inter_op_threads)):
            if value:
                config.parameters[key].string_value = str(value)
