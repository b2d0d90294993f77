"""Models whose weights lie outside, from the checkpoint to the server: small ones, told to by `external_data_from: 0`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import outer_graphs
import pytest
from onnx import TensorProto, helper

from generator import check, graph, paths, weights
from generator.cli import run

NET = """\
import torch


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(128, 256), torch.nn.Linear(256, 128)])
        self.register_buffer("scale", torch.linspace(0.5, 1.5, 256))

    def forward(self, x):
        return self.layers[1](torch.tanh(self.layers[0](x) * self.scale))
"""

TORCH = """\
name: net
checkpoint: {kind: state_dict, weights: net.pt, factory: net.py:Net, inputs: {x: [batch, 128]}, outputs: [y]}
external_data_from: 0
surgery:
  - {kind: fuse_affine}
  - {kind: rename, names: {y: answer}}
"""

ONNX = """\
name: parts
checkpoint: {kind: onnx, file: m.onnx}
external_data_from: 0
surgery: [{kind: fold_constants, required: false}]
"""


def parts(folder: Path) -> Path:
    """An ONNX model whose two weights lie in two files, one of them in a sub-folder."""
    (folder / "more").mkdir()
    inits: list[TensorProto] = []
    for name in ("first.bin", "more/second.bin"):
        outer_graphs.values(128, 128).tofile(folder / name)
        outer = TensorProto(name=f"w_{len(inits)}", data_type=1, dims=[128, 128], data_location=TensorProto.EXTERNAL)
        outer.external_data.add(key="location", value=name)
        inits.append(outer)
    nodes = [helper.make_node("MatMul", ["x", "w_0"], ["t"]), helper.make_node("MatMul", ["t", "w_1"], ["y"])]
    ends = [helper.make_tensor_value_info(name, 1, ["batch", 128]) for name in ("x", "y")]
    opsets = [helper.make_opsetid("", 18)]
    made = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], inits), opset_imports=opsets, ir_version=8)
    (folder / "m.onnx").write_bytes(made.SerializeToString())
    (folder / "s.yaml").write_text(ONNX)
    return folder / "s.yaml"


def files(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def test_several_files_of_external_data_are_built_and_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, repo = parts(tmp_path), tmp_path / "repo"
    assert run(["build", str(path), "-o", str(repo)]) == 0
    assert files(repo / "parts" / "1").keys() == {"model.onnx", "model.onnx.data"}
    served = repo / "parts" / "1" / "model.onnx.data"
    assert served.stat().st_nlink == 1, "whoever edits what is served must not edit the cache"
    digests = json.loads((repo / "triton-repo.lock").read_text())["pipelines"]["parts"]["files"]
    assert "parts/1/model.onnx.data" in digests
    assert run(["check", str(repo)]) == 0
    assert run(["verify", str(path), "-r", str(repo)]) == 0
    assert "verified: parts" in capsys.readouterr().out
    served.write_bytes(served.read_bytes()[:-8])
    assert run(["check", str(repo)]) == 1
    found = " ".join(capsys.readouterr().out.split())
    assert "1/model.onnx.data of " in found
    assert "cut short" in found


@pytest.mark.full
def test_a_state_dict_is_exported_changed_and_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, repo = state_dict(tmp_path), tmp_path / "repo"
    assert run(["build", str(path), "-o", str(repo)]) == 0
    assert run(["verify", str(path), "-r", str(repo)]) == 0
    assert "verified: net" in capsys.readouterr().out


def state_dict(folder: Path) -> Path:
    import torch

    torch.manual_seed(0)
    (folder / "net.py").write_text(NET)
    (folder / "s.yaml").write_text(TORCH)
    random = np.random.default_rng(0)
    shapes = {"layers.0.weight": (256, 128), "layers.0.bias": (256,), "layers.1.weight": (128, 256), "layers.1.bias": (128,)}
    state = {name: torch.from_numpy(random.normal(size=shape).astype(np.float32) / 8) for name, shape in shapes.items()}
    torch.save({**state, "scale": torch.linspace(0.5, 1.5, 256)}, folder / "net.pt")
    return folder / "s.yaml"


def test_steps_share_a_file_and_what_leaves_the_cache_is_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRITON_REPO_CACHE", str(tmp_path / "cache"))
    path = state_dict(tmp_path)
    assert run(["onnx", str(path), "-o", str(tmp_path / "final.onnx")]) == 0
    steps = {folder.name.partition("-")[0]: files(folder) for folder in (paths.cache() / "steps").iterdir()}
    assert steps.keys() == {"export", "passes", "surgery"}
    assert all(found.keys() == {"model.onnx", "model.onnx.data", "facts.json"} for found in steps.values())
    data = {p.parent.name.partition("-")[0]: p.stat() for p in (paths.cache() / "steps").glob("*/model.onnx.data")}
    assert data["surgery"].st_ino == data["passes"].st_ino != data["export"].st_ino
    written = tmp_path / "final.onnx.data"
    assert (written.stat().st_nlink, written.stat().st_mode & 0o077) == (1, 0o044)
    assert not any((paths.cache() / "scratch").rglob("*.data"))
    capsys.readouterr()
    inside = onnx.load(tmp_path / "final.onnx")
    onnx.save(inside, tmp_path / "inside.onnx")
    assert run(["diff", str(tmp_path / "final.onnx"), str(tmp_path / "inside.onnx")]) == 0
    assert "equal" in capsys.readouterr().out
    values = np.ones((1, 128), np.float32)
    both = [graph.run(graph.session(tmp_path / name), {"x": values})["answer"] for name in ("final.onnx", "inside.onnx")]
    np.testing.assert_allclose(both[0], both[1], rtol=1e-4, atol=1e-4)


def test_a_disk_that_is_full_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outer_graphs.outside(tmp_path)
    (tmp_path / "s.yaml").write_text("name: net\ncheckpoint: {kind: onnx, file: model.onnx}\nexternal_data_from: 0\n")
    assert run(["build", str(tmp_path / "s.yaml"), "-o", str(tmp_path / "repo")]) == 0
    capsys.readouterr()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / ".m.onnx.data.new").mkdir()  # where the weights would be staged
    assert run(["onnx", str(tmp_path / "s.yaml"), "-o", str(tmp_path / "there" / "m.onnx")]) == 1
    error = capsys.readouterr().err
    assert "m.onnx.data: Is a directory; make room there, or name another place" in error
    assert "Traceback" not in error


def test_a_disk_without_room_is_told_before_work_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = parts(tmp_path)
    full = shutil.disk_usage(tmp_path)._replace(free=50 * 1024)
    monkeypatch.setenv("TRITON_REPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    monkeypatch.setattr(weights, "LIMIT", 100 * 1024)
    assert run(["build", str(path), "-o", str(tmp_path / "repo")]) == 1
    error = capsys.readouterr().err
    assert ": building parts takes about 0.0 GiB there; 0.0 GiB are free; make room" in error
    assert not (tmp_path / "repo").exists()
    assert not (tmp_path / "cache" / "steps").exists()


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("missing", "no file 1/more/second.bin"),
        ("short", "1/more/second.bin of 100 bytes"),
        ("outside", "tensor w_1 lies in '../second.bin'"),
    ],
)
def test_check_finds_external_data_that_are_damaged(tmp_path: Path, damage: str, found: str) -> None:
    version = tmp_path / "repo" / "m" / "1"
    version.mkdir(parents=True)
    parts(version)
    (version / "m.onnx").rename(version / "model.onnx")
    ends = ['{ name: "%s" data_type: TYPE_FP32 dims: 128 }' % name for name in ("x", "y")]  # noqa: UP031 -- braces
    text = f'backend: "onnxruntime" max_batch_size: 4 input {ends[0]} output {ends[1]}'
    (version.parent / "config.pbtxt").write_text(f"{text} instance_group {{ count: 1 kind: KIND_CPU }}")
    assert errors(tmp_path / "repo") == []
    model = onnx.load(version / "model.onnx", load_external_data=False)
    entries = model.graph.initializer[1].external_data
    if damage == "missing":
        (version / "more" / "second.bin").unlink()
    elif damage == "short":
        entries.add(key="length", value=str(128 * 128 * 4))
        (version / "more" / "second.bin").write_bytes(bytes(100))
    else:
        entries[0].value = "../second.bin"
    (version / "model.onnx").write_bytes(model.SerializeToString())
    (error,) = errors(tmp_path / "repo")
    assert error.startswith("onnx/external_data")
    assert found in error


def errors(repository: Path) -> list[str]:
    world, _ = check.read(repository)
    return [f"{found.rule} {found}" for found in check.check(world) if found.level == "error"]
