"""fp16 and bf16: where Casts stand, what stays in fp32 and why, what half costs, and that NVIDIA's builder takes the result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import outer_graphs
import pytest
import tiny_detector
from graphs import model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from generator import graph, half_choice, half_measure, half_oracle, precisions, preflight, preflight_run, sampling, weights
from generator.cli import run
from generator.compare import tensors
from generator.errors import SurgeryError
from generator.frontends import Interface
from generator.half import Half
from generator.half_graph import KEPT
from generator.plugin import family
from generator.precisions.bf16 import Bf16
from generator.precisions.fp16 import Fp16
from generator.preflight_verdict import Graph, Terms
from generator.tensors import Tensor

FP16, BF16, FP32 = TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.FLOAT
RANDOM = np.random.default_rng(0)
Arrays = dict[str, Any]


def values(*shape: int, scale: float = 0.3) -> Any:
    return RANDOM.normal(size=shape).astype(np.float32) * np.float32(scale)


def network() -> onnx.ModelProto:
    body = """
        c = Conv<pads = [1, 1, 1, 1]>(x, w, b) r = Relu(c) p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r)
        f = Flatten(p) y = Gemm(f, v, u)
    """
    return model(
        "float[batch, 3, 8, 8] x => float[batch, 5] y", body, w=values(4, 3, 3, 3), b=values(4), v=values(64, 5), u=values(5)
    )


def convert(
    folder: Path, made: onnx.ModelProto, precision: Half | None = None, samples: Sequence[Arrays] = ()
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The graph in half, sound, and what was said of it."""
    precision = precision or Fp16()
    onnx.save(made, folder / "fp32.onnx")
    given_samples = samples or sampling.samples(Interface(*graph.interface(made)))
    said = precision.apply(folder / "fp32.onnx", folder / "half.onnx", given_samples)
    after = graph.checked(graph.load(folder / "half.onnx"), "the test")
    sound(after)
    return after, said


def sound(made: onnx.ModelProto) -> None:
    """No Cast behind another that this could have been led past, none that changes nothing, none doubled, no unused weight."""
    types = kinds(made)
    casts = {node.output[0]: node for node in made.graph.node if node.op_type == "Cast"}
    for node in casts.values():
        assert types[node.input[0]] != types[node.output[0]], node
        before = casts.get(node.input[0])
        assert before is None or {types[before.input[0]], types[node.output[0]]}.isdisjoint({FP16, BF16}), node
    pairs = [(node.input[0], types[node.output[0]]) for node in casts.values()]
    assert len(pairs) == len(set(pairs))
    read = set(graph_reads(made.graph))
    assert all(init.name in read for init in made.graph.initializer)


def graph_reads(one: onnx.GraphProto) -> Iterator[str]:
    for node in one.node:
        yield from node.input
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graph_reads(attribute.g)
    yield from (value.name for value in one.output)


def kinds(made: onnx.ModelProto) -> dict[str, int]:
    """The element type of every tensor."""
    inferred = onnx.shape_inference.infer_shapes(made, strict_mode=True, check_type=True).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    return {v.name: v.type.tensor_type.elem_type for v in values} | {i.name: i.data_type for i in made.graph.initializer}


def kept(made: onnx.ModelProto) -> dict[str, str]:
    """Node -> why it stayed, as its metadata say."""
    return {n.name: p.value for n in made.graph.node for p in n.metadata_props if p.key == KEPT}


def ops(made: onnx.ModelProto, op: str) -> int:
    return sum(node.op_type == op for node in made.graph.node)


def answers(folder: Path, precision: Half, sample: Arrays) -> tuple[Arrays, Arrays]:
    """fp32, and half by its oracle."""
    oracle = precision.oracle(folder / "half.onnx", folder)
    return graph.run(graph.session(folder / "fp32.onnx", False), sample), graph.run(graph.session(oracle), sample)


@pytest.mark.parametrize(("precision", "kind"), [(Fp16(), FP16), (Bf16(), BF16)])
def test_casts_stand_at_the_borders_and_weights_are_half(tmp_path: Path, precision: Half, kind: int) -> None:
    made, said = convert(tmp_path, network(), precision)
    assert ops(made, "Cast") == 2
    assert graph.interface(made) == graph.interface(network())
    inner = {name: found for name, found in kinds(made).items() if name not in ("x", "y")}
    assert set(inner.values()) == {kind}
    assert said["nodes"] == f"5 in {precision.kind}, 0 in fp32"
    assert "kept in fp32" not in said
    size = {
        path: sum(weights.size(i) for i in graph.load(tmp_path / path).graph.initializer) for path in ("fp32.onnx", "half.onnx")
    }
    assert size["half.onnx"] * 2 == size["fp32.onnx"]


