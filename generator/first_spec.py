"""The first spec of a checkpoint: what inspection knows is filled in, what it cannot know is marked, the rest is a comment."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from generator.errors import TritonRepoError
from generator.first_checkpoint import checkpoint, relative
from generator.heads import Head
from generator.inspection.report import SIZE, Report
from generator.picture import Picture
from generator.picture import read as read_picture
from generator.postprocessing import label_names
from generator.spec_text import CHECK, FirstSpec, counted, flow, remark

#: What a detector with that head is usually shown (docs/preprocessing.md).
_SHOWN = {
    "yolov2": "darknet", "yolov4": "darknet", "yolov5": "yolov5", "yolov8": "ultralytics", "yolov10": "ultralytics",
    "yolox": "yolox", "nanodet": "nanodet", "detr": "rt_detr", "ssd": "torchvision_ssd", "retinanet": "letterbox",
    "fcos": "letterbox", "centernet": "stretch",
}  # fmt: skip
#: Classes that `classification` answers unless told otherwise.
_TOP = 5
#: Bytes; a longer text beside a checkpoint is no list of labels.
_LONGEST_LIST = 1 << 20


def model_name(path: Path) -> str:
    """A name for the served model, from the file's."""
    stem = path.resolve().name if path.is_dir() else path.name.split(".")[0]
    return re.sub(r"[^A-Za-z0-9_]+", "_", stem).strip("_") or "model"


def write(found: Report, name: str, folder: Path) -> FirstSpec:
    """The spec of `found`, served as `name`, to be written into `folder`, which relative paths start from."""
    spec = FirstSpec()
    spec.say(f"# {remark(found.path.name)}: {remark(found.kind.phrase)}. Written by `triton-repo init`.")
    waiting = len(spec.lines)
    spec.say(f"name: {name}")
    checkpoint(spec, found, folder)
    _ends(spec, found)
    picture = read_picture(found.ends[0])
    if _detector(found, picture):
        _detections(spec, found, picture, name, folder)
    elif _classifier(found, picture):
        _classes(spec, found, name, folder)
    else:
        spec.say("# Served bare: tensors in, tensors out. For encoded pictures in, add `preprocess:` and `postprocess:`")
        spec.say("# (docs/preprocessing.md); for a detector `head:` and `nms:` too (docs/heads.md).")
        if found.named_head:
            spec.say(f"# By the names of its weights the head is {remark(str(found.named_head))}.")
    _serving(spec, found)
    if spec.open:
        spec.lines.insert(waiting, f"# To complete before it builds, marked FILL IN: {counted(len(spec.open), 'line')}.")
    return spec


def _ends(spec: FirstSpec, found: Report) -> None:
    for word, tensors in (("takes", found.inputs), ("gives", found.outputs)):
        if tensors:
            spec.say(f"# It {word} {remark(', '.join(map(str, tensors)))}")
    taken, given = found.ends
    old = (*found.inputs, *found.outputs)
    changed = [new for new, before in zip((*taken, *given), old, strict=True) if new != before]
    batch = any(not tensor.batched for tensor in old)
    if changed and found.kind.kind == "onnx" and (batch or found.heads):
        why = (
            "It was exported for a batch of one; this frees the batch"
            if batch
            else "The file leaves sizes open that follow from others"
        )
        spec.say(f"# {why}.")
        spec.say("surgery:")
        said = {t.name: ["batch", *(d if d > 0 else f"free_{i}" for i, d in enumerate(t.shape))] for t in changed}
        spec.say(f"- {{kind: set_shape, shapes: {flow(said)}}}", 1)


def _detector(found: Report, picture: Picture | None) -> bool:
    if found.heads:
        return picture is not None
    if found.library_model:
        return _shown_by_torchvision(found) != ""
    return found.named_head is not None and (found.kind.kind != "onnx" or picture is not None)


def _shown_by_torchvision(found: Report) -> str:
    """What torchvision's detectors are shown; "" for other models."""
    model = found.library_model
    if model is None or model.library != "torchvision" or not re.match(r"(fasterrcnn|retinanet|fcos|ssd|ssdlite)", model.name):
        return ""
    presets = {"ssd300_vgg16": "torchvision_ssd", "ssdlite320_mobilenet_v3_large": "torchvision_ssdlite"}
    return presets.get(model.name, "torchvision_detection")


def _classifier(found: Report, picture: Picture | None) -> bool:
    model = found.library_model
    if model:
        return bool(model.classes) and not re.match(
            r"(deeplab|fcn|lraspp|maskrcnn|keypointrcnn|raft|mc3|r3d|r2plus|s3d|mvit_v|swin3d)", model.name
        )
    _, given = found.ends
    return picture is not None and len(given) == 1 and len(given[0].shape) == 1 and 1 < given[0].shape[0] <= 100_000


