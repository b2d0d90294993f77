"""Every way to a PyTorch module through the whole generator: built in child processes, verified, served."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tritonclient.grpc as triton
import yaml

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


def save(folder: Path) -> dict[str, torch.nn.Module]:
    """The checkpoints; what each kind has to answer."""
    (folder / "servednets.py").write_text(NETS)
    sys.path.insert(0, str(folder))
    import servednets  # type: ignore[import-not-found]

    torch.manual_seed(0)
    net, old = servednets.Net().eval(), servednets.Net().eval()
    flow = servednets.Flow().eval()
    torch.save({"model": old.state_dict(), "ema": {"module": net.state_dict(), "updates": 9}}, folder / "ema.pt")
    torch.save(net, folder / "whole.pt")
    torch.jit.save(torch.jit.script(flow), folder / "flow.pt")
    free = ({0: torch.export.Dim("b", max=64), 2: torch.export.Dim("h", min=4, max=64)},)
    torch.export.save(torch.export.export(net, (torch.rand(2, 3, 8, 16),), dynamic_shapes=free), folder / "net.pt2")
    wanted = {"state_dict": net, "torchscript": flow, "torch_export": net, "pickled": net}
    try:
        from safetensors.torch import save_file  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return wanted
    save_file(net.state_dict(), folder / "net.safetensors")
    return {**wanted, "safetensors": net}


@pytest.mark.full
def test_what_is_served_is_what_was_saved(tmp_path: Path, server: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    wanted = save(tmp_path)
    specs = []
    for kind in wanted:
        specs.append(str(tmp_path / f"{kind}.yaml"))
        Path(specs[-1]).write_text(yaml.safe_dump({"name": kind, "checkpoint": {"kind": kind, **SPECS[kind]}}))
    assert run(["build", *specs, "-o", str(tmp_path / "repository")]) == 0
    assert run(["verify", *specs, "-r", str(tmp_path / "repository")]) == 0
    said = " ".join("".join(capsys.readouterr()).split())
    assert said.count("served") >= len(wanted)
    with triton.InferenceServerClient(server(tmp_path / "repository").grpc_url) as client:
        for kind, module in wanted.items():
            for rows, height, high in ((1, 4, 1.0), (3, 24, 0.2)):
                image = 0.4 * high + high * np.random.default_rng(rows).random((rows, 3, height, 16), np.float32)
                given = triton.InferInput("image", list(image.shape), "FP32")
                given.set_data_from_numpy(image.astype(np.float32))
                answer = client.infer(kind, [given]).as_numpy("output")
                with torch.no_grad():
                    expected = module(torch.from_numpy(image.astype(np.float32))).numpy()
                np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5, err_msg=kind)
    if "safetensors" not in wanted:
        pytest.skip("safetensors is not installed; the other four were built and served")
