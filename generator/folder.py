"""A model that is there already: a folder with version folders and files, served as it is, with the config that the spec says.

This is how hand-made models (a python backend of a user's own, a TorchScript file, an ensemble over other models) live beside
generated ones, and what `triton-repo import` writes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

from generator.config_block import ConfigBlock
from generator.draft import Draft
from generator.errors import SpecError
from generator.fields import SpecPath, resolve
from generator.plugin import Model


def _folder_name(value: str) -> str:
    if value in ("", ".", "..") or any(c in "/\\\0" or not c.isprintable() for c in value):
        raise ValueError(f"{value!r} cannot name a model folder; use letters, digits, '_', '-' and '.'")
    return value


def _folder(value: Path, info: ValidationInfo) -> Path:
    path = resolve(value, info)
    if not path.is_dir():
        raise ValueError(f"no such folder: {path}; name a model folder: the one that holds 1/, 2/ and so on")
    return path


class FolderSpec(Model):
    """A model folder as it is, and its config."""

    name: Annotated[str, AfterValidator(_folder_name), Field(description="The model's name, which is its folder's.")]
    folder: Annotated[
        SpecPath, AfterValidator(_folder), Field(description="The hand-made model folder; all but its config.pbtxt is copied.")
    ]
    config: Annotated[
        ConfigBlock | None,
        Field(description="The whole config.pbtxt, field by field; left out, none is written and the server completes it."),
    ] = None
    server: Annotated[ServerVersion, Field(description="The oldest server it must run on.")] = DEFAULT_SERVER


@dataclass(frozen=True)
class FolderModel:
    """A folder spec and where it stands."""

    path: Path
    spec: FolderSpec

    @cached_property
    def files(self) -> dict[str, Path]:
        """Every file that is copied, by its path in the model folder. Raises SpecError for links that lead in a circle."""
        found: dict[str, Path] = {}
        for root, names, entries in os.walk(self.spec.folder, followlinks=True):
            base = Path(root)
            if any(base.samefile(above) for above in base.relative_to(self.spec.folder).parents and base.parents if above.is_relative_to(self.spec.folder)):
                raise SpecError(f"{base}: a link that leads back to a folder above it", "remove the link")
            names[:] = sorted(name for name in names if name != "__pycache__")
            for name in sorted(entries):
                found[(base / name).relative_to(self.spec.folder).as_posix()] = base / name
        found.pop("config.pbtxt", None)
        return found
