"""What kinds of checkpoint have in common that hold weights alone, and get their module from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from generator import torch_weights
from generator.fields import SpecFile
from generator.torch_frontend import TorchFrontend

if TYPE_CHECKING:
    import torch

    from generator.torch_weights import State


class WeightsFrontend(TorchFrontend):
    """Weights, and a module that they fit, every one of them."""

    sources: ClassVar[tuple[str, ...]] = ("../torch_weights.py", "../file_kind.py")

    weights: Annotated[SpecFile, Field(description="The file with the weights.")]
    prefix: Annotated[
        str | None,
        Field(description="What the weights' names begin with and the module's do not, such as `module.`; others are left out."),
    ] = None
    ignore: Annotated[
        tuple[str, ...],
        Field(description="Weights (patterns such as `aux.*`, after `prefix`) that the module does not take; each must fit one."),
    ] = ()

    def files(self) -> list[Path]:
        """The weights, and the user's own sources."""
        return [self.weights, *self.code()]

    def state(self) -> State:
        """Names, without `prefix`, and tensors. Raises CheckpointError."""
        raise NotImplementedError

    def built(self, state: State) -> torch.nn.Module:
        """The module, its weights not loaded yet; `state` tells which parts it has. Raises CheckpointError or ToolError."""
        raise NotImplementedError

    def module(self) -> torch.nn.Module:
        """The module with the weights, in eval mode."""
        state = torch_weights.left_out(self.weights, self.state(), self.ignore)
        module = self.built(state)
        torch_weights.fit(self.weights, module, state)
        return module.eval()
