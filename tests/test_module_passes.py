"""Passes over modules: what each matches, that answers stay, and what must not change."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from generator.errors import SurgeryError
from generator.flatten import Flat
from generator.frontends.state_dict import StateDict
from generator.module_passes import ModulePass
from generator.module_surgery import apply
from generator.plugin import family

KINDS: dict[str, Any] = dict(family("generator.module_passes"))


def seeded(module: nn.Module) -> nn.Module:
    """Normalisations that do something, in eval mode."""
    random = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is not None:
            assert part.running_var is not None
            part.running_mean.normal_(generator=random)
            part.running_var.uniform_(0.5, 2.0, generator=random)
            if part.affine:
                part.weight.data.uniform_(-1.0, 2.0, generator=random)
                part.bias.data.normal_(generator=random)
    return module.eval()


def norm(conv: nn.Module, channels: int, kind: type[nn.Module] = nn.BatchNorm2d) -> nn.Module:
    return nn.Sequential(conv, kind(channels))


class Repvgg(nn.Module):
    """The block of the paper: 3 x 3, 1 x 1 and identity, each normalised, under the names of its own code."""

    def __init__(self, inputs: int = 4, outputs: int = 4, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.rbr_dense = norm(nn.Conv2d(inputs, outputs, 3, stride, 1, groups=groups, bias=False), outputs)
        self.rbr_1x1 = norm(nn.Conv2d(inputs, outputs, 1, stride, 0, groups=groups, bias=False), outputs)
        self.rbr_identity = nn.BatchNorm2d(inputs) if inputs == outputs and stride == 1 else None
        self.nonlinearity = nn.ReLU()

    def forward(self, x: Tensor) -> Any:
        same = 0 if self.rbr_identity is None else self.rbr_identity(x)
        return self.nonlinearity(self.rbr_dense(x) + self.rbr_1x1(x) + same)


class Mobileone(nn.Module):
    """Several branches of the same size in a loop, dilated, the input itself among them."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList([norm(nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4), 4) for _ in range(3)])
        self.scale = norm(nn.Conv2d(4, 4, 1, groups=4, bias=False), 4)

    def forward(self, x: Tensor) -> Any:
        out = self.scale(x)
        for branch in self.branches:
            out = out + branch(x)
        return functional.relu(out + x)


class Plus(nn.Module):
    """The sum of parts of the input, and of what lies behind one of them."""

    def __init__(self, *parts: nn.Module, behind: nn.Module | None = None) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.behind = behind

    def forward(self, x: Tensor) -> Any:
        total: Any = sum(part(x) for part in self.parts)
        return total if self.behind is None else total + self.behind(torch.relu(x))


class Residual(nn.Module):
    """ResNet's: the way around passes an activation, so nothing can be merged."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Any:
        return self.two(torch.relu(self.one(x))) + x


class Focus(nn.Module):
    """YOLOv5's; YOLOX has the phases in the same order."""

    def __init__(self, conv: nn.Module, phases: str = "00 10 01 11", step: int = 2) -> None:
        super().__init__()
        self.conv, self.step = conv, step
        self.starts = [(int(pair[0]), int(pair[1])) for pair in phases.split()]

    def forward(self, x: Tensor) -> Any:
        return self.conv(torch.cat([x[..., h :: self.step, w :: self.step] for h, w in self.starts], 1))


class Undecided(nn.Module):
    """torch.fx cannot follow it: what it does depends on values."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Any:
        return self.parts(x) if bool(x.sum() > 0) else self.parts(-x)


class Shared(nn.Module):
    """One convolution for two inputs, each with its own normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Any:
        return self.one(self.conv(x)) + self.two(self.conv(-x))


class Read(nn.Module):
    """The convolution is read by another, too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Any:
        y = self.conv(x)
        return self.norm(y) * y


class ReadSum(nn.Module):
    """One of the branches is read by another, too: merging would compute it twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Any:
        y = self.conv(x)
        return (y + x) * y


class Standardised(nn.Conv2d):
    """Weights are made anew at each call."""

    def forward(self, input: Tensor) -> Any:
        return self._conv_forward(input, self.weight - self.weight.mean(), self.bias)