@pytest.mark.parametrize("precision", [Fp16(), Bf16()])
def test_half_is_near_and_not_the_same(tmp_path: Path, precision: Half) -> None:
    convert(tmp_path, network(), precision)
    before, after = answers(tmp_path, precision, {"x": values(2, 3, 8, 8, scale=1)})
    bounds = precision.allowed()
    assert bounds is not None
    assert tensors(before, after, bounds.absolute, bounds.relative, bounds.of_largest).ok
    assert np.abs(before["y"] - after["y"]).max() > 1e-5


OVERFLOWS = "m = Mul(x, c) r = Sigmoid(x) d = Div(m, c) y = Add(d, r)"


def test_what_overflows_stays_in_fp32_and_says_so(tmp_path: Path) -> None:
    made = model("float[batch, 4] x => float[batch, 4] y", OVERFLOWS, c=np.float32(60000))
    after, said = convert(tmp_path, made, samples=[{"x": np.full((1, 4), 2, np.float32)}])
    assert kept(after) == {"mul_0": "overflow: |m| reaches 1.2e+05", "div_2": "overflow: |m| reaches 1.2e+05"}
    assert said["kept in fp32"] == "overflow 2 (mul_0, ...)"
    assert said["nodes"] == "2 in fp16, 2 in fp32"
    before, found = answers(tmp_path, Fp16(), {"x": np.full((1, 4), 2, np.float32)})
    assert np.allclose(before["y"], found["y"], rtol=2e-3)


def test_headroom_decides_how_near_to_the_limit_is_too_near(tmp_path: Path) -> None:
    made = model("float[batch, 4] x => float[batch, 4] y", "m = Mul(x, c) y = Sigmoid(m)", c=np.float32(1000))
    sample = [{"x": np.full((1, 4), 10, np.float32)}]  # 10,000 of 65,504
    with pytest.raises(SurgeryError, match=r"nothing in the graph can be fp16: overflow 2"):
        convert(tmp_path, made, samples=sample)
    assert convert(tmp_path, made, Fp16(headroom=4), sample)[1]["nodes"] == "2 in fp16, 0 in fp32"


def test_bf16_has_the_range_of_fp32(tmp_path: Path) -> None:
    made = model("float[batch, 4] x => float[batch, 4] y", OVERFLOWS, c=np.float32(60000))
    assert convert(tmp_path, made, Bf16(), [{"x": np.full((1, 4), 2, np.float32)}])[1]["nodes"] == "4 in bf16, 0 in fp32"


def test_infinities_of_a_mask_stay_in_fp32(tmp_path: Path) -> None:
    body = "a = MatMul(x, w) h = Where(m, a, low) s = Softmax(h) y = MatMul(s, w)"
    made = model(
        "float[batch, 4, 4] x, bool[batch, 4, 4] m => float[batch, 4, 4] y", body, w=values(4, 4), low=np.float32(-3.4e38)
    )
    mask = np.tril(np.ones((2, 4, 4), bool))
    after, _ = convert(tmp_path, made, samples=[{"x": values(2, 4, 4), "m": mask}])
    assert list(kept(after)) == ["where_1", "softmax_2"]
    before, found = answers(tmp_path, Fp16(), {"x": values(2, 4, 4), "m": mask})
    assert np.allclose(before["y"], found["y"], atol=2e-3)


@pytest.mark.parametrize(
    ("body", "constants", "node", "why"),
    [
        (
            "s = Sigmoid(x) n = Sqrt(s) e = Add(n, tiny) y = Relu(e)",
            {"tiny": 1e-12},
            "add_2",
            "weight: tiny vanishes: 1e-12 would be 0",
        ),
        (
            "s = Sigmoid(x) z = Mul(s, by) y = Div(z, by)",
            {"by": [1, 1, 1, 1e-9]},
            "div_2",
            "weight: by vanishes: 1e-09 would be 0",
        ),
        ("s = Sigmoid(x) y = Mul(s, big)", {"big": 1e5}, "mul_1", "weight: big overflows: it reaches 1e+05"),
        ("s = Sigmoid(x) y = Mul(s, low)", {"low": [3e-7, 4e-7, 3e-7, 5e-7]}, "mul_1", "weight: low loses "),
        ("s = Sigmoid(x) y = Mul(s, some)", {"some": [1, 1, 1, 1e-9]}, "", ""),
    ],
)
def test_constants_that_half_cannot_hold(tmp_path: Path, body: str, constants: Arrays, node: str, why: str) -> None:
    named: Arrays = {name: np.array(value, np.float32) for name, value in constants.items()}
    after, _ = convert(tmp_path, model("float[batch, 4] x => float[batch, 4] y", body, **named))
    found = kept(after)
    assert list(found) == ([node] if node else [])
    assert found.get(node, "").startswith(why)


def test_the_spec_keeps_operators_and_nodes(tmp_path: Path) -> None:
    after, said = convert(tmp_path, network(), Fp16(keep=("Relu", "gem*")))
    assert kept(after) == {"relu_1": "keep: Relu", "gemm_4": "keep: gem*"}
    assert said["kept in fp32"] == "keep 2 (relu_1, ...)"


