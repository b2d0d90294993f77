"""The benchmark: perf_analyzer's input and report, the server's counts, the picture, and one short real run."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_ensemble
import numpy as np
import pytest
from PIL import Image

from generator import bench, bench_report, cli, perf_analyzer
from generator.bench import Level, Report
from generator.contract import Contract
from generator.errors import ToolError
from generator.perf_analyzer import PerfAnalyzer
from generator.server import Server
from generator.server_stats import Counts, Step, between

#: Written by perf_analyzer 2.51.0 with -f, over gRPC, against an ensemble.
RECORDED = (
    "Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,Server Compute Infer,"
    "Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency\n"
    "4,2880.84,2,663,0,31,372,309,2,1274,1842,2006,2575\n\n"
)


IMAGE = Contract("m", "image", (), 8)


def step(model: str = "m", batches: dict[int, int] | None = None) -> Step:
    return Step(model, 10, 5, 1.0, 0.1, 2.0, 0.2, {1: 3, 4: 2} if batches is None else batches)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_ensemble.write(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Two that the fake model takes."""
    for name in ("1", "3"):
        (tmp_path / f"{name}.jpg").write_bytes(name.encode())
    return [tmp_path / "1.jpg", tmp_path / "3.jpg"]


def test_a_recorded_report_is_read() -> None:
    assert bench.parse(RECORDED) == {
        "concurrency": 4, "throughput": 2880.84, "p50_ms": 1.274, "p90_ms": 1.842, "p95_ms": 2.006, "p99_ms": 2.575,
    }  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "hello\n", RECORDED.replace("p99 latency", "p98 latency"), RECORDED + "8,1,,,,,,,,1,1,1,1\n"]
)
def test_a_report_of_another_form_is_an_error(text: str) -> None:
    with pytest.raises(ToolError, match="report cannot be read"):
        bench.parse(text)


def test_inputs_are_the_serialized_tensor_with_its_length_in_front() -> None:
    rows = json.loads(bench.inputs(IMAGE, [b"\xff\xd8 a picture", b"b"]))["data"]
    assert [row["image"]["shape"] for row in rows] == [[1], [1]]
    data = base64.b64decode(rows[0]["image"]["b64"])
    assert struct.unpack("<I", data[:4]) == (12,)
    assert data[4:] == b"\xff\xd8 a picture"


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12, 150])
def test_every_sender_sees_every_picture(count: int) -> None:
    blobs, levels = [bytes([n]) for n in range(count)], (1, 2, 4, 8, 11, 16)
    dealt = bench.deal(blobs, levels)
    for senders in levels if count < 100 else ():
        for sender in range(senders):
            seen = {dealt[(sender + turn * senders) % len(dealt)] for turn in range(len(dealt))}
            assert seen == set(blobs)
    assert set(dealt) == set(blobs)


def test_windows_grow_where_the_server_is_slow() -> None:
    slow = Level(4, 2.0, 1, 1, 1, 1)
    assert bench.window(1, [], 1500) == 1500
    assert bench.window(8, [slow], 1500) == 20_000  # 8 requests at 2 a second take 4 s; five times that
    assert bench.window(8, [Level(4, 500.0, 1, 1, 1, 1)], 1500) == 1500


def test_the_difference_of_two_looks() -> None:
    before = Counts(10, 8, {"queue": 1_000_000, "input": 0, "infer": 5_000_000, "output": 0}, {1: 6, 2: 2})
    after = Counts(30, 13, {"queue": 41_000_000, "input": 2_000_000, "infer": 25_000_000, "output": 0}, {1: 6, 2: 2, 4: 5})
    found = between("m", before, after)
    assert (found.requests, found.executions, found.batches) == (20, 5, {4: 5})
    assert (found.queue_ms, found.input_ms, found.infer_ms, found.compute_ms) == (2.0, 0.1, 1.0, 1.1)
    assert found.mean_batch == 4.0
    nothing = between("m", after, after)
    assert (nothing.queue_ms, nothing.mean_batch, bench_report.batches(nothing)) == (0.0, 0.0, "none")


def test_last_words_are_the_last_different_lines() -> None:
    assert bench.last_words("a\nb\n\nc\nThread died\nThread died\n", 2) == "c | Thread died"


def test_a_failing_perf_analyzer_is_quoted(repository: Path, server: Callable[..., Server], tmp_path: Path) -> None:
    url, tool = server(repository).grpc_url, perf_analyzer.find()
    file = tmp_path / "inputs.json"
    file.write_text(bench.inputs(IMAGE, [b"bad"]))
    with pytest.raises(ToolError, match=r"code 99 at concurrency 2: .*not a JPEG or PNG"):
        bench.measure(tool, bench.Load(url, "detector", file), 2, 100)
    with pytest.raises(ToolError, match="unknown model: 'nobody'"):
        bench.measure(tool, bench.Load(url, "nobody", file), 1, 100)
    with pytest.raises(ToolError, match="could not be started"):
        bench.measure(PerfAnalyzer(tmp_path / "none", {}, "0"), bench.Load(url, "detector", file), 1, 100)


