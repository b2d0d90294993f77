"""Execution accelerators: what takes parts of an ONNX graph over from ONNX Runtime on the server. One file an accelerator."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from generator.plugin import Plugin

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    from generator.backends import Order


class Accelerator(Plugin):
    """Named in config.pbtxt (model_config.proto, ModelOptimizationPolicy.ExecutionAccelerators)."""

    #: Where instances of its models run.
    device: ClassVar[Literal["cpu", "gpu"]] = "gpu"

    def judge(self, order: Order) -> None:
        """Raise Unfit for what of the model it cannot run; before anything is built."""

    def configure(self, config: ModelConfig, order: Order) -> None:
        """Set it; asked before anything is built, too."""
        raise NotImplementedError

    def seal(self, config: ModelConfig, order: Order) -> None:
        """Set what depends on the finished graph."""
