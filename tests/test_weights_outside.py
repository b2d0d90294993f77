"""Weights outside the graph: every door and every pass leaves them there, and gives what it gives with the weights inside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import onnx
import outer_graphs
import pytest
from onnx import TensorProto, helper

from generator import change, graph, onnx_diff, weights
from generator.bounds import Bounds
from generator.builder import Builder
from generator.errors import CheckpointError
from generator.passes import Pass
from generator.plugin import family
from generator.proof import Prover

X = np.random.default_rng(1).normal(size=(2, 64, 8, 8)).astype(np.float32)
BOUNDS = Bounds()
DTYPE = {"dtype": "FP32", "shape": ["batch", 256]}

#: Every kind of pass, on the network of outer_graphs.
PASSES: dict[str, dict[str, Any]] = {
    "add_input": {"tensors": {"factor": None}},
    "add_output": {"tensors": {"g": DTYPE}},
    "cut": {"outputs": {"m": DTYPE}},
    "decompose": {"operators": ["HardSwish"]},
    "decompose_grid_sample": {"required": False},
    "deduplicate": {},
    "focus_to_conv": {"required": False},
    "fold_constants": {},
    "fuse": {"required": False},
    "fuse_affine": {},
    "image_input": {"input": "x", "name": "pixels", "dtype": "FP32", "layout": "NCHW", "scale": 0.5},
    "inference_mode": {"required": False},
    "insert": {"op": "Relu", "inputs": ["m"], "outputs": {"again": DTYPE}, "instead_of": "m"},
    "python onnx": {"function": "changes.py:onnx"},
    "python graphsurgeon": {"function": "changes.py:graphsurgeon", "graph": "graphsurgeon"},
    "python ir": {"function": "changes.py:ir", "graph": "ir"},
    "remove_dead": {"required": False},
    "remove_input": {"values": {"x": 1.0}},
    "remove_leftovers": {},
    "remove_output": {"names": ["q"]},
    "rename": {"names": {"y": "answer", "left": "middle"}},
    "replace": {"find": [{"op": "Relu"}], "by": [{"op": "Abs"}]},
    "set_attribute": {"find": {"op": "Gemm"}, "attributes": {"alpha": 0.5}},
    "set_constant": {"name": "left", "value": 0.25},
    "set_opset": {"version": 19},
    "set_shape": {"shapes": {"x": ["batch", 64, 8, 8], "y": [2, 128]}},
    "simplify": {},
}

CHANGES = """
import numpy as np
import onnx
from onnx import numpy_helper


def onnx(model):
    for init in model.graph.initializer:
        if init.name == "left":
            init.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(init) * 2, "left"))


def graphsurgeon(graph):
    graph.tensors()["left"].values = graph.tensors()["left"].values * 2


def ir(model):
    import onnx_ir

    value = model.graph.initializers["left"]
    value.const_value = onnx_ir.tensor(value.const_value.numpy() * 2, name="left")
