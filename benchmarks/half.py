"""What half precision does on ONNX Runtime's CPU provider: bytes of the file, and seconds a run against FP32, in pairs.

`python benchmarks/half.py fp32.onnx fp16.onnx`: two files of one network (triton-repo onnx SPEC -o FILE), with the same inputs.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any

from generator import graph, sampling
from generator.frontends import Interface
from generator.ladder_samples import typed

_PAIRS = 15


def main(single: Path, half: Path) -> None:
    """Print both ratios; of speed the median of pairs, and the span of the middle half."""
    sessions = [graph.session(path, threads=1) for path in (single, half)]
    inputs = [graph.interface(graph.load(path))[0] for path in (single, half)]
    sample = sampling.samples(Interface(inputs[0], ()))[1]
    feeds = [typed(tensors, sample) for tensors in inputs]
    for session, feed in zip(sessions, feeds, strict=True):
        graph.run(session, feed)
    ratios = sorted(_seconds(sessions[1], feeds[1]) / _seconds(sessions[0], feeds[0]) for _ in range(_PAIRS))
    low, high = ratios[_PAIRS // 4], ratios[-_PAIRS // 4]
    print(
        f"bytes {_size(half) / _size(single):.2f}, seconds {statistics.median(ratios):.2f} ({low:.2f} to {high:.2f}) times FP32"
    )


def _seconds(session: Any, feed: dict[str, Any]) -> float:
    start = time.perf_counter()
    graph.run(session, feed)
    return time.perf_counter() - start


def _size(path: Path) -> int:
    data = path.with_name(f"{path.name}.data")
    return path.stat().st_size + (data.stat().st_size if data.exists() else 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
