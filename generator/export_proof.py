"""An exported graph, cleaned and held against its module at every size: what was frozen is found here and not by a request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from generator.errors import ExportError
from generator.export_reasons import reason
from generator.exporters import Work, varies
from generator.frontends import Arrays
from generator.rows import aligned
from generator.tensors import BATCH

if TYPE_CHECKING:
    from onnx import ValueInfoProto

#: How far a graph may be from its module and still be the same one: this finds frozen axes and branches, the ladder measures.
_SAME = 1e-2


def finished(work: Work, path: Path) -> None:
    """Stack traces hold paths of this machine; what is built must not depend on where. Axes get the spec's names."""
    from generator.graph import save, settled

    model = settled(path)
    graph = model.graph
    holders: tuple[Any, ...] = (*graph.node, *graph.value_info, *graph.input, *graph.output, graph, model)
    for holder in holders:
        kept = [entry for entry in holder.metadata_props if "/" not in entry.value]
        del holder.metadata_props[:]
        holder.metadata_props.extend(kept)
    for node in graph.node:
        node.doc_string = ""
    for value in graph.input:
        _name_axes(value, list(work.inputs[value.name].shape))
    for value in graph.output:
        _true_axes(work, value)
    kept = [value for value in graph.value_info if not _doubtful(work, value)]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    save(model, path)


def _name_axes(value: ValueInfoProto, axes: list[int | str]) -> None:
    """Free axes get names. A number stays where the exporter has frozen an input's axis: the proof has to find it."""
    shape = value.type.tensor_type.shape
    for dim, axis in zip(shape.dim, axes, strict=True):
        if isinstance(axis, str) and not dim.HasField("dim_value"):
            dim.dim_param = axis


def _true_axes(work: Work, value: ValueInfoProto) -> None:
    """What the exporter writes of an output may be wrong (LSTM, NonZero) or missing (Loop): the module's answers decide."""
    shape, name = value.type.tensor_type.shape, value.name
    known = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in shape.dim]
    lengths = work.answers[0][name].shape
    del shape.dim[:]
    for index, length in enumerate(lengths):
        fixed = len(known) == len(lengths) and known[index] == length and not varies(work, name, index)
        dim = shape.dim.add()
        if fixed:
            dim.dim_value = length
        else:
            dim.dim_param = _axis(work, name, index)


def _doubtful(work: Work, value: ValueInfoProto) -> bool:
    """Does it fix a dimension at the example's length of a free axis? Shape inference would take it for true."""
    free = set(work.sizes[0].values())
    return any(dim.dim_value in free for dim in value.type.tensor_type.shape.dim)


def _axis(work: Work, output: str, index: int) -> str:
    """The name of an output's free axis: that of the input's axis which is as long in every sample, the batch first."""
    found = [answer[output].shape[index] for answer in work.answers]
    names = list(work.sizes[0])
    names.sort(key=lambda name: name != BATCH if index == 0 else name == BATCH)
    varied = [name for name in names if len({size[name] for size in work.sizes}) > 1]
    return next((name for name in varied if [size[name] for size in work.sizes] == found), f"{output}_{index}")


class FrozenError(ExportError):
    """The graph answers otherwise than the module at another size; `axes` are those that are not free in it."""

    def __init__(self, axes: list[str], message: str) -> None:
        super().__init__(message)
        self.axes = axes


def proven(work: Work, path: Path) -> None:
    """The graph at every size against the module. Raises FrozenError, or ExportError where the example itself comes out wrong."""
    from generator import graph

    session = graph.session(path, optimise=False)
    taken = {value.name for value in session.get_inputs()}
    if missing := [name for name in work.inputs if name not in taken]:
        raise ExportError(f"the graph does not take {', '.join(missing)}: its result does not depend on it")
    for feeds, wanted, size in zip(work.feeds, work.answers, work.sizes, strict=True):
        if problem := _problem(work, session, feeds, wanted):
            raise _failure(work, session, problem, size)


def _failure(work: Work, session: Any, problem: str, size: Mapping[str, int]) -> ExportError:
    first = work.sizes[0]
    if not (other := {name: length for name, length in size.items() if length != first[name]}):
        return ExportError(f"with its own example the graph {problem}")
    axes = [name for name, length in other.items() if _fails_alone(work, session, {**first, name: length})]
    text = f"made with {lengths(first)} the graph, with {lengths(other)}, {problem}"
    return FrozenError(axes or list(other), text)


def _fails_alone(work: Work, session: Any, size: Mapping[str, int]) -> bool:
    random = np.random.default_rng(0)
    feeds = {name: one.values(random, size) for name, one in work.inputs.items()}
    try:
        return bool(_problem(work, session, feeds, work.flat.run(feeds)))
    except ExportError:  # the module does not take that one
        return False


def lengths(size: Mapping[str, int]) -> str:
    """In words: `height 64, width 96`."""
    return ", ".join(f"{name} {length}" for name, length in size.items())


def _problem(work: Work, session: Any, feeds: Arrays, wanted: Arrays) -> str:
    from generator import graph

    try:
        found = graph.run(session, feeds)
    except Exception as error:
        return f"does not run: {reason(error)}"
    return difference(wanted, aligned(wanted, found, work.unordered))


def difference(wanted: Arrays, found: Arrays, same: float = _SAME) -> str:
    """How `found` differs from `wanted` by more than `same` (relative); nothing where it does not."""
    for name, values in wanted.items():
        other = found[name]
        if other.shape != values.shape:
            return f"gives {name} the shape {list(other.shape)}, the module gives {list(values.shape)}"
        if other.dtype != values.dtype:
            return f"gives {name} as {other.dtype}, the module gives {values.dtype}"
        if values.dtype.kind != "f":
            if (wrong := int((other != values).sum())) > same * values.size:
                return f"gives {wrong} of {values.size} values of {name} wrong"
            continue
        scale = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
        if not np.allclose(other, values, rtol=same, atol=same * max(scale, 1e-6), equal_nan=True):
            return f"gives {name} wrong by {np.nanmax(np.abs(other - values)):.3g}"
    return ""
