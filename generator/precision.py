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

    from generator import bare_samples, paths, step_code
    from generator.ladder_samples import asked_of, decoded, thresholds

    spec = pipeline.spec
    if spec.preprocess is None:
        return [asked_of(pipeline, source, i).values for i, source in enumerate(bare_samples.of(pipeline))]
    if not spec.verify.images:
        return sampling.samples(Interface(pipeline.fp32.inputs, pipeline.fp32.outputs))
    height, width = pipeline.picture.size
    template = pipeline.parts[0].template
    assert template is not None
    served = step_code.load(paths.templates() / "models" / template / "model.py")
    pixels = [spec.preprocess.reference(rgb, height, width)[0] for _, rgb in decoded(pipeline, served)]
    stacked = np.stack(pixels)
    return [{pipeline.fp32.inputs[0].name: stacked, **thresholds(pipeline, len(stacked))}]
