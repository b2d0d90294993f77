"""fuse_affine: batch normalisation, factors and offsets behind a convolution go into its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from generator import editing
from generator.passes import Pass

if TYPE_CHECKING:
    import onnx_ir as ir

F64 = NDArray[np.float64]


class FuseAffine(Pass):
    """BatchNormalization, Mul, Add, Sub, Div by a constant a channel become part of the Conv, ConvTranspose or Gemm before them.

    y = s * conv(x, W, b) + t = conv(x, s * W, s * b + t), computed in double precision.
    """

    kind: Literal["fuse_affine"] = "fuse_affine"
    keeps_results: ClassVar[bool] = True
    looks_for: ClassVar[str] = (
        "BatchNormalization, Mul, Add, Sub, Div by constants a channel, behind a Conv, ConvTranspose or Gemm of constant weights"
    )

    def edit(self, model: ir.Model) -> None:
        """Until none follows any more; the tensor keeps the name that its readers know."""
        from onnx_ir.passes.common import RemoveUnusedNodesPass

        found = False
        for node in editing.standard(model.graph, "Conv", "ConvTranspose", "Gemm"):
            while _absorb(node):
                found = True
        if found:
            RemoveUnusedNodesPass()(model)


def _absorb(node: ir.Node) -> bool:
    result = node.outputs[0]
    readers = editing.users(result)
    weight = editing.array(node.inputs[1])
    if (
        len(readers) != 1
        or result.is_graph_output()
        or weight is None
        or weight.dtype.kind != "f"
        or readers[0].graph is not node.graph
    ):
        return False
    bias = _bias(node, _channels(node, weight))
    affine = _affine(readers[0], result, _channels(node, weight), 2 if node.op_type == "Gemm" else weight.ndim)
    if affine is None or bias is None:
        return False
    scale, shift = affine
    graph, name = editing.home(node), node.name or node.op_type
    new_bias = (bias * scale + shift).astype(weight.dtype)
    new_weight = _scaled(node, weight, scale).astype(weight.dtype)
    if not (np.isfinite(new_bias).all() and np.isfinite(new_weight).all()):
        return False
    node.resize_inputs(3)
    node.replace_input_with(1, editing.constant(graph, f"{name}/weight", new_weight))
    node.replace_input_with(2, editing.constant(graph, f"{name}/bias", new_bias))
    if node.op_type == "Gemm":
        node.attributes.pop("beta", None)
    after = readers[0]
    editing.exchange(after.outputs[0], _renamed(result, after.outputs[0]))
    editing.drop([after])
    return True


def _renamed(result: ir.Value, after: ir.Value) -> ir.Value:
    result.type, result.shape = after.type or result.type, after.shape or result.shape
    return result


def _channels(node: ir.Node, weight: NDArray[Any]) -> int:
    """How many channels the node gives."""
    if node.op_type == "Conv":
        return int(weight.shape[0])
    if node.op_type == "ConvTranspose":
        return int(weight.shape[1]) * int(editing.attribute(node, "group", 1))
    return int(weight.shape[0 if editing.attribute(node, "transB", 0) else 1])


def _bias(node: ir.Node, channels: int) -> F64 | None:
    """[channels]; zeros where there is none, None where it is not constant or differs by row."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None:
        return np.zeros(channels)
    found = editing.array(value)
    if found is None or found.size not in (1, channels) or (found.ndim and found.shape[-1] != found.size):
        return None
    beta = editing.attribute(node, "beta", 1.0) if node.op_type == "Gemm" else 1.0
    return np.broadcast_to(found.reshape(-1).astype(np.float64) * beta, channels)


def _scaled(node: ir.Node, weight: NDArray[Any], scale: F64) -> F64:
    wide = weight.astype(np.float64)
    if node.op_type == "Conv":
        return np.asarray(wide * scale.reshape(-1, *[1] * (weight.ndim - 1)))
    if node.op_type == "ConvTranspose":  # [in, out / group, ...]; the inputs of a group come one after the other
        group = int(editing.attribute(node, "group", 1))
        split = wide.reshape(group, weight.shape[0] // group, *weight.shape[1:])
        return np.asarray(split * scale.reshape(group, 1, -1, *[1] * (weight.ndim - 2))).reshape(weight.shape)
    return np.asarray(wide * (scale[:, None] if editing.attribute(node, "transB", 0) else scale[None, :]))


def _affine(node: ir.Node, x: ir.Value, channels: int, rank: int) -> tuple[F64, F64] | None:
    """(s, t) of y = s * x + t for each channel, where the node is that."""
    if node.domain:
        return None
    if node.op_type == "BatchNormalization":
        return _normalisation(node)
    if node.op_type not in ("Mul", "Add", "Sub", "Div") or node.inputs[0] is node.inputs[1]:
        return None
    first = node.inputs[0] is x
    found = editing.array(node.inputs[1 if first else 0])
    c = None if found is None else _by_channel(found, channels, rank)
    if c is None or (node.op_type == "Div" and (not first or not c.all())):
        return None
    one, zero = np.ones(channels), np.zeros(channels)
    sign = 1.0 if first else -1.0
    return {"Mul": (c, zero), "Add": (one, c), "Sub": (one * sign, -c * sign), "Div": (one / c if c.all() else one, zero)}[
        node.op_type
    ]


def _by_channel(constant: NDArray[Any], channels: int, rank: int) -> F64 | None:
    """A constant that differs at most along axis 1 of a tensor of that rank, as [channels]."""
    if constant.ndim > rank or constant.size not in (1, channels):
        return None
    shape = (1,) * (rank - constant.ndim) + constant.shape
    if constant.size > 1 and (rank < 2 or shape[1] != channels):
        return None
    return np.broadcast_to(constant.reshape(-1).astype(np.float64), channels).copy()


def _normalisation(node: ir.Node) -> tuple[F64, F64] | None:
    """Of stored statistics: scale * (x - mean) / sqrt(var + epsilon) + B (ONNX operators, BatchNormalization)."""
    if editing.attribute(node, "training_mode", 0) or len([v for v in node.outputs if v.uses() or v.is_graph_output()]) > 1:
        return None
    arrays = [editing.array(value) for value in node.inputs[1:5]]
    if any(a is None for a in arrays):
        return None
    scale, offset, mean, var = (a.astype(np.float64) for a in arrays if a is not None)
    factor = scale / np.sqrt(var + float(editing.attribute(node, "epsilon", 1e-5)))
    return factor, offset - mean * factor
