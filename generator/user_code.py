"""The user's own Python, called in a child process of build; a mistake in it is shown by its own file and line."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo

from generator.errors import CheckpointError, TritonRepoError

_FORM = "`package.module:callable` or `file.py:callable`"


def _reference(value: str, info: ValidationInfo) -> str:
    where, _, name = value.rpartition(":")
    if not where or not name.replace(".", "_").isidentifier():
        raise ValueError(f"found {value!r}, expected {_FORM}")
    if not where.endswith(".py"):
        return value
    base = (info.context or {}).get("base")
    path = Path(where) if base is None else Path(base) / where
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    return f"{path.resolve()}:{name}"


#: `package.module:callable`, or `file.py:callable` relative to the YAML; the file must be there.
Reference = Annotated[str, AfterValidator(_reference)]


def call(
    reference: str, *given: Any, arguments: Mapping[str, Any] | None = None, error: type[TritonRepoError] = CheckpointError
) -> Any:
    """Import and call it. Raises `error` with the user's own line where it fails."""
    where = reference.rpartition(":")[0]
    return guarded(where, lambda: load(reference, error)(*given, **(arguments or {})), error)


def load(reference: str, error: type[TritonRepoError] = CheckpointError) -> Any:
    """What the reference names. Raises `error` where it is not there or cannot be imported."""
    where, _, name = reference.rpartition(":")
    target = imported(where, error)
    for part in name.split("."):
        if not hasattr(target, part):
            raise error(f"{where} has no function {name!r}", "correct the name behind the colon")
        target = getattr(target, part)
    if not callable(target):
        raise error(f"{reference} is {type(target).__name__}, which cannot be called", "name a function or a class")
    return target


def imported(where: str, error: type[TritonRepoError] = CheckpointError) -> Any:
    """The module or file. Raises `error` where it cannot be imported."""
    return guarded(where, lambda: _module(where), error)


def guarded(where: str, work: Any, error: type[TritonRepoError]) -> Any:
    """Do `work`; what goes wrong in the user's file is one message with its line."""
    try:
        return work()
    except TritonRepoError:
        raise
    except ModuleNotFoundError as missing:
        name = (missing.name or "").split(".")[0]
        raise error(f"{_line(missing, where)}: {missing}", f"install it: pip install {name}") from None
    except (Exception, SystemExit) as wrong:
        raise error(f"{_line(wrong, where)}: {type(wrong).__name__}: {wrong}", "correct the function or its arguments") from None


def sources(references: Sequence[str]) -> list[Path]:
    """Each reference's file, or every source of its top-level package, found without importing it. Raises CheckpointError."""
    return list(dict.fromkeys(path for reference in references for path in _sources(reference.rpartition(":")[0])))


def _sources(where: str) -> list[Path]:
    if where.endswith(".py"):
        return [Path(where)]
    package = where.split(".", maxsplit=1)[0]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise CheckpointError(f"{where}: no package of that name is installed", f"pip install {package}")
    origin = Path(spec.origin)
    return sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]


def _module(where: str) -> Any:
    if not where.endswith(".py"):
        return importlib.import_module(where)
    path = Path(where)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # what lies beside it can be imported
    spec.loader.exec_module(module)
    return module


def _line(error: BaseException, where: str) -> str:
    """The last line of the user's own file that was running."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    own = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == where]
    return f"{where}:{own[-1]}" if own else where