def test_a_pattern_that_fits_nothing(tmp_path: Path) -> None:
    with pytest.raises(SurgeryError, match=r"no operator type or node for `keep` like 'Gem'; did you mean 'Gemm'"):
        convert(tmp_path, network(), Fp16(keep=("Gem",)))


def test_nothing_to_convert(tmp_path: Path) -> None:
    with pytest.raises(SurgeryError, match=r"nothing in the graph can be fp16: keep 1 \(sigmoid_0\); leave `precision` out"):
        convert(tmp_path, model("float[batch, 4] x => float[batch, 4] y", "y = Sigmoid(x)"), Fp16(keep=("Sigmoid",)))
    with pytest.raises(SurgeryError, match=r"no node of it computes in fp32"):
        convert(tmp_path, model("float[batch, 4] x => float[batch, 2, 2] y", "y = Reshape(x, s)", s=np.array([0, 2, 2])))
    with pytest.raises(SurgeryError, match=r"no node of it computes in fp32"):
        convert(tmp_path, model("int64[batch, 4] x => int64[batch, 4] y", "y = Add(x, x)"))


def test_a_node_that_overflows_only_in_half_is_named(tmp_path: Path) -> None:
    """1108.6 is 1109 in FP16, and 109 * 602 = 65,618 is more than it holds, where 108.6 * 602 is not."""
    made = model(
        "float[batch, 1] x => float[batch, 1] y",
        "a = Sub(x, c) b = Mul(a, d) y = Sigmoid(b)",
        c=np.float32(1000),
        d=np.float32(602),
    )
    with pytest.raises(SurgeryError, match=r"node mul_1 \(Mul\) gives NaN or infinity, where fp32 gives at most 6.54e\+04"):
        convert(tmp_path, made, Fp16(headroom=1), [{"x": np.full((1, 1), 1108.6, np.float32)}])


def half_graph() -> onnx.ModelProto:
    """A graph in FP16 that overflows on its way."""
    body = "h = Cast<to = 10>(x) m = Mul(h, c) d = Div(m, c) y = Cast<to = 1>(d)"
    return model("float[batch, 2] x => float[batch, 2] y", body, c=np.float16(60000))


def test_the_oracle_rounds_where_onnxruntime_does_not(tmp_path: Path) -> None:
    """The provider computes this graph in FP32 and passes over the overflow; should that change, this test says so."""
    onnx.save(half_graph(), tmp_path / "half.onnx")
    x = np.array([[2, 0.5]], np.float32)
    assert np.isfinite(graph.run(graph.session(tmp_path / "half.onnx", optimise=False), {"x": x})["y"]).all()
    for optimise in (False, True):
        oracle = graph.session(half_oracle.write(tmp_path / "half.onnx", "FLOAT16", tmp_path / "oracle.onnx"), optimise)
        assert np.isinf(graph.run(oracle, {"x": x})["y"][0, 0])
        assert graph.run(oracle, {"x": x})["y"][0, 1] == 0.5


@pytest.mark.parametrize(("kind", "number", "dtype"), [("FLOAT16", 10, np.float16), ("BFLOAT16", 16, ml_dtypes.bfloat16)])
def test_the_oracle_rounds_as_the_type_does(tmp_path: Path, kind: str, number: int, dtype: Any) -> None:
    made = model(
        "float[batch, 64] x => float[batch, 64] y", f"h = Cast<to = {number}>(x) s = Mul(h, h) y = Cast<to = 1>(s)", opset=22
    )
    onnx.save(made, tmp_path / "half.onnx")
    x = values(3, 64, scale=5)
    found = graph.run(graph.session(half_oracle.write(tmp_path / "half.onnx", kind, tmp_path / "oracle.onnx")), {"x": x})["y"]
    half = x.astype(dtype).astype(np.float32)
    assert np.array_equal(found, (half * half).astype(dtype).astype(np.float32))


def test_heads_and_nms_stay_and_other_nodes_of_such_names_do_not(tmp_path: Path) -> None:
    made = network()
    made.graph.node[4].name, made.graph.node[1].name = "head/yolov8/Gemm_3", "/head/Relu"
    after, said = convert(tmp_path, made)
    assert kept(after) == {"head/yolov8/Gemm_3": "head and NMS"}
    assert "of f, which reaches" in said["largest difference"]


