"""The final graph in the precision that the spec asks for, judged on real pictures where it has some."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator import sampling
from generator.frontends import Interface
from generator.graph import checked, interface, load
from generator.surgery import same

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from generator.pipeline import Pipeline


def hold(pipeline: Pipeline, graph: Path, made: Path) -> dict[str, str]:
    """Write `graph` in the spec's precision. Raises SurgeryError where the result is not valid, or not what the plan promised."""
    said = pipeline.spec.precision.apply(graph, made, samples(pipeline))
    inputs, outputs = interface(checked(load(made), f"precision {pipeline.spec.precision.kind}"))
    same("its inputs in that precision", inputs, pipeline.model.inputs)
    same("its outputs in that precision", outputs, pipeline.model.outputs)
    return said


def samples(pipeline: Pipeline) -> list[dict[str, NDArray[Any]]]:
    """Inputs of the fp32 graph: the pictures of `verify` as the NumPy reference prepares them, or what a bare model is asked."""
    import numpy as np

    from generator import bare_samples
    from generator.ladder_samples import asked_of, thresholds

    spec = pipeline.spec
    if spec.preprocess is None:
        return [asked_of(pipeline, source, i).values for i, source in enumerate(bare_samples.of(pipeline))]
    if not spec.verify.images:
        return sampling.samples(Interface(pipeline.fp32.inputs, pipeline.fp32.outputs))
    import cv2

    height, width = pipeline.picture.size
    pixels = []
    for path in spec.verify.images:
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is not None:
            rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8)
            pixels.append(spec.preprocess.reference(rgb, height, width)[0])
    stacked = np.stack(pixels)
    return [{pipeline.fp32.inputs[0].name: stacked, **thresholds(pipeline, len(stacked))}]
