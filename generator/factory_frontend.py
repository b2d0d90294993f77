"""What kinds of checkpoint have in common that hold weights alone: the callable that makes the module they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from generator.errors import CheckpointError
from generator.user_code import Reference, call, sources
from generator.weights_frontend import WeightsFrontend

if TYPE_CHECKING:
    import torch

    from generator.torch_weights import State


class FactoryFrontend(WeightsFrontend):
    """Weights, and a factory for the module that they fit, every one of them."""

    factory: Annotated[Reference, Field(description="`package.module:callable` or `file.py:callable`; it returns the module.")]
    arguments: Annotated[dict[str, Any], Field(default_factory=dict, description="Keyword arguments of the factory.")]

    def files(self) -> list[Path]:
        """The weights and the sources that the factory lies in."""
        return [*self.weight_files(), *sources([self.factory]), *self.code()]

    def weight_files(self) -> list[Path]:
        """Every file of weights."""
        return [self.weights]

    def built(self, state: State) -> torch.nn.Module:
        """What the factory returns."""
        import torch

        module = call(self.factory, arguments=self.arguments)
        if not isinstance(module, torch.nn.Module):
            raise CheckpointError(f"factory {self.factory} returned {type(module).__name__}", "it must return a torch.nn.Module")
        return module
