"""Names and folders."""

from __future__ import annotations

from collections.abc import Iterator

from generator.rules import Model, Problem, World, rule


@rule("names/folder", source="core, src/model_repository_manager/model_repository_manager.cc, InitializeModelInfo")
def folder(model: Model, world: World) -> Iterator[Problem]:
    """A config's name is its folder's name, or left out."""
    if model.config.name != model.name:
        yield Problem("name", repr(model.config.name), repr(model.name), "rename the folder, or leave the name out")
