"""torch's ways to an ONNX file: its dynamo exporter, scripting, tracing. Each writes what it makes; nothing is judged here."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator.errors import ExportError
from generator.frontends import Arrays
from generator.inputs import Axis, Input
from generator.tensors import BATCH

if TYPE_CHECKING:
    import torch

    from generator.flatten import Flat
    from generator.places import Place


@dataclass(frozen=True)
class Work:
    """One export: the module, what it is called with, and what it answers at every size that is tried."""

    flat: Flat
    module: torch.nn.Module
    inputs: Mapping[str, Input]
    axes: Mapping[str, Axis]
    sizes: Sequence[Mapping[str, int]]
    feeds: Sequence[Arrays]
    answers: Sequence[Arrays]
    opset: int
    translations: Mapping[Any, Any]
    unordered: Sequence[Sequence[str]] = ()
    #: What tracing took for constants though it depends on values of inputs.
    frozen: dict[Place, None] = field(default_factory=dict)

    @property
    def outputs(self) -> list[str]:
        """Names, in order."""
        return list(self.answers[0])

    @property
    def example(self) -> tuple[torch.Tensor, ...]:
        """The inputs that the export is made with."""
        return self.flat.tensors(self.feeds[0])


Attempt = Callable[[Work, Path], str]


def dynamo(work: Work, path: Path) -> str:
    """`torch.onnx.export(dynamo=True)`; where it finds its ranges too wide, once more with those that it derives itself."""
    import torch

    if isinstance(work.flat.inner, torch.jit.ScriptModule):
        raise ExportError("the module is TorchScript, which it does not take")
    said = dims(work)
    try:
        _dynamo_with(work, path, said)
    except Exception as error:
        if not any(word in str(error) for word in ("onstraint", "pecializ", "Suggested fixes")):
            raise
        _dynamo_with(work, path, [dict.fromkeys(axes, torch.export.Dim.AUTO) for axes in said])
    return "dynamo"


def _dynamo_with(work: Work, path: Path, free: Sequence[Mapping[int, Any]]) -> None:
    import torch

    torch.onnx.export(
        work.module,
        work.example,
        str(path),
        input_names=list(work.inputs),
        output_names=work.outputs,
        opset_version=work.opset,
        dynamo=True,
        external_data=True,  # weights are written one by one; `settled` takes those of small models in again
        dynamic_shapes=shapes(work, free),
        custom_translation_table={key: value for key, value in work.translations.items() if not isinstance(key, str)},
    )


def shapes(work: Work, free: Sequence[Mapping[int, Any]]) -> Any:
    """As torch.export takes them for `work.module`."""
    from generator.flatten import before_variadic

    each, named = tuple(dict(axes) for axes in free), before_variadic(work.module)
    if named is None or len(each) <= named:
        return each
    return (*each[:named], each[named:])


def dims(work: Work) -> list[dict[int, Any]]:
    """For each input the axes that are free, as torch.export says them; one `Dim` a name."""
    names = list(work.sizes[0])
    known = {name: made for name in names if (made := _dim(name, work.axes.get(name, Axis()))) is not None}
    return [{index: known[dim] for index, dim in enumerate(one.shape) if dim in known} for one in work.inputs.values()]


def _dim(name: str, axis: Axis) -> Any:
    """None where its range leaves one length, which torch takes for a number."""
    import torch

    step = axis.multiple_of
    low, high = -(-axis.min // step), axis.max // step if axis.max else 1024 if name == BATCH else None
    if low == high:
        return None
    longest = {"max": high} if high else {}
    return torch.export.Dim(name, min=low, **longest) if step == 1 else step * torch.export.Dim(f"_{name}", min=low, **longest)


def script(work: Work, path: Path) -> str:
    """`torch.jit.script`, which keeps `if` and loops."""
    return _torchscript(work, path, *scripted(work))


def scripted(work: Work) -> tuple[torch.nn.Module, str]:
    """The module with everything scripted that decides by values, and how.

    Of a module that cannot be scripted as a whole, those are the parts that hold such; the rest is still to be traced.
    """
    import torch

    inner = work.flat.inner
    if isinstance(inner, torch.jit.ScriptModule):
        return inner, "script"
    try:
        return torch.jit.script(inner), "script"
    except Exception:
        if not (parts := _holders(work)):
            raise
        whole = copy.deepcopy(inner)
        for name in parts:
            whole.set_submodule(name, torch.jit.script(whole.get_submodule(name)))
        return whole, f"script of {', '.join(parts)}, the rest traced"


def _holders(work: Work) -> list[str]:
    """Submodules whose own forward decides by values: names in the module."""
    watched = _watched(work)
    classes = {place.module for place in watched}
    names = [name for name, part in work.flat.inner.named_modules() if name and type(part).__name__ in classes]
    return names if all(place.module for place in watched) and type(work.flat.inner).__name__ not in classes else []


def _watched(work: Work) -> dict[Place, None]:
    import torch

    from generator.frozen import Watch

    with Watch(work.flat) as watch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(work.flat, work.example, check_trace=False)  # type: ignore[no-untyped-call]
    frozen: dict[Place, None] = watch.frozen
    return frozen


def trace(work: Work, path: Path) -> str:
    """`torch.jit.trace`: what depends on values is frozen as it was for the example; `work.frozen` says where."""
    from generator.frozen import Watch

    with Watch(work.module) as watch:
        _export(work, path, work.module)
    work.frozen.update(watch.frozen)
    return "trace"


def _torchscript(work: Work, path: Path, module: torch.nn.Module, how: str) -> str:
    """Around scripted code a trace gives the outputs their order; the code in it stays as it is."""
    import torch

    from generator.flatten import Flat
    from generator.frozen import Watch

    flat = Flat(module, list(work.inputs), work.flat.wanted)
    with Watch(flat) as watch:
        whole = torch.jit.trace(flat, work.example, check_trace=False)  # type: ignore[no-untyped-call]
    work.frozen.update(watch.frozen)
    _export(work, path, whole)
    return how


def _export(work: Work, path: Path, module: torch.nn.Module) -> None:
    import torch

    axes = {name: {i: dim for i, dim in enumerate(one.shape) if isinstance(dim, str)} for name, one in work.inputs.items()}
    axes |= {
        name: {i: f"{name}_{i}" for i in range(work.answers[0][name].ndim) if varies(work, name, i)} for name in work.outputs
    }
    with _translated(work):
        torch.onnx.export(
            module,
            work.example,
            str(path),
            input_names=list(work.inputs),
            output_names=work.outputs,
            opset_version=work.opset,
            dynamo=False,
            dynamic_axes={name: free for name, free in axes.items() if free},
        )


@contextmanager
def _translated(work: Work) -> Iterator[None]:
    """With the user's symbolic functions, which torch keeps for the whole process."""
    from torch.onnx.utils import register_custom_op_symbolic, unregister_custom_op_symbolic

    known = {name: symbolic for name, symbolic in work.translations.items() if isinstance(name, str)}
    for name, symbolic in known.items():
        register_custom_op_symbolic(name, symbolic, work.opset)
    try:
        yield
    finally:
        for name in known:
            unregister_custom_op_symbolic(name, work.opset)


def varies(work: Work, output: str, index: int) -> bool:
    """Is that axis of an output of different lengths in the samples?"""
    return len({answer[output].shape[index] for answer in work.answers}) > 1


def quietly(attempt: Attempt, work: Work, path: Path) -> str:
    """Nothing of what torch prints and logs meanwhile reaches the user; what it raises does."""
    loggers = [logging.getLogger(name) for name in ("torch", "torch.onnx", "onnxscript")]
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(redirect_stdout(io.StringIO()))
        stack.enter_context(redirect_stderr(io.StringIO()))
        warnings.simplefilter("ignore")
        for logger in loggers:
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
        return attempt(work, path)


#: How each is called in YAML, in the order in which they are tried.
ATTEMPTS: dict[str, Attempt] = {"dynamo": dynamo, "script": script, "trace": trace}
