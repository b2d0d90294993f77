"""The model folders of a pipeline and the tensors between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from generator.tensors import Tensor

if TYPE_CHECKING:
    from generator.backends import Backend


@dataclass(frozen=True)
class Part:
    """One model folder: what it takes and gives, and what the server runs in it."""

    name: str
    role: str  # preprocess, model, head, postprocess, ensemble
    #: Under the names that they have on the server.
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    template: str | None = None  # a folder in templates/models; None: a trained model, or a piece of one
    parameters: dict[str, str] = field(default_factory=dict)
    #: What runs it where that is not the spec's target.
    backend: Backend | None = None
    #: Name on the server -> the tensor's own name, where the target does not take that.
    own: Mapping[str, str] = field(default_factory=dict)

    def own_name(self, name: str) -> str:
        """What the model itself calls the tensor that is `name` on the server."""
        return self.own.get(name, name)

    def called(self, target: Backend) -> Part:
        """With the names that `target` wants on the server."""
        sides = {"input": self.inputs, "output": self.outputs}
        new = {side: [target.called(side, i, t) for i, t in enumerate(tensors)] for side, tensors in sides.items()}
        inputs, outputs = (
            tuple(replace(t, name=name) for t, name in zip(tensors, new[side], strict=True)) for side, tensors in sides.items()
        )
        pairs = zip((*new["input"], *new["output"]), (*self.inputs, *self.outputs), strict=True)
        return replace(self, inputs=inputs, outputs=outputs, own={name: t.name for name, t in pairs if name != t.name})

    def plain(self) -> Part:
        """With its own names."""
        inputs, outputs = (tuple(replace(t, name=self.own_name(t.name)) for t in side) for side in (self.inputs, self.outputs))
        return replace(self, inputs=inputs, outputs=outputs, own={})


@dataclass(frozen=True)
class Edge:
    """A tensor on its way through the ensemble: `source` and `target` are part names, or None at the ensemble's own border."""

    source: str | None
    target: str | None
    produced: Tensor
    consumed: Tensor
    #: The name the ensemble knows it by.
    key: str
