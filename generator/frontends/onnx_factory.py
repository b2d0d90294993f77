"""onnx_factory: a graph written by hand, such as a step before or after a model."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from generator import user_code
from generator.errors import CheckpointError, SurgeryError, TritonRepoError
from generator.fields import SpecFile
from generator.frontends import Arrays, Frontend, Interface
from generator.user_code import Reference

if TYPE_CHECKING:
    from onnx import ModelProto

#: The newest that onnxruntime 1.19 loads, which the 24.10 container carries.
_IR_VERSION = 10


class OnnxFactory(Frontend):
    """A callable that returns a graph made with onnx.helper, onnx_ir, onnx-graphsurgeon or onnxscript."""

    kind: Literal["onnx_factory"] = "onnx_factory"
    libraries: ClassVar[tuple[str, ...]] = ("onnx", "onnx-ir", "onnx-graphsurgeon", "onnxscript", "onnxruntime")
    sources: ClassVar[tuple[str, ...]] = ("../passes/set_opset.py",)

    factory: Annotated[
        Reference,
        Field(
            description="`file.py:callable` or `package.module:callable`: it returns an onnx.ModelProto, an onnx_ir.Model, an "
            "onnx_graphsurgeon.Graph or an onnxscript function, or is one."
        ),
    ]
    arguments: Annotated[dict[str, Any], Field(default_factory=dict, description="Keyword arguments of the factory.")]
    reference: Annotated[
        Reference | None,
        Field(
            description="The same in NumPy: `file.py:callable` that takes the inputs in order and returns the outputs; `verify` "
            "holds the graph against it, and without it against ONNX Runtime."
        ),
    ] = None
    also: Annotated[
        tuple[SpecFile, ...], Field(description="Other files of yours that the factory reads or imports: a change is noticed.")
    ] = ()

    def files(self) -> list[Path]:
        """The sources of the factory and of the reference, and the files that it is said to need."""
        return [*user_code.sources([self.factory, *([self.reference] if self.reference else [])]), *self.also]

    def interface(self) -> Interface | None:
        """Known once the factory has run."""
        return None

    def export(self, opset: int, path: Path) -> dict[str, str]:
        """Call the factory; check what it made, and bring it to operators and an IR version that servers read."""
        from generator import graph

        made, form = self._made()
        model = _typed(_lowered(made, opset, self.factory), self.factory)
        graph.save(model, path)
        try:
            graph.session(path, optimise=False)
        except SurgeryError as error:
            raise _invalid(self.factory, error.message.partition("does not load it: ")[2]) from None
        return {"exporter": f"none, {self.factory.rpartition('/')[2]} returned {form}"}

    def answer(self, feeds: Arrays) -> tuple[Arrays, str]:
        """The reference's, else ONNX Runtime's, not optimised; onnx's own evaluator's where the graph is too new for that."""
        model = self._made()[0]
        if self.reference is not None:
            names = [value.name for value in model.graph.output]
            return _named(self.reference, user_code.call(self.reference, *feeds.values()), names), "NumPy reference"
        return _run(model, feeds)

    def _made(self) -> tuple[ModelProto, str]:
        """The graph, and what it was returned as."""
        from onnxscript import OnnxFunction

        made = user_code.load(self.factory)
        if isinstance(made, OnnxFunction):
            if self.arguments:
                raise CheckpointError(
                    f"{self.factory} is an onnxscript function", "give no arguments, or return it from a factory"
                )
        else:
            made = user_code.call(self.factory, arguments=self.arguments)
        where = self.factory.rpartition(":")[0]
        model: ModelProto = user_code.guarded(where, lambda: _proto(self.factory, made), CheckpointError)
        model.ir_version = min(model.ir_version, _IR_VERSION)
        return model, f"{type(made).__module__.split('.')[0]} {type(made).__name__}"


def _run(model: ModelProto, feeds: Arrays) -> tuple[Arrays, str]:
    from onnx.reference import ReferenceEvaluator

    from generator import graph

    with tempfile.TemporaryDirectory(prefix="triton-repo-") as scratch:
        graph.save(model, path := Path(scratch) / "model.onnx")
        try:
            session = graph.session(path, optimise=False)
        except SurgeryError:
            names = [value.name for value in model.graph.output]
            answers = ReferenceEvaluator(model).run(None, feeds)
            return dict(zip(names, answers, strict=True)), "onnx's own evaluator"
        return graph.run(session, feeds), "onnxruntime, not optimised"


def _proto(factory: str, made: Any) -> ModelProto:
    import onnx
    import onnx_graphsurgeon as gs
    import onnx_ir as ir
    from onnxscript import OnnxFunction

    if isinstance(made, onnx.ModelProto):
        copied = onnx.ModelProto()
        copied.CopyFrom(made)
        return copied
    if isinstance(made, ir.Model):
        return ir.to_proto(made)
    if isinstance(made, gs.Graph):
        model: ModelProto = gs.export_onnx(made)
        return model
    if isinstance(made, OnnxFunction):
        scripted: ModelProto = made.to_model_proto()  # type: ignore[no-untyped-call]
        return scripted
    raise CheckpointError(
        f"{factory} returned {type(made).__name__}",
        "return an onnx.ModelProto (helper.make_model), an onnx_ir.Model, an onnx_graphsurgeon.Graph or an onnxscript function",
    )


def _lowered(model: ModelProto, opset: int, factory: str) -> ModelProto:
    """With operators of the spec's version at most: onnx.helper makes the newest where nothing is said, which no server reads."""
    from onnx import version_converter

    own = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)
    if own is None or own <= opset:
        return model
    try:
        return version_converter.convert_version(model, opset)
    except Exception as error:
        first = str(error).strip().splitlines()[0][:200]
        raise CheckpointError(
            f"{factory}: its graph is of opset {own}, the spec's is {opset}, and it cannot be converted: {first}",
            f"make it with opset_imports=[helper.make_opsetid('', {opset})], or say `opset:` in the spec (21 at most)",
        ) from None


def _typed(model: ModelProto, factory: str) -> ModelProto:
    """Valid, with the type and rank of every input and output known."""
    import onnx

    from generator import graph

    inferred = onnx.shape_inference.infer_shapes(model).graph
    if not inferred.output:
        raise CheckpointError(f"{factory}: its graph has no outputs", "name them in make_graph")
    for value in (*inferred.input, *inferred.output):
        kind = value.type.tensor_type
        if not value.type.HasField("tensor_type") or not kind.elem_type or not kind.HasField("shape"):
            raise CheckpointError(
                f"{factory}: type or shape of {value.name!r} is not known",
                "say them with helper.make_tensor_value_info; a free axis is a name",
            )
    try:
        return graph.checked(model, "factory")
    except TritonRepoError as error:
        raise _invalid(factory, error.message.partition("no longer valid: ")[2]) from None


def _invalid(factory: str, said: str) -> CheckpointError:
    return CheckpointError(f"{factory}: its graph is not valid: {said}", "correct the node that it names")


def _named(reference: str, answer: Any, names: list[str]) -> Arrays:
    import numpy as np

    if isinstance(answer, Mapping):
        found = {str(name): np.asarray(value) for name, value in answer.items()}
    else:
        values = list(answer) if isinstance(answer, tuple | list) else [answer]
        if len(values) != len(names):
            raise CheckpointError(
                f"{reference} returned {len(values)} arrays, the graph has {', '.join(names)}", "return one for each"
            )
        found = {name: np.asarray(value) for name, value in zip(names, values, strict=True)}
    if missing := [name for name in names if name not in found]:
        raise CheckpointError(f"{reference} returned no {', '.join(missing)}", "return an array for each output")
    return found
