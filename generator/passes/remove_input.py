"""remove_input: an input that always has one value, or that nothing reads."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from generator import editing
from generator.errors import SurgeryError
from generator.nearest import missing
from generator.passes import Arrays, Known, Pass, Run
from generator.tensors import from_onnx_dtype

if TYPE_CHECKING:
    import onnx_ir as ir


class RemoveInput(Pass):
    """An input becomes a constant of the value given, or goes where nothing reads it."""

    kind: Literal["remove_input"] = "remove_input"
    keeps_results: ClassVar[bool] = True
    values: Annotated[
        dict[str, Any],
        Field(min_length=1, description="`name: value`, a number or nested lists; `name:` alone for one that nothing reads."),
    ]

    def interface(self, known: Known) -> Known:
        """The others."""
        there = [t.name for t in known.inputs]
        for name in self.values:
            if name not in there:
                raise missing("input", name, there)
        return replace(known, inputs=tuple(t for t in known.inputs if t.name not in self.values))

    def edit(self, model: ir.Model) -> None:
        """A number fills the whole fixed shape; free dimensions become 1 and broadcast."""
        graph = model.graph
        for name, said in self.values.items():
            value = next((v for v in graph.inputs if v.name == name), None)
            if value is None:
                raise missing("input", name, [v.name or "" for v in graph.inputs])
            if said is None and value.uses():
                readers = ", ".join(sorted({node.name or node.op_type for node in editing.users(value)}))
                raise SurgeryError(f"remove_input: {name!r} is read by {readers}", "say the value that it is to have")
            graph.inputs.remove(value)
            if said is not None:
                value.name = editing.fresh(graph, f"{name}_before")
                value.replace_all_uses_with(editing.constant(graph, name, _filled(value, name, said)))

    def expected(self, before: Run, feeds: Arrays) -> Arrays:
        """The graph of before, given that value."""
        given = {name: before.examples[name] for name in self.values}
        for name, said in self.values.items():
            if said is not None:
                given[name] = np.broadcast_to(np.asarray(said, given[name].dtype), given[name].shape)
        return before({**feeds, **given})


def _filled(value: ir.Value, name: str, said: Any) -> NDArray[Any]:
    assert value.dtype is not None
    given = editing.cast(said, from_onnx_dtype(value.dtype.value))
    shape = [dim if isinstance(dim, int) else 1 for dim in editing.shape_of(value) or []]
    try:
        return np.broadcast_to(given, np.broadcast_shapes(tuple(shape), given.shape)).copy()
    except ValueError:
        raise SurgeryError(
            f"remove_input: {name!r} has shape {shape}, the value {list(given.shape)}", "give a value that fits"
        ) from None
