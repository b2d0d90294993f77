"""Finds a real tritonserver and runs it on a repository, on loopback, until it is ready or says why it is not.

with Server(repository) as server:
    client = tritonclient.grpc.InferenceServerClient(server.grpc_url)
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from generator import install, openvino_precision, response_cache, server_log, server_rest, standins
from generator.errors import ServerError, ToolError

_GRACE = 20.0  # seconds between asking the server to end and killing it
#: Starts the server such that the kernel ends it with its parent: a killed test run must not leave a server behind.
_LEASH = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.argv[1], sys.argv[1:])"
_ATTEMPTS = 3  # a port that was free when it was picked can be taken before the server binds it


@dataclass(frozen=True)
class Installation:
    """A tritonserver that can be started: from PATH (`kind` "path") or from the wheel ("wheel")."""

    kind: str
    binary: Path
    #: The interpreter that the python backend's stub will use.
    python: Path | None
    #: None leaves the server's own default, /opt/tritonserver/backends.
    backends: Path | None
    environment: dict[str, str]


def find() -> Installation:
    """tritonserver on PATH first, then the installed wheel. Raises ToolError when there is neither.

    A container is the third way; it is not started from here (see `generator.container`).
    """
    if on_path := shutil.which("tritonserver"):
        python = shutil.which("python3")
        return Installation("path", Path(on_path), Path(python) if python else None, None, dict(os.environ))
    wheel = install.server_environment()
    environment = install.clean_environment()
    environment["LD_LIBRARY_PATH"] = wheel.lib_path
    # the stub takes the first python on PATH for its own; without this it would see the base interpreter's packages
    environment |= standins.variables()
    environment["PATH"] = f"{wheel.python.parent}:{environment.get('PATH', os.defpath)}"
    return Installation("wheel", wheel.binary, wheel.python, wheel.backends, environment)


@dataclass(frozen=True)
class Settings:
    """What the server's command line says, with every port known."""

    repository: Path
    host: str
    http_port: int
    grpc_port: int
    metrics_port: int
    shm_prefix: str
    model_control: str = "none"
    load: tuple[str, ...] = ()
    strict: bool = True
    extra_args: tuple[str, ...] = ()
    #: Does a model ask for the response cache? Without one the server loads it and caches nothing.
    cache: bool = False


def command_line(installation: Installation, settings: Settings) -> list[str]:
    """The arguments that start the server. Pure."""
    command = [str(installation.binary), f"--model-repository={settings.repository}"]
    if installation.backends:
        command.append(f"--backend-directory={installation.backends}")
    for service in ("http", "grpc", "metrics"):
        command += [f"--{service}-address={settings.host}", f"--{service}-port={getattr(settings, service + '_port')}"]
    command.append(f"--model-control-mode={settings.model_control}")
    command += [f"--load-model={name}" for name in settings.load]
    if settings.cache:
        if installation.backends:  # the wheel's caches lie beside its program's folder
            command.append(f"--cache-directory={installation.binary.parent.parent / 'caches'}")
        command.append(response_cache.OPTION)
    if settings.strict:
        command.append("--disable-auto-complete-config")
    # a prefix of our own, so that what a killed server leaves in /dev/shm can be told from another server's.
    # A stand-in is the python backend under another name; the C++ backends ignore keys they do not know.
    prefix = f"shm-region-prefix-name={settings.shm_prefix}"
    command += [f"--backend-config={name},{prefix}" for name in ("python", *standins.names())]
    return [*command, *settings.extra_args]


