"""How long `triton-repo check` takes on a repository of 100 models: `python benchmarks/check_speed.py`.

25 ensembles of 3 steps each, their ONNX models of 8 MB; the process as a user starts it, interpreter and all.
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from generator import pbtxt
from generator.model_config import new

ENSEMBLES, WEIGHTS, ROUNDS = 25, 8_000_000, 7


def model(folder: Path, name: str) -> None:
    """An ONNX model with weights, and its config."""
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 4]) for n in ("x", "y")]
    weights = TensorProto(name="w", data_type=1, dims=[WEIGHTS // 4], raw_data=bytes(WEIGHTS))
    nodes = [helper.make_node("Identity", ["x"], ["y"])] + [helper.make_node("Identity", ["w"], [f"n{i}"]) for i in range(300)]
    made = helper.make_model(helper.make_graph(nodes, "g", infos[:1], infos[1:], [weights]))
    (folder / name / "1").mkdir(parents=True)
    onnx.save(made, folder / name / "1" / "model.onnx")
    config = new(name=name, backend="onnxruntime", max_batch_size=8)
    config.input.add(name="x", data_type="TYPE_FP32", dims=[4])
    config.output.add(name="y", data_type="TYPE_FP32", dims=[4])
    config.instance_group.add(kind="KIND_CPU", count=1)
    config.dynamic_batching.SetInParent()
    (folder / name / "config.pbtxt").write_text(pbtxt.text(config))


def ensemble(folder: Path, name: str, steps: list[str]) -> None:
    """A chain of the steps."""
    config = new(name=name, platform="ensemble", max_batch_size=8)
    config.input.add(name="t0", data_type="TYPE_FP32", dims=[4])
    config.output.add(name=f"t{len(steps)}", data_type="TYPE_FP32", dims=[4])
    for index, step in enumerate(steps):
        added = config.ensemble_scheduling.step.add(model_name=step, model_version=-1)
        added.input_map["x"], added.output_map["y"] = f"t{index}", f"t{index + 1}"
    (folder / name / "1").mkdir(parents=True)
    (folder / name / "config.pbtxt").write_text(pbtxt.text(config))


def main() -> None:
    """Make the repository, check it several times, print the median."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for number in range(ENSEMBLES):
            steps = [f"e{number}_step{i}" for i in range(3)]
            for step in steps:
                model(folder, step)
            ensemble(folder, f"e{number}", steps)
        command = [str(Path(sys.executable).with_name("triton-repo")), "check", str(folder)]
        bare = [sys.executable, "-c", "pass"]
        said = ""
        times: dict[str, list[float]] = {"check": [], "interpreter": []}
        for _ in range(ROUNDS):
            for name, line in (("check", command), ("interpreter", bare)):
                began = time.perf_counter()
                done = subprocess.run(line, capture_output=True, text=True, check=True)
                times[name].append(time.perf_counter() - began)
                said = done.stdout.strip() or said
        size = sum(p.stat().st_size for p in folder.rglob("*.onnx")) / 1e6
    check, interpreter = (statistics.median(times[name]) for name in ("check", "interpreter"))
    print(f"{said}; {3 * ENSEMBLES} ONNX files, {size:.0f} MB")
    low, high = min(times["check"]), max(times["check"])
    print(f"check, the whole process: median {check:.2f} s of {ROUNDS} (lowest {low:.2f}, highest {high:.2f})")
    print(f"an empty Python process: {interpreter:.2f} s; ratio {check / interpreter:.0f}; {platform.platform()}")


if __name__ == "__main__":
    main()
