"""fuse_conv_bn: a batch normalisation behind a convolution becomes part of it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar, Literal

from generator import conv_weights
from generator.module_graphs import called, exchange, hooked, is_norm, once, only_user, traced
from generator.module_passes import ModulePass

if TYPE_CHECKING:
    import torch
    from torch import nn

#: By name, since they are not torch's: convolutions of other padding, linear in their weight like its own.
_NAMED = ("Conv2dSame",)


class FuseConvBn(ModulePass):
    """A BatchNorm that alone reads a convolution (plain or transposed, 1 to 3 dimensions) is folded into its weights.

    weight * s and bias * s + t, where the normalisation at its stored statistics is s * x + t (arXiv:1502.03167).
    """

    kind: Literal["fuse_conv_bn"] = "fuse_conv_bn"
    sources: ClassVar[tuple[str, ...]] = ("../module_graphs.py", "../conv_weights.py")
    looks_for: ClassVar[str] = (
        "a BatchNorm in eval mode that alone reads a Conv or ConvTranspose which runs once, in modules that torch.fx can follow"
    )

    def run(self, module: torch.nn.Module) -> tuple[torch.nn.Module, list[str]]:
        """Convolutions get new weights, normalisations become Identity (timm's: their activation)."""
        found = []
        for step in traced(module):
            for node in step.graph.nodes:
                conv, user = called(step.module, node), only_user(node)
                norm = called(step.module, user)
                if conv is None or norm is None or not _folds(conv, norm) or not (once(step, conv) and once(step, norm)):
                    continue
                found.append(f"{step.name}.{node.target}".lstrip("."))
                exchange(step.module, conv, _folded(conv, norm))
                exchange(step.module, norm, _rest(norm))
        return module, found


def _folds(conv: nn.Module, norm: nn.Module) -> bool:
    from torch import nn

    plain = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    known = type(conv) in plain or type(conv).__name__ in _NAMED
    return known and is_norm(norm) and not hooked(conv) and not hooked(norm)


def _folded(conv: nn.Module, norm: nn.Module) -> nn.Module:
    import torch
    from torch import nn

    after, made = conv_weights.affine(norm), copy.copy(conv)
    made._parameters = dict(conv._parameters)
    weight = conv.weight.detach().double()  # type: ignore[operator]
    bias = 0.0 if conv.bias is None else conv.bias.detach().double()  # type: ignore[operator]
    if getattr(conv, "transposed", False):  # [in, out / groups, ...]: the channels in come group by group
        per_group = after.scale.view(int(conv.groups), 1, -1)  # type: ignore[arg-type]
        scale = per_group.expand(-1, weight.shape[0] // per_group.shape[0], -1).reshape(weight.shape[:2])
    else:
        scale = after.scale.view(-1, 1)
    scaled = weight * scale.reshape(*scale.shape, *([1] * (weight.ndim - 2)))
    made.weight = nn.Parameter(scaled.to(conv.weight), requires_grad=False)  # type: ignore[arg-type]
    shift = torch.as_tensor(bias * after.scale + after.shift)
    made.bias = nn.Parameter(shift.to(conv.weight), requires_grad=False)  # type: ignore[arg-type]
    return made


def _rest(norm: nn.Module) -> nn.Module:
    """timm's BatchNormAct2d has an activation behind it."""
    from torch import nn

    behind = [child for name, child in norm.named_children() if name in ("drop", "act")]
    return nn.Sequential(*behind) if behind else nn.Identity()
