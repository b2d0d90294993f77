"""torch_export: a program saved with torch.export.save."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from generator import export_archive
from generator.errors import CheckpointError
from generator.export_archive import Dim, Value
from generator.fields import SpecFile
from generator.file_kind import unreadable
from generator.frontends import Interface
from generator.inputs import Axis, Input
from generator.tensors import BATCH, Tensor
from generator.torch_frontend import TorchFrontend

if TYPE_CHECKING:
    import torch


class TorchExport(TorchFrontend):
    """A torch.export archive (.pt2); inputs, outputs and the ranges of free axes are read from it.

    Loading needs trust: torch.export.load (2.13) unpickles sample inputs and constants with weights_only=False where they ask for
    it, evaluates the text of sizes with sympy, and looks up operators by any name below `torch`. Its JSON is read without.
    """

    kind: Literal["torch_export"] = "torch_export"
    sources: ClassVar[tuple[str, ...]] = ("../export_archive.py", "../torch_weights.py")
    file: Annotated[SpecFile, Field(description="The .pt2 file.")]
    trust_checkpoint: Annotated[bool, Field(description="Load it, which can run code from it; only from who you trust.")] = False

    def files(self) -> list[Path]:
        """The archive."""
        return [self.file, *self.code()]

    def taken(self) -> Mapping[str, Input]:
        """Those of the spec, else the archive's: its first free axis in front is `batch`."""
        if self.inputs:
            return self.inputs
        batch = self._batch()
        return {
            value.name: Input.model_validate({"dtype": value.dtype, "shape": [_said(dim, batch) for dim in value.dims]})
            for value in self._archive().inputs
        }

    def ranges(self) -> Mapping[str, Axis]:
        """Those of the archive, and what the spec says of them."""
        found = {} if self.inputs else {name: _axis(dim) for name, dim in self._free().items()}
        return {**found, **self.axes}

    def interface(self) -> Interface | None:
        """Read from the archive; of the spec where it says inputs and outputs."""
        archive = self._archive()
        if self.inputs or self.outputs:
            return super().interface()
        return Interface(tuple(map(_tensor, archive.inputs)), tuple(map(_tensor, archive.outputs)))

    def module(self) -> torch.nn.Module:
        """The program as a module; it is in the mode that it was exported in."""
        import torch

        if not self.trust_checkpoint:
            raise CheckpointError(
                f"{self.file}: loading it runs code from the file", "if you trust whoever made it, say `trust_checkpoint: true`"
            )
        try:
            return _by_position(torch.export.load(self.file).module(), self._archive().keywords)
        except Exception as error:
            made = f" (written by torch {self._archive().version}, here is {torch.__version__})"
            raise unreadable(self.file, "a torch.export archive that this torch reads" + made, error) from None

    def _archive(self) -> export_archive.Archive:
        return export_archive.read(self.file)

    def _batch(self) -> str:
        """The symbol of the first axis."""
        return next((value.dims[0].symbol for value in self._archive().inputs if value.dims and value.dims[0].symbol), "")

    def _free(self) -> dict[str, Dim]:
        batch = self._batch()
        dims = [dim for value in self._archive().inputs for dim in value.dims if dim.size < 0]
        return {str(_said(dim, batch)): dim for dim in dims}


def _by_position(program: torch.nn.Module, keywords: tuple[str, ...]) -> torch.nn.Module:
    """The last inputs of a program may go by keyword only; here all go by position."""
    import torch

    class ByPosition(torch.nn.Module):
        """The program around which it is."""

        def __init__(self) -> None:
            super().__init__()
            self.program = program

        def forward(self, *tensors: torch.Tensor) -> object:
            """Tensors in the order of the archive."""
            count = len(tensors) - len(keywords)
            return self.program(*tensors[:count], **dict(zip(keywords, tensors[count:], strict=True)))

    return ByPosition() if keywords else program


def _said(dim: Dim, batch: str) -> int | str:
    if dim.size >= 0:
        return dim.size
    return BATCH if dim.symbol == batch and dim.step == 1 else f"{dim.symbol}_x{dim.step}" if dim.step > 1 else dim.symbol


def _axis(dim: Dim) -> Axis:
    return Axis(min=dim.lowest, max=dim.highest, multiple_of=dim.step)


def _tensor(value: Value) -> Tensor:
    dims = tuple(dim.size for dim in value.dims)
    batched = bool(dims) and dims[0] < 0
    return Tensor(value.name, value.dtype, dims[1:] if batched else dims, batched)
