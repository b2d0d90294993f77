"""Writes surgery.onnx: a small classifier as an exporter might leave it, with a Focus, a norm and names that say little.

.venv/bin/python examples/surgery_model.py, then triton-repo build examples/surgery.yaml
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn


class Focus(nn.Module):
    """Every second pixel in both directions, four times, side by side as channels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, C, H, W] -> [batch, 4C, H/2, W/2]"""
        return torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)


def model() -> nn.Module:
    """[batch, 3, 32, 32], normalised, to 10 classes."""
    torch.manual_seed(0)
    body = [
        Focus(),
        nn.Conv2d(12, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.Hardswish(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1),
    ]
    return nn.Sequential(*body, nn.Mish(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(16, 10))


def main(path: Path) -> None:
    """Export with a fixed batch of one, unoptimised, as older scripts did."""
    torch.onnx.export(
        model().eval(), (torch.zeros(1, 3, 32, 32),), str(path), dynamo=False, opset_version=18,
        training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False, input_names=["input.1"], output_names=["output"],
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("surgery.onnx"))
