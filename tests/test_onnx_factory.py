"""Graphs written by hand: made in four ways, checked, built, served, verified; and what the user is told where one is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton

from generator import graph
from generator.cli import run
from generator.errors import CheckpointError
from generator.frontends.onnx_factory import OnnxFactory

CODE = """\
import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, parser

def text(said, opset=18):
    return parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> ' + said)

def small(opset=18):
    return text("g (float[n, 4] x) => (float[n, 4] y) { y = Relu(x) }", opset)

def as_ir():
    return ir.from_proto(small())

def newest():
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy")
    return helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y]))

def too_new():
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy")
    node = helper.make_node("Swish", ["x"], ["y"], name="act")
    return helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=[helper.make_opsetid("", 24)])

def wrong_type():
    return text("g (float[n, 4] x) => (int64[n, 4] y) { y = Relu(x) }")

def wrong_shape():
    return text("g (float[n, 4] x, float[n, 5] z) => (float[n, 4] y) { [sum] y = Add(x, z) }")

def unknown_operator():
    return text("g (float[n, 4] x) => (float[n, 4] y) { y = Relux(x) }")

def untyped():
    made = small()
    made.graph.output[0].type.Clear()
    made.graph.node[0].domain = "mine"
    made.opset_import.append(helper.make_opsetid("mine", 1))
    return made

def no_outputs():
    made = small()
    del made.graph.output[:]
    return made

def nothing():
    return None

def raises():
    number = 3
    return number["x"]

def twice(x):
    return np.maximum(x, 0)

def two(x):
    return x, x

def by_name(x):
    return {"z": x}

def wrong(x):
    return np.maximum(x, 0) + 0.01
"""


def frontend(folder: Path, factory: str, **more: Any) -> OnnxFactory:
    (folder / "mine.py").write_text(CODE)
    return OnnxFactory.model_validate({"factory": f"mine.py:{factory}", **more}, context={"base": folder})


@pytest.mark.parametrize("name", ["small", "as_ir", "newest"])
def test_what_a_factory_may_return(tmp_path: Path, name: str) -> None:
    front = frontend(tmp_path, name)
    assert front.interface() is None
    assert front.export(18, tmp_path / "m.onnx")["exporter"].startswith(f"none, mine.py:{name} returned onnx")
    made = onnx.load(tmp_path / "m.onnx")
    assert [entry.version for entry in made.opset_import if not entry.domain] == [18]
    assert made.ir_version <= 10
    feeds = {"x": np.array([[-1, 0, 1, 2]], np.float32)}
    assert graph.run(graph.session(tmp_path / "m.onnx"), feeds)["y"].tolist() == [[0, 0, 1, 2]]
    answer, framework = front.answer(feeds)
    assert answer["y"].tolist() == [[0, 0, 1, 2]]
    assert framework == ("onnx's own evaluator" if name == "newest" else "onnxruntime, not optimised")


@pytest.mark.parametrize("name", ["with_helper", "with_graphsurgeon", "with_onnxscript"])
def test_the_example_three_ways(root: Path, tmp_path: Path, name: str) -> None:
    said = {"factory": f"top_k.py:{name}", "reference": "top_k.py:reference"}
    front = OnnxFactory.model_validate(said, context={"base": root / "examples"})
    front.export(18, tmp_path / "m.onnx")
    inputs, outputs = graph.interface(onnx.load(tmp_path / "m.onnx"))
    assert list(map(str, inputs)) == ["logits FP32[batch, 1000]"]
    feeds = {"logits": np.random.default_rng(0).normal(size=(3, 1000)).astype(np.float32) * 4}
    found, (wanted, framework) = graph.run(graph.session(tmp_path / "m.onnx"), feeds), front.answer(feeds)
    assert framework == "NumPy reference"
    assert [(t.dtype, t.shape) for t in outputs] == [("FP32", (5,)), ("INT64", (5,))]
    labels, scores = (next(iter(values for values in found.values() if values.dtype.kind == kind)) for kind in "if")
    assert labels.tolist() == [sorted(range(1000), key=lambda i: -row[i])[:5] for row in feeds["logits"].tolist()]
    np.testing.assert_allclose(scores, next(iter(wanted.values())), rtol=1e-5)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("wrong_type", r"mine.py:wrong_type: its graph is not valid: .*[Tt]ype"),
        ("wrong_shape", r"mine.py:wrong_shape: its graph is not valid: .*sum.*; correct the node that it names"),
        ("unknown_operator", r"its graph is not valid: .*Relux"),
        ("untyped", r"type or shape of 'y' is not known; say them with helper.make_tensor_value_info"),
        ("no_outputs", r"its graph has no outputs"),
        ("nothing", r"mine.py:nothing returned NoneType; return an onnx.ModelProto"),
        ("raises", r"mine.py:50: TypeError: 'int' object is not subscriptable; correct the function or its arguments"),
        ("missing", r"mine.py has no function 'missing'"),
        ("too_new", r"its graph is of opset 24, the spec's is 18, and it cannot be converted: .*; make it with opset_imports="),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, factory: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        frontend(tmp_path, factory).export(18, tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("reference", "message"),
    [("two", "mine.py:two returned 2 arrays, the graph has y"), ("by_name", "mine.py:by_name returned no y")],
)
def test_a_reference_that_answers_otherwise(tmp_path: Path, reference: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        frontend(tmp_path, "small", reference=f"mine.py:{reference}").answer({"x": np.ones((1, 4), np.float32)})


def test_an_onnxscript_function_takes_no_arguments(root: Path, tmp_path: Path) -> None:
    said = {"factory": "top_k.py:with_onnxscript", "arguments": {"k": 3}}
    with pytest.raises(CheckpointError, match="with_onnxscript is an onnxscript function; give no arguments"):
        OnnxFactory.model_validate(said, context={"base": root / "examples"}).export(18, tmp_path / "m.onnx")


def test_a_wrong_graph_ends_in_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And a reference that the graph does not agree with is found by verify, which is served for it."""
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "bad.yaml").write_text("name: bad\ncheckpoint: {kind: onnx_factory, factory: mine.py:wrong_shape}\n")
    assert run(["build", str(tmp_path / "bad.yaml"), "-o", str(tmp_path / "repository")]) == 1
    said = capsys.readouterr()
    assert "its graph is not valid" in " ".join((said.out + said.err).split())
    assert "Traceback" not in said.out + said.err


