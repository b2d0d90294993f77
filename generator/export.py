"""A PyTorch module -> ONNX, its free axes by name. Runs in a child process: torch comes and goes with it.

torch's dynamo exporter is tried first, then `torch.jit.script`, then tracing; what each made is run at other sizes than the
example and held against the module, so that an axis or a branch that was frozen is found here and not by a request.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from generator.errors import ExportError
from generator.frontends import Arrays
from generator.inputs import Axis, Input, samples, sizes
from generator.rows import aligned
from generator.tensors import BATCH

if TYPE_CHECKING:
    import torch

    from generator.flatten import Flat
    from generator.torch_frontend import TorchFrontend

#: What an exporter says of control flow that depends on values: tracing would freeze one branch.
_DATA_DEPENDENT = re.compile(r"data-dependent|GuardOnDataDependent|[Dd]ynamic control flow|DYNAMIC_CONTROL_FLOW")
#: How far a graph may be from its module and still be the same one: this finds frozen axes and branches, the ladder measures.
_SAME = 1e-2


@dataclass(frozen=True)
class Work:
    """One export: the module, what it is called with, and what it answers at every size that is tried."""

    flat: Flat
    module: torch.nn.Module
    inputs: Mapping[str, Input]
    axes: Mapping[str, Axis]
    feeds: Sequence[Arrays]
    answers: Sequence[Arrays]
    opset: int
    unordered: Sequence[Sequence[str]]
    translations: Mapping[Any, Any]

    @property
    def outputs(self) -> list[str]:
        """Names, in order."""
        return list(self.answers[0])


def export(frontend: TorchFrontend, opset: int, path: Path) -> dict[str, str]:
    """Write the ONNX; which exporter made it, and why not the first.

    Raises ExportError naming operator and line where all refuse, where the module does not take or give what the spec says, and
    where an axis is not as free as the spec says.
    """
    module = frontend.module()
    facts: dict[str, str] = {}
    work = _work(frontend, module, opset)
    _as_said(frontend, work)
    if frontend.module_passes:
        from generator.module_surgery import apply

        module, facts = apply(frontend.module_passes, module, frontend.flat, work.feeds[0])
        work = _work(frontend, module, opset)
    reasons: list[str] = []
    for name, attempt in _attempts(frontend.exporter, module):
        if name == "trace" and frontend.exporter == "auto" and _DATA_DEPENDENT.search(" ".join(reasons)):
            reasons.append("trace: left out, it would freeze one branch of what depends on values")
            continue
        try:
            _quietly(attempt, work, path)
            _finished(work, path)
            _proven(work, path)
        except Exception as error:
            reasons.append(f"{name}: {reason(error)}")
        else:
            return {"exporter": name + (f" (refused before: {'; '.join(reasons)})" if reasons else ""), **facts}
    raise ExportError(
        f"torch cannot export this module; {'; '.join(reasons)}",
        "rewrite that operation, translate it (`translations:`), or export to ONNX yourself; docs/export.md",
    )


def _work(frontend: TorchFrontend, module: torch.nn.Module, opset: int) -> Work:
    from generator import user_code

    flat, taken = frontend.flat(module), frontend.taken()
    feeds = samples(taken, frontend.ranges())
    answers = [flat.run(feeds[0])]
    answers += [_other(flat, one, size) for one, size in zip(feeds[1:], sizes(taken, frontend.ranges())[1:], strict=False)]
    table = user_code.call(frontend.translations) if frontend.translations else {}
    table = {**frontend.operators(), **table}
    module = flat.bare(feeds[0])
    return Work(flat, module, taken, frontend.ranges(), feeds, answers, opset, frontend.unordered(), table)


def _other(flat: Flat, feeds: Arrays, size: Mapping[str, int]) -> Arrays:
    try:
        return flat.run(feeds)
    except ExportError as error:
        said = ", ".join(f"{name} {length}" for name, length in size.items())
        raise ExportError(
            f"the module takes its example, but not {said}: {error.message}",
            "say what it takes under checkpoint.axes (`height: {min: 64, max: 512, multiple_of: 32}`), or write a number there",
        ) from None


def _as_said(frontend: TorchFrontend, work: Work) -> None:
    """Shapes that the spec says of outputs."""
    said = frontend.outputs if isinstance(frontend.outputs, dict) else {}
    for feeds, answer, size in zip(work.feeds, work.answers, sizes(work.inputs, work.axes), strict=False):
        found = {name: list(answer[name].shape) for name in said}
        fits = all(_fits(one.shape, found[name], size) for name, one in said.items())
        if not fits:
            given = ", ".join(f"{name} {list(values.shape)}" for name, values in feeds.items())
            told = ", ".join(f"{name} {list(one.shape)}" for name, one in said.items())
            raise ExportError(
                f"for {given} the module returns {', '.join(f'{n} {s}' for n, s in found.items())}, the spec says {told}",
                "correct checkpoint.outputs",
            )


def _fits(said: Sequence[int | str], found: Sequence[int], size: Mapping[str, int]) -> bool:
    """A name that an input has, too, is as long as there."""
    wanted = [size.get(dim, length) if isinstance(dim, str) else dim for dim, length in zip(said, found, strict=False)]
    return len(said) == len(found) and wanted == list(found)


def _attempts(exporter: str, module: torch.nn.Module) -> list[tuple[str, Callable[[Work, Path], None]]]:
    import torch

    known: list[tuple[str, Callable[[Work, Path], None]]] = [("dynamo", _dynamo), ("script", _script), ("trace", _trace)]
    if exporter == "auto" and isinstance(module, torch.jit.ScriptModule):
        return known[1:2]  # it is scripted already: dynamo does not take it, and there is nothing to trace
    return known if exporter == "auto" else [each for each in known if each[0] == exporter]


def _dynamo(work: Work, path: Path) -> None:
    import torch

    if isinstance(work.flat.inner, torch.jit.ScriptModule):
        raise ExportError("the module is TorchScript, which it does not take")
    try:
        _dynamo_with(work, path, _dims(work))
    except Exception as error:
        if not re.search(r"[Cc]onstraint|[Ss]pecializ|Suggested fixes", str(error)):
            raise
        _dynamo_with(work, path, [dict.fromkeys(axes, torch.export.Dim.AUTO) for axes in _dims(work)])


def _dynamo_with(work: Work, path: Path, dims: Sequence[Mapping[int, Any]]) -> None:
    import torch

    shapes = tuple(dict(axes) for axes in dims)
    torch.onnx.export(
        work.module,
        work.flat.tensors(work.feeds[0]),
        str(path),
        input_names=list(work.inputs),
        output_names=work.outputs,
        opset_version=work.opset,
        dynamo=True,
        external_data=False,
        dynamic_shapes=(shapes,) if work.module is work.flat else shapes,
        custom_translation_table={key: value for key, value in work.translations.items() if not isinstance(key, str)},
    )


def _dims(work: Work) -> list[dict[int, Any]]:
    """For each input the axes that are free, as torch.export says them; one `Dim` a name."""
    import torch

    known: dict[str, Any] = {}
    for one in work.inputs.values():
        for name in one.names:
            known.setdefault(name, _dim(torch.export.Dim, name, work.axes.get(name, Axis())))
    return [{index: known[dim] for index, dim in enumerate(one.shape) if isinstance(dim, str)} for one in work.inputs.values()]


def _dim(make: Any, name: str, axis: Axis) -> Any:
    step = axis.multiple_of
    longest = {"max": axis.max // step} if axis.max else {"max": 1024} if name == BATCH else {}
    if step == 1:
        return make(name, min=axis.min, **longest)
    return step * make(f"_{name}", min=-(-axis.min // step), **longest)


def _script(work: Work, path: Path) -> None:
    import torch

    inner = work.flat.inner
    scripted = inner if isinstance(inner, torch.jit.ScriptModule) else torch.jit.script(inner)
    from generator.flatten import Flat

    flat = Flat(scripted, list(work.inputs), work.flat.wanted)
    # traced around what is scripted: its control flow stays, and results in dictionaries come out as tensors
    traced = torch.jit.trace(flat, work.flat.tensors(work.feeds[0]), check_trace=False)  # type: ignore[no-untyped-call]
    _torchscript(work, path, traced)


def _trace(work: Work, path: Path) -> None:
    _torchscript(work, path, work.module)


def _torchscript(work: Work, path: Path, module: torch.nn.Module) -> None:
    import torch

    axes = {name: {i: dim for i, dim in enumerate(one.shape) if isinstance(dim, str)} for name, one in work.inputs.items()}
    axes |= {
        name: {i: f"{name}_{i}" for i in range(work.answers[0][name].ndim) if _varies(work, name, i)} for name in work.outputs
    }
    registry: Any = torch.onnx
    for operator, symbolic in work.translations.items():
        if isinstance(operator, str):
            registry.register_custom_op_symbolic(operator, symbolic, work.opset)
    torch.onnx.export(
        module,
        work.flat.tensors(work.feeds[0]),
        str(path),
        input_names=list(work.inputs),
        output_names=work.outputs,
        opset_version=work.opset,
        dynamo=False,
        dynamic_axes={name: free for name, free in axes.items() if free},
    )


def _quietly(attempt: Callable[[Work, Path], None], work: Work, path: Path) -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        attempt(work, path)


def _finished(work: Work, path: Path) -> None:
    """Stack traces hold paths of this machine; what is built must not depend on where. Free axes get the names of the spec."""
    from generator.graph import load, save

    model = load(path)
    holders: tuple[Any, ...] = (
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
        model.graph,
        model,
    )
    for holder in holders:
        kept = [entry for entry in holder.metadata_props if "/" not in entry.value]
        del holder.metadata_props[:]
        holder.metadata_props.extend(kept)
    for node in model.graph.node:
        node.doc_string = ""
    for value in model.graph.input:
        for dim, name in zip(value.type.tensor_type.shape.dim, work.inputs[value.name].shape, strict=True):
            if isinstance(name, str) and not dim.HasField("dim_value"):
                dim.dim_param = name
    for value in model.graph.output:
        for index, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value") or _varies(work, value.name, index):  # exporters may take the example's for fixed
                dim.dim_param = _axis(work, value.name, index)
    kept = [value for value in model.graph.value_info if not _doubtful(work, value)]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)
    save(model, path)


def _doubtful(work: Work, value: Any) -> bool:
    """Does it fix a dimension at the example's length of a free axis? Shape inference would take it for true."""
    free = set(sizes(work.inputs, work.axes)[0].values())
    return any(dim.dim_value in free for dim in value.type.tensor_type.shape.dim)


