"""Virtual environments of converters: made once, in the cache, from lists in which every package is pinned.

Frameworks clash with each other and with what this project needs, so each gets packages of its own. The folder is named by the
digest of the list and of the Python that it is for. It is made beside its place and renamed at the end: a half-made one is never
used.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from generator import paths
from generator.download import locked, pip
from generator.errors import ToolError
from generator.install import clean_environment

_LISTS = Path(__file__).parent / "environments"
_KEEP_SECONDS = 30 * 24 * 3600
_DONE = "installed"


@dataclass(frozen=True)
class Environment:
    """One list of packages, and where they are installed."""

    name: str
    #: The list to install in place of ours; its packages may leave versions and dependencies to pip.
    own: Path | None = None

    @property
    def pins(self) -> Path:
        """Our list."""
        return _LISTS / f"{self.name}.txt"

    @property
    def folder(self) -> Path:
        """Its place in the cache: another list or another Python is another folder."""
        parts = ((self.own or self.pins).read_text(encoding="utf-8"), sys.version, platform.machine(), "layout 1")
        return paths.cache() / "environments" / f"{self.name}-{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:16]}"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def made(self) -> bool:
        """Is it there, and whole?"""
        return (self.folder / _DONE).is_file()

    def noted(self, key: str) -> str:
        """What our list says of itself in a comment: `# size: 460 MB`."""
        found = re.search(rf"^# {key}: (.+)$", self.pins.read_text(encoding="utf-8"), re.M)
        return found.group(1) if found else ""


def ensure(environment: Environment) -> Path:
    """The environment's interpreter; where it is not there yet the environment is made, which says so on stderr.

    Raises ToolError with pip's own last line where it cannot be made.
    """
    if not environment.made:
        with contextlib.redirect_stdout(sys.stderr), locked(environment.folder.with_suffix(".lock")):
            if not environment.made:
                _make(environment)
    with contextlib.suppress(OSError):  # a cache that may only be read
        os.utime(environment.folder)
    return environment.python


def _make(environment: Environment) -> None:
    started, folder = time.monotonic(), environment.folder
    size = "" if environment.own else f", {environment.noted('size')}"
    _say(f"making the environment {environment.name} (once{size}; some minutes) in {folder}")
    staging = folder.with_name(f".staging-{folder.name}")
    shutil.rmtree(staging, ignore_errors=True)  # of a build that was killed; the lock is ours
    try:
        _venv(staging)
        _install(environment, staging / "bin" / "python")
        _try(environment, staging / "bin" / "python")
        _forget_scripts(staging)
        (staging / _DONE).write_text((environment.own or environment.pins).read_text(encoding="utf-8"), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        staging.rename(folder)
    except OSError as error:
        raise _failed(environment, str(error.strerror or error)) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    _forget_old(environment)
    _say(f"environment {environment.name} ready after {time.monotonic() - started:.0f} s")


def _venv(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "venv", *(["--without-pip"] if _own_pip() else []), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no reason given"]
        raise ToolError(
            f"{sys.executable} -m venv failed: {reason[0][:300]}",
            "install the modules venv and ensurepip (Debian: apt install python3-venv), and see that the disk is not full",
        )


def _own_pip() -> bool:
    """Has this interpreter a pip, which can install into another? Then the environment needs none."""
    return importlib.util.find_spec("pip") is not None


def _install(environment: Environment, python: Path) -> None:
    """With uv where there is one, several times as fast; pip where it is not, or refuses: pip's settings are the user's own."""
    list_ = ["--no-deps", "--only-binary", ":all:", "-r", str(environment.pins)]
    wanted = ["-r", str(environment.own)] if environment.own else list_
    if uv := shutil.which("uv"):
        command = [uv, "pip", "install", "--quiet", "--python", str(python), *wanted]
        done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), check=False)
        if not done.returncode:
            return
        _say("uv refused; trying pip")
    try:
        here, there = ([sys.executable], ["--python", str(python)]) if _own_pip() else ([str(python)], [])
        pip(here, [*there, "install", *wanted], f"the packages of {environment.own or environment.name}")
    except ToolError as error:
        raise _failed(environment, error.message.partition(": ")[2]) from None


def _try(environment: Environment, python: Path) -> None:
    """What converts must import, before the environment is called made."""
    done = subprocess.run(
        [str(python), "-c", environment.noted("check")], capture_output=True, text=True, env=clean_environment(), check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
        remedy = f"add what is missing to {environment.own}; ours is {environment.pins}" if environment.own else ""
        raise _failed(environment, f"its packages cannot be imported: {last[:300]}", remedy)


def _failed(environment: Environment, reason: str, remedy: str = "") -> ToolError:
    where, own = environment.folder.parent, environment.own
    if "No space left" in reason:
        need = environment.noted("size")
        remedy = f"free twice {need} there (and in TMPDIR), or say another place in TRITON_REPO_CACHE"
    elif "offline" in reason:
        remedy = "connect this machine to a package index, or bring the folder from a machine that made it"
    elif "No matching distribution" in reason and own is None:
        remedy = (
            "the tested versions are for CPython 3.11 and 3.12 on Linux x86-64; a checkpoint may say others in `requirements`"
        )
    elif not remedy:
        remedy = f"correct {own}" if own else "see what pip says of it"
    return ToolError(f"the environment {environment.name} could not be made in {where}: {reason}", remedy)


def _forget_scripts(staging: Path) -> None:
    """Programs name the interpreter by its path, which the renaming changes; the interpreter itself and `-m` stay right."""
    for program in (staging / "bin").iterdir():
        if not program.name.startswith("python"):
            program.unlink()


def _forget_old(environment: Environment) -> None:
    """Others of this name that nothing has used for thirty days: they take hundreds of megabytes each."""
    others = environment.folder.parent.glob(f"{environment.name}-*")
    paths.forget((folder for folder in others if folder.is_dir()), _KEEP_SECONDS)


def _say(line: str) -> None:
    print(f"[environment] {line}", file=sys.stderr, flush=True)
