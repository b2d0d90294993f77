"""Models whose inputs and outputs are known once they are exported: planned, built, served, verified."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from generator import paths, pbtxt
from generator import run as runner
from generator.build import plan, resolved
from generator.cli import run
from generator.inputs import sizes

CODE = """\
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding(100, 8)
        self.over_time = torch.nn.LSTM(8, 6, batch_first=True)
        self.picture = torch.nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, mask, tokens, image, scale):
        hidden, (last, _) = self.over_time(self.words(tokens))
        return {
            "hidden": hidden * mask.unsqueeze(-1),
            "more": [self.picture(image) * scale, None, (last.transpose(0, 1),)],
            "count": mask.sum(),
        }


class Sequence(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.over_time = torch.nn.GRU(5, 4)

    def forward(self, x):
        return self.over_time(x)[0]
"""
MULTI = """\
name: multi
checkpoint:
  kind: state_dict
  weights: net.pt
  factory: net.py:Net
  inputs:
    tokens: {dtype: INT64, shape: [batch, length], range: [0, 100]}
    mask: {dtype: BOOL, shape: [batch, length]}
    image: [batch, 3, height, width]
    scale: {shape: []}
  axes: {height: [16, 64], length: [1, 50], width: {min: 16, max: 64, multiple_of: 8}}
"""
SAMPLES = "verify:\n  samples:\n  - {scale: 2.0}\n  - {scale: 0.5, image: image.npy}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Code, weights, a picture; and no export of an earlier run."""
    own = SimpleNamespace(cache=lambda: tmp_path / "cache", forget=paths.forget)
    monkeypatch.setattr(runner, "paths", own)
    (tmp_path / "net.py").write_text(CODE)
    space: dict[str, type[torch.nn.Module]] = {}
    exec(compile(CODE, "net.py", "exec"), space)
    torch.manual_seed(3)
    torch.save(space["Net"]().state_dict(), tmp_path / "net.pt")
    torch.save(space["Sequence"]().state_dict(), tmp_path / "sequence.pt")
    random = np.random.default_rng(0)
    np.save(tmp_path / "image.npy", random.random((1, 3, 24, 40)).astype(np.float32))
    np.save(tmp_path / "two.npy", random.random((2, 3, 24, 40)).astype(np.float32))
    return tmp_path


def written(folder: Path, text: str) -> Path:
    (folder / "s.yaml").write_text(text)
    return folder / "s.yaml"


def test_it_is_planned_built_and_what_is_served_is_what_was_trained(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, repository = written(folder, MULTI + SAMPLES), folder / "repo"
    assert run(["plan", str(path), "-o", str(repository), "--json"]) == 0
    (planned,) = json.loads(capsys.readouterr().out)
    assert [step["why"] for step in planned["steps"]] == ["not built yet; its inputs and outputs are known then"]
    assert run(["build", str(path), "-o", str(repository)]) == 0
    assert "multi/export: exporter dynamo" in capsys.readouterr().err
    config = pbtxt.read(repository / "multi" / "config.pbtxt")
    assert config.max_batch_size == 0  # `scale` has no batch
    assert {t.name: list(t.dims) for t in config.input} == {
        "tokens": [-1, -1], "mask": [-1, -1], "image": [-1, 3, -1, -1], "scale": [1],
    }  # fmt: skip
    assert {t.name: list(t.dims) for t in config.output} == {
        "hidden": [-1, -1, 6], "more_0": [-1, 4, -1, -1], "more_2_0": [-1, 1, 6], "count": [1],
    }  # fmt: skip
    assert all(item.fresh for item in plan([path], repository))
    assert run(["verify", str(path), "-r", str(repository), "--json"]) == 0
    rungs = json.loads(capsys.readouterr().out)
    assert [rung["name"] for rung in rungs] == ["exported ONNX", "after surgery", "served"]
    (pipeline,) = resolved([path])
    checkpoint: Any = pipeline.spec.checkpoint  # type: ignore[union-attr]
    first, second, _ = sizes(checkpoint.inputs, checkpoint.axes)[:3]
    second |= {"height": 24, "width": 40}  # of image.npy
    values = [n["batch"] * (n["length"] * 6 + 4 * n["height"] * n["width"] + 6) + 1 for n in (first, second)]
    assert [rung["result"]["compared"] for rung in rungs] == [sum(values)] * 3
    written(folder, MULTI + SAMPLES.replace("image.npy", "two.npy"))
    assert run(["verify", str(path), "-r", str(repository)]) == 1
    assert "image [2, 3, 24, 40], scale [], which the checkpoint takes: " in capsys.readouterr().err


def test_an_axis_that_comes_before_the_batch_is_no_batch(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "name: sequence\ncheckpoint:\n  kind: state_dict\n  weights: sequence.pt\n  factory: net.py:Sequence\n"
    path = written(folder, f"{text}  inputs: {{x: [length, batch, 5]}}\n")
    assert run(["build", str(path), "-o", str(folder / "repo")]) == 0, capsys.readouterr().err
    config = pbtxt.read(folder / "repo" / "sequence" / "config.pbtxt")
    assert (config.max_batch_size, list(config.input[0].dims), list(config.output[0].dims)) == (0, [-1, -1, 5], [-1, -1, 4])
    assert run(["verify", str(path), "-r", str(folder / "repo")]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ("{scales: 1.0}", "verify.samples.0.scales: the model has no input 'scales'; it has tokens, mask, image, scale"),
        ("{scale: [1, 2]}", r"verify.samples.0.scale: its shape is [2]; the model takes scale FP32[]"),
        ("{tokens: gone.npy}", "verify.samples.0.tokens: 'gone.npy' is no value for tokens INT64[batch, ?]: [Errno 2]"),
        ("{tokens: image.npy}", "verify.samples.0.tokens: its shape is [1, 3, 24, 40]; the model takes tokens INT64[batch, ?]"),
        ("{scale: much}", "verify.samples.0.scale: 'much' is no value for scale FP32[]"),
    ],
)
def test_a_sample_that_does_not_fit_is_named_with_its_line(
    folder: Path, samples: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from generator.bare_samples import check
    from generator.build import resolved
    from generator.errors import SpecError
    from generator.frontends import Interface
    from generator.pipeline import Learned, Pipeline
    from generator.tensors import Tensor

    path = written(folder, f"{MULTI}verify:\n  samples:\n  - {samples}\n")
    (pipeline,) = resolved([path])
    assert isinstance(pipeline, Pipeline)
    kinds = {"tokens": ("INT64", (-1,)), "mask": ("BOOL", (-1,)), "image": ("FP32", (3, -1, -1))}
    inputs = (*(Tensor(name, *kind) for name, kind in kinds.items()), Tensor("scale", "FP32", (), batched=False))
    known = Pipeline(pipeline.path, pipeline.spec, Learned(folder / "none.onnx", Interface(inputs, ())))
    with pytest.raises(SpecError) as error:
        check(known)
    assert str(error.value).startswith(f"{path}:14: ")
    assert words in str(error.value)
