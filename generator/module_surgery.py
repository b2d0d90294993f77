"""Runs module passes, each held to what it says of itself: it found something, and the module answers as before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from generator.errors import SurgeryError
from generator.frontends import Arrays
from generator.module_passes import ModulePass

if TYPE_CHECKING:
    import torch

    from generator.flatten import Flat

#: Of the largest value: float32 sums in another order.
_SAME = 1e-4


def apply(
    passes: Sequence[ModulePass], module: torch.nn.Module, flat: Callable[[torch.nn.Module], Flat], feeds: Arrays
) -> tuple[torch.nn.Module, dict[str, str]]:
    """The changed module, and what each pass did. Raises SurgeryError for one that matched nothing or changed an answer."""
    facts = {}
    for index, each in enumerate(passes):
        before, there = flat(module).run(feeds), Counter(type(part).__name__ for part in module.modules())
        module, changed = each.run(module)
        if not changed:
            found = ", ".join(f"{count} {name}" for name, count in there.most_common(8))
            raise SurgeryError(
                f"{each.kind} changed nothing: it looks for {each.looks_for}; the module has {found}",
                "remove it from module_passes",
            )
        facts[f"{index + 1} {each.kind}:"] = (
            f"{len(changed)} changed, largest difference {_held(each, before, flat(module).run(feeds)):.1e}"
        )
    return module, facts


def _held(each: ModulePass, before: Arrays, after: Arrays) -> float:
    largest = 0.0
    for name, values in before.items():
        if name not in after or after[name].shape != values.shape:
            raise SurgeryError(f"{each.kind} changed the shape of {name}", "leave the pass out")
        if not values.size:
            continue
        difference = float(np.abs(after[name].astype(np.float64) - values).max())
        if not difference <= _SAME * max(1.0, float(np.abs(values).max())):
            raise SurgeryError(f"{each.kind} changed {name} by {difference:.3g}, which it must not", "leave the pass out")
        largest = max(largest, difference)
    return largest
