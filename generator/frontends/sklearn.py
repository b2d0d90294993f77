"""sklearn: a scikit-learn estimator or pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from generator.converted import Converted, decides
from generator.errors import CheckpointError
from generator.fields import SpecFile
from generator.frontends import Interface
from generator.plugin import Model


class Column(Model):
    """One column of the table that a model was fitted on: an input of its own, [batch, 1]."""

    dtype: Annotated[Literal["FP32", "FP64", "INT32", "INT64", "BOOL", "BYTES"], Field(description="Its type.")] = "FP32"
    range: Annotated[tuple[float, float] | None, Field(description="Numbers that are tried, such as [18, 90].")] = None
    values: Annotated[tuple[str, ...], Field(description="Texts that are tried; BYTES needs some.")] = ()

    @model_validator(mode="after")
    def _can_be_tried(self) -> Column:
        if (self.dtype == "BYTES") != bool(self.values):
            raise ValueError("values are texts of a BYTES column: say both `dtype: BYTES` and `values: [a, b]`, or neither")
        return self


class Sklearn(Converted):
    """A scikit-learn estimator or pipeline (joblib, pickle, skops), also XGBoost's and LightGBM's, through skl2onnx."""

    kind: Literal["sklearn"] = "sklearn"
    packages: ClassVar[str] = "tabular"
    script: ClassVar[str] = "from_sklearn.py"
    sources: ClassVar[tuple[str, ...]] = decides("tabular", "from_sklearn.py", "tabular.py")
    proof: ClassVar[tuple[int, ...]] = (256, 1)
    alike: ClassVar[tuple[str, ...]] = ("xgboost", "lightgbm")

    file: Annotated[SpecFile, Field(description="The saved estimator.")]
    columns: Annotated[
        dict[str, Column],
        Field(default_factory=dict, description="For a model that takes columns by name: each one, in the table's order."),
    ]
    trust_checkpoint: Annotated[bool, Field(description="Load it although that runs code from it, as pickles do.")] = False

    def checkpoint(self) -> Path:
        """The file."""
        return self.file

    def interface(self) -> Interface | None:
        """Known only once it is converted. Raises CheckpointError for a file of another kind, or one that would run code."""
        super().interface()
        with self.file.open("rb") as file:
            archive = file.read(2) == b"PK"
        if not archive and not self.trust_checkpoint:
            fix = "if you trust whoever made it, say `trust_checkpoint: true`"
            raise CheckpointError(f"{self.file}: loading it runs code from the file", fix)
        return None

    def settings(self) -> dict[str, Any]:
        """With every column's type and values."""
        return super().settings()