def test_a_real_sweep(
    repository: Path, server: Callable[..., Server], pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, out = server(repository).grpc_url, tmp_path / "out"
    code = cli.run(["bench", *map(str, pictures), "--url", url, "--concurrency", "1,6", "--window", "200", "-o", str(out)])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "concurrency 6 (2 of 2)" in said.err
    report = json.loads((out / "detector.json").read_text())
    one, six = report["levels"]
    assert (one["concurrency"], six["concurrency"]) == (1, 6)
    assert report["conditions"]["server"] == "2.51.0"
    for level in (one, six):
        assert 0 < level["p50_ms"] <= level["p90_ms"] <= level["p99_ms"]
        assert level["throughput"] > 0
    (model,) = six["steps"]
    assert model["model"] == "detector_model"
    # batches form with six senders and cannot with one
    assert set(one["steps"][0]["batches"]) == {"1"}
    assert model["batches"].get("3", 0) > 0
    assert sum(int(size) * count for size, count in model["batches"].items()) == model["requests"]
    with Image.open(out / "detector.png") as picture:
        assert picture.size == (1800, 750)


def test_a_picture_that_the_server_refuses_is_named(
    repository: Path, server: Callable[..., Server], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    code = cli.run(["bench", str(tmp_path / "bad.jpg"), "--url", server(repository).grpc_url, "-o", str(tmp_path / "out")])
    assert code == 1
    assert "bad.jpg: the server answered" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--concurrency", "1,x"], "list of whole numbers"),
        (["--concurrency", "0"], "list of whole numbers"),
        (["missing.jpg"], "missing.jpg: no such picture"),
        ([], "no picture was named"),
        (["--url", "127.0.0.1:1", "-r", "x"], "exclude each other"),
    ],
)
def test_mistakes_are_answered_in_words(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["bench", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_picture_is_drawn_from_the_figures(tmp_path: Path) -> None:
    conditions: dict[str, Any] = {"server": "2.51.0", "images": ["a.jpg (8x8)"], "cores": 2}
    slow = Report("m", (Level(1, 10, 90, 95, 99, 120, (step(),)), Level(2, 18, 100, 110, 120, 150, (step(),))), conditions)
    fast = Report("m", (Level(1, 10, 9, 9, 9, 12, (step(),)), Level(2, 18, 10, 11, 12, 90, (step(),))), conditions)
    for name, report in (("slow", slow), ("fast", fast)):
        bench_report.plot(report, tmp_path / f"{name}.png")
    with Image.open(tmp_path / "slow.png") as a, Image.open(tmp_path / "fast.png") as b:
        assert a.size == b.size
        assert (np.asarray(a) != np.asarray(b)).any()
        assert len(a.convert("RGB").getcolors(1 << 20) or []) > 50


def test_steps_are_named_without_the_ensemble() -> None:
    assert bench_report.short("yolo_preprocess", "yolo") == "preprocess"
    assert bench_report.short("other", "yolo") == "other"


def test_the_bare_loop_counts_what_it_did(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    import bare_loop

    seen: list[bytes] = []
    clock = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock) * 0.5)
    found = bare_loop.timed(seen.append, [b"a", b"b"], 2.0)
    assert seen == [b"a", b"b", b"a", b"b"]
    assert found == {"throughput": 2.0, "p50_ms": 500.0, "count": 4}


def test_ratios_are_taken_within_a_round(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    import served_vs_loop

    order: list[object] = []
    speed = iter((1.0, 4.0, 2.0))  # the machine drifts; the ratios do not

    class Machine(served_vs_loop.Loop):
        factor = 1.0

        def __init__(self) -> None: ...

        def measure(self, seconds: float) -> dict[str, float]:
            order.append("loop")
            return {"throughput": 10 * self.factor, "p50_ms": 100 / self.factor}

    machine = Machine()

    def measured(tool: Any, load: Any, concurrency: int, window_ms: int = 0) -> dict[str, Any]:
        if len(order) % 3 == 0 and window_ms:
            machine.factor = next(speed)
        if window_ms:
            order.append(concurrency)
        return {"throughput": 12 * machine.factor, "p50_ms": 110 / machine.factor}

    monkeypatch.setattr(bench, "measure", measured)
    rounds = served_vs_loop.compare(machine, PerfAnalyzer(Path(), {}, ""), bench.Load("", "", Path()), 3)
    assert order == [1, "loop", 8, 8, "loop", 1, 1, "loop", 8]
    figures = served_vs_loop.summary(rounds)
    assert figures["throughput_ratio"]["median"] == pytest.approx(1.2)
    assert figures["latency_ratio"]["median"] == pytest.approx(1.1)
    assert (figures["loop_throughput"]["lowest"], figures["loop_throughput"]["highest"]) == (10, 40)
