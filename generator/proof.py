"""Every pass is held to what it says of itself: shapes inferred, the checker passed, and results compared with ONNX Runtime.

The same seeded inputs go through the graph before and after, with two batch sizes where the batch is free, and no optimisation of
ONNX Runtime's own. What cannot be compared is said to be unchecked, with the reason.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from generator import compare, graph
from generator.change import all_nodes, difference, is_custom, same, there, tidy
from generator.compare import Comparison
from generator.errors import SurgeryError
from generator.passes import Arrays, Pass
from generator.tensors import Tensor, numpy_dtype

if TYPE_CHECKING:
    from onnx import ModelProto

    from generator.bounds import Bounds

#: Rows of the two batches; and what a free dimension other than the batch is tried with until the graph runs.
ROWS = (1, 3)
SIZES = (8, 32, 224, 512, 1)
#: A result in FP16 cannot be better than a few of its own steps.
_STEPS = 4
_UNPROVEN = "NOT CHECKED: "


class UncheckedError(Exception):
    """Why results cannot be compared."""


class Prover:
    """Applies passes one after the other; keeps the last graph's session for the next comparison."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._last: tuple[ModelProto, Any] | None = None

    def apply(self, step: Pass, model: ModelProto) -> tuple[ModelProto, str]:
        """The changed model, and what was done in words. Raises SurgeryError where it did nothing, or is not what it says."""
        try:
            return self._applied(step, model)
        except SurgeryError as error:
            known = error.message.startswith(step.kind)
            raise SurgeryError(error.message if known else f"{step.kind}: {error.message}", error.remedy) from None

    def _applied(self, step: Pass, model: ModelProto) -> tuple[ModelProto, str]:
        after = graph.checked(tidy(step.run(_copy(model))), step.kind)
        if same(model, after):
            if step.required:
                raise SurgeryError(
                    f"{step.kind} changed nothing: it looks for {step.looks_for}; the graph has {there(model)}",
                    "remove the pass, correct it, or say `required: false`",
                )
            return model, "nothing to do"
        return after, f"{difference(model, after)}; {self._compared(step, model, after)}"

    def _compared(self, step: Pass, before: ModelProto, after: ModelProto) -> str:
        if not step.compared():
            self._last = None
            return "meant to change results, not compared"
        try:
            return self._prove(step, before, after)
        except UncheckedError as reason:
            self._last = None
            return f"{_UNPROVEN}{reason}"

    def _prove(self, step: Pass, before: ModelProto, after: ModelProto) -> str:
        probed = _probed(before, step.probes())
        first = self._session(probed)
        second = _loaded(step, after)
        self._last = (after, second)
        found = Comparison()
        rows = _rows(before, after)
        for count in rows:
            found.add(self._once(step, (probed, first), (after, second), count))
        if not found.ok:
            raise SurgeryError(
                f"{step.kind} changed results, which it must not: {'; '.join(dict.fromkeys(found.problems)) or 'none compared'}",
                "leave the pass out, or widen verify.bounds if the difference is acceptable",
            )
        batches = f"batches of {' and '.join(map(str, rows))}" if len(rows) > 1 else "one run"
        return f"same results, {found.compared:,} values in {batches}, largest difference {found.max_abs:.1e}"

    def _session(self, model: ModelProto) -> Any:
        if self._last is not None and self._last[0] is model:
            return self._last[1]
        return _session(model)

    def _once(self, step: Pass, before: tuple[ModelProto, Any], after: tuple[ModelProto, Any], rows: int) -> Comparison:
        """One batch. Inputs are tried until the graph before runs and says something finite."""
        reason = ""
        for size in SIZES if _free(after[0]) else SIZES[:1]:
            for uniform in (False, True):
                feeds = inputs(before[0], after[0], rows, size, uniform)
                try:
                    wanted = step.expected(_Before(before[1], inputs(before[0], before[0], rows, size, uniform)), feeds)
                except UncheckedError as error:
                    reason = reason or str(error)
                    continue
                if any(np.isfinite(values).any() for values in wanted.values() if _is_float(values)) or not any(
                    _is_float(values) for values in wanted.values()
                ):
                    return self._judge(wanted, _after(after[1], feeds))
                reason = reason or "all it answers is NaN or infinite"
        raise UncheckedError(f"the graph before cannot be run: {reason}")

    def _judge(self, wanted: Arrays, found: Arrays) -> Comparison:
        result = Comparison()
        for name, values in wanted.items():
            steps = _STEPS * float(np.finfo(values.dtype).eps) if _is_float(values) else 0.0
            relative = max(self._bounds.relative, steps)
            result.add(compare.tensors({name: values}, found, self._bounds.absolute, relative, self._bounds.of_largest))
        return result


class _Before:
    """The graph before the pass, as a pass sees it."""

    def __init__(self, session: Any, examples: Arrays) -> None:
        self._session = session
        self.examples = examples

    def __call__(self, feeds: Arrays) -> Arrays:
        return _run(self._session, feeds)


