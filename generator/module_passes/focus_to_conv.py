"""focus_to_conv: a Focus and the convolution behind it become one convolution."""

from __future__ import annotations

import operator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from generator import conv_weights
from generator.module_graphs import Traced, called, hooked, once, only_user, rebuilt, traced
from generator.module_passes import ModulePass

if TYPE_CHECKING:
    import torch
    from torch import fx, nn

#: Where a slice begins in height and in width.
Phase = tuple[int, int]


class FocusToConv(ModulePass):
    """Slices with step 2 in height and width, concatenated and read by a Conv (Focus of YOLOv5 and YOLOX), become one Conv.

    The weights for the slice that begins at (h, w) go to rows h, h + 2, ... and columns w, w + 2, ... of a kernel twice as large;
    stride and padding double.
    """

    kind: Literal["focus_to_conv"] = "focus_to_conv"
    sources: ClassVar[tuple[str, ...]] = ("../module_graphs.py", "../conv_weights.py")
    looks_for: ClassVar[str] = (
        "torch.cat along the channels of slices with step 2 in height and width (`x[..., ::2, 1::2]`), one for each of the four "
        "phases, all of one tensor, alone read by a Conv2d of one group, dilation 1 and zero padding; in modules that torch.fx "
        "can follow"
    )

    def run(self, module: torch.nn.Module) -> tuple[torch.nn.Module, list[str]]:
        """The module with the slices is made anew; its convolution gets the larger weight."""
        found = []
        for step in traced(module):
            made = [name for node in list(step.graph.nodes) if step.whole and (name := _merge(step, node))]
            if made:
                found += [f"{step.name}.{name}".lstrip(".") for name in made]
                module = rebuilt(module, step)
        return module, found


def _merge(step: Traced, node: fx.Node) -> str:
    focus, user = _focus(node), only_user(node)
    conv = called(step.module, user)
    wide = None if focus is None or conv is None or not _fits(step, conv) else _widened(conv, focus[1])
    if wide is None or focus is None or conv is None or user is None:
        return ""
    new = conv_weights.module(wide, conv.weight)  # type: ignore[arg-type]
    step.module.set_submodule(str(user.target), new)
    user.args, user.kwargs = (focus[0],), {}
    step.graph.eliminate_dead_code()
    return str(user.target)


def _focus(node: fx.Node) -> tuple[fx.Node, list[Phase]] | None:
    """What is sliced, and where each slice begins, in the order of the concatenation."""
    import torch

    if node.op != "call_function" or node.target not in (torch.cat, torch.concat) or not isinstance(node.args[0], list | tuple):
        return None
    said = dict(zip(("tensors", "dim"), node.args, strict=False)) | node.kwargs
    slices = [_slice(value) for value in node.args[0]]
    known = [s for s in slices if s is not None]
    phases = [phase for _, phase in known]
    whole = len(known) == len(slices) == 4 and set(phases) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    one = len({source for source, _ in known}) == 1
    return (known[0][0], phases) if said.get("dim") in (1, -3) and whole and one else None


def _slice(value: Any) -> tuple[fx.Node, Phase] | None:
    if (
        getattr(value, "op", "") != "call_function"
        or value.target is not operator.getitem
        or not isinstance(value.args[1], tuple)
    ):
        return None
    *before, rows, columns = value.args[1]
    full = before in ([Ellipsis], [slice(None), slice(None)])
    steps = [_start(index) for index in (rows, columns)]
    return (value.args[0], (steps[0], steps[1])) if full and None not in steps else None  # type: ignore[return-value]


def _start(index: Any) -> int | None:
    """0 for `::2` and 1 for `1::2`."""
    fits = isinstance(index, slice) and index.step == 2 and index.stop is None and index.start in (None, 0, 1)
    return (index.start or 0) if fits else None


def _fits(step: Traced, conv: nn.Module) -> bool:
    from torch import nn

    return type(conv) is nn.Conv2d and once(step, conv) and not hooked(conv)


def _widened(conv: nn.Module, phases: list[Phase]) -> conv_weights.Conv | None:
    import torch

    own = conv_weights.read(conv)
    if own is None or own.groups != 1 or set(own.dilation) != {1} or own.weight.shape[1] % len(phases):
        return None
    (out, inner, height, width), channels = own.weight.shape, own.weight.shape[1] // len(phases)
    weight = torch.zeros(out, channels, 2 * height, 2 * width, dtype=own.weight.dtype)
    for index, (h, w) in enumerate(phases):
        weight[:, :, h::2, w::2] = own.weight[:, index * channels : (index + 1) * channels]
    assert inner == channels * len(phases)
    return replace(own, weight=weight, stride=tuple(2 * s for s in own.stride), padding=tuple(2 * p for p in own.padding))
