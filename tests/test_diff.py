"""triton-repo diff: what it finds, what it passes over, and its pictures."""

# ruff: noqa: E501 -- a row a line
from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from generator.cli import run
from generator.diff_layout import place
from generator.diff_picture import drawing
from generator.diff_scene import MAX_BOXES, scene
from generator.onnx_diff import Diff, diff

XY = "float[b, 4] x => float[b, 4] y"
ONES = np.ones(4, np.float32)


def found(one: tuple[str, str], two: tuple[str, str], **constants: Any) -> Diff:
    first: dict[str, Any] = {"w": constants["w"]} if "w" in constants else {}
    second: dict[str, Any] = {"w": constants.get("w2", constants["w"])} if "w" in constants else {}
    before, after = graphs.model(*one, **first), graphs.model(*two, **second)
    return diff(before, after)


def said(result: Diff) -> list[str]:
    return [f"{e.kind} {e.status} {e.op} {e.name} {', '.join(e.details)}".strip() for e in result.entries]


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        ((XY, "y = Relu(x)"), (XY, "y = Relu(x)"), []),
        ((XY, "t = Relu(x) y = Neg(t)"), (XY, "y = Neg(x)"), ["node removed Relu relu_0", "node changed Neg neg_0 input 0: t -> x"]),
        ((XY, "y = LeakyRelu<alpha = 0.1>(x)"), (XY, "y = LeakyRelu<alpha = 0.2>(x)"), ["node changed LeakyRelu leakyrelu_0 alpha: 0.1 -> 0.2"]),
        ((XY, "y = LeakyRelu<alpha = 0.1>(x)"), (XY, "y = LeakyRelu(x)"), ["node changed LeakyRelu leakyrelu_0 alpha: 0.1 -> (none)"]),
        ((XY, "y = Relu(x)"), ("float[b, 4] z => float[b, 4] y", "y = Relu(z)"), ["input renamed FLOAT[b, 4] z was x"]),
        ((XY, "y = Relu(x)"), ("float[2, 4] x => float[2, 4] y", "y = Relu(x)"),
         ["input changed FLOAT[2, 4] x was FLOAT[b, 4]", "output changed FLOAT[2, 4] y was FLOAT[b, 4]"]),
        ((XY, "y = Relu(x)"), ("float[b, 4] x => float[b, 4] y, float[b, 4] z", "y = Relu(x) z = Neg(x)"),
         ["output added FLOAT[b, 4] z", "node added Neg neg_1"]),
        # names of inner tensors changed, nothing else: the same operators, recognised by what they compute
        ((XY, "a = Relu(x) c = Neg(a) y = Abs(c)"), (XY, "p = Relu(x) q = Neg(p) y = Abs(q)"),
         ["node renamed Relu relu_0 gives p, was a", "node renamed Neg neg_1 gives q, was c"]),
        # the order of nodes says nothing
        ((XY, "a = Relu(x) c = Neg(x) y = Add(a, c)"), (XY, "c = Neg(x) a = Relu(x) y = Add(a, c)"), ["node renamed Relu relu_1 was relu_0", "node renamed Neg neg_0 was neg_1"]),
    ],
)  # fmt: skip
def test_what_differs(one: tuple[str, str], two: tuple[str, str], expected: list[str]) -> None:
    assert said(found(one, two)) == expected


def test_constants_by_value_by_name_and_by_content() -> None:
    mul = (XY, "y = Mul(x, w)")
    assert said(found(mul, mul, w=ONES, w2=ONES * 3)) == ["initialiser changed FLOAT[4] w 4 of 4 values differ, by 2 at most"]
    assert said(found(mul, mul, w=ONES, w2=ONES[:1])) == ["initialiser changed FLOAT[1] w was FLOAT[4]"]
    renamed = diff(graphs.model(*mul, w=ONES), graphs.model(XY, "y = Mul(x, k)", k=ONES))
    assert said(renamed) == ["initialiser renamed FLOAT[4] k was w"]


def test_documentation_metadata_and_the_encoding_of_numbers_say_nothing() -> None:
    one, two = (graphs.model(XY, "y = Mul(x, w)", w=ONES) for _ in range(2))
    two.doc_string = two.graph.node[0].doc_string = "words"
    two.producer_name = "another"
    del two.graph.node[0].metadata_props[:]
    two.graph.initializer[0].ClearField("raw_data")
    two.graph.initializer[0].float_data.extend([1.0] * 4)
    assert diff(one, two).equal


OPS = ("Relu", "Neg", "Abs", "Tanh")


@given(st.lists(st.tuples(st.sampled_from(OPS), st.integers(0, 5)), min_size=1, max_size=12), st.randoms())
@settings(max_examples=40, deadline=None)
def test_a_graph_whose_names_all_changed_is_recognised(steps: list[tuple[str, int]], random: object) -> None:
    """Property: new names for every node and inner tensor are renames, never additions or removals."""
    bodies = []
    for names in ("t", "other"):
        tensors, lines = ["x"], []
        for i, (op, back) in enumerate(steps):
            lines.append(f"{names}{i} = {op}({tensors[max(0, len(tensors) - 1 - back)]})")
            tensors.append(f"{names}{i}")
        used = tensors[1:]
        lines.append(f"y = Sum({', '.join(used)})")
        bodies.append(" ".join(lines))
    one, two = graphs.model(XY, bodies[0]), graphs.model(XY, bodies[1])
    for i, node in enumerate(two.graph.node):
        node.name = f"new_{i}"
    assert {e.status for e in diff(one, two).entries} <= {"renamed"}
    assert diff(one, one).equal


