"""What does serving cost, and what does it give? The served ensemble against a bare loop in one process, interleaved in one run.

Both sides: the same encoded pictures in turn, the same decoder, letterbox, model.onnx with its NMS, and postprocess; the same
cores, ONNX Runtime with its default threads. The loop is one process that takes one picture at a time and leaves the cores to
ONNX Runtime. The served side is driven by perf_analyzer over gRPC on this machine, which takes its share of the cores, too.

Each round measures loop and server right after one another, in alternating order; only the ratios within a round are compared,
because such machines drift by more than the effect. Reported is the median of the rounds' ratios, the lowest and the highest.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click
from rich.console import Console

from generator import bench, bench_report, install, pbtxt, perf_analyzer
from generator.client import Client, Detections
from generator.errors import ToolError, TritonRepoError
from generator.server import Server
from generator.server_stats import between

_NOTES = Console(stderr=True, highlight=False)


class Loop:
    """benchmarks/bare_loop.py as a child process in the server's own Python."""

    def __init__(self, repository: Path, name: str, images: Sequence[Path]) -> None:
        task = json.dumps(_task(repository, name, images))
        self._command = [str(install.server_environment().python), str(Path(__file__).with_name("bare_loop.py")), task]
        self.said: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=install.clean_environment()
        )
        self.said = self._answer()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()

    def measure(self, seconds: float) -> dict[str, float]:
        """Run the loop for so long: throughput and p50_ms."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ToolError(f"the bare loop ended with code {self._process.wait()}", "see its message above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _task(repository: Path, name: str, images: Sequence[Path]) -> dict[str, Any]:
    """What the loop must know, found in the repository as the server finds it."""
    from google.protobuf import json_format

    steps = {role: repository / f"{name}_{role}" for role in ("preprocess", "model", "postprocess")}
    for folder in steps.values():
        if not folder.is_dir():
            raise ToolError(f"{folder} is missing: this benchmark is for detectors that triton-repo built", "run `make repo`")
    config = json_format.MessageToDict(pbtxt.read(steps["preprocess"] / "config.pbtxt"), preserving_proto_field_name=True)
    version = max((p.name for p in steps["model"].iterdir() if p.name.isdigit()), key=int)
    labels = steps["postprocess"] / "labels.txt"
    return {
        "config": config,
        "preprocess": str(steps["preprocess"] / version / "model.py"),
        "postprocess": str(steps["postprocess"] / version / "model.py"),
        "model": str(steps["model"] / version / "model.onnx"),
        "labels": str(labels) if labels.is_file() else "",
        "images": [str(image) for image in images],
    }


def compare(loop: Loop, tool: perf_analyzer.PerfAnalyzer, load: bench.Load, rounds: int) -> list[dict[str, float]]:
    """The rounds. The loop runs between concurrency 1 and 8, next to both, and their order alternates."""
    slow_ms = bench.measure(tool, load, 8)["p50_ms"]
    windows = {1: bench.WINDOW_MS, 8: max(bench.WINDOW_MS, round(3 * slow_ms))}
    found = []
    for number in range(rounds):
        first, second = (1, 8) if number % 2 == 0 else (8, 1)
        served = {first: bench.measure(tool, load, first, windows[first])}
        bare = loop.measure(3 * bench.WINDOW_MS / 1000)
        served[second] = bench.measure(tool, load, second, windows[second])
        found.append({
            "loop_throughput": bare["throughput"], "loop_p50_ms": bare["p50_ms"],
            "served_throughput_at_8": served[8]["throughput"], "served_p50_ms_at_1": served[1]["p50_ms"],
            "throughput_ratio": served[8]["throughput"] / bare["throughput"],
            "latency_ratio": served[1]["p50_ms"] / bare["p50_ms"],
        })  # fmt: skip
        _NOTES.print(f"  round {number + 1} of {rounds}: throughput x{found[-1]['throughput_ratio']:.2f}, "
                     f"p50 x{found[-1]['latency_ratio']:.2f}")  # fmt: skip
    return found


def summary(rounds: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Median, lowest and highest of every figure."""
    columns = {name: [found[name] for found in rounds] for name in rounds[0]}
    return {
        name: {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
        for name, values in columns.items()
    }


def same_answers(client: Client, loop: Loop, images: Sequence[Path]) -> None:
    """Both sides must do the same work. Raises ToolError when they find different numbers of boxes."""
    served = [len(result) for result in client.infer(images) if isinstance(result, Detections)]
    if served != loop.said["found"]:
        raise ToolError(f"the server found {served} boxes and the loop {loop.said['found']}", "run `triton-repo verify`")


def report(name: str, result: dict[str, Any]) -> None:
    """The figures in plain lines."""
    figures, conditions = result["summary"], result["conditions"]
    out = Console(highlight=False, width=120)

    def line(key: str, digits: int) -> str:
        found = figures[key]
        return f"{found['median']:.{digits}f} (from {found['lowest']:.{digits}f} to {found['highest']:.{digits}f})"

    out.print(f"{name}: served against a bare loop, median of {len(result['rounds'])} interleaved rounds (lowest to highest)")
    out.print(f"  throughput at concurrency 8, ratio served / loop: {line('throughput_ratio', 2)}")
    out.print(f"    served {line('served_throughput_at_8', 1)}, loop {line('loop_throughput', 1)} pictures a second")
    out.print(f"  p50 latency at concurrency 1, ratio served / loop: {line('latency_ratio', 2)}")
    out.print(f"    served {line('served_p50_ms_at_1', 1)}, loop {line('loop_p50_ms', 1)} ms")
    out.print("  batches that formed, concurrency 1 and 8 together (size×runs):")
    for step, text in result["batches"].items():
        out.print(f"    {step}: {text}")
    versions = ", ".join(f"{k} {v}" for k, v in conditions["versions"].items())
    out.print(
        f"  {conditions['cores']} cores, tritonserver {conditions['server']}, {versions}; {', '.join(conditions['images'])}"
    )
    out.print("  loop: one process, one picture at a time, ONNX Runtime's default threads (all cores)")


@click.command()
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option("-r", "--repository", type=click.Path(path_type=Path), default=Path("model_repository"), show_default=True)
@click.option("--model", default="yolov4_tiny", show_default=True, help="A detector's ensemble.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("bench"), show_default=True)
def main(*, images: tuple[Path, ...], repository: Path, model: str, rounds: int, output: Path) -> None:
    """Measure MODEL served from REPOSITORY against a bare loop, with IMAGES (default: the detector's sample photos)."""
    try:
        run(list(images) or sorted(Path("weights/yolov4-tiny").glob("*.jpg")), repository, model, rounds, output)
    except TritonRepoError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


def run(images: Sequence[Path], repository: Path, model: str, rounds: int, output: Path) -> None:
    """The whole measurement; prints it and writes OUTPUT/served_vs_loop.json."""
    if not images or not all(image.is_file() for image in images):
        raise ToolError("no picture to measure with", "run `make weights`, or name JPEG or PNG files")
    tool = perf_analyzer.find()
    output.mkdir(parents=True, exist_ok=True)
    with Server(repository) as server, Client(server.grpc_url, model) as client, Loop(repository, model, images) as loop:
        same_answers(client, loop, images)
        blobs = [image.read_bytes() for image in images]
        inputs = output / ".served_vs_loop-inputs.json"
        inputs.write_text(bench.inputs(client.contract(), bench.deal(blobs, (1, 8))), encoding="utf-8")
        before = {step: client.statistics(step) for step in client.contract().steps}
        try:
            found = compare(loop, tool, bench.Load(server.grpc_url, model, inputs), rounds)
        finally:
            inputs.unlink()
        steps = [between(step, before[step], client.statistics(step)) for step in before]
        conditions = {**bench.conditions(client, images, tool, bench.WINDOW_MS), "versions": loop.said["versions"]}
    batches = {step.model: bench_report.batches(step) for step in steps}
    result = {"model": model, "conditions": conditions, "summary": summary(found), "rounds": found, "batches": batches}
    (output / "served_vs_loop.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    report(model, result)


if __name__ == "__main__":
    main()
