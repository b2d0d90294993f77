"""Measures a served ensemble: the real perf_analyzer for load and latency, the server's statistics for what its steps did."""

from __future__ import annotations

import base64
import csv
import json
import math
import os
import platform
import struct
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator import server_stats
from generator.contract import Contract
from generator.errors import ToolError
from generator.perf_analyzer import PerfAnalyzer
from generator.server_stats import Step

if TYPE_CHECKING:
    from generator.client import Client

WINDOW_MS = 1500
_WINDOWS = 3
#: A window should see at least so many requests of each of the concurrent senders, or its percentiles mean nothing.
_ROUNDS_A_WINDOW = 5
#: perf_analyzer deals its inputs out in turn; see `deal`.
_PRIMES = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101)


@dataclass(frozen=True)
class Level:
    """One concurrency: what the client saw, and what each step of the ensemble did meanwhile. Times in milliseconds."""

    concurrency: int
    throughput: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    steps: tuple[Step, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**asdict(self), "steps": [step.to_dict() for step in self.steps]}


@dataclass(frozen=True)
class Report:
    """A whole sweep and the conditions it was made under."""

    model: str
    levels: tuple[Level, ...]
    conditions: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"model": self.model, "conditions": self.conditions, "levels": [level.to_dict() for level in self.levels]}


@dataclass(frozen=True)
class Load:
    """What perf_analyzer is to send: the model, its input, and the file with the pictures."""

    url: str
    model: str
    inputs: Path


def sweep(
    client: Client,
    images: Sequence[Path],
    concurrency: Sequence[int],
    tool: PerfAnalyzer,
    told: Callable[[int, Level | None], None] = lambda _concurrency, _level: None,
    *,
    window_ms: int = WINDOW_MS,
) -> Report:
    """Measure `client`'s model at each concurrency. `told` hears of a level before it (None) and after.

    Raises ClientError for a picture that the server refuses, ToolError with perf_analyzer's last lines when it fails.
    """
    found = client.contract()
    client.infer(images)  # a picture that the server refuses is named here; and what is slow the first time is over
    blobs = [image.read_bytes() for image in images]
    models = found.steps or (found.model,)
    levels: list[Level] = []
    with tempfile.TemporaryDirectory(prefix="triton-repo-bench-") as scratch:
        load = Load(client.url, found.model, Path(scratch) / "inputs.json")
        load.inputs.write_text(inputs(found, deal(blobs, concurrency)), encoding="utf-8")
        for number in concurrency:
            told(number, None)
            before = {model: client.statistics(model) for model in models}
            seen = measure(tool, load, number, window(number, levels, window_ms))
            steps = tuple(server_stats.between(model, before[model], client.statistics(model)) for model in models)
            levels.append(Level(**seen, steps=steps))
            told(number, levels[-1])
    return Report(found.model, tuple(levels), conditions(client, images, tool, window_ms))


def deal(blobs: Sequence[bytes], concurrency: Sequence[int]) -> list[bytes]:
    """The pictures in turn, repeated to a number of rows that shares no factor with any concurrency.

    Of n senders perf_analyzer gives the k-th the rows k, k + n, k + 2n: of two pictures each of two senders would see only one.
    """
    rows = next((p for p in _PRIMES if p >= len(blobs) and all(c % p for c in concurrency)), len(blobs))
    return [blobs[i % len(blobs)] for i in range(rows)]


def inputs(found: Contract, blobs: Sequence[bytes]) -> str:
    """perf_analyzer's JSON: a row a request. `b64` is the serialized tensor, in which each element follows its 4-byte length."""
    texts: dict[bytes, str] = {}
    for blob in blobs:
        if blob not in texts:
            texts[blob] = base64.b64encode(struct.pack("<I", len(blob)) + blob).decode()
    fixed = {name: {"content": [value], "shape": [1]} for name, value in found.thresholds.items()}
    return json.dumps({"data": [{found.input: {"b64": texts[blob], "shape": [1]}, **fixed} for blob in blobs]})


def window(concurrency: int, levels: Sequence[Level], at_least: int) -> int:
    """Milliseconds of a measurement window: longer where the level before was slow."""
    if not levels:
        return at_least
    expected_ms = 1000 * concurrency / max(levels[-1].throughput, 0.01)
    return max(at_least, math.ceil(_ROUNDS_A_WINDOW * expected_ms))


def measure(tool: PerfAnalyzer, load: Load, concurrency: int, window_ms: int = WINDOW_MS) -> dict[str, Any]:
    """One run of perf_analyzer over gRPC; the fields of `Level` but its steps. Raises ToolError with its last lines."""
    with tempfile.TemporaryDirectory(prefix="triton-repo-bench-") as scratch:
        report = Path(scratch) / "report.csv"
        command = [str(tool.binary), "-m", load.model, "-u", load.url, "-i", "grpc", "--input-data", str(load.inputs)]
        command += ["--concurrency-range", f"{concurrency}:{concurrency}:1", "-p", str(window_ms)]
        # three windows whatever they show: waiting for stability on a drifting machine never ends
        command += ["-s", "999", "-r", str(_WINDOWS), "-f", str(report)]
        limit = 60 + 20 * _WINDOWS * window_ms / 1000
        try:
            done = subprocess.run(command, capture_output=True, text=True, env=tool.env, timeout=limit, check=False)
        except subprocess.TimeoutExpired:
            raise ToolError(
                f"perf_analyzer did not end within {limit:.0f} s", "see the server's log; try a lower concurrency"
            ) from None
        except OSError as error:
            raise ToolError(f"perf_analyzer could not be started: {error}", "run `make server` again") from None
        if done.returncode or not report.exists():
            said = last_words(done.stdout + done.stderr)
            raise ToolError(f"perf_analyzer ended with code {done.returncode} at concurrency {concurrency}: {said}", "")
        return parse(report.read_text(encoding="utf-8"))


def parse(text: str) -> dict[str, Any]:
    """The CSV report of one level: concurrency, throughput a second, percentiles in milliseconds. Raises ToolError."""
    rows = [row for row in csv.DictReader(text.splitlines()) if row.get("Concurrency")]
    try:
        (row,) = rows
        found: dict[str, Any] = {"concurrency": int(row["Concurrency"]), "throughput": float(row["Inferences/Second"])}
        return found | {f"p{p}_ms": int(row[f"p{p} latency"]) / 1000 for p in (50, 90, 95, 99)}
    except (KeyError, ValueError) as error:
        raise ToolError(f"perf_analyzer's report cannot be read ({error}): {text[:200]!r}", "use perf_analyzer 2.51.0") from None


def last_words(text: str, lines: int = 4) -> str:
    """The last different lines that say something, on one line."""
    said = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    return " | ".join(said[-lines:]) or "without a word"


def conditions(client: Client, images: Sequence[Path], tool: PerfAnalyzer, window_ms: int) -> dict[str, Any]:
    """What a reader needs to judge the figures."""
    return {
        "url": client.url,
        "server": client.server_version(),
        "perf_analyzer": tool.version,
        "protocol": "gRPC",
        "max_batch_size": client.contract().max_batch_size,
        "images": [f"{image.name} ({_size(image)})" for image in images],
        "pictures_a_request": 1,
        "window_ms": window_ms,
        "windows": _WINDOWS,
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "note": "step times are means a request, perf_analyzer's warm-up included; server and load share this machine's cores",
    }


def _size(image: Path) -> str:
    from PIL import Image

    try:
        with Image.open(image) as opened:
            return f"{opened.width}x{opened.height}"
    except OSError:
        return f"{image.stat().st_size} bytes"
