"""state_dict: a PyTorch state dict, and the callable that makes the module it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from generator import torch_weights
from generator.factory_frontend import FactoryFrontend

if TYPE_CHECKING:
    from generator.torch_weights import State


class StateDict(FactoryFrontend):
    """A PyTorch state dict (`torch.save(model.state_dict(), path)`) plus a factory; loaded with weights_only, strictly."""

    kind: Literal["state_dict"] = "state_dict"
    key: Annotated[
        str | None,
        Field(
            description="Where the state dict lies inside the file, such as `state_dict_ema` or `ema.module`; "
            "left out where there is only one."
        ),
    ] = None
    trust_checkpoint: Annotated[
        bool,
        Field(description="Load a file that runs code (it holds more than tensors and plain values); only from who you trust."),
    ] = False

    def state(self) -> State:
        """From the file, as `key` and `prefix` say."""
        return torch_weights.choose(self.weights, _load(self), self.key, self.prefix)


def _load(frontend: StateDict) -> object:
    try:
        return torch_weights.load(frontend.weights, frontend.trust_checkpoint)
    except (ImportError, AttributeError) as error:
        raise torch_weights.class_missing(frontend.weights, error) from None