def _axis(work: Work, output: str, index: int) -> str:
    """The name of an output's free axis: that of the input's axis which is as long in every sample, the batch first."""
    found = [answer[output].shape[index] for answer in work.answers]
    lengths = sizes(work.inputs, work.axes)
    names = [BATCH, *(name for name in lengths[0] if name != BATCH)] if index == 0 else list(lengths[0])
    varied = [name for name in names if name in lengths[0] and len({each[name] for each in lengths}) > 1]
    return next((name for name in varied if [each[name] for each in lengths] == found), f"{output}_{index}")


def _varies(work: Work, output: str, index: int) -> bool:
    return len({answer[output].shape[index] for answer in work.answers}) > 1


def _proven(work: Work, path: Path) -> None:
    """The graph at every size against the module. Raises ExportError that names the axis that was frozen."""
    from generator import graph

    session = graph.session(path, optimise=False)
    taken = {value.name for value in session.get_inputs()}
    if missing := [name for name in work.inputs if name not in taken]:
        raise ExportError(f"the graph does not take {', '.join(missing)}: the result does not depend on it")
    lengths = sizes(work.inputs, work.axes)
    for feeds, wanted, size in zip(work.feeds, work.answers, lengths, strict=False):
        other = ", ".join(f"{name} {n}" for name, n in size.items() if n != lengths[0][name])
        said = f"made with {', '.join(f'{name} {n}' for name, n in lengths[0].items())}, it" if other else "it"
        try:
            found = graph.run(session, feeds)
        except Exception as error:
            raise ExportError(f"{said} does not run with {other or 'its example'}: {reason(error)}") from None
        if problem := _differs(wanted, aligned(wanted, found, work.unordered)):
            raise ExportError(f"{said} answers wrongly with {other or 'its example'}: {problem}")


def _differs(wanted: Arrays, found: Arrays) -> str:
    for name, values in wanted.items():
        other = found[name]
        if other.shape != values.shape:
            return f"{name} has shape {list(other.shape)}, the module gives {list(values.shape)}"
        if values.dtype.kind != "f":
            if (wrong := int((other != values).sum())) > _SAME * values.size:
                return f"{wrong} of {values.size} values of {name} differ"
            continue
        scale = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
        if not np.allclose(other, values, rtol=_SAME, atol=_SAME * max(scale, 1e-6), equal_nan=True):
            return f"{name} differs by {np.nanmax(np.abs(other - values)):.3g}"
    return ""


def reason(error: BaseException) -> str:
    """The first line that says something, and the operator where one is named anywhere in the chain."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__
    text = "\n".join(str(e) for e in chain)
    operator = re.search(r"\b(?:aten|torchvision|prims|quantized)(?:::|\.)\w+(?:\.\w+)?", text)
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", str(chain[-1])).splitlines() if line.strip()]
    first = lines[0] if lines else type(chain[-1]).__name__
    named = f"operator {operator.group()}: " if operator and operator.group() not in first else ""
    return f"{named}{first[:300]}"
