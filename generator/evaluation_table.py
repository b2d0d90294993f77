"""How timm's and torchvision's models are evaluated, as `preprocess:` says it; read without either library."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Made by scripts/evaluation_table.py: library -> `preprocess` as JSON -> the names of the models that are evaluated so.
TABLE = Path(__file__).with_name("evaluation_table.json")


def preprocessing(library: str, model: str) -> Mapping[str, Any]:
    """What `preprocess:` says; {} for a model that the table does not have, or that no preset fits."""
    found: dict[str, Any] = json.loads(_known()[library].get(model, "{}"))
    return found


@functools.cache
def _known() -> dict[str, dict[str, str]]:
    table: dict[str, dict[str, str]] = json.loads(TABLE.read_text(encoding="utf-8"))
    return {library: {name: said for said, names in of.items() for name in names.split()} for library, of in table.items()}
