"""Modules as users write them, each hard to export in its own way: what tests/test_export.py builds. One line a trait."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class Base(nn.Module):
    """Every checkpoint here holds this one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.5]))


class Plain(Base):
    """What any exporter takes."""

    def forward(self, image: Tensor) -> Tensor:
        return functional.avg_pool2d(image * self.scale, 2)


class Branch(Base):
    """Its result depends on an `if`: tracing would freeze one branch."""

    def forward(self, x: Tensor) -> Tensor:
        y = x - 10.0
        if bool(x.mean() > 0):
            y = x * self.scale
        return y


class Repeat(Base):
    """Doubles until it is large: a loop whose length depends on values."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.abs() + self.scale
        while bool(y.sum() < 10000.0):
            y = y * 2.0
        return y


class Gated(Base):
    """A branch in a part of it, and a forward that TorchScript does not take."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = Branch()
        self.functions = {"twice": lambda value: value * 2}

    def forward(self, x: Tensor) -> Tensor:
        doubled: Tensor = self.functions["twice"](self.branch(x))
        return doubled


class Python(Base):
    """A branch that neither dynamo nor TorchScript can keep."""

    def forward(self, x: Tensor) -> Tensor:
        names = {True: lambda value: value * 2, False: lambda value: value - 1}
        chosen: Tensor = names[x.mean().item() > 0](x) * self.scale
        return chosen


class Chosen(Base):
    """The same `if` as torch.cond writes it."""

    def forward(self, x: Tensor) -> Tensor:
        chosen: Tensor = torch.cond(x.mean() > 0, lambda v: v * 1.5, lambda v: v - 10.0, (x,))
        return chosen


class Frozen(Base):
    """Runs with any height, but takes its sizes for numbers."""

    def forward(self, image: Tensor) -> Tensor:
        height = int(image.shape[2])
        return image * self.scale * torch.full((1,), float(height)) + np.float32(image.shape[2]).item()


class FixedSize(Base):
    """Needs one size; the spec says that it is free."""

    def __init__(self) -> None:
        super().__init__()
        self.position: Tensor
        self.register_buffer("position", torch.ones(1, 3, 64, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return image * self.scale + self.position


class Even(Base):
    """Takes even sizes only."""

    def forward(self, image: Tensor) -> Tensor:
        return functional.pixel_unshuffle(image * self.scale, 2)


class Sum(Base):
    """Two inputs that must be as long as one another."""

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return one * self.scale + other


class Several(Base):
    """Integer, boolean and scalar inputs, given by name."""

    def forward(self, ids: Tensor, mask: Tensor, flag: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        kept = ids * mask.to(ids.dtype)
        return torch.where(flag, kept, -kept) * weight * self.scale, kept.sum(1)


class Boxes(NamedTuple):
    """A named tuple."""

    corners: Tensor
    scores: Tensor


@dataclass
class Answer:
    """As libraries return it: a dataclass with leaves that are None."""

    boxes: Boxes
    levels: list[dict[str, Tensor]]
    loss: Tensor | None = None


class Nested(Base):
    """A dictionary of a dataclass, lists, a named tuple; the input itself; one tensor twice; a number."""

    def forward(self, x: Tensor) -> dict[str, Any]:
        y = x * self.scale
        answer = Answer(Boxes(y, y.sum(1)), [{"p": y + 1}, {"p": y + 2}])
        return {"answer": answer, "input": x, "again": y, "count": 7}


class Ragged(Base):
    """As many rows out as there are positive values: a size that only the values tell."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.nonzero(x > 0.5), x * self.scale


class Recurrent(Base):
    """An LSTM over a free length."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 6, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        output, (hidden, _) = self.lstm(x * self.scale)
        return output, hidden


class Eigenvalues(Base):
    """An operator that ONNX does not have."""

    def forward(self, x: Tensor) -> Tensor:
        values: Tensor = torch.linalg.eigvals(torch.diag_embed(x * self.scale))
        return values.real


class Complex(Base):
    """A type that Triton does not have."""

    def forward(self, x: Tensor) -> Tensor:
        spectrum: Tensor = torch.fft.rfft(x * self.scale)
        return spectrum


class Random(Base):
    """Answers differently each time."""

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + torch.rand(x.shape)


@torch.library.custom_op("export_tests::softsign", mutates_args=())
def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|), opaque to exporters."""
    return x / (1 + x.abs())


@softsign.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class CustomOp(Base):
    """A `torch.library` operator: dynamo needs its translation."""

    def forward(self, x: Tensor) -> Tensor:
        signed: Tensor = softsign(x * self.scale)
        return signed


def softsign_for_dynamo() -> dict[Any, Callable[..., Any]]:
    """In onnxscript."""
    from onnxscript import opset18 as op

    return {torch.ops.export_tests.softsign.default: op.Softsign}


def softsign_for_torchscript() -> dict[str, Callable[..., Any]]:
    """As `torch.onnx.register_custom_op_symbolic` takes it."""
    return {"export_tests::softsign": lambda g, x: g.op("Softsign", x)}


def not_a_table() -> int:
    """A mistake."""
    return 7


class Sign(torch.autograd.Function):
    """A function with a `symbolic` of its own; its forward decides by values."""

    @staticmethod
    def symbolic(g: Any, x: Any) -> Any:
        return g.op("Softsign", x)

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x / (1 + torch.tensor([abs(value) for value in x.flatten().tolist()]).reshape(x.shape))


class CustomFunction(Base):
    """Uses it."""

    def forward(self, x: Tensor) -> Tensor:
        signed: Tensor = Sign.apply(x * self.scale)  # type: ignore[no-untyped-call]
        return signed
