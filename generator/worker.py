"""The child process of a step: memory comes back when it ends, and a crash names the step.

`python -m generator.worker TASK.json`: step, path, spec, input, output in; `TASK.json.out` has facts or error.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from generator.errors import TritonRepoError


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
    from generator.pipeline import Pipeline
    from generator.spec import Spec

    pipeline = Pipeline(Path(task["path"]), Spec.model_validate_json(json.dumps(task["spec"])))
    return {"export": _export, "passes": _passes, "surgery": _surgery, "source": _source}[task["step"]](pipeline, task)


def _export(pipeline: Any, task: dict[str, Any]) -> dict[str, str]:
    from generator import graph
    from generator.export import export

    output = Path(task["output"])
    source = pipeline.spec.checkpoint.onnx_file()
    if source is None:
        used = export(pipeline.spec.checkpoint.module(), pipeline.source, pipeline.spec.opset, output)
    else:
        for file in pipeline.spec.checkpoint.files():
            shutil.copyfile(file, output if file == source else output.parent / file.name)
        used = "none, the checkpoint is ONNX"
    model = graph.checked(graph.load(output), "export")
    return {
        "exporter": used,
        "opset": str(next(o.version for o in model.opset_import if not o.domain)),
        "nodes": str(len(model.graph.node)),
    }


def _passes(pipeline: Any, task: dict[str, Any]) -> dict[str, str]:
    from generator.surgery import edit

    facts: dict[str, str] = edit(pipeline, Path(task["input"]), Path(task["output"]))
    return facts


def _surgery(pipeline: Any, task: dict[str, Any]) -> dict[str, str]:
    from generator import graph
    from generator.surgery import operate

    output = Path(task["output"])
    operate(pipeline, Path(task["input"]), output)
    return {"nodes": str(len(graph.load(output).graph.node))}


def _source(pipeline: Any, task: dict[str, Any]) -> dict[str, str]:
    """The first rung: the checkpoint's own answer to `input` (.npy), one array an output, into `output` (.npz)."""
    import numpy as np

    values = np.load(task["input"])
    names = [t.name for t in pipeline.source.outputs]
    source = pipeline.spec.checkpoint.onnx_file()
    if source is not None:
        from generator import graph

        results = list(graph.run(graph.session(source, optimise=False), {pipeline.source.inputs[0].name: values}).values())
    else:
        import torch

        with torch.no_grad():
            answer = pipeline.spec.checkpoint.module()(torch.from_numpy(values))
        results = [t.numpy() for t in (answer if isinstance(answer, tuple | list) else [answer])]
    np.savez(task["output"], **dict(zip(names, results, strict=True)))
    return {"framework": "onnxruntime, not optimised" if source else f"torch {_torch_version()}"}


def _torch_version() -> str:
    import torch

    return str(torch.__version__)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
