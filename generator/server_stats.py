"""The server's own statistics of each model, and what happened between two looks at them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: The parts of a request's time that the server counts, and our names for them.
_PARTS = {"queue": "queue", "compute_input": "input", "compute_infer": "infer", "compute_output": "output"}


@dataclass(frozen=True)
class Counts:
    """What the server has counted for one model since it was loaded."""

    #: Requests answered.
    requests: int = 0
    #: Runs of the model; a run answers a batch of one or more requests.
    executions: int = 0
    #: Part of the time -> nanoseconds, added up over the requests.
    nanoseconds: dict[str, int] = field(default_factory=dict)
    #: Batch size -> runs that had it.
    batches: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One model between two looks: mean milliseconds a request, and the batches that really formed."""

    model: str
    requests: int
    executions: int
    queue_ms: float
    input_ms: float
    infer_ms: float
    output_ms: float
    batches: dict[int, int]

    @property
    def compute_ms(self) -> float:
        """Input, inference and output together."""
        return self.input_ms + self.infer_ms + self.output_ms

    @property
    def mean_batch(self) -> float:
        """Rows a run; 0 when nothing ran."""
        runs = sum(self.batches.values())
        return sum(size * count for size, count in self.batches.items()) / runs if runs else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        times = {f"{name}_ms": round(getattr(self, f"{name}_ms"), 4) for name in _PARTS.values()}
        return {
            "model": self.model, "requests": self.requests, "executions": self.executions, **times,
            "mean_batch": round(self.mean_batch, 3), "batches": {str(size): count for size, count in self.batches.items()},
        }  # fmt: skip


def counts(answer: Any) -> Counts:
    """From tritonclient's ModelStatisticsResponse for one model; its versions are added up."""
    requests = executions = 0
    nanoseconds = dict.fromkeys(_PARTS.values(), 0)
    batches: dict[int, int] = {}
    for version in answer.model_stats:
        requests += version.inference_stats.success.count
        executions += version.execution_count
        for theirs, ours in _PARTS.items():
            nanoseconds[ours] += getattr(version.inference_stats, theirs).ns
        for row in version.batch_stats:
            batches[row.batch_size] = batches.get(row.batch_size, 0) + row.compute_infer.count
    return Counts(requests, executions, nanoseconds, batches)


def between(model: str, before: Counts, after: Counts) -> Step:
    """What the model did from `before` to `after`."""
    requests = after.requests - before.requests
    spent = {part: after.nanoseconds.get(part, 0) - before.nanoseconds.get(part, 0) for part in _PARTS.values()}
    times = {f"{part}_ms": spent[part] / requests / 1e6 if requests else 0.0 for part in spent}
    grown = {size: count - before.batches.get(size, 0) for size, count in sorted(after.batches.items())}
    batches = {size: count for size, count in grown.items() if count}
    return Step(model, requests, after.executions - before.executions, batches=batches, **times)
