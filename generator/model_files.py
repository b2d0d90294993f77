"""What a model file says of its own inputs and outputs, read without loading its weights and without running code from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from generator.rules import Signature


def signature(model: str, files: Mapping[str, Path | None], version: int) -> Signature | None:
    """Inputs and outputs of `model`'s file of that version; None where the file does not tell."""
    return None