def test_shapes_indices_sums_and_selection(tmp_path: Path) -> None:
    body = """
        n = Shape(x) i = Slice(n, one, two) fl = Cast<to = 1>(i) q = Div(fl, half) back = Cast<to = 7>(q)
        a = Sigmoid(x) pos = Mul(a, big) low = Floor(pos) at = Cast<to = 7>(low)
        sq = Mul(a, a) mean = ReduceMean<keepdims = 1>(sq, axis) root = Sqrt(mean) norm = Div(a, root)
        best, which = TopK(norm, back) y = Tanh(norm)
    """
    made = model(
        "float[batch, 8] x => float[batch, 8] y, float[batch, k] best, int64[batch, k] which, int64[batch, 8] at", body,
        one=np.array([1]), two=np.array([2]), half=np.array([4], np.float32), big=np.float32(100), axis=np.array([1]),
    )  # fmt: skip
    after, _ = convert(tmp_path, made)
    assert kept(after) == {
        "div_3": "it computes from shapes alone", "mul_6": "indices are made of it", "floor_7": "indices are made of it",
        "mul_9": "sums", "reducemean_10": "sums", "sqrt_11": "sums", "topk_13": "it selects by score",
    }  # fmt: skip


def test_control_flow_stays_whole_with_what_it_reads(tmp_path: Path) -> None:
    body = """
        a = Sigmoid(x)
        b = If(c) <
            then_branch = t () => (float[m, 4] tt) { tt = Exp(a) }, else_branch = e () => (float[n, 4] ee) { ee = Mul(a, w) }
        >
        y = Tanh(b)
    """
    made = model("float[batch, 4] x, bool c => float[batch, 4] y", body, w=values(4))
    given_samples = [{"x": values(2, 4), "c": np.array(True)}, {"x": values(2, 4), "c": np.array(False)}]
    after, _ = convert(tmp_path, made, samples=given_samples)
    assert kept(after) == {"if_1": "control flow"}
    for sample in given_samples:
        before, found = answers(tmp_path, Fp16(), sample)
        assert np.allclose(before["y"], found["y"], atol=2e-3)


def test_types_decide_what_an_operator_takes(tmp_path: Path) -> None:
    """Resize: scales and roi are FP32 whatever X is. Einsum has no bfloat16 in opset 22."""
    made = model(
        "float[batch, 1, 4, 4] x => float[batch, 1, 8, 8] y, float[batch, 1, 4] z",
        'a = Sigmoid(x) y = Resize<mode = "nearest">(a, roi, scales) z = Einsum<equation = "bcij->bci">(a)',
        scales=np.array([1, 1, 2, 2], np.float32),
        roi=np.array([0, 0, 0, 0, 1, 1, 1, 1], np.float32),
    )
    after, _ = convert(tmp_path, made)
    assert not kept(after)
    assert kinds(after)["scales"] == kinds(after)["roi"] == FP32
    assert kept(convert(tmp_path, made, Bf16())[0]) == {"einsum_2": "ONNX has no bfloat16 for it in opset 22"}


def test_an_output_that_follows_no_input_keeps_its_type(tmp_path: Path) -> None:
    """LayerNormalization may give its mean in bfloat16 by the schema; its stash_type says FP32."""
    body = "y, mean = LayerNormalization(x, one) z = Sigmoid(mean)"
    made = model("float[batch, 4] x => float[batch, 4] y, float[batch, 1] z", body, one=np.ones(4, np.float32))
    assert kinds(convert(tmp_path, made, Bf16())[0])["mean"] == FP32


def test_nan_and_infinity_are_measured() -> None:
    made = model("float[a] x => float[a] y", "d = Div(x, x) m = Mul(x, x) y = Add(d, m)")
    checked = graph.checked(made, "the test")
    found, (answer,) = half_measure.largest(checked, [{"x": np.array([1, -3, 0], np.float32)}], ["y"])
    assert np.isnan(found["d"])
    assert (found["x"], found["m"], answer["y"][1]) == (3, 9, 10)
    assert np.isnan(half_measure.largest(checked, [{"x": np.array([1e30], np.float32)}], [])[0]["m"])
    assert half_measure.largest(checked, [{"x": np.zeros(0, np.float32)}], [])[0]["m"] == 0


def test_casts_of_the_graph_are_led_past(tmp_path: Path) -> None:
    """uint8 pixels become half at once; what reads FP32 still gets it."""
    made = model(
        "uint8[batch, 4] x => float[batch, 4] y, float[batch, 1] s",
        "f = Cast<to = 1>(x) y = Sigmoid(f) s = ReduceSum<keepdims = 1>(f, axis)", axis=np.array([1]),
    )  # fmt: skip
    after, _ = convert(tmp_path, made)
    assert ops(after, "Cast") == 3  # to FP32 for the sum, to FP16 for Sigmoid, and back for y


def test_a_weight_is_converted_once(tmp_path: Path) -> None:
    """Two in half share it; one in fp32 reads it as it was."""
    body = "a = MatMul(x, w) b = Tanh(a) c = MatMul(b, w) d = Sub(c, w) y = Tanh(d)"
    made = model("float[4, 4] x => float[4, 4] y", body, w=values(4, 4))
    assert [init.data_type for init in convert(tmp_path, made)[0].graph.initializer] == [FP16]
    after, _ = convert(tmp_path, made, Fp16(keep=("Sub",)))
    assert sorted(init.data_type for init in after.graph.initializer) == [FP32, FP16]


