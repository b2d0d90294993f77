"""target tensorrt: its config and request, profiles, and engines that NVIDIA's builder really makes.

There is no GPU here: TensorRT-RTX, which has TensorRT's interface, compiles without one what Triton's TensorRT compiles with one.
Refitting a stripped plan is the one piece that nothing here executes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_models import model

from generator import engine_child, environment, graph, pbtxt, profiles
from generator.backends import Unfit
from generator.cli import run
from generator.download import sha256
from generator.engine_child import Phase, TensorRT
from generator.engine_request import Engine, EngineOptions, EngineRequest, PluginLibrary, Range
from generator.environment import Environment
from generator.errors import RepositoryError, SurgeryError, ToolError, TritonRepoError
from generator.inputs import Axis, Input
from generator.profiles import Asked
from generator.ranges import SaidProfile, Span
from generator.tensors import Tensor

FLOAT = TensorProto.FLOAT


@pytest.fixture(scope="module")
def rtx() -> TensorRT:
    return engine_child.rtx()


def values(name: str, shape: tuple[int, ...], seed: int = 0) -> onnx.TensorProto:
    """Seeded weights: what was exported once is cached for the next test."""
    return numpy_helper.from_array(np.random.default_rng(seed).normal(size=shape).astype(np.float32) / 4, name)


def conv(seed: int = 0) -> onnx.ModelProto:
    """A convolution and a mean over the picture: `image` [batch, 3, 16, 16] -> `scores` [batch, 16]."""
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("ReduceMean", ["b"], ["scores"], name="mean", axes=[2, 3], keepdims=0),
    ]
    return model(
        nodes, {"image": (FLOAT, ("batch", 3, 16, 16))}, {"scores": (FLOAT, ("batch", 16))}, [values("w", (16, 3, 3, 3), seed)]
    )


def wide() -> onnx.ModelProto:
    """`x` [batch, 256] -> `y` [batch, 2048], with weights large enough to lie outside the file."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="matmul")]
    return model(nodes, {"x": (FLOAT, ("batch", 256))}, {"y": (FLOAT, ("batch", 2048))}, [values("w", (256, 2048))])


def lstm() -> onnx.ModelProto:
    """`words` [batch, length, 8] -> `last` [batch, 16], of sequences of any length."""
    sizes = {"w": (1, 64, 8), "r": (1, 64, 16)}
    weights = [values(name, shape) for name, shape in sizes.items()]
    axes = numpy_helper.from_array(np.array([0], np.int64), "axes")
    nodes = [
        helper.make_node("Transpose", ["words"], ["time"], name="time", perm=[1, 0, 2]),
        helper.make_node("LSTM", ["time", "w", "r"], ["", "h"], name="lstm", hidden_size=16),
        helper.make_node("Squeeze", ["h", "axes"], ["last"], name="last"),
    ]
    return model(nodes, {"words": (FLOAT, ("batch", "length", 8))}, {"last": (FLOAT, ("batch", 16))}, [*weights, axes])


def spec(folder: Path, made: onnx.ModelProto, target: str, more: str = "") -> Path:
    onnx.save(made, folder / "tiny.onnx")
    path = folder / "tiny.yaml"
    path.write_text(f"name: tiny\ncheckpoint: {{kind: onnx, file: tiny.onnx}}\ntarget:\n  kind: tensorrt\n{target}{more}")
    return path


def built(folder: Path, made: onnx.ModelProto, target: str = "", more: str = "") -> Path:
    """The version folder of the model that the product makes."""
    assert run(["build", str(spec(folder, made, target, more)), "-o", str(folder / "repo")]) == 0
    return folder / "repo" / "tiny" / "1"


def request(folder: Path, made: onnx.ModelProto, **said: Any) -> EngineRequest:
    """For one engine, of a graph that no spec stands behind."""
    onnx.save(made, folder / "model.onnx")
    fields = {"max_batch_size": 4, "engines": (Engine(filename="model.plan", compute_capability="8.9"),), **said}
    return EngineRequest(onnx="model.onnx", files={"model.onnx": sha256(folder / "model.onnx")}, **fields)


def ranged(**inputs: tuple[tuple[int, ...], tuple[int, ...]]) -> dict[str, Range]:
    return {name: Range(min=low, opt=high, max=high) for name, (low, high) in inputs.items()}


IMAGE = ranged(image=((1, 3, 16, 16), (4, 3, 16, 16)))


# what lies in the repository


