"""Single functions out of a library's own file, where importing the whole would need what they do not use."""

from __future__ import annotations

import ast
import importlib.util
import os
from pathlib import Path
from typing import Any


def find(path: str) -> Path:
    """A file of an installed package, or of a checkout below $CONFORMANCE_SOURCES."""
    place = Path(os.environ.get("CONFORMANCE_SOURCES", "sources")) / path
    if place.is_file():
        return place
    top, rest = path.split("/", maxsplit=1)
    spec = importlib.util.find_spec(top)  # found, not imported
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / rest).is_file():
            return Path(folder) / rest
    raise FileNotFoundError(f"{path}: neither installed nor below CONFORMANCE_SOURCES")


def functions(path: str, names: list[str], known: dict[str, Any]) -> dict[str, Any]:
    """The functions and classes `names` of that file, unchanged, with the modules they use in `known`."""
    file = find(path)
    tree = ast.parse(file.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if getattr(node, "name", None) in names]
    assert len(tree.body) >= len(names), f"{file} does not define all of {names}"
    space = dict(known)
    exec(compile(tree, str(file), "exec"), space)  # the library's own code, from its own package
    return space
