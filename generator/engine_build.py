"""Builds one TensorRT engine, in a process of its own that `generator/engine_child.py` starts.

A strongly typed network from the ONNX file (TensorRT 11 knows no others), the profiles and options of the request, and a plan.
Only the standard library and TensorRT are imported: see `generator/tensorrt_module.py`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator import tensorrt_module, tensorrt_remedies
from generator.errors import SurgeryError, TritonRepoError
from generator.tensorrt_module import Told, member

if TYPE_CHECKING:
    import tensorrt


def main(task: dict[str, Any]) -> int:
    """Do the task of `engine_child.build`; the last line on stdout says what came of it. 0, whatever that is."""
    told = Told()
    try:
        from generator.engine_refit import refit

        told(done=build(task, told) if task["do"] == "build" else refit(task))
    except TritonRepoError as error:
        told(error=type(error).__name__, message=error.message, remedy=error.remedy)
    return 0


def build(task: dict[str, Any], told: Told) -> dict[str, str]:
    """One plan; what was done, in words. Raises ToolError or SurgeryError."""
    tensorrt_module.use(task["library"])
    started, heard = time.monotonic(), tensorrt_module.log()
    tensorrt_module.plugins(task["plugins"], heard)
    builder = tensorrt_module.builder(heard)
    config, options = builder.create_builder_config(), task["options"]
    capability = tensorrt_module.capability(config, task["compute_capability"])
    _options(config, options)
    network, parser = _parsed(builder, heard, Path(task["onnx"]))
    _profiles(builder, config, network, task["profiles"])
    cache = _TimingCache(config, heard, Path(task["timing_cache"]), capability) if options["timing_cache"] else None
    monitor = _monitor(told)
    config.progress_monitor = monitor
    tensorrt_module.errors(heard).clear()
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _not_built(tensorrt_module.reason(heard))
    size = Path(task["plan"]).write_bytes(plan)
    facts = {
        "built by": tensorrt_module.version(), "compute capability": capability, "bytes": str(size),
        "layers": str(network.num_layers), "timing cache": cache.save() if cache else "not used",
        "seconds": f"{time.monotonic() - started:.1f}",
    }  # fmt: skip
    del parser  # the network refers to weights that it holds: not before the plan is there
    return facts


def _options(config: tensorrt.IBuilderConfig, said: dict[str, Any]) -> None:
    import tensorrt as trt

    if said["workspace"] is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, said["workspace"] * 2**20)
    if said["builder_optimization_level"] is not None:
        config.builder_optimization_level = said["builder_optimization_level"]
    if said["hardware_compatibility"] != "none":
        config.hardware_compatibility_level = member(trt.HardwareCompatibilityLevel, said["hardware_compatibility"].upper())
    for field in ("version_compatible", "weight_streaming", "strip_plan"):
        if said[field]:
            config.set_flag(member(trt.BuilderFlag, field.upper()))
    if not said["tf32"]:
        config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = member(trt.ProfilingVerbosity, said["profiling_verbosity"].upper())
    if said["tactic_sources"] is not None:
        config.set_tactic_sources(sum(1 << int(member(trt.TacticSource, name.upper())) for name in said["tactic_sources"]))


def _parsed(
    builder: tensorrt.Builder, heard: tensorrt.ILogger, onnx: Path
) -> tuple[tensorrt.INetworkDefinition, tensorrt.OnnxParser]:
    """Types are those of the graph. Weights outside the file are found beside it."""
    import tensorrt as trt

    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # from 11 on every network is
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, heard)
    if not parser.parse_from_file(str(onnx)):
        raise _refused(parser, heard)
    return network, parser


def _refused(parser: tensorrt.OnnxParser, heard: tensorrt.ILogger) -> SurgeryError:
    """Its first error: node, operator, TensorRT's reason, what to do."""
    if not parser.num_errors:
        why = tensorrt_module.reason(heard)
        return SurgeryError(f"TensorRT does not parse the ONNX file: {why}", tensorrt_remedies.find("", why).text)
    error = parser.get_error(0)
    operator, why = error.node_operator(), " ".join(error.desc().split())[:400]
    where = f"node {error.node_name() or error.node()} ({operator})" if operator else "the ONNX file"
    more = f" ({parser.num_errors - 1} more: triton-repo check --tensorrt)" if parser.num_errors > 1 else ""
    return SurgeryError(f"{where}: TensorRT's parser refuses it: {why}{more}", tensorrt_remedies.find(operator, why).text)


