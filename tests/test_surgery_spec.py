"""`surgery:` from YAML to the repository: through the command line, with real builds, errors with their lines."""

# ruff: noqa: E501 -- a row a line
from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest

from generator import graph as door
from generator import lock, pbtxt
from generator.cli import run
from generator.load import load
from generator.plugin import family

SPEC = """\
name: cut
checkpoint: {kind: onnx, file: m.onnx}
surgery:
"""
PASSES = """\
- kind: replace
  find: [{op: Add, name: head*}]
  by:
  - {op: LeakyRelu, attributes: {alpha: 0.02}, inputs: [0]}
  - {op: Identity}
  count: 1
- {kind: cut, outputs: {scores: }}
- kind: rename
  names: {x: images, scores: probabilities}
- kind: remove_leftovers
- kind: image_input
  input: images
  scale: 1/255
- kind: python
  function: mine.py:halve
  arguments: {factor: 0.5}
  graph: graphsurgeon
"""
MINE = """\
import numpy as np


def halve(graph, factor):
    constant = graph.tensors()["w"]
    constant.values = constant.values * np.float32(factor)
"""


def write(folder: Path, passes: str = PASSES, mine: str = MINE) -> Path:
    random = np.random.default_rng(3)
    made = graphs.model(
        "float[batch, 3, 8, 8] x => float[batch, 4, 6, 6] boxes, float[batch, 5] scores",
        """c = Conv(x, w) d = Dropout(c) r = Relu(d) h = Add(r, k) boxes = Neg(h)
           p = ReduceMean<keepdims = 0>(h, axes) q = MatMul(p, m) scores = Sigmoid(q)""",
        w=random.normal(size=(4, 3, 3, 3)).astype(np.float32), k=random.normal(size=(4, 1, 1)).astype(np.float32),
        m=random.normal(size=(4, 5)).astype(np.float32), axes=np.array([2, 3]),
    )  # fmt: skip
    made.graph.node[3].name = "head_add"
    onnx.save(made, folder / "m.onnx")
    (folder / "mine.py").write_text(mine)
    path = folder / "s.yaml"
    path.write_text(SPEC + passes)
    return path


