"""The real perf_analyzer: the one on PATH when it is real, else the program out of an older tritonclient wheel.

Where glibc is older than 2.38, `pip install perf-analyzer` brings a placeholder of the same name that only prints a greeting,
so a binary counts as real when it states its version. The wheel is unpacked into the cache and never installed: its package
would pull the client and protobuf back to old releases.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from generator import paths
from generator.errors import ToolError

WHEEL = ("tritonclient==2.51.0", "c485bb0123bdf310f90bc8b03d3489b28df2ffed55b30c7eee0b795b48113d52")
_MEMBER = "tritonclient-2.51.0.data/data/bin/perf_analyzer"
#: Libraries the program links, by the name it asks for; the server's wheel carries them under names with a digest.
_LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}
_VERSION = re.compile(r"^Perf Analyzer Version (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class PerfAnalyzer:
    """A perf_analyzer that was seen to run."""

    binary: Path
    #: The whole environment to start it with.
    env: dict[str, str]
    #: For example "2.51.0".
    version: str


def find() -> PerfAnalyzer:
    """The real one on PATH, else the unpacked one. Raises ToolError when there is neither, or the unpacked one does not run."""
    on_path = shutil.which("perf_analyzer")
    if on_path and (version := probe(Path(on_path), dict(os.environ))):
        return PerfAnalyzer(Path(on_path), dict(os.environ), version)
    binary = _root() / "bin" / "perf_analyzer"
    if not binary.is_file():
        placeholder = f" ({on_path} is a placeholder of that name)" if on_path else ""
        raise ToolError(
            f"there is no real perf_analyzer here{placeholder}", "run `make server` (or python -m generator.perf_analyzer)"
        )
    env = {**os.environ, "LD_LIBRARY_PATH": _library_path(_link_libraries())}
    version = probe(binary, env)
    if not version:
        raise ToolError(
            f"{binary} does not run: {_words(binary, env)}", "install the library it names, or delete it and install it again"
        )
    return PerfAnalyzer(binary, env, version)


def install() -> Path:
    """Unpack the program into the cache unless it is there; its path. Raises ToolError (offline, wrong digest)."""
    from generator.install import download_wheel

    binary = _root() / "bin" / "perf_analyzer"
    if binary.is_file():
        return binary
    wheel = download_wheel(*WHEEL)
    binary.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_root()) as scratch:
        whole = Path(scratch) / "perf_analyzer"
        with zipfile.ZipFile(wheel) as archive, archive.open(_MEMBER) as source, whole.open("wb") as target:
            shutil.copyfileobj(source, target)
        whole.chmod(0o755)
        whole.replace(binary)  # at once: another process never finds half a program
    return binary


def probe(binary: Path, env: dict[str, str]) -> str:
    """The version that `binary --version` states; empty for a placeholder, or one that does not run."""
    match = _VERSION.search(_words(binary, env))
    return match[1] if match else ""


def _words(binary: Path, env: dict[str, str]) -> str:
    """What it says when it is asked for its version."""
    try:
        done = subprocess.run([str(binary), "--version"], capture_output=True, text=True, env=env, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return f"{done.stdout}\n{done.stderr}".strip()


def _root() -> Path:
    return paths.cache() / "perf_analyzer" / WHEEL[1][:16]


def _link_libraries() -> Path:
    """A folder of symbolic links to the server's libraries, mended when the server environment has moved."""
    from generator.install import server_environment

    libs, folder = server_environment().libs, _root() / "lib"
    folder.mkdir(parents=True, exist_ok=True)
    for name, pattern in _LIBRARIES.items():
        found = sorted(libs.glob(pattern))
        if not found:
            raise ToolError(f"{libs} holds no {pattern}, which perf_analyzer links", "run `make server` again")
        link = folder / name
        if not link.exists() or link.resolve() != found[0].resolve():
            fresh = folder / f".{name}.{os.getpid()}"
            fresh.symlink_to(found[0])
            fresh.replace(link)
    return folder


def _library_path(folder: Path) -> str:
    inherited = os.environ.get("LD_LIBRARY_PATH")
    return f"{folder}:{inherited}" if inherited else str(folder)


if __name__ == "__main__":
    print(install())