def _detections(spec: FirstSpec, found: Report, picture: Picture | None, name: str, folder: Path) -> None:
    stated = found.interface is not None and found.interface.head is not None
    head = found.heads[0] if found.heads else None
    kind = head.kind if head else found.named_head.kind if found.named_head else ""
    if head and not stated:
        _head(spec, found.heads)
    elif (
        not head
        and not found.library_model
        and found.kind.kind in ("state_dict", "safetensors", "torchscript", "torch_export", "pickled")
    ):
        classes = found.named_head.classes if found.named_head else 0
        spec.say(f"# its weights are those of {remark(str(found.named_head))}; docs/heads.md lists what each head takes")
        spec.say(f"head: {{kind: {kind}, classes: {classes or 80}}} {CHECK} kind, classes and activation")
    needs = head.needs_nms if head else kind not in ("detr", "yolov10", "centernet")
    spec.say("nms:")
    spec.say(f"kind: {'onnx' if needs else 'none'}", 1)
    spec.say("score_threshold: 0.25", 1)
    if needs:
        spec.say("iou_threshold: 0.45", 1)
    spec.say("max_detections: 100", 1)
    shown = _shown_by_torchvision(found) or _SHOWN.get(kind, "letterbox")
    _preprocess(spec, found, shown, "docs/preprocessing.md says which libraries show their models what")
    if picture is not None and min(picture.size) < 1 and "size" not in found.preprocessing:
        spec.say(f"size: [{SIZE}, {SIZE}] {CHECK} the size of its training", 1)
    spec.say("postprocess:")
    spec.say("kind: detections", 1)
    counts = head.classes if head else found.named_head.classes if found.named_head and not found.library_model else 0
    _labels(spec, found, name, folder, counts)


def _preprocess(spec: FirstSpec, found: Report, kind: str, check: str) -> None:
    """As the checkpoint says, else a guess."""
    if found.preprocessing:
        spec.say("# as the checkpoint says")
        spec.block("preprocess", found.preprocessing)
    else:
        spec.say("preprocess:")
        spec.say(f"kind: {kind} {CHECK} {check}", 1)
    if not found.ends[0] and "size" not in found.preprocessing and found.library_model is None:
        spec.say(f"# size: [{SIZE}, {SIZE}]  # height and width, where the model leaves them free", 1)


def _head(spec: FirstSpec, heads: tuple[Head, ...]) -> None:
    from generator.recognise import line

    if len(heads) > 1:
        spec.say(f"# {len(heads)} heads take these outputs, and shapes cannot tell them apart: docs/heads.md")
    spec.say(line(heads[0]) + (f" {CHECK} or one of those below" if len(heads) > 1 else ""))
    for other in heads[1:]:
        spec.say(f"# {line(other)}")


def _classes(spec: FirstSpec, found: Report, name: str, folder: Path) -> None:
    model, given = found.library_model, found.ends[1]
    classes = given[0].shape[0] if given else model.classes if model else 0
    kind = "timm" if model and model.library == "timm" else "torchvision_classification"
    _preprocess(spec, found, kind, "size, mean and std of its training (docs/preprocessing.md)")
    spec.say("postprocess:")
    spec.say("kind: classification", 1)
    if 0 < classes < _TOP:
        spec.say(f"top_k: {classes}", 1)
    _labels(spec, found, name, folder, classes)


def _labels(spec: FirstSpec, found: Report, name: str, folder: Path, classes: int) -> None:
    """A list of as many names beside the file is taken as it is; names inside the checkpoint go into a file of their own."""
    beside = [path for path, count in label_files(found.path) if count == classes]
    if len(beside) == 1:
        spec.say(f"labels: {flow(relative(beside[0], folder))}", 1)
    elif _fit_a_file(found.labels) and len(found.labels) == (classes or len(found.labels)):
        spec.labels = found.labels
        spec.say(f"labels: {name}.labels.txt", 1)
    else:
        spec.say("# labels: labels.txt  # the names of the classes, one a line", 1)


def label_files(path: Path) -> list[tuple[Path, int]]:
    """Lists of labels beside a checkpoint, with how many they have."""
    found = []
    for pattern in ("*.names", "*labels*.txt", "*classes*.txt"):
        for each in sorted(path.parent.glob(pattern)):
            if each.is_file() and each.stat().st_size < _LONGEST_LIST:
                with contextlib.suppress(TritonRepoError, OSError):
                    found.append((each, len(label_names(each))))
    return found


def _fit_a_file(labels: tuple[str, ...]) -> bool:
    return bool(labels) and all(label.strip() == label and label.isprintable() and label for label in labels)


def _serving(spec: FirstSpec, found: Report) -> None:
    known = bool(found.inputs and found.outputs)
    taken, given = found.ends
    if not known or all(tensor.batched for tensor in (*taken, *given)):
        spec.block("serving", {"max_batch_size": 8, "dynamic_batching": True})
    else:
        spec.say("# The first axis is no batch, so requests are not joined.")
    spec.say("# verify:")
    spec.say("#   images: [photo.jpg]  # pictures for `triton-repo verify`, from the checkpoint's own answers to the served ones")
