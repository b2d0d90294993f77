"""A model that is there already: a folder with version folders and files, served as it is, with the config that the spec says.

This is how hand-made models (a python backend of a user's own, a TorchScript file, an ensemble over other models) live beside
generated ones, and what `triton-repo import` writes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from generator import config_block, model_config
from generator.draft import DEFAULT, Draft, Loc, Origin
from generator.errors import SpecError
from generator.folder_spec import FolderSpec
from generator.load import line_of
from generator.pipeline import Edge, Part
from generator.tensors import Tensor

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelInput

#: Files that a copy leaves out: the config is written anew.
_LEFT_OUT = {"config.pbtxt"}


@dataclass(frozen=True)
class FolderModel:
    """A folder spec and where it stands."""

    path: Path
    spec: FolderSpec

    @cached_property
    def files(self) -> dict[str, Path]:
        """Every file that is copied, by its path in the model folder. Raises SpecError for links that lead in a circle."""
        top = self.spec.folder
        found: dict[str, Path] = {}
        for root, names, entries in os.walk(top, followlinks=True):
            here = Path(root)
            above = [top, *(top / p for p in here.relative_to(top).parents)]
            if here != top and any(here.samefile(folder) for folder in above):
                raise self.error(("folder",), f"{here} is a link that leads back to a folder above it", "remove the link")
            names[:] = sorted(name for name in names if name != "__pycache__")
            found |= {(here / name).relative_to(top).as_posix(): here / name for name in sorted(entries)}
        return {name: path for name, path in found.items() if name not in _LEFT_OUT}

    @cached_property
    def folders(self) -> frozenset[str]:
        """Every sub-folder, so that an empty version folder (an ensemble's) is made, too."""
        inside = [
            Path(root).relative_to(self.spec.folder) / name for root, names, _ in os.walk(self.spec.folder) for name in names
        ]
        return frozenset(path.as_posix() for path in inside if "__pycache__" not in path.parts)

    @cached_property
    def draft(self) -> Draft | None:
        """Its config, each field with its place in the YAML; None where the spec says none."""
        if self.spec.config is None:
            return None
        draft = Draft(model_config.new())
        config_block.fill(draft.config, self.spec.config)
        for name in self.spec.config:
            _note(draft, self.spec.config[name], name, ("config", name))
        if not draft.config.max_batch_size:
            draft.note("max_batch_size", DEFAULT)
        return draft

    @cached_property
    def served(self) -> Part:
        """What clients call."""
        config = self.draft.config if self.draft else model_config.new()
        sides = [tuple(_tensor(t, config.max_batch_size > 0) for t in side) for side in (config.input, config.output)]
        return Part(self.spec.name, "model", sides[0], sides[1])

    @property
    def parts(self) -> tuple[Part, ...]:
        """The one folder."""
        return (self.served,)

    @property
    def edges(self) -> tuple[Edge, ...]:
        """None that this spec decides."""
        return ()

    @property
    def max_batch_size(self) -> int:
        """As in its config."""
        return self.draft.config.max_batch_size if self.draft else 0

    def error(self, loc: Loc, what: str, remedy: str) -> SpecError:
        """A mistake at `loc` of the YAML, with its line."""
        return SpecError(f"{self.path}:{line_of(self.path, loc)}: {'.'.join(map(str, loc))}: {what}", remedy)


def _tensor(found: ModelInput, batched: bool) -> Tensor:
    dtype = model_config.data_type(found.data_type).removeprefix("TYPE_")
    return Tensor(found.name, "BYTES" if dtype == "STRING" else dtype, tuple(found.dims), batched)


def _note(draft: Draft, value: object, path: str, loc: Loc) -> None:
    """Each list item and field below comes from its own line; map keys and fields look alike in YAML, so both are noted."""
    draft.note(path, Origin("spec", loc))
    if isinstance(value, dict):
        for key, item in value.items():
            _note(draft, item, f"{path}.{key}", (*loc, key))
            _note(draft, item, f"{path}[{key}]", (*loc, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _note(draft, item, f"{path}[{index}]", (*loc, index))
