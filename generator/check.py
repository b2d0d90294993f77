"""Everything tritonserver would refuse at load, and what it accepts but users regret, found without a server.

world, findings = repository.read(path)   # or pipelines, at plan time
findings += check(world)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from generator import model_config, model_files, pbtxt
from generator.completion import completed
from generator.draft import parent
from generator.errors import RepositoryError
from generator.findings import Finding
from generator.rules import Model, Rule, Signature, Version, World, all_rules


def check(world: World, rules: Iterable[Rule] | None = None) -> list[Finding]:
    """Apply every rule to every model; errors first, then by model."""
    found = [
        Finding(rule.level, rule.id, model.name, *problem, where=model.where(problem.field), source=rule.source)
        for model in world.models.values()
        for rule in (all_rules() if rules is None else rules)
        for problem in rule.find(model, world)
    ]
    return sorted(found, key=lambda f: (f.level != "error", f.model, f.where, f.rule))


def read(repository: Path, *, server: Version = (), gpus: int | None = None, strict: bool = False) -> tuple[World, list[Finding]]:
    """A repository on disk, and a finding for each config that cannot be read. Raises RepositoryError where there is none."""
    if not repository.is_dir():
        raise RepositoryError(f"{repository}: no such folder", "name a model repository: a folder of model folders")
    models, broken, findings = {}, set(), []
    for folder in sorted(p for p in repository.iterdir() if p.is_dir() and not p.name.startswith(".")):
        try:
            models[folder.name] = _model(folder)
        except RepositoryError as error:
            broken.add(folder.name)
            findings.append(_unreadable(folder, error))
    if not models and not broken:
        raise RepositoryError(f"{repository}: holds no model folder", "name the folder that holds the model folders")
    return World(models, frozenset(broken), server, gpus, strict), findings


def _unreadable(folder: Path, error: RepositoryError) -> Finding:
    where, _, what = error.message.partition(": ")
    expected = "a text-format ModelConfig message (model_config.proto)"
    return Finding("error", "config/syntax", folder.name, "", what, expected, error.remedy, where or str(folder))


def _model(folder: Path) -> Model:
    files: dict[str, Path | None] = {}
    folders: set[str] = set()
    for root, names, entries in os.walk(folder, followlinks=True):
        base = Path(root).relative_to(folder)
        folders.update((base / name).as_posix() for name in names)
        files.update({(base / name).as_posix(): Path(root) / name for name in entries})
    path = folder / "config.pbtxt"
    said, where = model_config.new(), _in_folder(folder)
    if path.is_file():
        source = pbtxt.source(path)
        said, where = pbtxt.parse(source, str(path)), _in_file(path, source)
    return Model(
        folder.name, completed(said, folder.name), said, files, frozenset(folders),
        written=path.is_file(), where=where, signature=_signatures(folder, files),
    )  # fmt: skip


def _in_folder(folder: Path) -> Callable[[str], str]:
    return lambda _: str(folder)


def _in_file(path: Path, source: str) -> Callable[[str], str]:
    """`file:line` of a field; of the nearest field above it where that one is not written."""

    def where(field: str) -> str:
        lines = pbtxt.lines(source)
        while field and field not in lines:
            field = parent(field)
        return f"{path}:{lines.get(field, 1)}"

    return where


def _signatures(folder: Path, files: dict[str, Path | None]) -> Callable[[int], Signature | None]:
    return lambda version: model_files.signature(folder.name, files, version)