class Options(nn.Module):
    """Arguments with defaults, as OpenMMLab's ConvModule has them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor, normalise: bool = True) -> Any:
        x = self.conv(x)
        return self.norm(x) if normalise else x


class SwishFunction(torch.autograd.Function):
    """A hand-written backward, which no exporter can follow."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)


class MemoryEfficientSwish(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return SwishFunction.apply(x)  # type: ignore[no-untyped-call]


class Calls(nn.Module):
    """Functions instead of modules."""

    def forward(self, x: Tensor) -> Any:
        return functional.silu(x) + functional.hardswish(x, inplace=False) + functional.mish(x)


class ScaledSwish(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Any:
        return x * torch.sigmoid(self.beta * x)


class BatchNormAct2d(nn.BatchNorm2d):
    """As timm has it: with an activation inside, or none."""

    def __init__(self, channels: int, act: type[nn.Module] = nn.SiLU) -> None:
        super().__init__(channels)
        self.drop, self.act = nn.Identity(), act()

    def forward(self, input: Tensor) -> Any:
        return self.act(self.drop(super().forward(input)))


def bare_norm(channels: int) -> nn.Module:
    return BatchNormAct2d(channels, nn.Identity)


def hooked() -> nn.Module:
    conv: nn.Module = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3))
    return norm(conv, 4)


def listened() -> nn.Module:
    conv = nn.Conv2d(4, 4, 3)
    conv.register_forward_hook(lambda module, given, answer: answer * 2.0)
    return norm(conv, 4)


def in_training() -> nn.Module:
    module = norm(nn.Conv2d(4, 4, 3), 4)
    module[1].train()  # type: ignore[index]
    return module


IMAGE, ROW = (2, 4, 12, 8), (2, 4, 30)