@pytest.mark.parametrize("inputs", ["convert", ("x",)])
def test_inputs_and_outputs_as_the_spec_says(tmp_path: Path, inputs: Any) -> None:
    precision = Fp16(inputs=inputs, outputs="convert")
    made, _ = convert(tmp_path, network(), precision)
    assert ops(made, "Cast") == 0
    promised = precision.tensors(*graph.interface(network()))
    assert promised == graph.interface(made)
    assert [tensor.dtype for side in promised for tensor in side] == ["FP16", "FP16"]
    x = values(2, 3, 8, 8)
    before, _ = answers_of(tmp_path, {"x": x})
    found = graph.run(graph.session(precision.oracle(tmp_path / "half.onnx", tmp_path)), {"x": x.astype(np.float16)})["y"]
    assert found.dtype == np.float16
    assert np.allclose(before["y"], found, atol=5e-3)


def answers_of(folder: Path, sample: Arrays) -> tuple[Arrays, None]:
    return graph.run(graph.session(folder / "fp32.onnx", False), sample), None


def test_inputs_that_cannot_be_converted() -> None:
    pixels, image = Tensor("pixels", "UINT8", (3,)), Tensor("image", "FP32", (3,))
    with pytest.raises(SurgeryError, match=r"no input in FP32 called 'imag'; did you mean 'image'"):
        Fp16(inputs=("imag",)).tensors((image,), ())
    with pytest.raises(SurgeryError, match=r"no input is in FP32: pixels UINT8\[batch, 3\]; leave `inputs` out"):
        Fp16(inputs="convert").tensors((pixels,), ())


@pytest.mark.parametrize("precision", [Fp16(), Bf16()])
def test_weights_outside_stay_outside_and_are_half_as_large(tmp_path: Path, precision: Half) -> None:
    weights_before = outer_graphs.network()
    graph.save(weights_before, tmp_path / "fp32.onnx", limit=0)
    samples = sampling.samples(Interface(*graph.interface(weights_before)))
    precision.apply(tmp_path / "fp32.onnx", tmp_path / "half.onnx", samples[:1])
    sizes = {name: (tmp_path / f"{name}.onnx.data").stat().st_size for name in ("fp32", "half")}
    assert sizes["half"] < 0.6 * sizes["fp32"]
    assert (tmp_path / "half.onnx").stat().st_size < 100_000
    oracle = graph.session(precision.oracle(tmp_path / "half.onnx", tmp_path))
    before = graph.run(graph.session(tmp_path / "fp32.onnx"), samples[0])
    assert tensors(before, graph.run(oracle, samples[0]), 1e-4, 0.0, 16 * precision.rounding).ok


def test_a_plugin_ends_what_is_measured(tmp_path: Path) -> None:
    """What TensorRT alone runs is kept, and what comes before it compared."""
    body = "a = Sigmoid(x) b = Mul(a, a) y = my.Plugin(b)"
    made = model("float[batch, 4] x => float[batch, 4] y", body)
    onnx.save(made, tmp_path / "fp32.onnx")
    Fp16().apply(tmp_path / "fp32.onnx", tmp_path / "half.onnx", [{"x": values(2, 4)}])
    after = graph.load(tmp_path / "half.onnx")
    assert kept(after) == {"plugin_2": "its types are not known"}
    assert ops(after, "Cast") == 2


def test_what_onnxruntime_does_not_run_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(SurgeryError, match=r"does not run the graph with x \[2, 5\], so nothing can be measured"):
        convert(
            tmp_path, model("float[a, b] x => float[a, c] y", "y = MatMul(x, w)", w=values(4, 4)), samples=[{"x": values(2, 5)}]
        )


@pytest.mark.parametrize(
    ("numbers", "all_of_it", "why"),
    [
        ([1.0, 70000.0], False, "overflows"), ([np.nan], False, "overflows"), ([1e-9], False, "vanishes"),
        ([1.0, 1e-9], True, "vanishes"), ([1.0, 1e-9], False, ""), ([1e-7, 2e-7], False, "loses"), ([], False, ""),
        ([0.0], True, ""),
    ],
)  # fmt: skip
def test_judge(numbers: list[float], all_of_it: bool, why: str) -> None:
    form = half_choice.Format("float16", 65504.0, 2**-11)
    assert half_choice.judge(np.array(numbers, np.float32), form, all_of_it).startswith(why or "")
    assert bool(half_choice.judge(np.array(numbers, np.float32), form, all_of_it)) == bool(why)


