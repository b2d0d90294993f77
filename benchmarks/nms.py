"""The NMS that is appended to the graph, against the ways it is usually done: `python benchmarks/nms.py [--rounds 9]`.

Synthetic raw outputs of a YOLO-like detector of 80 classes, 8,400 and 25,200 candidates, at score thresholds 0.25 and 0.001,
batch 1 and 8. Each is run on the same tensors, one after the other in every round, on the same number of threads:
- onnx: the strategy `onnx` (multi-label, class-aware) on ONNX Runtime,
- torch: the same result in PyTorch, as most repositories do it: filter by the threshold, then torchvision's `batched_nms`, a
  picture at a time (needs torchvision; where it is missing the column is left out),
- numpy: the same result with NumPy and OpenCV's `NMSBoxesBatched`, a picture at a time.
Printed are the medians of the ratio to `onnx`, round by round: above 1, `onnx` is the faster. Before timing, all are compared.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from nms_graphs import Case, model  # noqa: E402 -- the tests' own graphs

from generator.detection import Candidates  # noqa: E402
from generator.nms.onnx import OnnxNms  # noqa: E402

CLASSES, K, IOU = 80, 100, 0.45
Arrays = dict[str, NDArray[Any]]


def outputs(batch: int, n: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes that crowd around forty things a picture, and scores as a trained detector gives them: nearly all near zero."""
    random = np.random.default_rng(seed)
    things = random.uniform(60, 580, (batch, 40, 2))
    near = random.integers(0, 40, (batch, n))
    centre = np.take_along_axis(things, near[..., None], 1) + random.normal(0, 12, (batch, n, 2))
    size = random.uniform(20, 120, (batch, n, 2))
    scores = 1 / (1 + np.exp(-random.normal(-12, 2.2, (batch, n, CLASSES))))  # one pair of a hundred is above 0.001
    strong = random.random((batch, n)) < 0.01
    label = (near * 7) % CLASSES
    rows = np.argwhere(strong)
    scores[rows[:, 0], rows[:, 1], label[strong]] = random.uniform(0.2, 0.95, len(rows))
    return np.concatenate([centre - size / 2, centre + size / 2], -1).astype(np.float32), scores.astype(np.float32)


def onnx_way(boxes: NDArray[np.float32], scores: NDArray[np.float32], threshold: float, threads: int) -> Callable[[], Arrays]:
    """The appended graph."""
    import onnxruntime as ort

    case = Case(Candidates(boxes.shape[1], CLASSES), boxes, scores)
    made = model(OnnxNms(max_detections=K, iou_threshold=IOU, score_threshold=threshold), case)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = ort.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return lambda: dict(zip(names, session.run(None, case.feeds), strict=True))


def torch_way(boxes: NDArray[np.float32], scores: NDArray[np.float32], threshold: float, threads: int) -> Callable[[], Arrays]:
    """torchvision's batched_nms on what is above the threshold."""
    import torch
    from torchvision.ops import batched_nms

    torch.set_num_threads(threads)
    all_boxes, all_scores = torch.from_numpy(boxes), torch.from_numpy(scores)

    def run() -> Arrays:
        found = empty(len(boxes))
        with torch.inference_mode():
            for b in range(len(boxes)):
                box, label = (all_scores[b] > threshold).nonzero(as_tuple=True)
                value = all_scores[b, box, label]
                kept = batched_nms(all_boxes[b, box], value, label, IOU)[:K]
                fill(found, b, all_boxes[b, box[kept]].numpy(), value[kept].numpy(), label[kept].numpy())
        return found

    return run


def numpy_way(boxes: NDArray[np.float32], scores: NDArray[np.float32], threshold: float, threads: int) -> Callable[[], Arrays]:
    """NumPy's filter, OpenCV's NMS."""
    import cv2

    cv2.setNumThreads(threads)

    def run() -> Arrays:
        found = empty(len(boxes))
        for b in range(len(boxes)):
            box, label = np.nonzero(scores[b] > threshold)
            value, corners = scores[b, box, label], boxes[b, box]
            wide = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], -1)
            kept = np.asarray(cv2.dnn.NMSBoxesBatched(wide, value, label.tolist(), threshold, IOU), np.int64).reshape(-1)
            kept = kept[np.argsort(-value[kept], kind="stable")][:K]
            fill(found, b, corners[kept], value[kept], label[kept])
        return found

    return run


def empty(batch: int) -> Arrays:
    """The contract's outputs, no detection in them."""
    return {
        "num_dets": np.zeros((batch, 1), np.int32), "det_boxes": np.zeros((batch, K, 4), np.float32),
        "det_scores": np.zeros((batch, K), np.float32), "det_classes": np.zeros((batch, K), np.int32),
    }  # fmt: skip


def fill(found: Arrays, b: int, boxes: NDArray[Any], scores: NDArray[Any], classes: NDArray[Any]) -> None:
    """One picture's rows."""
    found["num_dets"][b] = len(scores)
    found["det_boxes"][b, : len(scores)], found["det_scores"][b, : len(scores)] = boxes, scores
    found["det_classes"][b, : len(scores)] = classes


def same(a: Arrays, b: Arrays) -> bool:
    """Equal scores and classes in every row, save where neighbours tie."""
    scores = np.allclose(a["det_scores"], b["det_scores"], atol=1e-6)
    return scores and bool((a["num_dets"] == b["num_dets"]).all() and (a["det_classes"] == b["det_classes"]).mean() > 0.98)


def measure(ways: dict[str, Callable[[], Arrays]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each, interleaved."""
    for run in ways.values():
        run()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            began = time.perf_counter()
            run()
            found[name].append(time.perf_counter() - began)
    return found


@click.command()
@click.option("--rounds", default=9, show_default=True)
@click.option("--threads", default=os.cpu_count() or 1, show_default=True)
def main(rounds: int, threads: int) -> None:
    """Print the table."""
    kinds: dict[str, Any] = {"onnx": onnx_way, "torch": torch_way, "numpy": numpy_way}
    try:
        import torchvision  # noqa: F401
    except Exception:
        del kinds["torch"]
    click.echo(f"{threads} threads, {platform.processor() or platform.machine()}, median of {rounds} rounds (lowest to highest)")
    click.echo("| candidates | threshold | batch | onnx, ms | " + " | ".join(f"{k} / onnx" for k in kinds if k != "onnx") + " |")
    click.echo("|---|---|---|---|" + "---|" * (len(kinds) - 1))
    for n in (8400, 25200):
        for threshold in (0.25, 0.001):
            for batch in (1, 8):
                boxes, scores = outputs(batch, n)
                ways = {name: kind(boxes, scores, threshold, threads) for name, kind in kinds.items()}
                answers = {name: run() for name, run in ways.items()}
                if wrong := [name for name in ways if not same(answers["onnx"], answers[name])]:
                    raise SystemExit(f"{wrong} answer otherwise than onnx: nothing to compare")
                times = measure(ways, rounds)
                cells = [_ratio(times[name], times["onnx"]) for name in ways if name != "onnx"]
                own = statistics.median(times["onnx"]) * 1e3
                click.echo(f"| {n:,} | {threshold} | {batch} | {own:.1f} | " + " | ".join(cells) + " |")


def _ratio(other: list[float], own: list[float]) -> str:
    ratios = sorted(a / b for a, b in zip(other, own, strict=True))
    return f"{statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})"


if __name__ == "__main__":
    main()
