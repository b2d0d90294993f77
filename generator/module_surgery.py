"""Runs module passes, each held to what it says of itself: it found something, and the module answers as before."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from generator.errors import SurgeryError
from generator.frontends import Arrays
from generator.module_graphs import kinds
from generator.module_passes import ModulePass
from generator.nearest import listed

if TYPE_CHECKING:
    import torch

    from generator.flatten import Flat

#: Of the largest value: sums in another order, and weights that are rounded anew.
_SAME = 1e-4
#: The same for the module in float64, where both weigh next to nothing: a formula that is only nearly right shows here.
_SAME_DOUBLE = 1e-9
#: Answers that are nearer to zero are held to these instead.
_SMALL = 1e-3


def apply(
    passes: Sequence[ModulePass], module: torch.nn.Module, flat: Callable[[torch.nn.Module], Flat], feeds: Arrays
) -> tuple[torch.nn.Module, dict[str, str]]:
    """The changed module, and what each pass did. Raises SurgeryError for one that matched nothing or changed an answer.

    A pass is tried on a float64 copy first, where the module runs in float64, then done.
    """
    facts = {}
    for index, each in enumerate(passes):
        there, exact = kinds(module), _in_double(each, module, flat, feeds)
        before = flat(module).run(feeds)
        module, changed = each.run(module)
        if not changed:
            raise SurgeryError(
                f"{each.kind} changed nothing: it looks for {each.looks_for}; the module has {there}",
                "remove it from module_passes",
            )
        found = _held(each, before, flat(module).run(feeds), _SAME)
        said = f"largest difference {found:.1e}" + (f", {exact:.1e} in float64" if exact is not None else "")
        facts[f"{index + 1} {each.kind}:"] = f"{len(changed)} changed ({listed(changed)}), {said}"
    return module, facts


def _in_double(each: ModulePass, module: torch.nn.Module, flat: Callable[[torch.nn.Module], Flat], feeds: Arrays) -> float | None:
    """How far the pass changes answers in float64; None where the module cannot be copied or does not run in it."""
    double = {name: values.astype(np.float64) if values.dtype.kind == "f" else values for name, values in feeds.items()}
    try:
        copied = copy.deepcopy(module).double()
        before = flat(copied).run(double)
    except Exception:  # types that it fixes itself, or parts that cannot be copied: the comparison in its own type remains
        return None
    changed = each.run(copied)[0]
    return _held(each, before, flat(changed).run(double), _SAME_DOUBLE)


def _held(each: ModulePass, before: Arrays, after: Arrays, bound: float) -> float:
    largest = 0.0
    for name, values in before.items():
        if name not in after or after[name].shape != values.shape:
            raise SurgeryError(f"{each.kind} changed the shape of {name}", "leave the pass out")
        if not values.size:
            continue
        difference = float(np.abs(after[name].astype(np.float64) - values).max())
        if not difference <= bound * max(_SMALL, float(np.abs(values).max())):
            raise SurgeryError(f"{each.kind} changed {name} by {difference:.3g}, which it must not", "leave the pass out")
        largest = max(largest, difference)
    return largest
