"""The server environment: a real tritonserver with an interpreter of its own, made from PyPI wheels, without root.

It lies in the cache under a digest of all that decides its content, so a changed requirement makes a new one and an old
checkout still finds its own. `python -m generator.install` makes it; what is already there is recognised without a connection.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from generator import host, paths, standins
from generator.download import download_wheel, locked, pip
from generator.errors import ToolError, TritonRepoError

__all__ = ["ServerEnvironment", "check_numpy", "download_wheel", "install", "main", "server_environment"]

WHEEL = ("nvidia-pytriton==0.7.0", "21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df")
SERVER_VERSION = "2.51.0"
_REQUIREMENTS = ("requirements.txt", "standin-requirements.txt")
_PARTS = ("bin", "backends", "caches")


@dataclass(frozen=True)
class ServerEnvironment:
    """Where the parts of the installed server are."""

    root: Path
    #: The interpreter of the python stub; its folder goes first on PATH.
    python: Path
    #: The tritonserver program.
    binary: Path
    #: The wheel's shared libraries (`nvidia_pytriton.libs`).
    libs: Path
    #: The value of `--backend-directory`.
    backends: Path
    #: The value of LD_LIBRARY_PATH: the interpreter's libpython first, then `libs`.
    lib_path: str


def _root() -> Path:
    parts = [(paths.templates() / "server" / name).read_text() for name in _REQUIREMENTS]
    parts += [*WHEEL, sys.version, str(host.libpython()), "layout 1"]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return paths.cache() / "server" / digest


def _layout(root: Path) -> ServerEnvironment:
    libs = root / "nvidia_pytriton.libs"
    server = root / "pytriton" / "tritonserver"
    library = host.libpython()
    return ServerEnvironment(
        root=root,
        python=root / "bin" / "python",
        binary=server / "bin" / "tritonserver",
        libs=libs,
        backends=_assemble(root),
        lib_path=f"{library.parent}:{libs}" if library else str(libs),
    )


def server_environment() -> ServerEnvironment:
    """The installed server. Raises ToolError when it is not there; opens no connection.

    The stand-in backend's file is brought up to date with the template, so an edit there takes effect at the next start.
    """
    host.require()
    root = _root()
    if not (root / "installed").is_file():
        raise ToolError("the server environment is not installed", "run `make server` (or python -m generator.install)")
    return _layout(root)


def install() -> ServerEnvironment:
    """Make the server environment unless it is there already. Raises ToolError (offline, wrong machine, wrong digest)."""
    host.require()
    root = _root()
    with locked(root.with_suffix(".lock")):
        if not (root / "installed").is_file():
            _say(f"installing the server environment into {root}")
            _make(root)
            check_numpy(root / "bin" / "python")
            (root / "installed").write_text("\n".join(WHEEL) + "\n")  # last: a half-made environment is made anew
            _say(f"server environment ready: tritonserver {SERVER_VERSION}")
    return server_environment()


def check_numpy(python: Path | str) -> str:
    """The version of the numpy that the python stub will import; ToolError when it is missing or 2 and above.

    The python backend's README says that numpy 2 is not supported; tried with it, tensors arrive with wrong values and no error.
    """
    code = "from importlib.metadata import version; print(version('numpy'))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, env=clean_environment(), check=False)
    found = done.stdout.strip()
    if done.returncode or not found:
        raise ToolError(
            f"the server's Python ({python}) has no numpy", "install numpy<2 there; for our own server run `make server`"
        )
    if int(found.split(".")[0]) >= 2:
        remedy = "install numpy<2 there: with numpy 2 the python backend silently delivers wrong tensors"
        raise ToolError(f"the server's Python ({python}) has numpy {found}", remedy)
    return found


def clean_environment() -> dict[str, str]:
    """This process's variables without those that would let other packages into the server's interpreter."""
    drop = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP")
    return {name: value for name, value in os.environ.items() if name not in drop} | {"PYTHONNOUSERSITE": "1"}


def _make(root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    wheel = download_wheel(*WHEEL)
    _say("making its virtual environment")
    done = subprocess.run([sys.executable, "-m", "venv", str(root)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolError(
            f"python -m venv failed: {(done.stderr or done.stdout).strip()[-300:]}", "check that the disk is not full"
        )
    _say("installing numpy, Pillow, OpenCV and onnxruntime into it")
    files = [part for name in _REQUIREMENTS for part in ("-r", str(paths.templates() / "server" / name))]
    # every package is pinned in these files, so nothing is left to resolve; --no-deps keeps it so
    pip([str(root / "bin" / "python")], ["install", "--no-deps", "--only-binary=:all:", *files], "the server's Python packages")
    _say("unpacking tritonserver")
    _unpack(wheel, root)


def _unpack(wheel: Path, root: Path) -> None:
    """Take the server, its backends, its cache and its libraries out of the wheel, and lay the stub beside the python backend."""
    stub = f"pytriton/tritonserver/python_backend_stubs/{sys.version_info[0]}.{sys.version_info[1]}/triton_python_backend_stub"
    wanted = (*(f"pytriton/tritonserver/{part}/" for part in _PARTS), "nvidia_pytriton.libs/")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            # libpython 3.13 (32 MB) is only for the stub of that version
            if name.startswith(wanted) and "/libpython3-" not in name:
                archive.extract(name, root)
        server = root / "pytriton" / "tritonserver"
        program = server / "backends" / "python" / "triton_python_backend_stub"
        with archive.open(stub) as source, program.open("wb") as target:
            shutil.copyfileobj(source, target)
    for file in (program, server / "bin" / "tritonserver"):
        file.chmod(0o755)


def _assemble(root: Path) -> Path:
    """The backend directory: the wheel's python backend, and the stand-ins as the templates have them now.

    It is named by their digest, so that an edited template takes effect at the next start and two checkouts that share this
    cache do not overwrite each other's.
    """
    files = {name: (paths.templates() / "backends" / name / "model.py").read_bytes() for name in standins.names()}
    digest = hashlib.sha256(b"".join(name.encode() + content for name, content in files.items())).hexdigest()
    folder = root / "backends" / digest[:16]
    if not folder.is_dir():
        scratch = folder.with_name(f".{folder.name}.{os.getpid()}")
        for name, content in files.items():
            (scratch / name).mkdir(parents=True)
            (scratch / name / "model.py").write_bytes(content)
        (scratch / "python").symlink_to(root / "pytriton" / "tritonserver" / "backends" / "python")
        try:
            scratch.rename(folder)
        except OSError:  # another process was quicker
            shutil.rmtree(scratch)
    return folder


def _say(line: str) -> None:
    print(f"[server] {line}", flush=True)


def main() -> int:
    """Entry point of `python -m generator.install`: 0, or 1 with one line on stderr."""
    try:
        environment = install()
        from generator import perf_analyzer  # its program links the server's libraries, so it comes after them

        perf_analyzer.install()
    except TritonRepoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _say(f"using {environment.root}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
