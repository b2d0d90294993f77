"""What kinds of checkpoint have in common whose module a library makes from a name: their weights, and words for mistakes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, field_validator

from generator import nearest, torch_weights
from generator.errors import CheckpointError
from generator.inputs import Input
from generator.weights_frontend import WeightsFrontend

if TYPE_CHECKING:
    import torch

    from generator.torch_weights import State


class LibraryFrontend(WeightsFrontend):
    """A model by its name in a library, and its weights: a state dict, loaded strictly and with weights_only, or safetensors."""

    #: Arguments that would fetch or load weights from elsewhere.
    loading: ClassVar[tuple[str, ...]] = ()

    model: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", description="Its name in the library.")]
    key: Annotated[
        str | None,
        Field(description="Where the state dict lies inside the file, such as `state_dict_ema`; needed where there are several."),
    ] = None
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

    def state(self) -> State:
        """From a state dict, as `key` and `prefix` say, or from safetensors."""
        stored = self.weights.suffix == ".safetensors"
        loaded = torch_weights.load_safetensors(self.weights) if stored else torch_weights.load(self.weights)
        return torch_weights.choose(self.weights, loaded, self.key, self.prefix)

    def module(self) -> torch.nn.Module:
        """The library's module with the weights, in eval mode; what it draws at random first leaves no trace."""
        import torch

        with torch.random.fork_rng():
            return super().module()

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
