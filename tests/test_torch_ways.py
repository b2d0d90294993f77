"""Five ways to a PyTorch module, each held against the module itself; files that are something else say what they are."""

from __future__ import annotations

import argparse
import json
import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from torch import nn

from generator import graph, plan
from generator.change import all_nodes
from generator.errors import CheckpointError, TritonRepoError
from generator.frontends import Frontend
from generator.load import load
from generator.pipeline import Pipeline
from generator.plugin import family

NETS = """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, 2)

    def forward(self, image):
        x = torch.relu(self.norm(self.conv(image)))
        return self.head(x.mean((2, 3)))

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.into = nn.Embedding(11, 6)
        self.out = nn.Linear(6, 11, bias=False)
        self.out.weight = self.into.weight

    def forward(self, image):
        return self.out(image.mean((2, 3)).repeat(1, 2))

class Flow(nn.Module):
    def __init__(self):
        super().__init__()
        self.big = nn.Linear(4, 4)

    def forward(self, x):
        if bool(x.mean() > 0.5):
            y = self.big(x)
        else:
            y = -x
        for _ in range(int(x.size(0))):
            y = y * 0.5
        return {"y": y, "z": y + 1.0}

class Writes(nn.Module):
    def forward(self, x):
        torch.save(x, "written.pt")
        return x
"""