#: kind, what, shape of the input, how many places are changed, how many modules of a class are left
ROWS: list[tuple[str, Callable[[], nn.Module], tuple[int, ...], int, tuple[type[nn.Module], int]]] = [
    ("fuse_conv_bn", lambda: norm(nn.Conv2d(4, 6, 3), 6), IMAGE, 1, (nn.BatchNorm2d, 0)),
    ("fuse_conv_bn", lambda: norm(nn.Conv2d(4, 6, 3, groups=2, bias=False, padding_mode="reflect", padding=1), 6), IMAGE, 1,
     (nn.BatchNorm2d, 0)),
    ("fuse_conv_bn", lambda: norm(nn.Conv1d(4, 6, 3), 6, nn.BatchNorm1d), ROW, 1, (nn.BatchNorm1d, 0)),
    ("fuse_conv_bn", lambda: norm(nn.Conv3d(4, 6, 3), 6, nn.BatchNorm3d), (2, 4, 5, 5, 5), 1, (nn.BatchNorm3d, 0)),
    ("fuse_conv_bn", lambda: norm(nn.ConvTranspose2d(4, 6, 3, 2), 6), IMAGE, 1, (nn.BatchNorm2d, 0)),
    ("fuse_conv_bn", lambda: norm(nn.ConvTranspose2d(4, 6, 3, 2, groups=2, bias=False), 6), IMAGE, 1, (nn.BatchNorm2d, 0)),
    ("fuse_conv_bn", lambda: norm(nn.Conv2d(4, 6, 3), 6, lambda n: nn.BatchNorm2d(n, affine=False)), IMAGE, 1,  # type: ignore[arg-type]
     (nn.BatchNorm2d, 0)),
    ("fuse_conv_bn", lambda: nn.Sequential(norm(nn.Conv2d(4, 4, 3), 4), nn.ReLU(), norm(nn.Conv2d(4, 4, 3), 4)), IMAGE, 2,
     (nn.BatchNorm2d, 0)),
    ("fuse_conv_bn", lambda: Undecided(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)), IMAGE, 1, (nn.BatchNorm2d, 0)),
    ("fuse_conv_bn", Options, IMAGE, 1, (nn.BatchNorm2d, 0)),
    ("fuse_conv_bn", lambda: norm(nn.Conv2d(4, 6, 3, bias=False), 6, BatchNormAct2d), IMAGE, 1, (nn.SiLU, 1)),
    ("reparameterize", Repvgg, IMAGE, 1, (nn.Conv2d, 1)),
    ("reparameterize", lambda: Repvgg(4, 8, 2), IMAGE, 1, (nn.Conv2d, 1)),
    ("reparameterize", lambda: Repvgg(groups=2), IMAGE, 1, (nn.BatchNorm2d, 0)),
    ("reparameterize", lambda: nn.Sequential(Repvgg(), nn.MaxPool2d(2), Repvgg(4, 8, 2)), IMAGE, 2, (nn.Conv2d, 2)),
    ("reparameterize", lambda: Undecided(Repvgg()), IMAGE, 1, (nn.Conv2d, 1)),
    ("reparameterize", Mobileone, IMAGE, 1, (nn.Conv2d, 1)),
    ("reparameterize", lambda: Plus(nn.Conv2d(4, 6, (5, 3), padding=(2, 1)), nn.Conv2d(4, 6, (1, 3), padding=(0, 1))), IMAGE, 1,
     (nn.Conv2d, 1)),
    ("reparameterize", lambda: Plus(nn.Conv2d(4, 6, 3, padding=2, dilation=2), nn.Conv2d(4, 6, 3, padding="same")), IMAGE, 1,
     (nn.Conv2d, 1)),
    ("reparameterize", lambda: Plus(nn.Conv1d(4, 4, 7, padding=3), nn.Conv1d(4, 4, 3, padding=1), nn.Identity()), ROW, 1,
     (nn.Conv1d, 1)),
    ("reparameterize", lambda: Plus(nn.Conv2d(4, 4, 3, padding=1), nn.Identity(), behind=nn.Conv2d(4, 4, 1)), IMAGE, 1,
     (nn.Conv2d, 2)),
    ("reparameterize", lambda: Plus(norm(nn.Conv2d(4, 4, 3, padding=1), 4, bare_norm), bare_norm(4)), IMAGE, 1,  # type: ignore[arg-type]
     (BatchNormAct2d, 0)),
    ("focus_to_conv", lambda: Focus(nn.Conv2d(16, 6, 3, padding=1)), IMAGE, 1, (nn.Conv2d, 1)),
    ("focus_to_conv", lambda: Focus(norm(nn.Conv2d(16, 6, 1, bias=False), 6), "00 01 10 11"), IMAGE, 1, (nn.BatchNorm2d, 1)),
    ("focus_to_conv", lambda: nn.Sequential(Focus(nn.Conv2d(16, 6, 3, stride=2, padding=1)), nn.ReLU()), IMAGE, 1, (Focus, 0)),
    ("export_activations", lambda: nn.Sequential(nn.SiLU(), nn.Hardswish(), nn.Mish()), IMAGE, 3, (nn.SiLU, 0)),
    ("export_activations", lambda: nn.Sequential(MemoryEfficientSwish(), nn.ReLU()), IMAGE, 1, (MemoryEfficientSwish, 0)),
    ("export_activations", lambda: nn.Sequential(nn.Conv2d(4, 4, 3), Calls()), IMAGE, 3, (nn.Conv2d, 1)),
    ("export_activations", lambda: Undecided(nn.SiLU()), IMAGE, 1, (nn.SiLU, 0)),
]  # fmt: skip

