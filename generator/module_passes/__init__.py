"""Changes of a PyTorch module before it is exported. One file a pass; each is proven on the module's own answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from generator.plugin import Plugin

if TYPE_CHECKING:
    import torch


class ModulePass(Plugin):
    """A change of the module that keeps its results."""

    #: What it needs to find, in words; part of the message where it finds none.
    looks_for: ClassVar[str] = ""

    def run(self, module: torch.nn.Module) -> tuple[torch.nn.Module, list[str]]:
        """The changed module (it may be the same one), and the qualified names of the modules that it changed; none: no match."""
        raise NotImplementedError
