"""`triton-repo serve`, as a person uses it: from a terminal, until Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import IO

import pytest
from click.testing import CliRunner
from tiny_models import identity, tensors, write

from generator.cli import run
from generator.commands.serve import command
from generator.container import run_command

ROOT = Path(__file__).resolve().parent.parent
FREE = ["--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write(tmp_path / "repository", "good", identity(), "max_batch_size: 8\n" + tensors())


def start(arguments: list[str]) -> subprocess.Popen[str]:
    code = "import sys; from generator.cli import run; sys.exit(run(sys.argv[1:]))"
    command_line = [sys.executable, "-c", code, "serve", *arguments]
    pipe = subprocess.PIPE
    # Ctrl-C reaches the whole foreground group; a session of its own lets the test send it the same way
    return subprocess.Popen(command_line, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def read_until(stream: IO[str] | None, text: str) -> str:
    assert stream is not None
    seen = ""
    for line in stream:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"{text!r} never came; what came: {seen}")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_says_when_it_is_ready_and_ctrl_c_stops_it(repository: Path, how: signal.Signals) -> None:
    process = start([str(repository), *FREE])
    try:
        said = read_until(process.stdout, "Ctrl-C stops it")
        assert "ready: good\n" in said
        url = re.search(r"http +(http://127\.0\.0\.1:\d+)", said)
        assert url is not None, said
        assert urllib.request.urlopen(f"{url[1]}/v2/models/good/ready").status == 200
        os.killpg(process.pid, how)
        rest, errors = process.communicate(timeout=40)
    finally:
        process.kill()
    assert process.returncode == 0
    assert rest.endswith("stopped\n")
    assert errors == ""
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url[1])


def test_a_server_that_dies_is_an_error(repository: Path) -> None:
    process = start([str(repository), *FREE])
    try:
        read_until(process.stdout, "Ctrl-C stops it")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        _, errors = process.communicate(timeout=40)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "error: tritonserver ended by itself with status -9" in errors


def test_a_busy_port(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert run(["serve", str(repository), "--http-port", port, *FREE[2:]]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: port {port} on 127.0.0.1 cannot be used: Address already in use; stop what listens there")
    assert "--http-port" in error


@pytest.mark.parametrize(("folder", "message"), [("absent", "no such model repository"), ("", "holds no model")])
def test_nothing_to_serve(tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str, message: str) -> None:
    assert run(["serve", str(tmp_path / folder)]) == 1
    assert message in capsys.readouterr().err


def test_no_server_anywhere(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRITON_REPO_CACHE", str(tmp_path))
    assert run(["serve", str(repository), *FREE]) == 1
    assert "run `make server`, or see `triton-repo serve --container print`" in capsys.readouterr().err


def test_an_open_address_is_warned_of(repository: Path) -> None:
    process = start([str(repository), "--host", "0.0.0.0", *FREE])
    try:
        read_until(process.stdout, "Ctrl-C stops it")
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=40)
    finally:
        process.kill()
    assert "everybody who reaches 0.0.0.0 can use this server" in errors


def test_the_container_command_is_printed_and_not_run(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("nothing may be run"))
    result = CliRunner().invoke(command, [str(repository), "--container", "print", "--grpc-port", "9001"])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1].startswith("docker run --rm --init --publish=127.0.0.1:8000:8000")
    assert "--publish=127.0.0.1:9001:8001" in result.output


def test_the_container_command_mounts_read_only(repository: Path) -> None:
    line = run_command(repository, "image:1", "127.0.0.1", (1, 2, 3), 256)
    assert f"--volume={repository}:/models:ro" in line
    assert not any(word.startswith("--gpus") for word in line)
    assert "--shm-size=256m" in line
    assert line[line.index("image:1") + 1 :] == ["tritonserver", "--model-repository=/models", "--disable-auto-complete-config"]


def test_the_container_is_run_when_asked_for(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n[ "$1" = info ] || exit 125\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert run(["serve", str(repository), "--container", "run", "--image", "mine:2"]) == 1
    assert "docker run ended with status 125" in capsys.readouterr().err
    assert " mine:2 tritonserver " in (tmp_path / "calls").read_text().splitlines()[-1]
