"""lightgbm: a model that LightGBM saved itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from generator.converted import Converted, decides
from generator.fields import SpecFile


class LightGBM(Converted):
    """A LightGBM model (.txt), through onnxmltools; a pickled one is of kind sklearn."""

    kind: Literal["lightgbm"] = "lightgbm"
    packages: ClassVar[str] = "tabular"
    script: ClassVar[str] = "from_lightgbm.py"
    sources: ClassVar[tuple[str, ...]] = decides("tabular", "from_lightgbm.py", "tabular.py")
    proof: ClassVar[tuple[int, ...]] = (256, 1)

    file: Annotated[SpecFile, Field(description="What `save_model` wrote.")]

    def checkpoint(self) -> Path:
        """The file."""
        return self.file
