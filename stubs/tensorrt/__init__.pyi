"""What generator/ uses of TensorRT's Python API, written from its reference:
https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/python-api/index.html

Members that only some of TensorRT 10, TensorRT 11 and TensorRT-RTX have are here, too: the code asks whether they are there.
"""

from collections.abc import Sequence
from typing import ClassVar

from typing_extensions import Buffer

__version__: str

def init_libnvinfer_plugins(logger: ILogger, namespace: str) -> bool:
    """.../infer/Plugin/IPluginRegistry.html"""

class _Enum:
    """pybind11's enumerations: no enum.Enum, but with __members__, name, value and __int__."""

    __members__: ClassVar[dict[str, _Enum]]
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...
    def __int__(self) -> int: ...
    def __index__(self) -> int: ...

class ILogger:
    """.../infer/Core/Logger.html"""

    class Severity(_Enum):
        INTERNAL_ERROR: ClassVar[ILogger.Severity]
        ERROR: ClassVar[ILogger.Severity]
        WARNING: ClassVar[ILogger.Severity]
        INFO: ClassVar[ILogger.Severity]
        VERBOSE: ClassVar[ILogger.Severity]

    def __init__(self) -> None: ...
    def log(self, severity: ILogger.Severity, msg: str) -> None: ...

class IProgressMonitor:
    """.../infer/Core/BuilderConfig.html#tensorrt.IProgressMonitor (10.1 and later)"""

    def __init__(self) -> None: ...
    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None: ...
    def step_complete(self, phase_name: str, step: int) -> bool: ...
    def phase_finish(self, phase_name: str) -> None: ...

class IHostMemory(Buffer):
    """.../infer/FoundationalTypes/HostMemory.html"""

    nbytes: int

class BuilderFlag(_Enum):
    """.../infer/Core/BuilderConfig.html#tensorrt.BuilderFlag"""

    TF32: ClassVar[BuilderFlag]
    VERSION_COMPATIBLE: ClassVar[BuilderFlag]
    WEIGHT_STREAMING: ClassVar[BuilderFlag]
    STRIP_PLAN: ClassVar[BuilderFlag]

class HardwareCompatibilityLevel(_Enum):
    """.../infer/Core/BuilderConfig.html#tensorrt.HardwareCompatibilityLevel"""

    NONE: ClassVar[HardwareCompatibilityLevel]
    AMPERE_PLUS: ClassVar[HardwareCompatibilityLevel]
    SAME_COMPUTE_CAPABILITY: ClassVar[HardwareCompatibilityLevel]

class MemoryPoolType(_Enum):
    """.../infer/Core/BuilderConfig.html#tensorrt.MemoryPoolType"""

    WORKSPACE: ClassVar[MemoryPoolType]

class ProfilingVerbosity(_Enum):
    """.../infer/Core/BuilderConfig.html#tensorrt.ProfilingVerbosity"""

class TacticSource(_Enum):
    """.../infer/Core/BuilderConfig.html#tensorrt.TacticSource"""

class NetworkDefinitionCreationFlag(_Enum):
    """.../infer/Graph/Network.html#tensorrt.NetworkDefinitionCreationFlag"""

    STRONGLY_TYPED: ClassVar[NetworkDefinitionCreationFlag]

class ComputeCapability(_Enum):
    """TensorRT-RTX only: https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/"""

class ITimingCache:
    """.../infer/Core/BuilderConfig.html#tensorrt.ITimingCache"""

    def serialize(self) -> IHostMemory: ...

class IOptimizationProfile:
    """.../infer/Core/OptimizationProfile.html"""

    def set_shape(self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]) -> None: ...
    def set_shape_input(self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]) -> None: ...

class IBuilderConfig:
    """.../infer/Core/BuilderConfig.html"""

    builder_optimization_level: int
    hardware_compatibility_level: HardwareCompatibilityLevel
    profiling_verbosity: ProfilingVerbosity
    progress_monitor: IProgressMonitor
    num_compute_capabilities: int
    def set_compute_capability(self, compute_capability: ComputeCapability, index: int) -> bool: ...
    def set_flag(self, flag: BuilderFlag) -> None: ...
    def clear_flag(self, flag: BuilderFlag) -> None: ...
    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None: ...
    def set_tactic_sources(self, tactic_sources: int) -> bool: ...
    def add_optimization_profile(self, profile: IOptimizationProfile) -> int: ...
    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache: ...
    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool: ...

class Dims(tuple[int, ...]):
    """.../infer/FoundationalTypes/Dims.html"""

class ITensor:
    """.../infer/Graph/LayerBase.html#tensorrt.ITensor"""

    name: str
    shape: Dims
    @property
    def is_shape_tensor(self) -> bool: ...

class INetworkDefinition:
    """.../infer/Graph/Network.html"""

    num_inputs: int
    num_outputs: int
    num_layers: int
    def get_input(self, index: int) -> ITensor: ...
    def get_output(self, index: int) -> ITensor: ...

class Builder:
    """.../infer/Core/Builder.html"""

    def __init__(self, logger: ILogger) -> None: ...
    def create_network(self, flags: int = 0) -> INetworkDefinition: ...
    def create_builder_config(self) -> IBuilderConfig: ...
    def create_optimization_profile(self) -> IOptimizationProfile: ...
    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None: ...

class ParserError:
    """.../parsers/Onnx/pyOnnx.html"""

    def code(self) -> _Enum: ...
    def desc(self) -> str: ...
    def node(self) -> int: ...
    def node_name(self) -> str: ...
    def node_operator(self) -> str: ...

class OnnxParser:
    """.../parsers/Onnx/pyOnnx.html"""

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None: ...
    @property
    def num_errors(self) -> int: ...
    def get_error(self, index: int) -> ParserError: ...
    def parse_from_file(self, model: str) -> bool: ...

class SerializationFlag(_Enum):
    """.../infer/Core/Engine.html#tensorrt.SerializationFlag"""

    EXCLUDE_WEIGHTS: ClassVar[SerializationFlag]

class ISerializationConfig:
    """.../infer/Core/Engine.html#tensorrt.ISerializationConfig"""

    def clear_flag(self, flag: SerializationFlag) -> bool: ...

class ICudaEngine:
    """.../infer/Core/Engine.html"""

    def create_serialization_config(self) -> ISerializationConfig: ...
    def serialize_with_config(self, config: ISerializationConfig) -> IHostMemory: ...

class Runtime:
    """.../infer/Core/Runtime.html"""

    engine_host_code_allowed: bool
    def __init__(self, logger: ILogger) -> None: ...
    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None: ...

class Refitter:
    """.../infer/Core/Refitter.html"""

    def __init__(self, engine: ICudaEngine, logger: ILogger) -> None: ...
    def refit_cuda_engine(self) -> bool: ...

class OnnxParserRefitter:
    """.../parsers/Onnx/pyOnnx.html"""

    def __init__(self, refitter: Refitter, logger: ILogger) -> None: ...
    @property
    def num_errors(self) -> int: ...
    def get_error(self, index: int) -> ParserError: ...
    def refit_from_file(self, model: str) -> bool: ...
