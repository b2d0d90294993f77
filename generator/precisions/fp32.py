"""fp32: as trained."""

from __future__ import annotations

from typing import ClassVar, Literal

from generator.precisions import Precision


class Fp32(Precision):
    """Single precision throughout, as the checkpoint was trained."""

    kind: Literal["fp32"] = "fp32"
    trained: ClassVar[bool] = True
