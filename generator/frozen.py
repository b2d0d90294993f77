"""What an export would freeze, and the user's line that does it.

Axes that torch.export takes for constants, values that tracing takes for such. Both run the user's own Python, so the line is
read from the stack at the very moment.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from generator.places import Place, named, running

_LOGGER = "torch.fx.experimental.symbolic_shapes"
#: What that logger says of a symbol: its length and dimension when it is made, its number when it becomes one.
_CREATED = re.compile(r"create_symbol (\w+) = (\d+) for .*?\.size\(\)\[(\d+)\]")
_REPLACED = re.compile(r"set_replacement (\w+) = (\d+) ")
Tensor = torch.Tensor
#: Methods that make a Python value of a tensor; what follows from it is a constant of a trace.
_VALUES = frozenset({
    Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__complex__, Tensor.__index__, Tensor.__contains__,
    Tensor.__array__, Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.equal, Tensor.is_nonzero, Tensor.allclose,
    torch.equal, torch.is_nonzero, torch.allclose,
})  # fmt: skip
#: Nodes whose result is known from sizes and constants alone.
_SIZES = ("aten::size", "aten::numel", "aten::dim", "prim::GetAttr", "prim::Constant")


@dataclass(frozen=True)
class Fixed:
    """An axis that became a number, and where."""

    axis: str
    size: int
    place: Place | None

    def __str__(self) -> str:
        return f"axis {self.axis} is fixed at {self.size}{f' by {self.place}' if self.place else ''}"


class _Listener(logging.Handler):
    """Hears of each symbol. It is called from inside the user's forward, whose line is on the stack."""

    def __init__(self, axes: Mapping[str, tuple[int, Sequence[int]]]) -> None:
        super().__init__(logging.INFO)
        self.axes, self.symbols = axes, dict[str, str]()
        self.found: dict[str, Fixed] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """One message."""
        text = record.getMessage()
        if match := _CREATED.search(text):
            self.symbols[match.group(1)] = self._axis(int(match.group(2)), int(match.group(3)))
        elif (match := _REPLACED.search(text)) and (axis := self.symbols.get(match.group(1))):
            self.found.setdefault(axis, Fixed(axis, int(match.group(2)), running()))

    def _axis(self, length: int, dim: int) -> str:
        fits = [name for name, (size, dims) in self.axes.items() if size == length and dim in dims]
        return fits[0] if len(fits) == 1 else ""


def fixed_axes(
    module: torch.nn.Module, inputs: tuple[Tensor, ...], shapes: Any, axes: Mapping[str, tuple[int, Sequence[int]]]
) -> list[Fixed]:
    """Axes that torch.export takes for constants.

    `axes`: name -> its length in the example, and the dimensions of inputs where it stands. Lengths should differ.
    """
    listener = _Listener(axes)
    with _listening(listener), contextlib.suppress(Exception):
        torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
    return list(listener.found.values())


def user_of(operator: str, module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> Place | None:
    """Whose line calls an operator such as `aten.linalg_eig`, and in which module; None where torch.export cannot tell."""
    with contextlib.suppress(Exception):
        program = torch.export.export(module, inputs, strict=False)
        for graph in (program.graph, program.run_decompositions().graph):
            for node in graph.nodes:
                if str(node.target).startswith(operator):
                    return _of_node(node)
    return None


def _of_node(node: torch.fx.Node) -> Place | None:
    stack = list(node.meta.get("nn_module_stack", {}).values())
    place = named(node.meta.get("stack_trace") or "")
    if not stack or place is None:
        return place
    path, kind = stack[-1]
    name = kind.rpartition(".")[2] if isinstance(kind, str) else kind.__name__
    return dataclasses.replace(place, module=f"{name} {path}".strip())


@contextmanager
def _listening(listener: logging.Handler) -> Iterator[None]:
    logger = logging.getLogger(_LOGGER)
    before = logger.level, logger.propagate, logger.handlers[:]
    logger.handlers[:], logger.propagate = [listener], False
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.handlers[:] = before[2]
        logger.propagate = before[1]
        logger.setLevel(before[0])


class Watch(TorchFunctionMode):
    """While torch.jit traces: `frozen` are the places at which a value that depends on inputs became a Python one.

    Sizes are none of these (they are checked by running others), nor is what the forward of an `autograd.Function` does that has
    its own `symbolic`: in the graph that stands for it.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.frozen: dict[Place, None] = {}
        self._weights = [*module.parameters(), *module.buffers()]
        self._known: set[int] | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look, and let it pass."""
        if func in _VALUES and torch._C._is_tracing() and not _in_symbolic():
            given = [value for value in args if isinstance(value, Tensor)]
            if any(self._depends(value) for value in given) and (where := running()):
                self.frozen[where] = None
        return func(*args, **(kwargs or {}))

    def _depends(self, tensor: Tensor) -> bool:
        """Does its value, in the trace so far, follow from values of an input?"""
        if self._known is None:
            self._known = {_value(weight).unique() for weight in self._weights}
        seen, todo = set(self._known), [_value(tensor)]
        while todo:
            value = todo.pop()
            node, name = value.node(), value.unique()
            if name in seen or node.kind() in _SIZES:
                continue
            seen.add(name)
            if node.kind() == "prim::Param" and not str(value.type()).startswith("__torch__"):
                return True
            todo += list(node.inputs())
        return False


def _value(tensor: Tensor) -> Any:
    """What stands for it in the trace."""
    return torch._C._get_value_trace(tensor)  # type: ignore[attr-defined]  # torch's stub leaves it out


def _in_symbolic() -> bool:
    """Are we inside the forward of an `autograd.Function` that has a `symbolic`?"""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        names = frame.f_code.co_varnames[:1]
        function = getattr(type(frame.f_locals.get(names[0])), "_forward_cls", None) if names else None
        if function is not None and hasattr(function, "symbolic"):
            return True
        frame = frame.f_back
    return False
