"""What a TorchScript archive's `forward` takes and how many values it returns, read from its code without torch."""

from __future__ import annotations

import ast
from pathlib import Path

from generator import archives
from generator.errors import CheckpointError
from generator.pickle_notes import Made
from generator.torch_pickle import plain


def read(path: Path) -> tuple[list[str], int | None]:
    """Argument names of `forward` without self, and the number of outputs (None: a list or dict, known at run time).

    TorchScript archives hold their source as Python-like text under `code/`; nothing in them is run or unpickled.
    Raises CheckpointError for a file that is none.
    """
    function = _forward(path)
    return [argument.arg for argument in function.args.args[1:]], _outputs(function.returns)


def kinds(path: Path) -> list[str]:
    """The type of each argument of `forward`, as it stands in the archive: `Tensor`, `List[str]`, `Dict[str, Tensor]`, `float`.

    Raises CheckpointError as `read` does.
    """
    return [ast.unparse(each.annotation) if each.annotation else "Tensor" for each in _forward(path).args.args[1:]]


def _forward(path: Path) -> ast.FunctionDef:
    try:
        names = archives.names(path)
        sources = [name for name in names if "/code/__torch__" in name and name.endswith(".py")]
        if not sources:
            raise CheckpointError(
                f"{path}: not a TorchScript archive: it holds no code", "save it with torch.jit.save, not torch.save"
            )
        top, module = _top(path, names, sources)
        found = [f for f in _functions(archives.read(path, top).decode("utf-8"), module) if f.name == "forward"]
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: not a TorchScript archive: {error}", "save it with torch.jit.save") from None
    except CheckpointError as error:
        what = error.message.removeprefix(f"{path}: ").removeprefix("not a TorchScript archive: ")
        raise CheckpointError(f"{path}: not a TorchScript archive: {what}", error.remedy) from None
    if not found:
        raise CheckpointError(f"{path}: its module has no forward", "script or trace a module with one")
    return found[-1]


def _top(path: Path, names: list[str], sources: list[str]) -> tuple[str, str]:
    """The source of the outermost module and its class, as the archive's pickle names it; else the likeliest source."""
    pickled = next((name for name in names if name.rpartition("/")[2] == "data.pkl" and name.count("/") <= 1), "")
    outermost = plain(archives.read(path, pickled)).value if pickled else None
    if isinstance(outermost, Made):
        module, _, name = outermost.name.rpartition(".")
        source = next((each for each in sources if each.endswith(f"/code/{module.replace('.', '/')}.py")), "")
        if source:
            return source, name
    return min(sources, key=lambda name: (name.count("/"), len(name))), ""


def _functions(source: str, module: str) -> list[ast.FunctionDef]:
    """Of the class `module`; of all classes where that is not known."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    classes: list[ast.AST] = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == module]
    return [node for top in classes or [tree] for node in ast.walk(top) if isinstance(node, ast.FunctionDef)]


def _outputs(returns: ast.expr | None) -> int | None:
    text = ast.unparse(returns) if returns is not None else "Tensor"
    if text.startswith("Tuple[") and isinstance(returns, ast.Subscript):
        return len(returns.slice.elts) if isinstance(returns.slice, ast.Tuple) else 1
    return 1 if text == "Tensor" else None
