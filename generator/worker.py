"""The child process of a step: memory comes back when it ends, and a crash names the step.

`python -m generator.worker TASK.json`: step, path, spec, input, output in; `TASK.json.out` has facts or error.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator.errors import TritonRepoError, VerifyError

if TYPE_CHECKING:
    from generator.pipeline import Pipeline


def main(task_file: Path) -> int:
    """Do one step; 0 when an answer was written, whatever it says."""
    task = json.loads(task_file.read_text(encoding="utf-8"))
    try:
        answer: dict[str, Any] = {"facts": _do(task)}
    except TritonRepoError as error:
        answer = {"error": type(error).__name__, "message": error.message, "remedy": error.remedy}
    Path(f"{task_file}.out").write_text(json.dumps(answer), encoding="utf-8")
    return 0


def _do(task: dict[str, Any]) -> dict[str, str]:
    from generator import learned
    from generator.pipeline import Pipeline
    from generator.spec import Spec

    spec = Spec.model_validate_json(json.dumps(task["spec"]))
    pipeline = Pipeline(Path(task["path"]), spec, learned.from_json(task["learned"]), task["variant"])
    steps = {
        "export": _export, "passes": _passes, "surgery": _surgery, "precision": _precision, "target": _target, "source": _source,
    }  # fmt: skip
    return steps[task["step"]](pipeline, task)


def _export(pipeline: Pipeline, task: dict[str, Any]) -> dict[str, str]:
    from generator import graph, learned, preprocess_hint

    output, checkpoint = Path(task["output"]), pipeline.spec.checkpoint
    said = checkpoint.export(pipeline.spec.opset, output)
    model = graph.checked(graph.settled(output, pipeline.spec.external_data_from * 2**20), "export")
    opset = next(o.version for o in model.opset_import if not o.domain)
    head = checkpoint.head() if pipeline.stated is None else None
    told = checkpoint.preprocessing()
    return {
        **said,
        **({"preprocess": preprocess_hint.text(told)} if told else {}),
        "opset": str(opset),
        "nodes": str(len(model.graph.node)),
        **({learned.HEAD: head.model_dump_json()} if head else {}),
    }


def _passes(pipeline: Pipeline, task: dict[str, Any]) -> dict[str, str]:
    from generator.surgery import edit

    return edit(pipeline, Path(task["input"]), Path(task["output"]))


def _surgery(pipeline: Pipeline, task: dict[str, Any]) -> dict[str, str]:
    from generator import graph
    from generator.surgery import operate

    output = Path(task["output"])
    operate(pipeline, Path(task["input"]), output)
    return {"nodes": str(len(graph.load(output).graph.node))}


def _precision(pipeline: Pipeline, task: dict[str, Any]) -> dict[str, str]:
    from generator.precision import hold

    return hold(pipeline, Path(task["input"]), Path(task["output"]))


def _target(pipeline: Pipeline, task: dict[str, Any]) -> dict[str, str]:
    from generator import surgery, target

    made = Path(task["output"]).parent
    if any(part.role == "head" for part in pipeline.parts):
        surgery.head_alone(pipeline, made / target.HEAD)
    return pipeline.spec.target.convert(pipeline.order(Path(task["input"]), made))


def _source(pipeline: Pipeline, task: dict[str, Any]) -> dict[str, str]:
    """The first rung: the checkpoint's own answers to `input`, or to samples of its own; both into `output`."""
    from generator import bare_samples, feeds

    output = Path(task["output"])
    samples = feeds.read(Path(task["input"])) if task["input"] else bare_samples.of(pipeline)
    names, framework = [t.name for t in pipeline.source.outputs], ""
    answers = []
    for sample in samples:
        found, framework = _answer(pipeline, sample)
        answers.append({name: found[name] for name in names if name in found})
    feeds.write(output, [*samples, *answers])
    return {"framework": framework}


def _answer(pipeline: Pipeline, sample: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The checkpoint's answer. Raises VerifyError where its framework refuses the sample, whose seeded values follow no rule."""
    try:
        return pipeline.spec.checkpoint.answer(sample)
    except TritonRepoError:
        raise
    except Exception as error:
        given = ", ".join(f"{name} {list(values.shape)}" for name, values in sample.items())
        said = (str(error).splitlines() or [""])[0]
        what = f"the checkpoint does not run with {given}: {type(error).__name__}: {said[:300]}"
        raise VerifyError(what, "name inputs that it takes under `verify:` (samples, images)") from None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
