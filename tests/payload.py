"""A pickle that runs a command when it is loaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


class Payload:
    """Loading it creates a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.system, (f"touch {self.target}",)
