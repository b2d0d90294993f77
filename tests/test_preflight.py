"""check --tensorrt for real: NVIDIA's parser and builder of TensorRT for RTX, in their own environment; no GPU."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from graphs import model
from nms_graphs import Case
from nms_graphs import model as nms_model
from onnx import helper

from generator import graph, plugin, preflight, preflight_run, tensorrt_remedies
from generator.cli import run
from generator.detection import Candidates
from generator.nms.efficient_nms_trt import EfficientNms
from generator.nms.onnx import OnnxNms
from generator.passes.remove_input import RemoveInput
from generator.preflight_verdict import Graph, Terms, Verdict
from generator.rules import all_rules

F32 = np.float32
ROOT = Path(__file__).resolve().parent.parent
Judge = Callable[..., Verdict]


@pytest.fixture(scope="module")
def by() -> preflight_run.Parser:
    return preflight_run.parser()


@pytest.fixture
def judge(by: preflight_run.Parser, tmp_path: Path) -> Judge:
    """A graph's verdict; keywords are those of `Graph` and `Terms`."""

    def judged(made: onnx.ModelProto, seconds: float = 120, **said: Any) -> Verdict:
        graph.save(made, tmp_path / "model.onnx")
        return preflight.judge(Graph("tiny", "model.onnx", tmp_path / "model.onnx", **said), Terms(by, seconds=seconds))

    return judged


def said(verdict: Verdict) -> list[tuple[str, str]]:
    return [(rule, f"{problem.field} | {problem.found} | {problem.remedy}") for rule, problem in verdict.problems]


OK = model("float[b, 4] x => float[b, 4] y", "t = Relu(x) y = Mul(t, x)")
LOOP = """y = Loop(n, c, x) <body = inner (int64 i, bool k, float[b, 4] a) => (bool go, float[b, 4] out)
    { go = Identity(k) d = BitwiseNot(i) out = Add(a, a) }>"""

