"""Passes over modules, on blocks as the libraries have them and against the libraries' own way to merge them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from generator.plugin import family


def seeded(module: nn.Module) -> Any:
    """Normalisations that do something, in eval mode and float64."""
    random = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is not None:
            assert part.running_var is not None
            part.running_mean.normal_(std=0.1, generator=random)
            part.running_var.uniform_(0.5, 2.0, generator=random)
    return module.eval().double()


def run(kinds: tuple[str, ...], module: nn.Module) -> tuple[Any, int]:
    changed = 0
    for kind in kinds:
        each: Any = family("generator.module_passes")[kind]()
        module, names = each.run(module)
        assert names, f"{kind} found nothing"
        changed += len(names)
    return module, changed


def count(module: nn.Module, *kinds: type[nn.Module]) -> int:
    return sum(isinstance(part, kinds) for part in module.modules())


#: model, passes, places; the batch normalisations that are left
TIMM = [
    ("repvgg_a0", ("reparameterize",), 39, 0),
    ("mobileone_s0", ("reparameterize",), 78, 0),
    ("repvit_m0_9", ("reparameterize", "fuse_conv_bn"), 106, 0),
    ("efficientnet_b0", ("fuse_conv_bn", "export_activations"), 98, 0),
    ("tf_efficientnet_lite0", ("fuse_conv_bn",), 49, 0),
    ("mobilenetv3_small_100", ("fuse_conv_bn", "export_activations"), 53, 0),
    ("resnet18", ("fuse_conv_bn",), 20, 0),
]


@pytest.mark.full
@pytest.mark.parametrize(("name", "kinds", "places", "left"), TIMM, ids=lambda row: row if isinstance(row, str) else "")
def test_models_of_timm(name: str, kinds: tuple[str, ...], places: int, left: int) -> None:
    timm = pytest.importorskip("timm", exc_type=ImportError)
    torch.manual_seed(0)
    module, x = seeded(timm.create_model(name)), torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        before = module(x)
        if kinds == ("reparameterize",):
            theirs = timm.utils.reparameterize_model(copy.deepcopy(module))
            torch.testing.assert_close(theirs(x), before, rtol=1e-4, atol=1e-6)
        changed, found = run(kinds, module)
        assert found == places
        assert count(changed, nn.BatchNorm2d) == left
        assert before.abs().max() > 1e-3
        torch.testing.assert_close(changed(x), before, rtol=1e-9, atol=1e-12)
    if kinds == ("reparameterize",):
        assert count(changed, nn.Conv2d) == count(theirs, nn.Conv2d)


def test_blocks_of_ultralytics() -> None:
    """RepConv of YOLOv6 to v9, RepVGGDW of YOLOv10, Focus of YOLOv5, and the common Conv."""
    conv = pytest.importorskip("ultralytics.nn.modules.conv", exc_type=ImportError)
    block = pytest.importorskip("ultralytics.nn.modules.block", exc_type=ImportError)
    x = torch.randn(2, 8, 16, 16, dtype=torch.float64)
    rows: list[tuple[Any, str, str]] = [
        (lambda: conv.RepConv(8, 8, bn=True), "reparameterize", "fuse_convs"),
        (lambda: conv.RepConv(8, 8), "reparameterize", "fuse_convs"),
        (lambda: block.RepVGGDW(8), "reparameterize", ""),
        (lambda: conv.Focus(8, 12, 3), "focus_to_conv", ""),
        (lambda: conv.Focus(8, 12, 1), "focus_to_conv", ""),
        (lambda: conv.Conv(8, 4, 3), "fuse_conv_bn", ""),
        (lambda: conv.Conv(8, 4, 3), "export_activations", ""),
    ]
    for make, kind, fuse in rows:
        module = seeded(make())
        with torch.no_grad():
            before = module(x)
            if fuse:
                theirs = copy.deepcopy(module)
                getattr(theirs, fuse)()
                torch.testing.assert_close(theirs.forward_fuse(x), before, rtol=1e-4, atol=1e-5)
            changed, found = run((kind,), module)
            assert found == 1
            torch.testing.assert_close(changed(x), before, rtol=1e-9, atol=1e-12)
