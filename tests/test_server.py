"""Starting, stopping and failing of a real tritonserver, and the parts of it that need none."""

from __future__ import annotations

import ipaddress
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from tiny_models import identity, tensors, write

from generator import install, server, server_log, server_rest, standins
from generator.errors import ServerError, ToolError
from generator.server import Installation, Server, Settings

GOOD = "max_batch_size: 8\n" + tensors()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write(tmp_path / "repository", "good", identity(), GOOD)


def alive(group: int) -> list[str]:
    """The processes of a group that still run."""
    command = ["ps", "-e", "-o", "stat=,args=", "-o", "pgid="]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if line.split()[-1] == str(group) and not line.startswith("Z")]


def test_it_serves_on_loopback_and_leaves_nothing_behind(repository: Path) -> None:
    with Server(repository) as running:
        assert running.settings is not None
        prefix, pid = running.settings.shm_prefix, running.pid
        assert running.models == ["good"]
        assert running.http_url.startswith("127.0.0.1:")
        assert running.grpc_url.startswith("127.0.0.1:")
        assert "nv_inference_count" in urllib.request.urlopen(running.metrics_url).read().decode()
        assert len(alive(pid)) >= 2, "the server and its stub"
        assert list(Path("/dev/shm").glob(f"{prefix}*")), "both backends take our prefix"
        assert "good" in running.log
        Path(f"/dev/shm/{prefix}left_by_a_crash").touch()
        assert listening(pid) == {"127.0.0.1"}
    assert not alive(pid)
    assert not list(Path("/dev/shm").glob(f"{prefix}*"))
    with pytest.raises(ServerError, match="not running"):
        _ = running.pid


def listening(pid: int) -> set[str]:
    """The addresses that a process listens on, from /proc."""
    inodes = {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
    found = set()
    for table in ("tcp", "tcp6"):
        for fields in map(str.split, Path(f"/proc/net/{table}").read_text().splitlines()[1:]):
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                raw = bytes.fromhex(fields[1].split(":")[0])
                address = ipaddress.ip_address(b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4)))
                found.add(str(getattr(address, "ipv4_mapped", None) or address))
    return found


def test_a_killed_server_leaves_no_stub_and_no_shared_memory(repository: Path) -> None:
    running = Server(repository).start()
    assert running.settings is not None
    pid, prefix = running.pid, running.settings.shm_prefix
    os.kill(pid, signal.SIGKILL)
    running.stop()
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)
    assert not list(Path("/dev/shm").glob(f"{prefix}*"))