def test_bounds_follow_from_the_format() -> None:
    """A spec that says one of them leaves the others."""
    for precision, bits in ((Fp16(), 11), (Bf16(), 8)):
        bounds = precision.allowed()
        assert bounds is not None
        assert bounds.of_largest == 16 * 2.0**-bits
        assert bounds.score == 32 * 2.0**-bits
    said = Fp16.model_validate({"bounds": {"score": 0.5}}).allowed()
    assert said is not None
    assert (said.score, said.of_largest) == (0.5, 2.0**-7)


def test_a_share_of_the_largest_number() -> None:
    a, b = {"y": np.array([100.0, 0.0])}, {"y": np.array([100.0, 0.5])}
    assert tensors(a, b, 0.0, 0.0, 0.006).ok
    assert not tensors(a, b, 0.0, 0.0, 0.004).ok
    assert not tensors(a, b, 0.0, 0.0).ok


def test_a_precision_is_one_file() -> None:
    """What int8 needs: the base class alone."""
    base = precisions.Precision
    assert {"tensors", "apply", "oracle", "allowed"} <= set(vars(base))
    fp32 = family("generator.precisions")["fp32"]()
    assert isinstance(fp32, base)
    assert fp32.oracle(Path("a"), Path("b")) == Path("a")


def test_moves_between_what_is_kept_are_not_cast_down_and_up(tmp_path: Path) -> None:
    body = "t = Transpose<perm = [0, 2, 1]>(x) r = Reshape(t, wide) s = Sigmoid(r) q = Reshape(s, flat) y = Tanh(q)"
    made = model("float[batch, 2, 4] x => float[batch, 8] y", body, wide=np.array([0, 8]), flat=np.array([0, 8]))
    after, _ = convert(tmp_path, made, Fp16(keep=("Sigmoid",)))
    assert list(kept(after)) == ["transpose_0", "reshape_1", "sigmoid_2", "reshape_3"]
    assert ops(after, "Cast") == 2


UNARY = ["Sigmoid", "Tanh", "Relu", "Softplus", "Neg", "Abs", "HardSwish", "Elu", "Identity", "Erf", "Softmax"]
BINARY = ["Add", "Sub", "Mul", "Max", "Min", "Where"]