CONFIG = """\
name: "tiny"  # spec: name
platform: "tensorrt_plan"  # spec: target
max_batch_size: 4  # spec: serving.max_batch_size
input {  # model
  name: "image"
  data_type: TYPE_FP32
  dims: 3
  dims: 16
  dims: 16
}
output {  # model
  name: "scores"
  data_type: TYPE_FP32
  dims: 16
}
instance_group {  # default
  count: 1
  kind: KIND_GPU
  profile: "0"
  profile: "1"
}
default_model_filename: "model.plan"  # spec: target
cc_model_filenames {  # spec: target
  key: "12.0"
  value: "model_sm120.plan"
}
cc_model_filenames {
  key: "8.9"
  value: "model_sm89.plan"
}
dynamic_batching {  # spec: serving.dynamic_batching
  preferred_batch_size: 3  # spec: serving.dynamic_batching.preferred_batch_sizes
  max_queue_delay_microseconds: 100  # spec: serving.dynamic_batching.max_queue_delay_us
}
backend: "tensorrt"  # spec: target
"""

TARGET = """\
  workspace: 1 GiB
  builder_optimization_level: 1
  compute_capabilities: [8.9, 12.0]
  strip_plan: true
  plugin_libraries: [plugin.so, {server: /opt/plugins/there.so}]
  profiles: [{batch: 1}, {}]
"""
SERVING = (
    "serving: {max_batch_size: 4, dynamic_batching: {preferred_batch_sizes: [3], max_queue_delay_us: 100}}\n"
    "precision: {kind: fp16}\n"
)


def library(folder: Path, source: str = "", name: str = "plugin.so") -> Path:
    """A real shared library, compiled here."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(folder / name)]
    subprocess.run(command, input=source, text=True, check=True)
    return folder / name


def test_the_config_and_the_request_are_these(tmp_path: Path) -> None:
    digest = sha256(library(tmp_path))
    version = built(tmp_path, conv(), TARGET, SERVING)
    assert (version.parent / "config.pbtxt").read_text() == CONFIG
    assert sorted(path.name for path in version.iterdir()) == ["engine.json", "model.onnx", "plugin.so"]
    found = EngineRequest.read(version)
    narrow = {"image": Range(min=(1, 3, 16, 16), opt=(1, 3, 16, 16), max=(1, 3, 16, 16))}
    wide = {"image": Range(min=(1, 3, 16, 16), opt=(3, 3, 16, 16), max=(4, 3, 16, 16))}
    assert found == EngineRequest(
        onnx="model.onnx", files={"model.onnx": sha256(version / "model.onnx")}, precision="fp16", max_batch_size=4,
        profiles=(narrow, wide), options=EngineOptions(workspace=1024, builder_optimization_level=1, strip_plan=True),
        plugins=(PluginLibrary(path="plugin.so", sha256=digest), PluginLibrary(path="/opt/plugins/there.so")),
        engines=(
            Engine(filename="model_sm89.plan", compute_capability="8.9", stripped="model_sm89.stripped.plan"),
            Engine(filename="model_sm120.plan", compute_capability="12.0", stripped="model_sm120.stripped.plan"),
        ),
    )  # fmt: skip


def test_another_plugin_library_of_the_same_name_is_another_model(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    library(tmp_path)
    built(tmp_path, conv(), "  plugin_libraries: [plugin.so]\n")
    before = EngineRequest.read(tmp_path / "repo/tiny/1")
    library(tmp_path, "int other(void) { return 1; }")
    capfd.readouterr()
    assert run(["build", str(tmp_path / "tiny.yaml"), "-o", str(tmp_path / "repo")]) == 0
    assert EngineRequest.read(tmp_path / "repo/tiny/1").digest() != before.digest()


def test_a_request_that_is_cut_short_says_so(tmp_path: Path) -> None:
    version = built(tmp_path, conv())
    whole = (version / "engine.json").read_text()
    for text, words in (
        (whole[:40], "engine.json: the file: Invalid JSON"),
        (whole.replace("onnx", "onx"), "engine.json: onnx: Field required"),
    ):
        (version / "engine.json").write_text(text)
        with pytest.raises(RepositoryError, match=words):
            EngineRequest.read(version)


def suppressed() -> onnx.ModelProto:
    """`boxes` [batch, 3, 4] and `scores` [batch, 3, 1] through TensorRT's own NMS; the sum of what is kept."""
    wanted: dict[str, Any] = {"plugin_version": "1", "background_class": -1, "box_coding": 0, "class_agnostic": 0}
    wanted |= {"iou_threshold": 0.5, "max_output_boxes": 2, "score_activation": 0, "score_threshold": 0.25}
    outputs = ["num", "kept", "best", "labels"]
    nodes = [
        helper.make_node("EfficientNMS_TRT", ["boxes", "scores"], outputs, name="nms", domain="trt.plugins", **wanted),
        helper.make_node("ReduceSum", ["best", "axes"], ["total"], name="sum", keepdims=0),
    ]
    inner = helper.make_graph(
        nodes, "suppressed", [helper.make_tensor_value_info(n, FLOAT, ["batch", 3, d]) for n, d in (("boxes", 4), ("scores", 1))],
        [helper.make_tensor_value_info("total", FLOAT, ["batch"])], [numpy_helper.from_array(np.array([1]), "axes")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("trt.plugins", 1)]
    return helper.make_model(inner, opset_imports=opsets, ir_version=10)


def test_a_graph_with_tensorrts_own_nms_answers_on_the_cpu(tmp_path: Path) -> None:
    onnx.save(suppressed(), tmp_path / "nms.onnx")
    boxes = np.array([[[0, 0, 2, 2], [0, 0, 2, 1.9], [4, 4, 6, 6]], [[0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5]]], np.float32)
    scores = np.array([[[0.9], [0.8], [0.5]], [[0.2], [0.3], [0.4]]], np.float32)
    found = graph.run(graph.session(tmp_path / "nms.onnx"), {"boxes": boxes, "scores": scores})
    np.testing.assert_allclose(found["total"], [1.4, 0.7], rtol=1e-6)
    onnx.save(unknown(), tmp_path / "unknown.onnx")
    with pytest.raises(SurgeryError, match=r"example[.]org"):
        graph.session(tmp_path / "unknown.onnx")


# profiles

IDS, LENGTHS = Tensor("ids", "INT64", (-1,)), {"ids": Input(dtype="INT64", shape=("batch", "length"))}
FREE = Asked((IDS,), 8)


def spans(asked: Asked) -> list[list[list[int]]]:
    return [[list(one.min), list(one.opt), list(one.max)] for profile in profiles.derive(asked) for one in profile.values()]


def span(*said: int) -> Span:
    return Span.model_validate(list(said))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Asked((Tensor("x", "FP32", (3, 4)),), 8), [[[1, 3, 4], [8, 3, 4], [8, 3, 4]]]),
        (Asked((Tensor("x", "FP32", (3,)),), 8, preferred=(2, 4)), [[[1, 3], [4, 3], [8, 3]]]),
        (Asked((Tensor("x", "FP32", ()),), 8), [[[1], [8], [8]]]),
        (Asked((Tensor("x", "FP32", (3, 4), batched=False),), 0), []),
        (replace(FREE, ranges={"ids": {"1": span(1, 16, 64)}}), [[[1, 1], [8, 16], [8, 64]]]),
        (replace(FREE, said=LENGTHS, ranges={"ids": {"length": span(2, 64)}}), [[[1, 2], [8, 64], [8, 64]]]),
        (replace(FREE, said=LENGTHS, axes={"length": Axis(min=4, max=64)}), [[[1, 4], [8, 64], [8, 64]]]),
        (replace(FREE, said=LENGTHS, axes={"length": Axis(min=4, max=64, example=32)}), [[[1, 4], [8, 32], [8, 64]]]),
        # without a batch in config.pbtxt the first axis is one like any other
        (replace(FREE, max_batch_size=0, ranges={"ids": {"0": span(1, 2), "1": span(5)}}), [[[1, 5], [2, 5], [2, 5]]]),
        (
            replace(
                FREE, ranges={"ids": {"1": span(1, 64)}},
                profiles=(SaidProfile(batch=span(1), ranges={"ids": {"1": span(1, 8, 32)}}), SaidProfile()),
            ),
            [[[1, 1], [1, 8], [1, 32]], [[1, 1], [8, 64], [8, 64]]],
        ),
    ],
)  # fmt: skip
def test_profiles_follow_from_what_is_declared(asked: Asked, expected: list[Any]) -> None:
    assert spans(asked) == expected


