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
    height, width = pipeline.picture.size
    pixels = [spec.preprocess.reference(rgb, height, width)[0] for rgb in _pictures(pipeline)]
    stacked = np.stack(pixels)
    return [{pipeline.fp32.inputs[0].name: stacked, **thresholds(pipeline, len(stacked))}]


def _pictures(pipeline: Pipeline) -> list[NDArray[Any]]:
    """`verify.images` as the server decodes them. Raises SpecError for one that it refuses."""
    from generator import paths, step_code

    spec, template = pipeline.spec, pipeline.parts[0].template
    assert spec.preprocess is not None
    assert template is not None
    served, found = step_code.load(paths.templates() / "models" / template / "model.py"), []
    for index, path in enumerate(spec.verify.images):
        try:
            found.append(served.decode(path.read_bytes(), spec.preprocess.max_pixels))
        except served.BadImageError as error:
            loc = ("verify", "images", index)
            raise pipeline.error(loc, f"{path}: {error}", "name a JPEG or PNG that the server decodes") from None
    return found
