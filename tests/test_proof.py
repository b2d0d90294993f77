"""The harness: what it must notice, what it says it could not check, and that all result-keeping passes together keep results."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import graphs
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generator import graph as door
from generator.bounds import Bounds
from generator.errors import SurgeryError
from generator.passes import Pass
from generator.plugin import family
from generator.proof import Prover

XY = "float[b, 4] x => float[b, 4] y"


class Liar(Pass):
    """Says that it keeps results, and changes what the test tells it."""

    kind: Literal["liar"] = "liar"
    keeps_results: ClassVar[bool] = True
    change: Any = None

    def run(self, model: onnx.ModelProto) -> onnx.ModelProto:
        self.change(model)
        return model


def apply(body: str, change: Any, signature: str = XY, bounds: Bounds | None = None, **constants: Any) -> str:
    model = door.checked(graphs.model(signature, body, **constants), "before")
    return Prover(bounds or Bounds()).apply(Liar(change=change), model)[1]


def made(kind: str, required: bool = False) -> Pass:
    step = family("generator.passes")[kind].model_validate({"required": required})
    assert isinstance(step, Pass)
    return step


def factor(value: float) -> Any:
    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.full(4, value, np.float32), "w"))

    return change


ONES: dict[str, Any] = {"w": np.ones(4, np.float32)}


def test_a_difference_beyond_the_bound_names_pass_output_and_numbers() -> None:
    with pytest.raises(
        SurgeryError, match=r"liar changed results.*: y differs by [\d.]+; the absolute bound is 0.0001, it would need"
    ):
        apply("y = Mul(x, w)", factor(1.1), **ONES)
    assert "same results" in apply("y = Mul(x, w)", factor(1.00005), **ONES)
    with pytest.raises(SurgeryError, match="liar changed results"):
        apply("y = Mul(x, w)", factor(1.00005), bounds=Bounds(absolute=1e-6, relative=1e-6), **ONES)
    assert "same results" in apply("y = Mul(x, w)", factor(1.1), bounds=Bounds(absolute=10), **ONES)


def test_integers_and_truth_values_are_compared_exactly() -> None:
    def other(model: onnx.ModelProto) -> None:
        model.graph.node[0].op_type = "Or"

    with pytest.raises(SurgeryError, match="values differ, first at"):
        apply("y = And(p, q)", other, "bool[b, 8] p, bool[b, 8] q => bool[b, 8] y")

    def added(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array(1), "w"))

    with pytest.raises(SurgeryError, match="values differ, first at"):
        apply("y = Add(x, w)", added, "int64[b, 8] x => int64[b, 8] y", w=np.array(0))


def test_an_error_that_only_a_second_batch_shows_is_found() -> None:
    """Row 2 of a batch is treated like row 1: a batch of one says nothing of it."""

    def first_row(model: onnx.ModelProto) -> None:
        model.graph.node[0].CopyFrom(onnx.helper.make_node("Gather", ["x", "zero"], ["t"], axis=0))

    with pytest.raises(SurgeryError, match="liar changed results"):
        apply("t = Identity(x) y = Add(t, zeros)", first_row, zero=np.array([0]), zeros=np.zeros((1, 4), np.float32))


def test_a_graph_that_no_longer_runs_is_an_error() -> None:
    def wrong(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array([3, -1]), "s"))

    with pytest.raises(SurgeryError, match=r"the graph ran before and no longer does, with x \[1, 4\]: .*Reshape"):
        apply("y = Reshape(x, s)", wrong, "float[b, 4] x => float[c, d] y", s=np.array([-1, 4]))


def test_shape_inference_names_the_node_also_one_without_a_name() -> None:
    def wrong(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.name = ""
        model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((3, 3), np.float32), "w"))

    with pytest.raises(SurgeryError, match=r"liar: the graph is no longer valid: .*MatMul.*\(output t\)"):
        apply("t = MatMul(x, w) y = Relu(t)", wrong, w=np.ones((4, 4), np.float32))


@pytest.mark.parametrize(
    ("signature", "body", "reason"),
    [
        (XY, "t = my.Plug(x) y = Mul(t, w)", "NOT CHECKED: ONNX Runtime has no my::Plug"),
        (XY, "t = Log(n) u = Mul(x, t) y = Mul(u, w)", "NOT CHECKED: the graph before cannot be run: all it answers is NaN"),
        ("int64[b, 4] x => float[b, 4] y", "t = Gather(n2, x) y = Mul(t, w)", "NOT CHECKED: the graph before cannot be run: "),
    ],
)
def test_what_cannot_be_checked_is_said(signature: str, body: str, reason: str) -> None:
    def harmless(model: onnx.ModelProto) -> None:
        model.graph.node[0].name = "new"
        model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.full(4, 2, np.float32), "w"))

    constants: dict[str, Any] = {"w": np.ones(4, np.float32), "n": np.float32(-1), "n2": np.ones(2, np.float32)}
    model = graphs.model(signature, body, 18, **{name: v for name, v in constants.items() if name in body})
    model.graph.value_info.append(
        onnx.helper.make_tensor_value_info("t", 1, ["b", 4]) if "my." in body else onnx.ValueInfoProto()
    )
    if "my." not in body:
        del model.graph.value_info[:]
    model.graph.initializer.sort(key=lambda init: init.name != "w")
    assert reason in Prover(Bounds()).apply(Liar(change=harmless), door.checked(model, "before"))[1]


def test_a_free_size_is_tried_until_the_graph_runs() -> None:
    """Two halvings and a sum of both with the whole: only multiples of 32 fit this one."""
    said = apply(
        "s = Reshape(x, thirties) t = ReduceSum<keepdims = 0>(s, axis) y = Mul(t, w)",
        lambda model: model.graph.node[2].input.reverse(),
        "float[b, n] x => float[b, 32] y", thirties=np.array([0, -1, 32]), axis=np.array([1]), w=np.float32(2),
    )  # fmt: skip
    assert "same results" in said


def test_a_domain_is_declared_and_what_a_custom_node_gives_stays_known() -> None:
    def plug(model: onnx.ModelProto) -> None:
        node = onnx.helper.make_node("Plug", ["x"], ["p"], domain="new.domain")
        model.graph.node.insert(0, node)
        model.graph.node[1].input[0] = "p"
        model.graph.value_info.append(onnx.helper.make_tensor_value_info("p", 1, ["b", 4]))

    def later(model: onnx.ModelProto) -> None:
        model.graph.node[1].op_type = "Neg"

    model, prover = door.checked(graphs.model(XY, "t = Relu(x) y = Abs(t)"), "before"), Prover(Bounds())
    for change in (plug, later):
        model, said = prover.apply(Liar(change=change), model)
        assert "NOT CHECKED" in said
        assert {("new.domain", 1)} <= {(o.domain, o.version) for o in model.opset_import}
        assert [str(door.inner(model)[name]) for name in ("p", "t")] == ["p FP32[batch, 4]", "t FP32[batch, 4]"]


def test_a_batch_that_stands_elsewhere_too_has_the_same_size() -> None:
    said = apply(
        "t = Transpose<perm = [1, 0, 2]>(s) u = ReduceSum<keepdims = 0>(t, axis) v = Add(u, x) y = Mul(v, w)",
        lambda model: model.graph.node[3].input.reverse(),
        "float[n, 4] x, float[2, n, 4] s => float[n, 4] y", axis=np.array([1]), w=np.float32(2),
    )  # fmt: skip
    assert "same results, 16 values in batches of 1 and 3" in said


def test_what_inference_and_encodings_write_is_no_change() -> None:
    body = """
        c = Constant<value = bool named {1}>()
        y = If(c) <then_branch = g1 () => (float[d, e] p) { i = Relu(x) p = Neg(i) },
                   else_branch = g2 () => (float[f, g] q) { q = Neg(x) }>
    """
    model = door.checked(graphs.model("float[b, 4] x => float[unk__7, 4] y", body), "before")
    assert Prover(Bounds()).apply(made("remove_leftovers"), model) == (model, "nothing to do")


def test_a_branch_is_checked_like_the_rest(tmp_path: Path) -> None:
    body = """
        yes = ReduceMax<keepdims = 0>(x) zero = Constant<value_float = 0.0>() c = Greater(yes, zero)
        y = If(c) <then_branch = g1 () => (float[b, 4] p) { i = Identity(x) j = Mul(i, one) p = Relu(j) },
                   else_branch = g2 () => (float[b, 4] q) { q = Neg(x) }>
    """
    model = door.checked(graphs.model(XY, body, one=np.float32(1)), "before")
    for kind, gone in (("remove_leftovers", "Identity"), ("simplify", "Mul")):
        model, said = Prover(Bounds()).apply(made(kind, required=True), model)
        assert "same results" in said
        assert gone not in graphs.ops(model)


def test_metadata_of_nodes_survive_every_pass() -> None:
    body = (
        "a = Identity(x) c = Add(w, w) d = Mul(a, c) e = Transpose<perm = [1, 0]>(d) f = Transpose<perm = [1, 0]>(e) y = Tanh(f)"
    )
    for kind in ("remove_leftovers", "simplify", "fold_constants", "deduplicate", "remove_dead"):
        model = door.checked(graphs.model(XY, body, **ONES), "before")
        model, _ = Prover(Bounds()).apply(made(kind), model)
        assert {n.op_type: n.metadata_props[0].value for n in model.graph.node if n.op_type == "Tanh"} == {"Tanh": "tanh_5"}


UNARY = ("Relu", "Neg", "Abs", "Tanh", "Identity", "Dropout", "Floor", "Softplus")
BINARY = ("Add", "Sub", "Mul", "Div", "Max")


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A small graph: pictures [b, 4, 6, 6] through elementwise operators, 1x1 convolutions, norms, reshapes and transposes."""
    constants: dict[str, Any] = {"turned": np.array([0, 4, 36]), "back": np.array([0, 4, 6, 6])}
    tensors, lines = ["x"], []
    for i in range(draw(st.integers(2, 10))):
        a = tensors[draw(st.integers(0, len(tensors) - 1))]
        kind = draw(st.sampled_from(("unary", "binary", "constant", "conv", "norm", "transpose", "reshape", "cast")))
        random = np.random.default_rng(i)
        if kind == "unary":
            lines.append(f"t{i} = {draw(st.sampled_from(UNARY))}({a})")
        elif kind == "binary":
            lines.append(f"t{i} = {draw(st.sampled_from(('Add', 'Sub', 'Mul', 'Max')))}({a}, {tensors[-1]})")
        elif kind == "constant":
            number = draw(st.sampled_from((0.0, 1.0, 0.5)))
            op = draw(st.sampled_from(BINARY)) if number else draw(st.sampled_from(("Add", "Sub")))
            constants[f"k{i}"] = np.full(draw(st.sampled_from(((), (1,), (4, 1, 1), (1, 4, 1, 1), (6,)))), number, np.float32)
            lines.append(f"t{i} = {op}({a}, k{i})")
        elif kind == "conv":
            constants[f"w{i}"] = random.normal(size=(4, 4, 1, 1)).astype(np.float32) / 2
            lines.append(f"t{i} = Conv({a}, w{i})")
        elif kind == "norm":
            constants |= {f"s{i}": np.full(4, 1.5, np.float32), f"v{i}": np.ones(4, np.float32)}
            lines.append(f"t{i} = BatchNormalization({a}, s{i}, v{i}, s{i}, v{i})")
        elif kind == "transpose":
            lines.append(f"m{i} = Transpose<perm = [0, 1, 3, 2]>({a}) t{i} = Transpose<perm = [0, 1, 3, 2]>(m{i})")
        elif kind == "reshape":
            lines.append(f"m{i} = Reshape({a}, turned) t{i} = Reshape(m{i}, back)")
        else:
            lines.append(f"m{i} = Cast<to = 11>({a}) t{i} = Cast<to = 1>(m{i})")
        tensors.append(f"t{i}")
    return " ".join([*lines, f"y = Tanh({tensors[-1]})"]), constants


FREE = ("remove_leftovers", "simplify", "fuse_affine", "deduplicate", "fold_constants", "fuse", "focus_to_conv", "remove_dead")


@given(bodies(), st.permutations(FREE))
@settings(max_examples=60, deadline=None)
def test_all_passes_that_keep_results_keep_them_together(body: tuple[str, dict[str, Any]], order: list[str]) -> None:
    """Judged here by ONNX's own reference evaluator, not by the harness that the passes run under."""
    from onnx.reference import ReferenceEvaluator

    before = door.checked(graphs.model("float[b, 4, 6, 6] x => float[b, 4, 6, 6] y", body[0], **body[1]), "before")
    model, prover = before, Prover(Bounds())
    for kind in order:
        step = made(kind)
        assert step.keeps_results
        model, _ = prover.apply(step, model)
    x = np.random.default_rng(1).normal(size=(2, 4, 6, 6)).astype(np.float32)
    wanted, found = (np.asarray(next(iter(ReferenceEvaluator(m).run(None, {"x": x}))), np.float32) for m in (before, model))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
