"""pytorch: the checkpoint's own module as TorchScript, on Triton's pytorch backend."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from generator.backends import Backend, Order

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    from generator.tensors import Tensor

#: Field -> parameter, and whether that says the opposite (pytorch_backend, README.md, "Parameters"; ENABLE_TENSOR_FUSER is in
#: src/pt/model_state.cc alone).
_FLAGS = {
    "optimized_execution": ("DISABLE_OPTIMIZED_EXECUTION", True),
    "inference_mode": ("INFERENCE_MODE", False),
    "cudnn": ("DISABLE_CUDNN", True),
    "weight_sharing": ("ENABLE_WEIGHT_SHARING", False),
    "cache_cleaning": ("ENABLE_CACHE_CLEANING", False),
    "jit_profiling": ("ENABLE_JIT_PROFILING", False),
    "jit_executor": ("ENABLE_JIT_EXECUTOR", False),
    "tensor_fuser": ("ENABLE_TENSOR_FUSER", False),
}
_THREADS = {"intra_op_threads": "INTRA_OP_THREAD_COUNT", "inter_op_threads": "INTER_OP_THREAD_COUNT"}
#: The field's value where the parameter is left out.
Flag = bool | None


class PyTorch(Backend):
    """TorchScript of the checkpoint's own module; head and NMS are an ONNX model behind it."""

    kind: Literal["pytorch"] = "pytorch"
    filename: ClassVar[str] = "model.pt"
    converts: ClassVar[bool] = True
    runs_module: ClassVar[bool] = True
    libraries: ClassVar[tuple[str, ...]] = ("torch",)
    sources: ClassVar[tuple[str, ...]] = (
        "../torchscript.py", "../served_module.py", "../export.py", "../exporters.py", "../flatten.py", "../frozen.py",
    )  # fmt: skip

    capture: Annotated[
        Literal["auto", "script", "trace"],
        Field(description="auto: torch.jit.script, which keeps `if` and loops, then tracing; it says which did it and why."),
    ] = "auto"
    freeze: Annotated[
        bool, Field(description="torch.jit.freeze: weights become constants, batch normalisations go into convolutions.")
    ] = True
    optimized_execution: Annotated[
        Flag, Field(description="The JIT's optimised execution; false: first calls, and those of a new shape, are not slow.")
    ] = None
    inference_mode: Annotated[Flag, Field(description="torch.inference_mode; the backend's default is true.")] = None
    cudnn: Annotated[Flag, Field(description="cuDNN, on GPUs; the backend's default is true.")] = None
    weight_sharing: Annotated[
        Flag, Field(description="Instances on one device share their weights; not for models with state.")
    ] = None
    cache_cleaning: Annotated[Flag, Field(description="Give CUDA's cache back after each execution; slow.")] = None
    jit_profiling: Annotated[Flag, Field(description="The JIT's profiling mode; left out, libtorch's own choice.")] = None
    jit_executor: Annotated[Flag, Field(description="The JIT's profiling executor; left out, libtorch's own choice.")] = None
    tensor_fuser: Annotated[Flag, Field(description="The JIT's tensor expression fuser; left out, libtorch's own choice.")] = None
    intra_op_threads: Annotated[
        int, Field(ge=0, description="Threads inside an operator, for all models of the server, the first one's word; 0: a core.")
    ] = 0
    inter_op_threads: Annotated[int, Field(ge=0, description="Threads across operators, likewise.")] = 0

    def called(self, side: str, index: int, tensor: Tensor) -> str:
        """INPUT__0, OUTPUT__0: by position, the one rule that every release has for both (README.md, "Important Notes")."""
        return f"{side.upper()}__{index}"

    def convert(self, order: Order) -> dict[str, str]:
        """TorchScript, loaded again and held against the module."""
        from generator.torchscript import make

        return make(order, self.capture, self.freeze, order.made / self.filename)

    def artefact(self, order: Order, version_folder: Path) -> None:
        """The archive; its weights are in it."""
        shutil.copyfile(order.made / self.filename, version_folder / self.filename)

    def configure(self, config: ModelConfig) -> None:
        """platform, file name and parameters (pytorch_backend, README.md, "Configuration")."""
        config.platform = "pytorch_libtorch"
        config.backend = "pytorch"
        config.default_model_filename = self.filename
        for field, (parameter, opposite) in _FLAGS.items():
            if (value := getattr(self, field)) is not None:
                config.parameters[parameter].string_value = str(value != opposite).lower()
        for field, parameter in _THREADS.items():
            if value := getattr(self, field):
                config.parameters[parameter].string_value = str(value)
