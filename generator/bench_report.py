"""A sweep as a table, as JSON and as a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator.bench import Level, Report
from generator.errors import ToolError
from generator.server_stats import Step

if TYPE_CHECKING:
    from rich.table import Table

_INK, _FAINT = "#222222", "#d9d9d9"
_P50, _P99 = "#1f6fb4", "#d1495b"
_STEPS = ("#1f6fb4", "#e08e2b", "#3a9d5d", "#8a5fbf", "#d1495b")


def write(report: Report, folder: Path) -> tuple[Path, Path]:
    """MODEL.json and MODEL.png in `folder`. Raises ToolError when it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text, picture = folder / f"{report.model}.json", folder / f"{report.model}.png"
        text.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
        plot(report, picture)
    except OSError as error:
        raise ToolError(f"{folder}: {error.strerror}", "name another folder with -o") from None
    return text, picture


def levels(report: Report) -> Table:
    """Latency and throughput, a row a concurrency."""
    from rich.table import Table

    table = Table(title=f"{report.model}: latency and throughput", title_justify="left")
    for name in ("concurrency", "infer/s", "p50 ms", "p90 ms", "p99 ms"):
        table.add_column(name, justify="right")
    for level in report.levels:
        row = (level.throughput, level.p50_ms, level.p90_ms, level.p99_ms)
        table.add_row(str(level.concurrency), *(f"{value:.1f}" for value in row))
    return table


def steps(report: Report) -> Table:
    """Where the time went on the server, and the batches that formed, a row a concurrency and step."""
    from rich.table import Table

    table = Table(title="steps on the server (mean ms a request; batch size×runs)", title_justify="left")
    for name in ("concurrency", "step", "queue", "compute", "rows a run"):
        table.add_column(name, justify="left" if name == "step" else "right", overflow="fold")
    table.add_column("batches that formed", overflow="fold")
    for level in report.levels:
        for i, step in enumerate(level.steps):
            numbers = [f"{value:.2f}" for value in (step.queue_ms, step.compute_ms, step.mean_batch)]
            first, last = str(level.concurrency) if i == 0 else "", i + 1 == len(level.steps)
            table.add_row(first, short(step.model, report.model), *numbers, batches(step), end_section=last)
    return table


def short(step: str, ensemble: str) -> str:
    """`preprocess` for `yolov4_tiny_preprocess`, a step of `yolov4_tiny`."""
    return step.removeprefix(f"{ensemble}_") or step


def batches(step: Step) -> str:
    """`1×24, 2×13`: 24 runs of one row and 13 of two."""
    return ", ".join(f"{size}×{count}" for size, count in step.batches.items()) or "none"


def plot(report: Report, path: Path) -> None:
    """Left: p50 and p99 against throughput, the concurrency at each point. Right: time of each step, queue hatched."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    style: dict[Any, Any] = {"font.size": 10, "axes.edgecolor": _INK, "axes.spines.top": False, "axes.spines.right": False}
    with plt.rc_context(style):
        figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), width_ratios=(3, 2), layout="constrained")
        _curves(left, report.levels)
        _bars(right, report.levels, report.model)
        said = report.conditions
        figure.suptitle(f"{report.model} on tritonserver {said.get('server', '')}", x=0.01, ha="left", weight="bold", size=13)
        figure.supxlabel(_footnote(said), x=0.01, ha="left", size=8, color="#666666")
        figure.savefig(path, dpi=150, facecolor="white")
        plt.close(figure)


def _curves(axes: Any, found: Sequence[Level]) -> None:
    speed = [level.throughput for level in found]
    for values, colour, name in (
        ([level.p99_ms for level in found], _P99, "p99"),
        ([level.p50_ms for level in found], _P50, "p50"),
    ):
        axes.plot(speed, values, "-o", color=colour, label=name, linewidth=2, markersize=6, markeredgecolor="white")
    for level in found:
        # above the upper curve, so that neither line runs through the number
        axes.annotate(
            str(level.concurrency), (level.throughput, max(level.p50_ms, level.p99_ms)), xytext=(0, 8),
            textcoords="offset points", ha="center", size=9, color=_INK,
        )  # fmt: skip
    axes.set(
        xlabel="throughput (pictures a second)", ylabel="latency (ms)", title="latency against throughput; numbers: concurrency"
    )
    axes.title.set_size(10)
    axes.set_xlim(0, max(speed, default=1) * 1.1 or 1)
    axes.set_ylim(0, max((level.p99_ms for level in found), default=1) * 1.15 or 1)
    axes.grid(color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="upper left", frameon=False)


def _bars(axes: Any, found: Sequence[Level], model: str) -> None:
    names = [step.model for step in found[0].steps] if found else []
    bottom = [0.0] * len(found)
    places = range(len(found))
    for i, name in enumerate(names):
        colour = _STEPS[i % len(_STEPS)]
        for part, alpha, hatch in (("queue_ms", 0.35, "///"), ("compute_ms", 1.0, "")):
            values = [getattr(level.steps[i], part) for level in found]
            label = f"{short(name, model)}: {'queue' if hatch else 'compute'}"
            axes.bar(
                places,
                values,
                0.65,
                bottom,
                color=colour,
                alpha=alpha,
                hatch=hatch,
                edgecolor="white",
                linewidth=0.5,
                label=label,
            )
            bottom = [low + value for low, value in zip(bottom, values, strict=True)]
    axes.set_xticks(list(places), [str(level.concurrency) for level in found])
    axes.set(xlabel="concurrency", ylabel="mean ms a request", title="time of each step on the server")
    axes.title.set_size(10)
    axes.set_ylim(0, max(bottom, default=1) * 1.15 or 1)
    axes.grid(axis="y", color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="upper left", frameon=False, fontsize=8)


def _footnote(said: dict[str, Any]) -> str:
    images = ", ".join(said.get("images", []))
    shown = images if len(images) <= 90 else f"{len(said['images'])} pictures"
    return f"perf_analyzer {said.get('perf_analyzer', '')}, gRPC, one picture a request; {shown}; {said.get('cores', '?')} cores"