def test_values_of_a_shape_have_a_range() -> None:
    size = Tensor("size", "INT64", (2,), batched=False)
    asked = Asked((size,), 0, values={"size": ((1, 1), (8, 8), (32, 64))})
    assert profiles.derive(asked) == ({"size": Range(min=(1, 1), opt=(8, 8), max=(32, 64), values=True)},)


NAMED = replace(FREE, said=LENGTHS, axes={"length": Axis(min=8, max=64, multiple_of=8)})


@pytest.mark.parametrize(
    ("asked", "loc", "words"),
    [
        (FREE, (), "axis 1 of ids INT64[batch, ?] is free"),
        (replace(FREE, said=LENGTHS), (), "axis 1 (length) of ids"),
        (replace(FREE, said=LENGTHS, axes={"length": Axis(min=4)}), (), "how long it may be"),
        (replace(FREE, ranges={"idz": {"1": span(5)}}), ("ranges", "idz"), "no input 'idz'"),
        (replace(FREE, ranges={"ids": {"2": span(5)}}), ("ranges", "ids", "2"), "has no axis 2"),
        (replace(FREE, ranges={"ids": {"0": span(5)}}), ("ranges", "ids", "0"), "is the batch"),
        (Asked((Tensor("x", "FP32", (3,)),), 8, ranges={"x": {"1": span(3, 4)}}), ("ranges", "x", "1"), "is fixed at 3"),
        (replace(NAMED, ranges={"ids": {"length": span(8, 128)}}), ("ranges", "ids", "length"), "allow 8 to 64 in steps of 8"),
        (replace(NAMED, ranges={"ids": {"1": span(8, 12, 64)}}), ("ranges", "ids", "1"), "found [8, 12, 64]"),
        (
            replace(NAMED, profiles=(SaidProfile(ranges={"ids": {"1": span(8, 72)}}),)),
            ("profiles", 0, "ranges", "ids", "1"), "lengths from 8 to 64",
        ),
        (replace(NAMED, profiles=(SaidProfile(batch=span(16)),)), ("profiles", 0, "batch"), "max_batch_size is 8"),
        (replace(NAMED, profiles=(SaidProfile(batch=span(4)),)), ("profiles",), "no profile takes a batch of 1"),
        (
            replace(NAMED, profiles=(SaidProfile(batch=span(1, 2)), SaidProfile(batch=span(4, 8)))),
            ("profiles",), "no profile takes a batch of 3",
        ),
        (Asked((Tensor("x", "FP32", (3,), batched=False),), 0, profiles=(SaidProfile(),)), ("profiles",), "every input is fixed"),
        (
            Asked((Tensor("x", "INT64", (-1,), batched=False),), 0, profiles=(SaidProfile(batch=span(1)),)),
            ("profiles", 0, "batch"), "no batch axis",
        ),
        (Asked((Tensor("s", "INT64", (2,), False),), 0, values={"s": ((1,), (2,), (3,))}), ("values", "s"), "has 2 values"),
        (Asked((Tensor("s", "INT64", (1,), False),), 0, values={"s": ((3,), (2,), (9,))}), ("values", "s"), "expected [smallest"),
        (Asked((Tensor("s", "FP32", (1,), False),), 0, values={"s": ((1,), (2,), (3,))}), ("values", "s"), "can be no shape"),
    ],
)  # fmt: skip
def test_a_profile_that_cannot_be_names_its_place(asked: Asked, loc: tuple[Any, ...], words: str) -> None:
    with pytest.raises(Unfit) as caught:
        profiles.derive(asked)
    assert caught.value.loc == loc
    assert words in caught.value.what
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("target", "line", "words"),
    [
        ("  ranges: {words: {1: [1, 8, 4]}}\n", 5, ["[1, 8, 4]", "each at least the one before"]),
        ("  ranges: {words: {1: [1, 2, 3, 4]}}\n", 5, ["[1, 2, 3, 4]", "expected [shortest, longest]"]),
        ("  ranges: {words: {1: [0, 4]}}\n", 5, ["found 0"]),
        ("  ranges: {words: {7: [1, 4]}}\n", 5, ["words FP32[batch, ?, 8] has no axis 7", "it has 1, 2"]),
        ("", 3, ["axis 1 of words", "is free", "say `ranges: {words: {1: [SHORTEST, USUAL, LONGEST]}}` under `target:`"]),
        ("  workspace: 4 GB\n", 5, ["'4 GB'", "`512 MiB`, `4 GiB`"]),
        ("  compute_capabilities: [sm89]\n", 5, ["'sm89'", '"8.9"']),
        ("  compute_capabilities: [8.9, '8.9']\n", 3, ["compute capability 8.9 is said twice"]),
        ("  builder_optimization_level: 6\n", 5, ["found 6", "less than or equal to 5"]),
        ("  hardware_compatibility: ampere\n", 5, ["'ampere'", "'ampere_plus'"]),
        ("  plugin_libraries: [missing.so]\n", 5, ["no such file", "missing.so"]),
        ("  plugin_libraries: [tiny.onnx]\n", 5, ["tiny.onnx is no shared library", "begins with", "name a .so file"]),
        ("  plugin_libraries: [{server: lib.so}]\n", 5, ["lib.so", "pattern"]),
        ("  plugin_libraries: [{}]\n", 5, ["say one of `file: PATH`"]),
        ("  worksapce: 4\n", 5, ["did you mean 'workspace'"]),
    ],
)  # fmt: skip
def test_what_the_yaml_says_wrong_is_answered_with_its_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], target: str, line: int, words: list[str]
) -> None:
    path = spec(tmp_path, lstm(), target)
    assert run(["build", str(path), "-o", str(tmp_path / "repo")]) == 1
    said = capfd.readouterr().err
    assert f"{path}:{line}: target" in said
    assert not [word for word in words if word not in said], said
    assert "Traceback" not in said
    assert not (tmp_path / "repo").exists()


