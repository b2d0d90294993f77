"""openvino: OpenVINO IR, on Triton's OpenVINO backend (openvino_backend, README.md and src/openvino.cc)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from generator.backends import Backend, Order

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

_PACKAGES = "openvino"
_SCRIPT = "to_openvino.py"
_MODEL = ("model.xml", "model.bin")
Count = Annotated[int, Field(ge=1, le=1024)]


class OpenVino(Backend):
    """OpenVINO on the CPU: IR in the fp32 of the graph, which the stock container and the local stand-in load alike."""

    kind: Literal["openvino"] = "openvino"
    filename: ClassVar[str] = _MODEL[0]
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp16", "bf16")
    converts: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = (
        f"../environments/{_PACKAGES}.txt", f"../converters/{_SCRIPT}", "../converters/child.py", "../converter.py",
    )  # fmt: skip

    inference_precision: Annotated[
        Literal["f32", "bf16", "auto"],
        Field(description='What it computes in; auto: bfloat16 where the CPU has it, else f32 (docs/openvino.md, "Precision").'),
    ] = "f32"
    batch_padding: Annotated[
        bool,
        Field(
            description="Compile for exactly max_batch_size rows and fill what is missing with zeros, so that the server joins"
            " requests; left out, the model takes any number of rows of one request (docs/openvino.md)."
        ),
    ] = False
    performance_hint: Annotated[
        Literal["latency", "throughput", "cumulative_throughput"] | None, Field(description="PERFORMANCE_HINT.")
    ] = None
    num_streams: Annotated[
        Count | Literal["auto", "numa"] | None,
        Field(description="NUM_STREAMS: inferences side by side; left out, one for each instance of the model."),
    ] = None
    inference_num_threads: Annotated[Count | None, Field(description="INFERENCE_NUM_THREADS; left out: every core.")] = None
    target_device: Annotated[
        str,
        Field(
            pattern=r"^[A-Z][A-Z0-9.]*(:[A-Z0-9.,()]+)?$",
            description="TARGET_DEVICE, from server 2.62 on: CPU, GPU, NPU, AUTO, ...; the stock container has the CPU only.",
        ),
    ] = "CPU"

    def batch_size(self, wanted: int) -> int:
        """0, the batch being a free axis: the backend fixes any other to max_batch_size rows. One row a request is that, too."""
        return wanted if self.batch_padding or wanted == 1 else 0

    def prepare(self) -> None:
        """The environment with the package openvino. Raises ToolError."""
        from generator import environment

        environment.ensure(environment.Environment(_PACKAGES))

    def convert(self, order: Order) -> dict[str, str]:
        """The IR, named and typed as the graph. Raises SurgeryError for an operator that OpenVINO lacks."""
        from generator.converter import Converter
        from generator.environment import Environment
        from generator.errors import CheckpointError, SurgeryError

        said = json.dumps({"precise": self.inference_precision == "f32"})
        script = Converter(str(Environment(_PACKAGES).python), _SCRIPT, said)
        sides = {"inputs": [t.name for t in order.inputs], "outputs": [t.name for t in order.outputs]}
        try:
            facts: dict[str, str] = script.ask("convert", graph=str(order.graph), folder=str(order.made), **sides)
        except CheckpointError as error:
            raise SurgeryError(f"target openvino: {error.message}", error.remedy) from None
        return facts

    def artefact(self, order: Order, version_folder: Path) -> None:
        """model.xml and model.bin."""
        for name in _MODEL:
            shutil.copyfile(order.made / name, version_folder / name)

    def configure(self, config: ModelConfig) -> None:
        """backend, file name and parameters, as src/openvino.cc reads them (ModelState::ParseParameters), in upper case."""
        config.backend = "openvino"
        config.default_model_filename = self.filename
        said = {
            "TARGET_DEVICE": self.target_device if self.target_device != "CPU" else None,
            "PERFORMANCE_HINT": self.performance_hint and self.performance_hint.upper(),
            "NUM_STREAMS": self._streams(sum(group.count for group in config.instance_group)),
            "INFERENCE_NUM_THREADS": self.inference_num_threads,
            "HINT_BF16": "YES" if self.inference_precision == "bf16" else None,
            "ENABLE_BATCH_PADDING": "YES" if config.max_batch_size > 1 else None,
        }
        for key, value in said.items():
            if value is not None:
                config.parameters[key].string_value = str(value)

    def _streams(self, instances: int) -> str | None:
        """All instances share one compiled model, which answers one request at a time unless it has more streams."""
        if self.num_streams is not None:
            return str(self.num_streams).upper()
        return str(instances) if instances > 1 and self.performance_hint is None else None
