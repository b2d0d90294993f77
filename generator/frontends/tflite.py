"""tflite: a TensorFlow Lite model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from generator.converted import Converted, decides
from generator.fields import SpecFile


class TFLite(Converted):
    """A TensorFlow Lite model, float or 8-bit, through tf2onnx; pictures stay [batch, height, width, channels]."""

    kind: Literal["tflite"] = "tflite"
    packages: ClassVar[str] = "tensorflow"
    script: ClassVar[str] = "from_tflite.py"
    sources: ClassVar[tuple[str, ...]] = decides("tensorflow", "from_tflite.py")

    file: Annotated[SpecFile, Field(description="The .tflite file.")]

    def checkpoint(self) -> Path:
        """The file."""
        return self.file
