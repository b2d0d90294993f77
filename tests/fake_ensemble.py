"""A tiny model repository that answers like the served ensembles, so that the client's side is tested without a trained model.

A picture is any bytes; a number says how many boxes to find: b"3" gives three. b"bad..." is refused, b"slow" takes two seconds.
"""

from __future__ import annotations

from pathlib import Path

_MODEL = """
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        data = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
        rows = [bytes(row) for row in data.reshape(-1)]
        for index, row in enumerate(rows):
            if row.startswith(b"bad"):
                error = pb_utils.TritonError(f"image[{index}] of {len(rows)}: not a JPEG or PNG")
                return pb_utils.InferenceResponse([], error)
            if row == b"slow":
                time.sleep(2)
        counts = [int(row) if row.isdigit() else 2 for row in rows]
        tensors = self.tensors(counts)
        if data.ndim == 1:
            tensors = {name: values[0] for name, values in tensors.items()}
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, values) for name, values in tensors.items()])
"""

_DETECTOR = (
    _MODEL
    + """
    def tensors(self, counts):
        n, k = len(counts), 5
        valid = np.arange(k)[None, :] < np.array(counts)[:, None]
        boxes = np.zeros((n, k, 4), np.float32)
        boxes[...] = np.arange(k, dtype=np.float32)[None, :, None] * 10 + np.array([1, 2, 40, 30], np.float32)
        scores = np.where(valid, 0.9 - 0.1 * np.arange(k), 0).astype(np.float32)
        classes = np.where(valid, np.arange(k), 0).astype(np.int32)
        labels = np.array([[f"thing {c}" if v else "" for c, v in zip(*row)] for row in zip(classes, valid)], dtype=object)
        return {
            "num_dets": np.array(counts, np.int32)[:, None], "det_boxes": boxes, "det_scores": scores,
            "det_classes": classes, "det_labels": labels,
        }
"""
)
_CLASSIFIER = (
    _MODEL
    + """
    def tensors(self, counts):
        ids = np.array([[count, count + 1] for count in counts], np.int32)
        return {
            "class_scores": np.tile(np.array([0.75, 0.25], np.float32), (len(counts), 1)),
            "class_ids": ids,
            "class_labels": np.array([[f"kind {i}" for i in row] for row in ids], dtype=object),
        }
"""
)
_DETECTIONS = {
    "num_dets": ("TYPE_INT32", "1"),
    "det_boxes": ("TYPE_FP32", "5, 4"),
    "det_scores": ("TYPE_FP32", "5"),
    "det_classes": ("TYPE_INT32", "5"),
    "det_labels": ("TYPE_STRING", "5"),
}
_CLASSES = {"class_scores": ("TYPE_FP32", "2"), "class_ids": ("TYPE_INT32", "2"), "class_labels": ("TYPE_STRING", "2")}
Outputs = dict[str, tuple[str, str]]


def write(repository: Path, *, second: bool = False) -> Path:
    """`detector` (an ensemble of `detector_model`); with `second` also `classifier` (no batches) and `numbers` (no pictures)."""
    _model(repository, "detector_model", _DETECTOR, _DETECTIONS, batch=3)
    _ensemble(repository, "detector", "detector_model", _DETECTIONS, batch=3)
    if second:
        _model(repository, "classifier_model", _CLASSIFIER, _CLASSES, batch=0)
        _ensemble(repository, "classifier", "classifier_model", _CLASSES, batch=0)
        _model(repository, "numbers", _DETECTOR, _DETECTIONS, batch=3, dtype="TYPE_FP32")
    return repository


def _model(repository: Path, name: str, code: str, outputs: Outputs, *, batch: int, dtype: str = "TYPE_STRING") -> None:
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text(code)
    extra = "dynamic_batching { max_queue_delay_microseconds: 2000 }\n" if batch else ""
    (folder / "config.pbtxt").write_text(f'name: "{name}"\nbackend: "python"\n{_tensors(outputs, batch, dtype)}{extra}')


def _ensemble(repository: Path, name: str, model: str, outputs: Outputs, *, batch: int) -> None:
    (repository / name / "1").mkdir(parents=True)
    maps = "".join(f'    output_map {{ key: "{key}" value: "{key}" }}\n' for key in outputs)
    maps = f'    input_map {{ key: "image" value: "image" }}\n{maps}'
    step = f'  step {{\n    model_name: "{model}"\n    model_version: -1\n{maps}  }}\n'
    text = f'name: "{name}"\nplatform: "ensemble"\n{_tensors(outputs, batch)}ensemble_scheduling {{\n{step}}}\n'
    (repository / name / "config.pbtxt").write_text(text)


def _tensors(outputs: Outputs, batch: int, dtype: str = "TYPE_STRING") -> str:
    lines = [f"max_batch_size: {batch}", f'input {{ name: "image" data_type: {dtype} dims: [ 1 ] }}']
    lines += [f'output {{ name: "{name}" data_type: {kind} dims: [ {dims} ] }}' for name, (kind, dims) in outputs.items()]
    return "\n".join(lines) + "\n"
