"""state_dict: a PyTorch state dict, and the callable that makes the module it belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from generator.errors import CheckpointError
from generator.fields import SpecFile
from generator.torch_frontend import TorchFrontend
from generator.user_code import Reference, call, sources

if TYPE_CHECKING:
    import torch

#: How many keys an error message names of each kind.
_SHOWN = 5


class StateDict(TorchFrontend):
    """A PyTorch state dict (`torch.save(model.state_dict(), path)`) plus a factory; loaded with weights_only, strictly."""

    kind: Literal["state_dict"] = "state_dict"
    weights: Annotated[SpecFile, Field(description="The .pt or .pth file.")]
    key: Annotated[str | None, Field(description="Where the state dict lies inside the file, such as `state_dict`.")] = None
    factory: Annotated[Reference, Field(description="`package.module:callable` or `file.py:callable`; it returns the module.")]
    arguments: Annotated[dict[str, Any], Field(default_factory=dict, description="Keyword arguments of the factory.")]

    def files(self) -> list[Path]:
        """The weights and the source that the factory lies in."""
        return [self.weights, *sources([self.factory]), *self.code()]

    def module(self) -> torch.nn.Module:
        """The factory's module with the weights, in eval mode."""
        import torch

        state = self._state()
        module = call(self.factory, arguments=self.arguments)
        if not isinstance(module, torch.nn.Module):
            raise CheckpointError(f"factory {self.factory} returned {type(module).__name__}", "it must return a torch.nn.Module")
        _fit(self.weights, module, state)
        return module.eval()

    def _state(self) -> Mapping[str, torch.Tensor]:
        import torch

        loaded = _load(self.weights)
        if self.key is not None:
            if not isinstance(loaded, Mapping) or self.key not in loaded:
                found = ", ".join(list(map(str, loaded))[:_SHOWN]) if isinstance(loaded, Mapping) else type(loaded).__name__
                raise CheckpointError(f"{self.weights}: no key {self.key!r}; found {found}", "correct checkpoint.key")
            loaded = loaded[self.key]
        if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(v, torch.Tensor) for v in loaded.values()):
            found = ", ".join(list(map(str, loaded))[:_SHOWN]) if isinstance(loaded, Mapping) else type(loaded).__name__
            raise CheckpointError(
                f"{self.weights}: not a state dict; found {found}", "name the state dict's key in checkpoint.key"
            )
        return loaded


def _load(path: Path) -> Any:
    import pickle
    import warnings

    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        if wanted is None:
            raise CheckpointError(f"{path}: not a PyTorch checkpoint", "is this the right file?") from None
        raise CheckpointError(
            f"{path}: loading it would run code from the file ({wanted.group(1)})",
            "save the weights alone where it was trained: torch.save(model.state_dict(), path)",
        ) from None
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path}: not a PyTorch checkpoint, or cut short: {first}", "fetch it again") from None


def _fit(path: Path, module: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    own = module.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = [key for key in state if key not in own]
    shapes = [
        f"{k} is {list(state[k].shape)}, expected {list(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    found = [
        f"{title} ({len(keys)}): {', '.join(keys[:_SHOWN])}{', ...' if len(keys) > _SHOWN else ''}"
        for title, keys in (("missing", missing), ("unexpected", unexpected), ("wrong shape", shapes))
        if keys
    ]
    if found:
        raise CheckpointError(
            f"{path}: does not fit the module: {'; '.join(found)}", "correct the factory's arguments or checkpoint.key"
        )
    module.load_state_dict(state)
