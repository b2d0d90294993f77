"""What a spec says of a model that is there already: its folder, and its config."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from generator.config_block import ConfigBlock
from generator.fields import SpecPath
from generator.plugin import Model
from generator.server_version import DEFAULT_SERVER, ServerVersion


def _folder_name(value: str) -> str:
    if value in ("", ".", "..") or not value.isprintable() or any(c in "/\\" for c in value):
        raise ValueError(f"{value!r} cannot name a model folder; use letters, digits, '_', '-' and '.'")
    return value


def _folder(value: Path) -> Path:
    if not value.is_dir():
        raise ValueError(f"no such folder: {value}; name a model folder: the one that holds 1, 2 and so on")
    return value


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
    server: Annotated[ServerVersion, Field(description="The oldest tritonserver that must load it.")] = DEFAULT_SERVER

    @model_validator(mode="after")
    def _one_name(self) -> FolderSpec:
        if self.config is not None and self.config.get("name", self.name) != self.name:
            raise ValueError(f"config.name is {self.config['name']!r}, name is {self.name!r}; say it once, as `name:`")
        return self
