"""YOLOv4-tiny as a user would write it in PyTorch: the factory of examples/yolov4_tiny_pt.yaml.

float32 [batch, 3, 416, 416] in; raw heads [batch, 255, 13, 13] and [batch, 255, 26, 26] out. Submodules are registered in
the order in which Darknet stores their weights, so that scripts/darknet_to_pt.py can name them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Conv(nn.Module):
    """Convolution, batch normalisation, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """NCHW in, NCHW out."""
        return functional.leaky_relu(self.norm(self.conv(x)), 0.1)


class Stage(nn.Module):
    """A cross-stage partial block: half of the channels take the detour; halves the picture, doubles the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.enter = Conv(channels, channels, 3)
        self.first = Conv(half, half, 3)
        self.second = Conv(half, half, 3)
        self.leave = Conv(channels, channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The pooled result and the detour's own, which the second head reads."""
        whole = self.enter(x)
        one = self.first(whole.chunk(2, dim=1)[1])
        detour = self.leave(torch.cat([self.second(one), one], dim=1))
        return functional.max_pool2d(torch.cat([whole, detour], dim=1), 2), detour


class YoloV4Tiny(nn.Module):
    """Bochkovskiy et al., YOLOv4 (arXiv:2004.10934); the tiny variant's layout is that of its published cfg."""

    def __init__(self, classes: int = 80, anchors: int = 3) -> None:
        super().__init__()
        outputs = anchors * (5 + classes)
        self.stem = nn.Sequential(Conv(3, 32, 3, 2), Conv(32, 64, 3, 2))
        self.stages = nn.ModuleList([Stage(64), Stage(128), Stage(256)])
        self.neck = nn.Sequential(Conv(512, 512, 3), Conv(512, 256, 1))
        self.coarse = nn.Sequential(Conv(256, 512, 3), nn.Conv2d(512, outputs, 1))
        self.lateral = Conv(256, 128, 1)
        self.fine = nn.Sequential(Conv(384, 256, 3), nn.Conv2d(256, outputs, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Raw outputs, the coarse level first."""
        x = self.stem(image)
        detour = x
        for stage in self.stages:
            x, detour = stage(x)
        x = self.neck(x)
        up = functional.interpolate(self.lateral(x), scale_factor=2.0, mode="nearest")
        return self.coarse(x), self.fine(torch.cat([up, detour], dim=1))
