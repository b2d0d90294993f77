"""A module with named tensors in and out: however it is called, and however its results are nested."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from generator.errors import ExportError
from generator.tensors import DTYPES, numpy_dtype

Arrays = dict[str, NDArray[Any]]
#: NumPy's names of the types that Triton has.
_CARRIED = {numpy_dtype(dtype) for dtype in DTYPES}


class Flat(torch.nn.Module):
    """Takes tensors in the order of `inputs`, gives a tuple of tensors in the order of `outputs`.

    Inputs go by position; by keyword where `forward` has parameters of all these names, in another order or for keywords only.
    Results that are nested (tuples, lists, dictionaries, dataclasses) become one tensor a leaf, named by the way there; None is
    left out.
    """

    def __init__(self, module: torch.nn.Module, inputs: Sequence[str], outputs: Sequence[str] = ()) -> None:
        super().__init__()
        self.inner = module
        self.inputs = list(inputs)
        self.wanted = list(outputs)
        self._keywords = set(inputs) <= _parameters(module) and not _in_order(module, inputs)

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Every output, or those that the spec names."""
        return tuple(self._named(self._called(tensors)).values())

    def named(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, torch.Tensor]:
        """Its outputs by name. Raises ExportError where it does not take these inputs or gives other outputs than are named."""
        tensors = self.tensors(feeds)
        try:
            with torch.no_grad():
                result = self._called(tensors)
        except Exception as error:
            from generator.export_reasons import reason

            shapes = ", ".join(f"{name} {values.dtype}{list(values.shape)}" for name, values in feeds.items())
            raise ExportError(f"the module rejects its input {shapes}: {reason(error)}", self._remedy()) from None
        return self._named(result)

    def _remedy(self) -> str:
        return "correct checkpoint.inputs" + ("; axes that are always equal get one name" if len(self.inputs) > 1 else "")

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        """The same as arrays. Raises ExportError for a type that does not travel through Triton."""
        return {name: _array(name, tensor) for name, tensor in self.named(feeds).items()}

    def tensors(self, feeds: Mapping[str, NDArray[Any]]) -> tuple[torch.Tensor, ...]:
        """Inputs in order."""
        return tuple(torch.from_numpy(np.array(feeds[name])) for name in self.inputs)

    def bare(self, feeds: Mapping[str, NDArray[Any]]) -> torch.nn.Module:
        """The module itself where nothing has to be put around it: its names in the graph stay as they are."""
        with torch.no_grad():
            result = self._called(self.tensors(feeds))
        plain = [result] if isinstance(result, torch.Tensor) else result
        flat = type(plain) in (list, tuple) and all(isinstance(leaf, torch.Tensor) for leaf in plain)
        return self.inner if flat and not self._keywords and len(self._named(result)) == len(plain) else self

    def _called(self, tensors: Sequence[torch.Tensor]) -> Any:
        return self.inner(**dict(zip(self.inputs, tensors, strict=True))) if self._keywords else self.inner(*tensors)

    def _named(self, result: Any) -> dict[str, torch.Tensor]:
        found: dict[str, Any] = {}
        for name, leaf in _leaves(result):
            found[name if name not in found else f"{name}_{len(found)}"] = leaf
        if set(self.wanted) <= set(found):
            found = {name: found[name] for name in self.wanted or found}
        elif len(self.wanted) == len(found) and not set(self.wanted) & set(found):
            found = dict(zip(self.wanted, found.values(), strict=True))
        else:
            raise self._other_names(found)
        for name, leaf in found.items():
            if not isinstance(leaf, torch.Tensor):
                raise ExportError(
                    f"the module returns {type(leaf).__name__} under {name}, which is no tensor",
                    "name the outputs that are wanted in checkpoint.outputs, or return tensors",
                )
        return found

    def _other_names(self, found: Mapping[str, Any]) -> ExportError:
        return ExportError(
            f"the module returns {len(found)} tensors ({', '.join(found)}), the spec names {len(self.wanted)}:"
            f" {', '.join(self.wanted)}",
            "correct checkpoint.outputs: name all in their order, or some by their own names",
        )


def _leaves(result: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(result, torch.Tensor):
        yield "output", result
        return
    yield from _walk(result, "")


def _walk(value: Any, way: str) -> Iterator[tuple[str, Any]]:
    children = _children(value)
    if value is None:
        return
    if children is None:
        yield way or "output", value
        return
    for key, inner in children:
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", str(key)).replace("..", "_")
        yield from _walk(inner, f"{way}_{name}" if way else name if not name.isdigit() else f"output_{name}")


def _children(value: Any) -> list[tuple[Any, Any]] | None:
    """What a result holds, by name; None for a leaf."""
    if isinstance(value, Mapping):
        return list(value.items())
    if hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, tuple | list):
        return list(enumerate(value))
    if dataclasses.is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    return None


def _array(name: str, tensor: torch.Tensor) -> NDArray[Any]:
    try:
        found: NDArray[Any] = tensor.detach().cpu().numpy()
    except TypeError:
        found = np.zeros(0, complex)
    if found.dtype.name not in _CARRIED:
        raise ExportError(
            f"the module returns {name} as {str(tensor.dtype).removeprefix('torch.')}, which does not travel through Triton",
            "convert it in the module, such as `.float()`, or leave it out of checkpoint.outputs",
        )
    return found


def _parameters(module: torch.nn.Module) -> set[str]:
    return set(_signature(module))


def _in_order(module: torch.nn.Module, names: Sequence[str]) -> bool:
    return list(_signature(module))[: len(names)] == list(names) and not set(names) & _by_keyword_only(module)


def before_variadic(module: torch.nn.Module) -> int | None:
    """How many parameters stand before `*tensors` in its forward; None where it takes none such."""
    if isinstance(module, torch.jit.ScriptModule):
        return None
    kinds = [each.kind for each in inspect.signature(module.forward).parameters.values()]
    return kinds.index(inspect.Parameter.VAR_POSITIONAL) if inspect.Parameter.VAR_POSITIONAL in kinds else None


def _by_keyword_only(module: torch.nn.Module) -> set[str]:
    try:
        known = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        return set()
    return {parameter.name for parameter in known if parameter.kind is parameter.KEYWORD_ONLY}


def _signature(module: torch.nn.Module) -> list[str]:
    if isinstance(module, torch.jit.ScriptModule):
        schema: Any = module.forward
        return [argument.name for argument in schema.schema.arguments[1:]]
    try:
        return list(inspect.signature(module.forward).parameters)
    except (TypeError, ValueError):
        return []
