"""What passes over a torch module share: the calls in each submodule as far as torch.fx follows them, and exchanging parts."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch
    from torch import fx


class Traced(NamedTuple):
    """A submodule and the calls in its forward; calls of torch.nn's own modules are nodes, everything else is looked into."""

    name: str
    module: torch.nn.Module
    graph: fx.Graph
    #: May the module be rebuilt from the graph? Not where arguments were taken for their defaults to be able to follow it.
    whole: bool


def traced(root: torch.nn.Module, inside: bool = True) -> Iterator[Traced]:
    """Every submodule that torch.fx can follow, the innermost first; one that it cannot is a single call to those around it.

    Made one by one: what a pass changes inside is seen further out. Without `inside` each submodule is a single call.
    """
    opaque: set[torch.nn.Module] = set()
    for name, module in _inner_first(root):
        found = _graph(module, opaque if inside else set(module.modules()))
        if found is None:
            opaque.add(module)
        else:
            yield Traced(name, module, *found)


def _inner_first(root: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    """All but torch.nn's own, Sequential apart; a module under two names once."""
    found = [(name, module) for name, module in root.named_modules() if _worth(module)]
    return sorted(found, key=lambda item: -item[0].count(".") - bool(item[0]))


def _worth(module: torch.nn.Module) -> bool:
    from torch import nn

    own = type(module).__module__.startswith("torch.nn")
    single = is_norm(module) or isinstance(module, nn.modules.conv._ConvNd)
    return not hooked(module) and not single and (not own or isinstance(module, nn.Sequential))


def hooked(module: torch.nn.Module) -> bool:
    """Does something run before or after it, or make its weights anew at each call (weight norm, parametrization)?"""
    from torch.nn.utils.parametrize import is_parametrized

    return bool(module._forward_hooks or module._forward_pre_hooks) or is_parametrized(module)


def _graph(module: torch.nn.Module, opaque: set[torch.nn.Module]) -> tuple[fx.Graph, bool] | None:
    """The graph with all arguments free, else with those that have a default at it."""
    import torch
    from torch import fx

    class Tracer(fx.Tracer):
        def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
            return m in opaque or not _worth(m) or super().is_leaf_module(m, module_qualified_name)

    if isinstance(module, torch.jit.ScriptModule):
        return None
    parameters = inspect.signature(module.forward).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    for fixed in [{}, defaults] if defaults else [{}]:
        try:
            graph = Tracer().trace(module, concrete_args=fixed or None)
        except Exception:  # noqa: S112  control flow, a size asked for, anything: then torch.fx cannot follow it
            continue
        graph.owning_module = module  # type: ignore[assignment]
        return graph, not defaults
    return None


def is_norm(module: torch.nn.Module) -> bool:
    """A batch normalisation with stored statistics: torch's, torchvision's frozen one, or timm's with an activation behind."""
    from torch import nn

    own = type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    named = type(module).__name__ in ("FrozenBatchNorm2d", "BatchNormAct2d")
    return (own or named) and getattr(module, "running_mean", None) is not None and not module.training


def called(module: torch.nn.Module, node: Any) -> torch.nn.Module | None:
    """The submodule that a node calls; None for anything else."""
    return module.get_submodule(node.target) if getattr(node, "op", "") == "call_module" else None


def once(step: Traced, part: torch.nn.Module) -> bool:
    """Is the part called at one place of the graph only?"""
    return sum(called(step.module, node) is part for node in step.graph.nodes) == 1


def only_user(node: fx.Node) -> fx.Node | None:
    """The node that alone reads this one, and reads nothing else of the graph."""
    users = list(node.users)
    return users[0] if len(users) == 1 and users[0].all_input_nodes == [node] else None


def exchange(root: torch.nn.Module, old: torch.nn.Module, new: torch.nn.Module) -> torch.nn.Module:
    """The root with one module in another's place, under each of its names inside; what else holds the old one keeps it."""
    if root is old:
        return new
    for parent in list(root.modules()):
        for name in [name for name, child in parent._modules.items() if child is old]:
            parent._modules[name] = new
    return root


def rebuilt(root: torch.nn.Module, step: Traced) -> torch.nn.Module:
    """The root with the submodule made anew from its changed graph."""
    from torch import fx

    step.graph.eliminate_dead_code()
    step.graph.lint()
    new = fx.GraphModule(step.module, step.graph, class_name=type(step.module).__name__)
    return exchange(root, step.module, new.train(step.module.training))


def kinds(module: torch.nn.Module) -> str:
    """`12 Conv2d, 12 BatchNorm2d, 1 Linear`: what a message names as being there, the commonest first."""
    from collections import Counter

    counted = Counter(type(m).__name__ for m in module.modules() if not any(True for _ in m.children()))
    return ", ".join(f"{count} {name}" for name, count in counted.most_common(10)) or "no modules"