def test_a_killed_parent_takes_its_server_along(repository: Path) -> None:
    code = (
        "import os, sys; from generator.server import Server; server = Server(sys.argv[1]).start();"
        "print(server.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(repository)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    deadline = time.monotonic() + 20
    while (left := alive(pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    if left:
        os.killpg(pid, signal.SIGKILL)
    assert not left


def test_a_server_may_be_started_from_a_thread_that_ends(repository: Path) -> None:
    running = Server(repository)
    thread = threading.Thread(target=running.start)
    thread.start()
    thread.join()
    time.sleep(0.5)
    try:
        assert running.models == ["good"]
    finally:
        running.stop()


def test_a_server_that_does_not_listen_to_us_is_killed(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "deaf"
    program.write_text("#!/bin/sh\ntrap '' TERM\nsleep 300 &\nwait\n")
    program.chmod(0o755)
    monkeypatch.setattr(server, "find", lambda: Installation("path", program, None, None, dict(os.environ)))
    monkeypatch.setattr(server, "_GRACE", 0.3)
    seen: list[int] = []
    deaf = Server(repository, timeout=0.5)
    monkeypatch.setattr(server_rest, "ready", lambda _: seen.append(deaf.pid))
    with pytest.raises(ServerError, match=r"was not ready after 0\.5 s"):
        deaf.start()
    assert seen
    assert not alive(seen[0]), "neither the server nor its child"


def test_explicit_control_loads_what_is_named(repository: Path) -> None:
    write(repository, "other", identity(), GOOD)
    with Server(repository, model_control="explicit", load=["other"]) as running:
        assert running.models == ["other"]


def test_a_model_that_does_not_load_is_named_with_the_reason(repository: Path) -> None:
    write(repository, "typo", identity(), GOOD + "max_batchsize: 3\n")
    with pytest.raises(ServerError, match=r"model 'typo': .*has no field named .max_batchsize.") as caught:
        Server(repository).start()
    assert "good" not in caught.value.message


def test_an_ensemble_over_a_missing_model_is_named(repository: Path) -> None:
    (repository / "chain" / "1").mkdir(parents=True)
    step = (
        'step [{ model_name: "absent" model_version: -1 input_map { key: "x" value: "x" } output_map { key: "y" value: "y" } }]'
    )
    config = f'name: "chain"\nplatform: "ensemble"\n{GOOD.split("instance_group")[0]}ensemble_scheduling {{ {step} }}\n'
    (repository / "chain" / "config.pbtxt").write_text(config)
    with pytest.raises(ServerError, match=r"'chain'.*absent"):
        Server(repository).start()


def test_log_file_is_kept(repository: Path, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "server.log"
    with Server(repository, log_file=log):
        pass
    assert "successfully loaded 'good'" in log.read_text()


def test_a_busy_port_is_named_before_anything_starts(repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=rf"port {port} on 127.0.0.1 .*--grpc-port"):
            Server(repository, grpc_port=port).start()


def test_an_address_of_another_machine(repository: Path) -> None:
    with pytest.raises(ServerError, match=r"192\.0\.2\.1"):
        Server(repository, host="192.0.2.1").start()


def test_no_repository(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="no such model repository"):
        Server(tmp_path / "nothing").start()


def test_a_server_that_is_never_ready_is_stopped(repository: Path) -> None:
    slow = Server(repository, timeout=0.0)
    with pytest.raises(ServerError, match=r"was not ready after 0\.0 s"):
        slow.start()
    assert slow.settings is not None
    assert not list(Path("/dev/shm").glob(f"{slow.settings.shm_prefix}*"))


def test_command_line() -> None:
    installation = Installation("wheel", Path("/w/tritonserver"), Path("/w/python"), Path("/w/backends"), {})
    settings = Settings(Path("/r"), "127.0.0.1", 1, 2, 3, "p_", "explicit", ("a", "b"), True, ("--log-verbose=1",))
    assert server.command_line(installation, settings) == [
        "/w/tritonserver",
        "--model-repository=/r",
        "--backend-directory=/w/backends",
        "--http-address=127.0.0.1",
        "--http-port=1",
        "--grpc-address=127.0.0.1",
        "--grpc-port=2",
        "--metrics-address=127.0.0.1",
        "--metrics-port=3",
        "--model-control-mode=explicit",
        "--load-model=a",
        "--load-model=b",
        "--disable-auto-complete-config",
        "--backend-config=python,shm-region-prefix-name=p_",
        *(f"--backend-config={name},shm-region-prefix-name=p_" for name in standins.names()),
        "--log-verbose=1",
    ]
    lenient = server.command_line(
        Installation("path", Path("tritonserver"), None, None, {}), Settings(Path("/r"), "::1", 1, 2, 3, "p_", strict=False)
    )
    assert not [argument for argument in lenient if re.search("backend-directory|auto-complete|load-model", argument)]


def test_a_server_on_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "tritonserver"
    program.write_text("#!/bin/sh\necho 'E1121 01:02:03.4 1 main.cc:1] \"no luck today\"'\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = server.find()
    assert (found.kind, found.binary, found.backends) == ("path", program, None)


def test_a_server_that_ends_at_once_is_quoted(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "failing"
    program.write_text("#!/bin/sh\necho 'E1121 01:02:03.4 1 main.cc:1] \"no luck today\"'\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(server, "find", lambda: Installation("path", program, None, None, dict(os.environ)))
    with pytest.raises(ServerError, match="ended with status 3: no luck today"):
        Server(repository).start()


def test_numpy_2_in_the_servers_python_is_refused(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 2.3.1\n")
    python.chmod(0o755)
    with pytest.raises(ToolError, match=r"has numpy 2\.3\.1.*silently delivers wrong tensors"):
        install.check_numpy(python)
    python.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(ToolError, match="has no numpy"):
        install.check_numpy(python)


def test_every_start_checks_numpy(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(python: Path) -> str:
        raise ToolError(f"asked for {python}", "")

    monkeypatch.setattr(install, "check_numpy", refuse)
    with pytest.raises(ToolError, match=r"asked for .*/bin/python"):
        Server(repository).start()


def test_other_packages_cannot_leak_into_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    environment = server.find().environment
    assert "PYTHONPATH" not in environment
    wheel = install.server_environment()
    assert environment["PATH"].startswith(f"{wheel.python.parent}:")
    assert environment["LD_LIBRARY_PATH"].endswith(f":{wheel.libs}")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "E1121 05:03:26.0 5747 model_lifecycle.cc:654] \"failed to load 'm' version 1: Internal: TritonModelException: "
            "model 'm' has no file x\\n\\nAt:\\n  /a/model.py(9): initialize\\n\"",
            {"m": "has no file x"},
        ),
        (
            "E1121 05:03:26.0 5747 model_repository_manager.cc:1460] \"Poll failed for model directory 'm': bad dims\"",
            {"m": "bad dims"},
        ),
        ('I1121 05:03:26.0 5747 server.cc:1] "successfully loaded"', {}),
    ],
)
def test_log_lines(line: str, expected: dict[str, str]) -> None:
    assert server_log.failures(line) == expected