#: A graph, the rules that find something, and what is said of it: place, what was found, what to do.
REFUSED: dict[str, tuple[onnx.ModelProto, list[str], tuple[str, ...]]] = {
    "nobody's operator, twice": (
        model("float[b, 4] x => float[b, 4] y", "t = my.Foo(x) u = my.Bar(t) y = Relu(u)"),
        ["tensorrt/operator", "tensorrt/operator", "tensorrt/not_judged"],
        ("node foo_0 | Foo of domain my: Plugin not found", "node bar_1 | Bar of domain my", "plugin_librar", "what follows u"),
    ),
    "no function of TensorRT": (
        model("float[b, 4, 4] x => float[b] y", "t = Relu(x) y = Det(t)"),
        ["tensorrt/operator"],
        ("node det_1 | Det: not supported", "Mul and Sub"),
    ),
    "a type that TensorRT has not": (
        model("uint32[b, 4] x => uint32[b, 4] y", 'y = BitShift<direction="LEFT">(x, x)'),
        ["tensorrt/operator", "tensorrt/operator"],
        ("input x of UINT32", "cast to INT32", "node bitshift_0 | BitShift", "Mul, Div and Mod"),
    ),
    "texts": (
        model("string[b] x => string[b] y", "y = Identity(x)"),
        ["tensorrt/operator"],
        ("input x of STRING, output y of STRING", "text never enters an engine"),
    ),
    "an attribute": (
        model(
            "float[b, 3, 8, 8] x => float[b, 3, 16, 16] y",
            'y = Resize<coordinate_transformation_mode="half_pixel_symmetric">(x, , s)', s=np.array([1, 1, 2, 2], F32),
        ),
        ["tensorrt/operator"],
        ("Resize: TensorRT only supports half_pixel", "set_attribute"),
    ),
    "what only the builder refuses": (
        model("float[b, 9000] x => float[b, 5000] y, int64[b, 5000] i", "y, i = TopK(x, k)", k=np.array([5000])),
        ["tensorrt/operator"],
        ("node topk_0 | TopK: ", "exceeds the maximum value allowed (3840)", "K is 3840 at most"),
    ),
    "8-bit numbers inside": (
        model("float[b, 4] x => float[b, 4] y", "g = Greater(x, x) t = Cast<to=2>(g) u = ReduceMax(t) y = Cast<to=1>(u)"),
        ["tensorrt/operator", "tensorrt/operator"],
        ("node cast_1 | Cast: TensorRT does not support UINT8", "inputs and outputs only", "node reducemax_2"),
    ),
    "double at the ends": (
        model("double[b, 4] x => double[b, 4] y", "y = Add(x, x)"),
        ["tensorrt/type", "tensorrt/type"],
        ("x is DOUBLE; the network's is FLOAT", "y is DOUBLE", "cast it in the graph"),
    ),
    "double inside": (
        model("float[b, 4] x => float[b, 4] y", "t = Cast<to=11>(x) u = Add(t, t) y = Cast<to=1>(u)"),
        ["tensorrt/double"],
        ("node cast_0 | Cast computes in DOUBLE",),
    ),
    "inside a loop": (
        model("float[b, 4] x => float[b, 4] y", LOOP, n=np.array(3), c=np.array(True)),
        ["tensorrt/operator"],
        ("node loop_0 | Loop: not supported",),
    ),
    "sizes that depend on the data": (
        model("float[b, 4] x => int64[2, n] y", "t = Relu(x) y = NonZero(t)"),
        ["tensorrt/not_judged"],
        ("node nonzero_1 | NonZero",),
    ),
    "a batch of one, frozen": (
        model("float[b, 4] x => float[1, 4] y", "y = Reshape(x, s)", s=np.array([1, 4])),
        ["tensorrt/operator"],
        ("node reshape_0 | Reshape: ", "kOPT values for profile 0", "one is frozen in it"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named_with_its_place_and_remedy(judge: Judge, name: str) -> None:
    made, rules, words = REFUSED[name]
    found = said(judge(made))
    assert [rule for rule, _ in found] == rules
    whole = "\n".join(text for _, text in found)
    assert [word for word in words if word not in whole] == []


def test_what_is_refused_does_not_hide_the_rest(judge: Judge) -> None:
    verdict = judge(REFUSED["no function of TensorRT"][0])
    assert (verdict.parsed, list(verdict.compiled), verdict.layers) == (True, ["8.9"], 1)
    assert [(one.operator, one.nodes) for one in verdict.refused] == [("Det", ["det_1"])]


def test_what_only_the_builder_refuses_does_not_hide_the_rest_either(judge: Judge) -> None:
    made = model("float[b, 9000] x => float[b, 5000] y, int64[b, 5000] i", "t = Relu(x) y, i = TopK(t, k)", k=np.array([5000]))
    verdict = judge(made)
    assert [(one.operator, one.nodes) for one in verdict.refused] == [("TopK", ["topk_1"])]
    assert list(verdict.compiled) == ["8.9"]


def test_nodes_of_one_operator_refused_for_one_reason_are_one_finding(judge: Judge) -> None:
    verdict = judge(model("float[b, 4, 4] x => float[b] y", "s = Det(x) t = Det(x) y = Add(s, t)"))
    assert [rule for rule, _ in verdict.problems] == ["tensorrt/operator"]
    assert [one.nodes for one in verdict.refused] == [["det_0", "det_1"]]


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("pkg.torch.onnx.name_scopes", "['', 'neck', 'neck.warp', 'det']", "any"),
        ("other", "", "/neck/warp/Det"),
    ],
)
def test_the_module_of_the_network_is_named(judge: Judge, key: str, value: str, name: str) -> None:
    made = model("float[b, 4, 4] x => float[b] y", "y = Det(x)")
    made.graph.node[0].name = name
    del made.graph.node[0].metadata_props[:]
    helper.set_model_props(made, {})
    entry = made.graph.node[0].metadata_props.add()
    entry.key, entry.value = key, value
    (found,) = said(judge(made))
    assert "Det (module neck.warp): not supported" in found[1]


CRASHES = {
    "parsing": model("float[b, 4, 8, 8] x => float[b, n, m, k] y", "y = DepthToSpace<blocksize=0>(x)"),
    "compiling for 8.9": model(
        "float[b, 4] x => float[b, 4] y, int64[1] z", "y = Relu(x) z = Div(a, c)", a=np.array([4]), c=np.array([0])
    ),
}  # fmt: skip


@pytest.mark.parametrize("stage", CRASHES)
def test_a_graph_that_ends_the_process_is_a_finding(judge: Judge, stage: str) -> None:
    ((rule, text),) = said(judge(CRASHES[stage]))
    assert rule == "tensorrt/crash"
    assert f"the process ended with SIGFPE while {stage}" in text
    assert said(judge(OK)) == []


def test_a_graph_that_takes_too_long_is_a_finding_and_its_process_ends(judge: Judge) -> None:
    names = ["x", *(f"t{i}" for i in range(4000)), "y"]
    body = " ".join(f"{after} = Mul({before}, w)" for before, after in itertools.pairwise(names))
    made = model("float[b, 4] x => float[b, 4] y", body, w=np.full(4, 1.001, F32))
    began = time.monotonic()
    ((rule, text),) = said(judge(made, seconds=2))
    assert rule == "tensorrt/crash"
    assert "took longer than 2 s while" in text
    assert "--timeout" in text
    assert time.monotonic() - began < 15
    assert children() == []


def children() -> list[str]:
    """Command lines of the pre-flight's processes that are ours and live."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):  # it has ended
            if f"PPid:\t{os.getpid()}\n" in status.read_text():
                found.append(status.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode())
    return [line for line in found if "preflight_child" in line]


def test_sizes_follow_the_batch_the_config_and_the_request_for_an_engine(judge: Judge, tmp_path: Path) -> None:
    made = model("float[b, n] x => float[b, n] y", "y = Relu(x)")
    assert judge(made, most=3, fixed={"x": [7]}).sizes == "x 1x7 to 3x7"
    assert judge(made, most=3, fixed={"x": [-1]}).sizes == "x 1x1 to 3x64"
    assert judge(made, most=0, fixed={"x": [5, -1]}).sizes == "x 5x1 to 5x64"
    one = judge(made, most=1, fixed={"x": [7]})  # a range of one length is a range
    assert (one.problems, list(one.compiled)) == ([], ["8.9"])
    wanted = {"x": {"min": [1, 9], "opt": [2, 9], "max": [2, 90]}}
    (tmp_path / "engine.json").write_text(json.dumps({"profiles": [wanted]}))
    assert judge(made).sizes == "x 1x9 to 2x90"
    (tmp_path / "engine.json").write_text("[")
    assert [rule for rule, _ in judge(made).problems] == ["tensorrt/file"]


def test_what_a_cut_leaves_has_the_sizes_of_the_request(judge: Judge, tmp_path: Path) -> None:
    made = model("float[b, 4, 4] x => float[b] z, float[b, 4, 4] w", "y = Det(x) z = Relu(y) w = Relu(x)")
    wanted = {"x": {"min": [1, 4, 4], "opt": [8, 4, 4], "max": [8, 4, 4]}}
    (tmp_path / "engine.json").write_text(json.dumps({"profiles": [wanted]}))
    verdict = judge(made)
    assert [rule for rule, _ in verdict.problems] == ["tensorrt/operator"]
    assert verdict.sizes == "x 1x4x4 to 8x4x4, y 1 to 8"


def test_a_profile_outside_the_model_s_range_is_refused(judge: Judge) -> None:
    wanted = {"x": {"min": [1, 4], "opt": [2, 4], "max": [2, 9]}}
    ((rule, text),) = said(judge(OK, said=wanted))
    assert rule == "tensorrt/compile"
    assert "profile has min=4, opt=4, max=9 but tensor has 4" in text
    assert "`ranges` of target tensorrt" in text


def test_lengths_that_are_nowhere_said_are_tried_until_one_compiles(judge: Judge) -> None:
    made = model("float[b, n] x => float[b, 40] y", "y = Slice(x, a, c, d)", a=np.array([0]), c=np.array([40]), d=np.array([1]))
    made.graph.node.append(helper.make_node("Reshape", ["y", "s"], ["z"], name="exactly"))
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1, 40]), "s"))
    made.graph.output.append(helper.make_tensor_value_info("z", 1, ["b", 40]))
    verdict = judge(made)
    assert (said(verdict), verdict.sizes) == ([], "x 1x16 to 8x128")


def nms(strategy: EfficientNms | OnnxNms) -> onnx.ModelProto:
    """The strategy behind a Sigmoid."""
    random = np.random.default_rng(0)
    case = Case(Candidates(50, 3), random.random((2, 50, 4), F32), random.random((2, 50, 3), F32))
    made = nms_model(strategy, case)
    for node in made.graph.node:
        node.input[:] = ["logistic" if name == "scores" else name for name in node.input]
    made.graph.node.insert(0, helper.make_node("Sigmoid", ["scores"], ["logistic"], name="before"))
    return made


def test_efficient_nms_is_cut_off_and_all_around_it_compiled(judge: Judge) -> None:
    verdict = judge(nms(EfficientNms()))
    assert (said(verdict), verdict.unjudged, list(verdict.compiled)) == ([], ["EfficientNMS_TRT"], ["8.9"])
    assert verdict.layers > 5  # also what counts and fills up behind the plugin


def edited(change: Callable[[onnx.NodeProto], object], *nodes: onnx.NodeProto) -> onnx.ModelProto:
    made = nms(EfficientNms())
    place = next(i for i, node in enumerate(made.graph.node) if node.op_type == "EfficientNMS_TRT")
    change(made.graph.node[place])
    for node in reversed(nodes):
        made.graph.node.insert(place, node)
    return made


def without_attribute(node: onnx.NodeProto) -> None:
    node.attribute.remove(next(one for one in node.attribute if one.name == "score_activation"))


def scores_of_half(node: onnx.NodeProto) -> None:
    node.input[1] = "half"


def boxes_for_scores(node: onnx.NodeProto) -> None:
    node.input[0] = node.input[1]


def boxes_twice(node: onnx.NodeProto) -> None:
    node.input[0] = "twice"


def coded_otherwise(node: onnx.NodeProto) -> None:
    next(one for one in node.attribute if one.name == "box_coding").i = 2


@pytest.mark.parametrize(
    ("made", "found", "expected"),
    [
        (edited(without_attribute), "no attribute score_activation", "box_coding"),
        (edited(coded_otherwise), "box_coding 2", "0 or 1"),
        (edited(boxes_for_scores), "FLOAT[free, 50, 3]", "boxes of [batch, boxes, 4]"),
        (
            edited(scores_of_half, helper.make_node("Cast", ["logistic"], ["half"], to=10)),
            "half FLOAT16[free, 50, 3] beside boxes FLOAT[free, 50, 4]", "one type",
        ),
        (
            edited(boxes_twice, helper.make_node("Concat", ["boxes", "boxes"], ["twice"], axis=1)),
            "twice FLOAT[free, 100, 4] beside", "as many boxes as rows of scores",
        ),
        (edited(lambda node: node.input.pop()), "1 inputs", "boxes and scores"),
    ],
)  # fmt: skip
def test_edges_of_efficient_nms_are_held_against_our_rules(
    judge: Judge, made: onnx.ModelProto, found: str, expected: str
) -> None:
    problems = [problem for rule, problem in judge(made).problems if rule == "tensorrt/plugin"]
    assert len(problems) == 1
    assert found in problems[0].found
    assert expected in problems[0].expected


def test_a_plugin_that_nobody_described_is_named(judge: Judge) -> None:
    made = model("float[b, 4] x => float[b, 4] y", "t = Relu(x) y = my.Odd_TRT(t)")
    verdict = judge(made)
    ((rule, text),) = said(verdict)
    assert (rule, list(verdict.compiled)) == ("tensorrt/not_judged", ["8.9"])
    assert "node odd_trt_1 | Odd_TRT of domain my" in text


@pytest.mark.parametrize("fixed", [True, False])
def test_standard_nms_is_parsed_and_what_stands_before_it_compiled(judge: Judge, fixed: bool) -> None:
    verdict = judge(nms(OnnxNms(fixed_shapes=fixed)))
    assert verdict.parsed
    assert list(verdict.compiled) == ["8.9"]
    assert verdict.unjudged == ["NonMaxSuppression (parsed only)", *([] if fixed else ["NonZero"])]
    assert [rule for rule, _ in verdict.problems] == ([] if fixed else ["tensorrt/not_judged"])


def test_weights_outside_the_file_are_read_where_they_lie(by: preflight_run.Parser, tmp_path: Path) -> None:
    made = model("float[b, 256] x => float[b, 256] y", "t = MatMul(x, w) y = Relu(t)", w=np.ones((256, 256), F32))
    path = tmp_path / "outer.onnx"
    graph.save(made, path, limit=1)
    assert (tmp_path / "outer.onnx.data").stat().st_size >= 4 * 256**2 > path.stat().st_size
    verdict = preflight.judge(Graph("outer", "outer.onnx", path), Terms(by))
    assert (said(verdict), list(verdict.compiled)) == ([], ["8.9"])
    (tmp_path / "outer.onnx.data").unlink()
    ((rule, text),) = said(preflight.judge(Graph("outer", "outer.onnx", path), Terms(by)))
    assert (rule, "outer.onnx.data" in text) == ("tensorrt/file", True)


def test_a_remedy_that_is_a_pass_mends(judge: Judge) -> None:
    """Every row with `surgery`, on the operator that the test names, compiles afterwards."""
    layer = "y, mean = LayerNormalization(x, s)"
    made = model("float[b, 4] x => float[b, 4] y, float[b, 1] mean", layer, s=np.ones(4, F32))
    (refused,) = judge(made).refused
    mended = made
    for one in refused.remedy.passes(refused.operator):
        mended = plugin.family("generator.passes")[one["kind"]](**one).run(mended)  # type: ignore[attr-defined]
    assert (refused.operator, said(judge(mended))) == ("LayerNormalization", [])
    scales = model(
        "float[b, 3, 8, 8] x, float[2] by => float[b, 3, n, m] y",
        "s = Concat<axis=0>(o, by) y = Resize(x, , s)",
        o=np.ones(2, F32),
    )
    ((rule, text),) = said(judge(scales))
    assert (rule, "remove_input" in text) == ("tensorrt/operator", True)
    fixed = RemoveInput(kind="remove_input", values={"by": [2, 2]})
    assert said(judge(fixed.run(scales))) == []


def test_every_remedy_can_be_reached() -> None:
    rows = tensorrt_remedies.REMEDIES
    assert not rows[-1].operators
    assert not rows[-1].reason
    assert all(row.text and "`" not in row.operators for row in rows)
    kinds = plugin.family("generator.passes")
    assert {one["kind"] for row in rows for one in row.surgery} <= kinds.keys()


# --- the command ---


def repository(folder: Path, **models: onnx.ModelProto) -> Path:
    for name, made in models.items():
        (folder / name / "1").mkdir(parents=True)
        graph.save(made, folder / name / "1" / "model.onnx")
        (folder / name / "config.pbtxt").write_text(
            f'name: "{name}" backend: "onnxruntime" max_batch_size: 8 dynamic_batching {{ }}\n'
            'input { name: "x" data_type: TYPE_FP32 dims: [ 4, 4 ] }\n'
            'output { name: "y" data_type: TYPE_FP32 dims: 1 reshape { } }\n'
        )
    return folder


def test_a_repository_is_judged_with_all_rules(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sound = model("float[b, 4, 4] x => float[b] y", "y = ReduceSum<keepdims=0>(x, a)", a=np.array([1, 2]))
    where = repository(tmp_path, sound=sound, wrong=model("float[b, 4, 4] x => float[b] y", "y = Det(x)"))
    assert run(["check", str(where)]) == 0
    assert "2 models: no errors" in capfd.readouterr().out
    assert run(["check", "--tensorrt", str(where), "--compute-capability", "8.6", "--compute-capability", "12.0"]) == 1
    out, err = capfd.readouterr()
    assert f"{where}/wrong/1/model.onnx: error 1/model.onnx: node det_0 [tensorrt/operator]" in out
    assert "2 models: 1 error, 2 warnings" in out
    assert "sound 1/model.onnx: parsed, " in err
    assert "compiled for 8.6, 12.0 in" in err
    assert run(["check", "--tensorrt", str(where / "sound")]) == 0
    assert "1 model: no errors" in capfd.readouterr().out
    assert run(["check", "--tensorrt", str(where), "--ignore", "tensorrt/operator"]) == 0
    for file in where.glob("*/1/model.onnx"):
        file.rename(file.with_name("model.py"))
    capfd.readouterr()
    assert run(["check", "--tensorrt", str(where)]) == 1
    assert f"{where}: the repository holds no ONNX file, so nothing was judged" in capfd.readouterr().err


def test_where_nothing_can_be_judged_nothing_has_passed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ir" / "1").mkdir(parents=True)
    (tmp_path / "ir" / "config.pbtxt").write_text('backend: "openvino"')
    for path, what in ((tmp_path, "the repository"), (tmp_path / "ir", "ir")):
        assert run(["check", "--tensorrt", str(path)]) == 1
        assert f"{tmp_path}: {what} holds no ONNX file, so nothing was judged; name the spec" in capfd.readouterr().err


def test_onnx_files_in_every_form(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    good, bad, cut = (tmp_path / name for name in ("good.onnx", "bad.onnx", "cut.onnx"))
    onnx.save(OK, good)
    onnx.save(REFUSED["no function of TensorRT"][0], bad)
    cut.write_bytes(bad.read_bytes()[:-9])
    assert run(["check", "--tensorrt", str(good)]) == 0
    capfd.readouterr()
    assert run(["check", "--tensorrt", str(good), str(bad), str(cut), "--format", "json"]) == 1
    found = json.loads(capfd.readouterr().out)
    assert (found["models"], found["errors"]) == (3, 2)
    assert {(one["rule"], one["model"], one["file"]) for one in found["findings"]} == {
        ("tensorrt/operator", "bad", str(bad)), ("tensorrt/file", "cut", str(cut)),
    }  # fmt: skip
    assert run(["check", "--tensorrt", str(bad), "--format", "sarif"]) == 1
    (work,) = json.loads(capfd.readouterr().out)["runs"]
    assert [(rule["id"], rule["shortDescription"]["text"]) for rule in work["tool"]["driver"]["rules"]] == [
        ("tensorrt/operator", "TensorRT takes every operator, with its types and attributes.")
    ]
    assert run(["check", "--tensorrt", str(bad), "--format", "github"]) == 1
    assert f"::error file={bad},line=1,title=tensorrt/operator::bad: bad.onnx: node det_1" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["x.onnx"], "x.onnx is a file; name one model repository, or say --tensorrt"),
        (["a", "b"], "2 paths; name one model repository, or say --tensorrt"),
        (["--tensorrt", "gone.onnx"], "gone.onnx: no such file or folder"),
        (["--tensorrt", "x.onnx", "--compute-capability", "9.0"], "found 9.0; TensorRT for RTX 1.7.1.116 compiles for 7.5, 8.0"),
        (["--tensorrt", "x.onnx", "--compute-capability", "ada"], "found 'ada'; expected one as NVIDIA writes it"),
        (["--tensorrt", "spec.yaml"], "spec.yaml: tiny is not built as it stands; triton-repo build spec.yaml"),
    ],
)
def test_mistakes_end_in_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    onnx.save(OK, tmp_path / "x.onnx")
    (tmp_path / "spec.yaml").write_text("name: tiny\ncheckpoint: {kind: onnx, file: x.onnx}\nserving: {max_batch_size: 5}\n")
    monkeypatch.chdir(tmp_path)
    assert run(["check", *arguments]) == 1
    err = capfd.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_a_spec_is_judged_by_its_final_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    onnx.save(model("float[batch, 5] x => float[batch, 5] y", "y = Relu(x)"), tmp_path / "x.onnx")
    (tmp_path / "spec.yaml").write_text("name: tiny\ncheckpoint: {kind: onnx, file: x.onnx}\nserving: {max_batch_size: 5}\n")
    monkeypatch.chdir(tmp_path)
    assert run(["build", "spec.yaml", "-o", "repository"]) == 0
    capfd.readouterr()
    assert run(["check", "--tensorrt", "spec.yaml"]) == 0
    out, err = capfd.readouterr()
    assert "tiny final graph: parsed, 1 layers; compiled for 8.9" in err
    assert "x 1x5 to 5x5" in err
    assert "1 model: no errors" in out


def test_without_a_connection_the_missing_environment_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    onnx.save(OK, tmp_path / "x.onnx")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PATH", os.defpath)  # no uv
    monkeypatch.setenv("TRITON_REPO_CACHE", str(tmp_path / "cache"))
    assert run(["check", "--tensorrt", str(tmp_path / "x.onnx")]) == 1
    lines = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("[environment]")]
    assert len(lines) == 1
    assert "error: the environment tensorrt_rtx could not be made in" in lines[0]


def test_a_check_without_the_option_loads_nothing_of_it(tmp_path: Path) -> None:
    where = repository(
        tmp_path, sound=model("float[b, 4, 4] x => float[b] y", "y = ReduceSum<keepdims=0>(x, a)", a=np.array([1, 2]))
    )
    code = f"import sys; from generator.cli import run; run(['check', {str(where)!r}])"
    code += "; print([m for m in sys.modules if 'preflight' in m or m == 'onnx'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_rule_is_found_by_a_test_here() -> None:
    tested = {rule for _, rules, _ in REFUSED.values() for rule in rules} | {"tensorrt/crash", "tensorrt/file"}
    tested |= {"tensorrt/plugin", "tensorrt/compile"}
    assert {rule.id for rule in all_rules() if rule.id.startswith("tensorrt/")} == tested


# --- the project's own models ---

SPECS = sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("ensembles/*.yaml"), *ROOT.glob("examples/**/*.yaml")])
QUICK = ("ensembles/efficientnet_lite0.yaml", "ensembles/yolov4_tiny.yaml")
#: Checkpoints that are not in git: what makes them, and what it makes.
MADE = {
    "examples/surgery.yaml": ("surgery_model.py", "surgery.onnx"), "converted": ("converted/make_models.py", "converted/models"),
}  # fmt: skip
#: What TensorRT cannot take as it is, and why.
UNFIT = {
    "examples/super_resolution.yaml": "Resize: .*its scales come from outside",
    "examples/converted/iris_sklearn.yaml": "of domain ai.onnx.ml.*keep this model on onnxruntime|output label of STRING",
}


@pytest.mark.parametrize("spec", [pytest.param(one, marks=() if one in QUICK else pytest.mark.full) for one in SPECS])
def test_every_model_of_the_project_passes(spec: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if spec == "examples/yolov4_tiny_pt.yaml":
        subprocess.run([sys.executable, str(ROOT / "scripts" / "darknet_to_pt.py")], check=True)
    named = [(ROOT / spec).parent / name for name in re.findall(r"[\w./-]*weights/[\w./-]+", (ROOT / spec).read_text())]
    if missing := [path for path in named if not path.exists()]:
        pytest.skip(
            f"{missing[0]} is not here; scripts/fetch_weights.py and scripts/train_detr.py make what is not fetched by itself"
        )
    script, made = MADE.get(Path(spec).parent.name if "converted" in spec else spec, ("", ""))
    if made and not (ROOT / "examples" / made).exists():
        subprocess.run([sys.executable, str(ROOT / "examples" / script)], check=True)
    assert run(["build", str(ROOT / spec), "-o", str(tmp_path)]) == 0
    capfd.readouterr()
    judged = tmp_path if any(tmp_path.glob("*/*/*.onnx")) else ROOT / spec  # IR alone: the graph that it was made from
    assert run(["check", "--tensorrt", str(judged), "--format", "json"]) == int(spec in UNFIT)
    out, err = capfd.readouterr()
    found = [one for one in json.loads(out)["findings"] if one["level"] == "error"]
    assert bool(found) == (spec in UNFIT)
    assert all(re.search(UNFIT[spec], f"{one['found']} {one['remedy']}") for one in found)
    assert found or "; compiled for 8.9 in" in err


@pytest.mark.full
@pytest.mark.parametrize("kind", ["fp16", "bf16"])
@pytest.mark.parametrize("spec", QUICK)
def test_what_stands_before_nms_compiles_in_half_precision(
    spec: str, kind: str, by: preflight_run.Parser, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = yaml.safe_load((ROOT / spec).read_text())
    for key in ("preprocess", "postprocess", "verify"):
        said.pop(key, None)
    said["checkpoint"] = {
        name: str(ROOT / "ensembles" / one) if "../" in str(one) else one for name, one in said["checkpoint"].items()
    }
    path = tmp_path / "half.yaml"
    path.write_text(yaml.safe_dump({**said, "name": "half", "precision": {"kind": kind}, "target": {"kind": "tensorrt"}}))
    assert run(["build", str(path), "-o", str(tmp_path / "repository")]) == 0
    capfd.readouterr()
    assert run(["check", "--tensorrt", str(path)]) == 0
    assert "; compiled for 8.9 in" in capfd.readouterr().err
    weights = graph.load(tmp_path / "repository" / "half" / "1" / "model.onnx").graph.initializer
    assert {10: "fp16", 16: "bf16"}[max(one.data_type for one in weights if len(one.dims) == 4)] == kind
