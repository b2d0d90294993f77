"""Checkpoints of ultralytics with random weights that find something: class scores are spread, so that no two of them tie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

os.environ.update(YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", YOLO_VERBOSE="false")

#: Input side of the models made here.
SIDE = 128


def save(name: str, folder: Path, *, ema: bool = False, names: tuple[str, ...] = (), pictures: Any = None) -> Path:
    """`NAME.pt` as ultralytics saves it; with `ema` a training checkpoint whose moving average differs from its model."""
    import torch

    ultralytics = pytest.importorskip("ultralytics")
    torch.manual_seed(0)
    yolo: Any = (ultralytics.RTDETR if name.startswith("rtdetr-") else ultralytics.YOLO)(f"{name}.yaml")
    if not name.startswith("rtdetr-"):
        spread(yolo.model, pictures)
    if names:
        yolo.model.names = dict(enumerate(names))
    yolo.model.args = {**yolo.overrides, "imgsz": SIDE}
    path = folder / f"{name}.pt"
    yolo.save(path)
    if ema:
        saved = torch.load(path, weights_only=False)
        again: Any = torch.load(path, weights_only=False)["model"]
        for tensor in again.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(0.5)
        torch.save({**saved, "ema": saved["model"], "model": again}, path)
    return path


def spread(model: Any, pictures: Any = None) -> None:
    """Calibrate batch normalisation on pictures (noise by default), so that features neither vanish nor explode.

    What makes class scores is scaled, so that they differ.
    """
    import torch

    pictures = torch.rand(16, 3, SIDE, SIDE) if pictures is None else pictures
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    convolutions = [branch[-1] for branch in _scores(model.model[-1])]
    for each in convolutions:
        torch.nn.init.normal_(each.weight)
        torch.nn.init.zeros_(each.bias)
    seen: dict[Any, torch.Tensor] = {}
    hooks = [each.register_forward_hook(lambda layer, _, out: seen.__setitem__(layer, out)) for each in convolutions]
    with torch.no_grad():
        model.train().predict(pictures)
        model.eval().predict(pictures)
        for each in convolutions:
            middle = seen[each].mean()
            scale = 2 / (seen[each] - middle).abs().max()
            each.weight.mul_(scale)
            each.bias.sub_(middle * scale + 2)
    for hook in hooks:
        hook.remove()


def _scores(layer: Any) -> list[Any]:
    branches = [getattr(layer, name, None) for name in ("cv3", "one2one_cv3")]
    return [branch for found in branches if found is not None for branch in found]
