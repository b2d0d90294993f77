"""focus_to_conv: YOLOv5's Focus, four strided slices and a Concat, as one convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from generator import editing
from generator.passes import Pass

if TYPE_CHECKING:
    import onnx_ir as ir

#: Where a slice begins, by axis, counted in steps of two.
Phase = tuple[int, int]


class FocusToConv(Pass):
    """Strided slices and their Concat (Focus of YOLOv5 v1 to v5) become one Conv, merged with the Conv behind them.

    Slice k of channel c begins at (h, w): weight[k * C + c, c, h, w] = 1, stride 2. A k x k Conv of stride s and padding p that
    alone reads it makes one of 2k x 2k, stride 2s, padding 2p.
    """

    kind: Literal["focus_to_conv"] = "focus_to_conv"
    keeps_results: ClassVar[bool] = True
    looks_for: ClassVar[str] = (
        "a Concat along the channels of slices with step 2 in height and width, all of one tensor and with constant bounds "
        "(fold_constants before it makes them constant)"
    )

    def edit(self, model: ir.Model) -> None:
        """Every Focus that is there."""
        from onnx_ir.passes.common import RemoveUnusedNodesPass

        places = [(node, found) for node in editing.standard(model.graph, "Concat") if (found := _focus(node)) is not None]
        for node, found in places:
            _replace(node, *found)
        if places:
            RemoveUnusedNodesPass()(model)


def _focus(node: ir.Node) -> tuple[ir.Value, list[Phase]] | None:
    """What is sliced, and the phase of each slice in the order of the Concat."""
    traced = [_trace(value) for value in node.inputs]
    if editing.attribute(node, "axis") not in (1, -3) or any(t is None for t in traced) or len(traced) < 2:
        return None
    sources = [t[0] for t in traced if t]
    phases = [t[1] for t in traced if t]
    source, shape = sources[0], editing.shape_of(sources[0])
    if any(s is not source for s in sources) or shape is None or len(shape) != 4 or not isinstance(shape[1], int):
        return None
    # an odd size makes slices of two lengths, which a Concat of both phases would not take
    even = all((isinstance(d, int) and d % 2 == 0) or {p[axis] for p in phases} == {0, 1} for axis, d in enumerate(shape[2:]))
    return (source, phases) if even and source.dtype is not None and source.dtype.is_floating_point() else None


def _trace(value: ir.Value | None) -> tuple[ir.Value, Phase] | None:
    """Up through slices of step 2, one an axis or both at once."""
    starts: dict[int, int] = {}
    while value is not None and (node := value.producer()) is not None and node.op_type == "Slice" and not node.domain:
        found = _slice(node)
        if found is None or starts.keys() & found.keys():
            return None
        starts |= found
        value = node.inputs[0]
    return (value, (starts[2], starts[3])) if value is not None and starts.keys() == {2, 3} else None


def _slice(node: ir.Node) -> dict[int, int] | None:
    """axis -> start, where each step is 2 and each end is the end."""
    arrays = [editing.array(value) for value in node.inputs[1:]]
    if len(arrays) < 4 or any(a is None for a in arrays):
        return None
    starts, ends, axes, steps = ([int(v) for v in a] for a in arrays if a is not None)
    shape = editing.shape_of(node.inputs[0]) or []
    axes = [axis % 4 for axis in axes]
    sizes = [shape[axis] if axis < len(shape) else None for axis in axes]
    whole = all(end >= (size if isinstance(size, int) else np.iinfo(np.int32).max) for end, size in zip(ends, sizes, strict=True))
    return dict(zip(axes, starts, strict=True)) if whole and set(steps) == {2} and set(starts) <= {0, 1} else None


def _replace(node: ir.Node, source: ir.Value, phases: Sequence[Phase]) -> None:
    channels = (editing.shape_of(source) or [])[1]
    assert isinstance(channels, int)
    assert source.dtype is not None
    conv = editing.only_user(node.outputs[0], "Conv")
    merged = _merged(conv, channels, phases) if conv is not None else None
    if conv is None or merged is None:
        weight = np.zeros((len(phases) * channels, channels, 2, 2), source.dtype.numpy())
        for k, (h, w) in enumerate(phases):
            weight[range(k * channels, (k + 1) * channels), range(channels), h, w] = 1
        _put(node, source, weight, None, {"strides": [2, 2], "kernel_shape": [2, 2]})
        return
    weight, attributes = merged
    bias = conv.inputs[2] if len(conv.inputs) > 2 else None
    _put(conv, source, weight, bias, attributes)


def _merged(conv: ir.Node, channels: int, phases: Sequence[Phase]) -> tuple[NDArray[Any], dict[str, Any]] | None:
    """Weight and attributes of both in one; None for groups, dilation, or padding that is not written out."""
    weight = editing.array(conv.inputs[1])
    said = {key: editing.attribute(conv, key) for key in ("strides", "pads", "dilations", "auto_pad", "group")}
    if weight is None or weight.ndim != 4 or weight.shape[1] != len(phases) * channels or (said["group"] or 1) != 1:
        return None
    if said["auto_pad"] not in (None, "NOTSET") or set(said["dilations"] or [1]) != {1}:
        return None
    out, _, height, width = weight.shape
    wide = np.zeros((out, channels, 2 * height, 2 * width), weight.dtype)
    for k, (h, w) in enumerate(phases):
        wide[:, :, h::2, w::2] += weight[:, k * channels : (k + 1) * channels]
    strides, pads = said["strides"] or [1, 1], said["pads"] or [0] * 4
    return wide, {
        "strides": [2 * s for s in strides], "pads": [2 * p for p in pads], "kernel_shape": [2 * height, 2 * width],
    }  # fmt: skip


def _put(node: ir.Node, source: ir.Value, weight: NDArray[Any], bias: ir.Value | None, attributes: dict[str, Any]) -> None:
    name = f"{node.name or 'Focus'}/focus"
    constant = editing.constant(editing.home(node), f"{name}_weight", weight)
    value = editing.insert(node, "Conv", source, constant, *([bias] if bias is not None else []), name=name, **attributes)
    value.type, value.shape = node.outputs[0].type, node.outputs[0].shape
    made = value.producer()
    assert made is not None
    made.metadata_props.update(node.metadata_props)
    editing.exchange(node.outputs[0], value)
    editing.drop([node])
