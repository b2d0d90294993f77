"""tensorrt: ONNX Runtime's TensorRT execution provider, for those who do not want plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from generator import profiles
from generator.accelerators import Accelerator
from generator.backends import Order, Unfit
from generator.download import sha256
from generator.engine_request import MiB, Profile
from generator.profiles import Asked
from generator.ranges import Axes

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig


class TensorRtAccelerator(Accelerator):
    """The server builds engines from the ONNX file when it first loads it, and keeps them; what TensorRT lacks runs on CUDA.

    Keys of its parameters: onnxruntime_backend, src/onnxruntime.cc (all are known since 24.10); an unknown one is refused there.
    """

    kind: Literal["tensorrt"] = "tensorrt"
    sources: ClassVar[tuple[str, ...]] = ("../profiles.py", "../ranges.py")

    precision_mode: Annotated[
        Literal["fp32", "fp16"] | None,
        Field(description="fp16: TensorRT chooses layers that it computes so; left out, as the graph's own precision is."),
    ] = None
    workspace: Annotated[MiB | None, Field(description="Memory that a layer may use at most, in MiB or as `4 GiB`.")] = None
    engine_cache: Annotated[
        str,
        Field(pattern=r"^/", description="The server's folder for engines; kept from start to start, it saves minutes."),
    ] = "/var/cache/triton-repo/tensorrt"
    builder_optimization_level: Annotated[
        int | None, Field(ge=0, le=5, description="0 builds fastest, 5 searches longest; left out, TensorRT's own (3).")
    ] = None
    min_subgraph_size: Annotated[
        int | None, Field(ge=1, description="Smaller pieces of the graph stay with CUDA; left out, ONNX Runtime's own (1).")
    ] = None
    plugin_libraries: Annotated[
        tuple[Annotated[str, Field(pattern=r"^/[^;]+$")], ...], Field(description="Shared libraries of plugins, on the server.")
    ] = ()
    ranges: Annotated[
        dict[str, Axes],
        Field(
            description="Input -> axis (number or name) -> lengths, where the checkpoint does not say them (docs/tensorrt.md)."
        ),
    ] = Field(default_factory=dict)

    def judge(self, order: Order) -> None:
        """A range for every free axis, so that the engine is not built anew for each new shape."""
        try:
            self._profiles(order)
        except Unfit as unfit:
            raise Unfit(("accelerator", *unfit.loc), unfit.what, unfit.remedy.replace("`target:`", "`accelerator:`")) from None

    def configure(self, config: ModelConfig, order: Order) -> None:
        """optimization.execution_accelerators (onnxruntime_backend, README, "ONNX Runtime with TensorRT optimization")."""
        chosen: dict[str, Any] = {
            "precision_mode": (self.precision_mode or order.precision).upper(),
            "max_workspace_size_bytes": self.workspace and self.workspace * 2**20,
            "trt_builder_optimization_level": self.builder_optimization_level,
            "trt_min_subgraph_size": self.min_subgraph_size,
            "trt_engine_cache_enable": "1", "trt_engine_cache_path": self._folder(config),
            "trt_timing_cache_enable": "1", "trt_timing_cache_path": f"{self.engine_cache}/timing",
            "trt_extra_plugin_lib_paths": ";".join(self.plugin_libraries) or None,
            **self._shapes(order),
        }  # fmt: skip
        made = config.optimization.execution_accelerators.gpu_execution_accelerator.add(name="tensorrt")
        for key, value in chosen.items():
            if value is not None:
                made.parameters[key] = str(value)

    def seal(self, config: ModelConfig, order: Order) -> None:
        """The graph's digest names the folder of its engines.

        The provider tells engines apart by the model file's name, inputs and nodes, not by the weights
        (tensorrt_execution_provider_utils.h, TRTGenerateId): in one folder a retrained model would get its predecessor's engine.
        """
        for one in config.optimization.execution_accelerators.gpu_execution_accelerator:
            if one.name == "tensorrt" and one.parameters.get("trt_engine_cache_path") == self._folder(config):
                weights = order.graph.with_name(f"{order.graph.name}.data")
                digests = [sha256(path)[:16] for path in (order.graph, weights) if path.exists()]
                one.parameters["trt_engine_cache_path"] += f"/{'-'.join(digests)}"

    def _folder(self, config: ModelConfig) -> str:
        return f"{self.engine_cache}/{config.name}"

    def _profiles(self, order: Order) -> tuple[Profile, ...]:
        said, axes = (getattr(order.checkpoint, name, {}) for name in ("inputs", "axes"))
        return profiles.derive(Asked(order.inputs, order.max_batch_size, order.preferred, said, axes, self.ranges))

    def _shapes(self, order: Order) -> dict[str, str]:
        """`images:1x3x640x640,mask:1x640` for each end of the ranges; the batch axis follows from max_batch_size."""
        found = self._profiles(order)
        ends = ("min", "opt", "max") if found else ()
        return {f"trt_profile_{end}_shapes": _listed(found[0], end) for end in ends}


def _listed(profile: Profile, end: str) -> str:
    shapes = {name: getattr(one, end) for name, one in profile.items()}
    return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())
