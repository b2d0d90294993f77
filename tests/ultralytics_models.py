"""Checkpoints of ultralytics with random weights that find something: class scores are spread, so that no two of them tie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.update(YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", YOLO_VERBOSE="false")

#: Input side of the models made here.
SIDE = 128


def save(name: str, folder: Path, *, ema: bool = False, names: tuple[str, ...] = ()) -> Path:
    """`NAME.pt` as ultralytics saves it; with `ema` a training checkpoint whose moving average differs from its model."""
    import torch
    from ultralytics import RTDETR, YOLO

    torch.manual_seed(0)
    yolo: Any = (RTDETR if name.startswith("rtdetr-") else YOLO)(f"{name}.yaml")
    spread(yolo.model)
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


def spread(model: Any) -> None:
    """Scale what makes class scores until they differ by several units."""
    import torch

    model.eval()
    convolutions = [branch[-1] for branch in _scores(model.model[-1])]
    for each in convolutions:
        torch.nn.init.zeros_(each.bias)
    seen: dict[Any, torch.Tensor] = {}
    hooks = [each.register_forward_hook(lambda layer, _, out: seen.__setitem__(layer, out)) for each in convolutions]
    with torch.no_grad():
        model(torch.rand(1, 3, SIDE, SIDE))
        for each in convolutions:
            if each in seen:
                each.weight.mul_(3 / seen[each].std())
                each.bias.sub_(seen[each].mean() * 3 / seen[each].std() + 3)
    for hook in hooks:
        hook.remove()


def _scores(layer: Any) -> list[Any]:
    branches = [getattr(layer, name, None) for name in ("cv3", "one2one_cv3")]
    return [branch for found in branches if found is not None for branch in found]
