"""state_dict: a PyTorch state dict, and the callable that makes the module it belongs to."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from generator.errors import CheckpointError
from generator.fields import Name, SpecFile
from generator.frontends import Frontend, Interface
from generator.tensors import Tensor

if TYPE_CHECKING:
    import torch

Shape = tuple[Literal["batch"] | int, ...]

#: How many keys an error message names of each kind.
_SHOWN = 5


class StateDict(Frontend):
    """A PyTorch state dict (`torch.save(model.state_dict(), path)`) plus a factory; loaded with weights_only, strictly."""

    kind: Literal["state_dict"] = "state_dict"
    weights: Annotated[SpecFile, Field(description="The .pt or .pth file.")]
    key: Annotated[str | None, Field(description="Where the state dict lies inside the file, such as `state_dict`.")] = None
    factory: Annotated[str, Field(description="`package.module:callable` or `file.py:callable`; it returns the module.")]
    arguments: Annotated[dict[str, Any], Field(default_factory=dict, description="Keyword arguments of the factory.")]
    inputs: Annotated[dict[Name, Shape], Field(min_length=1, description="FP32 inputs: `name: [batch, 3, 224, 224]`.")]
    outputs: Annotated[dict[Name, Shape], Field(min_length=1, description="Outputs in the order that the module returns them.")]

    @field_validator("factory")
    @classmethod
    def _factory_is_named(cls, value: str, info: ValidationInfo) -> str:
        where, _, name = value.rpartition(":")
        if not where or not name.replace(".", "_").isidentifier():
            raise ValueError(f"found {value!r}, expected `package.module:callable` or `file.py:callable`")
        base = (info.context or {}).get("base")
        if where.endswith(".py"):
            path = Path(where) if base is None else Path(base) / where
            if not path.is_file():
                raise ValueError(f"no such file: {path}")
            return f"{path.resolve()}:{name}"
        return value

    @field_validator("inputs", "outputs")
    @classmethod
    def _batch_comes_first(cls, value: dict[str, Shape]) -> dict[str, Shape]:
        for name, shape in value.items():
            if not shape or shape[0] != "batch" or any(not isinstance(d, int) or d < 1 for d in shape[1:]):
                raise ValueError(f"{name}: found {list(shape)}, expected [batch, ...] with numbers behind it")
        return value

    def files(self) -> list[Path]:
        """The weights and the source that the factory lies in."""
        return [self.weights, *_sources(self.factory.rpartition(":")[0])]

    def interface(self) -> Interface:
        """What the spec says; the export is held to it."""
        return Interface(_tensors(self.inputs), _tensors(self.outputs))

    def module(self) -> torch.nn.Module:
        """The factory's module with the weights, in eval mode."""
        import torch

        state = self._state()
        module = _call(self.factory, self.arguments)
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


def _call(factory: str, arguments: dict[str, Any]) -> Any:
    where, _, name = factory.rpartition(":")
    try:
        target: Any = _import(where)
        for part in name.split("."):
            target = getattr(target, part)
        return target(**arguments)
    except ModuleNotFoundError as error:
        raise CheckpointError(
            f"factory {factory}: {error}", f"install it: pip install {(error.name or '').split('.')[0]}"
        ) from None
    except Exception as error:
        raise CheckpointError(
            f"factory {factory}: {type(error).__name__}: {error}", "correct the factory or its arguments"
        ) from None


def _import(where: str) -> Any:
    if not where.endswith(".py"):
        return importlib.import_module(where)
    spec = importlib.util.spec_from_file_location(Path(where).stem, where)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import {where}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


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


def _tensors(shapes: dict[str, Shape]) -> tuple[Tensor, ...]:
    return tuple(Tensor(name, "FP32", tuple(int(d) for d in shape[1:])) for name, shape in shapes.items())


def _sources(where: str) -> list[Path]:
    """The factory's file, or every source of its top-level package (found without importing it)."""
    if where.endswith(".py"):
        return [Path(where)]
    spec = importlib.util.find_spec(where.split(".", maxsplit=1)[0])
    if spec is None or spec.origin is None:
        raise CheckpointError(
            f"factory {where}: no package of that name is installed", f"pip install {where.split('.', maxsplit=1)[0]}"
        )
    origin = Path(spec.origin)
    return sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