class Server:
    """A running tritonserver, as a context manager or by `start()` and `stop()`."""

    def __init__(
        self,
        repository: str | Path,
        *,
        http_port: int = 0,
        grpc_port: int = 0,
        metrics_port: int = 0,
        host: str = "127.0.0.1",
        log_file: str | Path | None = None,
        model_control: str = "none",
        load: Sequence[str] = (),
        strict: bool = True,
        extra_args: Sequence[str] = (),
        timeout: float = 180.0,
    ) -> None:
        """Port 0 takes a free one. `model_control` is none, poll or explicit; `load` names models for explicit.

        `strict` forbids the server to complete configs by itself. `timeout` is how many seconds loading may take.
        """
        self.repository = Path(repository).absolute()
        self.host = host
        self.timeout = timeout
        self._wanted = {"http_port": http_port, "grpc_port": grpc_port, "metrics_port": metrics_port}
        self._options = {
            "model_control": model_control,
            "load": tuple(load),
            "strict": strict,
            "extra_args": tuple(extra_args),
        }
        self._log_file = Path(log_file).absolute() if log_file else None
        self._scratch: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.settings: Settings | None = None

    def start(self) -> Self:
        """Start and wait until every model is ready. Raises ServerError with the model and the server's reason, or ToolError."""
        if self._process:
            return self
        if not self.repository.is_dir():
            raise ServerError(
                f"no such model repository: {self.repository}", "run `triton-repo build` first, or correct the path"
            )
        installation = find()
        if installation.python:
            install.check_numpy(installation.python)
        atexit.register(self.stop)
        for attempt in range(_ATTEMPTS):
            try:
                self._launch(installation)
                self._wait()
                return self
            except BaseException as error:
                busy = isinstance(error, ServerError) and "already in use" in error.message
                self.stop()
                if not (busy and attempt + 1 < _ATTEMPTS and 0 in self._wanted.values()):
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def stop(self) -> None:
        """Ask the server to end, then make it: the python stubs with it, and its shared memory. Does nothing when not running."""
        atexit.unregister(self.stop)
        process, self._process = self._process, None
        if process:
            _end(process)
        if self.settings:
            for region in Path("/dev/shm").glob(f"{self.settings.shm_prefix}*"):  # noqa: S108 -- the server's own place
                with contextlib.suppress(OSError):
                    region.unlink()
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    def kill(self) -> None:
        """End it at once, as a crash would: for a server that has stopped answering. `stop` cleans up afterwards."""
        self._running().kill()

    def wait(self) -> int:
        """Block until the server ends by itself; its exit status."""
        return self._running().wait()

    @property
    def pid(self) -> int:
        """Process id of tritonserver, which also leads its process group."""
        return self._running().pid

    @property
    def ended(self) -> bool:
        """Did the server end by itself since it was started?"""
        return self._process is not None and self._process.poll() is not None

    @property
    def http_url(self) -> str:
        """host:port for tritonclient.http; put http:// in front for other clients."""
        return self._url("http_port")

    @property
    def grpc_url(self) -> str:
        """host:port for tritonclient.grpc."""
        return self._url("grpc_port")

    @property
    def metrics_url(self) -> str:
        """The whole address of the Prometheus page."""
        return f"http://{self._url('metrics_port')}/metrics"

    @property
    def log(self) -> str:
        """What the server wrote so far."""
        path = self._log_path()
        return path.read_text(errors="replace") if path and path.exists() else ""

    @property
    def models(self) -> list[str]:
        """Names of the models that are loaded and ready, sorted."""
        return sorted({entry["name"] for entry in server_rest.index(self.http_url) if entry.get("state") == "READY"})

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        self.stop()

    def _launch(self, installation: Installation) -> None:
        ports = _ports(self.host, self._wanted)
        prefix = f"triton_repo_{os.getpid()}_{secrets.token_hex(4)}_"
        cache = response_cache.wanted(self.repository)
        self.settings = Settings(
            self.repository, self.host, **ports, shm_prefix=prefix, cache=cache, **self._options  # type: ignore[arg-type]
        )  # fmt: skip
        if not self._log_file:
            self._scratch = Path(tempfile.mkdtemp(prefix="triton-repo-server-"))
        log = self._log_path()
        assert log is not None
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*_leash(), *command_line(installation, self.settings)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=openvino_precision.variables(self.repository) | installation.environment,
                start_new_session=True,  # the stubs join this group, so that one signal reaches them all
            )

    def _wait(self) -> None:
        deadline = time.monotonic() + self.timeout
        while time.monotonic() < deadline:
            status = self._running().poll()
            if status is not None:
                raise server_log.failure(self.log, status)
            if server_rest.ready(self.http_url):
                return
            time.sleep(0.05)
        raise ServerError(
            f"tritonserver was not ready after {self.timeout:.1f} s; its last words: {server_log.last(self.log)}", ""
        )

    def _running(self) -> subprocess.Popen[bytes]:
        if not self._process:
            raise ServerError("the server is not running", "call start() first")
        return self._process

    def _url(self, port: str) -> str:
        if not self.settings:
            raise ServerError("the server was not started", "call start() first")
        return f"{self.host}:{getattr(self.settings, port)}"

    def _log_path(self) -> Path | None:
        return self._log_file or (self._scratch / "server.log" if self._scratch else None)


def _leash() -> list[str]:
    """The beginning of a command line that ends with this process. "Parent" means the thread, so only the main one will do."""
    on_main = threading.current_thread() is threading.main_thread()
    return [sys.executable, "-I", "-S", "-c", _LEASH] if on_main else []


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
        process.terminate()
        process.wait(_GRACE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what is left of the group: a hanging server, orphaned stubs
    process.wait()


def _ports(host: str, wanted: dict[str, int]) -> dict[str, int]:
    """The wanted ports, 0 replaced by free ones. Raises ServerError for one that is taken."""
    with contextlib.ExitStack() as held:
        found: dict[str, int] = {}
        for name, port in wanted.items():
            probe = held.enter_context(socket.socket())
            # as the server does: a port in TIME_WAIT from a server that has just ended is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except socket.gaierror as error:
                raise ServerError(f"{host!r} is not an address of this machine", "use 127.0.0.1, or 0.0.0.0 for all") from error
            except OSError as error:
                remedy = f"stop what listens there, or choose another with --{name.replace('_', '-')}"
                raise ServerError(f"port {port} on {host} cannot be used: {error.strerror}", remedy) from error
            found[name] = probe.getsockname()[1]
        return found


def available() -> bool:
    """Is there a server that `find` would find?"""
    try:
        find()
    except ToolError:
        return False
    return True