def test_an_editor_knows_the_short_forms() -> None:
    """The JSON Schema takes what the loader takes."""
    import jsonschema
    import yaml

    from generator.spec import json_schema

    short = "target: {kind: tensorrt, workspace: 2 GiB, compute_capabilities: [8.9, '12.0'], ranges: {x: {1: [1, 2], y: 5}},"
    short += " profiles: [{batch: 1}], plugin_libraries: [a.so, {server: /x.so}], values: {s: [[1], [2], [3]]}}"
    said = {"name": "tiny", "checkpoint": {"kind": "onnx", "file": "tiny.onnx"}, **yaml.safe_load(short)}
    jsonschema.validate(json.loads(json.dumps(said)), json_schema())


def test_types_that_tensorrt_does_not_have_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    double = TensorProto.DOUBLE
    made = model([helper.make_node("Abs", ["x"], ["y"])], {"x": (double, ("batch", 4))}, {"y": (double, ("batch", 4))})
    path = spec(tmp_path, made, "")
    assert run(["build", str(path), "-o", str(tmp_path / "repo")]) == 1
    assert f"{path}:4: target.kind: x FP64[batch, 4]: TensorRT's inputs and outputs have no type FP64" in capfd.readouterr().err


# engines, built for real


CASES = {
    "fp32": (conv, "", ""),
    "fp16": (conv, "", "precision: {kind: fp16}\n"),
    "weights outside": (wide, "", "external_data_from: 0\n"),
    "free length": (lstm, "  ranges: {words: {1: [1, 8, 32]}}\n", ""),
    "options": (
        conv, "  workspace: 64\n  builder_optimization_level: 0\n  tf32: false\n  profiling_verbosity: detailed\n"
        "  timing_cache: false\n"
        "  tactic_sources: [jit_convolutions]\n  weight_streaming: true\n  profiles: [{batch: 1}, {}]\n", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_a_spec_asks_for_is_built(tmp_path: Path, rtx: TensorRT, case: str) -> None:
    made, target, more = CASES[case]
    version = built(tmp_path, made(), target, more)
    asked, told = EngineRequest.read(version), list[Phase]()
    facts = engine_child.build(version, asked, asked.engines[0], tmp_path, told.append, tensorrt=rtx, capability="8.9")
    assert facts["built by"] == "tensorrt_rtx_bindings 1.7.1.116"
    assert facts["compute capability"] == "8.9"
    assert (tmp_path / "model.plan").stat().st_size == int(facts["bytes"]) > 1000
    assert (version / "model.onnx.data").exists() == ("outside" in case)
    assert (facts["timing cache"] == "not used") == (case == "options")
    first, last = told[0], told[-1]
    assert (first.name, first.inside, first.step) == ("Building engine", "", 0)
    assert (last.name, last.finished, last.step) == ("Building engine", True, last.of)
    assert {phase.inside for phase in told} > {"", "Building engine"}


def test_an_fp16_engine_holds_half_the_bytes(tmp_path: Path, rtx: TensorRT) -> None:
    """The network is strongly typed: the types of its layers, and of their weights, are those of the graph."""
    sizes = {}
    for kind in ("fp32", "fp16"):
        (tmp_path / kind).mkdir()
        version = built(tmp_path / kind, wide(), "", f"precision: {{kind: {kind}}}\n")
        asked = EngineRequest.read(version)
        facts = engine_child.build(version, asked, asked.engines[0], tmp_path / kind, tensorrt=rtx, capability="8.9")
        sizes[kind] = int(facts["bytes"])
    weights = 256 * 2048 * 4
    assert sizes["fp32"] - sizes["fp16"] > 0.4 * weights


def test_a_second_build_begins_with_the_first_ones_timing_cache(
    tmp_path: Path, rtx: TensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT-RTX measures nothing and gives it back empty: what is seen is that it is written, offered, and begun anew."""
    python = rtx.python
    monkeypatch.setenv("TRITON_REPO_CACHE", str(tmp_path / "cache"))
    asked = request(tmp_path, conv(), profiles=(IMAGE,))
    first = engine_child.build(tmp_path, asked, asked.engines[0], tmp_path, tensorrt=replace(rtx, python=python))
    (cache,) = (tmp_path / "cache" / "timing").iterdir()
    assert cache.name == "tensorrt_rtx_bindings-1.7.1.116-8.9.timing"
    assert first["timing cache"] == f"0 -> {cache.stat().st_size} bytes in {cache.name}"
    cache.write_bytes(cache.read_bytes()[:50])  # cut short: the next build begins anew
    second = engine_child.build(tmp_path, asked, asked.engines[0], tmp_path, tensorrt=rtx)
    assert second["timing cache"] == first["timing cache"]
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]


def unknown() -> onnx.ModelProto:
    """A node that no TensorRT knows, behind one that it does."""
    made = conv()
    made.graph.node[1].op_type, made.graph.node[1].domain = "Frobnicate", "example.org"
    made.opset_import.append(helper.make_opsetid("example.org", 1))
    return made


def shape_input() -> onnx.ModelProto:
    """`y` is `x` in the shape that the values of `size` say."""
    nodes = [helper.make_node("Reshape", ["x", "size"], ["y"], name="reshape")]
    return model(
        nodes, {"x": (FLOAT, ("n",)), "size": (TensorProto.INT64, (2,))}, {"y": (FLOAT, ("rows", "columns"))}
    )  # fmt: skip


ROW = ranged(x=((1,), (64,)))
SIZE = {"size": Range(min=(1, 1), opt=(8, 8), max=(8, 8), values=True)}


SMALL = ranged(image=((1, 3, 8, 8), (4, 3, 8, 8)))
WRONG = {**ROW, "size": Range(min=(1, 1), opt=(2, 2), max=(3, 3))}


def for_gpu(capability: str | None) -> dict[str, Any]:
    return {"engines": (Engine(filename="m.plan", compute_capability=capability),)}


@pytest.mark.parametrize(
    ("made", "said", "error", "words"),
    [
        (conv, {}, SurgeryError, ["input image [-1, 3, 16, 16]: an axis is free", "ranges: {image:"]),
        (conv, {"profiles": (SMALL,)}, SurgeryError, ["input image", "[1, 3, 8, 8]", "correct `ranges:`"]),
        (unknown, {"profiles": (IMAGE,)}, SurgeryError, ["node relu (Frobnicate)", "parser refuses it", "plugin_libraries"]),
        (shape_input, {"profiles": (ROW,)}, SurgeryError, ["input size [2]", "takes its values for a shape", "values: {size:"]),
        (shape_input, {"profiles": (WRONG,)}, SurgeryError, ["input size [2]", "takes its values for a shape"]),
        (conv, for_gpu("7.0"), ToolError, ["compute capability 7.0", "say one of 7.5, 8.0, 8.6, 8.9"]),
        (conv, for_gpu(None), ToolError, ["was told no GPU type"]),
        (
            conv, {"options": EngineOptions(tactic_sources=("cudnn",))},
            ToolError, ["has no TacticSource.CUDNN", "JIT_CONVOLUTIONS", "leave cudnn out"],
        ),
        (conv, {"plugins": (PluginLibrary(path="/nowhere/p.so"),)}, ToolError, ["plugin library /nowhere/p.so cannot be loaded"]),
    ],
)  # fmt: skip
def test_what_cannot_be_built_says_why(
    tmp_path: Path, rtx: TensorRT, made: Any, said: dict[str, Any], error: type[TritonRepoError], words: list[str]
) -> None:
    asked = request(tmp_path, conv(), **said)
    (tmp_path / "model.onnx").write_bytes(made().SerializeToString())
    asked = asked.model_copy(update={"files": {"model.onnx": sha256(tmp_path / "model.onnx")}})
    with pytest.raises(error) as caught:
        engine_child.build(tmp_path, asked, asked.engines[0], tmp_path, tensorrt=rtx)
    assert not [word for word in words if word not in str(caught.value)], str(caught.value)
    assert str(tmp_path / "model.onnx") in caught.value.message
    assert not list(tmp_path.glob("*.plan"))


def test_values_of_a_shape_are_what_the_engine_is_built_for(tmp_path: Path, rtx: TensorRT) -> None:
    asked = request(tmp_path, shape_input(), profiles=({**ROW, **SIZE},))
    assert int(engine_child.build(tmp_path, asked, asked.engines[0], tmp_path, tensorrt=rtx)["bytes"]) > 1000


def test_a_plugin_library_is_loaded_before_the_graph_is_read(tmp_path: Path, rtx: TensorRT) -> None:
    said = '#include <stdio.h>\n__attribute__((constructor)) static void hello(void) { FILE *f = fopen(PATH, "w"); fclose(f); }'
    path = library(tmp_path, f'#define PATH "{tmp_path}/loaded"\n{said}')
    own = PluginLibrary(path=path.name, sha256=sha256(path))
    asked = request(tmp_path, conv(), profiles=(IMAGE,), plugins=(own,))
    engine_child.build(tmp_path, asked, asked.engines[0], tmp_path, tensorrt=rtx)
    assert (tmp_path / "loaded").exists()
    library(tmp_path, "int changed;")
    with pytest.raises(RepositoryError, match=r"plugin\.so has sha256 .* was changed after the build"):
        engine_child.build(tmp_path, asked, asked.engines[0], tmp_path, tensorrt=rtx)


def test_files_that_are_not_those_of_the_request_are_refused(tmp_path: Path) -> None:
    asked = request(tmp_path, conv())
    with (tmp_path / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(RepositoryError, match=r"model\.onnx has sha256 .*; it was changed after the build"):
        engine_child.build(tmp_path, asked, asked.engines[0], tmp_path)
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(RepositoryError, match=r"model\.onnx: No such file"):
        engine_child.build(tmp_path, asked, asked.engines[0], tmp_path)


def test_no_tensorrt_says_both_ways_to_get_it(tmp_path: Path) -> None:
    asked = request(tmp_path, conv())
    with pytest.raises(ToolError, match=r"cannot import no_such_tensorrt: .*; pip install .*, or build in a container"):
        engine_child.build(tmp_path, asked, asked.engines[0], tmp_path, tensorrt=TensorRT("no_such_tensorrt"))


def test_tensorrt_itself_builds_for_the_gpu_at_hand_or_says_that_there_is_none(
    tmp_path: Path, rtx: TensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU")
    monkeypatch.setenv("TENSORRT_LACKS", "IBuilderConfig.set_compute_capability")
    asked = request(tmp_path, conv(), profiles=(IMAGE,))
    with pytest.raises(ToolError, match=r"there is no NVIDIA driver here \(libcuda\.so\.1\); build where there is an NVIDIA GPU"):
        engine_child.build(tmp_path, asked, asked.engines[0], tmp_path, tensorrt=replace(rtx, library="tests.tensorrt_elsewhere"))


def test_every_network_is_strongly_typed_where_there_is_no_word_for_it(
    tmp_path: Path, rtx: TensorRT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENSORRT_LACKS", "NetworkDefinitionCreationFlag.STRONGLY_TYPED")
    asked = request(tmp_path, conv(), profiles=(IMAGE,))
    other = replace(rtx, library="tests.tensorrt_elsewhere")
    facts = engine_child.build(tmp_path, asked, asked.engines[0], tmp_path, tensorrt=other)
    assert facts["built by"] == "tests.tensorrt_elsewhere 1.7.1.116"


def test_a_builder_that_dies_is_named_with_its_phase(tmp_path: Path, rtx: TensorRT) -> None:
    asked = request(tmp_path, conv(), profiles=(IMAGE,))

    def kill(phase: Phase) -> None:
        for child in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split():
            if b"generator.engine_build" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(int(child), signal.SIGKILL)

    with pytest.raises(
        ToolError, match=r"the process of tensorrt_rtx_bindings was ended by SIGKILL in .*; if the machine was short"
    ):
        engine_child.build(tmp_path, asked, asked.engines[0], tmp_path, kill, tensorrt=rtx)
    assert not (tmp_path / "model.plan").exists()


def test_refitting_without_a_gpu_is_one_message(tmp_path: Path, rtx: TensorRT) -> None:
    asked = request(tmp_path, conv(), engines=(Engine(filename="m.plan", compute_capability="8.9", stripped="m.stripped.plan"),))
    (tmp_path / "m.stripped.plan").write_bytes(b"no plan")
    with pytest.raises((ToolError, SurgeryError)) as caught:
        engine_child.refit(tmp_path, asked, asked.engines[0], tmp_path, tensorrt=rtx)
    assert caught.value.remedy
    assert not (tmp_path / "m.plan").exists()


def test_the_stubs_name_what_the_real_module_has(root: Path, rtx: TensorRT) -> None:
    """mypy holds our code against stubs/tensorrt; this holds the stubs against NVIDIA's module."""
    import ast

    wanted = []
    for item in ast.parse((root / "stubs/tensorrt/__init__.pyi").read_text()).body:
        if isinstance(item, ast.ClassDef) and not item.name.startswith("_"):
            own = [part.name for part in item.body if isinstance(part, ast.FunctionDef | ast.ClassDef)]
            own += [part.target.id for part in item.body if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)]
            wanted += [f"{item.name}.{name}" for name in own if not name.startswith("__")]
        elif isinstance(item, ast.FunctionDef):
            wanted.append(item.name)
    assert len(wanted) > 60
    code = "import functools, json, sys, tensorrt_rtx_bindings as t; names = json.load(sys.stdin)\n" \
        "def there(name):\n    return functools.reduce(lambda o, n: getattr(o, n, None), name.split('.'), t) is not None\n" \
        "print(json.dumps([name for name in names if not there(name)]))"  # fmt: skip
    done = subprocess.run([rtx.python, "-c", code], input=json.dumps(wanted), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_the_list_of_packages_is_whole() -> None:
    listed = Environment("tensorrt_rtx").pins.read_text()
    assert re.findall(r"^([a-z0-9-]+)==", listed, re.M) == ["numpy", "tensorrt-rtx-cu12-bindings", "tensorrt-rtx-cu12-libs"]
    assert Path(environment.ensure(Environment("tensorrt_rtx"))).exists()


# ONNX Runtime's TensorRT provider


#: Keys that the C++ backend passes on in the release that we promise first (branch r24.10).
#: https://github.com/triton-inference-server/onnxruntime_backend/blob/r24.10/src/onnxruntime.cc
KNOWN = {
    "int8_calibration_table_name", "int8_use_native_calibration_table", "max_workspace_size_bytes", "precision_mode",
    "trt_auxiliary_streams", "trt_build_heuristics_enable", "trt_builder_optimization_level", "trt_context_memory_sharing_enable",
    "trt_cuda_graph_enable", "trt_detailed_build_log", "trt_dla_core", "trt_dla_enable", "trt_dump_ep_context_model",
    "trt_dump_subgraphs", "trt_engine_cache_enable", "trt_engine_cache_path", "trt_engine_cache_prefix",
    "trt_ep_context_embed_mode", "trt_ep_context_file_path", "trt_extra_plugin_lib_paths", "trt_force_sequential_engine_build",
    "trt_force_timing_cache", "trt_layer_norm_fp32_fallback", "trt_max_partition_iterations", "trt_min_subgraph_size",
    "trt_profile_max_shapes", "trt_profile_min_shapes", "trt_profile_opt_shapes", "trt_sparsity_enable", "trt_tactic_sources",
    "trt_timing_cache_enable", "trt_timing_cache_path",
}  # fmt: skip


def accelerated(folder: Path, said: str, more: str = "") -> dict[str, str]:
    """The provider's parameters in the config that the product writes."""
    (folder / "tiny.yaml").write_text(
        f"name: tiny\ncheckpoint: {{kind: onnx, file: tiny.onnx}}\ntarget:\n  kind: onnxruntime\n  accelerator: {said}\n{more}"
    )
    assert run(["build", str(folder / "tiny.yaml"), "-o", str(folder / "repo")]) == 0
    config = pbtxt.read(folder / "repo/tiny/config.pbtxt")
    (one,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert one.name == "tensorrt"
    assert [group.kind for group in config.instance_group] == [group.KIND_GPU for group in config.instance_group]
    return dict(one.parameters)


def test_the_accelerator_is_configured_with_keys_that_the_backend_knows(tmp_path: Path) -> None:
    onnx.save(lstm(), tmp_path / "tiny.onnx")
    said = "{workspace: 1 GiB, precision_mode: fp16, builder_optimization_level: 4, min_subgraph_size: 5,"
    said += " engine_cache: /models/cache, plugin_libraries: [/opt/a.so, /opt/b.so], ranges: {words: {1: [1, 8, 32]}}}"
    found = accelerated(tmp_path, said, "serving: {max_batch_size: 4}\n")
    assert set(found) <= KNOWN
    digest = sha256(tmp_path / "repo/tiny/1/model.onnx")[:16]
    assert found == {
        "precision_mode": "FP16", "max_workspace_size_bytes": str(2**30), "trt_builder_optimization_level": "4",
        "trt_min_subgraph_size": "5", "trt_engine_cache_enable": "1", "trt_engine_cache_path": f"/models/cache/tiny/{digest}",
        "trt_timing_cache_enable": "1", "trt_timing_cache_path": "/models/cache/timing",
        "trt_extra_plugin_lib_paths": "/opt/a.so;/opt/b.so", "trt_profile_min_shapes": "words:1x1x8",
        "trt_profile_opt_shapes": "words:4x8x8", "trt_profile_max_shapes": "words:4x32x8",
    }  # fmt: skip


def test_a_retrained_model_has_an_engine_cache_of_its_own(tmp_path: Path) -> None:
    """The provider's own key holds names of the file, the inputs and the nodes: nothing that training changes."""
    onnx.save(conv(), tmp_path / "tiny.onnx")
    first = accelerated(tmp_path, "{kind: tensorrt}")
    assert first["precision_mode"] == "FP32"
    assert accelerated(tmp_path, "{kind: tensorrt}") == first
    onnx.save(conv(seed=1), tmp_path / "tiny.onnx")
    second = accelerated(tmp_path, "{kind: tensorrt}")
    assert {key for key in first if first[key] != second[key]} == {"trt_engine_cache_path"}


def test_what_the_user_says_of_the_engine_cache_stays(tmp_path: Path) -> None:
    onnx.save(conv(), tmp_path / "tiny.onnx")
    own = {"precision_mode": "FP32", "trt_engine_cache_path": "/mine"}
    accelerator = {"gpu_execution_accelerator": [{"name": "tensorrt", "parameters": own}]}
    config = {"config": {"model": {"optimization": {"execution_accelerators": accelerator}}}}
    assert accelerated(tmp_path, "{kind: tensorrt}", json.dumps(config)[1:-1]) == own


def test_a_free_axis_of_an_accelerated_model_needs_a_range(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    onnx.save(lstm(), tmp_path / "tiny.onnx")
    path = tmp_path / "tiny.yaml"
    path.write_text("name: tiny\ncheckpoint: {kind: onnx, file: tiny.onnx}\ntarget: {kind: onnxruntime, accelerator: {}}\n")
    assert run(["build", str(path), "-o", str(tmp_path / "repo")]) == 1
    said = capfd.readouterr().err
    assert f"{path}:3: target.accelerator: axis 1 of words FP32[batch, ?, 8] is free" in said
    assert "under `accelerator:`" in said