def _probed(model: ModelProto, names: Iterable[str]) -> ModelProto:
    """A model with inner tensors among its outputs."""
    wanted = [name for name in names if name not in {o.name for o in model.graph.output}]
    if not wanted:
        return model
    probed, types = _copy(model), {v.name: v for v in model.graph.value_info}
    probed.graph.output.extend(types.get(name, onnx.ValueInfoProto(name=name)) for name in wanted)
    return probed


def _copy(model: ModelProto) -> ModelProto:
    return copy.deepcopy(model)


def inputs(before: ModelProto, after: ModelProto, rows: int, size: int, uniform: bool) -> dict[str, NDArray[Any]]:
    """Seeded values for the inputs of `after`; where `before` has an input of that name and fixes a size, that size."""
    random = np.random.default_rng(0)
    earlier = {t.name: t for t in graph.interface(before)[0]}
    found = {}
    for tensor in graph.interface(after)[0]:
        shape = _dims(tensor, earlier.get(tensor.name, tensor), rows, size)
        shape = [rows if batch else dim for dim, batch in zip(shape, _batches(after)[tensor.name], strict=True)]
        found[tensor.name] = values(random, tensor.dtype, shape, uniform)
    return found


def _batches(model: ModelProto) -> dict[str, list[bool]]:
    """For each input which axes bear the name of a batch, which may stand elsewhere too: `state [2, batch, 128]`."""
    dims = {value.name: list(value.type.tensor_type.shape.dim) for value in model.graph.input}
    names = {d[0].dim_param for d in dims.values() if d} - {""}
    return {name: [dim.dim_param in names for dim in axes] for name, axes in dims.items()}


def _dims(tensor: Tensor, earlier: Tensor, rows: int, size: int) -> list[int]:
    fixed = list(earlier.shape if earlier.batched else earlier.shape[1:]) if tensor.batched else list(earlier.shape)
    if len(fixed) != len(tensor.shape):
        fixed = [-1] * len(tensor.shape)
    dims = [max(own, other) if max(own, other) >= 0 else size for own, other in zip(tensor.shape, fixed, strict=True)]
    return [rows, *dims] if tensor.batched else dims


def values(random: np.random.Generator, dtype: str, shape: Iterable[int], uniform: bool) -> NDArray[Any]:
    """Numbers of a type: normal or in [0, 1) where it has fractions, 0 to 255 in UINT8, small whole numbers else, both truths."""
    dims = tuple(shape)
    if dtype == "BYTES":
        return np.full(dims, "a", dtype=object)
    if dtype == "BOOL":
        return random.integers(0, 2, dims).astype(bool)
    if dtype.startswith("FP"):
        return (random.random(dims) if uniform else random.normal(size=dims)).astype(numpy_dtype(dtype))
    return random.integers(0, 256 if dtype == "UINT8" else 8, dims).astype(numpy_dtype(dtype))


def _rows(before: ModelProto, after: ModelProto) -> tuple[int, ...]:
    """Two batches where the batch is free; whole multiples of the size that the graph before has fixed."""
    if not any(t.batched for t in graph.interface(after)[0]):
        return ROWS[:1]
    fixed = {t.shape[0] for t in graph.interface(before)[0] if not t.batched and t.shape and t.name in _batched(after)}
    return tuple(rows * max(fixed, default=1) for rows in ROWS)


def _batched(model: ModelProto) -> set[str]:
    return {t.name for t in graph.interface(model)[0] if t.batched}


def _free(model: ModelProto) -> bool:
    return any(dim < 0 for tensor in graph.interface(model)[0] for dim in tensor.shape)


def _is_float(values: NDArray[Any]) -> bool:
    return bool(np.issubdtype(values.dtype, np.floating))


def _session(model: ModelProto) -> Any:
    try:
        return graph.session_of(model)
    except SurgeryError as error:
        custom = _custom(model)
        reason = f"ONNX Runtime has no {custom}" if custom else _line(error.message.partition(": ")[2])
        raise UncheckedError(reason) from None


def _loaded(step: Pass, model: ModelProto) -> Any:
    """A session of the graph after a pass: ONNX Runtime loaded the one before, so only a custom operator may be in the way."""
    try:
        return _session(model)
    except UncheckedError as reason:
        if _custom(model):
            raise
        raise SurgeryError(
            f"{step.kind}: ONNX Runtime no longer loads the graph: {reason}", "see the operator it names"
        ) from None


def _custom(model: ModelProto) -> str:
    return ", ".join(sorted({f"{n.domain}::{n.op_type}" for n in all_nodes(model.graph) if is_custom(n, model)}))


def _run(session: Any, feeds: Mapping[str, Any]) -> dict[str, Any]:
    names = {i.name for i in session.get_inputs()}
    try:
        return graph.run(session, {name: value for name, value in feeds.items() if name in names})
    except Exception as error:
        raise UncheckedError(_line(str(error))) from None


def _after(session: Any, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """Where the graph before ran, the one after has to."""
    try:
        return _run(session, feeds)
    except UncheckedError as error:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in feeds.items())
        raise SurgeryError(
            f"the graph ran before and no longer does, with {shapes}: {error}", "a pass is at fault, or its settings"
        ) from None


def _line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else text)[:300]
