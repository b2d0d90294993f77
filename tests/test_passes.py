"""Every pass: what goes in, what comes out, what must not change; all of it through the harness that a build uses."""

# ruff: noqa: E501 -- a row a line
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import graphs
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from generator import graph as door
from generator.bounds import Bounds
from generator.errors import SurgeryError
from generator.passes import Known, Pass
from generator.plugin import family
from generator.proof import Prover

RANDOM = np.random.default_rng(7)
XY = "float[b, 4] x => float[b, 4] y"
PICTURE = "float[b, 3, 8, 8] x"


def weights(*shape: int) -> NDArray[np.float32]:
    return RANDOM.normal(size=shape).astype(np.float32)


def make(kind: str, **settings: Any) -> Pass:
    made = family("generator.passes")[kind](**settings)
    assert isinstance(made, Pass)
    return made


def known(made: onnx.ModelProto) -> Known:
    inputs, outputs = door.interface(made)
    return Known(inputs, outputs, lambda: door.inner(made))


def applied(step: Pass, before: onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
    """As a build does it: the interface is foretold, the pass runs, the harness judges, and the foretelling was right."""
    before = door.checked(before, "before")
    foretold = step.interface(known(before))
    after, said = Prover(Bounds()).apply(step, before)
    inputs, outputs = door.interface(after)
    assert [str(t) for t in inputs] == [str(t) for t in foretold.inputs]
    assert [t.name for t in outputs] == [t.name for t in foretold.outputs]
    assert all(a.accepts(b) for a, b in zip(foretold.outputs, outputs, strict=True))
    return after, said


@dataclass
class Row:
    kind: str
    before: tuple[str, str]
    settings: dict[str, Any] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    ops: str | None = None
    ends: str | None = None
    said: str = "same results"
    opset: int = 18


CONV = {"w": weights(4, 3, 3, 3), "b": weights(4)}
BN = {"s": weights(4) + 2, "o": weights(4), "m": weights(4), "v": np.abs(weights(4)) + 0.5}
FOCUS = """
    a = Slice(x, s00, e, axes, two) c = Slice(x, s10, e, axes, two)
    d = Slice(x, s01, e, axes, two) f = Slice(x, s11, e, axes, two)
    g = Concat<axis = 1>(a, c, d, f)"""
FOCUS_CONSTANTS: dict[str, Any] = {
    "s00": np.array([0, 0]), "s10": np.array([1, 0]), "s01": np.array([0, 1]), "s11": np.array([1, 1]),
    "e": np.array([2**31 - 1, 2**31 - 1]), "axes": np.array([2, 3]), "two": np.array([2, 2]),
}  # fmt: skip
#: One Slice an axis, as torch exports it.
FOCUS_TORCH = """
    r0 = Slice(x, zero, e, h, two) r1 = Slice(x, one, e, h, two)
    a = Slice(r0, zero, e, w_, two) c = Slice(r1, zero, e, w_, two)
    d = Slice(r0, one, e, w_, two) f = Slice(r1, one, e, w_, two)
    g = Concat<axis = 1>(a, c, d, f)"""
FOCUS_TORCH_CONSTANTS: dict[str, Any] = {
    "zero": np.array([0]),
    "one": np.array([1]),
    "e": np.array([2**63 - 1]),
    "h": np.array([2]),
    "w_": np.array([3]),
    "two": np.array([2]),
}

ROWS = [
    Row("rename", (XY, "y = Relu(x)"), {"names": {"x": "images", "y": "boxes"}}, ends="images FP32[batch, 4] => boxes FP32[batch, 4]"),
    Row("rename", ("float[b, 4] x, float[b, 4] z => float[b, 4] y", "y = Sub(x, z)"), {"names": {"x": "z", "z": "x"}},
        ends="z FP32[batch, 4], x FP32[batch, 4] => y FP32[batch, 4]"),
    Row("rename", (XY, "t = Relu(x) y = Neg(t)"), {"names": {"t": "inner"}}, ends="x FP32[batch, 4] => y FP32[batch, 4]"),
    Row("add_output", (XY, "t = Relu(x) y = Neg(t)"), {"tensors": {"t": None}}, ends="x FP32[batch, 4] => y FP32[batch, 4], t FP32[batch, 4]"),
    Row("remove_output", ("float[b, 4] x => float[b, 4] y, float[b, 4] z", "y = Relu(x) z = Neg(x)"), {"names": ["z"]}, ops="Relu"),
    Row("add_input", (XY, "y = Mul(x, w)"), {"tensors": {"w": None}}, {"w": weights(4)},
        ends="x FP32[batch, 4], w FP32[4] => y FP32[batch, 4]", said="not compared"),
    Row("add_input", (XY, "t = Relu(x) y = Mul(t, x)"), {"tensors": {"t": {"dtype": "FP32", "shape": ["b", 4]}}},
        ends="x FP32[batch, 4], t FP32[batch, 4] => y FP32[batch, 4]", ops="Mul", said="not compared"),
    Row("remove_input", ("float[b, 4] x, float[1] k => float[b, 4] y", "y = Mul(x, k)"), {"values": {"k": 2.5}}, ends="x FP32[batch, 4] => y FP32[batch, 4]"),
    Row("remove_input", ("float[b, 4] x, float[b, 4] k => float[b, 4] y", "y = Mul(x, k)"), {"values": {"k": [1, 2, 3, 4]}}, ops="Mul"),
    Row("remove_input", ("float[b, 4] x, int64[2] unused => float[b, 4] y", "y = Relu(x)"), {"values": {"unused": None}}, ops="Relu"),
    Row("cut", (XY, "t = Relu(x) y = Neg(t)"), {"outputs": {"t": None}}, ops="Relu", ends="x FP32[batch, 4] => t FP32[batch, 4]"),
    Row("cut", (XY, "t = Relu(x) u = Abs(t) y = Neg(u)"), {"inputs": {"t": None}, "outputs": {"u": None}}, ops="Abs",
        ends="t FP32[batch, 4] => u FP32[batch, 4]", said="not compared"),
    Row("replace", (XY, "t = Add(x, w) y = Neg(t)"),
        {"find": [{"op": "Add"}], "by": [{"op": "LeakyRelu", "attributes": {"alpha": 0.02}, "inputs": [0]}, {"op": "Identity"}], "count": 1},
        {"w": weights(4)}, ops="Identity LeakyRelu Neg", said="not compared"),
    Row("replace", (XY, "s = Sigmoid(x) y = Mul(x, s)"), {"find": [{"op": "Sigmoid"}, {"op": "Mul"}], "by": [{"op": "HardSwish", "inputs": [0]}]},
        ops="HardSwish", said="not compared"),
    Row("replace", (XY, "t = LeakyRelu<alpha = 0.3>(x) y = Neg(t)"),
        {"find": [{"op": "LeakyRelu", "attributes": {"alpha": 0.3}}],
         "by": [{"op": "Mul", "inputs": [0, {"value": 0.3}]}, {"op": "Max", "inputs": ["previous", 0]}], "same_results": True}, ops="Max Mul Neg"),
    Row("replace", (XY, "t = LeakyRelu<alpha = 0.3>(x) y = Neg(t)"),
        {"find": [{"op": "LeakyRelu"}], "by": [{"op": "Elu", "attributes": {"alpha": "$0.alpha"}}]}, ops="Elu Neg", said="not compared"),
    Row("insert", (XY, "t = Relu(x) y = Neg(t)"),
        {"op": "Plug", "domain": "trt.plugins", "attributes": {"k": 3}, "inputs": ["t"], "outputs": {"p": {"dtype": "FP32", "shape": ["b", 4]}}, "instead_of": "t"},
        ops="Neg Plug Relu", said="not compared"),
    Row("insert", (XY, "y = Relu(x)"), {"op": "Sigmoid", "inputs": ["y"], "outputs": {"p": None}, "instead_of": "y"},
        ops="Relu Sigmoid", ends="x FP32[batch, 4] => y FP32[batch, 4]", said="not compared"),
    Row("insert", (XY, "y = Relu(x)"),
        {"op": "EfficientNMS_TRT", "domain": "trt.plugins", "inputs": ["y"], "graph_outputs": "replace",
         "outputs": {"num_dets": {"dtype": "INT32", "shape": ["b", 1]}, "det_boxes": {"dtype": "FP32", "shape": ["b", 10, 4]}}},
        ends="x FP32[batch, 4] => num_dets INT32[batch, 1], det_boxes FP32[batch, 10, 4]", said="not compared"),
    Row("set_constant", (XY, "y = Mul(x, w)"), {"name": "w", "value": 3}, {"w": weights(4)}, said="not compared"),
    Row("set_constant", (XY, "w = Constant<value_float = 1.0>() y = Mul(x, w)"), {"name": "w", "value": 3}, said="not compared"),
    Row("set_attribute", (XY, "y = LeakyRelu<alpha = 0.3>(x)"), {"find": {"op": "LeakyRelu"}, "attributes": {"alpha": 1}}, said="not compared"),
    Row("set_shape", ("float[1, 4] x => float[1, 4] y", "y = Relu(x)"), {"shapes": {"x": ["batch", 4], "y": ["batch", 4]}},
        ends="x FP32[batch, 4] => y FP32[batch, 4]"),
    Row("set_shape", ("float[2, 4, 3] x => float[2, 12] y", "t = Reshape(x, s) y = Neg(t)"), {"shapes": {"x": ["batch", 4, 3], "y": ["batch", 12]}},
        {"s": np.array([2, 12])}, ends="x FP32[batch, 4, 3] => y FP32[batch, 12]", said="batches of 2 and 6"),
    Row("set_shape", (XY, "y = Relu(x)"), {"shapes": {"x": [4, 4], "y": [4, 4]}}, ends="x FP32[4, 4] => y FP32[4, 4]"),
    Row("image_input", (PICTURE + " => float[b, 3] y", "y = ReduceMean<keepdims = 0>(x, axes)"), {"input": "x", "scale": "1/255", "mean": [0.4, 0.5, 0.6], "std": [0.2]},
        {"axes": np.array([2, 3])}, ends="pixels UINT8[batch, 8, 8, 3] => y FP32[batch, 3]"),
    Row("image_input", (PICTURE + " => float[b, 3] y", "y = ReduceMean<keepdims = 0>(x, axes)"),
        {"input": "x", "name": "x", "dtype": "FP32", "layout": "NCHW", "swap_channels": True, "mean": [1, 2, 3]},
        {"axes": np.array([2, 3])}, ends="x FP32[batch, 3, 8, 8] => y FP32[batch, 3]"),
    Row("focus_to_conv", (PICTURE + " => float[b, 12, 4, 4] y", FOCUS + " y = Relu(g)"), {}, FOCUS_CONSTANTS, ops="Conv Relu"),
    Row("focus_to_conv", (PICTURE + " => float[b, 5, 4, 4] y", FOCUS_TORCH + " y = Conv<pads = [1, 1, 1, 1]>(g, w, b)"), {},
        FOCUS_TORCH_CONSTANTS | {"w": weights(5, 12, 3, 3), "b": weights(5)}, ops="Conv"),
    Row("focus_to_conv", ("float[b, 3, h, w] x => float[b, 5, h2, w2] y", FOCUS_TORCH + " y = Conv<pads = [1, 1, 1, 1], strides = [2, 1]>(g, w, b)"), {},
        FOCUS_TORCH_CONSTANTS | {"w": weights(5, 12, 3, 3), "b": weights(5)}, ops="Conv"),
    Row("focus_to_conv", (PICTURE + " => float[b, 4, 4, 4] y", FOCUS + " y = Conv<group = 2, kernel_shape = [1, 1]>(g, w)"), {},
        FOCUS_CONSTANTS | {"w": weights(4, 6, 1, 1)}, ops="Conv Conv"),
    Row("remove_leftovers", (XY, "a = Identity(x) c = Dropout(a) d = Cast<to = 1>(c) e = Relu(d) y = Identity(e)"), ops="Relu"),
    Row("remove_leftovers", (XY, "a = Cast<to = 11>(x) c = Cast<to = 1>(a) y = Relu(c)"), ops="Relu"),
    Row("remove_leftovers", ("float[b, 2, 3] x => float[b, 6] y", "a = Reshape(x, s) c = Reshape(a, t) y = Relu(c)"), {},
        {"s": np.array([-1, 3, 2]), "t": np.array([-1, 6])}, ops="Relu Reshape"),
    Row("remove_leftovers", ("float[b, 2, 3] x => float[b, 2, 3] y", "a = Transpose<perm = [0, 2, 1]>(x) c = Transpose<perm = [0, 2, 1]>(a) y = Relu(c)"), ops="Relu"),
    Row("remove_leftovers", ("float[b, 4] x => float[b, 4] y", "a = Unsqueeze(x, s) c = Squeeze(a, s) y = Relu(c)"), {}, {"s": np.array([1])}, ops="Relu"),
    Row("inference_mode", (PICTURE + " => float[b, 3, 8, 8] y", "t, rm, rv = BatchNormalization<training_mode = 1>(x, s, o, m, v) y = Dropout(t, r, yes)"), {},
        {"s": weights(3), "o": weights(3), "m": weights(3), "v": np.abs(weights(3)), "r": np.float32(0.5), "yes": np.array(True)}, said="not compared"),
    Row("deduplicate", (XY, "a = Add(x, w) c = Add(x, w2) d = Relu(a) e = Relu(c) y = Add(d, e)"), {}, {"w": np.ones(4, np.float32), "w2": np.ones(4, np.float32)}, ops="Add Add Relu"),
    Row("simplify", (XY, "a = Mul(x, one) c = Add(zero, a) d = Div(c, one) e = Sub(d, zero) f = Neg(e) g = Neg(f) h = Relu(g) y = Relu(h)"), {},
        {"one": np.float32(1), "zero": np.zeros(4, np.float32)}, ops="Relu"),
    Row("simplify", (XY, "a = Mul(x, p) c = Mul(a, q) y = Neg(c)"), {}, {"p": weights(4), "q": np.float32(3)}, ops="Mul Neg"),
    Row("simplify", ("float[b, 2, 3, 4] x => float[b, 4, 2, 3] y", "a = Transpose<perm = [0, 2, 3, 1]>(x) c = Transpose<perm = [0, 2, 3, 1]>(a) y = Relu(c)"), ops="Relu Transpose"),
    Row("remove_dead", (XY, "dead = Neg(x) deader = Abs(dead) y = Relu(x)"), {}, {"unused": weights(3)}, ops="Relu"),
    Row(
        "set_opset", ("float[b, 4] x => float[b, 1] y", "a = Relu(x) y = ReduceMax <axes = [1]> (a)"), {"version": 18}, opset=11,
        ops="Constant ReduceMax Relu",
    ),
    Row("fold_constants", (XY, "s = Add(w, w) y = Mul(x, s)"), {}, {"w": weights(4)}, ops="Mul"),
    Row("fuse_affine", (PICTURE + " => float[b, 4, 6, 6] y", "t = Conv(x, w, b) y = BatchNormalization(t, s, o, m, v)"), {}, CONV | BN, ops="Conv"),
    Row("fuse_affine", (PICTURE + " => float[b, 4, 6, 6] y", "t = Conv(x, w) a = Mul(t, k) c = Add(a, l) d = Sub(c, n) y = Div(d, n)"), {},
        {"w": CONV["w"], "k": weights(4, 1, 1), "l": weights(1, 4, 1, 1), "n": np.float32(1.7)}, ops="Conv"),
    Row("fuse_affine", (PICTURE + " => float[b, 4, 6, 6] y", "t = Conv(x, w, b) y = Sub(n, t)"), {}, CONV | {"n": weights(4, 1, 1)}, ops="Conv"),
    Row("fuse_affine", ("float[b, 4, 5, 5] x => float[b, 6, 7, 7] y", "t = ConvTranspose<group = 2>(x, w) y = BatchNormalization(t, s, o, m, v)"), {},
        {"w": weights(4, 3, 3, 3), "s": weights(6), "o": weights(6), "m": weights(6), "v": np.abs(weights(6)) + 1}, ops="ConvTranspose"),
    Row("fuse_affine", ("float[b, 4] x => float[b, 5] y", "t = Gemm<transB = 1, alpha = 0.5, beta = 2.0>(x, w, c) d = Mul(t, k) y = Add(d, l)"), {},
        {"w": weights(5, 4), "c": weights(5), "k": weights(5), "l": weights(1, 5)}, ops="Gemm"),
    Row("decompose", (XY, "a = HardSwish(x) c = Mish(a) d = LayerNormalization(c, s) y = Softplus(d)"),
        {"operators": ["HardSwish", "Mish", "LayerNormalization", "Softplus"]}, {"s": weights(4)}),
    Row("decompose", (XY, 'y = Gelu<approximate = "tanh">(x)'), {"operators": ["Gelu"]}, opset=20),
    Row("decompose_grid_sample", ("float[b, 3, 6, 5] x, float[b, 4, 7, 2] g => float[b, 3, 4, 7] y", 'y = GridSample<mode = "bilinear", padding_mode = "zeros", align_corners = 0>(x, g)')),
    Row("decompose_grid_sample", ("float[b, 3, 6, 5] x, float[b, 4, 7, 2] g => float[b, 3, 4, 7] y", 'y = GridSample<mode = "bilinear", padding_mode = "zeros", align_corners = 1>(x, g)')),
    Row("decompose_grid_sample", ("float[b, 3, 6, 5] x, float[b, 4, 7, 2] g => float[b, 3, 4, 7] y", 'y = GridSample<mode = "bilinear", padding_mode = "border", align_corners = 0>(x, g)')),
    Row("decompose_grid_sample", ("float[b, 3, 6, 5] x, float[b, 4, 7, 2] g => float[b, 3, 4, 7] y", 'y = GridSample<mode = "bilinear", padding_mode = "border", align_corners = 1>(x, g)')),
    Row("decompose_grid_sample", ("float[b, 3, 6, 5] x, float[b, 4, 7, 2] g => float[b, 3, 4, 7] y", 'y = GridSample<mode = "nearest", padding_mode = "zeros", align_corners = 0>(x, g)')),
    Row("decompose_grid_sample", ("float[b, 3, 6, 5] x, float[b, 4, 7, 2] g => float[b, 3, 4, 7] y", 'y = GridSample<mode = "nearest", padding_mode = "zeros", align_corners = 1>(x, g)')),
    Row("decompose_grid_sample", ("float[b, 3, 6, 5] x, float[b, 4, 7, 2] g => float[b, 3, 4, 7] y", 'y = GridSample<mode = "nearest", padding_mode = "border", align_corners = 0>(x, g)')),
    Row("decompose_grid_sample", ("float[b, 3, 6, 5] x, float[b, 4, 7, 2] g => float[b, 3, 4, 7] y", 'y = GridSample<mode = "nearest", padding_mode = "border", align_corners = 1>(x, g)')),
    Row("fuse", (XY, "a = Softplus(x) c = Tanh(a) y = Mul(x, c)"), ops="Mish"),
    Row("fuse", (XY, "e = Exp(x) f = Add(e, one) a = Log(f) c = Tanh(a) y = Mul(c, x)"), {"operators": ["Mish", "Softplus"]}, {"one": np.float32(1)}, ops="Mish"),
    Row("fuse", (XY, "a = Add(x, t) c = Clip(a, z, s) d = Div(c, s) y = Mul(d, x)"), {"operators": ["HardSwish"]},
        {"t": np.float32(3), "z": np.float32(0), "s": np.float32(6)}, ops="HardSwish"),
    Row("fuse", (XY, "a = Div(x, r) c = Erf(a) d = Add(c, one) e = Mul(x, d) y = Mul(e, h)"), {"operators": ["Gelu"]},
        {"r": np.float32(2**0.5), "one": np.float32(1), "h": np.float32(0.5)}, ops="Gelu", opset=20),
    Row("fuse", (XY, "m = ReduceMean<keepdims = 1>(x, ax) d = Sub(x, m) q = Mul(d, d) v = ReduceMean<keepdims = 1>(q, ax) e = Add(v, eps) r = Sqrt(e) n = Div(d, r) p = Mul(n, w) y = Add(p, b)"),
        {"operators": ["LayerNormalization"]}, {"ax": np.array([-1]), "eps": np.float32(1e-5), "w": weights(4), "b": weights(4)}, ops="LayerNormalization"),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.kind}-{ROWS.index(row)}")
def test_what_a_pass_makes(row: Row) -> None:
    before = graphs.model(*row.before, opset=row.opset, **row.constants)
    after, said = applied(make(row.kind, **row.settings), before)
    assert row.said in said
    if row.ops is not None:
        assert graphs.ops(after) == row.ops.split()
    if row.ends is not None:
        assert graphs.ends(after) == row.ends


def test_every_pass_is_in_the_table() -> None:
    missing = set(family("generator.passes")) - {row.kind for row in ROWS} - {"python"}
    assert not missing


#: (pass, graph, settings, constants): nothing here may change, so a pass that is told `required: false` says so.
UNTOUCHED: list[tuple[str, tuple[str, str], dict[str, Any]]] = [
    ("simplify", (XY, "y = Mul(x, w)"), {"w": np.array([1, 1, 1, 2], np.float32)}),
    ("simplify", ("float[4] x => float[1, 4] y", "a = Mul(x, w) y = Relu(a)"), {"w": np.ones((1, 4), np.float32)}),  # widens x
    ("fuse_affine", (PICTURE + " => float[b, 4, 6, 6] y", "t = Conv(x, w) a = Mul(t, k) c = Relu(t) y = Add(a, c)"), {"w": CONV["w"], "k": weights(4, 1, 1)}),
    ("simplify", (XY, "y = Sub(zero, x)"), {"zero": np.float32(0)}),
    ("simplify", (XY, "y = Div(one, x)"), {"one": np.float32(1)}),
    ("simplify", (XY, "y = Mul(x, zero)"), {"zero": np.float32(0)}),  # NaN times zero is NaN
    ("simplify", ("float[b, 4] x, float w => float[b, 4] y", "y = Mul(x, w)"), {"w": np.float32(1)}),  # an input with a default
    ("simplify", ("float[b, 2, 3] x => float[b, 3, 2] y", "y = Transpose<perm = [0, 2, 1]>(x)"), {}),
    ("remove_leftovers", (XY, "y = Identity(x)"), {}),  # a model needs something between input and output
    ("remove_leftovers", (XY, "a = Cast<to = 6>(x) c = Cast<to = 1>(a) y = Relu(c)"), {}),  # cuts the fraction off
    ("remove_leftovers", (XY, "a = Cast<to = 10>(x) c = Cast<to = 1>(a) y = Relu(c)"), {}),  # rounds to FP16
    ("remove_leftovers", ("float[b, 4] x => float[b, 4] y, bool[b, 4] m", "y, m = Dropout(x)"), {}),
    ("remove_leftovers", ("float[b, c] x => float[d, e] y", "a = Reshape(x, s) y = Relu(a)"), {"s": np.array([2, -1])}),
    ("deduplicate", (XY, "a = RandomNormalLike(x) c = RandomNormalLike(x) d = Sub(a, c) y = Add(x, d)"), {}),
    ("deduplicate", (XY, "a = Add(x, w) c = Add(x, w2) y = Mul(a, c)"), {"w": weights(4), "w2": weights(4)}),
    ("fuse_affine", (PICTURE + " => float[b, 4, 6, 6] y, float[b, 4, 6, 6] t", "t = Conv(x, w) y = Mul(t, k)"), {"w": CONV["w"], "k": weights(4, 1, 1)}),
    ("fuse_affine", (PICTURE + " => float[b, 4, 6, 6] y", "t = Conv(x, w) y = Mul(t, k)"), {"w": CONV["w"], "k": weights(6)}),  # by column
    ("fuse_affine", (PICTURE + " => float[b, 4, 6, 6] y", "t = Conv(x, w) y = Mul(t, t)"), {"w": CONV["w"]}),
    ("fuse_affine", (PICTURE + " => float[b, 4, 6, 6] y", "t = Conv(x, w) y = Div(k, t)"), {"w": CONV["w"], "k": weights(4, 1, 1)}),
    ("focus_to_conv", (PICTURE + " => float[b, 12, 4, 4] y", FOCUS + " y = Relu(g)"), FOCUS_CONSTANTS | {"two": np.array([2, 1]), "s01": np.array([0, 0]), "s11": np.array([1, 0])}),
    ("focus_to_conv", (PICTURE + " => float[b, 12, 2, 4] y", FOCUS + " y = Relu(g)"), FOCUS_CONSTANTS | {"e": np.array([4, 8])}),  # half of it
    ("inference_mode", (XY, "y = Dropout(x)"), {}),
    ("fuse", (XY, "a = Add(x, t) c = Clip(a, z, s) d = Div(c, s) y = Mul(d, x)"), {"t": np.float32(3), "z": np.float32(0), "s": np.float32(5)}),
    ("remove_dead", ("float[b, 4] x, float[b, 4] unused => float[b, 4] y", "y = Relu(x)"), {}),  # inputs stay
]  # fmt: skip


@pytest.mark.parametrize(("kind", "before", "constants"), UNTOUCHED)
def test_what_must_not_change(kind: str, before: tuple[str, str], constants: dict[str, Any]) -> None:
    signature, body = before
    sizes = {"focus_to_conv": ("float[b, 12, 4, 4] y", "float[b, 12, h, w] y")}
    signature = signature.replace(*sizes.get(kind, ("", "")))
    made = door.checked(graphs.model(signature, body, **constants), "before")
    after, said = Prover(Bounds()).apply(make(kind, required=False), made)
    assert said == "nothing to do"
    assert after is made
    with pytest.raises(SurgeryError, match=f"{kind} changed nothing: it looks for .*; the graph has [A-Z]"):
        Prover(Bounds()).apply(make(kind), made)


NODES = "a = Relu(x) c = Relu(a) y = Neg(c)"
DENSE = "t = MatMul(x, w) y = Relu(t)"
#: What the user is told: pass, graph, settings, words of the message.
MISTAKES: list[tuple[str, tuple[str, str], dict[str, Any], str]] = [
    ("set_opset", (XY, NODES), {"version": 17}, "set_opset: the graph has opset 18 already; say a later one than 18"),
    ("rename", (XY, NODES), {"names": {"imaeg": "z"}}, "rename: no tensor 'imaeg'; there are: x, a, c, y"),
    ("rename", (XY, NODES), {"names": {"x": "a"}}, "rename: there is a tensor 'a' already"),
    ("rename", (XY, NODES), {"names": {"x": "y"}}, "two inputs or outputs would be called 'y'"),
    ("remove_output", (XY, NODES), {"names": ["yy"]}, "no output 'yy'; did you mean 'y'"),
    ("remove_output", (XY, NODES), {"names": ["y"]}, "no output would be left"),
    ("remove_input", (XY, NODES), {"values": {"x": None}}, "remove_input: 'x' is read by relu_0; say the value"),
    ("remove_input", (XY, NODES), {"values": {"x": [1, 2, 3]}}, r"has shape \[1, 4\], the value \[3\]"),
    ("add_output", (XY, NODES), {"tensors": {"ax": None}}, "type and shape of 'ax' are not known"),
    ("add_output", (XY, NODES), {"tensors": {"ax": {"dtype": "FP32", "shape": ["b"]}}}, "add_output: no tensor 'ax'; did you mean 'x' or 'a'"),
    ("add_output", (XY, NODES), {"tensors": {"x": None}}, "add_output: 'x' is an input or a constant"),
    ("cut", ("float[b, 4] x, float[b, 4] z => float[b, 4] y", "a = Relu(x) c = Add(a, z) y = Neg(c)"), {"inputs": {"a": None}},
     "cut: the output 'y' still needs the input 'z', which was cut off, through Add 'add_1', which gives 'c'; add 'z' to inputs"),
    ("replace", (XY, NODES), {"find": [{"op": "Rleu"}], "by": [{"op": "Elu"}]}, "replace: no operator 'Rleu' in the graph; did you mean 'Relu'"),
    ("replace", (XY, NODES), {"find": [{"op": "Relu"}], "by": [{"op": "Elu"}], "count": 1}, "Relu matches 2 times, count is 1: relu_0, relu_1"),
    ("replace", (XY, NODES), {"find": [{"op": "Neg"}, {"op": "Relu"}], "by": [{"op": "Elu"}]}, "Neg -> Relu is nowhere in the graph, though its operators are"),
    ("replace", (XY, "y = LeakyRelu<alpha = 0.3>(x)"), {"find": [{"op": "LeakyRelu", "attributes": {"alpha": 0.1}}], "by": [{"op": "Elu"}]},
     r"nothing is like LeakyRelu\(alpha=0.1\); the nodes of that operator are leakyrelu_0 \(alpha=0.3"),
    ("replace", (XY, NODES), {"find": [{"op": "Neg"}], "by": [{"op": "Elu", "attributes": {"alhpa": 1}}]}, "no attribute of Elu called 'alhpa'; did you mean 'alpha'"),
    ("replace", (XY, NODES), {"find": [{"op": "Neg"}], "by": [{"op": "Elo"}]}, "no ONNX operator 'Elo'; did you mean 'Elu'"),
    ("replace", (XY, NODES), {"find": [{"op": "Neg"}], "by": [{"op": "Gelu"}]}, "Gelu is not in opset 18"),
    ("replace", (XY, NODES), {"find": [{"op": "Neg"}], "by": [{"op": "Elu", "inputs": [3]}]}, "Elu takes input 3; the matched nodes read 0 c"),
    ("replace", (XY, NODES), {"find": [{"op": "Neg"}], "by": [{"op": "Elu"}], "same_results": True}, "replace changed results, which it must not: y differs by .*the absolute bound is 0.0001"),
    ("replace", (XY, NODES), {"find": [{"op": "Neg"}], "by": [{"op": "MatMul", "inputs": [0, {"value": [[1.0], [2.0]]}]}]},
     r"replace: the graph is no longer valid: \(op_type:MatMul, node name: neg_2/MatMul\): Incompatible dimensions"),
    ("insert", (XY, NODES), {"op": "Plug", "domain": "my", "inputs": ["aa"], "outputs": {"p": {"dtype": "FP32", "shape": ["b", 4]}}, "graph_outputs": "add"},
     "insert: no tensor 'aa'; did you mean 'a'"),
    ("insert", (XY, NODES), {"op": "Plug", "domain": "my", "outputs": {"a": {"dtype": "FP32", "shape": ["b", 4]}}, "graph_outputs": "add"}, "there is a tensor 'a' already"),
    ("set_constant", (XY, "y = Relu(x)"), {"name": "x", "value": 1}, "set_constant: 'x' is computed, or an input"),
    ("set_attribute", (XY, NODES), {"find": {"op": "Relu"}, "attributes": {"alpha": 1}}, "no attribute of Relu called 'alpha'"),
    ("set_shape", (XY, NODES), {"shapes": {"x": ["b", 4, 4]}}, r"x FP32\[batch, 4\] has 2 dimensions, the new shape 3"),
    ("set_shape", (XY, NODES), {"shapes": {"x": ["b", 5]}}, r"x FP32\[batch, 4\] cannot become x FP32\[batch, 5\]"),
    ("set_shape", (XY, NODES), {"shapes": {"imgs": ["b", 5]}}, "no input or output 'imgs'; there are: x, y"),
    ("image_input", (XY, NODES), {"input": "x"}, r"the input is x FP32\[batch, 4\]; expected FP32, FP16, UINT8 \[batch, channels, height, width\]"),
    ("image_input", (PICTURE + " => float[b, 3, 8, 8] y", "y = Relu(x)"), {"input": "x", "mean": [1, 2]}, "mean has 2 numbers, .* has 3 channels"),
    ("decompose", (XY, NODES), {"operators": ["HardSwish"]}, "no operator in the graph called 'HardSwish'; there are: "),
    ("decompose", (XY, NODES), {"operators": ["Neg"]}, "ONNX defines Neg by no simpler operators"),
    ("fuse", (XY, NODES), {"operators": ["Mish"]}, "no Mish is written out in the graph; it has Relu 2, Neg 1"),
    ("fuse", (XY, NODES), {"operators": ["Gelu"]}, "Gelu is in ONNX from opset 20, the graph has 18"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "before", "settings", "words"), MISTAKES)
def test_a_mistake_is_answered(kind: str, before: tuple[str, str], settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SurgeryError, match=words):
        applied(make(kind, **settings), graphs.model(*before))


def test_set_opset_brings_older_operators_along() -> None:
    """Axes were an attribute; initialisers that are listed as inputs, too, stay constants."""
    before = graphs.model(
        "float[b, 4] x => float[b, 1] y", "a = Add(x, w) y = ReduceMax <axes = [1], keepdims = 1> (a)", 11, w=weights(4)
    )
    before.graph.input.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [4]))
    after, said = applied(make("set_opset", version=18), before)
    assert [entry.version for entry in after.opset_import] == [18]
    assert "same results" in said
    (node,) = [node for node in after.graph.node if node.op_type == "ReduceMax"]
    assert (len(node.input), [a.name for a in node.attribute]) == (2, ["keepdims"])


def test_a_constant_that_the_optimizer_forgot_is_put_into_the_graph() -> None:
    """onnxscript 0.7 leaves a Reshape's new shape dangling where it merges two (seen with T5)."""
    import onnx_ir

    from generator.passes.fold_constants import _adopted

    x = onnx_ir.Value(name="x", type=onnx_ir.TensorType(onnx_ir.DataType.FLOAT), shape=onnx_ir.Shape([2, 3]))
    shape = onnx_ir.Value(name="shape_1", const_value=onnx_ir.tensor(np.array([3, 2]), name="shape_1"))
    node = onnx_ir.node("Reshape", [x, shape])
    made = onnx_ir.Graph([x], node.outputs, nodes=[node], opset_imports={"": 18}, name="g")
    assert "shape_1" not in made.initializers
    _adopted(made)
    assert made.initializers["shape_1"] is shape
