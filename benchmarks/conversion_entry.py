"""One row of the conversion table, in a process of its own: the checkpoint, its spec, `triton-repo build`, and parity.

python benchmarks/conversion_entry.py ENTRY.json FOLDER    writes FOLDER/row.json
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import conversion_checkpoints as checkpoints
import numpy as np
import torch
import yaml

from generator import compare, graph, inputs, lock
from generator.bounds import Bounds
from generator.frontends import Arrays
from generator.inputs import Axis, Input
from generator.load import load_all
from generator.rows import aligned
from generator.spec import Spec
from generator.tensors import BATCH, numpy_dtype
from generator.torch_frontend import TorchFrontend

BATCHES = (1, 3)
#: Answers must differ between rows by so many times what the conversion changed; else they prove nothing.
_VARIED = 30.0


def row(entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What came of it."""
    maker = getattr(checkpoints, entry["library"])
    said = maker(entry, folder)
    spec = folder / "spec.yaml"
    spec.write_text(yaml.safe_dump({"name": "model", "checkpoint": said}), encoding="utf-8")
    began = time.monotonic()
    build = [sys.executable, "-m", "generator.cli", "build", str(spec), "-o", str(folder / "repository")]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    found: dict[str, Any] = {"spec": said, "seconds": round(time.monotonic() - began, 1)}
    if done.returncode:
        return {**found, "result": "failed", "reason": _said(done.stderr, folder)}
    facts = lock.read(folder / "repository")["model"].facts
    return {**found, "exporter": facts["exporter"], "opset": int(facts["opset"]), **_parity(spec, folder)}


def _said(stderr: str, folder: Path) -> str:
    """The command's own message, without this machine's paths."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return " ".join(lines).replace(f"{folder}/", "")[-1500:]


def _parity(spec: Path, folder: Path) -> dict[str, Any]:
    """torch against the final graph in ONNX Runtime at both batch sizes."""
    ((_, read, _),) = load_all([spec])
    assert isinstance(read, Spec)
    checkpoint = read.checkpoint
    assert isinstance(checkpoint, TorchFrontend)
    session = graph.session(folder / "repository" / "model" / "1" / "model.onnx")
    differences, problems, spread = {}, [], {}
    for turn, rows in enumerate(BATCHES):
        feeds = _feeds(checkpoint.taken(), checkpoint.ranges(), rows, turn)
        wanted, _ = checkpoint.answer(feeds)
        found = aligned(wanted, graph.run(session, feeds), checkpoint.unordered())
        result = compare.tensors(wanted, found, Bounds().absolute, Bounds().relative)
        differences[str(rows)] = float(f"{result.max_abs:.3g}")
        problems += [f"batch {rows}: {problem} ({_rounding(checkpoint, feeds, wanted)})" for problem in result.problems]
        if rows > 1:
            spread = {name: float(np.ptp(a.astype(np.float64), axis=0).max(initial=0.0)) for name, a in wanted.items()}
    least = _VARIED * max(differences.values())
    problems += [f"{name} hardly varies with the input ({value:.3g})" for name, value in spread.items() if value <= least]
    parameters = sum(p.numel() for p in checkpoint.module().parameters())
    said = {"parameters": parameters, "differences": differences, "spread": float(f"{min(spread.values()):.3g}")}
    return {**said, "result": "failed" if problems else "passed", "reason": "; ".join(problems)}


def _rounding(checkpoint: TorchFrontend, feeds: Arrays, answer: Arrays) -> str:
    """How far torch itself, in float32, is from torch in float64: what a failure is to be seen against."""
    exact = checkpoint.flat(checkpoint.module().double()).run(
        {name: values.astype(np.float64) if values.dtype == np.float32 else values for name, values in feeds.items()}
    )
    return f"torch's own float32 is {max(float(np.abs(exact[n] - answer[n]).max()) for n in answer):.3g} from its float64"


def _feeds(taken: Mapping[str, Input], axes: Mapping[str, Axis], rows: int, turn: int) -> Arrays:
    """Seeded inputs of other lengths than the export was made with, pictures with patches."""
    random = np.random.default_rng(100 + turn)
    size = {**inputs.sizes(taken, axes)[turn + 1], BATCH: rows}
    found: Arrays = {}
    for seed, (name, one) in enumerate(taken.items()):
        shape = one.sized(size)
        picture = one.dtype == "FP32" and len(shape) == 4
        values = checkpoints.picture(*shape, seed=100 * turn + seed).numpy() if picture else one.values(random, size)
        found[name] = values.astype(numpy_dtype(one.dtype))
    return found


def main(entry: Path, folder: Path) -> None:
    """Write the row; what goes wrong in the making of a checkpoint is a fault of the benchmark, and shown."""
    torch.set_num_threads(1)
    found = row(json.loads(entry.read_text(encoding="utf-8")), folder)
    (folder / "row.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