def test_a_list_of_passes_is_built_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path)
    assert run(["plan", str(path), "-o", str(tmp_path / "repo"), "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert run(["build", str(path), "-o", str(tmp_path / "repo")]) == 0
    said = capsys.readouterr().err
    assert "1 replace: 8 -> 9 nodes (Add -1, Identity +1, LeakyRelu +1); meant to change results, not compared" in said
    assert "3 rename: 8 -> 8 nodes; same results, 20 values in batches of 1 and 3, largest difference 0.0e+00" in said
    assert "5 image_input: " in said
    config = pbtxt.read(tmp_path / "repo" / "cut" / "config.pbtxt")
    assert [(t.name, list(t.dims)) for t in (*config.input, *config.output)] == [("pixels", [8, 8, 3]), ("probabilities", [5])]
    final = door.load(tmp_path / "repo" / "cut" / "1" / "model.onnx")
    assert graphs.ends(final) == "pixels UINT8[batch, 8, 8, 3] => probabilities FP32[batch, 5]"
    source = graphs.constants(onnx.load(tmp_path / "m.onnx"))["w"]
    assert any(v.shape == source.shape and np.allclose(v, source / 2) for v in graphs.constants(final).values())
    assert {n.op_type: [p.value for p in n.metadata_props] for n in final.graph.node}["Conv"] == ["conv_0"]
    assert [m["model"] for m in planned[0]["models"]] == ["cut"]
    assert set(lock.read(tmp_path / "repo")["cut"].steps) == {"export", "passes", "surgery", "repository"}


def test_what_decides_the_passes_makes_them_stale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, now = write(tmp_path), time.time_ns()  # what the cache does not know
    assert run(["build", str(path), "-o", str(tmp_path / "repo")]) == 0
    capsys.readouterr()
    assert run(["build", str(path), "-o", str(tmp_path / "repo")]) == 0
    assert "nothing to do" in capsys.readouterr().out
    for change, reason in (
        (lambda: (tmp_path / "mine.py").write_text(MINE + f"\n# another thought at {now}\n"), "changed: sources"),
        (lambda: path.write_text(path.read_text().replace("0.02", f"0.02{now % 10**9:09}")), "changed: surgery"),
    ):
        change()  # type: ignore[no-untyped-call]
        assert run(["plan", str(path), "-o", str(tmp_path / "repo")]) == 0
        assert reason in capsys.readouterr().out
        assert run(["build", str(path), "-o", str(tmp_path / "repo")]) == 0
        assert "cut/export: cached" in capsys.readouterr().err
    path.write_text(path.read_text() + "opset: 18\n")
    assert run(["build", str(path), "-o", str(tmp_path / "repo")]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_the_user_s_code_does_not_run_at_plan_time(tmp_path: Path) -> None:
    path = write(tmp_path, mine=f"open({str(tmp_path / 'ran')!r}, 'w')\n" + MINE)
    assert run(["plan", str(path), "-o", str(tmp_path / "repo")]) == 0
    assert not (tmp_path / "ran").exists()
    assert run(["build", str(path), "-o", str(tmp_path / "repo")]) == 0
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("passes", "words"),
    [
        ("- {kind: renam, names: {a: b}}\n", "s.yaml:4: surgery.0: kind: found 'renam', expected one of 'add_input', "),
        ("- {kind: rename, nmaes: {a: b}}\n", "s.yaml:4: surgery.0.nmaes: unknown key 'nmaes'; did you mean 'names'?"),
        ("- {kind: rename, names: {a: c, b: c}}\n", "s.yaml:4: surgery.0.names: two tensors cannot both be called 'c'"),
        ("- kind: remove_leftovers\n- kind: cut\n", "s.yaml:5: surgery.1: say inputs, outputs or both"),
        ("- kind: cut\n  outputs: {score: }\n", "s.yaml:4: surgery.0: cut: the type and shape of 'score' are not known"),
        ("- {kind: remove_output, names: [scoers]}\n", "s.yaml:4: surgery.0: remove_output: no output 'scoers'; did you mean 'scores' or 'boxes'?"),
        ("- {kind: python, function: other.py:f}\n", "s.yaml:4: surgery.0.function: no such file: "),
        ("- {kind: python, function: f}\n", "found 'f', expected `file.py:function`"),
        ("- {kind: insert, op: P, domain: x, outputs: {p: }, graph_outputs: add}\n", "each of its outputs needs `{dtype, shape}`"),
    ],
)  # fmt: skip
def test_a_mistake_is_found_before_anything_is_built(
    tmp_path: Path, passes: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["plan", str(write(tmp_path, passes)), "-o", str(tmp_path / "repo")]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("passes", "mine", "words"),
    [
        ("- {kind: fold_constants, required: false}\n- kind: replace\n  find: [{op: Foo}]\n  by: [{op: Relu}]\n", MINE,
         "s.yaml:5: surgery.1: replace: no operator 'Foo' in the graph; there are: "),
        ("- kind: replace\n  find: [{op: Neg}]\n  by: [{op: Abs}]\n  same_results: true\n", MINE,
         "s.yaml:4: surgery.0: replace changed results, which it must not: boxes differs by"),
        ("- {kind: python, function: mine.py:halv}\n", MINE, "mine.py has no function 'halv'"),
        ("- {kind: python, function: mine.py:halve}\n", MINE, "TypeError: halve() missing 1 required positional argument"),
        ("- {kind: python, function: mine.py:f}\n", "def f(model):\n    return 1 / 0\n", "mine.py:2: ZeroDivisionError"),
        ("- {kind: python, function: mine.py:f}\n", "import nowhere_to_be_found\n", "pip install nowhere_to_be_found"),
        ("- {kind: python, function: mine.py:f}\n", "def f(model):\n    return 3\n", "returned int; return an onnx.ModelProto"),
        ("- {kind: python, function: mine.py:f}\n", "def f(model):\n    pass\n", "python changed nothing"),
        ("- {kind: python, function: mine.py:f}\n", "def f(model):\n    del model.graph.output[1]\n",
         "the outputs after surgery are boxes FP32[batch, 4, 6, 6]; expected boxes FP32[batch, 4, 6, 6], scores FP32[batch, 5]"),
        ("- {kind: python, function: mine.py:f}\n", "def f(model):\n    model.graph.node[0].input[0] = 'gone'\n",
         "python: the graph is no longer valid: "),
    ],
)  # fmt: skip
def test_a_pass_that_fails_is_named_with_its_line(
    tmp_path: Path, passes: str, mine: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["build", str(write(tmp_path, passes, mine)), "-o", str(tmp_path / "repo")]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert not (tmp_path / "repo").exists()


def test_a_custom_node_is_said_to_be_unchecked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    passes = """\
- kind: insert
  op: Plug
  domain: my.plugins
  attributes: {size: 3}
  inputs: [scores]
  outputs: {plugged: {dtype: INT32, shape: [batch, 7]}}
  graph_outputs: add
- kind: rename
  names: {plugged: kept}
"""
    assert run(["build", str(write(tmp_path, passes)), "-o", str(tmp_path / "repo")]) == 0
    assert "2 rename: 9 -> 9 nodes; NOT CHECKED: ONNX Runtime has no my.plugins::Plug" in capsys.readouterr().err
    final = door.load(tmp_path / "repo" / "cut" / "1" / "model.onnx")
    assert graphs.ends(final).endswith("scores FP32[batch, 5], kept INT32[batch, 7]")
    assert ("my.plugins", 1) in {(o.domain, o.version) for o in final.opset_import}


@pytest.mark.parametrize(
    ("passes", "rungs"),
    [
        (
            "- {kind: remove_output, names: [boxes]}\n- {kind: image_input, input: x, scale: 1/255}\n",
            [("exported ONNX", "onnxruntime, not optimised"), ("after surgery", "graph after the passes + reference")],
        ),
        (
            "- kind: remove_leftovers\n- {kind: rename, names: {x: images, boxes: big}}\n",
            [("after the passes", "onnxruntime, not optimised"), ("served", "onnxruntime, not optimised + reference")],
        ),
    ],
)
def test_what_was_operated_is_served_and_verified(
    tmp_path: Path, passes: str, rungs: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, passes)
    assert run(["build", str(path), "-o", str(tmp_path / "repo")]) == 0
    capsys.readouterr()
    assert run(["verify", str(path), "-r", str(tmp_path / "repo"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(rungs) <= {(rung["name"], rung["against"]) for rung in found}
    assert found[-1]["name"] == "served"
    assert all(rung["ok"] and rung["result"]["compared"] for rung in found)


def test_the_documented_table_is_current(root: Path) -> None:
    location = importlib.util.spec_from_file_location("reference", root / "scripts" / "reference.py")
    assert location is not None
    assert location.loader is not None
    script = importlib.util.module_from_spec(location)
    location.loader.exec_module(script)
    page = (root / "docs" / "surgery.md").read_text()
    assert page == script.surgery(), "run: make docs"
    assert page.count("\n| `") == len(family("generator.passes"))


def test_every_documented_example_is_a_spec(root: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (root / "docs" / "surgery.md").read_text(), re.S)
    kinds = set()
    (tmp_path / "surgery_passes.py").write_text("")
    (tmp_path / "detector.onnx").write_bytes(b"")
    for block in blocks:
        said = block if "surgery:" in block else f"name: a\ncheckpoint: {{kind: onnx, file: detector.onnx}}\nsurgery:\n{block}"
        (tmp_path / "s.yaml").write_text(said)
        kinds |= {step.kind for step in load(tmp_path / "s.yaml").surgery}
    assert len(kinds) > 20
    assert len(blocks) >= 6


def test_the_example_is_built(root: Path, tmp_path: Path) -> None:
    for name in ("surgery.yaml", "surgery_passes.py", "surgery_model.py"):
        shutil.copy(root / "examples" / name, tmp_path)
    subprocess.run([sys.executable, str(tmp_path / "surgery_model.py")], check=True, capture_output=True)
    assert run(["build", str(tmp_path / "surgery.yaml"), "-o", str(tmp_path / "repo")]) == 0
    final = door.load(tmp_path / "repo" / "operated" / "1" / "model.onnx")
    assert graphs.ends(final) == "pixels UINT8[batch, 32, 32, 3] => logits FP32[batch, 10]"
    assert not {"Slice", "BatchNormalization", "HardSwish", "Softplus"} & set(graphs.ops(final))