@pytest.fixture(scope="module")
def built(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, and a graph whose reference is wrong."""
    folder = tmp_path_factory.mktemp("by_hand")
    for name in ("top_k.py", "top_k.yaml"):
        shutil.copyfile(root / "examples" / name, folder / name)
    (folder / "mine.py").write_text(CODE)
    (folder / "wrong.yaml").write_text(
        "name: wrong\ncheckpoint: {kind: onnx_factory, factory: mine.py:small, reference: mine.py:wrong}\n"
    )
    assert run(["build", str(folder / "top_k.yaml"), str(folder / "wrong.yaml"), "-o", str(folder / "repository")]) == 0
    return folder


def test_it_is_built_verified_and_served(built: Path, server: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    repository = built / "repository"
    assert run(["verify", str(built / "top_k.yaml"), "-r", str(repository)]) == 0
    assert "NumPy reference" in " ".join(capsys.readouterr().out.split())
    logits = np.random.default_rng(1).normal(size=(4, 1000)).astype(np.float32) * 4
    with triton.InferenceServerClient(server(repository).grpc_url) as client:
        given = triton.InferInput("logits", [4, 1000], "FP32")
        given.set_data_from_numpy(logits)
        answer = client.infer("top_k", [given])
        (taken,) = client.get_model_metadata("top_k").inputs
        assert (taken.datatype, list(taken.shape)) == ("FP32", [-1, 1000])
    powers = np.exp(logits.astype(np.float64))
    expected = powers / powers.sum(axis=1, keepdims=True)
    labels = answer.as_numpy("labels")
    assert labels.tolist() == [sorted(range(1000), key=lambda i: -row[i])[:5] for row in expected.tolist()]
    np.testing.assert_allclose(answer.as_numpy("scores"), np.take_along_axis(expected, labels, axis=1), rtol=1e-5)


def test_a_graph_that_its_reference_contradicts_fails(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(built / "wrong.yaml"), "-r", str(built / "repository")]) == 1
    assert "exported ONNX" in " ".join("".join(capsys.readouterr()).split())
