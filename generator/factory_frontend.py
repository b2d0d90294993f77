"""What kinds of checkpoint have in common that hold weights alone: the callable that makes the module they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from generator import torch_weights
from generator.errors import CheckpointError
from generator.fields import SpecFile
from generator.torch_frontend import TorchFrontend
from generator.user_code import Reference, call, sources

if TYPE_CHECKING:
    import torch

    from generator.torch_weights import State


class FactoryFrontend(TorchFrontend):
    """Weights, and a factory for the module that they fit, every one of them."""

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
    factory: Annotated[Reference, Field(description="`package.module:callable` or `file.py:callable`; it returns the module.")]
    arguments: Annotated[dict[str, Any], Field(default_factory=dict, description="Keyword arguments of the factory.")]

    def files(self) -> list[Path]:
        """The weights and the sources that the factory lies in."""
        return [*self.weight_files(), *sources([self.factory]), *self.code()]

    def weight_files(self) -> list[Path]:
        """Every file of weights."""
        return [self.weights]

    def state(self) -> State:
        """Names, without `prefix`, and tensors. Raises CheckpointError or ToolError."""
        raise NotImplementedError

    def module(self) -> torch.nn.Module:
        """The factory's module with the weights, in eval mode."""
        import torch

        state = torch_weights.left_out(self.weights, self.state(), self.ignore)
        module = call(self.factory, arguments=self.arguments)
        if not isinstance(module, torch.nn.Module):
            raise CheckpointError(f"factory {self.factory} returned {type(module).__name__}", "it must return a torch.nn.Module")
        torch_weights.fit(self.weights, module, state)
        return module.eval()