@pytest.fixture(scope="module", autouse=True)
def nets(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The user's file, imported as the one who saved a whole module had it; later tests import it from there themselves."""
    folder = tmp_path_factory.mktemp("nets")
    (folder / "waysnets.py").write_text(NETS)
    sys.path.insert(0, str(folder))
    import waysnets  # type: ignore[import-not-found]

    yield waysnets
    sys.path.remove(str(folder))


def seeded(module: nn.Module, seed: int = 0) -> Any:
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for values in module.state_dict().values():
            if values.is_floating_point():
                values.uniform_(0.1, 1.0, generator=random)
    return module.eval()


def frontend(folder: Path, kind: str, **said: Any) -> Any:
    if not (folder / "nets.py").exists():
        (folder / "nets.py").write_text(NETS)
    taken = {} if kind == "torch_export" else {"inputs": {"image": ["batch", 3, "height", 16]}}
    if kind in ("state_dict", "safetensors"):
        taken["factory"] = "nets.py:Net"  # type: ignore[assignment]
    return family("generator.frontends")[kind].model_validate({**taken, **said}, context={"base": folder})


def held(front: Frontend, wanted: nn.Module, folder: Path, feeds: dict[str, Any] | None = None) -> onnx.ModelProto:
    """Export; graph and frontend against the module that was saved, at a size of their own."""
    said = front.export(18, folder / "m.onnx")
    assert said["exporter"].split()[0] in ("dynamo", "script")
    feeds = feeds or {"image": np.random.default_rng(5).random((3, 3, 24, 16), np.float32)}
    with torch.no_grad():
        expected = wanted(*map(torch.from_numpy, feeds.values()))
    named = expected if isinstance(expected, dict) else {"output": expected}
    found, answered = graph.run(graph.session(folder / "m.onnx"), feeds), front.answer(feeds)[0]
    assert set(found) == set(answered) == set(named)
    for name, values in named.items():
        assert np.ptp(values.numpy()) > 1e-3
        np.testing.assert_allclose(found[name], values.numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(answered[name], values.numpy(), rtol=1e-5, atol=1e-6)
    return onnx.load(folder / "m.onnx")


def prefixed(module: nn.Module, prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": values for name, values in module.state_dict().items()}


#: What trainings write, with both the weights and their moving average: name -> how the average is said
LAYOUTS: dict[str, tuple[Callable[[nn.Module, nn.Module], Any], dict[str, str]]] = {
    "timm": (lambda plain, ema: {
        "epoch": 3, "arch": "net", "state_dict": plain.state_dict(), "state_dict_ema": ema.state_dict(),
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}, "args": argparse.Namespace(lr=0.1), "metric": np.float64(0.5),
    }, {"key": "state_dict_ema"}),
    "torchvision": (lambda plain, ema: {
        "model": prefixed(plain, "module."), "model_ema": {"n_averaged": torch.tensor(7), **prefixed(ema, "module.")}, "epoch": 3,
    }, {"key": "model_ema", "prefix": "module."}),
    "rt-detr": (lambda plain, ema: {"model": plain.state_dict(), "ema": {"module": ema.state_dict(), "updates": 7}},
                {"key": "ema.module"}),
    "lightning": (lambda plain, ema: {
        "state_dict": {**prefixed(plain, "model."), **prefixed(ema, "ema_model."), "loss.weight": torch.ones(2)},
        "optimizer_states": [{"state": {}}], "pytorch-lightning_version": "2.5", "best": Path("a/b.ckpt"),
    }, {"prefix": "ema_model."}),
    "dotted key": (lambda plain, ema: {"model": plain.state_dict(), "ema.v2": {"state": ema.state_dict()}},
                   {"key": "ema.v2.state"}),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_moving_average_is_chosen(tmp_path: Path, nets: Any, layout: str) -> None:
    make, said = LAYOUTS[layout]
    plain, ema = seeded(nets.Net()), seeded(nets.Net(), 1)
    torch.save(make(plain, ema), tmp_path / "net.pt")
    module = frontend(tmp_path, "state_dict", weights="net.pt", **said).module()
    for name, values in ema.state_dict().items():
        assert torch.equal(module.state_dict()[name], values)
    assert not torch.equal(module.conv.weight, plain.conv.weight)


def test_what_is_to_be_chosen_from_is_said(tmp_path: Path, nets: Any) -> None:
    plain, ema = seeded(nets.Net()), seeded(nets.Net(), 1)
    torch.save(LAYOUTS["timm"][0](plain, ema), tmp_path / "net.pt")
    both = r"`key: state_dict` \(9 tensors\), `key: state_dict_ema` \(EMA, 9 tensors\)"
    for said, found in (({}, "it holds 2 state dicts; choose one with "), ({"key": "ema"}, "no key 'ema'; found .*; there is ")):
        with pytest.raises(CheckpointError, match=found + both):
            frontend(tmp_path, "state_dict", weights="net.pt", **said).module()
    torch.save(LAYOUTS["lightning"][0](plain, ema), tmp_path / "net.pt")
    with pytest.raises(
        CheckpointError, match=r"missing \(9\): conv.weight.*; say `prefix: model.` or `prefix: ema_model.` \(EMA\)$"
    ):
        frontend(tmp_path, "state_dict", weights="net.pt").module()


def test_half_precision_weights_fit_and_others_are_left_out_by_name(tmp_path: Path, nets: Any) -> None:
    module = seeded(nets.Net())
    state = {name: values.half() for name, values in module.state_dict().items()} | {"aux.weight": torch.ones(2)}
    torch.save({"model": state}, tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match=r"unexpected \(1\): aux.weight; .*leave them out: `ignore: \[pattern\]`"):
        frontend(tmp_path, "state_dict", weights="net.pt").module()
    made = frontend(tmp_path, "state_dict", weights="net.pt", ignore=["aux.*"]).module()
    assert made.conv.weight.dtype == torch.float32
    with pytest.raises(CheckpointError, match=r"ignore: no weight's name fits 'auxiliary.*'"):
        frontend(tmp_path, "state_dict", weights="net.pt", ignore=["auxiliary.*"]).module()


class Config:
    """What a training framework adds to a checkpoint."""

    lr = 0.1


def test_a_file_that_runs_code_is_loaded_only_when_trusted(tmp_path: Path, nets: Any) -> None:
    torch.save({"model": seeded(nets.Net()).state_dict(), "config": Config()}, tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match=r"would run code from the file \(.*Config\); .* say `trust_checkpoint: true`"):
        frontend(tmp_path, "state_dict", weights="net.pt").module()
    assert frontend(tmp_path, "state_dict", weights="net.pt", trust_checkpoint=True).module().conv.weight.ndim == 4


def test_a_whole_module(tmp_path: Path, nets: Any) -> None:
    plain, ema = seeded(nets.Net()), seeded(nets.Net(), 1)
    torch.save({"model": plain, "ema": ema.half()}, tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match=r"loading it runs code from the file; .* say `trust_checkpoint: true`"):
        frontend(tmp_path, "pickled", file="net.pt", key="ema").module()
    with pytest.raises(
        CheckpointError, match=r"no module; it is a dict with model, ema; choose `key: model` or `key: ema` \(EMA\)"
    ):
        frontend(tmp_path, "pickled", file="net.pt", trust_checkpoint=True).module()
    held(frontend(tmp_path, "pickled", file="net.pt", key="ema", trust_checkpoint=True), ema.float(), tmp_path)


def test_a_whole_module_whose_classes_are_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One saved by a script (`__main__.Net`), and one from a package that is not installed."""
    main = sys.modules["__main__"]
    for where in ("__main__", "theirs.nets"):
        scope: dict[str, Any] = {"__name__": where}
        exec(NETS, scope)
        holder = main if where == "__main__" else type(sys)(where)
        with monkeypatch.context() as patch:
            patch.setattr(holder, "Net", scope["Net"], raising=False)
            patch.setitem(sys.modules, where, holder)
            if where != "__main__":
                patch.setitem(sys.modules, "theirs", type(sys)("theirs"))
            torch.save(seeded(scope["Net"]()), tmp_path / f"{where}.pt")
    with pytest.raises(CheckpointError, match=r"class that it was saved with is not there: .*Net.*__main__"):
        frontend(tmp_path, "pickled", file="__main__.pt", trust_checkpoint=True).module()
    front = frontend(tmp_path, "pickled", file="__main__.pt", trust_checkpoint=True, classes=["nets.py"])
    assert tmp_path / "nets.py" in front.files()
    assert type(front.module()).__name__ == "Net"
    for name in [name for name, value in vars(main).items() if getattr(value, "__module__", "") == "nets"]:
        delattr(main, name)
    with pytest.raises(
        CheckpointError, match="saved with the module theirs, which is not here; pip install theirs, or say where"
    ):
        frontend(tmp_path, "pickled", file="theirs.nets.pt", trust_checkpoint=True).module()
    (tmp_path / "lib" / "theirs").mkdir(parents=True)
    (tmp_path / "lib" / "theirs" / "nets.py").write_text(NETS)
    module = frontend(tmp_path, "pickled", file="theirs.nets.pt", trust_checkpoint=True, classes=["lib"]).module()
    assert type(module).__name__ == "Net"


def test_the_key_of_an_export_does_not_hold_where_the_classes_lie(tmp_path: Path, nets: Any) -> None:
    torch.save(nets.Net(), tmp_path / "net.pt")
    keys = []
    for name in ("one", "two"):
        (tmp_path / name / "lib").mkdir(parents=True)
        (tmp_path / name / "lib" / "theirs.py").write_text("x = 1\n")
        (tmp_path / name / "net.pt").write_bytes((tmp_path / "net.pt").read_bytes())
        said = {"kind": "pickled", "file": "net.pt", "classes": ["lib"], "inputs": {"image": ["batch", 3, 8, 8]}}
        (tmp_path / name / "net.yaml").write_text(yaml.safe_dump({"name": "net", "checkpoint": said}))
        path = tmp_path / name / "net.yaml"
        keys.append(plan.export_step(Pipeline(path, load(path))).parts)
    assert keys[0] == keys[1]


def test_torchscript_keeps_its_control_flow(tmp_path: Path, nets: Any) -> None:
    """A branch that depends on values, a loop as long as the batch, results in a dictionary."""
    module = seeded(nets.Flow())
    torch.jit.save(torch.jit.script(module), tmp_path / "flow.pt")
    front = frontend(tmp_path, "torchscript", file="flow.pt", inputs={"x": ["batch", 4]})
    for rows, high in ((5, 1.0), (3, 0.4), (1, 1.0)):
        feeds = {"x": (0.4 * high + np.random.default_rng(0).random((rows, 4), np.float32) * high).astype(np.float32)}
        made = held(front, module, tmp_path, feeds)
    assert {"If", "Loop"} <= {node.op_type for node in all_nodes(made.graph)}


@pytest.mark.parametrize("how", ["traced", "frozen"])
def test_torchscript_of_other_makes(tmp_path: Path, nets: Any, how: str) -> None:
    module = seeded(nets.Net())
    scripted = torch.jit.script(module) if how == "frozen" else torch.jit.trace(module, torch.rand(2, 3, 8, 16))  # type: ignore[no-untyped-call]
    torch.jit.save(torch.jit.freeze(scripted) if how == "frozen" else scripted, tmp_path / "net.pt")
    held(frontend(tmp_path, "torchscript", file="net.pt"), module, tmp_path)


def test_torchscript_against_the_spec(tmp_path: Path, nets: Any) -> None:
    torch.jit.save(torch.jit.script(nets.Net()), tmp_path / "net.pt")
    front = frontend(tmp_path, "torchscript", file="net.pt", inputs={"a": ["batch", 3], "b": ["batch"]})
    with pytest.raises(CheckpointError, match=r"forward takes 1 inputs \(image\), the spec names 2"):
        front.interface()
    with pytest.raises(CheckpointError, match="forward returns 1 tensors, the spec names 2"):
        frontend(tmp_path, "torchscript", file="net.pt", outputs=["a", "b"]).interface()


def test_torchscript_that_writes_files_is_refused(tmp_path: Path, nets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.jit.save(torch.jit.script(nets.Writes()), tmp_path / "writes.pt")
    said = {"file": "writes.pt", "inputs": {"x": ["batch", 2]}}
    with pytest.raises(
        CheckpointError, match=r"its code calls torch.save, which reads or writes files .*`trust_checkpoint: true`"
    ):
        frontend(tmp_path, "torchscript", **said).answer({"x": np.ones((1, 2), np.float32)})
    assert not (tmp_path / "written.pt").exists()
    frontend(tmp_path, "torchscript", **said, trust_checkpoint=True).answer({"x": np.ones((1, 2), np.float32)})
    assert (tmp_path / "written.pt").exists()


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor, *, mask: torch.Tensor) -> Any:
        y = self.linear(x) * mask.float()
        return {"y": y, "more": (y.amax(1), [x[:, :2]])}


def archive(path: Path) -> Any:
    module, batch = seeded(Nested()), torch.export.Dim("batch", max=64)
    length = 2 * torch.export.Dim("half", min=2, max=50)
    program = torch.export.export(
        module, (torch.rand(3, 8, 8),), {"mask": torch.rand(3, 8, 4) > 0.5},
        dynamic_shapes={"x": {0: batch, 1: length}, "mask": {0: batch, 1: length}},
    )  # fmt: skip
    torch.export.save(program, path)
    return module


def test_a_torch_export_archive_says_its_interface_without_torch(tmp_path: Path) -> None:
    module = archive(tmp_path / "net.pt2")
    front = frontend(tmp_path, "torch_export", file="net.pt2")
    found = front.interface()
    assert found is not None
    assert list(map(str, found.inputs)) == ["x FP32[batch, ?, 8]", "mask BOOL[batch, ?, 4]"]
    assert list(map(str, found.outputs)) == ["y FP32[batch, ?, 4]", "more_0 FP32[batch, 4]", "more_1_0 FP32[batch, 2, 8]"]
    (name, axis), _ = sorted(front.ranges().items(), key=lambda item: item[0] == "batch")
    assert (axis.min, axis.max, axis.multiple_of) == (4, 100, 2)
    assert front.taken()["x"].shape == ("batch", name, 8)
    with pytest.raises(CheckpointError, match=r"loading it runs code from the file; .*`trust_checkpoint: true`"):
        front.module()
    trusted = frontend(tmp_path, "torch_export", file="net.pt2", trust_checkpoint=True)
    assert trusted.export(18, tmp_path / "m.onnx")["exporter"] == "dynamo"
    made = graph.interface(onnx.load(tmp_path / "m.onnx"))
    assert all(a.accepts(b) and a.name == b.name for a, b in zip(found.outputs, made[1], strict=True))
    feeds = {"x": np.random.default_rng(0).random((2, 6, 8), np.float32), "mask": np.ones((2, 6, 4), bool)}
    feeds["mask"][0, 1] = False
    with torch.no_grad():
        wanted = module(torch.from_numpy(feeds["x"]), mask=torch.from_numpy(feeds["mask"]))
    for answer in (graph.run(graph.session(tmp_path / "m.onnx"), feeds), trusted.answer(feeds)[0]):
        np.testing.assert_allclose(answer["y"], wanted["y"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(answer["more_0"], wanted["more"][0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(answer["more_1_0"], wanted["more"][1][0])


def test_reading_an_archive_needs_no_torch(tmp_path: Path) -> None:
    import subprocess

    archive(tmp_path / "net.pt2")
    code = (
        "import sys; from pathlib import Path; from generator.plugin import family;"
        "front = family('generator.frontends')['torch_export'](file=Path(sys.argv[1]), inputs={}, axes={});"
        "assert len(front.interface().inputs) == 2 and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "net.pt2")], check=True)


def test_an_archive_that_is_not_as_it_should_be(tmp_path: Path) -> None:
    archive(tmp_path / "net.pt2")

    def changed(edit: Callable[[dict[str, Any]], None]) -> None:
        with zipfile.ZipFile(tmp_path / "net.pt2") as old, zipfile.ZipFile(tmp_path / "bad.pt2", "w") as new:
            for name in old.namelist():
                data = old.read(name)
                if name.endswith("models/model.json"):
                    program = json.loads(data)
                    edit(program)
                    data = json.dumps(program).encode()
                new.writestr(name, data)

    changed(lambda program: program["graph_module"].pop("signature"))
    with pytest.raises(CheckpointError, match=r"layout is not that of torch.export \(schema .*8.*\): KeyError"):
        frontend(tmp_path, "torch_export", file="bad.pt2").interface()

    def scalar(program: dict[str, Any]) -> None:
        specs = program["graph_module"]["signature"]["input_specs"]
        specs[-1]["user_input"]["arg"] = {"as_int": 3}

    changed(scalar)
    with pytest.raises(CheckpointError, match=r"1 of its inputs are no tensors \(as_int\)"):
        frontend(tmp_path, "torch_export", file="bad.pt2").interface()


def saved(module: nn.Module, folder: Path) -> dict[str, Path]:
    """The same module in every format that holds one."""
    torch.save(module.state_dict(), folder / "sd.pt")
    torch.save(module, folder / "whole.pt")
    torch.jit.save(torch.jit.script(module), folder / "script.pt")
    torch.export.save(torch.export.export(module, (torch.rand(2, 3, 8, 16),)), folder / "program.pt2")
    (folder / "text.txt").write_text("no model at all")
    (folder / "empty.bin").write_bytes(b"")
    return {path.name: path for path in folder.iterdir() if path.suffix != ".py"}


EXPECTED = {
    "sd.pt": "a PyTorch state dict", "whole.pt": "a whole PyTorch module", "script.pt": "a TorchScript archive",
    "program.pt2": "a torch.export archive", "empty.bin": "an empty file",
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "own"),
    [("state_dict", "sd.pt"), ("torchscript", "script.pt"), ("torch_export", "program.pt2"), ("pickled", "whole.pt")],
)
def test_a_file_of_another_format_is_called_what_it_is(tmp_path: Path, nets: Any, kind: str, own: str) -> None:
    files = saved(seeded(nets.Net()), tmp_path)
    field, trust = ("weights" if kind == "state_dict" else "file"), {} if kind == "state_dict" else {"trust_checkpoint": True}
    for name, path in files.items():
        front = frontend(tmp_path, kind, **{field: path}, **trust)
        if name == own:
            assert front.module() is not None
            continue
        with pytest.raises(CheckpointError) as refused:
            front.module()
        if (kind, name) == ("pickled", "sd.pt"):
            assert "say `kind: state_dict` with a factory" in str(refused.value)
        elif (kind, name) == ("state_dict", "whole.pt"):
            assert "would run code from the file" in str(refused.value)
        else:
            assert re.search(r"not a .*(it looks like|cut short)", str(refused.value))
            assert EXPECTED.get(name, "") in str(refused.value)
    for size in (10, files[own].stat().st_size // 2, files[own].stat().st_size - 200):
        (tmp_path / "cut.bin").write_bytes(files[own].read_bytes()[:size])
        with pytest.raises(CheckpointError, match="not a "):
            frontend(tmp_path, kind, **{field: tmp_path / "cut.bin"}, **trust).module()


def test_safetensors(tmp_path: Path, nets: Any) -> None:
    """One file, one in parts, and one without the tensor that two layers share."""
    save = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    module = seeded(nets.Net())
    state = {f"model.{name}": values.contiguous() for name, values in module.state_dict().items()}
    save.save_file(state, tmp_path / "net.safetensors")
    held(frontend(tmp_path, "safetensors", weights="net.safetensors", prefix="model."), module, tmp_path)
    names = list(state)
    parts = {"a.safetensors": names[:4], "b.safetensors": names[4:]}
    for part, held_there in parts.items():
        save.save_file({name: state[name] for name in held_there}, tmp_path / part)
    index = {"weight_map": {name: part for part, there in parts.items() for name in there}}
    (tmp_path / "net.safetensors.index.json").write_text(json.dumps(index))
    front = frontend(tmp_path, "safetensors", weights="net.safetensors.index.json", prefix="model.")
    assert {path.name for path in front.files()} == {"net.safetensors.index.json", *parts, "nets.py"}
    assert torch.equal(front.module().head.weight, module.head.weight)
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"its part 'b\.safetensors' is not beside it"):
        front.files()
    tied = seeded(nets.Tied())
    save.save_model(tied, str(tmp_path / "tied.safetensors"))
    loaded = frontend(tmp_path, "safetensors", weights="tied.safetensors", factory="nets.py:Tied").module()
    assert torch.equal(loaded.out.weight, tied.into.weight)
    assert loaded.out.weight is loaded.into.weight
    whole = (tmp_path / "net.safetensors").read_bytes()
    torch.save(module.state_dict(), tmp_path / "sd.pt")
    for content in (whole[:-20], whole[:5], b"", b"{}", (tmp_path / "sd.pt").read_bytes()):
        (tmp_path / "bad.safetensors").write_bytes(content)
        with pytest.raises(CheckpointError, match="not a safetensors file"):
            frontend(tmp_path, "safetensors", weights="bad.safetensors").module()


def test_what_the_users_factory_raises_is_shown_with_its_line(tmp_path: Path, nets: Any) -> None:
    torch.save(nets.Net().state_dict(), tmp_path / "net.pt")
    (tmp_path / "broken.py").write_text("import torch\n\ndef net(width):\n    raise ValueError('no such width')\n")
    with pytest.raises(TritonRepoError, match=r"broken.py:4: ValueError: no such width"):
        frontend(tmp_path, "state_dict", weights="net.pt", factory="broken.py:net", arguments={"width": 3}).module()
