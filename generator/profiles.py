"""Optimisation profiles of TensorRT: for every input that is not fixed, its smallest, usual and largest shape.

The batch axis follows from `max_batch_size`, so that config.pbtxt and engine cannot disagree: 1, the largest size that the
dynamic batcher prefers (else the largest at all), `max_batch_size`. Other free axes have the lengths of `ranges:`, else those of
the checkpoint's `axes:`. Axes are counted from 0 with the batch axis among them, as TensorRT does, or called by their names in
the checkpoint's `inputs:`.

Source: https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-dynamic-shapes.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from generator.backends import Loc, Unfit
from generator.engine_request import Profile, Range
from generator.inputs import Axis, Input
from generator.ranges import SaidProfile, Span, Values
from generator.tensors import Tensor


@dataclass(frozen=True)
class Asked:
    """What profiles are derived from."""

    inputs: tuple[Tensor, ...]
    #: Of config.pbtxt; 0: the batch axis is an axis like any other.
    max_batch_size: int
    preferred: tuple[int, ...] = ()
    #: `inputs:` and `axes:` of the checkpoint, as far as the spec says them.
    said: Mapping[str, Input] = field(default_factory=dict)
    axes: Mapping[str, Axis] = field(default_factory=dict)
    #: `ranges:`, `values:` and `profiles:` of the target.
    ranges: Mapping[str, Mapping[str, Span]] = field(default_factory=dict)
    values: Mapping[str, Values] = field(default_factory=dict)
    profiles: Sequence[SaidProfile] = ()


@dataclass(frozen=True)
class _Axis:
    """One axis of an input: its length (-1: free), what it may be called, and what the checkpoint says of its lengths."""

    tensor: Tensor
    number: int
    dim: int
    names: tuple[str, ...]
    limits: Axis | None

    def __str__(self) -> str:
        return f"axis {self.number}{f' ({self.names[-1]})' if len(self.names) > 1 else ''} of {self.tensor}"

    @property
    def batch(self) -> bool:
        """Is it the batch, of which config.pbtxt has the size?"""
        return self.tensor.batched and not self.number

    def said(self, ranges: Mapping[str, Mapping[str, Span]]) -> tuple[str, Span] | None:
        """What is said of it, by which of its names."""
        own = ranges.get(self.tensor.name, {})
        return next(((name, own[name]) for name in self.names if name in own), None)


def derive(asked: Asked) -> tuple[Profile, ...]:
    """One profile for each of `profiles:`, else one; none where every input is fixed. Raises Unfit."""
    inputs = [[*_axes(asked, tensor)] for tensor in asked.inputs]
    _known(asked, inputs, asked.ranges, ("ranges",))
    _known(asked, inputs, asked.values, ("values",))
    _batches(asked)
    found = [_profile(asked, inputs, *each) for each in enumerate(asked.profiles or [SaidProfile()])]
    if asked.profiles and not found[0]:
        raise Unfit(("profiles",), "every input is fixed: there is nothing that profiles could say", "leave profiles out")
    return tuple(profile for profile in found if profile)


def _axes(asked: Asked, tensor: Tensor) -> list[_Axis]:
    whole = tensor if asked.max_batch_size else tensor.whole()
    dims = (-1, *whole.shape) if whole.batched else whole.shape
    shape = asked.said[tensor.name].shape if tensor.name in asked.said else ()
    named = shape if len(shape) == len(dims) else [0] * len(dims)
    names = [(str(number), *([name] if isinstance(name, str) else [])) for number, name in enumerate(named)]
    return [_Axis(whole, i, dim, names[i], asked.axes.get(names[i][-1])) for i, dim in enumerate(dims)]


def _known(asked: Asked, inputs: Sequence[Sequence[_Axis]], said: Mapping[str, Any], loc: Loc) -> None:
    """Inputs and axes that are spoken of are there, and the batch is none of them."""
    axes = {tensor.name: own for tensor, own in zip(asked.inputs, inputs, strict=True)}
    for name, ranges in said.items():
        if name not in axes:
            raise Unfit((*loc, name), f"the model has no input {name!r}", f"it has {', '.join(map(str, asked.inputs))}")
        for axis in ranges if isinstance(ranges, Mapping) else ():
            found = [own for own in axes[name] if axis in own.names]
            others = ", ".join(" or ".join(own.names) for own in axes[name] if not own.batch)
            if not found:
                raise Unfit((*loc, name, axis), f"{axes[name][0].tensor} has no axis {axis}", f"it has {others or 'none'}")
            if found[0].batch:
                what = f"{found[0]} is the batch, whose sizes follow from max_batch_size"
                raise Unfit((*loc, name, axis), what, "say `max_batch_size` under `serving:`, or `batch:` in a profile")


def _profile(asked: Asked, inputs: Sequence[Sequence[_Axis]], index: int, said: SaidProfile) -> Profile:
    loc = ("profiles", index, "ranges")
    _known(asked, inputs, said.ranges, loc)
    found: Profile = {}
    for tensor, axes in zip(asked.inputs, inputs, strict=True):
        if tensor.name in asked.values:
            found[tensor.name] = _values(tensor, asked.values[tensor.name])
        elif spans := [_batch(asked, said) if axis.batch else _span(asked, axis, said, loc) for axis in axes]:
            shapes = list(zip(*(span.lengths() for span in spans), strict=True))
            if any(axis.dim < 0 for axis in axes):
                found[tensor.name] = Range(min=shapes[0], opt=shapes[1], max=shapes[2])
    return found


def _span(asked: Asked, axis: _Axis, said: SaidProfile, loc: Loc) -> Span:
    """Inside what the target declares for all profiles."""
    declared = _declared(asked, axis)
    own = axis.said(said.ranges)
    if own is None:
        return declared
    name, wanted = own
    if wanted.min < declared.min or wanted.max > declared.max:
        what = f"found {wanted}; {axis} has lengths from {declared.min} to {declared.max}"
        raise Unfit((*loc, axis.tensor.name, name), what, "say lengths inside these")
    return wanted


def _declared(asked: Asked, axis: _Axis) -> Span:
    said = axis.said(asked.ranges)
    if axis.dim >= 0:
        own = Span.model_construct(min=axis.dim, opt=axis.dim, max=axis.dim)  # an axis may have no element
        if said is not None and said[1] != own:
            what = f"found {said[1]}; {axis} is fixed at {axis.dim}"
            remedy = "leave it out, or export the model with this axis free"
            raise Unfit(("ranges", axis.tensor.name, said[0]), what, remedy)
        return own
    if said is not None:
        _allowed(axis, *said)
        return said[1]
    if axis.limits is None or axis.limits.max is None:
        raise _missing(axis)
    low, high = axis.limits.ends()
    assert high is not None
    return Span(min=low, opt=axis.limits.example or high, max=high)


def _allowed(axis: _Axis, name: str, said: Span) -> None:
    limits = axis.limits
    if limits is not None and not all(limits.allows(length) for length in said.lengths()):
        step = f" in steps of {limits.multiple_of}" if limits.multiple_of > 1 else ""
        what = f"found {said}; the checkpoint's `axes:` allow {limits.min} to {limits.max or 'any length'}{step}"
        raise Unfit(("ranges", axis.tensor.name, name), what, "say lengths among these")


def _missing(axis: _Axis) -> Unfit:
    name = axis.names[-1]
    remedy = f"say `ranges: {{{axis.tensor.name}: {{{name}: [SHORTEST, USUAL, LONGEST]}}}}` under `target:`"
    if name != str(axis.number):
        low = axis.limits.min if axis.limits else "SHORTEST"
        remedy += f", or `axes: {{{name}: [{low}, LONGEST]}}` under `checkpoint:`"
    return Unfit((), f"{axis} is free, and TensorRT must know how long it may be", remedy)


def _batch(asked: Asked, said: SaidProfile) -> Span:
    most = asked.max_batch_size
    return said.batch or Span(min=1, opt=max(asked.preferred, default=most), max=most)


def _batches(asked: Asked) -> None:
    """The profiles together take every batch that the server may form, and no larger one."""
    most = asked.max_batch_size if any(tensor.batched for tensor in asked.inputs) else 0
    for index, size in enumerate(said.batch for said in asked.profiles):
        loc = ("profiles", index, "batch")
        if size is not None and not most:
            raise Unfit(loc, "the model has no batch axis", "leave batch out; other axes have `ranges:`")
        if size is not None and size.max > most:
            what = f"found {size}; max_batch_size is {most}"
            raise Unfit(loc, what, "say no more than that, or raise `max_batch_size` under `serving:`")
    taken = {count for said in asked.profiles for count in _counts(said, most)}
    if asked.profiles and (lost := sorted(set(range(1, most + 1)) - taken)):
        what = f"no profile takes a batch of {lost[0]}; max_batch_size is {most}"
        raise Unfit(("profiles",), what, "let the sizes of the profiles cover all from 1 to max_batch_size")


def _counts(said: SaidProfile, most: int) -> range:
    return range(said.batch.min, said.batch.max + 1) if said.batch else range(1, most + 1)


def _values(tensor: Tensor, said: Values) -> Range:
    loc, count = ("values", tensor.name), tensor.shape[0] if tensor.shape else 1
    if tensor.batched or len(tensor.shape) > 1 or tensor.dtype not in ("INT32", "INT64"):
        what = f"{tensor} can be no shape: that is one list of INT32 or INT64, without a batch"
        raise Unfit(loc, what, "say `ranges:` for the lengths of its own axes")
    if any(len(one) != count for one in said):
        raise Unfit(
            loc, f"found {' '.join(str(list(one)) for one in said)}; {tensor} has {count} values", "write as many in each"
        )
    if any(not low <= usual <= high for low, usual, high in zip(*said, strict=True)):
        found = " ".join(str(list(one)) for one in said)
        raise Unfit(loc, f"found {found}; expected [smallest ...] [usual ...] [largest ...]", "put them in order")
    return Range(min=said[0], opt=said[1], max=said[2], values=True)
