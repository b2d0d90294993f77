"""Convolutions as numbers: a batch normalisation folded into one, and parallel ones added up to one.

All in float64; a convolution is its weight [out, in / groups, ...kernel] and bias [out], stride, padding, dilation and groups.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Affine:
    """scale * x + shift for each channel."""

    scale: torch.Tensor
    shift: torch.Tensor


def affine(norm: nn.Module) -> Affine:
    """A batch normalisation at its stored statistics: scale = weight / sqrt(variance + eps) (arXiv:1502.03167, algorithm 2)."""
    import torch

    mean, variance = (getattr(norm, name).detach().double() for name in ("running_mean", "running_var"))
    scale = torch.rsqrt(variance + float(norm.eps))  # type: ignore[arg-type]
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()  # type: ignore[operator]
    shift = -mean * scale
    return Affine(scale, shift if norm.bias is None else shift + norm.bias.detach().double())  # type: ignore[operator]


@dataclass(frozen=True)
class Conv:
    """A convolution with zero padding, the same on both sides."""

    weight: torch.Tensor
    bias: torch.Tensor
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @property
    def kernel(self) -> tuple[int, ...]:
        """Its size along each axis."""
        return tuple(self.weight.shape[2:])

    def then(self, after: Affine) -> Conv:
        """The convolution that is this one and the affine step behind it."""
        shape = (-1, *([1] * (self.weight.ndim - 1)))
        return replace(self, weight=self.weight * after.scale.view(shape), bias=self.bias * after.scale + after.shift)

    def spread(self) -> Conv:
        """With dilation 1: zeros between the weights."""
        import torch

        size = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        weight = torch.zeros(*self.weight.shape[:2], *size, dtype=self.weight.dtype)
        every: list[slice] = [slice(None), slice(None), *(slice(None, None, d) for d in self.dilation)]
        weight[tuple(every)] = self.weight
        return replace(self, weight=weight, dilation=tuple(1 for _ in size))

    def widened(self, kernel: tuple[int, ...]) -> Conv:
        """With zeros around the weights up to that size; the padding grows with it."""
        from torch.nn.functional import pad

        more = [(wide - own) // 2 for wide, own in zip(kernel, self.kernel, strict=True)]
        padding = tuple(p + m * d for p, m, d in zip(self.padding, more, self.dilation, strict=True))
        return replace(self, weight=pad(self.weight, [m for one in reversed(more) for m in (one, one)]), padding=padding)


def read(conv: nn.Module) -> Conv | None:
    """Of a Conv1d, Conv2d or Conv3d; None for padding that is not zeros or not symmetric."""
    import torch
    from torch import nn

    assert isinstance(conv, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    padding = conv.padding
    if padding == "valid":
        padding = tuple(0 for _ in conv.kernel_size)
    if padding == "same":
        spans = [(k - 1) * d for k, d in zip(conv.kernel_size, conv.dilation, strict=True)]
        padding = tuple(span // 2 for span in spans) if all(span % 2 == 0 for span in spans) else "same"
    if conv.padding_mode != "zeros" or isinstance(padding, str):
        return None
    weight = conv.weight.detach().double()
    bias = torch.zeros(conv.out_channels, dtype=weight.dtype) if conv.bias is None else conv.bias.detach().double()
    return Conv(weight, bias, tuple(conv.stride), tuple(padding), tuple(conv.dilation), conv.groups)


def identity(channels: int, like: Conv) -> Conv:
    """The 1 x 1 convolution that changes nothing, in as many groups and dimensions as another."""
    import torch

    inner, axes = channels // like.groups, len(like.kernel)
    weight = torch.zeros(channels, inner, *([1] * axes), dtype=like.weight.dtype)
    for channel in range(channels):
        weight[channel, channel % inner] = 1.0
    ones, zeros = tuple([1] * axes), tuple([0] * axes)
    return Conv(weight, torch.zeros(channels, dtype=like.weight.dtype), ones, zeros, ones, like.groups)


def added(convs: list[Conv]) -> Conv | None:
    """The one convolution that gives the sum of several of the same input.

    Kernels are brought to the largest, centre on centre (RepVGG, arXiv:2101.03697, section 3.3). None where strides, groups,
    channels or centres differ.
    """
    if len({(c.stride, c.groups, c.weight.shape[:2]) for c in convs}) > 1:
        return None
    dilations = {c.dilation for c in convs if max(c.kernel) > 1} or {convs[0].dilation}
    convs = [c.spread() for c in convs] if len(dilations) > 1 else [replace(c, dilation=next(iter(dilations))) for c in convs]
    kernel = tuple(max(sizes) for sizes in zip(*(c.kernel for c in convs), strict=True))
    if any((wide - own) % 2 for c in convs for wide, own in zip(kernel, c.kernel, strict=True)):
        return None
    convs = [c.widened(kernel) for c in convs]
    if len({c.padding for c in convs}) > 1:
        return None
    weight, bias = (sum(values[1:], values[0]) for values in ([c.weight for c in convs], [c.bias for c in convs]))
    return replace(convs[0], weight=weight, bias=bias)


def module(conv: Conv, like: torch.Tensor) -> nn.Module:
    """The torch module, of the type and on the device of a tensor, in eval mode."""
    from torch import nn

    kinds: list[type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = [nn.Conv1d, nn.Conv2d, nn.Conv3d]
    made = kinds[len(conv.kernel) - 1](
        conv.weight.shape[1] * conv.groups, conv.weight.shape[0], conv.kernel,  # type: ignore[arg-type]
        stride=conv.stride, padding=conv.padding, dilation=conv.dilation, groups=conv.groups,  # type: ignore[arg-type]
    )  # fmt: skip
    made.weight = nn.Parameter(conv.weight.to(like), requires_grad=False)
    made.bias = nn.Parameter(conv.bias.to(like), requires_grad=False)
    return made.eval()
