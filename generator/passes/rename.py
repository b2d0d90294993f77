"""rename: other names for inputs, outputs and inner tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from generator import editing
from generator.errors import SurgeryError
from generator.passes import Arrays, Known, Pass, Run
from generator.tensors import Tensor

if TYPE_CHECKING:
    import onnx_ir as ir


class Rename(Pass):
    """Inputs, outputs and inner tensors get other names; two may change places."""

    kind: Literal["rename"] = "rename"
    keeps_results: ClassVar[bool] = True
    names: Annotated[dict[str, str], Field(min_length=1, description="`old: new`, for as many tensors as there are.")]

    @field_validator("names")
    @classmethod
    def _no_name_twice(cls, names: dict[str, str]) -> dict[str, str]:
        twice = [new for new in names.values() if list(names.values()).count(new) > 1]
        if twice or "" in names.values():
            raise ValueError(f"two tensors cannot both be called {twice[0]!r}" if twice else "a tensor needs a name")
        return names

    def interface(self, known: Known) -> Known:
        """The new names; an inner tensor is looked for when the graph is there."""
        inputs, outputs = (tuple(self._named(t) for t in tensors) for tensors in (known.inputs, known.outputs))
        everything = [t.name for t in (*inputs, *outputs)]
        for name in everything:
            if everything.count(name) > 1:
                raise SurgeryError(f"two inputs or outputs would be called {name!r}", "choose another name")
        return Known(inputs, outputs, lambda: {self.names.get(n, n): self._named(t) for n, t in known.tensors().items()})

    def _named(self, tensor: Tensor) -> Tensor:
        return replace(tensor, name=self.names.get(tensor.name, tensor.name))

    def edit(self, model: ir.Model) -> None:
        """All at once, so that names can be exchanged."""
        there = editing.tensors(model.graph)
        chosen = {new: editing.find(model.graph, old) for old, new in self.names.items()}
        for new in chosen:
            if new in there and new not in self.names:
                raise SurgeryError(f"rename: there is a tensor {new!r} already", "choose another name, or rename that one too")
        for index, value in enumerate(chosen.values()):
            value.name = editing.fresh(model.graph, f"__renamed_{index}")
        for new, value in chosen.items():
            value.name = new

    def expected(self, before: Run, feeds: Arrays) -> Arrays:
        """The same answers under the new names."""
        former = {new: old for old, new in self.names.items()}
        return {self.names.get(n, n): v for n, v in before({former.get(n, n): v for n, v in feeds.items()}).items()}
