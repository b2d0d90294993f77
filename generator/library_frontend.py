"""What kinds of checkpoint have in common whose module a library makes from a name: their weights, and words for mistakes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, field_validator

from generator import file_kind, nearest, torch_weights
from generator.errors import CheckpointError
from generator.extras import library
from generator.fields import SpecFile
from generator.inputs import Input
from generator.torch_frontend import TorchFrontend

if TYPE_CHECKING:
    import torch

    from generator.torch_weights import State


class LibraryFrontend(TorchFrontend):
    """A model by its name in a library, and its weights: a state dict, loaded strictly and with weights_only, or safetensors."""

    sources: ClassVar[tuple[str, ...]] = ("../library_frontend.py", "../torch_weights.py", "../file_kind.py")
    #: Arguments that would fetch or load weights from elsewhere.
    loading: ClassVar[tuple[str, ...]] = ()

    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", description="Its name in the library.")]
    weights: Annotated[SpecFile, Field(description="The .pth, .pt or .safetensors file.")]
    key: Annotated[
        str | None,
        Field(description="Where the state dict lies inside the file, such as `state_dict_ema`; needed where there are several."),
    ] = None
    prefix: Annotated[
        str | None, Field(description="What the weights' names begin with and the model's do not, such as `module.`.")
    ] = None
    ignore: Annotated[
        tuple[str, ...],
        Field(description="Weights (patterns such as `aux.*`, after `prefix`) that the model does not take; each must fit one."),
    ] = ()
    arguments: Annotated[
        dict[str, Any], Field(default_factory=dict, description="Arguments of the library's builder, such as `num_classes`.")
    ]

    @field_validator("arguments")
    @classmethod
    def _loads_nothing(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in cls.loading:
            if name in value:
                raise ValueError(f"{name}: weights come from `weights:` alone; remove it")
        return value

    def files(self) -> list[Path]:
        """The weights."""
        return [self.weights, *self.code()]

    def built(self, state: State) -> torch.nn.Module:
        """The library's module, its weights not loaded yet; `state` tells which parts it has to have. Raises CheckpointError."""
        raise NotImplementedError

    def module(self) -> torch.nn.Module:
        """The library's module with the weights, in eval mode."""
        import torch

        state = torch_weights.left_out(self.weights, self._state(), self.ignore)
        with torch.random.fork_rng():
            module = self.built(state)
        torch_weights.fit(self.weights, module, state)
        return module.eval()

    def _state(self) -> State:
        if self.weights.suffix == ".safetensors":
            return torch_weights.choose(self.weights, self._tensors(), self.key, self.prefix)
        return torch_weights.choose(self.weights, torch_weights.load(self.weights), self.key, self.prefix)

    def _tensors(self) -> Mapping[str, torch.Tensor]:
        reader = library("safetensors", "safetensors.torch", str(self.kind))
        try:
            found: Mapping[str, torch.Tensor] = reader.load_file(self.weights)
        except Exception as error:  # its own error class, and what the system says
            raise file_kind.unreadable(self.weights, "a safetensors file", error) from None
        return found

    def unknown(self, names: Iterable[str]) -> CheckpointError:
        """For a name that the library does not have."""
        said = nearest.missing(f"{self.kind} model", self.model, names)
        return CheckpointError(said.message, said.remedy)

    def refused(self, error: Exception) -> CheckpointError:
        """For a builder that raised."""
        first = (str(error).strip().splitlines() or [""])[0][:300]
        return CheckpointError(
            f"{self.kind} model {self.model}: its builder raised {type(error).__name__}: {first}", "correct checkpoint.arguments"
        )

    def picture(self, *shape: int | str) -> dict[str, Input]:
        """One FP32 input, `image`, normalised as in training: values around 0."""
        return {"image": Input(shape=("batch", *shape), range=(-2.0, 2.0))}
