"""Formats that are text: configurations, model dumps, and what a failed download leaves."""

from __future__ import annotations

import re

from generator.file_kind import FileKind, Opened

ORDER = 20

_AGAIN = "fetch the file itself again"

#: What the text begins with (blanks passed over, small letters) and what that is.
_STARTS: tuple[tuple[str, FileKind], ...] = (
    (
        r"version https://git-lfs\.github\.com/spec/",
        FileKind("a Git LFS pointer, not the file it points to", remedy="run `git lfs pull` where it was cloned"),
    ),
    (r"(<!--.*?-->\s*)?<!doctype html|<html", FileKind("an HTML page, such as a download's error page", remedy=_AGAIN)),
    (r"(<\?xml[^>]*>\s*)?<error>", FileKind("an XML error message of a download", remedy=_AGAIN)),
    (r"(<\?xml[^>]*>\s*)?<net [^>]*name=", FileKind("an OpenVINO IR", remedy="use the model that it was converted from")),
    (r"(<\?xml[^>]*>\s*)?<pmml", FileKind("a PMML model", remedy="use the estimator that it was made from")),
    (r"(#[^\n]*\n\s*)*\[net(work)?\]", FileKind("a Darknet cfg", "darknet")),
    (r"tree\nversion=v\d", FileKind("a LightGBM model", "lightgbm")),
    (r"7767517\n", FileKind("an ncnn model", remedy="use the model that it was converted from")),
    (r"#!|import |from \w+ import|def |\"\"\"", FileKind("a program", remedy="name the checkpoint")),
)
#: A name near the beginning of a JSON text, and what that is; the first that is there counts.
_JSON: tuple[tuple[str, FileKind], ...] = (
    (r'"learner"\s*:', FileKind("an XGBoost model", "xgboost")),
    (r'"magic"\s*:\s*"pir"', FileKind("a PaddlePaddle inference model", "paddle")),
    (
        r'"weight_map"\s*:',
        FileKind("the index of a checkpoint in several files", "transformers", field="folder: the folder it lies in"),
    ),
    (
        r'"model_type"\s*:|"architectures"\s*:',
        FileKind("the config of a transformers model", "transformers", field="folder: the folder it lies in"),
    ),
    (r'"modeltopology"\s*:', FileKind("a TensorFlow.js model", remedy="use the model that it was converted from")),
    (r'"oblivious_trees"\s*:', FileKind("a CatBoost model", remedy='save it as ONNX: save_model("model.onnx", format="onnx")')),
    (r'"(error|message)"\s*:', FileKind("a JSON error message of a download", remedy=_AGAIN)),
)


def tell(opened: Opened) -> FileKind | None:
    """By the beginning of the text."""
    if opened.head.startswith(b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner"):
        return FileKind("an XGBoost model", "xgboost")
    head = opened.head[:8192].removeprefix(b"\xef\xbb\xbf")
    if b"\x00" in head:
        return None
    text = head.decode("utf-8", "replace").lstrip().lower().replace("\r\n", "\n")
    for pattern, kind in _STARTS:
        if re.match(pattern, text, re.DOTALL):
            return kind
    if text.startswith("{"):
        return next((kind for pattern, kind in _JSON if re.search(pattern, text)), None)
    return None
