"""Graph surgery. One file a pass: it changes a model, says what becomes of inputs and outputs, and is proven after it ran."""

from __future__ import annotations

import dataclasses  # not its `replace`: a pass is called that
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

from numpy.typing import NDArray
from pydantic import Field

from generator.errors import SurgeryError
from generator.plugin import Model, Plugin
from generator.tensors import DTYPES, Tensor

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnx import ModelProto

Arrays = Mapping[str, NDArray[Any]]


class Run(Protocol):
    """The graph before the pass, ready to run: inputs by name -> outputs by name."""

    #: A value for each of its inputs, of the right type and shape.
    examples: Arrays

    def __call__(self, feeds: Arrays) -> Arrays:
        """Its answer; inputs that it does not have are passed over."""


#: A whole shape, the batch axis included: a number is fixed, a word is free; a first axis that is free is the batch.
Shape = tuple[Annotated[int, Field(ge=1)] | str, ...]


class TensorType(Model):
    """Data type and shape of a tensor, said by the user where they cannot be read."""

    dtype: Annotated[Literal[DTYPES], Field(description="As Triton calls it: FP32, INT64, UINT8, ...")]  # type: ignore[valid-type]
    shape: Annotated[Shape, Field(description="The whole shape; a word is a free dimension: `[batch, 3, 224, 224]`.")]

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name; a first axis that is free is the batch."""
        return shaped(Tensor(name, self.dtype, ()), self.shape)


def shaped(tensor: Tensor, shape: Shape) -> Tensor:
    """The tensor with another shape."""
    dims = tuple(dim if isinstance(dim, int) else -1 for dim in shape)
    batched = bool(dims) and dims[0] < 0
    return dataclasses.replace(tensor, shape=dims[1:] if batched else dims, batched=batched)


@dataclass(frozen=True)
class Known:
    """What is known before anything is built: inputs and outputs, and inner tensors where the checkpoint has a graph."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    #: Every tensor of the checkpoint's graph by name; nothing where it has no graph yet.
    tensors: Callable[[], Mapping[str, Tensor]] = dict

    def find(self, name: str) -> Tensor | None:
        """A tensor by name, if anything is known of it."""
        return next((t for t in (*self.inputs, *self.outputs) if t.name == name), None) or self.tensors().get(name)

    def said(self, name: str, said: TensorType | None) -> Tensor:
        """A tensor as the user says it is, else as it is known. Raises SurgeryError where neither is."""
        if said is not None:
            return said.tensor(name)
        if (found := self.find(name)) is not None:
            return found
        raise SurgeryError(
            f"the type and shape of {name!r} are not known before the graph is made",
            f"say them: `{name}: {{dtype: FP32, shape: [batch, ...]}}`, and see that the name is right",
        )


class Pass(Plugin):
    """A change of the graph. One that was asked for and finds nothing raises SurgeryError naming what it looked for."""

    #: Must the answers be those of before? Then they are compared, with ONNX Runtime, each time the pass runs.
    keeps_results: ClassVar[bool] = False
    #: What the message names where nothing was changed.
    looks_for: ClassVar[str] = "something to change"

    required: Annotated[bool, Field(description="`false`: finding nothing to do is no mistake.")] = True

    def files(self) -> list[Path]:
        """The user's files that decide what the pass does (their content enters the cache key)."""
        return []

    def compared(self) -> bool:
        """Are the answers held against those of before?"""
        return self.keeps_results

    def interface(self, known: Known) -> Known:
        """Inputs and outputs after the pass, without the graph. Raises SurgeryError for what cannot fit."""
        return known

    def run(self, model: ModelProto) -> ModelProto:
        """The changed model. It may leave shapes and the order of nodes to what comes after it."""
        from generator.editing import edited

        return edited(model, self.edit)

    def edit(self, model: ir.Model) -> None:
        """Change the model in place; a pass has this or `run`."""
        raise NotImplementedError

    def probes(self) -> tuple[str, ...]:
        """Inner tensors of the graph before that `expected` wants among its answers."""
        return ()

    def expected(self, before: Run, feeds: Arrays) -> Arrays:
        """What the changed graph must answer to `feeds`, made with the one of before; outputs left out are not compared."""
        return before(feeds)


def replaced(tensors: tuple[Tensor, ...], name: str, new: Tensor, who: str) -> tuple[Tensor, ...]:
    """The tensors with one exchanged. Raises SurgeryError where there is none of that name."""
    from generator.nearest import missing

    if name not in (names := [t.name for t in tensors]):
        raise missing(who, name, names)
    return tuple(new if t.name == name else t for t in tensors)
