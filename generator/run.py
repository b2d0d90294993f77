"""Runs steps: a content-addressed cache, a child process each, and nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from generator import errors, learned, paths
from generator.pipeline import Pipeline
from generator.plan import Step

_KEEP_SECONDS = 30 * 24 * 3600
_DONE = "facts.json"


def cached(step: Step) -> Path | None:
    """The folder with the step's result, if it has been made before."""
    folder = _folder(step)
    return folder if (folder / _DONE).exists() else None


def facts(folder: Path) -> dict[str, str]:
    """What the step said of its work."""
    found: dict[str, str] = json.loads((folder / _DONE).read_text(encoding="utf-8"))
    return found


def ensure(step: Step, pipeline: Pipeline, source: Path | None = None) -> Path:
    """The folder with `model.onnx` and facts.json: from the cache, or made now. Raises what the step raised."""
    if (folder := cached(step)) is not None:
        os.utime(folder)
        return folder
    folder = _folder(step)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=folder.parent))
    try:
        found = child(step.name, pipeline, source, staging / "model.onnx")
        (staging / _DONE).write_text(json.dumps(found), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        staging.replace(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def child(step: str, pipeline: Pipeline, source: Path | None, output: Path) -> dict[str, str]:
    """Do one step in a process of its own. Raises its error here, as the same class; a crash shows its last lines."""
    if step in ("export", "source"):
        pipeline.spec.checkpoint.prepare()
    if step == "target":
        pipeline.spec.target.prepare()
    with tempfile.TemporaryDirectory(prefix="triton-repo-") as scratch:
        task, log = Path(scratch) / "task.json", Path(scratch) / "log"
        task.write_text(json.dumps({
            "step": step, "path": str(pipeline.path), "spec": pipeline.spec.model_dump(mode="json"),
            "input": str(source) if source else None, "output": str(output), "learned": learned.to_json(pipeline.learned),
            "variant": pipeline.variant,
        }), encoding="utf-8")  # fmt: skip
        with log.open("wb") as stream:
            code = _wait(
                subprocess.Popen(
                    [sys.executable, "-m", "generator.worker", str(task)], stdout=stream, stderr=stream, stdin=subprocess.DEVNULL
                )
            )
        answer_file = Path(f"{task}.out")
        if code or not answer_file.exists():
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise RuntimeError(f"step {step} of {pipeline.spec.name} ended with code {code}:\n{tail}")
        answer = json.loads(answer_file.read_text(encoding="utf-8"))
    if "error" in answer:
        message = answer["message"]
        where = "" if message.startswith(f"{pipeline.path}:") else f"{pipeline.spec.name}: "
        raise errors.from_name(answer["error"], f"{where}{message}", answer["remedy"])
    found: dict[str, str] = answer["facts"]
    return found


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait; whatever ends the waiting ends the child too."""
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def prune() -> None:
    """Forget results that no build has used for thirty days."""
    root = paths.cache() / "steps"
    paths.forget(root.iterdir() if root.is_dir() else (), _KEEP_SECONDS)


def _folder(step: Step) -> Path:
    return paths.cache() / "steps" / f"{step.name}-{step.key[:32]}"