FOCUS = "a = Relu(x) c = Dropout(a) d = Neg(c) e = LeakyRelu<alpha = 0.1>(d) y = Abs(e)"
DONE = "a = Relu(x) d = Neg(a) e = LeakyRelu<alpha = 0.2>(d) p = Sigmoid(e) y = Abs(p)"


def files(folder: Path) -> tuple[str, str]:
    one, two = graphs.model(XY, FOCUS), graphs.model(XY, DONE)
    for model in (one, two):
        for node in model.graph.node:
            node.name = f"node_{node.output[0]}"
    onnx.save(one, folder / "one.onnx")
    onnx.save(two, folder / "two.onnx")
    return str(folder / "one.onnx"), str(folder / "two.onnx")


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = files(tmp_path)
    assert run(["diff", one, one]) == 0
    assert capsys.readouterr().out.strip() == "equal"
    assert run(["diff", one, two]) == 2
    out = capsys.readouterr().out
    assert "nodes: 1 added, 1 removed, 3 changed" in out
    assert "alpha: 0.1 -> 0.2" in out
    assert run(["diff", one, two, "--json"]) == 2
    data = json.loads(capsys.readouterr().out)
    assert data["summary"] == "nodes: 1 added, 1 removed, 3 changed"
    assert {"kind": "node", "status": "removed", "name": "node_c", "op": "Dropout", "details": []} in data["differences"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["one.onnx", "none.onnx"], "No such file"),
        (["one.onnx", "text.onnx"], "not an ONNX model"),
        (["one.onnx", "two.onnx", "--picture", "p.gif"], "a picture is .png or .svg"),
        (["one.onnx", "two.onnx", "--picture", "no/such/folder/p.png"], "No such file"),
    ],
)
def test_mistakes(
    tmp_path: Path, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files(tmp_path)
    (tmp_path / "text.onnx").write_text("hello, no model")
    monkeypatch.chdir(tmp_path)
    assert run(["diff", *arguments]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


def test_the_pictures(tmp_path: Path) -> None:
    one, two = files(tmp_path)
    assert run(["diff", one, two, "--picture", str(tmp_path / "p.png")]) == 2
    assert run(["diff", one, two, "--picture", str(tmp_path / "p.svg")]) == 2
    picture = Image.open(tmp_path / "p.png").convert("RGB")
    colours = {colour for _, colour in picture.getcolors(1 << 24) or []}
    assert {(0xE6, 0xF6, 0xEA), (0xFD, 0xEC, 0xEC), (0xFF, 0xF6, 0xE0)} <= colours  # green, red and amber boxes
    svg = ElementTree.fromstring((tmp_path / "p.svg").read_text())
    texts = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {"Dropout", "Sigmoid", "LeakyRelu", "alpha: 0.1 -> 0.2", "one.onnx -> two.onnx"} <= set(texts)
    assert abs(float(svg.attrib["width"]) * 2 - picture.width) <= 2


def test_a_picture_leaves_out_what_follows_from_constants_alone() -> None:
    constants = "k = Constant<value_float = 2.0>() l = Exp(k)"
    one, two = graphs.model(XY, "y = Relu(x)"), graphs.model(XY, f"{constants} t = Mul(x, l) y = Relu(t)")
    titles = {box.title for piece in scene(diff(one, two)).pieces for box in piece.boxes.values()}
    assert titles == {"x", "Mul", "Relu"}


def test_nothing_in_a_picture_overlaps() -> None:
    wide = " ".join(f"a{i} = Relu(x) c{i} = Neg(a{i})" for i in range(6))
    one = graphs.model(XY, f"{wide} s = Sum(c0, c1, c2, c3, c4, c5) y = Abs(s)")
    two = graphs.model(XY, f"{wide.replace('Neg', 'Tanh')} s = Sum(c0, c1, c2, c3, c4, c5) t = Relu(s) y = Abs(t)")
    for piece in scene(diff(one, two)).pieces:
        placed = place(piece, lambda box: (30.0 + 7 * len(box.title), 50.0))
        corners = [(x, y, x + placed.sizes[key][0], y + placed.sizes[key][1]) for key, (x, y) in placed.corners.items()]
        assert len(corners) > 1
        for i, a in enumerate(corners):
            assert a[0] >= -1e-6
            assert a[2] <= placed.width + 1e-6
            for b in corners[i + 1 :]:
                assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_the_same_change_again_and_again_is_drawn_once_and_a_large_one_is_cut() -> None:
    def chain(middle: str) -> str:
        lines = " ".join(f"a{i} = MatMul(h{i}, w) b{i} = {middle}(a{i}) h{i + 1} = Abs(b{i})" for i in range(20))
        return f"h0 = Relu(x) {lines} y = Neg(h20)"

    weights = np.eye(4, dtype=np.float32)
    one, two = (graphs.model(XY, chain(op), w=weights) for op in ("Sigmoid", "Tanh"))
    drawn = scene(diff(one, two))
    assert [piece.times for piece in drawn.pieces] == [20]
    assert drawn.left_out == 0
    many = " ".join(f"b{i} = {('Neg', 'Exp')[i % 2]}({'x' if i == 0 else f'b{i - 1}'})" for i in range(MAX_BOXES + 50))
    drawn = scene(diff(graphs.model(XY, "y = Relu(x)"), graphs.model(XY, f"{many} y = Relu(b{MAX_BOXES + 49})")))
    assert sum(len(piece.boxes) for piece in drawn.pieces) == MAX_BOXES
    assert drawn.left_out == 50  # of 200 new nodes
    shapes, (width, height) = drawing(drawn, "a -> b", "much")
    assert shapes
    assert min(width, height) > 0
