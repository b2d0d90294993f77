"""Folders, by the files in them."""

from __future__ import annotations

import json

from generator.file_kind import FileKind, Opened

ORDER = 0

#: A file in the folder, and what the folder then is.
_HOLDS: tuple[tuple[str, FileKind], ...] = (
    ("saved_model.pb", FileKind("a TensorFlow SavedModel", "tensorflow")),
    ("config.pbtxt", FileKind("a model folder of a Triton repository", remedy="say `folder:` in the spec: docs/folders.md")),
    ("model_index.json", FileKind("a diffusers pipeline", remedy="export its models one by one")),
    ("MLmodel", FileKind("an MLflow model", remedy="name the model file in its `data` or `artifacts` folder")),
    ("Manifest.json", FileKind("a Core ML package", remedy="use the model that it was converted from")),
    ("adapter_config.json", FileKind("a LoRA adapter without its model", remedy="merge it into the model, and save that")),
    ("config.json", FileKind("a folder with a config.json")),
)
_PADDLE = (".pdmodel", ".pdiparams")


def tell(opened: Opened) -> FileKind | None:
    """By what lies in the folder; transformers and timm by what config.json says."""
    if not opened.entries:
        return FileKind("an empty folder", remedy="name the checkpoint") if opened.path.is_dir() else None
    for name, kind in _HOLDS:
        if name in opened.entries:
            return _config(opened) if name == "config.json" else kind
    if any(name.endswith(_PADDLE) for name in opened.entries):
        return FileKind("a folder with a PaddlePaddle inference model", "paddle", field="model: its .json or .pdmodel")
    if any(name.endswith(".xml") for name in opened.entries) and any(name.endswith(".bin") for name in opened.entries):
        return FileKind("an OpenVINO IR", remedy="use the model that it was converted from")
    return None


def _config(opened: Opened) -> FileKind:
    try:
        with (opened.path / "config.json").open("rb") as file:
            said = json.loads(file.read(1 << 22))
    except (OSError, ValueError, RecursionError):
        return FileKind("a folder whose config.json is no JSON", remedy="fetch it again")
    if isinstance(said, dict) and "architecture" in said and "pretrained_cfg" in said:
        return FileKind("a timm model's folder", "timm")
    if isinstance(said, dict) and ("model_type" in said or "architectures" in said):
        return FileKind("a transformers folder", "transformers")
    return FileKind("a folder with a config.json of an unknown library")
