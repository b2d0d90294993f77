"""weights/yolov4-tiny/yolov4-tiny.weights -> yolov4-tiny.pt, a plain state dict for examples/yolov4_tiny.py."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from generator.darknet_module import Network

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples"))


def convert(folder: Path, target: Path) -> None:
    """Both modules register their tensors in Darknet's order, so the n-th of one is the n-th of the other."""
    from yolov4_tiny import YoloV4Tiny

    trained = Network(folder / "yolov4-tiny.cfg")
    trained.load_darknet(folder / "yolov4-tiny.weights")
    names = list(YoloV4Tiny().state_dict())
    torch.save(dict(zip(names, trained.state_dict().values(), strict=True)), target)


if __name__ == "__main__":
    convert(ROOT / "weights" / "yolov4-tiny", ROOT / "weights" / "yolov4-tiny" / "yolov4-tiny.pt")
