"""Train a small RT-DETR on the photos in `weights/`: the detector without NMS, as no package carries a trained one.

    python scripts/train_detr.py [weights] [--steps 1600]

Needs `transformers` and `scipy` beside torch and Pillow (an environment of your own; the project's has no transformers),
and about eight minutes of one core. Writes `weights/rtdetr-photos/`: `model.safetensors` with `config.json`, as transformers
reads and writes them, `rtdetr.onnx`, and `labels.txt`.

It sees random views of five photos, with hand-drawn boxes, and mosaics of four such views. It knows those people, that
bus, that cat and that cup and nothing else: good for proving that a graph gives the boxes of the model's own
post-processing, no measure of RT-DETR. The seed is fixed; other versions of torch or another processor may still round
differently and end at slightly different weights, so no digest is promised. Licence of the architecture's code
(transformers): Apache-2.0.
"""

from __future__ import annotations

import argparse
import importlib
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LABELS = ("person", "bus", "cat", "cup")
SIZE = 160
"""Height and width of the input in pixels. A photo is stretched to it, as RT-DETR's own preprocessing does."""
SEED = 20240607

Box = tuple[float, float, float, float]

#: Photo -> (class, box as left, top, right, bottom in the photo's pixels), drawn by hand.
PHOTOS: dict[str, list[tuple[str, Box]]] = {
    "photos/astronaut.png": [("person", (22, 10, 365, 512))],
    "photos/chelsea.png": [("cat", (0, 0, 370, 300))],
    "photos/coffee.png": [("cup", (165, 16, 415, 310))],
    "yolov4-tiny/bus.jpg": [
        ("bus", (10, 228, 805, 755)),
        ("person", (49, 399, 245, 902)),
        ("person", (670, 392, 810, 878)),
        ("person", (221, 405, 345, 857)),
        ("person", (0, 550, 63, 873)),
    ],
    "yolov4-tiny/zidane.jpg": [("person", (123, 197, 1111, 712)), ("person", (747, 41, 1142, 712))],
}


@dataclass(frozen=True)
class View:
    """A picture of some size and its objects: class index and box as left, top, right, bottom in 0..1 of the picture."""

    image: Any
    objects: list[tuple[int, Box]]


def main(arguments: list[str] | None = None) -> int:
    """0 when the model is written."""
    parser = argparse.ArgumentParser(description="Train the small RT-DETR.")
    parser.add_argument("weights", nargs="?", type=Path, default=ROOT / "weights")
    parser.add_argument("--steps", type=int, default=1600)
    options = parser.parse_args(arguments)
    import torch

    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # quicker than two for layers this small, and sums are always taken in the same order
    model = untrained()
    train(model, read_photos(options.weights), options.steps)
    write(model.eval(), options.weights / "rtdetr-photos")
    return 0


def untrained() -> Any:
    """RT-DETR with a backbone of a million parameters, 30 queries and 2 decoder layers."""
    library = importlib.import_module("transformers")  # not a package of the project's own environment
    backbone = library.RTDetrResNetConfig(
        embedding_size=24,
        hidden_sizes=[24, 48, 96, 128],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = library.RTDetrConfig(
        backbone_config=backbone,
        freeze_backbone_batch_norms=False,
        encoder_in_channels=[48, 96, 128],
        encoder_hidden_dim=64,
        encoder_ffn_dim=128,
        encoder_attention_heads=4,
        d_model=64,
        decoder_in_channels=[64, 64, 64],
        decoder_ffn_dim=128,
        decoder_attention_heads=4,
        decoder_layers=2,
        num_queries=30,
        num_denoising=20,
        dropout=0.0,
        id2label=dict(enumerate(LABELS)),
        label2id={name: index for index, name in enumerate(LABELS)},
    )
    return library.RTDetrForObjectDetection(config)


def read_photos(weights: Path) -> list[View]:
    """The photos, at most 640 pixels wide or high: cropping is quick then, and nothing finer survives SIZE pixels."""
    from PIL import Image

    views = []
    for name, objects in PHOTOS.items():
        with Image.open(weights / name) as file:
            image = file.convert("RGB")
        width, height = image.size
        image.thumbnail((640, 640))
        scale = (width, height, width, height)
        views.append(View(image, [(LABELS.index(label), _divided(box, scale)) for label, box in objects]))
    return views


def _divided(box: Box, by: Box) -> Box:
    return (box[0] / by[0], box[1] / by[1], box[2] / by[2], box[3] / by[3])


def train(model: Any, photos: list[View], steps: int, batch: int = 8) -> None:
    """AdamW with a short warm-up and a cosine to zero; prints the loss every hundred steps."""
    import torch

    choose = random.Random(SEED)  # noqa: S311 -- training data, no secret
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-4, weight_decay=1e-4)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    model.train()
    started, total = time.monotonic(), 0.0
    for step in range(1, steps + 1):
        views = [drawn(choose, photos) for _ in range(batch)]
        loss = model(pixel_values=pixels([view.image for view in views]), labels=[_target(view) for view in views]).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rate.step()
        total += float(loss.detach())
        if step % 100 == 0:
            print(f"[detr] step {step}/{steps}, loss {total / 100:.3f}, {time.monotonic() - started:.0f} s", flush=True)
            total = 0.0


