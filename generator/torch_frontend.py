"""What all kinds of checkpoint have in common that become a PyTorch module: how it is called, exported, and asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from generator import inputs as inputs_
from generator.errors import CheckpointError
from generator.fields import Name
from generator.frontends import Arrays, Frontend, Interface
from generator.inputs import Axis, Input, SaidAxis, SaidInput, SaidOutput
from generator.module_passes import ModulePass
from generator.plugin import Choice, Plugin
from generator.user_code import Reference, sources

if TYPE_CHECKING:
    import torch

    from generator.flatten import Flat


class TorchFrontend(Frontend):
    """A checkpoint that becomes a `torch.nn.Module`."""

    libraries: ClassVar[tuple[str, ...]] = ("torch", "onnx", "onnxscript")

    inputs: Annotated[
        dict[Name, SaidInput],
        Field(description="`name: [batch, 3, height, width]`, a name is a free axis; or `{dtype: INT64, shape: ...}`."),
    ] = Field(default_factory=dict)
    outputs: Annotated[
        tuple[Name, ...] | dict[Name, SaidOutput],
        Field(
            description="Names, in the order of the results or by their keys; shapes are held to; left out: read from the graph."
        ),
    ] = ()
    axes: Annotated[
        dict[str, SaidAxis],
        Field(description="Lengths of free axes: `height: [32, 512]`, or `{min, max, multiple_of, example}`."),
    ] = Field(default_factory=dict)
    exporter: Annotated[
        Literal["auto", "dynamo", "script", "trace"],
        Field(description="auto: torch's dynamo exporter, then scripting, then tracing, and it says which did it and why."),
    ] = "auto"
    translations: Annotated[
        Reference | None,
        Field(
            description="Returns `{operator: ONNX translation}` for operators that the exporter does not know (docs/export.md)."
        ),
    ] = None
    module_passes: Annotated[
        tuple[Annotated[ModulePass, Choice("generator.module_passes")], ...],
        Field(
            description="Changes of the module before it is exported, in this order; each is held to the module's own answers."
        ),
    ] = ()

    @field_validator("axes")
    @classmethod
    def _are_names(cls, value: dict[str, Axis], info: Any) -> dict[str, Axis]:
        known = inputs_.axis_names(info.data.get("inputs") or {})
        for name in value if known else ():
            if name not in known:
                raise ValueError(f"no input has an axis {name!r}; they have {', '.join(known)}")
        return value

    def module(self) -> torch.nn.Module:
        """The trained model in eval mode. Runs in a child process. Raises CheckpointError."""
        raise NotImplementedError

    def taken(self) -> Mapping[str, Input]:
        """The inputs: those of the spec, or what the checkpoint's own library says of them. Runs in a child process."""
        if not self.inputs:
            raise CheckpointError(
                f"checkpoint kind {self.kind} does not say what it takes", "add `inputs: {image: [batch, 3, 224, 224]}` to it"
            )
        return self.inputs

    def ranges(self) -> Mapping[str, Axis]:
        """Lengths of the free axes: those of the spec, or what the checkpoint's own library says."""
        return self.axes

    def operators(self) -> Mapping[Any, Any]:
        """ONNX translations of operators of the kind's own, beside the user's `translations`. Runs in a child process."""
        return {}

    def plugins(self) -> tuple[Plugin, ...]:
        """Its module passes."""
        return self.module_passes

    def code(self) -> list[Path]:
        """The user's own sources that decide the export; kinds add them to `files`."""
        return sources([self.translations] if self.translations else [])

    def interface(self) -> Interface | None:
        """What the spec says, if it says both inputs and the shapes of all outputs; the export is held to it."""
        if not self.inputs or not isinstance(self.outputs, dict) or not self.outputs:
            return None
        taken = tuple(one.tensor(name) for name, one in self.inputs.items())
        return Interface(taken, tuple(one.tensor(name) for name, one in self.outputs.items()))

    def export(self, opset: int, path: Path) -> dict[str, str]:
        """Through torch's exporters."""
        from generator.export import export

        return export(self, opset, path)

    def answer(self, feeds: Arrays) -> tuple[Arrays, str]:
        """The module's own, before any pass."""
        import torch

        return self.flat(self.module()).run(feeds), f"torch {torch.__version__}"

    def samples(self, interface: Interface) -> list[Arrays]:
        """As the spec or the library says: values in their ranges, lengths in theirs."""
        return inputs_.samples(self.taken(), self.ranges())

    def flat(self, module: torch.nn.Module) -> Flat:
        """The module with its inputs and outputs by name."""
        from generator.flatten import Flat

        return Flat(module, list(self.taken()), self.given())

    def given(self) -> list[str]:
        """Names of the outputs, as the spec or the library says them; none: by their place in the module's result."""
        return list(self.outputs)