#: kind, what, shape of the input: nothing there may change
UNTOUCHED: list[tuple[str, Callable[[], nn.Module], tuple[int, ...]]] = [
    ("fuse_conv_bn", Shared, IMAGE),
    ("fuse_conv_bn", Read, IMAGE),
    ("fuse_conv_bn", lambda: norm(Standardised(4, 4, 3), 4), IMAGE),
    ("fuse_conv_bn", hooked, IMAGE),
    ("fuse_conv_bn", listened, IMAGE),
    ("fuse_conv_bn", lambda: nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)), IMAGE),
    ("fuse_conv_bn", lambda: nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)), IMAGE),
    ("fuse_conv_bn", lambda: norm(nn.Conv2d(4, 4, 3), 4, nn.InstanceNorm2d), IMAGE),
    ("fuse_conv_bn", lambda: norm(nn.Conv2d(4, 4, 3), 4, lambda n: nn.BatchNorm2d(n, track_running_stats=False)), IMAGE),  # type: ignore[arg-type]
    ("reparameterize", Residual, IMAGE),
    ("reparameterize", ReadSum, IMAGE),
    ("reparameterize", lambda: Plus(nn.Conv2d(4, 4, 3, padding=1), nn.MaxPool2d(3, 1, 1)), IMAGE),
    ("reparameterize", lambda: Plus(nn.BatchNorm2d(4), nn.Identity()), IMAGE),
    ("reparameterize", lambda: Plus(norm(nn.Conv2d(4, 4, 1), 4, BatchNormAct2d), BatchNormAct2d(4)), IMAGE),
    ("reparameterize", lambda: Plus(nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.Conv2d(4, 4, 1)), IMAGE),
    ("reparameterize", lambda: Plus(nn.Conv2d(4, 4, 2, stride=2), nn.Conv2d(4, 4, 1, stride=2)), IMAGE),
    ("reparameterize", lambda: Plus(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular", stride=1)),
     (2, 4, 3, 3)),
    ("focus_to_conv", lambda: Focus(nn.Conv2d(12, 6, 3), "00 10 01"), IMAGE),
    ("focus_to_conv", lambda: Focus(nn.Conv2d(16, 6, 3), step=4), (2, 4, 24, 24)),
    ("focus_to_conv", lambda: Focus(nn.Conv2d(16, 8, 3, groups=4)), IMAGE),
    ("focus_to_conv", lambda: Focus(nn.Conv2d(16, 8, 3, dilation=2)), (2, 4, 24, 24)),
    ("focus_to_conv", lambda: Focus(nn.Conv2d(16, 8, 3, padding=1, padding_mode="reflect")), IMAGE),
    ("focus_to_conv", lambda: Focus(nn.ReLU()), IMAGE),
    ("export_activations", lambda: nn.Sequential(nn.ReLU(), nn.GELU(), nn.Hardsigmoid(), ScaledSwish()), IMAGE),
]  # fmt: skip


def label(row: Any) -> str:
    return row if isinstance(row, str) else ""


def run(kind: str, module: nn.Module) -> tuple[nn.Module, list[str]]:
    each: ModulePass = KINDS[kind]()
    return each.run(module)


@pytest.mark.parametrize(("kind", "make", "shape", "places", "left"), ROWS, ids=label)
def test_a_pass_matches_and_keeps_answers(
    kind: str, make: Callable[[], nn.Module], shape: tuple[int, ...], places: int, left: tuple[type[nn.Module], int]
) -> None:
    torch.manual_seed(0)
    module = seeded(make()).double()
    x = torch.randn(shape, dtype=torch.float64)
    with torch.no_grad():
        before = module(x)
        changed, names = run(kind, copy.deepcopy(module))
        after = changed(x)
    assert len(names) == len(set(names)) == places
    assert sum(type(part) is left[0] for part in changed.modules()) == left[1]
    assert before.std() > 0.01
    torch.testing.assert_close(after, before, rtol=1e-11, atol=1e-12)
    assert run(kind, changed)[1] == [], "a second time there is nothing left"


