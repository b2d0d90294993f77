"""State dicts that fit and that do not; nothing in a checkpoint runs."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from generator.errors import CheckpointError, ExportError
from generator.export import export
from generator.frontends.state_dict import StateDict

FACTORY = """\
import torch

class Net(torch.nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.a = torch.nn.Linear(3, width)
        self.b = torch.nn.Linear(width, 2)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))

class Odd(Net):
    def forward(self, x):
        return torch.linalg.eigvals(torch.diag_embed(super().forward(x))).real

def number():
    return 7

def broken():
    raise RuntimeError("no such architecture")
"""


def frontend(folder: Path, state: Any, factory: str = "Net", **more: Any) -> StateDict:
    (folder / "net.py").write_text(FACTORY)
    weights = folder / "net.pt"
    if state is not None:
        torch.save(state, weights)
    values = {
        "weights": weights,
        "factory": f"net.py:{factory}",
        "inputs": {"x": ["batch", 3]},
        "outputs": {"y": ["batch", 2]},
        **more,
    }
    return StateDict.model_validate(values, context={"base": folder})


def good(width: int = 4) -> dict[str, torch.Tensor]:
    return {
        "a.weight": torch.ones(width, 3),
        "a.bias": torch.ones(width),
        "b.weight": torch.ones(2, width),
        "b.bias": torch.ones(2),
    }


def test_a_state_dict_that_fits_is_loaded(tmp_path: Path) -> None:
    module = frontend(tmp_path, good()).module()
    assert not module.training
    assert module(torch.ones(1, 3)).tolist() == [[17.0, 17.0]]


def test_a_nested_state_dict_and_arguments(tmp_path: Path) -> None:
    module = frontend(tmp_path, {"epoch": 3, "model": good(6)}, key="model", arguments={"width": 6}).module()
    assert module(torch.ones(1, 3)).tolist() == [[25.0, 25.0]]


@pytest.mark.parametrize(
    ("state", "more", "message"),
    [
        ({"a.weight": torch.ones(4, 3)}, {}, r"missing \(3\): a.bias, b.weight, b.bias"),
        ({**good(), "c": torch.ones(1)}, {}, r"unexpected \(1\): c"),
        (good(5), {}, r"wrong shape \(3\): a.weight is \[5, 3\], expected \[4, 3\]"),
        ({"epoch": 1, "optimizer": {"state": good()}}, {}, "not a state dict; it is a dict with epoch, optimizer"),
        (good(), {"key": "ema"}, "no key 'ema'; found a dict with a.weight, .*; remove checkpoint.key"),
        (
            {"model": good(), "epoch": 1},
            {"key": "epoch"},
            "'epoch' is not a state dict; it is of type int; there is `key: model`",
        ),
        ({"model": good(), "a": {}}, {"key": "model.a"}, "no key 'a' in 'model'; found a dict with a.weight"),
        ([1, 2], {}, "not a state dict; it is of type list"),
        (good(), {"factory": "number"}, "returned int"),
        (good(), {"factory": "broken"}, "RuntimeError: no such architecture"),
        (good(), {"factory": "Nothing"}, "has no function 'Nothing'"),
        (good(), {"arguments": {"wide": 1}}, "unexpected keyword argument 'wide'"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, state: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        frontend(tmp_path, state, **more).module()


class Bomb:
    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.flag}",)


def test_a_checkpoint_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    torch.save(Bomb(tmp_path / "ran"), tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match=r"would run code from the file \(.*system\); save the weights alone"):
        frontend(tmp_path, None).module()
    assert not (tmp_path / "ran").exists()


def test_files_that_are_no_checkpoint(tmp_path: Path) -> None:
    torch.save(good(), tmp_path / "whole.pt")
    for content in ((tmp_path / "whole.pt").read_bytes()[:-600], b"", b"hello", pickle.dumps(b"x" * 100)[:-5]):
        (tmp_path / "net.pt").write_bytes(content)
        with pytest.raises(CheckpointError, match="not a PyTorch checkpoint"):
            frontend(tmp_path, None).module()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"factory": "nofile.py:Net"}, "no such file"),
        ({"factory": "Net"}, "expected `package.module:callable`"),
        ({"inputs": {"x": ["batch", 0]}}, r"greater than or equal to 1"),
        ({"axes": {"height": [32, 64]}}, r"no input has an axis 'height'; they have batch"),
        ({"inputs": {"../x": ["batch", 3]}}, "cannot name"),
    ],
)
def test_a_wrong_spec_is_refused_before_torch(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        StateDict.model_validate({**frontend(tmp_path, good()).model_dump(), **more}, context={"base": tmp_path})


def test_a_factory_from_a_package_that_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="pip install nosuchpackage"):
        frontend(tmp_path, good()).model_copy(update={"factory": "nosuchpackage.nets:Net"}).files()


def test_the_export_is_held_to_the_spec(tmp_path: Path) -> None:
    front = frontend(tmp_path, good(), outputs={"y": ["batch", 3]})
    with pytest.raises(
        ExportError, match=r"for x \[2, 3\] the module returns y float32\[2, 2\], the spec says y float32\['batch', 3\]"
    ):
        export(front, 18, tmp_path / "m.onnx")
    front = frontend(tmp_path, good(), inputs={"x": ["batch", 4]})
    with pytest.raises(ExportError, match=r"rejects its input x float32\[2, 4\]"):
        export(front, 18, tmp_path / "m.onnx")


def test_an_operator_that_no_exporter_knows_is_named(tmp_path: Path) -> None:
    front = frontend(tmp_path, good(), factory="Odd")
    with pytest.raises(ExportError, match=r"no translation of the operator aten\.linalg_eig at .*net\.py:14 in Odd"):
        export(front, 18, tmp_path / "m.onnx")
