"""Model and NMS together, in one graph or apart: `python benchmarks/detector_end_to_end.py [--rounds 7]`.

The flagship (YOLOv4-tiny, ensembles/yolov4_tiny.yaml) on ONNX Runtime, same photos, same threads, one after the other in every
round: with the NMS in the graph, and with the boxes and scores out of the graph and the NMS of benchmarks/nms.py behind it
(torchvision's where it can be imported; NumPy and OpenCV). So the model's own time is on both sides. Needs `make repo`.
"""

from __future__ import annotations

import os
import statistics
import sys
from pathlib import Path
from typing import Any

import click
import nms as parts
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from generator import run  # noqa: E402
from generator.build import resolved  # noqa: E402
from generator.builder import Builder  # noqa: E402
from generator.graph import checked, load  # noqa: E402
from generator.passes.fold_constants import FoldConstants  # noqa: E402
from generator.pipeline import Pipeline  # noqa: E402
from generator.plan import steps  # noqa: E402
from generator.surgery import image_input, recent  # noqa: E402
from generator.tensors import Tensor  # noqa: E402


def apart(pipeline: Pipeline) -> bytes:
    """The same graph, ending in boxes and scores."""
    exported, *_ = steps(pipeline)
    model = checked(image_input(pipeline, load(run.ensure(exported, pipeline) / "model.onnx")), "image_input")
    assert pipeline.head is not None
    assert pipeline.candidates is not None
    build = Builder(recent(pipeline, model), "head")
    build.graph.outputs = []
    decoded = pipeline.head.append(build, pipeline.image, pipeline.raw.outputs)
    found = pipeline.candidates
    build.output(decoded.boxes, Tensor("boxes", "FP32", (found.boxes, 4)))
    build.output(decoded.scores, Tensor("scores", "FP32", (found.boxes, found.classes)))
    return bytes(FoldConstants().run(checked(build.model(), "head")).SerializeToString())


def session(model: bytes, threads: int) -> ort.InferenceSession:
    """On the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # two sessions take turns on the same cores
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def pixels(pipeline: Pipeline, batch: int) -> NDArray[np.uint8]:
    """The spec's photos, as the model takes them."""
    from PIL import Image

    assert pipeline.spec.preprocess is not None
    made = []
    for path in pipeline.spec.verify.images:
        with Image.open(path) as image:
            made.append(pipeline.spec.preprocess.reference(np.asarray(image.convert("RGB")), *pipeline.picture.size)[0])
    return np.stack([made[i % len(made)] for i in range(batch)])


@click.command()
@click.option("--rounds", default=7, show_default=True)
@click.option("--threads", default=os.cpu_count() or 1, show_default=True)
def main(rounds: int, threads: int) -> None:
    """Print the table."""
    (found,) = resolved([ROOT / "ensembles" / "yolov4_tiny.yaml"])
    assert isinstance(found, Pipeline)
    kinds: dict[str, Any] = {"torch": parts.torch_way, "numpy": parts.numpy_way}
    try:
        import torchvision  # noqa: F401
    except Exception:
        del kinds["torch"]
    click.echo(f"{threads} threads, median of {rounds} rounds (lowest to highest)")
    click.echo("| threshold | batch | one graph, ms | " + " | ".join(f"apart, {kind} / one graph" for kind in kinds) + " |")
    click.echo("|---|---|---|" + "---|" * len(kinds))
    for threshold in (0.25, 0.001):
        spec = found.spec
        assert spec.nms is not None
        said = {"score_threshold": threshold, "iou_threshold": parts.IOU, "max_detections": parts.K}
        pipeline = Pipeline(found.path, spec.model_copy(update={"nms": spec.nms.model_copy(update=said)}))
        *graphs, _ = steps(pipeline)
        folder: Path | None = None
        for step in graphs:
            folder = run.ensure(step, pipeline, folder / "model.onnx" if folder else None)
        assert folder is not None
        whole, raw = session((folder / "model.onnx").read_bytes(), threads), session(apart(pipeline), threads)
        for batch in (1, 8):
            click.echo(_line(whole, raw, pixels(pipeline, batch), kinds, (threshold, threads, rounds)))


def _line(whole: Any, raw: Any, image: NDArray[np.uint8], kinds: dict[str, Any], conditions: tuple[float, int, int]) -> str:
    threshold, threads, rounds = conditions
    names = [o.name for o in whole.get_outputs()]

    def one() -> parts.Arrays:
        return dict(zip(names, whole.run(None, {"pixels": image}), strict=True))

    def behind(kind: Any) -> Any:
        def run_both() -> parts.Arrays:
            found: parts.Arrays = kind(*raw.run(["boxes", "scores"], {"pixels": image}), threshold, threads)()
            return found

        return run_both

    ways = {"one": one, **{name: behind(kind) for name, kind in kinds.items()}}
    answers = {name: way() for name, way in ways.items()}
    if wrong := [name for name in kinds if not parts.same(answers["one"], answers[name])]:
        raise SystemExit(f"{wrong} answer otherwise than the one graph: nothing to compare")
    times = parts.measure(ways, rounds)
    cells = []
    for name in kinds:
        ratios = sorted(a / b for a, b in zip(times[name], times["one"], strict=True))
        cells.append(f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    own = statistics.median(times["one"]) * 1e3
    return f"| {threshold} | {len(image)} | {own:.1f} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
