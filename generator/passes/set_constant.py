"""set_constant: other numbers in the same place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from generator import editing
from generator.errors import SurgeryError
from generator.fields import SpecFile
from generator.nearest import missing
from generator.passes import Pass

if TYPE_CHECKING:
    import onnx_ir as ir


class SetConstant(Pass):
    """A constant gets another value, of the same type and, unless `reshape` is said, the same shape."""

    kind: Literal["set_constant"] = "set_constant"
    name: Annotated[str, Field(description="The initialiser, or the output of a Constant node.")]
    value: Annotated[Any, Field(description="A number, which fills the whole shape, or nested lists.")] = None
    file: Annotated[SpecFile | None, Field(description="A .npy file instead.")] = None
    reshape: Annotated[bool, Field(description="May the shape change?")] = False

    @model_validator(mode="after")
    def _one_of_both(self) -> SetConstant:
        if (self.value is None) == (self.file is None):
            raise ValueError("say either value or file")
        return self

    def files(self) -> list[Path]:
        """The .npy file."""
        return [self.file] if self.file else []

    def edit(self, model: ir.Model) -> None:
        """Initialiser or Constant node, it stays what it is."""
        import onnx_ir as ir

        graph = model.graph
        value = editing.find(graph, self.name)
        old = editing.array(value)
        if old is None:
            constants = [n for n, v in editing.tensors(graph).items() if editing.array(v) is not None]
            error = missing("constant", self.name, constants)
            raise SurgeryError(f"set_constant: {self.name!r} is computed, or an input: {error.message}", error.remedy)
        new = self._fitting(old)
        if np.array_equal(new, old) and new.shape == old.shape:
            raise SurgeryError(f"set_constant: {self.name!r} has that value already", "remove the pass")
        tensor = ir.tensor(new, name=self.name)
        node = value.producer()
        if node is None:
            value.const_value = tensor
        else:
            node.attributes.clear()
            node.attributes["value"] = ir.AttrTensor("value", tensor)
        value.shape = ir.Shape(new.shape)

    def _fitting(self, old: NDArray[Any]) -> NDArray[Any]:
        given = self._given()
        with np.errstate(all="ignore"):
            new = given.astype(old.dtype)
        if old.dtype.kind in "iub" and not np.array_equal(new, given):
            raise SurgeryError(
                f"set_constant: {self.name!r} holds {old.dtype}, which cannot hold what is given", "give whole numbers in range"
            )
        if given.ndim == 0 and not self.reshape:
            return np.full(old.shape, new)
        if new.shape != old.shape and not self.reshape:
            raise SurgeryError(
                f"set_constant: {self.name!r} has shape {list(old.shape)}, the value {list(new.shape)}",
                "correct it, or say `reshape: true`",
            )
        return new

    def _given(self) -> NDArray[Any]:
        if self.file is None:
            return np.asarray(self.value)
        try:
            return np.asarray(np.load(self.file, allow_pickle=False))
        except (ValueError, EOFError, OSError) as error:
            raise SurgeryError(f"set_constant: {self.file}: not a .npy file: {error}", "write it with numpy.save") from None
