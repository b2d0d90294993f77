"""What inputs, axes and samples mean; scalars; arrays on their way between processes; names of nested results."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from pydantic import ValidationError

from generator import feeds, graph, sampling
from generator.errors import ExportError
from generator.flatten import Flat
from generator.frontends import Interface
from generator.inputs import Axis, Input, samples, sizes
from generator.scalars import lift
from generator.tensors import Tensor


def axis(**said: Any) -> Axis:
    return Axis.model_validate(said)


@given(st.integers(1, 600), st.integers(0, 600), st.integers(1, 40))
def test_every_length_that_is_tried_is_allowed(low: int, more: int, step: int) -> None:
    try:
        found = axis(min=low, max=low + more, multiple_of=step)
    except ValidationError:
        assert not any(n % step == 0 for n in range(low, low + more + 1))
        return
    lengths = found.lengths()
    assert len(lengths) == 3
    assert all(low <= n <= low + more and n % step == 0 for n in lengths)
    if sum(n % step == 0 for n in range(low, low + more + 1)) > 1:
        assert lengths[0] != lengths[1]


def test_an_axis_of_which_nothing_is_said_gets_three_lengths() -> None:
    assert axis().lengths() == (64, 96, 32)
    assert axis(example=48, multiple_of=16).lengths() == (48, 64, 32)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"min": 33, "max": 63, "multiple_of": 32}, "no length lies between 33 and 63 in steps of 32"),
        ({"min": 2, "max": 4, "example": 5}, "example 5 is no length that it allows"),
        ([1, 2, 3], r"expected \[shortest, longest\]"),
        ({"min": 0}, "greater than or equal to 1"),
    ],
)
def test_an_axis_without_a_length_is_refused(said: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Axis.model_validate(said)


def test_samples_have_the_types_the_ranges_and_one_length_a_name() -> None:
    taken = {
        "tokens": Input(dtype="INT64", shape=("batch", "length"), range=(3, 7)),
        "mask": Input(dtype="BOOL", shape=("batch", "length")),
        "image": Input.model_validate(["batch", 3, "height", 8]),
        "scale": Input(shape=(), example=2.5),
    }
    axes = {"length": axis(max=20), "height": axis(min=32, multiple_of=32)}
    found = samples(taken, axes)
    assert [each["tokens"].shape for each in found] == [(n["batch"], n["length"]) for n in sizes(taken, axes)]
    assert len({each["image"].shape[2] for each in found}) == 3
    for each in found:
        assert each["tokens"].shape == each["mask"].shape
        assert each["tokens"].dtype == np.int64
        assert 3 <= each["tokens"].min() <= each["tokens"].max() <= 6
        assert each["mask"].dtype == bool
        assert each["image"].shape[2] % 32 == 0
        assert each["scale"] == np.float32(2.5)
    assert {each["tokens"].shape[0] for each in found} == {1, 2, 3}


def test_a_model_without_free_axes_has_one_sample() -> None:
    assert len(samples({"x": Input(shape=(1, 4))}, {})) == 1


def test_samples_of_an_interface_alone() -> None:
    tensors = (
        Tensor("a", "FP16", (3, -1)), Tensor("b", "INT32", (-1, 2), batched=False),
        Tensor("c", "BYTES", (1,)), Tensor("d", "UINT8", (9,)),
    )  # fmt: skip
    found = sampling.samples(Interface(tensors, ()))
    assert [each["a"].shape for each in found] == [(2, 3, 8), (1, 3, 8), (3, 3, 12)]
    assert [each["b"].shape for each in found] == [(8, 2), (8, 2), (12, 2)]
    assert found[0]["c"].tolist() == [[b"a"], [b"a"]]
    assert found[0]["a"].dtype == np.float16
    assert found[0]["d"].max() > 8


def test_arrays_travel_without_pickles(tmp_path: Path) -> None:
    sent = [{"x": np.arange(3, dtype=np.int8), "count": np.array([["ä", "b"]], dtype=object)}, {"x": np.array(True)}]
    feeds.write(tmp_path / "a.npz", sent)
    found = feeds.read(tmp_path / "a.npz")
    assert found[0]["x"].dtype == np.int8
    assert found[0]["count"].tolist() == [["ä", "b"]]
    assert found[0]["count"].dtype == object
    assert found[1]["x"].shape == ()


class Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


class Nested(torch.nn.Module):
    def forward(self, x: torch.Tensor, *, y: torch.Tensor) -> Any:
        return {"logits": x + y, "nothing": None, "deep": [x, Pair(y, x * y)], 3: {"a b/c": x}}


def run(outputs: tuple[str, ...] = ()) -> dict[str, list[float]]:
    given = {"y": np.array([1.0], np.float32), "x": np.array([2.0], np.float32)}
    return {name: values.tolist() for name, values in Flat(Nested(), list(given), outputs).run(given).items()}


def test_nested_results_are_named_by_the_way_there_and_inputs_go_by_their_names() -> None:
    assert run() == {
        "logits": [3.0], "deep_0": [2.0], "deep_1_first": [1.0], "deep_1_second": [2.0], "output_3_a_b_c": [2.0],
    }  # fmt: skip


def test_outputs_are_chosen_by_name_or_renamed_in_order() -> None:
    assert run(("deep_1_second", "logits")) == {"deep_1_second": [2.0], "logits": [3.0]}
    assert list(run(("a", "b", "c", "d", "e"))) == ["a", "b", "c", "d", "e"]
    with pytest.raises(ExportError, match=r"returns 5 tensors \(logits, deep_0, .*\), the spec names 2: logits, boxes"):
        run(("logits", "boxes"))


class Number(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        return x, 3


def test_a_result_that_is_no_tensor_is_named() -> None:
    with pytest.raises(ExportError, match="the module returns int under output_1, which is no tensor"):
        Flat(Number(), ["x"]).run({"x": np.zeros(1, np.float32)})


def scalar_graph() -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        [helper.make_node("Mul", ["x", "s"], ["y"]), helper.make_node("ReduceSum", ["y"], ["t"], keepdims=0),
         helper.make_node("Neg", ["s"], ["n"])],
        "g", [value("x", TensorProto.FLOAT, ["k"]), value("s", TensorProto.FLOAT, [])],
        [value("n", TensorProto.FLOAT, []), value("y", TensorProto.FLOAT, ["k"]), value("t", TensorProto.FLOAT, [])],
    )  # fmt: skip
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_scalars_are_served_as_tensors_of_one_element(tmp_path: Path) -> None:
    lifted = graph.checked(lift(scalar_graph()), "scalars")
    inputs, outputs = graph.interface(lifted)
    assert [(t.name, t.shape, t.batched) for t in inputs] == [("x", (), True), ("s", (1,), False)]
    assert [(t.name, t.shape, t.batched) for t in outputs] == [("n", (1,), False), ("y", (), True), ("t", (1,), False)]
    graph.save(lifted, tmp_path / "m.onnx")
    given = {"x": np.array([1, 2], np.float32), "s": np.array([3], np.float32)}
    found = graph.run(graph.session(tmp_path / "m.onnx"), given)
    assert {name: values.tolist() for name, values in found.items()} == {"n": [-3.0], "y": [3.0, 6.0], "t": [9.0]}


def test_one_number_a_row_has_a_dimension_on_the_server(tmp_path: Path) -> None:
    """Triton refuses empty dims; the C++ backend gets its shape back through `reshape`."""
    from generator import pbtxt
    from generator.cli import run as command

    value = helper.make_tensor_value_info
    made = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)], "g", [value("x", TensorProto.FLOAT, ["n", 3])],
        [value("y", TensorProto.FLOAT, ["n"])], [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )  # fmt: skip
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")
    (tmp_path / "s.yaml").write_text("name: total\ncheckpoint: {kind: onnx, file: m.onnx}\n")
    assert command(["build", str(tmp_path / "s.yaml"), "-o", str(tmp_path / "repo")]) == 0
    output = pbtxt.read(tmp_path / "repo" / "total" / "config.pbtxt").output[0]
    assert list(output.dims) == [1]
    assert output.HasField("reshape")
    assert not output.reshape.shape
    assert command(["check", str(tmp_path / "repo")]) == 0
    assert command(["verify", str(tmp_path / "s.yaml"), "-r", str(tmp_path / "repo")]) == 0


def test_one_number_a_row_is_warmed_up_like_any_other(tmp_path: Path) -> None:
    from generator.cli import run as command
    from generator.server import Server

    value = helper.make_tensor_value_info
    made = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, ["n"])],
        [value("y", TensorProto.FLOAT, ["n"])],
    )
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.array(2.0, np.float32))
    warm = "serving: {warmup: {inputs: {x: x.npy}, batch_sizes: [1, 3]}}\n"
    (tmp_path / "s.yaml").write_text(f"name: minus\ncheckpoint: {{kind: onnx, file: m.onnx}}\n{warm}")
    assert command(["build", str(tmp_path / "s.yaml"), "-o", str(tmp_path / "repo")]) == 0
    assert command(["check", str(tmp_path / "repo")]) == 0
    with Server(tmp_path / "repo") as server:
        assert server.grpc_url
    assert command(["verify", str(tmp_path / "s.yaml"), "-r", str(tmp_path / "repo")]) == 0