"""


def made(folder: Path, row: str) -> Pass:
    (folder / "changes.py").write_text(CHANGES)
    kind = row.partition(" ")[0]
    step = family("generator.passes")[kind].model_validate(PASSES[row], context={"base": folder})
    assert isinstance(step, Pass)
    return step


def answers(model: onnx.ModelProto) -> dict[str, Any]:
    """To one picture, and to a factor where that is an input."""
    session = graph.session_of(model)
    feeds = {"x": X, "pixels": X * 2, "factor": np.full(256, 3, np.float32)}
    return graph.run(session, {value.name: feeds[value.name] for value in session.get_inputs()})


def test_every_kind_of_pass_has_a_row() -> None:
    assert {row.partition(" ")[0] for row in PASSES} == set(family("generator.passes"))


@pytest.mark.parametrize("row", PASSES)
def test_a_pass_does_the_same_and_leaves_weights_outside(tmp_path: Path, row: str) -> None:
    step = made(tmp_path, row)
    inside, said = Prover(BOUNDS).apply(step, graph.checked(outer_graphs.network(), "before"))
    outside, also = Prover(BOUNDS).apply(step, graph.checked(outer_graphs.outside(tmp_path), "before"))
    assert outer_graphs.held(outside)[0] == 0, "weights were left in memory"
    assert outer_graphs.held(outside)[1] == sum(outer_graphs.held(inside)) > 0
    assert said.partition(", largest difference")[0] == also.partition(", largest difference")[0]
    assert change.same(inside, outside)
    one, two = answers(inside), answers(outside)
    assert one.keys() == two.keys()
    for name, values in one.items():
        np.testing.assert_allclose(values, two[name], BOUNDS.relative, BOUNDS.absolute)  # mapped weights are not packed


@pytest.mark.parametrize("row", ["set_constant", "fuse_affine", "python onnx"])
def test_new_weights_go_outside_before_they_are_copied_into_a_graph(tmp_path: Path, row: str) -> None:
    """Not only when the checker has seen it."""
    assert outer_graphs.held(made(tmp_path, row).run(outer_graphs.outside(tmp_path)))[0] == 0


def test_the_answers_are_those_of_a_file_with_everything_inside(tmp_path: Path) -> None:
    outside = outer_graphs.outside(tmp_path)
    graph.save(weights.loaded(outside), tmp_path / "inside.onnx")
    assert [p.name for p in tmp_path.iterdir() if "inside" in p.name] == ["inside.onnx"]
    wanted = graph.run(graph.session(tmp_path / "inside.onnx", optimise=False), {"x": X})["y"]
    for found in (answers(outside), graph.run(graph.session(tmp_path / "model.onnx", optimise=False), {"x": X})):
        np.testing.assert_allclose(found["y"], wanted, BOUNDS.relative, BOUNDS.absolute)


def test_builder_reads_values_where_it_is_asked_for_them(tmp_path: Path) -> None:
    build = Builder(outer_graphs.outside(tmp_path), "test")
    wanted = onnx.numpy_helper.to_array(next(i for i in outer_graphs.network().graph.initializer if i.name == "left"))
    constants = {constant.name: constant for constant in build.graph.tensors().values()}
    np.testing.assert_array_equal(constants["left"].values, wanted)
    constants["left"].values[:] = 0  # its own copy, so that the file stays as it is
    after = build.model()
    assert {init.name for init in after.graph.initializer if weights.outside(init)} >= {"conv", "right", "same"}
    assert not next(weights.array(init) for init in after.graph.initializer if init.name == "left").any()
    again = next(init for init in graph.load(tmp_path / "model.onnx").graph.initializer if init.name == "left")
    np.testing.assert_array_equal(weights.array(again), wanted)


def test_two_files_are_compared_by_content_wherever_it_lies(tmp_path: Path) -> None:
    outside, inside = outer_graphs.outside(tmp_path), outer_graphs.network()
    assert onnx_diff.diff(inside, outside).equal
    changed = onnx.ModelProto()
    changed.CopyFrom(inside)
    left = next(init for init in changed.graph.initializer if init.name == "left")
    values = onnx.numpy_helper.to_array(left).copy()
    values[3, 5] += 1
    left.CopyFrom(onnx.numpy_helper.from_array(values, "left"))
    (entry,) = onnx_diff.diff(outside, changed).entries
    assert (entry.name, entry.status, entry.details) == ("left", "changed", ("1 of 16,384 values differ, by 1 at most",))
    assert not change.same(outside, changed)


def damaged(folder: Path, damage: str) -> Path:
    outer_graphs.outside(folder)
    path, data = folder / "model.onnx", folder / "model.onnx.data"
    model = onnx.load(path, load_external_data=False)
    entries = {entry.key: entry for entry in model.graph.initializer[0].external_data}
    if damage == "missing":
        data.unlink()
    elif damage == "short":
        data.write_bytes(data.read_bytes()[:-100])
    elif damage == "outside":
        entries["location"].value = "../model.onnx.data"
    elif damage == "length":
        entries["length"].value = "12"
    else:
        entries["offset"].value = "-4096"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", r"model.onnx: its external data model.onnx.data is missing; copy it beside the model"),
        ("short", r"external data model.onnx.data is cut short: \d+ bytes, and tensor \w+ ends at \d+; copy it again"),
        ("outside", r"its external data lies outside its folder: ../model.onnx.data; move it beside the model"),
        ("length", r"tensor conv FLOAT\[64, 64, 3, 3\] is 147456 bytes; its entry .* says offset 0, length 12; export it again"),
        ("offset", r"tensor conv .* says offset -4096, length 147456; export it again"),
    ],
)
def test_external_data_that_are_damaged(tmp_path: Path, damage: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        graph.load(damaged(tmp_path, damage))


def test_several_files_and_folders_become_one_file(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    inits = []
    for name in ("first.bin", "a/second.bin", "a/b/third.bin"):
        values = outer_graphs.values(128, 128)
        values.tofile(tmp_path / name)
        outer = TensorProto(name=name, data_type=1, dims=values.shape, data_location=TensorProto.EXTERNAL)
        outer.external_data.add(key="location", value=name)
        inits.append(outer)
    chain = [("x", inits[0].name, "t"), ("t", inits[1].name, "u"), ("u", inits[2].name, "y")]
    nodes = [helper.make_node("MatMul", ends[:2], ends[2:]) for ends in chain]
    ends = [helper.make_tensor_value_info(name, 1, ["batch", 128]) for name in ("x", "y")]
    made = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], inits), opset_imports=[helper.make_opsetid("", 18)], ir_version=8
    )
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    feeds = {"x": np.ones((1, 128), np.float32)}
    wanted = graph.run(graph.session(tmp_path / "m.onnx"), feeds)["y"]
    (tmp_path / "out").mkdir()
    graph.save(graph.load(tmp_path / "m.onnx"), tmp_path / "out" / "new.onnx", limit=0)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["new.onnx", "new.onnx.data"]
    np.testing.assert_allclose(
        graph.run(graph.session(tmp_path / "out" / "new.onnx"), feeds)["y"], wanted, BOUNDS.relative, BOUNDS.absolute
    )
    model = graph.settled(tmp_path / "m.onnx", limit=0)
    assert not any((tmp_path / name).exists() for name in ("first.bin", "a/second.bin", "a/b/third.bin"))
    np.testing.assert_allclose(graph.run(graph.session_of(model), feeds)["y"], wanted, BOUNDS.relative, BOUNDS.absolute)


def test_lists_of_whole_numbers_stay_inside(tmp_path: Path) -> None:
    """Shape inference follows them, and refuses what it cannot read."""
    table = np.arange(20_000) % 7
    ends = "float[b, 4] x => float[b, 4] y, int64[2] z"
    made = graphs.model(ends, "y = Relu(x) z = Gather(table, index)", table=table, index=np.array([1, 2]))
    (tmp_path / "m.data").write_bytes(table.tobytes())
    init = made.graph.initializer[0]
    weights.point(init, "m.data", weights.Place(tmp_path / "m.data", 0, table.nbytes))
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    model = graph.checked(graph.load(tmp_path / "m.onnx"), "load")
    assert not weights.some(model)
    np.testing.assert_array_equal(weights.array(model.graph.initializer[0]), table)


HEAVY = """
import json, sys
from pathlib import Path
import numpy as np
from generator import graph, weights
from generator.builder import Builder
from generator.passes.fold_constants import FoldConstants
from generator.passes.rename import Rename

