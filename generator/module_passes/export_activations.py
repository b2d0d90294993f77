"""export_activations: SiLU, Hardswish and Mish made of operators that every exporter and runtime has."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from generator.module_graphs import exchange, hooked, rebuilt, traced
from generator.module_passes import ModulePass

if TYPE_CHECKING:
    import torch
    from torch import fx, nn

#: The range in which a module is compared with the three: past it they are zero or the number itself.
_RANGE, _POINTS = 12.0, 4097


class ExportActivations(ModulePass):
    """SiLU, Hardswish and Mish, torch's own or another's under any name, become Sigmoid, Clip, Softplus, Tanh and Mul.

    A module without weights is one of them where it gives the same numbers from -12 to 12: so those with a hand-written backward
    (memory-efficient Swish), which no exporter can follow, are found too. Calls of torch.nn.functional are found by torch.fx.
    """

    kind: Literal["export_activations"] = "export_activations"
    sources: ClassVar[tuple[str, ...]] = ("../module_graphs.py",)
    looks_for: ClassVar[str] = (
        "modules without weights that compute SiLU (Swish), Hardswish or Mish, and calls of "
        "torch.nn.functional.silu, hardswish and mish in modules that torch.fx can follow"
    )

    def run(self, module: torch.nn.Module) -> tuple[torch.nn.Module, list[str]]:
        """Each is exchanged for a module, or a call, of plain operators."""
        found = []
        for name, part in list(module.named_modules()):
            if (form := _recognised(part)) is not None:
                module = exchange(module, part, _module(form))
                found.append(name)
        for step in traced(module, inside=False):
            if step.whole and (calls := _functions(step.graph)):
                found += [f"{step.name}.{call}".lstrip(".") for call in calls]
                module = rebuilt(module, step)
        return module, found


def silu(x: torch.Tensor) -> torch.Tensor:
    """x * sigmoid(x) (arXiv:1606.08415, 1710.05941)."""
    import torch

    return x * torch.sigmoid(x)


def hardswish(x: torch.Tensor) -> torch.Tensor:
    """x * clip(x + 3, 0, 6) / 6 (arXiv:1905.02244)."""
    import torch

    return x * (torch.clamp(x + 3.0, 0.0, 6.0) / 6.0)


def mish(x: torch.Tensor) -> torch.Tensor:
    """x * tanh(ln(1 + exp(x))) (arXiv:1908.08681)."""
    import torch

    return x * torch.tanh(torch.nn.functional.softplus(x))


Form = Callable[["torch.Tensor"], "torch.Tensor"]


def _recognised(part: nn.Module) -> Form | None:
    """The formula whose numbers the module gives, in float64."""
    import torch

    if any(True for _ in (*part.children(), *part.parameters(), *part.buffers())) or hooked(part):
        return None
    if getattr(part, "exportable", False):
        return None
    grid = torch.linspace(-_RANGE, _RANGE, _POINTS, dtype=torch.float64).view(1, -1)
    try:
        with torch.no_grad():
            answer = copy.deepcopy(part)(grid.clone())  # it may remember what it is called with
    except Exception:  # it takes something else
        return None
    if not isinstance(answer, torch.Tensor) or answer.shape != grid.shape:
        return None
    return next((form for form in (silu, hardswish, mish) if torch.allclose(answer, form(grid), rtol=1e-12, atol=1e-14)), None)


def _module(form: Form) -> nn.Module:
    from torch import nn

    class Plain(nn.Module):
        """The activation in plain operators."""

        exportable = True

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """Elementwise."""
            return form(x)

    return Plain().eval()


def _functions(graph: fx.Graph) -> list[str]:
    """The calls of torch.nn.functional that were exchanged."""
    from torch.nn import functional

    forms: dict[object, Form] = {functional.silu: silu, functional.hardswish: hardswish, functional.mish: mish}
    nodes = [node for node in graph.nodes if node.op == "call_function" and node.target in forms]
    for node in nodes:
        node.args, node.kwargs, node.target = (node.all_input_nodes[0],), {}, forms[node.target]
    return [node.name for node in nodes]
