"""`triton-repo doctor`: it finds what is there, and says what to do about what is not."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from generator import diagnosis, install
from generator.cli import run
from generator.environment import Environment
from generator.errors import ToolError

if TYPE_CHECKING:
    from pathlib import Path


def findings(capsys: pytest.CaptureFixture[str], code: int) -> dict[str, Any]:
    assert run(["doctor", "--json"]) == code
    told = json.loads(capsys.readouterr().out)
    assert told["ready"] is (code == 0)
    return {finding["what"]: finding for finding in told["findings"]}


def test_this_machine_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    found = findings(capsys, 0)
    assert all(finding["ok"] for finding in found.values() if finding["required"])
    assert "2.51.0 from the wheel" in found["tritonserver"]["found"]
    assert "numpy 1.26.4" in found["the server's Python"]["found"]
    assert {"onnxruntime (stand-in)", "python"} <= set(found["backends"]["found"].split(", "))
    assert "2.51.0" in found["perf_analyzer"]["found"]


def test_the_table_names_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    table = capsys.readouterr().out
    for name in ("tritonserver", "backends", "shared memory", "perf_analyzer", "TensorRT", "GPU", "docker"):
        assert name in table
    assert "everything that `make repo` needs is here" in table


def test_every_missing_thing_has_a_remedy(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_REPO_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    found = findings(capsys, 1)
    for what in ("tritonserver", "the server's Python", "backends", "perf_analyzer", "GPU", "docker"):
        assert not found[what]["ok"], what
    assert all(finding["remedy"] for finding in found.values() if not finding["ok"])
    assert not any(finding["remedy"] for finding in found.values() if finding["ok"])
    assert "make server" in found["tritonserver"]["remedy"]


def test_a_placeholder_perf_analyzer_is_not_taken_for_the_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "perf_analyzer"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    finding = {finding.what: finding for finding in diagnosis.examine()}["perf_analyzer"]
    assert finding.ok
    assert str(tmp_path) not in finding.found


def test_numpy_2_makes_the_server_unfit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def two(_: Path) -> str:
        raise ToolError("the server's Python has numpy 2.3", "install numpy<2 there")

    monkeypatch.setattr(install, "check_numpy", two)
    found = findings(capsys, 1)
    assert found["the server's Python"]["remedy"] == "install numpy<2 there"
    assert found["tritonserver"]["ok"]


def test_a_gpu_and_docker_that_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, answer in (("nvidia-smi", "0, NVIDIA X, 9.0, 100, 570.1"), ("docker", "27.0")):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{answer}'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = {finding.what: finding for finding in diagnosis.examine()}
    assert (found["GPU"].ok, found["GPU"].found) == (
        True, "NVIDIA X (compute capability 9.0), 100 MiB; driver 570.1, runs CUDA 12 and older",
    )  # fmt: skip
    assert (found["docker"].ok, found["docker"].found) == (True, "daemon 27.0")


def test_the_judge_of_the_preflight_is_looked_for_in_its_environment(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_REPO_CACHE", str(tmp_path))
    assert "check --tensorrt` makes it" in findings(capsys, 1)["TensorRT-RTX"]["remedy"]
    made = Environment("tensorrt_rtx").folder
    made.mkdir(parents=True)
    (made / "installed").touch()
    assert findings(capsys, 1)["TensorRT-RTX"]["ok"]
