"""A Darknet network as a PyTorch module: the layers of the cfg, filled with the floats of the weights file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from generator.darknet import HEADS, Layer, Section, layers, padding, read_cfg, read_weights
from generator.errors import CheckpointError

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "mish": nn.Mish,
    "swish": nn.SiLU,
    "logistic": nn.Sigmoid,
}


class Convolution(nn.Sequential):
    """Convolution, batch normalisation where the cfg has it, activation."""

    def __init__(self, section: Section, channels: int) -> None:
        filters, size = section.integer("filters"), section.integer("size", 1)
        normalise = bool(section.integer("batch_normalize", 0))
        conv = nn.Conv2d(
            channels,
            filters,
            size,
            section.integer("stride", 1),
            padding(section),
            groups=section.integer("groups", 1),
            bias=not normalise,
        )
        # Darknet adds 1e-6 to the deviation; OpenCV, which the tests compare with, to the variance: the same in float32.
        norm = [nn.BatchNorm2d(filters, eps=1e-6)] if normalise else []
        super().__init__(conv, *norm, _activation(section))


def _activation(section: Section) -> nn.Module:
    name = section.values.get("activation", "logistic")
    if name == "leaky":
        return nn.LeakyReLU(0.1)
    if name not in _ACTIVATIONS:
        raise section.error(f"activation={name} is not supported (leaky, {', '.join(_ACTIVATIONS)} are)")
    return _ACTIVATIONS[name]()


class MaxPool(nn.Module):
    """Darknet's max-pool: the window's padding is `size - 1` in all, the smaller half left and top."""

    def __init__(self, section: Section) -> None:
        super().__init__()
        self.size, self.stride = section.integer("size"), section.integer("stride", 1)
        total = section.integer("padding", self.size - 1)
        self.before, self.after = total // 2, total - total // 2

    def forward(self, x: Tensor) -> Tensor:
        """NCHW in, NCHW out."""
        if (x.shape[-1] % self.stride == 0) and self.size == self.stride:
            return functional.max_pool2d(x, self.size, self.stride)
        pad = [self.before, self.after, self.before, self.after]
        return functional.max_pool2d(functional.pad(x, pad, value=float("-inf")), self.size, self.stride)


class Reorg(nn.Module):
    """Darknet's reorg, which is not a plain space-to-depth: it reads its input as if that had stride^2 times fewer channels."""

    def __init__(self, section: Section) -> None:
        super().__init__()
        self.stride = section.integer("stride", 1)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, c, h, w] in, [batch, c * stride^2, h / stride, w / stride] out (blas.c, reorg_cpu, forward = 0)."""
        s = self.stride
        _, c, h, w = x.shape
        wide = x.reshape(-1, c // (s * s), h, s, w, s)
        return wide.permute(0, 3, 5, 1, 2, 4).reshape(-1, c * s * s, h // s, w // s)


class Network(nn.Module):
    """The whole network: float32 [batch, channels, height, width] in, the input of every head layer out, in the cfg's order."""

    def __init__(self, cfg: Path | str) -> None:
        super().__init__()
        sections = read_cfg(Path(cfg))
        self.plan: list[Layer] = layers(sections)
        channels = sections[0].integer("channels", 3)
        self.blocks = nn.ModuleList(self._block(layer, channels) for layer in self.plan)

    def _block(self, layer: Layer, image_channels: int) -> nn.Module:
        source = layer.sources[0]
        channels = image_channels if source < 0 else self.plan[source].shape[0]
        if layer.section.kind == "convolutional":
            return Convolution(layer.section, channels)
        if layer.section.kind == "maxpool":
            return MaxPool(layer.section)
        if layer.section.kind == "reorg":
            return Reorg(layer.section)
        if layer.section.kind == "upsample":
            return nn.Upsample(scale_factor=layer.section.integer("stride", 2), mode="nearest")
        if layer.section.kind == "shortcut":
            return _activation(layer.section)
        return nn.Identity()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Raw head outputs, [batch, anchors * (5 + classes), rows, columns] each."""
        kept: list[Tensor] = []
        heads: list[Tensor] = []
        for layer, block in zip(self.plan, self.blocks, strict=True):
            inputs = [image if source < 0 else kept[source] for source in layer.sources]
            kept.append(block(_joined(layer.section, inputs)))
            if layer.section.kind in HEADS:
                heads.append(kept[-1])
        return tuple(heads)

    def load_darknet(self, path: Path) -> None:
        """Fill every parameter from a .weights file. Raises CheckpointError unless every float is used."""
        floats = _Floats(path)
        for block in self.blocks:
            if isinstance(block, Convolution):
                _fill(block, floats)
        floats.must_be_empty()


def _joined(section: Section, inputs: list[Tensor]) -> Tensor:
    if section.kind == "shortcut":
        return inputs[0] + inputs[1]
    if section.kind != "route":
        return inputs[0]
    groups, group = section.integer("groups", 1), section.integer("group_id", 0)
    parts = [x if groups == 1 else torch.chunk(x, groups, dim=1)[group] for x in inputs]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


class _Floats:
    """Hands out the file's values in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: NDArray[np.float32] = read_weights(path)
        self.used = 0

    def into(self, target: Tensor) -> None:
        end = self.used + target.numel()
        if end > self.values.size:
            raise CheckpointError(
                f"{self.path}: cut short: {self.values.size} values, the cfg needs at least {end}",
                "fetch the file again, or use the cfg that belongs to it",
            )
        target.copy_(torch.from_numpy(self.values[self.used : end].copy()).view_as(target))
        self.used = end

    def must_be_empty(self) -> None:
        if self.used != self.values.size:
            raise CheckpointError(
                f"{self.path}: {self.values.size} values, the cfg uses only {self.used}",
                "use the cfg that belongs to the weights",
            )


@torch.no_grad()
def _fill(block: Convolution, floats: _Floats) -> None:
    conv, norm = block[0], block[1]
    own = dict(norm.named_parameters()) | dict(norm.named_buffers()) if isinstance(norm, nn.BatchNorm2d) else {}
    for name in ("bias", "weight", "running_mean", "running_var") if own else ():
        floats.into(own[name])
    weights = dict(conv.named_parameters())
    for name in ("weight",) if own else ("bias", "weight"):
        floats.into(weights[name])
