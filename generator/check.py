"""Everything tritonserver would refuse at load, and what it accepts but users regret, found without a server.

world, findings = repository.read(path)   # or pipelines, at plan time
findings += check(world)
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generator import lock, model_config, model_files, pbtxt
from generator.completion import completed, from_signature
from generator.draft import parent
from generator.errors import RepositoryError
from generator.findings import Finding
from generator.rules import Files, Model, Rule, Signature, World, all_rules, ensemble

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig


def check(world: World, rules: Iterable[Rule] | None = None) -> list[Finding]:
    """Apply every rule to every model; errors first, then by model."""
    found = [
        Finding(rule.level, rule.id, model.name, *problem, where=model.where(problem.field), source=rule.source)
        for model in world.models.values()
        for rule in (all_rules() if rules is None else rules)
        for problem in rule.find(model, world)
    ]
    found += _downstream(world, {f.model for f in found if f.level == "error"})
    return sorted(found, key=lambda f: (f.level != "error", f.model, f.where, f.rule))


def _downstream(world: World, refused: set[str]) -> list[Finding]:
    """Ensembles that are refused because a model that they call is: one finding each, the nearest cause."""
    found: list[Finding] = []
    while True:
        bad = frozenset(refused | world.broken)
        new = [(m, p) for m in world.models.values() if m.name not in refused and (p := ensemble.refused_step(m, bad))]
        if not new:
            return found
        source = "core, src/model_repository_manager/model_repository_manager.cc, CheckNode"
        for model, problem in new:
            where = model.where(problem.field)
            found.append(Finding("error", "ensemble/step_refused", model.name, *problem, where=where, source=source))
            refused.add(model.name)


def read(repository: Path, **assumed: Any) -> tuple[World, list[Finding]]:
    """A repository on disk, and a finding for each config that cannot be read. Raises RepositoryError where there is none.

    `assumed` says what is known of the server: the fields of `World` (server, gpus, backends, strict).
    """
    if not repository.is_dir():
        raise RepositoryError(f"{repository}: no such folder", "name a model repository: a folder of model folders")
    models, broken, findings = {}, set(), []
    for folder in sorted(p for p in repository.iterdir() if p.is_dir() and not p.name.startswith(".")):
        try:
            models[folder.name] = _model(folder, strict=bool(assumed.get("strict")))
        except RepositoryError as error:
            broken.add(folder.name)
            findings.append(_unreadable(folder, error))
    if not models and not broken:
        raise RepositoryError(f"{repository}: holds no model folder", "name the folder that holds the model folders")
    return World(models, frozenset(broken), servers=_servers(repository), **assumed), findings


def _servers(repository: Path) -> dict[str, tuple[int, ...]]:
    try:
        return lock.servers(repository)
    except RepositoryError:
        return {}  # a lock of somebody else's


def _unreadable(folder: Path, error: RepositoryError) -> Finding:
    where, _, what = error.message.partition(": ")
    expected = "a text-format ModelConfig message (model_config.proto)"
    return Finding("error", "config/syntax", folder.name, "", what, expected, error.remedy, where or str(folder))


def _model(folder: Path, *, strict: bool) -> Model:
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
    config = completed(said, folder.name, files, folders)
    signature = _signatures(config, files)
    model = Model(folder.name, config, said, files, frozenset(folders), path.is_file(), where, signature)
    if not strict and model.served:
        from_signature(config, signature(model.served[-1]))
    return model


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


def _signatures(config: ModelConfig, files: Files) -> Callable[[int], Signature | None]:
    return functools.cache(lambda version: model_files.signature(config, files, version))
