"""Postprocessing. One file a task: what the served answer holds, made on the server from the model's outputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from numpy.typing import NDArray
from pydantic import Field

from generator.errors import SpecError
from generator.fields import SpecFile
from generator.plugin import Plugin
from generator.tensors import Tensor

if TYPE_CHECKING:
    import numpy as np


def label_names(path: Path) -> list[str]:
    """The lines of a labels file, in class order. Raises SpecError for one that is not UTF-8, or has a blank line."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines()]
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: not UTF-8 text: {error.reason}", "save the labels as UTF-8") from None
    if "" in lines:
        where = f"{path}:{lines.index('') + 1}"
        raise SpecError(f"{where}: a blank line; every line is a class", "name the class, or remove the line")
    return lines


class Postprocess(Plugin):
    """The last step of the ensemble. The work on the server is done by `templates/models/<template>/model.py`."""

    template: ClassVar[str]

    labels: Annotated[
        SpecFile | None, Field(description="Text file, one class name a line; left out: `names`, or those of the checkpoint.")
    ] = None
    names: Annotated[tuple[str, ...], Field(description="Class names in order, instead of a file.")] = ()

    @property
    def named(self) -> bool:
        """Are the classes named?"""
        return bool(self.labels or self.names)

    @property
    def names_from(self) -> str:
        """Where the names come from, for messages."""
        return str(self.labels) if self.labels else "the list of class names"

    def label_names(self) -> list[str]:
        """Class names in order; empty without any. Raises SpecError for a file that cannot be read."""
        return label_names(self.labels) if self.labels else list(self.names)

    def inputs(self, model_outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The tensors it takes (`geometry` among them where it needs that). Raises SpecError where it does not fit the model."""
        raise NotImplementedError

    def outputs(self, model_outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The tensors of the served answer."""
        raise NotImplementedError

    def parameters(self) -> dict[str, str]:
        """`parameters` of config.pbtxt that the server-side model.py reads."""
        raise NotImplementedError

    def reference(self, outputs: dict[str, NDArray[np.generic]], geometry: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
        """The answer in plain NumPy: a batch of the model's outputs and geometry [batch, 6] in, a batch of `outputs` out."""
        raise NotImplementedError
