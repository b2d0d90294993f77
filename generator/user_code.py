"""The user's own Python, called in a child process of build; a mistake in it is shown by its own file and line."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from generator.errors import SurgeryError, TritonRepoError


def call(function: str, graph: Any, arguments: Mapping[str, Any]) -> Any:
    """`file.py:name` called with the graph and keyword arguments. Raises SurgeryError with the user's line where it fails."""
    where, _, name = function.rpartition(":")
    try:
        target = getattr(_module(Path(where)), name, None)
        if not callable(target):
            raise SurgeryError(f"{where} has no function {name!r}", "correct `function:`")
        return target(graph, **arguments)
    except TritonRepoError:
        raise
    except ModuleNotFoundError as error:
        raise SurgeryError(f"{_line(error, where)}: {error}", f"pip install {(error.name or '').split('.')[0]}") from None
    except (Exception, SystemExit) as error:
        raise SurgeryError(
            f"{_line(error, where)}: {type(error).__name__}: {error}", "correct the function or its arguments"
        ) from None


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent))  # what lies beside it can be imported
    spec.loader.exec_module(module)
    return module


def _line(error: BaseException, where: str) -> str:
    """The last line of the user's own file that was running."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    own = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == where]
    return f"{where}:{own[-1]}" if own else where
