"""Every way to a PyTorch module through the whole generator: built in child processes, verified, served."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tritonclient.grpc as triton
import yaml
from torch import nn

from generator.cli import run

NETS = """\
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3))
        self.point = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3))

    def forward(self, image):
        return nn.functional.silu(self.dense(image) + self.point(image) + image)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block, self.head = Block(), nn.Linear(3, 2)

    def forward(self, image):
        return self.head(self.block(image).mean((2, 3)))

class Flow(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, image):
        y = self.net(image)
        if bool(image.mean() > 0.5):
            y = y * 2.0
        return y
"""
TAKEN = {"inputs": {"image": ["batch", 3, "height", 16]}, "axes": {"height": {"min": 4, "max": 64}}}
TRUSTED = {"trust_checkpoint": True}
SPECS: dict[str, dict[str, Any]] = {
    "state_dict": {"weights": "ema.pt", "key": "ema.module", "factory": "servednets.py:Net", **TAKEN,
                   "module_passes": [{"kind": "reparameterize"}, {"kind": "export_activations"}]},
    "safetensors": {"weights": "net.safetensors", "factory": "servednets.py:Net", **TAKEN},
    "torchscript": {"file": "flow.pt", **TAKEN},
    "torch_export": {"file": "net.pt2", **TRUSTED},
    "pickled": {"file": "whole.pt", "classes": ["servednets.py"], **TRUSTED, **TAKEN},
}  # fmt: skip


def save(folder: Path, kind: str) -> nn.Module:
    """The checkpoint of a kind; what it has to answer."""
    (folder / "servednets.py").write_text(NETS)
    sys.path.insert(0, str(folder))
    try:
        nets = importlib.reload(importlib.import_module("servednets"))
        torch.manual_seed(0)
        old, net, flow = nets.Net().eval(), nets.Net().eval(), nets.Flow().eval()
        if kind == "state_dict":
            torch.save({"model": old.state_dict(), "ema": {"module": net.state_dict(), "updates": 9}}, folder / "ema.pt")
        elif kind == "safetensors":
            pytest.importorskip("safetensors.torch").save_file(net.state_dict(), folder / "net.safetensors")
        elif kind == "torchscript":
            torch.jit.save(torch.jit.script(flow), folder / "flow.pt")
        elif kind == "torch_export":
            free = ({0: torch.export.Dim("b", max=64), 2: torch.export.Dim("h", min=4, max=64)},)
            torch.export.save(torch.export.export(net, (torch.rand(2, 3, 8, 16),), dynamic_shapes=free), folder / "net.pt2")
        else:
            torch.save(net, folder / "whole.pt")
    finally:
        sys.path.remove(str(folder))
    made: nn.Module = flow if kind == "torchscript" else net
    return made


@pytest.mark.full
@pytest.mark.parametrize("kind", SPECS)
def test_what_is_served_is_what_was_saved(
    tmp_path: Path, server: Callable[..., Any], capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    module, spec, repository = save(tmp_path, kind), tmp_path / "spec.yaml", tmp_path / "repository"
    spec.write_text(yaml.safe_dump({"name": kind, "checkpoint": {"kind": kind, **SPECS[kind]}}))
    assert run(["build", str(spec), "-o", str(repository)]) == 0
    assert run(["verify", str(spec), "-r", str(repository)]) == 0
    assert "served" in " ".join("".join(capsys.readouterr()).split())
    with triton.InferenceServerClient(server(repository).grpc_url) as client:
        for rows, height, high in ((1, 4, 1.0), (3, 24, 0.2)):
            image = (0.4 * high + high * np.random.default_rng(rows).random((rows, 3, height, 16))).astype(np.float32)
            given = triton.InferInput("image", list(image.shape), "FP32")
            given.set_data_from_numpy(image)
            answer = client.infer(kind, [given]).as_numpy("output")
            with torch.no_grad():
                expected = module(torch.from_numpy(image)).numpy()
            np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5)