@st.composite
def bodies(draw: st.DrawFn) -> str:
    """A random graph of named tensors [batch, 4], with constants, comparisons, shapes, sums and moves among them."""
    names, lines = ["x", "s"], ["s = Mul(x, v)"]
    for number in range(draw(st.integers(2, 9))):
        new, a, b = f"t{number}", draw(st.sampled_from(names)), draw(st.sampled_from(names))
        kind = draw(st.sampled_from(["unary", "binary", "matmul", "move", "mean", "concat"]))
        if kind == "unary":
            lines.append(f"{new} = {draw(st.sampled_from(UNARY))}({a})")
        elif kind == "binary":
            op = draw(st.sampled_from(BINARY))
            lines.append(
                f"{new}m = Greater({a}, {b}) {new} = Where({new}m, {a}, {b})" if op == "Where" else f"{new} = {op}({a}, {b})"
            )
        elif kind == "matmul":
            lines.append(f"{new}p = MatMul({a}, w) {new} = Tanh({new}p)")
        elif kind == "move":
            lines.append(
                f"{new}r = Reshape({a}, wide) {new}t = Transpose<perm = [0, 2, 1]>({new}r) {new} = Reshape({new}t, flat)"
            )
        elif kind == "mean":
            lines.append(f"{new}n = ReduceMean<keepdims = 1>({a}, axis) {new} = Sub({b}, {new}n)")
        else:
            lines.append(f"{new}c = Concat<axis = 1>({a}, {b}) {new}l, {new} = Split<axis = 1, num_outputs = 2>({new}c)")
        names.append(new)
    return " ".join([*lines, f"h = Add({names[-1]}, {draw(st.sampled_from(names))}) y = Tanh(h)"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(body=bodies(), keep=st.sampled_from([(), ("Add",), ("t*",), ("Tanh",)]), half=st.sampled_from([Fp16, Bf16]))
def test_random_graphs_stay_valid_and_near(tmp_path: Path, body: str, keep: tuple[str, ...], half: type[Half]) -> None:
    made = model(
        "float[batch, 4] x => float[batch, 4] y", body,
        w=values(4, 4), v=values(1, 4), wide=np.array([0, 2, 2]), flat=np.array([0, 4]), axis=np.array([1]),
    )  # fmt: skip
    unused = {init.name for init in made.graph.initializer} - set(graph_reads(made.graph))
    for init in [init for init in made.graph.initializer if init.name in unused]:
        made.graph.initializer.remove(init)
    there = {node.op_type for node in made.graph.node} | {f"{node.name[0]}*" for node in made.graph.node}
    precision = half(keep=tuple(name for name in keep if name in there))
    if all(node.op_type in precision.keep for node in made.graph.node if node.op_type != "Identity"):
        return
    sample = {"x": values(2, 4, scale=1)}
    after, _ = convert(tmp_path, made, precision, [sample])
    assert graph.interface(after) == graph.interface(made)
    before, found = answers(tmp_path, precision, sample)
    assert np.abs(before["y"] - found["y"]).max() <= 64 * precision.rounding


BARE = "name: bare\ncheckpoint: {kind: onnx, file: net.onnx}\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare model whose input and output are FP16."""
    folder = tmp_path_factory.mktemp("half")
    onnx.save(network(), folder / "net.onnx")
    (folder / "bare.yaml").write_text(f"{BARE}precision: {{kind: fp16, inputs: convert, outputs: [y]}}\n")
    assert run(["build", str(folder / "bare.yaml"), "-o", str(folder / "repo")]) == 0
    return folder


def climb(spec: Path, repository: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    capsys.readouterr()
    code = run(["verify", str(spec), "-r", str(repository), "--json"])
    captured = capsys.readouterr()
    return code, {rung["name"]: rung for rung in json.loads(captured.out or "[]")}, captured.err


def test_served_in_fp16_on_a_real_server(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, rungs, error = climb(built / "bare.yaml", built / "repo", capsys)
    assert code == 0, error
    assert list(rungs) == ["exported ONNX", "after surgery", "in fp16", "served"]
    assert rungs["in fp16"]["result"]["max_abs"] > 1e-5
    config = (built / "repo" / "bare" / "config.pbtxt").read_text()
    assert config.count("data_type: TYPE_FP16") == 2


def test_compared_it_gets_its_own_types(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """perf_analyzer sends raw bytes: FP32 for an FP16 input would be twice too many."""
    shutil.copy(built / "net.onnx", tmp_path / "net.onnx")
    half = "variants:\n  half:\n    precision: {kind: fp16, inputs: convert, outputs: [y]}\n"
    (tmp_path / "bare.yaml").write_text(f"{BARE}{half}")
    assert run(["build", str(tmp_path / "bare.yaml"), "-o", str(tmp_path / "repo")]) == 0
    code = run(["compare", str(tmp_path / "bare.yaml"), "-r", str(tmp_path / "repo"), "--concurrency", "1", "--rounds", "2"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert captured.out.count("ok, ") == 2


def test_another_graph_in_the_repository(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(built / "repo", tmp_path / "repo")
    path = tmp_path / "repo" / "bare" / "1" / "model.onnx"
    made = onnx.load(path)
    for init in [init for init in made.graph.initializer if init.data_type == FP16]:
        init.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(init) * np.float16(1.1), init.name))
    onnx.save(made, path)
    code, rungs, error = climb(built / "bare.yaml", tmp_path / "repo", capsys)
    assert code == 1
    assert rungs, error
    assert [name for name, rung in rungs.items() if not rung["ok"]] == ["in fp16", "served"]
    assert "first rung that diverges is 'in fp16'" in error


@pytest.mark.full
def test_a_detector_served_in_fp16(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tiny_detector.write(tmp_path, seed=21)
    spec.write_text(f"{spec.read_text()}precision: {{kind: fp16}}\n")
    assert run(["build", str(spec), "-o", str(tmp_path / "repo")]) == 0
    code, rungs, error = climb(spec, tmp_path / "repo", capsys)
    assert code == 0, error
    found = rungs["in fp16"]["result"]
    assert found["matched"] == found["boxes"] > 0


@pytest.mark.parametrize("said", ["precision: {kind: fp16}\n", ""], ids=["measured on it", "verified with it"])
@pytest.mark.parametrize("content", [b"no picture", b"\xff\xd8\xff\xe0 cut off"])
def test_a_picture_that_cannot_be_decoded_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, said: str
) -> None:
    spec = tiny_detector.write(tmp_path, seed=22)
    text = spec.read_text()
    assert "images: " in text
    (tmp_path / "broken.jpg").write_bytes(content)
    spec.write_text(text.replace("images: [", "images: [broken.jpg, ") + said)
    assert run(["build", str(spec), "-o", str(tmp_path / "repo")]) == int(bool(said))
    assert said or run(["verify", str(spec), "-r", str(tmp_path / "repo")]) == 1
    error = capsys.readouterr().err
    assert f"{tmp_path / 'broken.jpg'}: " in error
    assert "verify.images.0: " in error
    assert "Traceback" not in error


def test_a_name_with_brackets_is_kept(tmp_path: Path) -> None:
    made = network()
    made.graph.node[0].name = "blocks[0]/Conv"
    after, _ = convert(tmp_path, made, Fp16(keep=("blocks[0]/Conv",)))
    (kept,) = [node for node in after.graph.node if any(prop.key == KEPT for prop in node.metadata_props)]
    assert kept.name == "blocks[0]/Conv"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("precision: {kind: bf16}", "bare.yaml:3: precision.kind: target onnxruntime does not run bf16; say one that it runs"),
        ("precision: {kind: fp16, inputs: [z]}", "bare.yaml:3: precision: no input in FP32 called 'z'; there are: x"),
        ("precision: {kind: fp16, keep: [Convv]}", "no operator type or node for `keep` like 'Convv'; did you mean 'Conv'"),
        ("precision: {kind: fp16, headroom: 0}", "bare.yaml:3: precision.headroom: "),
    ],
)
def test_mistakes_in_the_spec_are_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], said: str, message: str
) -> None:
    onnx.save(network(), tmp_path / "net.onnx")
    (tmp_path / "bare.yaml").write_text(f"{BARE}{said}\n")
    assert run(["build", str(tmp_path / "bare.yaml"), "-o", str(tmp_path / "repo")]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


CONVOLUTIONS = """
    c = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(x, w, b) n = BatchNormalization(c, one, b, b, one) s = Sigmoid(n)
    m = Mul(n, s) h = HardSwish(m) t = ConvTranspose<strides = [2, 2]>(h, d) p = PRelu(t, b4)
    r = Resize<mode = "linear">(p, , scales) i = InstanceNormalization(r, one, b) k = Clip(i, low, high)
    g = GlobalAveragePool(k) f = Flatten(g) l = Gemm(f, v, b) y = Softmax(l)
"""
LSTM = """
    t = Transpose<perm = [1, 0, 2]>(x) l, lh, lc = LSTM<hidden_size = 4>(t, w, r, b) q = Squeeze(l, axis) z = Relu(q)
    y = MatMul(z, v)
"""
GRU = """
    t = Transpose<perm = [1, 0, 2]>(x) g, gh = GRU<hidden_size = 4, linear_before_reset = 1>(t, w, r, b) q = Squeeze(g, axis)
    z = Relu(q) y = MatMul(z, v)
"""
ATTENTION = """
    q = MatMul(x, wq) k = MatMul(x, wk) kt = Transpose<perm = [0, 2, 1]>(k) a = MatMul(q, kt) d = Div(a, root)
    h = Where(m, d, least) s = Softmax(h) o = MatMul(s, x) r = Add(x, o) n = LayerNormalization<epsilon = 0.00001>(r, one, zero)
    sq = Pow(n, two) mean = ReduceMean<keepdims = 1>(sq, last) e = Add(mean, tiny) root2 = Sqrt(e) rms = Div(n, root2)
    u = MatMul(rms, wf) er = Erf(u) pl = Add(er, plus) ge = Mul(u, pl) y = Mul(ge, half)
"""
NETWORKS = {
    "convolutions": model(
        "float[batch, 3, 8, 8] x => float[batch, 4] y", CONVOLUTIONS, w=values(4, 3, 3, 3), b=values(4), v=values(4, 4),
        d=values(4, 4, 2, 2), b4=values(4, 1, 1), scales=np.array([1, 1, 2, 2], np.float32), low=np.float32(-9),
        high=np.float32(9), one=np.ones(4, np.float32),
    ),
    "lstm": model(
        "float[batch, 5, 3] x => float[5, batch, 2] y", LSTM, w=values(1, 16, 3), r=values(1, 16, 4), b=values(1, 32),
        axis=np.array([1]), v=values(4, 2),
    ),
    "gru": model(
        "float[batch, 5, 3] x => float[5, batch, 2] y", GRU, w=values(1, 12, 3), r=values(1, 12, 4), b=values(1, 24),
        axis=np.array([1]), v=values(4, 2),
    ),
    "attention": model(
        "float[batch, 4, 8] x, bool[batch, 4, 4] m => float[batch, 4, 16] y", ATTENTION, wq=values(8, 8), wk=values(8, 8),
        root=np.float32(8**0.5), least=np.float32(-3.4e38), one=np.ones(8, np.float32), zero=np.zeros(8, np.float32),
        two=np.float32(2), last=np.array([-1]), tiny=np.float32(1e-12), wf=values(8, 16), plus=np.float32(1),
        half=np.float32(0.5),
    ),
}  # fmt: skip


@pytest.mark.parametrize("precision", [Fp16(), Bf16()])
@pytest.mark.parametrize("name", NETWORKS)
def test_nvidias_builder_compiles_it_as_a_strongly_typed_network(tmp_path: Path, name: str, precision: Half) -> None:
    """TensorRT for RTX, in an environment of its own (290 MB once): what it compiles for compute capability 8.9."""
    made, said = convert(tmp_path, NETWORKS[name], precision)
    verdict = preflight.judge(Graph(name, precision.kind, tmp_path / "half.onnx"), Terms(preflight_run.parser()))
    assert not verdict.problems, verdict.problems
    assert verdict.compiled
    assert set(kinds(made).values()) >= {FP16 if precision.kind == "fp16" else BF16}
    assert int(said["nodes"].split()[0]) >= 2
