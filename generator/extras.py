"""Libraries that only some kinds of checkpoint need: imported when asked for, with the line that installs them."""

from __future__ import annotations

import importlib
from typing import Any

from generator.errors import ToolError


def library(extra: str, module: str, kind: str) -> Any:
    """The module. Raises ToolError where it, or something that it imports, is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).split(".")[0]
        needs = extra if missing == module.split(".", maxsplit=1)[0] else f"{missing} (which {extra} imports)"
        raise ToolError(
            f"checkpoint kind {kind} needs the package {needs}", f"pip install triton-repo-generator[{extra}]"
        ) from None
    except Exception as error:  # a broken installation raises what it likes
        first = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise ToolError(f"checkpoint kind {kind}: importing {module} failed: {type(error).__name__}: {first}",
                        f"mend the installation of {extra}") from None  # fmt: skip
