"""safetensors: weights that hold nothing but tensors, and the callable that makes the module they belong to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from generator import file_kind, torch_weights
from generator.errors import CheckpointError
from generator.factory_frontend import FactoryFrontend

if TYPE_CHECKING:
    from generator.torch_weights import State

_INDEX = ".index.json"


class Safetensors(FactoryFrontend):
    """A .safetensors file, or the .safetensors.index.json of one in parts, plus a factory; there is no code in such files."""

    kind: Literal["safetensors"] = "safetensors"
    libraries: ClassVar[tuple[str, ...]] = (*FactoryFrontend.libraries, "safetensors")

    def weight_files(self) -> list[Path]:
        """The file, or the index and every part that it names."""
        return [self.weights, *self._parts()] if self.weights.name.endswith(_INDEX) else [self.weights]

    def state(self) -> State:
        """Of all parts together."""
        files = self._parts() if self.weights.name.endswith(_INDEX) else [self.weights]
        merged = {name: tensor for file in files for name, tensor in torch_weights.load_safetensors(file).items()}
        return torch_weights.choose(self.weights, merged, None, self.prefix)

    def _parts(self) -> list[Path]:
        try:
            names = set(json.loads(self.weights.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise file_kind.unreadable(self.weights, "an index of safetensors", error) from None
        parts = [self.weights.parent / name for name in sorted(names)]
        for part, name in zip(parts, sorted(names), strict=True):
            if part.name != name or not part.is_file():
                raise CheckpointError(f"{self.weights}: its part {name!r} is not beside it", "copy every part beside the index")
        return parts
