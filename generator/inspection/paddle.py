"""PaddlePaddle inference models: which of the files belong together."""

from __future__ import annotations

from pathlib import Path

from generator.errors import CheckpointError
from generator.inspection import Contents

KINDS = ("paddle",)

#: The program, of newer versions and of older ones.
_PROGRAMS = (".json", ".pdmodel")


def read(path: Path) -> Contents:
    """The program that parameters or a folder belong to. Raises CheckpointError where there is none, or more than one."""
    if path.is_file() and path.suffix in _PROGRAMS:
        program = path
    elif path.is_file():
        program = _only(path, [each for each in (path.with_suffix(ending) for ending in _PROGRAMS) if each.is_file()])
    else:
        stems = [each for each in sorted(path.iterdir()) if each.suffix == ".pdiparams"]
        program = _only(path, [p for each in stems for p in (each.with_suffix(end) for end in _PROGRAMS) if p.is_file()])
    parameters = program.with_suffix(".pdiparams")
    size = (
        f"{parameters.name}, {parameters.stat().st_size:,} bytes" if parameters.is_file() else "none of its name lies beside it"
    )
    return Contents(facts={"program": program.name, "parameters": size}, fields={"model": program})


def _only(path: Path, found: list[Path]) -> Path:
    if len(found) != 1:
        what = f"{len(found)} programs ({', '.join(each.name for each in found)})" if found else "no program (.json or .pdmodel)"
        raise CheckpointError(f"{path}: {what} for the parameters", "name the program itself")
    return found[0]
