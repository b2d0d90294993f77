"""The final ONNX of one public architecture, as `triton-repo build` makes it; in a process of its own.

python benchmarks/preflight_graph.py ENTRY.json FOLDER    writes FOLDER/repository/model/1/model.onnx
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import conversion_checkpoints as checkpoints
import torch
import yaml


def main(entry: Path, folder: Path) -> int:
    """The checkpoint with random weights, its spec, the build; the build's exit code."""
    torch.set_num_threads(1)
    said = json.loads(entry.read_text(encoding="utf-8"))
    checkpoint = getattr(checkpoints, said["library"])(said, folder)
    spec = folder / "spec.yaml"
    spec.write_text(yaml.safe_dump({"name": "model", "checkpoint": checkpoint}), encoding="utf-8")
    build = [sys.executable, "-m", "generator.cli", "build", str(spec), "-o", str(folder / "repository")]
    return subprocess.run(build, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
