"""python: the user's own pass."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from generator.errors import SurgeryError
from generator.passes import Known, Pass, TensorType

if TYPE_CHECKING:
    from onnx import ModelProto

_FORMS = {"onnx": "onnx.ModelProto", "graphsurgeon": "onnx_graphsurgeon.Graph", "ir": "onnx_ir.Model"}


class Python(Pass):
    """A function in the user's own file changes the graph: an ONNX ModelProto, an onnx-graphsurgeon Graph or an onnx_ir Model."""

    kind: Literal["python"] = "python"
    function: Annotated[
        str, Field(description="`file.py:function`, beside the YAML; called with the graph, then the arguments by name.")
    ]
    arguments: Annotated[dict[str, Any], Field(default_factory=dict, description="Keyword arguments.")]
    graph: Annotated[
        Literal["onnx", "graphsurgeon", "ir"],
        Field(description="What it takes and returns; it may change a graph in place and return nothing."),
    ] = "onnx"
    inputs: Annotated[dict[str, TensorType] | None, Field(description="The inputs after it, where it changes them.")] = None
    outputs: Annotated[dict[str, TensorType] | None, Field(description="The outputs after it, where it changes them.")] = None
    same_results: Annotated[bool, Field(description="Hold the answers against those of before.")] = False
    also: Annotated[
        tuple[str, ...], Field(description="Other .py files of yours that it imports, so that a change of them is noticed.")
    ] = ()

    @field_validator("function")
    @classmethod
    def _is_there(cls, value: str, info: ValidationInfo) -> str:
        where, _, name = value.rpartition(":")
        if not where.endswith(".py") or not name.isidentifier():
            raise ValueError(f"found {value!r}, expected `file.py:function`")
        return f"{_file(where, info)}:{name}"

    @field_validator("also")
    @classmethod
    def _are_there(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        return tuple(_file(name, info) for name in value)

    def files(self) -> list[Path]:
        """The user's file, and those that it is said to import."""
        return [Path(self.function.rpartition(":")[0]), *map(Path, self.also)]

    def compared(self) -> bool:
        """As the user says."""
        return self.same_results

    def interface(self, known: Known) -> Known:
        """As the user says; what is not said stays."""
        inputs, outputs = (
            None if said is None else tuple(kind.tensor(name) for name, kind in said.items())
            for said in (self.inputs, self.outputs)
        )
        return Known(inputs or known.inputs, outputs or known.outputs, known.tensors)

    def run(self, model: ModelProto) -> ModelProto:
        """Import, call, and see that a graph came back."""
        from generator import user_code

        given, back = _as(self.graph, model)
        returned = user_code.call(self.function, given, arguments=self.arguments, error=SurgeryError)
        if returned is not None and type(returned) is not type(given):
            raise SurgeryError(
                f"python: {self.function} returned {type(returned).__name__}", f"return an {_FORMS[self.graph]}, or nothing"
            )
        changed: ModelProto = back(given if returned is None else returned)
        return changed


def _file(name: str, info: ValidationInfo) -> str:
    base = (info.context or {}).get("base")
    path = Path(name) if base is None else Path(base) / name
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    return str(path.resolve())


def _as(form: str, model: ModelProto) -> tuple[Any, Any]:
    """The graph in the form that the function takes, and the way back; metadata of nodes survives each."""
    if form == "onnx":
        from generator import weight_files, weights

        outside = weights.some(model)
        return weights.loaded(model), lambda changed: weight_files.light(changed, 0) if outside else changed
    if form == "ir":
        import onnx_ir

        return onnx_ir.from_proto(model), onnx_ir.to_proto
    from generator.builder import Builder

    build = Builder(model, "python")
    return build.graph, build.take
