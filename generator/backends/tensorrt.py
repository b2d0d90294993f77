"""tensorrt: an engine of NVIDIA's TensorRT, on Triton's tensorrt backend."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from generator import elf, engine_request, profiles
from generator.backends import Backend, Order, Unfit
from generator.download import sha256
from generator.engine_request import ComputeCapability, Engine, EngineOptions, EngineRequest, PluginLibrary, Profile
from generator.fields import SpecFile
from generator.plugin import Model
from generator.profiles import Asked
from generator.ranges import Axes, SaidProfile, Values

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

#: What inputs and outputs of an engine may be (tensorrt_backend, src/tensorrt_utils.cc, ConvertTrtTypeToDataType).
DTYPES = ("FP32", "FP16", "INT8", "UINT8", "INT32", "INT64", "BOOL")
_ONNX = "model.onnx"


def _library(path: Path) -> Path:
    elf.machine(path)
    return path


def _as_said(value: Any) -> Any:
    return value


def _as_written(value: Any) -> Any:
    """8.9 without quotes is a number; 12.0 would lose its zero if it did not remember how it was written."""
    return getattr(value, "text", value)


class Library(Model):
    """A shared library of plugins."""

    file: Annotated[
        Annotated[SpecFile, AfterValidator(_library)] | None, Field(description="Here; copied beside the engine.")
    ] = None
    server: Annotated[
        str | None, Field(pattern=r"^/", description="Where it lies on the machines that build and serve; nothing is copied.")
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"file": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one(self) -> Library:
        if (self.file is None) == (self.server is None):
            raise ValueError("say one of `file: PATH` (copied) and `server: /PATH` (there already)")
        return self

    @property
    def name(self) -> str:
        """The file's own."""
        return self.file.name if self.file else PurePosixPath(self.server or "").name


class TensorRt(EngineOptions, Backend):
    """A TensorRT engine (plan). It is built on a GPU by `triton-repo engines`; until then the ONNX file waits in its place."""

    kind: Literal["tensorrt"] = "tensorrt"
    filename: ClassVar[str] = "model.plan"
    plugins: ClassVar[tuple[str, ...]] = ("EfficientNMS_TRT",)
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "bf16")
    device: ClassVar[Literal["cpu", "gpu"]] = "gpu"
    sources: ClassVar[tuple[str, ...]] = ("../engine_request.py", "../profiles.py", "../ranges.py", "../elf.py")

    compute_capabilities: Annotated[
        tuple[Annotated[ComputeCapability, BeforeValidator(_as_written, json_schema_input_type=float | str)], ...],
        Field(
            description="An engine for each of these GPU types in one model, such as [8.6, 8.9]; none: for the GPU that builds."
        ),
    ] = ()
    ranges: Annotated[
        dict[str, Axes],
        Field(
            description="Input -> axis (number or name) -> lengths, where the checkpoint does not say them (docs/tensorrt.md)."
        ),
    ] = Field(default_factory=dict)
    values: Annotated[
        dict[str, Values],
        Field(description="Of inputs whose values TensorRT takes for a shape: [smallest ...], [usual ...], [largest ...]."),
    ] = Field(default_factory=dict)
    profiles: Annotated[
        tuple[SaidProfile, ...],
        Field(description="Several optimisation profiles, each with its sizes of batches or ranges; left out, one for all."),
    ] = ()
    plugin_libraries: Annotated[
        tuple[Annotated[Library, BeforeValidator(_as_said, json_schema_input_type=str | Library)], ...],
        Field(description="Shared libraries of TensorRT plugins, loaded before the engine is built and before it is served."),
    ] = ()

    @model_validator(mode="after")
    def _once(self) -> TensorRt:
        for what, names in (
            ("compute capability", self.compute_capabilities), ("plugin library", [one.name for one in self.plugin_libraries])
        ):  # fmt: skip
            if twice := next((name for name in names if list(names).count(name) > 1), None):
                raise ValueError(f"{what} {twice} is said twice; remove one")
        return self

    def files(self) -> tuple[Path, ...]:
        """The plugin libraries that are copied."""
        return tuple(one.file for one in self.plugin_libraries if one.file)

    def names(self) -> tuple[str, ...]:
        """The plan itself is built later, and elsewhere."""
        return (_ONNX, engine_request.NAME, *(path.name for path in self.files()))

    def judge(self, order: Order) -> None:
        """Types that TensorRT has, and a range for every free axis."""
        for tensor in (*order.inputs, *order.outputs):
            if tensor.dtype not in DTYPES:
                what = f"{tensor}: TensorRT's inputs and outputs have no type {tensor.dtype}, only {', '.join(DTYPES)}"
                raise Unfit(("kind",), what, "change the type in the model, or say another target")
        self._profiles(order)

    def _profiles(self, order: Order) -> tuple[Profile, ...]:
        said, axes = (getattr(order.checkpoint, name, {}) for name in ("inputs", "axes"))
        known = order.inputs, order.max_batch_size, order.preferred, said, axes
        return profiles.derive(Asked(*known, self.ranges, self.values, self.profiles))

    def engines(self) -> tuple[Engine, ...]:
        """What is to be built: one plan, or one for each GPU type."""
        return tuple(map(self._engine, self.compute_capabilities or (None,)))

    def _engine(self, capability: str | None) -> Engine:
        stem = f"model_sm{capability.replace('.', '')}" if capability else "model"
        stripped = f"{stem}.stripped.plan" if self.strip_plan else None
        return Engine(filename=f"{stem}.plan", compute_capability=capability, stripped=stripped)

    def artefact(self, order: Order, version_folder: Path) -> None:
        """The graph with its weights, the plugin libraries, and the request for the engine."""
        for source in (order.graph, order.graph.with_name(f"{order.graph.name}.data")):
            if source.exists():
                shutil.copyfile(source, version_folder / source.name.replace(order.graph.name, _ONNX))
        files = {path.name: sha256(path) for path in sorted(version_folder.glob(f"{_ONNX}*"))}
        for path in self.files():
            shutil.copyfile(path, version_folder / path.name)
        libraries = [
            PluginLibrary(path=one.name, sha256=sha256(one.file)) if one.file else PluginLibrary(path=str(one.server))
            for one in self.plugin_libraries
        ]
        options = EngineOptions(**{name: getattr(self, name) for name in EngineOptions.model_fields})
        EngineRequest(
            onnx=_ONNX, files=files, precision=order.precision, max_batch_size=order.max_batch_size,
            profiles=self._profiles(order), options=options, plugins=tuple(libraries), engines=self.engines(),
        ).write(version_folder)  # fmt: skip

    def graph(self, version_folder: Path) -> Path | None:
        """What the engine is built from."""
        return version_folder / _ONNX

    def configure(self, config: ModelConfig) -> None:
        """platform, the plan's name or one for each GPU type, and inputs that are shapes (model_config.proto)."""
        config.platform = "tensorrt_plan"
        config.backend = "tensorrt"
        config.default_model_filename = self.filename
        for engine in self.engines():
            if engine.compute_capability:
                config.cc_model_filenames[engine.compute_capability] = engine.filename
        for tensor in config.input:
            tensor.is_shape_tensor = tensor.name in self.values

    def complete(self, config: ModelConfig, order: Order) -> None:
        """Of several profiles instances use those that they name (model_config.proto, ModelInstanceGroup.profile)."""
        if len(self.profiles) > 1:
            for group in config.instance_group:
                group.profile.extend(str(index) for index in range(len(self.profiles)))
