"""A detector of a few thousand weights in Darknet's format, with its spec: builds in seconds, and goes through every step."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from PIL import Image

CFG = """\
[net]
width=64
height=64
channels=3

[convolutional]
batch_normalize=1
filters=8
size=3
stride=8
pad=1
activation=leaky

[convolutional]
filters=14
size=1
stride=1
activation=linear

[yolo]
mask=0,1
anchors=10,14, 23,27
classes=2
num=2
scale_x_y=1.05
"""

SPEC = """\
name: tiny
checkpoint:
  kind: darknet
  cfg: tiny.cfg
  weights: tiny.weights
nms:
  kind: onnx
  score_threshold: 0.2
  max_detections: 20
preprocess:
  kind: letterbox
postprocess:
  kind: detections
  labels: labels.txt
serving:
  max_batch_size: 4
verify:
  images: [wide.png, tall.jpg]
"""


def write(folder: Path, seed: int, name: str = "tiny") -> Path:
    """cfg, weights, labels, two pictures and the spec; returns the spec's path. `seed` decides the weights, and so the keys."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.cfg").write_text(CFG)
    norm = [random.normal(0, 0.1, 8), random.uniform(0.5, 1.5, 8), random.normal(0, 0.1, 8), random.uniform(0.5, 1.5, 8)]
    floats = np.concatenate([*norm, random.normal(0, 0.3, 8 * 27), random.normal(0, 0.5, 14), random.normal(0, 1, 14 * 8)])
    (folder / "tiny.weights").write_bytes(struct.pack("<iiiq", 0, 2, 5, 0) + floats.astype("<f4").tobytes())
    (folder / "labels.txt").write_text("cat\ndog\n")
    Image.fromarray(random.integers(0, 255, (60, 100, 3), np.uint8)).save(folder / "wide.png")
    Image.fromarray(random.integers(0, 255, (90, 50, 3), np.uint8)).save(folder / "tall.jpg")
    path = folder / f"{name}.yaml"
    path.write_text(SPEC.replace("name: tiny", f"name: {name}"))
    return path
