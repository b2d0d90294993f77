"""Make the project's virtual environment. Called by make, with the standard library only.

    python3 scripts/setup_venv.py [.venv]

What is installed is recognised by a digest of pyproject.toml, the constraints and the interpreter: when it is the same,
nothing runs and no connection is opened.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints" / "main.txt"
sys.path.insert(0, str(ROOT))

from generator import host  # noqa: E402 -- the package is not installed yet
from generator.errors import TritonRepoError  # noqa: E402


def digest() -> str:
    """What decides the content of the environment, as one sha256."""
    parts = [(ROOT / "pyproject.toml").read_text(), CONSTRAINTS.read_text(), sys.version, sys.base_prefix, str(ROOT)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def requirements() -> list[str]:
    """The packages of the `dev` dependency group (pip reads groups by itself only from version 25.1 on)."""
    import tomllib

    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    return [str(requirement) for requirement in groups["dev"]]


def main(arguments: list[str]) -> int:
    """0, or 1 with one sentence on stderr."""
    try:
        host.require()
        make(Path(arguments[0] if arguments else ".venv").absolute())
    except TritonRepoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def make(venv: Path) -> None:
    """Make or update `venv`, unless its stamp says that it is as it should be."""
    stamp = venv / ".triton-repo"
    if stamp.is_file() and stamp.read_text() == digest():
        return
    from generator.download import locked, pip

    with locked(venv.with_name(venv.name + ".lock")):
        if stamp.is_file() and stamp.read_text() == digest():
            return  # another make has just done it
        stamp.unlink(missing_ok=True)
        _create(venv)
        print(f"[venv] installing the project and its tools into {venv} (some minutes the first time)", flush=True)
        python = [str(venv / "bin" / "python")]
        pip(python, ["install", "-c", str(CONSTRAINTS), "-e", str(ROOT), *requirements()], "the project's packages")
        stamp.write_text(digest())
        print("[venv] ready", flush=True)


def _create(venv: Path) -> None:
    if venv.exists() and not (venv / "pyvenv.cfg").is_file():
        host.stop(f"{venv} exists and is not a virtual environment", "call make with VENV=another/folder")
    python = venv / "bin" / "python"
    ask = [str(python), "-c", "import sys; print(sys.version + sys.base_prefix)"]
    if python.exists():
        same = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()
        if same == sys.version + sys.base_prefix:
            return
        shutil.rmtree(venv)  # made by another interpreter
    print(f"[venv] making {venv} with Python {sys.version.split()[0]}", flush=True)
    done = subprocess.run([sys.executable, "-m", "venv", str(venv)], capture_output=True, text=True, check=False)
    if done.returncode:
        host.stop(f"python -m venv failed: {(done.stderr or done.stdout).strip()[-300:]}", "check that the disk is not full")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
