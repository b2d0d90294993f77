"""reparameterize: parallel convolutions that are added up become one."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from generator import conv_weights
from generator.conv_weights import Conv
from generator.module_graphs import Traced, called, hooked, is_norm, rebuilt, traced
from generator.module_passes import ModulePass

if TYPE_CHECKING:
    import torch
    from torch import fx, nn


class Branch(NamedTuple):
    """One way from the source to the sum: at most one convolution, and the affine steps behind it, the last first."""

    conv: nn.Module | None
    norms: tuple[nn.Module, ...]


class Reparameterize(ModulePass):
    """Branches of one input (Conv with or without BatchNorm, BatchNorm, the input itself) that are added become one Conv.

    RepVGG, MobileOne, RepViT, YOLOv6, YOLOv7 and Ultralytics blocks, found by what they compute and not by their names. Kernels
    are folded with their normalisation, brought to the largest size and added (arXiv:2101.03697, section 3.3).
    """

    kind: Literal["reparameterize"] = "reparameterize"
    sources: ClassVar[tuple[str, ...]] = ("../module_graphs.py", "../conv_weights.py")
    looks_for: ClassVar[str] = (
        "a sum of two or more branches of the same tensor, each a Conv with or without a BatchNorm in eval mode, a BatchNorm, or "
        "the tensor itself, at least one of them a Conv; in modules that torch.fx can follow"
    )

    def run(self, module: torch.nn.Module) -> tuple[torch.nn.Module, list[str]]:
        """Each block's forward is made anew with a convolution called `reparameterized`."""
        found: list[str] = []
        for step in traced(module):
            sums = [node for node in step.graph.nodes if _is_sum(node) and not any(_is_sum(user) for user in node.users)]
            made = [name for node in sums if step.whole and (name := _merge(step, node))]
            if made:
                found += [f"{step.name}.{name}".lstrip(".") for name in made]
                module = rebuilt(module, step)
        return module, found


def _is_sum(node: fx.Node) -> bool:
    import torch

    plain = node.op == "call_function" and node.target in (operator.add, operator.iadd, torch.add)
    return (plain or (node.op == "call_method" and node.target in ("add", "add_"))) and not node.kwargs and len(node.args) == 2


def _terms(node: fx.Node) -> list[Any]:
    """What is added, through sums that nothing else reads; a plain 0 is left out."""
    found: list[Any] = []
    for value in node.args:
        inner = getattr(value, "op", None) is not None and _is_sum(value) and len(value.users) == 1  # type: ignore[arg-type, union-attr]
        found += _terms(value) if inner else [value]  # type: ignore[arg-type]
    return [value for value in found if not (isinstance(value, int | float) and value == 0)]


def _merge(step: Traced, node: fx.Node) -> str:
    """The name of the new convolution, where terms of this sum are branches of one tensor; else nothing."""
    terms = _terms(node)
    ways = [_ways(step, term) for term in terms]
    for source in dict.fromkeys(source for way in ways for source in way):
        members = [index for index, way in enumerate(ways) if source in way]
        branches = [ways[index][source] for index in members]
        if len(members) > 1 and (conv := _sum(branches)) is not None:
            like = next(b.conv for b in branches if b.conv is not None)
            name = _add(step.module, conv_weights.module(conv, like.weight))  # type: ignore[arg-type]
            _put(step.graph, node, [term for index, term in enumerate(terms) if index not in members], (source, name))
            return name
    return ""


def _ways(step: Traced, term: Any) -> dict[fx.Node, Branch]:
    """Source -> branch, for each tensor on the way up that a merged convolution could read."""
    found: dict[fx.Node, Branch] = {}
    norms: list[nn.Module] = []
    while getattr(term, "op", "") in ("call_module", "placeholder", "call_function", "call_method", "get_attr"):
        found[term] = Branch(None, tuple(norms))
        part = called(step.module, term)
        if part is None or hooked(part) or len(term.users) != 1 or len(term.args) != 1 or term.kwargs:
            break
        if _is_conv(part):
            found[term.args[0]] = Branch(part, tuple(norms))
            break
        if is_norm(part) and all(_is_nothing(child) for child in part.children()):  # timm's hold an activation, or none
            norms.append(part)
        elif not _is_nothing(part):
            break
        term = term.args[0]
    return found


def _is_conv(part: nn.Module) -> bool:
    from torch import nn

    return type(part) in (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _is_nothing(part: nn.Module) -> bool:
    """Does it hand on what it gets, in eval mode?"""
    from torch import nn

    dropout = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
    return type(part) is nn.Identity or (not part.training and (type(part) in dropout or type(part).__name__ == "DropPath"))


def _sum(branches: list[Branch]) -> Conv | None:
    first = next((found for b in branches if b.conv is not None and (found := conv_weights.read(b.conv))), None)
    if first is None:
        return None
    channels = first.weight.shape[0]
    square = channels == first.weight.shape[1] * first.groups
    convs = []
    for branch in branches:
        plain = conv_weights.identity(channels, first) if square else None
        conv = plain if branch.conv is None else conv_weights.read(branch.conv)
        if conv is None:
            return None
        for norm in reversed(branch.norms):
            conv = conv.then(conv_weights.affine(norm))
        convs.append(conv)
    return conv_weights.added(convs)


def _add(module: nn.Module, conv: nn.Module) -> str:
    taken = dict(module.named_children())
    name = next(n for n in ("reparameterized", *(f"reparameterized_{i}" for i in range(1, 1000))) if n not in taken)
    module.add_module(name, conv)
    return name


def _put(graph: fx.Graph, node: fx.Node, rest: list[Any], new: tuple[fx.Node, str]) -> None:
    """The sum becomes the new convolution of its source, and what else was added."""
    source, name = new
    with graph.inserting_before(node):
        value = graph.call_module(name, (source,))
        for term in rest:
            value = graph.call_function(operator.add, (value, term))
    node.replace_all_uses_with(value)
    graph.erase_node(node)