def held():
    lines = Path("/proc/self/status").read_text().splitlines()
    return max(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

def work(path, out):
    model = graph.checked(graph.load(Path(path)), "load")
    model = graph.checked(Rename(names={"y": "answer"}).run(model), "rename")
    model = graph.checked(Builder(model, "test").model(), "builder")
    model = graph.checked(FoldConstants().run(model), "fold")
    graph.session_of(model)
    graph.save(model, Path(out), 2**28)

work(sys.argv[1], sys.argv[2])
small = held()
work(sys.argv[3], sys.argv[4])
print(json.dumps([small, held()]))
"""


def sparse(folder: Path, layers: int) -> Path:
    """Layers of 64 MiB each, whose file has no blocks on disk."""
    folder.mkdir()
    width = 4096
    size = width * width * 4
    inits, nodes = [], []
    for i in range(layers):
        outer = TensorProto(name=f"w{i}", data_type=1, dims=[width, width], data_location=TensorProto.EXTERNAL)
        for key, value in (("location", "w.bin"), ("offset", i * size), ("length", size)):
            outer.external_data.add(key=key, value=str(value))
        inits.append(outer)
        nodes.append(helper.make_node("MatMul", ["x" if not i else f"t{i}", f"w{i}"], ["y" if i == layers - 1 else f"t{i + 1}"]))
    with (folder / "w.bin").open("wb") as file:
        file.truncate(layers * size)
    ends = [helper.make_tensor_value_info(name, 1, ["batch", width]) for name in ("x", "y")]
    made = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], inits), opset_imports=[helper.make_opsetid("", 18)], ir_version=8
    )
    (folder / "m.onnx").write_bytes(made.SerializeToString())
    return folder / "m.onnx"


def test_heavy_weights_are_worked_on_without_reading_them(tmp_path: Path) -> None:
    """Loaded, checked, changed, folded, loaded by ONNX Runtime, saved: what a small one takes, and less than one layer more."""
    small, large = (str(sparse(tmp_path / name, layers)) for name, layers in (("small", 1), ("large", 5)))
    (tmp_path / "out").mkdir()
    words = [small, str(tmp_path / "out" / "s.onnx"), large, str(tmp_path / "out" / "l.onnx")]
    done = subprocess.run([sys.executable, "-c", HEAVY, *words], capture_output=True, text=True, check=True)
    before, after = json.loads(done.stdout)
    assert after - before < 48 * 1024, f"{before} kB for the small one, {after} kB for the large one"
    assert (tmp_path / "out" / "l.onnx.data").stat().st_size == 5 * 4096 * 4096 * 4
    assert not (tmp_path / "out" / "s.onnx.data").exists()