@pytest.mark.parametrize(("kind", "make", "shape"), UNTOUCHED, ids=label)
def test_a_pass_leaves_alone_what_it_cannot_keep(kind: str, make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module, x = seeded(make()), torch.randn(shape)
    before, text = module(x), repr(module)
    changed, names = run(kind, module)
    assert names == []
    assert changed is module
    assert repr(changed) == text
    assert torch.equal(changed(x), before)


def test_a_norm_in_training_is_left_alone() -> None:
    assert run("fuse_conv_bn", in_training())[1] == []


def test_every_pass_has_its_rows() -> None:
    assert {row[0] for row in ROWS} == {row[0] for row in UNTOUCHED} == set(KINDS)


def test_a_convolution_that_another_holds_keeps_its_weights_there() -> None:
    conv = nn.Conv2d(4, 4, 3)
    weight = conv.weight.detach().clone()
    module = seeded(nn.ModuleDict({"one": norm(conv, 4), "two": norm(conv, 4)}))
    parts: list[Any] = list(module.children())
    expected = [part(torch.ones(1, 4, 5, 5)) for part in parts]
    assert len(run("fuse_conv_bn", module)[1]) == 2
    for part, before in zip(parts, expected, strict=True):
        torch.testing.assert_close(part(torch.ones(1, 4, 5, 5)), before)
    assert torch.equal(conv.weight, weight)


FEEDS = {"x": np.random.default_rng(0).normal(size=IMAGE).astype(np.float32)}


def flat(module: nn.Module) -> Flat:
    return Flat(module, ["x"])


def test_the_facts_say_how_many_and_how_near() -> None:
    module, facts = apply([KINDS["reparameterize"]()], seeded(nn.Sequential(Repvgg(), Repvgg())), flat, FEEDS)
    (said,) = facts.values()
    assert said.startswith("2 changed (0.reparameterized, 1.reparameterized), largest difference ")
    assert "e-1" in said.partition("largest difference")[2].partition("in float64")[0].rpartition(", ")[2]
    assert "BatchNorm" not in repr(module)


def test_a_pass_that_finds_nothing_says_what_it_looked_for_and_what_is_there() -> None:
    module = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)).eval()
    with pytest.raises(
        SurgeryError, match=r"focus_to_conv changed nothing: it looks for torch\.cat .*; the module has 2 Linear, 1"
    ):
        apply([KINDS["focus_to_conv"]()], module, flat, FEEDS)


class Slightly(ModulePass):
    """Almost right: float32 would not show it."""

    kind: Any = "slightly"

    def run(self, module: nn.Module) -> tuple[nn.Module, list[str]]:
        with torch.no_grad():
            module.weight.mul_(1.0 + 1e-7)  # type: ignore[operator]
        return module, ["weight"]


def test_a_formula_that_is_only_nearly_right_is_found_in_float64() -> None:
    with pytest.raises(SurgeryError, match=r"slightly changed output by .*, which it must not"):
        apply([Slightly()], nn.Conv2d(4, 4, 3).eval(), flat, FEEDS)


NET = """\
import torch
from torch import nn

class Focus(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(12, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.SiLU())

    def forward(self, x):
        return self.conv(torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1))

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.b = nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8))
        self.c = nn.BatchNorm2d(8)

    def forward(self, x):
        return nn.functional.hardswish(self.a(x) + self.b(x) + self.c(x))

def net():
    return nn.Sequential(Focus(), Block(), Block())
"""


def test_all_of_them_before_the_export(tmp_path: Path) -> None:
    """A detector's stem and two blocks: three convolutions are left, at another size than the example, too."""
    (tmp_path / "net.py").write_text(NET)
    scope: dict[str, Any] = {}
    exec(NET, scope)
    torch.save(seeded(scope["net"]()).state_dict(), tmp_path / "net.pt")
    said = {
        "weights": tmp_path / "net.pt", "factory": "net.py:net", "inputs": {"x": ["batch", 3, "height", 16]},
        "axes": {"height": {"min": 8, "max": 64, "multiple_of": 2, "example": 16}},
        "module_passes": [{"kind": kind} for kind in ("reparameterize", "fuse_conv_bn", "focus_to_conv", "export_activations")],
    }  # fmt: skip
    front = StateDict.model_validate(said, context={"base": tmp_path})
    facts = front.export(18, tmp_path / "m.onnx")
    assert [name.split()[1] for name in facts if "changed" in facts[name]] == [
        "reparameterize:", "fuse_conv_bn:", "focus_to_conv:", "export_activations:",
    ]  # fmt: skip
    made = onnx.load(tmp_path / "m.onnx")
    there = [node.op_type for node in made.graph.node]
    assert (there.count("Conv"), {"BatchNormalization", "Slice", "Concat"} & set(there)) == (3, set())
    from generator import graph

    feeds = {"x": np.random.default_rng(1).normal(size=(3, 3, 24, 16)).astype(np.float32)}
    np.testing.assert_allclose(
        graph.run(graph.session(tmp_path / "m.onnx"), feeds)["output"], front.answer(feeds)[0]["output"], rtol=1e-4, atol=1e-5
    )
