"""Several targets of one checkpoint on one server, measured in turns: speed drifts, so only ratios within a round count."""

from __future__ import annotations

import base64
import json
import math
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from generator import bench, ladder_samples
from generator.bench import Load
from generator.contract import Contract
from generator.errors import ToolError
from generator.pipeline import Pipeline
from generator.warmup import serialised

if TYPE_CHECKING:
    import tritonclient.grpc as triton

    from generator.perf_analyzer import PerfAnalyzer
    from generator.verify import Rung

#: One run of perf_analyzer has three windows of at least so many milliseconds, each long enough for so many requests of a sender.
_WINDOW_MS = 500
_REQUESTS = 5
#: What it says where too few were answered in time (seen: 2.51, a model of 2 s), and where to stop making the window longer.
_TOO_SHORT = ("No valid requests recorded", "Failed to obtain stable measurement")
_WIDEST_MS = 30_000
#: How likely it may be that two of equal speed are told apart (the sign test, two-sided, for either may be the one ahead): five
#: rounds of five are.
_DOUBT = 1 / 16


@dataclass
class Entrant:
    """One target: what its served answers are worth, and what was measured of it, by concurrency, a number a round."""

    name: str
    target: str
    precision: str
    rung: Rung
    throughput: dict[int, list[float]] = field(default_factory=dict)
    p50_ms: dict[int, list[float]] = field(default_factory=dict)

    @property
    def right(self) -> bool:
        """Is what it serves what was trained?"""
        return self.rung.result.ok

    def ratios(self, to: Entrant, level: int, latency: bool = False) -> list[float]:
        """How many times as fast as `to`, round by round."""
        if latency:
            return [b / a for a, b in zip(self.p50_ms[level], to.p50_ms[level], strict=True)]
        return [a / b for a, b in zip(self.throughput[level], to.throughput[level], strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "name": self.name, "target": self.target, "precision": self.precision, "right": self.right,
            "parity": asdict(self.rung.result), "throughput": self.throughput, "p50_ms": self.p50_ms,
        }  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """Who is ahead, by how much of the second, and in how many of the rounds."""

    best: Entrant
    second: Entrant
    ratio: float
    won: int
    rounds: int

    @property
    def clear(self) -> bool:
        """Was it ahead more often than luck explains? The two-sided sign test over the rounds."""
        return self._luck(self.won) <= _DOUBT

    @property
    def decidable(self) -> bool:
        """Are the rounds enough for anybody to be clearly ahead?"""
        return self._luck(self.rounds) <= _DOUBT

    def _luck(self, won: int) -> float:
        return float(2 * sum(math.comb(self.rounds, wins) for wins in range(won, self.rounds + 1)) / 2**self.rounds)


@dataclass(frozen=True)
class Race:
    """What is measured where: requests in flight, a level each, and how often each target has its turn."""

    client: triton.InferenceServerClient
    url: str
    tool: PerfAnalyzer
    levels: tuple[int, ...]
    rounds: int

    def run(self, entrants: Mapping[str, tuple[Pipeline, Entrant]], told: Callable[[str, int, int], None]) -> None:
        """Measure each at each level, in turns; who begins changes, and a round before the first is not counted.

        `told` hears who, level and round.
        """
        with tempfile.TemporaryDirectory(prefix="triton-repo-compare-") as scratch:
            loads = {}
            for name, (pipeline, _) in entrants.items():
                loads[name] = Load(self.url, name, Path(scratch) / f"{name}.json")
                loads[name].inputs.write_text(_inputs(pipeline, self.client, self.levels), encoding="utf-8")
            for level in self.levels:
                windows = dict.fromkeys(loads, _WINDOW_MS)
                for number in range(self.rounds + 1):
                    for name in _turn(list(loads), number):
                        told(name, level, number)
                        seen = self.measured(loads[name], level, windows[name])
                        windows[name] = max(_WINDOW_MS, int(1000 * _REQUESTS * level / max(seen["throughput"], 0.01)))
                        if number == 0:
                            continue  # the first requests of a size are slow: kernels are chosen, TorchScript compiles
                        entrants[name][1].throughput.setdefault(level, []).append(seen["throughput"])
                        entrants[name][1].p50_ms.setdefault(level, []).append(seen["p50_ms"])

    def measured(self, load: Load, level: int, window: int) -> dict[str, Any]:
        """One turn, in a window of `window` milliseconds, or a longer one where no request is answered within it."""
        try:
            return bench.measure(self.tool, load, level, window)
        except ToolError as error:
            if not any(said in error.message for said in _TOO_SHORT) or window >= _WIDEST_MS:
                raise
        return self.measured(load, level, 4 * window)


def _turn(names: list[str], number: int) -> list[str]:
    """Rotated, so that nobody always follows the same neighbour."""
    first = number % len(names)
    return names[first:] + names[:first]


def verdict(entrants: Sequence[Entrant], level: int, latency: bool = False) -> Verdict | None:
    """Among those that serve what was trained; None where fewer than two do."""
    values = {e.name: statistics.median(e.p50_ms[level] if latency else e.throughput[level]) for e in entrants if e.right}
    ranked = sorted((e for e in entrants if e.right), key=lambda e: values[e.name], reverse=not latency)
    if len(ranked) < 2:
        return None
    ratios = ranked[0].ratios(ranked[1], level, latency)
    return Verdict(ranked[0], ranked[1], statistics.median(ratios), sum(r > 1 for r in ratios), len(ratios))


def _inputs(pipeline: Pipeline, client: triton.InferenceServerClient, levels: Sequence[int]) -> str:
    """perf_analyzer's JSON: the pictures of `verify`, or the samples that verification sends, a row a request."""
    if pipeline.spec.preprocess is not None:
        found = Contract.of(client.get_model_config(pipeline.served.name).config)
        return bench.inputs(found, bench.deal([path.read_bytes() for path in pipeline.spec.verify.images], levels))
    samples, _, _ = ladder_samples.bare(pipeline)
    rows = [_row(pipeline, ladder_samples.typed(pipeline.model.inputs, sample.values)) for sample in samples]
    return json.dumps({"data": rows})


def _row(pipeline: Pipeline, values: Mapping[str, Any]) -> dict[str, Any]:
    """The first row of each input, as raw little-endian bytes with its shape; all of it where nothing is batched."""
    row = {}
    for tensor in pipeline.served.inputs:
        array = np.asarray(values[pipeline.served.own_name(tensor.name)])
        array = array[0] if pipeline.max_batch_size else array
        array = array.reshape(array.shape or (1,))
        data = serialised(list(array.reshape(-1))) if tensor.dtype == "BYTES" else np.ascontiguousarray(array).tobytes()
        row[tensor.name] = {"b64": base64.b64encode(data).decode(), "shape": list(array.shape)}
    return row
