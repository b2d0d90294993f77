"""triton-repo onnx: the final graph alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from generator.errors import RepositoryError, SpecError


@click.command("onnx")
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The ONNX file.  [default: NAME.onnx]")
@click.option("--variant", default="", help="One of the spec's `variants:`.")
def command(spec: Path, output: Path | None, variant: str) -> None:
    """Write the ONNX file that SPEC's model is served from, head, NMS and precision in it: for trtexec and other tools."""
    from generator.build import resolved
    from generator.learning import learn
    from generator.pipeline import Pipeline
    from generator.plan import steps
    from generator.progress import StepProgress
    from generator.run import ensure

    found = {one.variant: one for one in resolved([spec]) if isinstance(one, Pipeline)}
    if not found:
        raise SpecError(f"{spec}: a folder spec has its model already", "name the spec of a checkpoint")
    if variant not in found:
        raise SpecError(f"{spec}: it has no variant {variant!r}", f"it has {', '.join(filter(None, found)) or 'none'}")
    pipeline = found[variant]
    target = output or Path(f"{pipeline.spec.name}.onnx")
    _writable(target)
    with StepProgress() as progress:
        pipeline = learn(pipeline, progress)
        graphs = [step for step in steps(pipeline) if step.name not in ("target", "repository")]
        folder: Path | None = None
        for step in graphs:
            progress(step, "")
            folder = ensure(step, pipeline, folder / "model.onnx" if folder else None)
            progress(step, "done")
    assert folder is not None
    _write(folder / "model.onnx", target)
    click.echo(f"{target}: {', '.join(map(str, pipeline.model.inputs))} -> {', '.join(map(str, pipeline.model.outputs))}")


def _writable(target: Path) -> None:
    if target.is_dir():
        raise RepositoryError(f"{target} is a folder", "name the file with -o")
    if not target.parent.is_dir():
        raise RepositoryError(f"{target.parent} is not a folder", "make it first")


def _write(source: Path, target: Path) -> None:
    """The graph, with its weights file under the new name where it has one."""
    from generator import graph

    try:
        if source.with_name("model.onnx.data").exists():
            graph.save(graph.load(source), target, limit=0)
        else:
            shutil.copyfile(source, target)
    except OSError as error:
        raise RepositoryError(f"{target}: {error.strerror}", "name another file with -o") from None
