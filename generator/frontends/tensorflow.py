"""tensorflow: a SavedModel, or a Keras model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from generator.converted import Converted, decides
from generator.fields import SpecPath


def _is_there(path: Path) -> Path:
    if not path.exists():
        raise ValueError(f"no such file or folder: {path}; correct the path")
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        raise ValueError(f"{path} holds no saved_model.pb; name the folder of a SavedModel, or a .keras or .h5 file")
    return path


class TensorFlow(Converted):
    """A TensorFlow SavedModel folder, or a Keras model (.keras, .h5), through tf2onnx."""

    kind: Literal["tensorflow"] = "tensorflow"
    packages: ClassVar[str] = "tensorflow"
    script: ClassVar[str] = "from_tensorflow.py"
    sources: ClassVar[tuple[str, ...]] = decides("tensorflow", "from_tensorflow.py")

    path: Annotated[SpecPath, AfterValidator(_is_there), Field(description="The folder, or the .keras or .h5 file.")]
    signature: Annotated[str, Field(description="Which function of a SavedModel is served.")] = "serving_default"
    trust_checkpoint: Annotated[
        bool, Field(description="Load it although that runs code from it (Lambda layers, operators that reach files).")
    ] = False

    def checkpoint(self) -> Path:
        """The folder or the file."""
        return self.path

    def files(self) -> list[Path]:
        """Everything in the folder, or the file; and the user's own list of packages."""
        own = super().files()[1:]
        return [*(sorted(p for p in self.path.rglob("*") if p.is_file()) if self.path.is_dir() else [self.path]), *own]