def _profiles(
    builder: tensorrt.Builder, config: tensorrt.IBuilderConfig, network: tensorrt.INetworkDefinition, wanted: list[Any]
) -> None:
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    free = [tensor for tensor in inputs if -1 in tuple(tensor.shape) or tensor.is_shape_tensor]
    for index, said in enumerate(wanted or [{}] * bool(free)):
        profile = builder.create_optimization_profile()
        for tensor in free:
            _range(profile, tensor, said.get(tensor.name))
        if config.add_optimization_profile(profile) < 0:
            raise SurgeryError(f"TensorRT refuses optimisation profile {index}: {said}", "correct `profiles:` of the target")


def _range(profile: tensorrt.IOptimizationProfile, tensor: tensorrt.ITensor, said: dict[str, Any] | None) -> None:
    what = f"input {tensor.name} {list(tensor.shape)}"
    if tensor.is_shape_tensor and not (said and said["values"]):
        remedy = f"say `values: {{{tensor.name}: [[smallest ...], [usual ...], [largest ...]]}}` under `target:`"
        raise SurgeryError(f"{what}: TensorRT takes its values for a shape, and no range of them is said", remedy)
    if said is None or (said["values"] and not tensor.is_shape_tensor):
        remedy = f"say `ranges: {{{tensor.name}: {{AXIS: [min, opt, max]}}}}` under `target:`"
        raise SurgeryError(f"{what}: an axis is free, and no range of its lengths is said", remedy)
    ends = [said[end] for end in ("min", "opt", "max")]
    if not said["values"] and any(_contradicts(tuple(tensor.shape), shape) for shape in ends):
        raise SurgeryError(
            f"{what}: found the range {' '.join(map(str, ends))}, which it is not", "correct `ranges:` of the target"
        )
    put = profile.set_shape_input if said["values"] else profile.set_shape
    try:
        put(tensor.name, *ends)
    except ValueError as error:
        found = " ".join(map(str, ends))
        raise SurgeryError(f"{what}: TensorRT refuses the range {found}: {error}", "correct `ranges:` of the target") from None


def _contradicts(own: tuple[int, ...], said: list[int]) -> bool:
    return len(own) != len(said) or any(dim not in (-1, wanted) for dim, wanted in zip(own, said, strict=True))


def _not_built(why: str) -> SurgeryError:
    scarce = "memory" in why.lower()
    remedy = (
        "free memory on the GPU, or say a smaller `workspace:` under `target:`"
        if scarce
        else tensorrt_remedies.find("", why).text
    )
    return SurgeryError(f"TensorRT did not build the engine: {why}", remedy)


class _TimingCache:
    """Measurements of layers, from build to build: a file for each TensorRT version and GPU type."""

    def __init__(self, config: tensorrt.IBuilderConfig, heard: tensorrt.ILogger, folder: Path, capability: str) -> None:
        self._path = folder / f"{tensorrt_module.version().replace(' ', '-')}-{capability}.timing"
        before = self._path.read_bytes() if self._path.is_file() else b""
        errors = tensorrt_module.errors(heard)
        errors.clear()
        self._cache = config.create_timing_cache(before)
        if before and (errors or not config.set_timing_cache(self._cache, ignore_mismatch=False)):
            before = b""  # another device's, or cut short: begun anew
            self._cache = config.create_timing_cache(before)
        config.set_timing_cache(self._cache, ignore_mismatch=False)
        self._before = len(before)

    def save(self) -> str:
        """Write it, whole or not at all; its size before and now, bytes."""
        data = bytes(self._cache.serialize())
        self._path.parent.mkdir(parents=True, exist_ok=True)
        staging = self._path.with_name(f".{self._path.name}-{os.getpid()}")
        staging.write_bytes(data)
        staging.replace(self._path)
        return f"{self._before} -> {len(data)} bytes in {self._path.name}"


def _monitor(told: Told) -> tensorrt.IProgressMonitor:
    import tensorrt as trt

    class Monitor(trt.IProgressMonitor):
        """Phases and their steps, told as they come."""

        def __init__(self) -> None:
            super().__init__()
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps
            told(phase=phase_name, inside=parent_phase or "", step=0, of=num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            told(phase=phase_name, step=step + 1, of=self._steps.get(phase_name, step + 1))
            return True

        def phase_finish(self, phase_name: str) -> None:
            steps = self._steps.pop(phase_name, 0)
            told(phase=phase_name, step=steps, of=steps, finished=True)

    return Monitor()
