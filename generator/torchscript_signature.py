"""What a TorchScript archive's `forward` takes and how many values it returns, read from its code without torch."""

from __future__ import annotations

import ast
import zipfile
from pathlib import Path

from generator.errors import CheckpointError


def read(path: Path) -> tuple[list[str], int | None]:
    """Argument names of `forward` without self, and the number of outputs (None: a list or dict, known at run time).

    TorchScript archives hold their source as Python-like text under `code/`; nothing in them is run or unpickled.
    Raises CheckpointError for a file that is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sources = {
                name: archive.read(name).decode("utf-8")
                for name in archive.namelist()
                if "/code/__torch__" in name and name.endswith(".py")
            }
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: not a TorchScript archive: {error}", "save it with torch.jit.save") from None
    if not sources:
        raise CheckpointError(
            f"{path}: not a TorchScript archive: it holds no code", "save it with torch.jit.save, not torch.save"
        )
    top = min(sources, key=lambda name: (name.count("/"), len(name)))
    found = [f for f in _functions(sources[top]) if f.name == "forward"]
    if not found:
        raise CheckpointError(f"{path}: its module has no forward", "script or trace a module with one")
    function = found[-1]
    return [argument.arg for argument in function.args.args[1:]], _outputs(function.returns)


def _functions(source: str) -> list[ast.FunctionDef]:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def _outputs(returns: ast.expr | None) -> int | None:
    text = ast.unparse(returns) if returns is not None else "Tensor"
    if text.startswith("Tuple[") and isinstance(returns, ast.Subscript):
        return len(returns.slice.elts) if isinstance(returns.slice, ast.Tuple) else 1
    return 1 if text == "Tensor" else None
