"""Which line of the user's code is meant: of the one that runs, of an exception, of an exporter's message."""

from __future__ import annotations

import linecache
import re
import sys
import sysconfig
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch

_PACKAGES = Path(torch.__file__).parent.parent
#: Files in between that are nobody's mistake: Python's own, the exporters', ours.
_PASSED = (
    *(f"{_PACKAGES / name}/" for name in ("torch", "onnx", "onnxruntime", "onnxscript", "onnx_ir", "numpy", "sympy")),
    f"{Path(__file__).parent}/",
    "<",
)
_LIBRARY = f"{sysconfig.get_path('stdlib')}/"
_IN_TEXT = re.compile(r'File "([^"]+)", line (\d+)')


@dataclass(frozen=True)
class Place:
    """A line of the user's (or of a library's) code, and the class of the module that runs it where that is known."""

    file: str
    line: int
    module: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}{f' in {self.module}' if self.module else ''}{f': `{self.code}`' if self.code else ''}"

    @property
    def code(self) -> str:
        """The line itself."""
        return linecache.getline(self.file, self.line).strip()


def running() -> Place | None:
    """Whose line runs right now: the innermost frame that is neither torch's nor ours."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not _is_users(frame.f_code.co_filename):
        frame = frame.f_back
    return None if frame is None else Place(frame.f_code.co_filename, frame.f_lineno, _module_of(frame))


def raised(error: BaseException) -> Place | None:
    """Where it was raised: the last line that is neither torch's nor ours."""
    frames = [(f.f_code.co_filename, line, f) for f, line in traceback.walk_tb(error.__traceback__)]
    own = [(file, line, frame) for file, line, frame in frames if _is_users(file)]
    return Place(own[-1][0], own[-1][1], _module_of(own[-1][2])) if own else None


def named(text: str) -> Place | None:
    """The last line that a message of torch names and that is not torch's own."""
    found = [(file, int(line)) for file, line in _IN_TEXT.findall(text) if _is_users(file)]
    return Place(*found[-1]) if found else None


def _is_users(file: str) -> bool:
    return not file.startswith(_PASSED) and (not file.startswith(_LIBRARY) or "site-packages" in file)


def _module_of(frame: FrameType) -> str:
    names = frame.f_code.co_varnames[:1]
    owner = frame.f_locals.get(names[0]) if names else None
    return type(owner).__name__ if isinstance(owner, torch.nn.Module) else ""
