"""paddle: a PaddlePaddle inference model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from generator.converted import Converted, decides
from generator.fields import SpecFile


class Paddle(Converted):
    """A PaddlePaddle inference model (`paddle.jit.save`, `save_inference_model`), through paddle2onnx."""

    kind: Literal["paddle"] = "paddle"
    packages: ClassVar[str] = "paddle"
    script: ClassVar[str] = "from_paddle.py"
    sources: ClassVar[tuple[str, ...]] = decides("paddle", "from_paddle.py")

    model: Annotated[SpecFile, Field(description="The program: .json, or .pdmodel of older versions.")]
    weights: Annotated[
        SpecFile | None, Field(description="Its parameters; left out: the .pdiparams file of the same name beside it.")
    ] = None

    @model_validator(mode="after")
    def _has_weights(self) -> Paddle:
        beside = self.model.with_suffix(".pdiparams")
        if self.weights is None and not beside.is_file():
            raise ValueError(f"no such file: {beside}; say where the parameters are in `weights:`")
        return self

    def checkpoint(self) -> Path:
        """The program."""
        return self.model

    def files(self) -> list[Path]:
        """The program, its parameters, and the user's own list of packages."""
        return [*super().files(), self.weights or self.model.with_suffix(".pdiparams")]
