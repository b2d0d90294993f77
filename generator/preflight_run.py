"""One graph through NVIDIA's parser and builder, in a process that may end as it likes."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from generator import machine
from generator.environment import Environment, ensure
from generator.install import clean_environment

_CHILD = Path(__file__).with_name("preflight_child.py")
PACKAGES = "tensorrt_rtx"
#: What stands for a compute capability where TensorRT itself builds, which does so for the GPU at hand.
HERE = "this GPU"


@dataclass(frozen=True)
class Parser:
    """Whose parser it is, and the interpreter that has it."""

    #: The module, `tensorrt` or `tensorrt_rtx_bindings`.
    module: str
    python: Path

    @property
    def rtx(self) -> bool:
        """TensorRT for RTX: no plugins of TensorRT's, and some operators that it does not build."""
        return self.module != "tensorrt"


@dataclass(frozen=True)
class Task:
    """What is to be parsed and, where nothing of that is refused, what is to be compiled; a path that is empty is left out."""

    parse: str
    compile: str = ""
    capabilities: Sequence[str] = ()
    #: Attempts, each input -> smallest, usual and largest shape, batch axis first.
    ranges: Sequence[dict[str, Any]] = ()
    plugins: Sequence[str] = ()


@dataclass(frozen=True)
class Answer:
    """What the process found; where it did not live to say all of it, how it ended."""

    found: dict[str, Any] = field(default_factory=dict)
    #: `ended with signal SIGABRT while parsing`; empty: it answered.
    ended: str = ""
    #: Its last lines on stderr, when it ended.
    words: str = ""


def parser() -> Parser:
    """TensorRT itself where it is installed and has a GPU to build for; else TensorRT for RTX, in an environment of its own.

    Raises ToolError where that cannot be made.
    """
    if importlib.util.find_spec("tensorrt") is not None and machine.look().gpus:
        return Parser("tensorrt", Path(sys.executable))
    return Parser("tensorrt_rtx_bindings", ensure(Environment(PACKAGES)))


def ask(by: Parser, task: Task, seconds: float) -> Answer:
    """The process's answer; after `seconds` it is ended, and its children with it."""
    with tempfile.TemporaryDirectory(prefix="triton-repo-") as scratch:
        said, answer, log = (Path(scratch) / name for name in ("task.json", "answer.json", "log"))
        said.write_text(json.dumps({**vars(task), "module": by.module, "answer": str(answer)}), encoding="utf-8")
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [str(by.python), "-I", str(_CHILD), str(said)], stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
                env=clean_environment(), start_new_session=True,
            )  # fmt: skip
            late = _waited(process, seconds)
        found = json.loads(answer.read_text(encoding="utf-8")) if answer.exists() else {}
        if not late and not process.returncode and found:
            return Answer(found)
        stage = Path(f"{answer}.stage")
        doing = stage.read_text(encoding="utf-8") if stage.exists() else "starting"
        how = f"took longer than {seconds:g} s" if late else _how(process.returncode)
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return Answer(found, f"{how} while {doing}", " / ".join(lines[-2:])[-400:])


def _waited(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Was it too late? Whatever ends the waiting ends the process."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return False


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name
    return f"ended with {name}" + (" (memory?)" if name == "SIGKILL" else "")