def drawn(choose: random.Random, photos: list[View]) -> View:
    """A whole photo, a part of one, or a mosaic of four of those; mirrored and re-lit at random."""
    view = _mosaic(choose, photos) if choose.random() < 0.15 else _part(choose, _photo(choose, photos), (SIZE, SIZE))
    if choose.random() < 0.5:
        view = _mirrored(view)
    return View(_relit(choose, view.image), view.objects)


def _photo(choose: random.Random, photos: list[View]) -> View:
    """One of them; the more objects, the more often."""
    return choose.choices(photos, weights=[1 + len(photo.objects) for photo in photos])[0]


def _part(choose: random.Random, view: View, size: tuple[int, int]) -> View:
    """A part of at least 60 % of each side (the whole in one of two cases), stretched to `size` (width, height)."""
    whole = choose.random() < 0.5
    wide, high = (1.0, 1.0) if whole else (choose.uniform(0.6, 1.0), choose.uniform(0.6, 1.0))
    left, top = choose.uniform(0, 1 - wide), choose.uniform(0, 1 - high)
    width, height = view.image.size
    area = (left * width, top * height, (left + wide) * width, (top + high) * height)
    image = view.image.resize(size, resample=2, box=area)  # 2: bilinear
    return View(image, _seen(view.objects, (left, top, left + wide, top + high)))


def _seen(objects: list[tuple[int, Box]], area: Box) -> list[tuple[int, Box]]:
    """What of the objects lies in the area, in its 0..1; an object of which less than a third is left is dropped."""
    left, top, right, bottom = area
    wide, high = right - left, bottom - top
    kept = []
    for label, box in objects:
        cut = (max(box[0], left), max(box[1], top), min(box[2], right), min(box[3], bottom))
        if cut[2] > cut[0] and cut[3] > cut[1] and _area(cut) > _area(box) / 3:
            moved = (cut[0] - left, cut[1] - top, cut[2] - left, cut[3] - top)
            kept.append((label, _divided(moved, (wide, high, wide, high))))
    return kept


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _mosaic(choose: random.Random, photos: list[View]) -> View:
    """Four parts around a point near the middle."""
    from PIL import Image

    x, y = choose.randint(SIZE * 3 // 8, SIZE * 5 // 8), choose.randint(SIZE * 3 // 8, SIZE * 5 // 8)
    image, objects = Image.new("RGB", (SIZE, SIZE)), []
    for left, top, right, bottom in ((0, 0, x, y), (x, 0, SIZE, y), (0, y, x, SIZE), (x, y, SIZE, SIZE)):
        part = _part(choose, _photo(choose, photos), (right - left, bottom - top))
        image.paste(part.image, (left, top))
        objects += [(label, _placed(box, (left, top, right, bottom))) for label, box in part.objects]
    return View(image, objects)


def _placed(box: Box, tile: tuple[int, int, int, int]) -> Box:
    left, top, right, bottom = (edge / SIZE for edge in tile)
    wide, high = right - left, bottom - top
    return (left + box[0] * wide, top + box[1] * high, left + box[2] * wide, top + box[3] * high)


def _mirrored(view: View) -> View:
    objects = [(label, (1 - right, top, 1 - left, bottom)) for label, (left, top, right, bottom) in view.objects]
    return View(view.image.transpose(0), objects)  # 0: left becomes right


def _relit(choose: random.Random, image: Any) -> Any:
    from PIL import ImageEnhance

    for kind in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = kind(image).enhance(choose.uniform(0.75, 1.25))
    return image


def pixels(images: list[Any]) -> Any:
    """RGB pictures of SIZE x SIZE as float32 [B, 3, SIZE, SIZE] in 0..1, as RT-DETR's preprocessing leaves them."""
    import numpy as np
    import torch

    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2).float() / 255


def _target(view: View) -> dict[str, Any]:
    """The objects as transformers' loss wants them: boxes as centre and size in 0..1."""
    import torch

    corners = torch.tensor([box for _, box in view.objects]).reshape(-1, 4)
    boxes = torch.cat([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1)
    return {"class_labels": torch.tensor([label for label, _ in view.objects], dtype=torch.long), "boxes": boxes}


def write(model: Any, folder: Path) -> None:
    """The checkpoint, the ONNX graph with raw `logits` [B, 30, 4] and `pred_boxes` [B, 30, 4], and the labels."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    export(model, folder / "rtdetr.onnx")
    print(f"[detr] written: {folder}", flush=True)


def export(model: Any, path: Path) -> None:
    """Input `pixel_values` [B, 3, SIZE, SIZE]; the boxes are centre and size in 0..1, the logits want a sigmoid."""
    import torch

    class Raw(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixel_values: torch.Tensor) -> tuple[Any, Any]:
            found = self.model(pixel_values=pixel_values)
            return found.logits, found.pred_boxes

    torch.onnx.export(
        Raw().eval(),
        (torch.zeros(2, 3, SIZE, SIZE),),
        str(path),
        input_names=["pixel_values"],
        output_names=["logits", "pred_boxes"],
        dynamic_axes={name: {0: "batch"} for name in ("pixel_values", "logits", "pred_boxes")},
        opset_version=17,
        dynamo=False,
    )


if __name__ == "__main__":
    raise SystemExit(main())
